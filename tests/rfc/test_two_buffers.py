"""A long body is written in a thread while more of it comes: no more than two buffers of it are
in memory, and what fails in the thread ends the upload."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from davserver.errors import NoSpace
from davserver.methods._gathering import Gathered
from davserver.protocol.path import DavPath
from davserver.storage.base import Bytes
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.writer import FileWriter
from tests.conftest import AppDav

MakeDav = Callable[..., AppDav]
MIB = 1 << 20
PIECE = 1 << 18
LARGE = bytes(range(251)) * 41_778  # 10 MiB and a bit
PIECES = [LARGE[at : at + PIECE] for at in range(0, len(LARGE), PIECE)]


class Held:
    """Keeps every write of a file waiting until `let` is set; then it may fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, error: Exception | None = None) -> None:
        self.let = threading.Event()
        self.began = threading.Event()
        self.closed_while_writing = False
        self._writing = False
        write, discard = FileWriter.write, FileWriter.discard

        def slow(writer: FileWriter, *pieces: Bytes) -> None:
            self._writing = True
            self.began.set()
            assert self.let.wait(10)
            self._writing = False
            if error is not None:
                raise error
            write(writer, *pieces)

        def gone(writer: FileWriter) -> None:
            self.closed_while_writing |= self._writing
            discard(writer)

        monkeypatch.setattr(FileWriter, "write", slow)
        monkeypatch.setattr(FileWriter, "discard", gone)


@pytest.fixture
def disk(make_dav: MakeDav) -> AppDav:
    return make_dav("filesystem", durability="none")


def counting(seen: list[int]) -> Callable[[int], Awaitable[None]]:
    async def before(number: int) -> None:
        seen.append(number)

    return before


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.001)


def test_while_one_buffer_is_written_one_more_fills_and_no_third(
    disk: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    asked: list[int] = []

    async def upload() -> tuple[int, int]:
        sent = disk.send("PUT", "/f", None, PIECES, before=counting(asked))
        task = asyncio.ensure_future(sent)
        await until(lambda: len(asked) >= 2 * MIB // PIECE)
        for _ in range(50):
            await asyncio.sleep(0.001)
        taken = len(asked)
        held.let.set()
        return taken, (await task).reply.status

    taken, status = disk.run(upload())

    assert taken == 2 * MIB // PIECE
    assert status == 201
    assert disk.get("/f").body == LARGE


def test_where_memory_is_short_each_piece_waits_for_the_one_before(
    disk: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    disk.app.services.runner.bodies.left = MIB
    asked: list[int] = []

    async def upload() -> tuple[int, int]:
        sent = disk.send("PUT", "/f", None, PIECES, before=counting(asked))
        task = asyncio.ensure_future(sent)
        await until(held.began.is_set)
        for _ in range(50):
            await asyncio.sleep(0.001)
        taken = len(asked)
        held.let.set()
        return taken, (await task).reply.status

    taken, status = disk.run(upload())

    assert taken == MIB // PIECE
    assert status == 201
    assert disk.get("/f").body == LARGE


def test_a_failed_write_ends_the_upload_and_leaves_what_was_there(
    disk: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk.put("/f", b"old")
    with monkeypatch.context() as patch:
        held = Held(patch, NoSpace("full"))
        held.let.set()
        exchange = disk.run(disk.send("PUT", "/f", None, PIECES))

    assert exchange.reply.status == 507
    assert exchange.received < len(PIECES)
    assert disk.get("/f").body == b"old"


def test_a_client_that_leaves_during_a_write_leaves_nothing(
    disk: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)
    left: list[int] = []

    async def before(number: int) -> None:
        if number == 6:
            left.append(number)

    async def upload() -> None:
        sent = disk.send("PUT", "/f", None, PIECES[:6], leaves=True, before=before)
        task = asyncio.ensure_future(sent)
        await until(lambda: bool(left))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not task.done()
        held.let.set()
        await task

    disk.run(upload())

    assert not held.closed_while_writing
    assert disk.request("GET", "/f").status == 404


def test_an_upload_that_is_cancelled_during_a_write_leaves_nothing(
    disk: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = Held(monkeypatch)

    async def upload() -> None:
        task = asyncio.ensure_future(disk.send("PUT", "/f", None, PIECES))
        await until(held.began.is_set)
        task.cancel()
        await asyncio.sleep(0.01)
        held.let.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    disk.run(upload())

    assert not held.closed_while_writing
    assert disk.request("GET", "/f").status == 404


# -- the pieces --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sizes",
    [[1] * 300_000, [20_000, 5, 5, 20_000, 7], [16_384, 16_383, 1, 70_000], [5, 0, 5]],
    ids=["crumbs", "mixed", "edges", "empty"],
)
def test_pieces_are_kept_in_order_and_crumbs_are_joined(sizes: list[int]) -> None:
    gathered = Gathered()
    whole = bytearray()
    for number, size in enumerate(sizes):
        piece = bytes([number % 256]) * size
        gathered.add(piece)
        whole += piece

    assert b"".join(gathered.pieces) == whole
    assert gathered.size == len(whole)
    assert len(gathered.pieces) <= 2 * len(whole) // 16_384 + 2


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[FilesystemStorage]:
    storage = FilesystemStorage(tmp_path, owner="me", is_alive=lambda _: True, durability="none")
    yield storage
    storage.close()


def test_more_pieces_than_one_call_takes_are_written_whole(storage: FilesystemStorage) -> None:
    pieces = [b"%d," % number for number in range(3000)]
    writer = storage.create(DavPath(("f",)))
    writer.write(*pieces, b"", memoryview(b"end"))
    writer.seal()
    writer.commit(replace=False)
    writer.discard()
    reader = storage.open(DavPath(("f",)))
    data = reader.read_at(0, 1 << 20)
    reader.close()

    assert data == b"".join(pieces) + b"end"
    assert writer.size == len(data)


def test_a_write_that_takes_only_part_goes_on_with_the_rest(
    storage: FilesystemStorage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(fd: int, pieces: Sequence[memoryview]) -> int:
        return os.write(fd, b"".join(pieces)[:5])

    monkeypatch.setattr(os, "writev", short)
    writer = storage.create(DavPath(("f",)))
    writer.write(b"one", b"two", b"three", b"four")
    writer.seal()
    writer.commit(replace=False)
    writer.discard()

    assert (tmp_path / "f").read_bytes() == b"onetwothreefour"
