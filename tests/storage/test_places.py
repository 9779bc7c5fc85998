"""A small file that is published whole is like one that was written in pieces."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from davserver import errors
from davserver.protocol.path import DavPath
from davserver.storage import _linux
from davserver.storage._stat import Seen
from davserver.storage.base import Writer
from davserver.storage.filesystem import FALLBACKS, FilesystemStorage
from davserver.storage.places import Place

P = Callable[[str], DavPath]
_ENTRIES = [(1, 7, -1), (2, 6, 12_345), (4, 5, -1), (16, 7, -1), (32, 4, -1)]
DEFAULT_ACL = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *one) for one in _ENTRIES)
_GIVES_AWAY = [] if os.geteuid() else ["fchown"]
_GUARDING = [(1, 6, -1), (2, 6, 12_345), (4, 0, -1), (16, 6, -1), (32, 0, -1)]
pytestmark = pytest.mark.usefixtures("no_leak")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture(params=[frozenset(), FALLBACKS], ids=["no name", "hidden name"])
def storage(request: pytest.FixtureRequest, root: Path) -> Iterator[FilesystemStorage]:
    made = FilesystemStorage(
        root,
        owner="me",
        is_alive=lambda owner: owner == "me",
        durability="none",
        fallbacks=request.param,
    )
    yield made
    made.close()


@pytest.fixture(params=[0o022, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """As the storage finds it at its start: name it before `storage`."""
    mask: int = request.param
    before = os.umask(mask)
    yield mask
    os.umask(before)


def find(storage: FilesystemStorage, path: DavPath) -> Place:
    place = storage.find_place(path, storage.direct_key(path))
    assert isinstance(place, Place)
    return place


@contextmanager
def closing_writer(writer: Writer) -> Iterator[Writer]:
    try:
        yield writer
    finally:
        writer.discard()


def put_whole(storage: FilesystemStorage, path: DavPath, data: bytes = b"whole") -> None:
    with closing(find(storage, path)) as place:
        place.fill(data, None)
        place.publish()


def put_in_pieces(storage: FilesystemStorage, path: DavPath) -> None:
    with closing_writer(storage.create(path)) as writer:
        writer.write(b"who", b"le")
        writer.seal()
        writer.commit(replace=True)
        writer.settle()


def attributes(path: Path) -> tuple[object, ...]:
    stat = os.stat(path)
    named = {name: os.getxattr(path, name) for name in os.listxattr(path)}
    return stat.st_mode, stat.st_uid, stat.st_gid, named, path.read_bytes()


@pytest.mark.parametrize("has_acl", [False, True], ids=["no default ACL", "default ACL"])
def test_a_new_file_has_the_mode_that_it_would_have(
    umask: int, storage: FilesystemStorage, root: Path, p: P, has_acl: bool
) -> None:
    (root / "c").mkdir()
    if has_acl:
        os.setxattr(root / "c", "system.posix_acl_default", DEFAULT_ACL)
    put_whole(storage, p("c/whole"))
    put_in_pieces(storage, p("c/pieces"))

    assert attributes(root / "c" / "whole") == attributes(root / "c" / "pieces")
    assert os.stat(root / "c" / "whole").st_mode & 0o777 == 0o666 & ~umask


@pytest.mark.parametrize("mode", [0o644, 0o666, 0o600, 0o4755, 0o200], ids=oct)
@pytest.mark.parametrize("is_anothers", [False, True], ids=["ours", "another's"])
def test_a_new_version_has_what_the_old_one_had(
    storage: FilesystemStorage, root: Path, p: P, mode: int, is_anothers: bool
) -> None:
    for name in ("whole", "pieces"):
        (root / name).write_bytes(b"old")
        os.setxattr(root / name, "user.colour", b"red")
        if is_anothers and os.geteuid() == 0:
            os.chown(root / name, 12_345, 54_321)
        os.chmod(root / name, mode)
        os.setxattr(root / name, "system.posix_acl_access", DEFAULT_ACL)
        os.chmod(root / name, mode)
    put_whole(storage, p("whole"))
    put_in_pieces(storage, p("pieces"))

    assert attributes(root / "whole") == attributes(root / "pieces")
    assert os.getxattr(root / "whole", "user.colour") == b"red"


@pytest.mark.parametrize("put", [put_whole, put_in_pieces])
def test_a_new_version_has_no_acl_that_the_old_one_had_not(
    storage: FilesystemStorage, root: Path, p: P, put: Callable[..., None]
) -> None:
    """What a collection gives to new files may let others in than the old one was open to."""
    (root / "f").write_bytes(b"old")
    (root / "f").chmod(0o640)
    os.setxattr(root / "f", "user.colour", b"red")
    before = attributes(root / "f")[:-1]
    os.setxattr(root, "system.posix_acl_default", DEFAULT_ACL)
    put(storage, p("f"))

    assert attributes(root / "f") == (*before, b"whole")
    assert os.getxattr(root / "f", "user.colour") == b"red"


@pytest.fixture
def guarded(root: Path) -> Path:
    """A file for somebody that its group is not for."""
    (root / "f").write_bytes(b"old")
    if os.geteuid() == 0:
        os.chown(root / "f", 12_345, 54_321)
    os.setxattr(root / "f", "user.colour", b"red")
    entries = b"".join(struct.pack("<HHi", *one) for one in _GUARDING)
    os.setxattr(root / "f", "system.posix_acl_access", struct.pack("<I", 2) + entries)
    return root / "f"


def refusing(call: Callable[..., object], number: int, name: object) -> Callable[..., object]:
    """Refuses to do anything with a name, or with all of them."""

    def refuse(*args: object, **options: object) -> object:
        if name is None or name in args:
            raise OSError(number, os.strerror(number))
        return call(*args, **options)

    return refuse


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["listxattr", "getxattr", "setxattr", *_GIVES_AWAY])
@pytest.mark.parametrize("put", [put_whole, put_in_pieces])
def test_a_version_that_lacks_what_keeps_others_out_is_not_published(
    storage: FilesystemStorage,
    root: Path,
    guarded: Path,
    p: P,
    monkeypatch: pytest.MonkeyPatch,
    put: Callable[..., None],
    call: str,
    number: int,
) -> None:
    before = attributes(guarded)
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refusing(getattr(os, call), number, None))
        with pytest.raises(errors.StorageError):
            put(storage, p("f"))

    assert attributes(guarded) == before


@pytest.mark.parametrize("put", [put_whole, put_in_pieces])
def test_where_an_acl_may_not_be_kept_the_group_gets_nothing_of_it(
    storage: FilesystemStorage,
    guarded: Path,
    p: P,
    monkeypatch: pytest.MonkeyPatch,
    put: Callable[..., None],
) -> None:
    acl = "system.posix_acl_access"
    with monkeypatch.context() as patch:
        patch.setattr(os, "setxattr", refusing(os.setxattr, errno.EPERM, acl))
        put(storage, p("f"))

    assert guarded.stat().st_mode & 0o777 == 0o600
    assert os.getxattr(guarded, "user.colour") == b"red"


def test_what_cannot_be_looked_at_before_it_is_replaced_is_kept(
    storage: FilesystemStorage, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its mode is not known: the new version might be open to everybody."""
    (root / "f").write_bytes(b"old")
    (root / "f").chmod(0o600)
    writer = storage.create(p("f"))
    writer.write(b"new")

    def fail(dir_fd: int, name: bytes, **_: object) -> Seen:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr("davserver.storage.writer.look", fail)
        with pytest.raises(errors.StorageFailure):
            writer.seal()
    with pytest.raises(errors.StorageFailure):
        writer.commit(replace=True)
    writer.discard()

    assert attributes(root / "f")[0] == 0o100600
    assert (root / "f").read_bytes() == b"old"


