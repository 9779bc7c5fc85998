"""Members by the names that their collection lists: what kind they are, without a look at them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from davserver import errors
from davserver.protocol.path import DavPath
from davserver.storage.base import Kind
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.listed import FEW, Listed, listed_of
from davserver.storage.memory import MemoryStorage

Make = Callable[..., FilesystemStorage]
ROOT = DavPath(())


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    with ExitStack() as stack:

        def make(**options: object) -> FilesystemStorage:
            keys: dict[str, object] = {"owner": "me", "is_alive": lambda _: True}
            storage = FilesystemStorage(tmp_path, **(keys | options))  # type: ignore[arg-type]
            stack.callback(storage.close)
            return storage

        yield make


def listed(storage: FilesystemStorage | MemoryStorage) -> list[Listed]:
    with storage.scan_all(ROOT) as members:
        return list(listed_of(members))


def test_a_directory_tells_which_members_are_files_and_which_collections(
    make: Make, tmp_path: Path
) -> None:
    for name in ("f", "ä", "a\udcff"):
        (tmp_path / name).touch()
    (tmp_path / "c").mkdir()
    (tmp_path / "link").symlink_to("c")
    (tmp_path / ".davserver.me.0011223344556677").touch()
    os.mkfifo(tmp_path / "fifo")
    (few,) = listed(make())

    assert sorted(few.names) == sorted(["f", "ä", "a\udcff", "c", "link", "fifo"])
    assert sorted(few.files) == sorted(["f", "ä", "a\udcff"])
    assert few.collections == ["c"]
    assert sorted(few.without(few.files)) == ["c", "fifo", "link"]
    assert sorted(few.without(few.collections)) == sorted({*few.names} - {"c"})


def test_a_storage_without_a_directory_tells_the_same() -> None:
    storage = MemoryStorage()
    storage.make_collection(DavPath(("c",)))
    writer = storage.create(DavPath(("f",)))
    writer.seal()
    writer.commit(replace=False)
    (few,) = listed(storage)
    (entry,) = few.look(["c"])

    assert (sorted(few.names), few.files, few.collections) == (["c", "f"], ["f"], ["c"])
    assert (entry.name, entry.stat.kind) == ("c", Kind.COLLECTION)


@pytest.mark.parametrize("count", [0, 1, FEW, FEW + 1, 3 * FEW])
def test_few_come_together(make: Make, tmp_path: Path, count: int) -> None:
    for number in range(count):
        (tmp_path / f"f{number}").touch()
    each = listed(make())

    assert sorted(name for few in each for name in few.files) == sorted(os.listdir(tmp_path))
    assert all(few.names and not few.without(few.files) for few in each)
    assert max((len(few.names) for few in each), default=0) <= FEW


@pytest.mark.parametrize("fallbacks", [frozenset(), frozenset({"statx"})], ids=["statx", "stat"])
def test_who_looks_sees_what_there_is_now(
    make: Make, tmp_path: Path, fallbacks: frozenset[str]
) -> None:
    for name in ("gone", "kept", "turned"):
        (tmp_path / name).write_bytes(b"old")
    with make(fallbacks=fallbacks).scan_all(ROOT) as members:
        (few,) = listed_of(members)
        (tmp_path / "gone").unlink()
        (tmp_path / "turned").unlink()
        (tmp_path / "turned").mkdir()
        (tmp_path / "kept").write_bytes(b"newer")
        entries = {entry.name: entry.stat for entry in few.look(few.names)}

    assert few.files == few.names
    assert entries.keys() == {"kept", "turned"}
    assert entries["turned"].kind is Kind.COLLECTION
    assert entries["kept"].size == 5


@pytest.mark.parametrize("fallbacks", [frozenset(), frozenset({"statx"})], ids=["statx", "stat"])
def test_nobody_looks_into_a_directory_that_is_closed(
    make: Make, tmp_path: Path, fallbacks: frozenset[str]
) -> None:
    """Its number may be that of another one by now."""
    (tmp_path / "f").touch()
    (few,) = listed(make(fallbacks=fallbacks))
    others = [os.open(tmp_path, os.O_RDONLY) for _ in range(3)]
    try:
        with pytest.raises(errors.StorageError):
            few.look(few.names)
    finally:
        for fd in others:
            os.close(fd)


def test_what_is_read_one_by_one_is_looked_at(make: Make, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"123")
    (tmp_path / "link").symlink_to("nowhere")
    with make().scan_all(ROOT) as members:
        seen = {entry.name: (entry.stat.kind, entry.stat.size) for entry in members}

    assert seen == {"f": (Kind.FILE, 3), "link": (Kind.OTHER, 0)}
