"""webdav4, the Python library, and its file system for fsspec (webdav4 0.11)."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clients.names import NAMES
from tests.support.server import Server

# It takes a path for part of a URL: it cannot name what has one of these in it.
WITHIN_ITS_REACH = [name for name in NAMES if not set(name) & set("%#?")]
pytestmark = [pytest.mark.clients, pytest.mark.timeout(60)]


@pytest.fixture
def dav(library: Callable[[str], Any], server: Server) -> Iterator[Any]:
    client = library("webdav4.client").Client(server.url)
    yield client
    client.http.close()


@pytest.fixture
def files(library: Callable[[str], Any], server: Server) -> Iterator[Any]:
    """The share as a file system of fsspec."""
    filesystem = library("webdav4.fsspec").WebdavFileSystem(server.url, skip_instance_cache=True)
    yield filesystem
    filesystem.client.http.close()


@pytest.mark.client("webdav4 (Python)", "read", "write")
def test_file_is_uploaded_replaced_and_downloaded(dav: Any, server: Server) -> None:
    content = os.urandom(200_000)
    dav.upload_fileobj(io.BytesIO(b"old"), "file.bin")
    dav.upload_fileobj(io.BytesIO(content), "file.bin", overwrite=True)
    back = io.BytesIO()
    dav.download_fileobj("file.bin", back)

    assert (server.root / "file.bin").read_bytes() == content
    assert back.getvalue() == content


def test_upload_over_something_is_refused_unless_asked_for(
    library: Callable[[str], Any], dav: Any, server: Server
) -> None:
    (server.root / "taken.txt").write_bytes(b"old")
    with pytest.raises(library("webdav4.client").ResourceAlreadyExists):
        dav.upload_fileobj(io.BytesIO(b"new"), "taken.txt")

    assert (server.root / "taken.txt").read_bytes() == b"old"


@pytest.mark.client("webdav4 (Python)", "list", "times")
def test_what_is_told_of_resources_is_true(dav: Any, server: Server) -> None:
    dav.mkdir("told")
    (server.root / "told" / "file.txt").write_bytes(b"12345")
    os.utime(server.root / "told" / "file.txt", (1_000_000_000, 1_000_000_000))
    with server.connect() as connection:
        etag = connection.head("/told/file.txt").headers["etag"]

    assert [(one["name"], one["type"]) for one in dav.ls("told")] == [("told/file.txt", "file")]
    assert (dav.exists("told"), dav.isdir("told"), dav.isfile("told/file.txt")) == (True,) * 3
    assert dav.exists("told/other.txt") is False
    assert dav.content_length("told/file.txt") == 5
    assert dav.content_type("told/file.txt") == "text/plain; charset=utf-8"
    assert dav.modified("told/file.txt") == datetime.fromtimestamp(1_000_000_000, UTC)
    assert dav.etag("told/file.txt") == etag
    assert dav.info("told/file.txt")["content_length"] == 5


@pytest.mark.client("webdav4 (Python)", "rename", "delete")
def test_resources_are_moved_copied_and_removed(
    library: Callable[[str], Any], dav: Any, server: Server
) -> None:
    dav.mkdir("from")
    (server.root / "from" / "file.txt").write_bytes(b"x")
    dav.copy("from", "copied")
    dav.move("from", "moved")
    dav.move("moved/file.txt", "moved/renamed.txt")
    with pytest.raises(library("webdav4.client").ResourceAlreadyExists):
        dav.move("moved", "copied")
    dav.remove("copied")

    assert os.listdir(server.root / "moved") == ["renamed.txt"]
    assert not (server.root / "from").exists()
    assert not (server.root / "copied").exists()


@pytest.mark.client("webdav4 (Python)", "names")
@pytest.mark.parametrize("name", WITHIN_ITS_REACH)
def test_odd_name_is_stored_listed_and_read(dav: Any, server: Server, name: str) -> None:
    folder = f"odd-{NAMES.index(name)}"
    dav.mkdir(folder)
    dav.upload_fileobj(io.BytesIO(b"content"), f"{folder}/{name}")
    dav.move(f"{folder}/{name}", f"{folder}/new {name}")

    assert dav.ls(folder, detail=False) == [f"{folder}/new {name}"]
    assert os.listdir(server.root / folder) == [f"new {name}"]
    with dav.open(f"{folder}/new {name}", mode="rb") as file:
        assert file.read() == b"content"


@pytest.mark.client("webdav4 (Python)", "large")
def test_large_file_is_uploaded_and_downloaded(dav: Any, server: Server, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 50
    (tmp_path / "up").write_bytes(content)
    dav.upload_file(tmp_path / "up", "large.bin")
    dav.download_file("large.bin", tmp_path / "down")

    assert (server.root / "large.bin").read_bytes() == content
    assert (tmp_path / "down").read_bytes() == content


def test_fsspec_finds_reads_parts_and_writes(files: Any, server: Server) -> None:
    files.makedirs("tree/deep/er")
    with files.open("tree/deep/er/file.bin", "wb") as file:
        file.write(bytes(range(256)))
    files.pipe_file("tree/other.bin", b"other")
    with files.open("tree/deep/er/file.bin", "rb") as file:
        file.seek(100)
        part = file.read(5)

    assert files.find("tree") == ["tree/deep/er/file.bin", "tree/other.bin"]
    assert part == bytes(range(100, 105))
    assert (server.root / "tree" / "deep" / "er" / "file.bin").read_bytes() == bytes(range(256))
    assert files.cat_file("tree/other.bin") == b"other"