@pytest.mark.parametrize("sealed", [False, True], ids=["while it came", "when it was here"])
@pytest.mark.parametrize("was_there", [False, True])
def test_a_version_is_like_the_one_that_it_replaces_and_no_older_one(
    storage: FilesystemStorage, root: Path, p: P, was_there: bool, sealed: bool
) -> None:
    """Somebody makes the file, or makes it private, during an upload."""
    if was_there:
        (root / "f").write_bytes(b"old")
        (root / "f").chmod(0o644)
    with closing_writer(storage.create(p("f"))) as writer:
        writer.write(b"new")
        if sealed:
            writer.seal()
        (root / "f").write_bytes(b"private")
        os.setxattr(root / "f", "user.colour", b"red")
        (root / "f").chmod(0o600)
        if not sealed:
            writer.seal()
        writer.commit(replace=True)

    assert (root / "f").read_bytes() == b"new"
    assert (root / "f").stat().st_mode & 0o777 == 0o600
    assert os.getxattr(root / "f", "user.colour") == b"red"


def test_a_name_is_given_also_by_who_lacks_the_privilege_to_do_so_by_the_descriptor_alone(
    storage: FilesystemStorage, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_linux, "try_linkat", lambda *_: False)
    (root / "old").write_bytes(b"old")
    put_whole(storage, p("new"))
    put_whole(storage, p("old"))

    assert (root / "new").read_bytes() == (root / "old").read_bytes() == b"whole"
    assert sorted(os.listdir(root)) == ["new", "old"]


