"""What the file-system backend promises beyond the contract: modes, durability, owners, errors."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from davserver import errors
from davserver.protocol.path import DavPath, Key
from davserver.storage import _linux, _stat, content, probing
from davserver.storage.base import Capability, Kind
from davserver.storage.filesystem import FALLBACKS, FilesystemStorage
from tests.support.descriptors import open_descriptors

P = Callable[[str], DavPath]
Make = Callable[..., FilesystemStorage]
on_linux = pytest.mark.skipif(not _linux.IS_LINUX, reason="a Linux system call")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def make(root: Path) -> Iterator[Make]:
    made: list[FilesystemStorage] = []

    def make(**options: object) -> FilesystemStorage:
        options = {"owner": "me", "is_alive": lambda owner: owner == "me", **options}
        made.append(FilesystemStorage(root, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for storage in made:
        storage.close()
        storage.close()


def put(storage: FilesystemStorage, path: DavPath, data: bytes = b"x") -> None:
    writer = storage.create(path)
    try:
        writer.write(data)
        writer.seal()
        writer.commit(replace=True)
        writer.settle()
    finally:
        writer.discard()


@contextmanager
def open_directory(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.usefixtures("no_leak")
def test_a_root_that_is_missing_or_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, error in (("no", errors.ResourceNotFound), ("file", errors.NotACollection)):
        with pytest.raises(error):
            FilesystemStorage(tmp_path / name, owner="me", is_alive=lambda owner: True)


def test_the_start_leaves_nothing_in_the_root(make: Make, root: Path) -> None:
    storage = make()

    assert list(root.iterdir()) == []
    assert storage.inline
    assert storage.durable
    assert not storage.is_folding
    assert storage.capabilities >= {Capability.TREE_RENAME, Capability.EXCHANGE}


def test_durability_none_is_not_durable(make: Make) -> None:
    assert not make(durability="none").durable


@on_linux
def test_birth_time_is_the_file_systems(make: Make, p: P) -> None:
    storage = make()
    put(storage, p("f"))
    if Capability.BIRTH_TIME not in storage.capabilities:
        pytest.skip("the file system keeps no birth time")
    before = storage.stat(p("f"))
    after = storage.set_attributes(p("f"), mtime_ns=0)
    with storage.scan(p("")) as entries:
        scanned = next(entries).stat

    assert before.birth_ns is not None
    assert before.birth_ns == after.birth_ns == scanned.birth_ns
    assert scanned == after


@pytest.mark.parametrize("fallbacks", [frozenset(), FALLBACKS], ids=["new", "old"])
def test_a_stat_tells_what_os_stat_does(make: Make, root: Path, p: P, fallbacks: object) -> None:
    storage = make(fallbacks=fallbacks)
    put(storage, p("f"), b"12345")
    os.chmod(root / "f", 0o755)
    expected = os.stat(root / "f")

    stat = storage.stat(p("f"))

    assert stat.size == expected.st_size == 5
    assert stat.mtime_ns == expected.st_mtime_ns
    assert stat.inode == expected.st_ino
    assert stat.executable


def test_a_new_file_has_the_umasks_mode(make: Make, root: Path, p: P) -> None:
    old = os.umask(0o027)
    try:
        storage = make()
    finally:
        os.umask(old)
    put(storage, p("f"))

    assert os.stat(root / "f").st_mode & 0o7777 == 0o640


@pytest.mark.parametrize("fallbacks", [frozenset(), FALLBACKS], ids=["new", "old"])
def test_a_replacement_keeps_mode_and_attributes_but_no_setuid(
    make: Make, root: Path, p: P, fallbacks: object
) -> None:
    storage = make(fallbacks=fallbacks)
    (root / "f").write_bytes(b"old")
    os.chmod(root / "f", 0o4751)
    try:
        os.setxattr(root / "f", "user.colour", b"red")
        has_attributes = True
    except OSError:
        has_attributes = False
    put(storage, p("f"), b"new")

    assert os.stat(root / "f").st_mode & 0o7777 == 0o751
    if has_attributes:
        assert os.getxattr(root / "f", "user.colour") == b"red"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_a_replacement_keeps_the_owner(make: Make, root: Path, p: P) -> None:
    storage = make()
    (root / "f").write_bytes(b"old")
    os.chown(root / "f", 1234, 2345)
    put(storage, p("f"), b"new")
    found = os.stat(root / "f")

    assert (found.st_uid, found.st_gid) == (1234, 2345)


@pytest.mark.security("P-11")
def test_a_put_through_one_hard_link_leaves_the_other(make: Make, root: Path, p: P) -> None:
    storage = make()
    put(storage, p("f"), b"old")
    os.link(root / "f", root / "g")
    put(storage, p("f"), b"new")

    assert (root / "g").read_bytes() == b"old"


@pytest.mark.security("P-11")
def test_renaming_one_hard_link_over_the_other_removes_the_source(
    make: Make, root: Path, p: P
) -> None:
    storage = make()
    put(storage, p("f"), b"one")
    os.link(root / "f", root / "g")
    storage.rename(p("f"), p("g"), replace=True)
    storage.rename(p("g"), p("g"), replace=True)

    assert os.listdir(root) == ["g"]


@pytest.mark.parametrize(
    ("durability", "expected"),
    [
        pytest.param("none", [], id="none"),
        pytest.param("file", ["file"], id="file"),
        pytest.param("full", ["file", "directory"], id="full"),
    ],
)
def test_durability_says_what_is_synced(
    make: Make, p: P, monkeypatch: pytest.MonkeyPatch, durability: str, expected: list[str]
) -> None:
    storage = make(durability=durability)
    synced = []

    def fsync(fd: int) -> None:
        synced.append("directory" if os.fstat(fd).st_mode & 0o40000 else "file")

    monkeypatch.setattr(os, "fsync", fsync)
    put(storage, p("f"))
    storage.sync(p(""))

    assert synced == expected + (["directory"] if durability == "full" else [])


@pytest.mark.parametrize("is_made", [True, False], ids=["made meanwhile", "made private meanwhile"])
def test_what_is_set_in_the_gate_is_on_disk_before_it_is_published(
    make: Make, root: Path, p: P, monkeypatch: pytest.MonkeyPatch, is_made: bool
) -> None:
    """After a power cut it is open to nobody whom the old version kept out."""
    storage = make(durability="full")
    if not is_made:
        (root / "f").write_bytes(b"old")
    calls = []

    def counted(name: str) -> None:
        call = getattr(os, name)

        def counting(*args: Any, **options: Any) -> Any:
            calls.append(name)
            return call(*args, **options)

        monkeypatch.setattr(os, name, counting)

    writer = storage.create(p("f"))
    try:
        writer.write(b"new")
        writer.seal()
        (root / "f").write_bytes(b"private")
        (root / "f").chmod(0o600)
        for name in ("fchmod", "fsync", "rename"):
            counted(name)
        writer.commit(replace=True)
    finally:
        writer.discard()

    assert calls == ["fchmod", "fsync", "rename"]


@pytest.mark.parametrize("stays", [{b"a"}, {b"a", b"b"}], ids=["the old", "nor the new"])
@pytest.mark.parametrize("number", [errno.EPERM, errno.EACCES, errno.EIO], ids=errno.errorcode.get)
def test_a_name_that_cannot_go_is_not_moved(
    make: Make, root: Path, p: P, monkeypatch: pytest.MonkeyPatch, number: int, stays: set[bytes]
) -> None:
    """Where there is no renameat2. What is told is why it cannot go, not that something is there:
    nothing was."""
    storage = make(fallbacks=frozenset({"renameat2"}))
    (root / "a").write_bytes(b"a")
    unlink = os.unlink

    def refuse(name: bytes, **options: Any) -> None:
        if name in stays:
            raise OSError(number, os.strerror(number))
        unlink(name, **options)

    with monkeypatch.context() as system:
        system.setattr(os, "unlink", refuse)
        expected = errors.StorageFailure if number == errno.EIO else errors.AccessDenied
        with pytest.raises(expected):
            storage.rename(p("a"), p("b"))

    assert {name.name.encode() for name in root.iterdir()} == {b"a"} | stays


@pytest.mark.security("F-01", "F-05")
@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("fallbacks", [frozenset(), frozenset({"tmpfile"})], ids=["", "hidden"])
@pytest.mark.parametrize(
    ("call", "number", "error"),
    [
        pytest.param("write", errno.ENOSPC, errors.NoSpace, id="write ENOSPC"),
        pytest.param("write", errno.EDQUOT, errors.QuotaExceeded, id="write EDQUOT"),
        pytest.param("write", errno.EFBIG, errors.NoSpace, id="write EFBIG"),
        pytest.param("write", errno.EIO, errors.StorageFailure, id="write EIO"),
        pytest.param("write", errno.EINVAL, errors.StorageFailure, id="write EINVAL"),
        pytest.param("fsync", errno.EIO, errors.StorageFailure, id="fsync EIO"),
        pytest.param("fsync", errno.ENOSPC, errors.NoSpace, id="fsync ENOSPC"),
        pytest.param("fchmod", errno.EROFS, errors.ReadOnlyStorage, id="fchmod EROFS"),
        pytest.param("utime", errno.EIO, errors.StorageFailure, id="utime EIO"),
        pytest.param("rename", errno.ENOSPC, errors.NoSpace, id="rename ENOSPC"),
    ],
)
def test_a_failed_put_keeps_the_old_version_and_leaves_nothing(
    make: Make,
    root: Path,
    p: P,
    monkeypatch: pytest.MonkeyPatch,
    fallbacks: object,
    call: str,
    number: int,
    error: type[errors.StorageError],
) -> None:
    storage = make(fallbacks=fallbacks)
    put(storage, p("f"), b"old")

    def fail(*args: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(error):
            put(storage, p("f"), b"new")
    storage.close()

    assert os.listdir(root) == ["f"]
    assert (root / "f").read_bytes() == b"old"


def test_a_failed_sync_is_never_published(
    make: Make, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make()
    writer = storage.create(p("f"))

    def fail(fd: int) -> None:
        raise OSError(errno.EIO, "gone")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(errors.StorageFailure):
            writer.seal()
    with pytest.raises(errors.StorageFailure):
        writer.commit(replace=True)
    writer.discard()
    with pytest.raises(errors.StorageFailure):
        writer.commit(replace=True)

    assert storage.locate(p("f")).stat is None


@pytest.mark.security("F-07")
def test_short_writes_are_continued(make: Make, p: P, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = make()
    write = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
        put(storage, p("f"), b"0123456789")
    reader = storage.open(p("f"))
    pread = os.pread
    with monkeypatch.context() as patch:
        patch.setattr(os, "pread", lambda fd, size, offset: pread(fd, min(size, 3), offset))
        data = reader.read_at(0, 100)
    reader.close()

    assert data == b"0123456789"


@pytest.mark.security("F-01")
def test_more_than_is_free_is_refused_at_once(make: Make, p: P) -> None:
    storage = make()

    with pytest.raises(errors.NoSpace):
        storage.create(p("f"), size_hint=1 << 60)


@pytest.mark.security("F-03")
def test_no_free_descriptor_is_a_passing_error(
    make: Make, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make()

    def fail(*args: object, **options: object) -> int:
        raise OSError(errno.EMFILE, "too many")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", fail)
        with pytest.raises(errors.TooManyOpenFiles):
            storage.create(p("f"))
    put(storage, p("f"))


@pytest.mark.security("F-04")
@pytest.mark.usefixtures("no_leak")
def test_a_read_only_storage_refuses_every_change(make: Make, root: Path, p: P) -> None:
    (root / "f").write_bytes(b"f")
    dead = root / ".davserver.gone.1"
    dead.touch()
    storage = make(read_only=True)
    changes: list[Callable[[], object]] = [
        lambda: storage.create(p("g")),
        lambda: storage.make_collection(p("g")),
        lambda: storage.delete(p("f")),
        lambda: storage.copy(p("f"), p("g")),
        lambda: storage.rename(p("f"), p("g")),
        lambda: storage.exchange(p("f"), p("f")),
        lambda: storage.set_attributes(p("f"), mtime_ns=0),
    ]
    for change in changes:
        with pytest.raises(errors.ReadOnlyStorage):
            change()
    with storage.scan(p("")) as entries:
        seen = [entry.name for entry in entries]
    storage.close()

    assert seen == ["f"]
    assert dead.exists()


@pytest.mark.security("P-14")
@pytest.mark.parametrize("scan", ["scan", "scan_all"])
def test_a_listing_removes_hidden_names_of_dead_owners_only(
    make: Make, root: Path, p: P, scan: str
) -> None:
    storage = make(is_alive=lambda owner: owner in {"me", "other"})
    (root / ".davserver.gone.1").mkdir()
    (root / ".davserver.gone.1" / "deep").mkdir()
    (root / ".davserver.gone.1" / "deep" / "f").touch()
    (root / ".davserver.gone.2").touch()
    os.symlink(root.parent, root / ".davserver.gone.3")
    for name in (".davserver.other.1", ".davserver.me.1", ".davserver", ".davserver.x"):
        (root / name).touch()
    with getattr(storage, scan)(p("")) as entries:
        seen = list(entries)

    assert seen == []
    assert sorted(os.listdir(root)) == [
        ".davserver",
        ".davserver.me.1",
        ".davserver.other.1",
        ".davserver.x",
    ]


@pytest.mark.security("P-07")
def test_names_of_any_bytes_are_listed_and_reachable(make: Make, root: Path, p: P) -> None:
    storage = make()
    names = [b"a\xff", b"new\nline", b"-x", b"blank ", b"<&\"'>", b"\xc0\xae", b"\xed\xa0\x80"]
    for name in names:
        with open(os.fsencode(root) + b"/" + name, "wb") as file:
            file.write(name)
    with storage.scan(p("")) as entries:
        found = [entry.name for entry in entries]
    contents = []
    for name in found:
        reader = storage.open(DavPath((name,)))
        contents.append(reader.read_at(0, 100))
        reader.close()

    assert sorted(contents) == sorted(names)
    assert sorted(name.encode("utf-8", "surrogateescape") for name in found) == sorted(names)


@pytest.fixture
def as_nobody(root: Path) -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.chmod(root, 0o777)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.security("F-04", "P-10")
@pytest.mark.usefixtures("no_leak")
def test_what_may_not_be_read_is_refused_and_not_listed(
    make: Make, root: Path, p: P, request: pytest.FixtureRequest
) -> None:
    storage = make()
    request.getfixturevalue("as_nobody")
    put(storage, p("f"))
    put(storage, p("readonly"))
    storage.make_collection(p("c"))
    storage.make_collection(p("fixed"))
    put(storage, p("fixed/f"))
    for name, mode in (("f", 0), ("readonly", 0o444), ("c", 0), ("fixed", 0o555)):
        os.chmod(storage_path(storage, name), mode)
    with storage.scan(p("")) as entries:
        seen = sorted(entry.name for entry in entries)
    with storage.scan_all(p("")) as entries:
        everything = sorted(entry.name for entry in entries)
    refused: list[Callable[[], object]] = [
        lambda: storage.open(p("f")),
        lambda: storage.scan(p("c")).__enter__(),
        lambda: storage.stat(p("c/x")),
        lambda: storage.create(p("readonly")),
        lambda: storage.create(p("fixed/g")),
        lambda: storage.make_collection(p("fixed/g")),
        lambda: storage.delete(p("fixed/f")),
        lambda: storage.rename(p("fixed/f"), p("g")),
        lambda: storage.copy(p("f"), p("g")),
    ]
    for call in refused:
        with pytest.raises(errors.AccessDenied):
            call()

    assert seen == ["fixed", "readonly"]
    assert everything == ["c", "f", "fixed", "readonly"]
    for name in ("c", "fixed"):
        os.chmod(storage_path(storage, name), 0o700)


def storage_path(storage: FilesystemStorage, name: str) -> str:
    """The path by the storage's own descriptor: the way down from `/` may be closed to us."""
    return f"/proc/self/fd/{storage._resolver.root_fd}/{name}"


