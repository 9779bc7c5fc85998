"""Members of a collection that is looked up once for many of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from davserver import errors
from davserver.protocol.path import DavPath
from davserver.storage import bymember
from davserver.storage.base import Storage
from davserver.storage.bymember import OpenMembers
from davserver.storage.faulty import FaultyStorage
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.memory import MemoryStorage

Make = Callable[..., FilesystemStorage]
SOURCE = DavPath(("source",))
STAGED = DavPath((".davserver.me.0011223344556677",))
MTIME_NS = 1_700_000_000_123_456_789


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(root: Path = tmp_path, **options: object) -> FilesystemStorage:
            keys: dict[str, object] = {"owner": "me", "is_alive": lambda _: True}
            storage = FilesystemStorage(root, **(keys | {"durability": "none"} | options))  # type: ignore[arg-type]
            stack.callback(storage.close)
            return storage

        (tmp_path / "source").mkdir()
        (tmp_path / STAGED.name).mkdir()
        yield make


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tmp_path / "source"


@pytest.fixture
def staged(tmp_path: Path) -> Path:
    return tmp_path / STAGED.name


def copy(storage: Storage, name: str, *, to: DavPath = STAGED, mtime_ns: int | None = None) -> int:
    with closing(storage.members(SOURCE, copy_to=to)) as members:
        return members.copy(name, mtime_ns=mtime_ns)


def delete(storage: Storage, name: str, *, path: DavPath = SOURCE) -> None:
    with closing(storage.members(path)) as members:
        for failed, error in members.delete_each([name]).failures:
            assert failed == name
            raise error


def filled(collection: Path, *, count: int = 3) -> Path:
    collection.mkdir()
    for number in range(count):
        (collection / f"f{number}").touch()
    return collection


def with_collection(source: Path) -> None:
    (filled(source / "c") / "inner").mkdir()


def with_many(source: Path) -> None:
    filled(source / "c", count=9)


def with_hidden(source: Path) -> None:
    (filled(source / "c") / ".davserver.other.0011223344556677").touch()


def as_file(source: Path) -> None:
    (source / "c").touch()


def as_link(source: Path) -> None:
    (source / "c").symlink_to(filled(source / "real").name)


# -- copies ------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 16_384, 16_385, 300_000])
@pytest.mark.parametrize("fallbacks", [frozenset(), frozenset({"reflink", "copy_file_range"})])
def test_a_copy_has_the_content_and_the_mode(
    make: Make, source: Path, staged: Path, size: int, fallbacks: frozenset[str]
) -> None:
    content = bytes(range(251)) * 1200
    (source / "f").write_bytes(content[:size])
    (source / "f").chmod(0o477)
    copied = copy(make(fallbacks=fallbacks), "f", mtime_ns=MTIME_NS)
    found = (staged / "f").stat()

    assert copied == size
    assert (staged / "f").read_bytes() == content[:size]
    assert found.st_mode & 0o7777 == 0o477
    assert found.st_mtime_ns == MTIME_NS


@pytest.mark.parametrize("mask", [0o000, 0o027, 0o077])
def test_each_of_many_copies_has_the_mode_of_its_source(
    make: Make, source: Path, staged: Path, mask: int
) -> None:
    """Whatever the umask takes away; it is looked for once for each mode."""
    modes = [0o644, 0o640, 0o600, 0o777, 0o444] * 2
    for number, mode in enumerate(modes):
        (source / f"f{number}").write_bytes(b"x")
        (source / f"f{number}").chmod(mode)
    before = os.umask(mask)
    try:
        with closing(make().members(SOURCE, copy_to=STAGED)) as members:
            for number in range(len(modes)):
                members.copy(f"f{number}")
    finally:
        os.umask(before)

    found = [(staged / f"f{number}").stat().st_mode & 0o7777 for number in range(len(modes))]
    assert found == modes


def test_what_is_copied_is_told_unless_it_is_short(make: Make, source: Path) -> None:
    """And who is told may end it: then nothing is left of the copy."""
    (source / "short").write_bytes(b"x" * 100)
    (source / "long").write_bytes(b"x" * 300_000)
    told: list[int] = []

    def end(size: int) -> None:
        raise errors.StorageFailure("no more")

    storage = make(fallbacks=frozenset({"reflink"}))
    with closing(storage.members(SOURCE, copy_to=STAGED)) as members:
        members.copy("short", told=told.append)
        members.copy("long", told=told.append)
        (source / "long").rename(source / "longer")
        with pytest.raises(errors.StorageFailure):
            members.copy("longer", told=end)

    assert sum(told) == 300_000
    assert sorted(os.listdir(source.parent / STAGED.name)) == ["long", "short"]


def test_what_grows_is_copied_to_its_end(make: Make, source: Path, staged: Path) -> None:
    (source / "f").write_bytes(b"0123456789" * 10)
    with (source / "f").open("rb") as one, (staged / "f").open("wb") as other:
        copied = bymember._copy_small(one.fileno(), other.fileno(), 7)

    assert copied == 100
    assert (staged / "f").read_bytes() == b"0123456789" * 10


@pytest.mark.parametrize("size", [0, 7, 100, 200], ids=str)
def test_a_file_that_is_read_in_pieces_is_copied_to_its_end(
    make: Make, monkeypatch: pytest.MonkeyPatch, source: Path, staged: Path, size: int
) -> None:
    """As some file systems give it, whatever its size was."""
    read = os.read
    (source / "f").write_bytes(b"0123456789" * 10)
    with (source / "f").open("rb") as one, (staged / "f").open("wb") as other:
        monkeypatch.setattr(os, "read", lambda fd, count: read(fd, min(count, 30)))
        copied = bymember._copy_small(one.fileno(), other.fileno(), size)

    assert copied == 100
    assert (staged / "f").read_bytes() == b"0123456789" * 10


def test_what_was_empty_is_not_copied_byte_by_byte(
    make: Make, monkeypatch: pytest.MonkeyPatch, source: Path, staged: Path
) -> None:
    """It grows, or the file system tells no sizes."""
    read, counts = os.read, []

    def counted(fd: int, count: int) -> bytes:
        counts.append(count)
        return read(fd, count)

    (source / "f").write_bytes(b"x" * 100_000)
    with (source / "f").open("rb") as one, (staged / "f").open("wb") as other:
        monkeypatch.setattr(os, "read", counted)
        copied = bymember._copy_small(one.fileno(), other.fileno(), 0)

    assert copied == 100_000
    assert len(counts) < 20


@pytest.mark.parametrize("name", ["ä", "a b", "a\u0308"])
def test_any_name_that_may_be_made_is_copied(
    make: Make, source: Path, staged: Path, name: str
) -> None:
    (source / name).write_bytes(b"x")
    copy(make(), name)

    assert os.listdir(staged) == [name]


def test_a_name_that_may_not_be_made_is_refused(make: Make, source: Path, staged: Path) -> None:
    (source / "a\x01").write_bytes(b"x")
    with pytest.raises(errors.InvalidName):
        copy(make(), "a\x01")

    assert os.listdir(staged) == []


@pytest.mark.parametrize("call", ["write", "utime", "fchmod"])
def test_a_copy_that_fails_leaves_nothing(
    make: Make, source: Path, staged: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (source / "f").write_bytes(b"x")
    (source / "f").chmod(0o777)

    def fail(*args: object, **keys: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    storage = make()
    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(errors.NoSpace):
            copy(storage, "f")

    assert os.listdir(staged) == []


def test_a_member_that_is_gone_or_a_place_that_is_gone_is_told(
    make: Make, source: Path, staged: Path
) -> None:
    storage = make()
    (source / "f").write_bytes(b"x")
    with pytest.raises(errors.ResourceNotFound):
        copy(storage, "none")
    with closing(storage.members(SOURCE, copy_to=STAGED)) as members:
        staged.rmdir()
        with pytest.raises(errors.ParentMissing):
            members.copy("f")


def test_where_somebody_may_look_a_file_is_never_half_there(make: Make, source: Path) -> None:
    """Only below a hidden name is it written under its own."""
    (source / "f").write_bytes(b"x")
    (source / "to").mkdir()
    storage = make()
    visible = storage.members(SOURCE, copy_to=SOURCE.child("to"))
    hidden = storage.members(SOURCE, copy_to=STAGED)
    kinds = [isinstance(each, OpenMembers) for each in (visible, hidden)]
    hidden.close()
    visible.close()

    assert kinds == [False, True]


def copy_collection(storage: Storage, name: str, told: Any = None) -> Any:
    with closing(storage.members(SOURCE, copy_to=STAGED)) as members:
        return members.copy_collection(name, limit=8, told=told)


@pytest.mark.parametrize("count", [0, 1, 8])
def test_a_collection_of_few_files_is_copied_with_them(
    make: Make, source: Path, staged: Path, count: int
) -> None:
    (source / "c").mkdir()
    for number in range(count):
        (source / f"c/f{number}").write_bytes(b"x" * number)
        (source / f"c/f{number}").chmod(0o640)

    assert sorted(copy_collection(make(), "c")) == list(range(count))
    found = sorted((path.name, path.read_bytes()) for path in (staged / "c").iterdir())
    assert found == [(f"f{number}", b"x" * number) for number in range(count)]
    assert all(path.stat().st_mode & 0o777 == 0o640 for path in (staged / "c").iterdir())


def with_link(source: Path) -> None:
    (filled(source / "c") / "link").symlink_to("f0")


def with_fifo(source: Path) -> None:
    os.mkfifo(filled(source / "c") / "fifo")


def with_another_spelling(source: Path) -> None:
    (filled(source / "c") / "ä").touch()


@pytest.mark.security("P-08", "P-14")
@pytest.mark.parametrize(
    "made",
    [
        with_collection,
        with_many,
        with_hidden,
        with_link,
        with_fifo,
        with_another_spelling,
        as_file,
        as_link,
    ],
    ids=lambda made: made.__name__,
)
def test_what_is_no_collection_of_few_plain_files_is_not_copied_as_such(
    make: Make, source: Path, staged: Path, made: Callable[[Path], None]
) -> None:
    made(source)

    assert copy_collection(make(), "c") is None
    assert os.listdir(staged) == []


@pytest.mark.parametrize("size", [99, 100, 101])
def test_a_collection_of_much_is_not_copied_at_once(
    make: Make, source: Path, staged: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """If one of them failed at the end, all would be copied again."""
    monkeypatch.setattr(bymember, "_MUCH", 100)
    collection = filled(source / "c")
    (collection / "f0").write_bytes(b"x" * (size // 2))
    (collection / "f1").write_bytes(b"x" * (size - size // 2))
    copied = copy_collection(make(), "c")

    assert (copied is None) == (size > 100)
    assert os.listdir(staged) == ([] if size > 100 else ["c"])


def test_no_copy_takes_the_place_of_what_is_there(make: Make, source: Path, staged: Path) -> None:
    filled(source / "c")
    (staged / "c").mkdir()

    assert copy_collection(make(), "c") is None
    assert os.listdir(staged / "c") == []


def test_of_a_collection_with_a_file_that_cannot_be_copied_nothing_is_left(
    make: Make, source: Path, staged: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who enters it then is told why."""
    filled(source / "c")
    utime = os.utime
    calls: list[int] = []

    def fail_once(*args: Any, **keys: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.EIO, "broken")
        utime(*args, **keys)

    storage = make()
    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", fail_once)
        copied = copy_collection(storage, "c")

    assert copied is None
    assert os.listdir(staged) == []