def test_all_of_it_is_written_though_the_system_takes_it_in_pieces(
    storage: FilesystemStorage, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data[:3])))
    put_whole(storage, p("f"), b"0123456789")

    assert (root / "f").read_bytes() == b"0123456789"


def test_what_is_not_published_leaves_nothing(storage: FilesystemStorage, root: Path, p: P) -> None:
    (root / "old").write_bytes(b"old")
    for name in ("new", "old"):
        place = find(storage, p(name))
        place.fill(b"given up", None)
        place.close()
        place.close()

    assert os.listdir(root) == ["old"]
    assert (root / "old").read_bytes() == b"old"


def test_a_disk_that_is_full_leaves_nothing(
    storage: FilesystemStorage, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", fail)
    place = find(storage, p("f"))
    with pytest.raises(errors.NoSpace):
        place.fill(b"x", None)
    with pytest.raises(errors.StorageFailure, match="nothing to publish"):
        place.publish()
    place.close()

    assert os.listdir(root) == []


def test_what_is_there_by_now_is_not_replaced(storage: FilesystemStorage, root: Path, p: P) -> None:
    place = find(storage, p("f"))
    place.fill(b"ours", None)
    (root / "f").write_bytes(b"theirs")
    with pytest.raises(errors.ResourceExists):
        place.publish()
    place.close()

    assert os.listdir(root) == ["f"]
    assert (root / "f").read_bytes() == b"theirs"


def test_a_parent_that_is_gone_is_missing(storage: FilesystemStorage, root: Path, p: P) -> None:
    (root / "c").mkdir()
    before, after = find(storage, p("c/f")), find(storage, p("c/g"))
    os.rmdir(root / "c")
    with pytest.raises(errors.ParentMissing):
        before.fill(b"x", None)
    before.close()
    after.close()


@pytest.mark.parametrize(
    ("name", "error"),
    [("c", errors.IsACollection), ("pipe", errors.UnsupportedKind)],
    ids=["collection", "pipe"],
)
def test_what_is_no_file_is_no_place_for_one(
    storage: FilesystemStorage, root: Path, p: P, name: str, error: type[Exception]
) -> None:
    (root / "d" / "c").mkdir(parents=True)
    os.mkfifo(root / "d" / "pipe")
    path = p(f"d/{name}")
    with pytest.raises(error):
        storage.find_place(path, storage.direct_key(path))


@pytest.mark.parametrize("name", ["a\x1f", "a\x7f", "\u00e9", "a\udcff"], ids=ascii)
def test_a_new_name_that_is_not_plain_is_looked_at_otherwise(
    storage: FilesystemStorage, p: P, name: str
) -> None:
    assert storage.find_place(p(name), storage.direct_key(p(name))) is None


def test_times_are_those_that_were_asked_for(storage: FilesystemStorage, root: Path, p: P) -> None:
    place = find(storage, p("f"))
    place.fill(b"x", 1_000_000_001)
    stat = place.publish()
    place.close()

    assert stat.mtime_ns == os.stat(root / "f").st_mtime_ns == 1_000_000_001
    assert stat.tag == storage.stat(p("f")).tag
