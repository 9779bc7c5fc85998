"""aiowebdav2, the Python library (0.6.2) that Home Assistant keeps its backups with."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clients.names import NAMES
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(60)]

Drive = Callable[[Callable[[Any], Awaitable[Any]]], Any]


@pytest.fixture
def drive(library: Callable[[str], Any], server: Server) -> Drive:
    """Returns a function that runs a coroutine with a client."""
    client_of = library("aiowebdav2.client").Client

    def run(steps: Callable[[Any], Awaitable[Any]]) -> Any:
        async def main() -> Any:
            async with client_of(server.url, "", "") as dav:
                return await steps(dav)

        return asyncio.run(main())

    return run


async def pieces_of(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), 10_000):
        yield content[start : start + 10_000]


@pytest.mark.client("aiowebdav2 (Python)", "read", "write")
def test_stream_is_uploaded_and_downloaded(drive: Drive, server: Server) -> None:
    content = os.urandom(200_000)

    async def steps(dav: Any) -> bytes:
        await dav.upload_iter(pieces_of(b"old"), "file.bin")
        await dav.upload_iter(pieces_of(content), "file.bin")
        return b"".join([piece async for piece in await dav.download_iter("file.bin")])

    assert drive(steps) == content
    assert (server.root / "file.bin").read_bytes() == content


@pytest.mark.client("aiowebdav2 (Python)", "list", "times")
def test_what_is_told_of_resources_is_true(drive: Drive, server: Server) -> None:
    (server.root / "told").mkdir()
    (server.root / "told" / "file.txt").write_bytes(b"12345")
    os.utime(server.root / "told" / "file.txt", (1_000_000_000, 1_000_000_000))

    async def steps(dav: Any) -> Any:
        checks = [await dav.check(path) for path in ("told", "told/file.txt", "no")]
        quota = await dav.quota()
        return checks, await dav.list_files("told"), await dav.info("told/file.txt"), quota

    checks, listed, told, quota = drive(steps)
    assert checks == [True, True, False]
    assert listed == ["/told/file.txt"]
    assert told["size"] == "5"
    assert parsedate_to_datetime(told["modified"]).timestamp() == 1_000_000_000
    free = shutil.disk_usage(server.root).free
    assert quota.available_bytes == pytest.approx(free, rel=0.05)


def test_property_is_set_and_listed(
    library: Callable[[str], Any], drive: Drive, server: Server
) -> None:
    models = library("aiowebdav2.models")
    (server.root / "described").mkdir()
    (server.root / "described" / "file.txt").write_bytes(b"x")

    async def steps(dav: Any) -> Any:
        prop = models.Property(name="backup_id", namespace="homeassistant", value="some words")
        await dav.set_property("described/file.txt", prop)
        asked = [models.PropertyRequest(name="backup_id", namespace="homeassistant")]
        return await dav.list_with_properties("described", asked)

    found = drive(steps)
    assert [prop.value for prop in found["described/file.txt"]] == ["some words"]


@pytest.mark.client("aiowebdav2 (Python)", "rename", "delete")
def test_resources_are_made_moved_copied_and_removed(drive: Drive, server: Server) -> None:
    async def steps(dav: Any) -> None:
        await dav.mkdir("from/sub", recursive=True)
        await dav.upload_iter(pieces_of(b"x"), "from/sub/file.txt")
        # Left alone it says Depth: 1, which RFC 4918 section 9.8.3 does not know for COPY.
        await dav.copy("from", "copied", depth="infinity")
        await dav.move("from", "moved")
        await dav.move("moved/sub/file.txt", "moved/renamed.txt")
        await dav.clean("copied")

    drive(steps)

    assert sorted(os.listdir(server.root / "moved")) == ["renamed.txt", "sub"]
    assert not (server.root / "from").exists()
    assert not (server.root / "copied").exists()


@pytest.mark.client("aiowebdav2 (Python)", "lock")
def test_locked_file_takes_only_its_holders_changes(
    library: Callable[[str], Any], drive: Drive, server: Server
) -> None:
    locked = library("aiowebdav2.exceptions").ResourceLockedError
    (server.root / "guarded.txt").write_bytes(b"old")

    async def steps(dav: Any) -> bytes:
        async with await dav.lock("guarded.txt", timeout=600) as holder:
            with pytest.raises(locked):
                await dav.upload_iter(pieces_of(b"theirs"), "guarded.txt")
            refused = (server.root / "guarded.txt").read_bytes()
            await holder.upload_iter(pieces_of(b"mine"), "guarded.txt")
        return refused

    assert drive(steps) == b"old"
    assert (server.root / "guarded.txt").read_bytes() == b"mine"
    with server.connect() as connection:
        assert connection.locks("/guarded.txt") == []


@pytest.mark.client("aiowebdav2 (Python)", "names")
@pytest.mark.parametrize("name", NAMES)
def test_odd_name_is_stored_listed_and_read(drive: Drive, server: Server, name: str) -> None:
    folder = f"odd-{NAMES.index(name)}"

    async def steps(dav: Any) -> Any:
        await dav.mkdir(folder)
        await dav.upload_iter(pieces_of(b"content"), f"{folder}/{name}")
        await dav.move(f"{folder}/{name}", f"{folder}/new {name}")
        read = [piece async for piece in await dav.download_iter(f"{folder}/new {name}")]
        return await dav.list_files(folder), b"".join(read)

    assert drive(steps) == ([f"/{folder}/new {name}"], b"content")
    assert os.listdir(server.root / folder) == [f"new {name}"]


@pytest.mark.client("aiowebdav2 (Python)", "large")
def test_large_file_is_uploaded_and_downloaded(
    drive: Drive, server: Server, tmp_path: Path
) -> None:
    content = os.urandom(1 << 20) * 50
    (tmp_path / "up").write_bytes(content)

    async def steps(dav: Any) -> None:
        await dav.upload("large.bin", tmp_path / "up")
        await dav.download("large.bin", tmp_path / "down")

    drive(steps)

    assert (server.root / "large.bin").read_bytes() == content
    assert (tmp_path / "down").read_bytes() == content