def test_a_rename_across_devices_is_said_so(
    make: Make, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make()
    storage.make_collection(p("c"))
    storage.make_collection(p("d"))

    def fail(*args: object) -> None:
        raise OSError(errno.EXDEV, "cross-device link")

    monkeypatch.setattr(_linux, "renameat2", fail)
    with pytest.raises(errors.CrossDevice):
        storage.rename(p("c"), p("e"))
    with pytest.raises(errors.CrossDevice):
        storage.exchange(p("c"), p("d"))


@pytest.mark.parametrize("step", [1, 2, 3])
def test_an_exchange_that_fails_halfway_is_undone(
    make: Make, p: P, root: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    storage = make(fallbacks=frozenset({"renameat2"}))
    put(storage, p("a"), b"a")
    put(storage, p("b"), b"b")
    rename = os.rename
    calls = []

    def fail_once(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == step:
            raise OSError(errno.EIO, "broken")
        rename(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", fail_once)
        with pytest.raises(errors.StorageFailure):
            storage.exchange(p("a"), p("b"))

    assert sorted(os.listdir(root)) == ["a", "b"]
    assert (root / "a").read_bytes() == b"a"
    assert (root / "b").read_bytes() == b"b"


@pytest.mark.parametrize("step", [2, 3])
def test_what_an_exchange_is_at_when_its_worker_dies_is_not_removed(
    make: Make, p: P, root: Path, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Where the system cannot exchange, three renames do: no journal knows the name between."""
    storage = make(fallbacks=frozenset({"renameat2"}))
    put(storage, p("a"), b"a")
    put(storage, p("b"), b"b")
    rename, calls = os.rename, []

    def die(*args: object, **options: object) -> None:
        calls.append(args)
        if len(calls) == step:
            raise SystemExit
        rename(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", die)
        with pytest.raises(SystemExit):
            storage.exchange(p("a"), p("b"))
    with make(owner="another", is_alive=lambda owner: owner == "another").scan(p("")) as members:
        listed = [entry.name for entry in members]

    assert sorted(path.read_bytes() for path in root.iterdir()) == [b"a", b"b"]
    assert len(listed) == 1


def test_a_part_that_cannot_be_opened_leaves_no_descriptor(
    make: Make, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make()
    before = open_descriptors()
    fstat = os.fstat
    for failing in range(1, 5):
        calls = []

        def fail(fd: int, calls: list[int] = calls, failing: int = failing) -> os.stat_result:
            calls.append(fd)
            if len(calls) == failing:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return fstat(fd)

        path = storage.hidden(p("a"))
        with monkeypatch.context() as patch:
            patch.setattr(os, "fstat", fail)
            with suppress(errors.StorageFailure):
                part = storage.open_part(path, create=True)
                assert part is not None
                part.close()
        assert calls

    assert open_descriptors() - before == set()


def test_a_folding_file_system_gives_one_key(make: Make, p: P) -> None:
    storage = make()
    storage._resolver.folding = True

    keys = {storage.canonical(p(name)) for name in ("Käse/A", "KÄSE/a", "ka\u0308se/\u200da")}

    assert len(keys) == 1
    assert storage.child_key(Key("", b"c"), "Ä".encode()) == Key("", "c/ä".encode())
    assert storage.child_key(Key("", b""), b"\xffA") == Key("", b"\xffA")


def test_a_folding_file_system_is_found_by_a_probe(
    make: Make, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = os.stat

    def fold(name: object, **options: object) -> os.stat_result:
        name = name.lower() if isinstance(name, str) else name
        return stat(name, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(probing, "os", type("Folding", (), {**vars(os), "stat": staticmethod(fold)}))
        storage = make(owner="me")

    assert storage.is_folding
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("errors_of_kernel", [errno.EXDEV, errno.EOPNOTSUPP, errno.EIO])
def test_a_copy_goes_by_hand_where_the_kernel_cannot(
    make: Make, p: P, monkeypatch: pytest.MonkeyPatch, errors_of_kernel: int
) -> None:
    storage = make(fallbacks=frozenset({"reflink"}))
    data = bytes(range(256)) * 5000
    put(storage, p("f"), data)
    copy = os.copy_file_range
    calls = []

    def fail_later(src: int, dst: int, count: int, offset: int) -> int:
        calls.append(offset)
        if len(calls) > 1:
            raise OSError(errors_of_kernel, "no")
        return copy(src, dst, 1000, offset)

    monkeypatch.setattr(os, "copy_file_range", fail_later)
    stat = storage.copy(p("f"), p("g"))
    reader = storage.open(p("g"))
    actual = reader.read_at(0, len(data) + 1)
    reader.close()

    assert actual == data
    assert stat.size == len(data)
    assert calls == [0, 1000]


@pytest.mark.security("F-01")
@pytest.mark.usefixtures("no_leak")
def test_a_copy_without_space_leaves_nothing(
    make: Make, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make(fallbacks=frozenset({"reflink", "tmpfile"}))
    put(storage, p("f"), b"data")

    def fail(*args: object) -> int:
        raise OSError(errno.ENOSPC, "full")

    with monkeypatch.context() as patch:
        patch.setattr(content.os, "copy_file_range", fail)
        with pytest.raises(errors.NoSpace):
            storage.copy(p("f"), p("g"))
    storage.close()

    assert os.listdir(root) == ["f"]


def test_a_read_that_would_block_says_so(make: Make, p: P, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = make()
    put(storage, p("f"), b"data")
    reader = storage.open(p("f"))

    def cold(*args: object) -> int:
        raise BlockingIOError(errno.EAGAIN, "cold")

    def partly(fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        return 1

    def unsupported(*args: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "no")

    def broken(*args: object) -> int:
        raise OSError(errno.EIO, "broken")

    answers = []
    for preadv in (cold, partly, unsupported):
        monkeypatch.setattr(os, "preadv", preadv)
        answers.append(reader.try_read_at(0, 10))
    reader.close()
    reader = storage.open(p("f"))
    monkeypatch.setattr(os, "preadv", broken)
    with pytest.raises(errors.StorageFailure):
        reader.try_read_at(0, 10)
    reader.close()
    with pytest.raises(errors.StorageFailure):
        reader.read_at(0, 10)

    assert answers == [None, None, b"data"]


def test_what_might_wait_for_the_disk_is_not_cached(
    make: Make, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make()
    put(storage, p("f"), bytes(300_000))
    reader = storage.open(p("f"))
    probed = []

    def there(fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        probed.append(offset)
        return 1

    def cold_later(fd: int, buffers: list[bytearray], offset: int, flags: int) -> int:
        if offset > 100_000:
            raise BlockingIOError(errno.EAGAIN, "cold")
        return 1

    answers = []
    for preadv in (there, cold_later):
        monkeypatch.setattr(os, "preadv", preadv)
        answers.append(reader.is_cached(1000, 299_000))
    reader.close()

    assert probed == [1000, 132_072, 263_144, 299_999]
    assert answers == [True, False]


@on_linux
@pytest.mark.parametrize(
    ("kind", "expected"), [(0x01021994, True), (0x4D44, False)], ids=["tmpfs", "vfat"]
)
def test_where_the_file_system_does_not_tell_only_what_has_no_disk_is_cached(
    make: Make, p: P, monkeypatch: pytest.MonkeyPatch, kind: int, expected: bool
) -> None:
    storage = make()
    put(storage, p("f"), b"content")
    reader = storage.open(p("f"))

    def unsupported(*args: object) -> int:
        raise OSError(errno.EOPNOTSUPP, "no")

    pretend(monkeypatch, kind)
    with monkeypatch.context() as system:
        system.setattr(os, "preadv", unsupported)
        answers = [reader.is_cached(0, 7), reader.is_cached(0, 7)]
    read = reader.try_read_at(0, 7)
    reader.close()

    assert answers == [expected, expected]
    assert read == b"content"


@on_linux
def test_a_remote_file_system_is_not_inline(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, 0x6969)

    assert not make().inline


def pretend(monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    """Has statfs tell of a type of file system."""

    def fstatfs(fd: int, answer: ctypes.Array[ctypes.c_char]) -> int:
        ctypes.c_long.from_buffer(answer).value = kind
        return 0

    monkeypatch.setattr(_linux, "_libc", type("Libc", (), {"fstatfs": staticmethod(fstatfs)}))


@pytest.mark.security("F-01", "F-02")
@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("how", ["put", "put new", "copy", "member", "part"])
@pytest.mark.parametrize("fallbacks", [frozenset(), FALLBACKS], ids=["all", "none"])
def test_what_there_is_no_room_for_over_a_network_replaces_nothing(
    make: Make,
    p: P,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    fallbacks: frozenset[str],
    how: str,
) -> None:
    """NFS says so when the file is closed, and of every descriptor of it."""
    monkeypatch.setattr(_linux, "is_remote", lambda fd: True)
    (root / "a").write_bytes(b"old")
    (root / "long").write_bytes(b"much longer")
    (root / ".davserver.me.1").mkdir()
    close = os.close

    def full(fd: int) -> None:
        found = os.fstat(fd)
        is_new = stat.S_ISREG(found.st_mode) and found.st_size == len(b"much longer")
        inode = os.stat(root / "long").st_ino
        close(fd)
        if is_new and found.st_ino != inode:
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    storage = make(durability="none", fallbacks=fallbacks)
    with monkeypatch.context() as patch:
        patch.setattr(os, "close", full)
        with pytest.raises(errors.QuotaExceeded):
            _change(storage, p, how)
    storage.close()

    assert (root / "a").read_bytes() == b"old"
    assert sorted(os.listdir(root)) == [".davserver.me.1", "a", "long"]
    assert os.listdir(root / ".davserver.me.1") == []


def _change(storage: FilesystemStorage, p: P, how: str) -> None:
    if how == "copy":
        storage.copy(p("long"), p("b"))
    elif how == "member":
        with closing(storage.members(p(""), copy_to=p(".davserver.me.1"))) as members:
            members.copy("long")
    elif how == "part":
        part = storage.open_part(p(".davserver.me.2"), create=True)
        assert part is not None
        with closing(part):
            try:
                part.write(b"much longer")
                part.sync()
            finally:
                part.remove()
    else:
        put(storage, p("a" if how == "put" else "b"), b"much longer")


@pytest.mark.usefixtures("no_leak")
def test_what_is_said_when_it_is_given_up_hides_nothing(
    make: Make, p: P, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reason why it was is told, and nothing stays open."""
    storage = make(durability="none")
    close = os.close

    def full(*args: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def closed(fd: int) -> None:
        is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        close(fd)
        if is_file:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        patch.setattr(os, "close", closed)
        with pytest.raises(errors.NoSpace):
            put(storage, p("a"), b"new")
        place = storage.find_place(p("a"), storage.direct_key(p("a")))
        assert place is not None
        with pytest.raises(errors.NoSpace), closing(place):
            place.fill(b"new", None)
    storage.close()

    assert os.listdir(root) == []


def test_special_files_are_never_opened(make: Make, root: Path, p: P) -> None:
    storage = make()
    os.mkfifo(root / "fifo")
    with storage.scan(p("")) as entries:
        seen = list(entries)
    with storage.scan_all(p("")) as entries:
        kinds = {entry.name: entry.stat.kind for entry in entries}
    refused: list[Callable[[], object]] = [
        lambda: storage.open(p("fifo")),
        lambda: storage.create(p("fifo")),
        lambda: storage.copy(p("fifo"), p("x")),
        lambda: storage.set_attributes(p("fifo"), mtime_ns=0),
    ]
    for call in refused:
        with pytest.raises(errors.UnsupportedKind):
            call()
    storage.delete(p("fifo"))

    assert [(entry.name, entry.stat.kind) for entry in seen] == [("fifo", Kind.OTHER)]
    assert kinds == {"fifo": Kind.OTHER}
    assert list(root.iterdir()) == []


def test_a_listing_goes_past_what_is_gone_or_hidden_since_its_name_was_read(
    make: Make, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = make()
    for number in range(300):
        (root / f"{number:03}").touch()
    os.symlink("001", root / "link")
    os.mkfifo(root / "fifo")
    (root / ".davserver.me.1").touch()

    def remove(dir_fd: int, names: list[bytes], room: _linux.StatxRoom) -> object:
        for name in {b"005", b"017"} & set(names):
            os.unlink(name, dir_fd=dir_fd)
        return _linux.statx_each(dir_fd, names, room)

    monkeypatch.setattr(_stat, "_statx_each", remove)
    with storage.scan(p("")) as members:
        listed = {entry.name: entry.stat for entry in members}

    expected = {f"{number:03}" for number in range(300)} - {"005", "017"}
    assert set(listed) == expected | {"link", "fifo"}
    assert all(storage.stat(p(name)) == stat for name, stat in listed.items())


def test_a_name_that_cannot_be_looked_at_ends_the_listing(
    make: Make, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client takes what is missing in a listing for deleted."""
    storage = make()
    (root / "f").touch()

    def fail(*args: object, **options: object) -> None:
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr(_linux, "_statx", lambda *args: -1)
    monkeypatch.setattr(os, "stat", fail)

    with storage.scan(p("")) as members, pytest.raises(errors.StorageFailure):
        list(members)


@pytest.mark.parametrize("plain", [False, True], ids=["statx", "stat"])
def test_a_name_that_cannot_be_looked_at_is_not_taken_for_a_free_one(
    root: Path, plain: bool
) -> None:
    looker = _stat.get_looker(plain=plain)
    with open_directory(root) as fd:
        free = looker.try_look(fd, b"none")
        with pytest.raises(OSError, match="too long"):
            looker.try_look(fd, b"x" * 256)

    assert free is None


@pytest.mark.usefixtures("no_leak")
def test_a_version_is_not_begun_where_nobody_knows_what_stands(
    make: Make, root: Path, p: P, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise OSError(errno.ENOMEM, "no memory")

    storage = make()
    (root / "c").mkdir()
    (root / "c" / "f").touch()
    monkeypatch.setattr(_stat.Looker, "try_look", fail)
    begun = [storage.find_place(p(name), storage.direct_key(p(name))) for name in ("c/f", "f")]
    storage.close()

    assert begun == [None, None]


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize("fallbacks", [frozenset(), FALLBACKS], ids=["new", "old"])
def test_a_version_begins_directly_where_its_path_is_what_it_says(
    make: Make, root: Path, p: P, fallbacks: object
) -> None:
    storage = make(fallbacks=fallbacks)
    (root / "c").mkdir()
    (root / "c" / "old").write_bytes(b"12345")
    (root / "link").symlink_to("c")
    (root / "c" / "elsewhere").symlink_to("old")
    sizes = {}
    for name in ("c/old", "c/new", "link/old", "c/elsewhere", "none/new", "c/é", ""):
        place = storage.find_place(p(name), storage.direct_key(p(name)))
        if place is not None:
            place.fill(b"1234567890", None)
            sizes[name] = None if place.stat is None else place.stat.size, place.publish().size
            place.close()
    storage.close()

    assert sizes == {"c/old": (5, 10), "c/new": (None, 10)}
    assert (root / "c" / "old").read_bytes() == b"1234567890"
