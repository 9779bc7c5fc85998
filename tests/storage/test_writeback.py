"""What is long goes to disk while more of it comes, where somebody will wait for the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davserver import errors
from davserver.protocol.path import DavPath
from davserver.storage import _linux, writeback
from davserver.storage.base import Writer
from davserver.storage.filesystem import FilesystemStorage

PATH = DavPath(("f",))
Make = Callable[..., FilesystemStorage]
Calls = list[tuple[str, int, int]]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[FilesystemStorage] = []

    def make(durability: str) -> FilesystemStorage:
        storage = FilesystemStorage(
            tmp_path,
            owner="me",
            is_alive=lambda owner: owner == "me",
            durability=durability,  # type: ignore[arg-type]
        )
        made.append(storage)
        return storage

    yield make
    for storage in made:
        storage.close()


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Notes what the kernel is asked for; a step has 10 bytes."""
    calls: Calls = []
    monkeypatch.setattr(writeback, "STEP", 10)
    monkeypatch.setattr(
        _linux, "begin_writeback", lambda _, offset, size: calls.append(("begin", offset, size))
    )
    monkeypatch.setattr(
        _linux, "await_writeback", lambda _, offset, size: calls.append(("await", offset, size))
    )
    return calls


def put_on(writer: Writer, *pieces: bytes) -> None:
    for piece in pieces:
        writer.write(piece)


def put(storage: FilesystemStorage, *pieces: bytes) -> None:
    writer = storage.create(PATH)
    try:
        put_on(writer, *pieces)
        writer.seal()
        writer.commit(replace=True)
        writer.settle()
    finally:
        writer.discard()


@pytest.mark.parametrize("durability", ["file", "full"])
def test_a_step_is_begun_when_it_is_whole_and_the_one_before_is_waited_for(
    make: Make, calls: Calls, durability: str
) -> None:
    put(make(durability), b"12345", b"123456", b"12345678", b"1", b"1", b"1234567890", b"1")

    assert calls == [
        *[("begin", 0, 11)],
        *[("begin", 11, 10), ("await", 0, 11)],
        *[("begin", 21, 10), ("await", 11, 10)],
    ]


def test_what_is_short_is_left_to_fsync(make: Make, calls: Calls) -> None:
    put(make("full"), b"123", b"456", b"789")

    assert calls == []


def test_where_nobody_waits_for_the_disk_nothing_is_begun(make: Make, calls: Calls) -> None:
    put(make("none"), b"1234567890" * 5, b"1234567890" * 5)

    assert calls == []


def test_a_copy_is_written_as_it_is_made(make: Make, calls: Calls, tmp_path: Path) -> None:
    (tmp_path / "from").write_bytes(b"1234567890" * 3)
    storage = make("full")
    reader = storage.open(DavPath(("from",)))
    writer = storage.create(PATH)
    writer.copy(reader, 0, 15)
    writer.copy(reader, 15, 15)
    writer.discard()
    reader.close()

    assert calls == [("begin", 0, 15), ("begin", 15, 15), ("await", 0, 15)]


@pytest.mark.security("F-05")
@pytest.mark.parametrize("call", ["begin_writeback", "await_writeback"])
@pytest.mark.parametrize(
    ("number", "error"), [(errno.EIO, errors.StorageFailure), (errno.ENOSPC, errors.NoSpace)]
)
def test_what_could_not_be_written_is_never_published(
    make: Make,
    calls: Calls,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    number: int,
    error: type[Exception],
) -> None:
    """The kernel tells once: an fsync that follows may find nothing wrong."""
    (tmp_path / "f").write_bytes(b"old")
    storage = make("full")

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_linux, call, fail)
    writer = storage.create(PATH)
    with pytest.raises(error):
        put_on(writer, *[b"1234567890"] * 3)
    writer.seal()
    with pytest.raises(errors.StorageFailure):
        writer.commit(replace=True)
    writer.discard()

    assert os.listdir(tmp_path) == ["f"]
    assert (tmp_path / "f").read_bytes() == b"old"


@pytest.mark.security("F-05")
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EOPNOTSUPP])
def test_what_could_not_be_written_is_no_unknown_call(
    make: Make, calls: Calls, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """File systems over a network, and in other processes, have errors of their own choice."""

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_linux, "await_writeback", fail)
    writer = make("full").create(PATH)
    with pytest.raises(errors.StorageError):
        put_on(writer, *[b"1234567890"] * 3)
    with pytest.raises(errors.StorageFailure):
        writer.commit(replace=True)
    writer.discard()


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM])
def test_where_the_system_cannot_it_is_left_to_fsync(
    make: Make, calls: Calls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(_linux, "begin_writeback", fail)
    put(make("full"), b"1234567890", b"1234567890")

    assert (tmp_path / "f").read_bytes() == b"1234567890" * 2


def test_the_kernel_takes_it(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writeback, "STEP", 1 << 20)
    content = os.urandom(5 << 20)
    pieces = [content[at : at + 300_000] for at in range(0, len(content), 300_000)]
    put(make("full"), *pieces)

    assert (tmp_path / "f").read_bytes() == content