def test_who_is_told_of_a_collection_may_end_its_copy(
    make: Make, source: Path, staged: Path
) -> None:
    (filled(source / "c") / "long").write_bytes(b"x" * 300_000)

    def end(size: int) -> None:
        raise errors.StorageFailure("no more")

    def stop(size: int) -> None:
        raise KeyboardInterrupt

    storage = make(fallbacks=frozenset({"reflink"}))

    assert copy_collection(storage, "c", end) is None
    with pytest.raises(KeyboardInterrupt):
        copy_collection(storage, "c", stop)
    assert os.listdir(staged) == []


# -- what is no plain file ---------------------------------------------------------------------


@pytest.mark.security("P-08")
def test_a_link_is_copied_as_what_it_leads_to_and_never_out_of_the_root(
    make: Make, source: Path, staged: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "secret"
    outside.write_bytes(b"secret")
    (source / "f").write_bytes(b"inside")
    (source / "in").symlink_to("f")
    (source / "out").symlink_to(outside)
    storage = make()
    copy(storage, "in")
    with pytest.raises(errors.EscapesRoot):
        copy(storage, "out")

    assert (staged / "in").read_bytes() == b"inside"
    assert os.listdir(staged) == ["in"]


def test_a_fifo_in_the_place_of_a_file_holds_nobody_up(make: Make, source: Path) -> None:
    os.mkfifo(source / "f")
    with pytest.raises(errors.UnsupportedKind):
        copy(make(), "f")


# -- removals ----------------------------------------------------------------------------------


def test_a_link_is_removed_and_not_what_it_leads_to(make: Make, source: Path) -> None:
    (source / "f").write_bytes(b"x")
    (source / "link").symlink_to("f")
    delete(make(), "link")

    assert os.listdir(source) == ["f"]


def test_of_many_those_that_cannot_go_are_told_of_and_the_rest_goes(
    make: Make, source: Path
) -> None:
    for name in ("a", "ä", "b\udcff", "z"):
        (source / name).touch()
    (source / "full" / "x").mkdir(parents=True)
    names = ["a", "none", "ä", "full", "b\udcff", "z"]
    with closing(make().members(SOURCE)) as members:
        failures = [(name, type(error)) for name, error in members.delete_each(names).failures]

    assert failures == [("none", errors.ResourceNotFound), ("full", errors.CollectionNotEmpty)]
    assert os.listdir(source) == ["full"]


def test_a_collection_in_the_place_of_a_file_goes_only_when_it_is_empty(
    make: Make, source: Path
) -> None:
    (source / "empty").mkdir()
    (source / "full" / "x").mkdir(parents=True)
    storage = make()
    delete(storage, "empty")
    with pytest.raises(errors.CollectionNotEmpty):
        delete(storage, "full")

    assert os.listdir(source) == ["full"]


def delete_collection(storage: Storage, name: str, *, limit: int = 8) -> int | None:
    with closing(storage.members(SOURCE)) as members:
        return members.delete_collection(name, limit=limit)


@pytest.mark.parametrize("name", ["c", "ä", "a\udcff"])
@pytest.mark.parametrize("count", [0, 1, 8])
def test_a_collection_of_few_files_goes_with_them(
    make: Make, source: Path, name: str, count: int
) -> None:
    filled(source / name, count=count)
    (source / "f").touch()

    assert delete_collection(make(), name) == count + 1
    assert os.listdir(source) == ["f"]


@pytest.mark.security("P-08")
def test_links_in_such_a_collection_go_and_not_what_they_lead_to(
    make: Make, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = filled(tmp_path_factory.mktemp("outside") / "c")
    collection = filled(source / "c")
    (collection / "to-collection").symlink_to(outside)
    (collection / "to-file").symlink_to(outside / "f0")
    os.mkfifo(collection / "fifo")

    assert delete_collection(make(), "c") == 7
    assert os.listdir(source) == []
    assert len(os.listdir(outside)) == 3


@pytest.mark.security("P-08", "P-14")
@pytest.mark.parametrize(
    "made",
    [with_collection, with_many, with_hidden, as_file, as_link],
    ids=lambda made: made.__name__,
)
def test_what_is_no_collection_of_few_files_stays_as_it_is(
    make: Make, source: Path, made: Callable[[Path], None]
) -> None:
    made(source)
    before = sorted(source.rglob("*"))

    assert delete_collection(make(), "c") is None
    assert sorted(source.rglob("*")) == before


def test_of_a_collection_with_a_member_that_cannot_go_nothing_is_claimed(
    make: Make, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who enters it then is told why."""
    filled(source / "c")
    unlink = os.unlink

    def refuse(path: bytes, **keys: Any) -> None:
        if path == b"f1":
            raise PermissionError(errno.EPERM, "not yours")
        unlink(path, **keys)

    storage = make()
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        gone = delete_collection(storage, "c")

    assert gone is None
    assert "f1" in os.listdir(source / "c")


def test_what_is_gone_and_what_is_read_only_is_told(make: Make, source: Path) -> None:
    (source / "f").write_bytes(b"x")
    with pytest.raises(errors.ResourceNotFound):
        delete(make(), "none")
    with pytest.raises(errors.ReadOnlyStorage):
        delete(make(read_only=True), "f")

    assert (source / "f").exists()


@pytest.mark.security("P-08")
def test_a_link_in_the_place_of_the_collection_leads_nowhere(
    make: Make, source: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside")
    (outside / "f").write_bytes(b"x")
    source.rmdir()
    source.symlink_to(outside)
    with pytest.raises(errors.EscapesRoot):
        delete(make(), "f")

    assert (outside / "f").exists()


# -- other storages ----------------------------------------------------------------------------


def test_every_storage_copies_and_deletes_members() -> None:
    inner = MemoryStorage()
    storage = FaultyStorage(inner, fail_at=0, error=errors.StorageFailure)
    for path in (SOURCE, STAGED):
        storage.make_collection(path)
    writer = storage.create(SOURCE.child("f"))
    writer.write(b"data")
    writer.seal()
    writer.commit(replace=False)
    copied = copy(storage, "f")
    delete(inner, "f")

    assert copied == 4
    assert inner.locate(SOURCE.child("f")).stat is None
    assert inner.stat(STAGED.child("f")).size == 4
