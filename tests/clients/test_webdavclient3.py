"""webdavclient3, the Python library (3.14.7)."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.clients.names import NAMES
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(60)]


@pytest.fixture
def connect(library: Callable[[str], Any], server: Server) -> Iterator[Callable[[], Any]]:
    """Returns a function that makes clients."""
    made = []

    def make() -> Any:
        client = library("webdav3.client").Client({"webdav_hostname": server.url})
        made.append(client)
        return client

    yield make
    for client in made:
        client.session.close()


@pytest.fixture
def dav(connect: Callable[[], Any]) -> Any:
    return connect()


@pytest.mark.client("webdavclient3 (Python)", "read", "write")
def test_file_is_uploaded_replaced_and_downloaded(dav: Any, server: Server, tmp_path: Path) -> None:
    content = os.urandom(200_000)
    (tmp_path / "up").write_bytes(b"old")
    dav.upload_sync(remote_path="file.bin", local_path=str(tmp_path / "up"))
    (tmp_path / "up").write_bytes(content)
    dav.upload_sync(remote_path="file.bin", local_path=str(tmp_path / "up"))
    dav.download_sync(remote_path="file.bin", local_path=str(tmp_path / "down"))

    assert (server.root / "file.bin").read_bytes() == content
    assert (tmp_path / "down").read_bytes() == content


def test_upload_from_a_stream_is_chunked(dav: Any, server: Server) -> None:
    pieces = [os.urandom(1000) for _ in range(20)]
    dav.upload_to(iter(pieces), "stream.bin")
    back = io.BytesIO()
    dav.download_from(back, "stream.bin")

    assert (server.root / "stream.bin").read_bytes() == b"".join(pieces)
    assert back.getvalue() == b"".join(pieces)


@pytest.mark.client("webdavclient3 (Python)", "list", "times")
def test_what_is_told_of_resources_is_true(dav: Any, server: Server) -> None:
    dav.mkdir("told")
    (server.root / "told" / "file.txt").write_bytes(b"12345")
    os.utime(server.root / "told" / "file.txt", (1_000_000_000, 1_000_000_000))
    told = dav.info("told/file.txt")

    assert dav.list("told") == ["file.txt"]
    assert [dav.check(path) for path in ("told", "told/", "told/file.txt", "no")] == [
        *(True, True, True, False)
    ]
    assert (dav.is_dir("told"), dav.is_dir("told/file.txt")) == (True, False)
    assert told["size"] == "5"
    assert parsedate_to_datetime(told["modified"]).timestamp() == 1_000_000_000
    assert int(dav.free()) == pytest.approx(shutil.disk_usage(server.root).free, rel=0.05)


def test_property_is_set_and_read(dav: Any, server: Server) -> None:
    (server.root / "described.txt").write_bytes(b"x")
    name = {"namespace": "test", "name": "topic"}
    dav.set_property("described.txt", option=name | {"value": "some words"})

    assert dav.get_property("described.txt", option=name) == "some words"


@pytest.mark.client("webdavclient3 (Python)", "rename", "delete")
def test_resources_are_moved_copied_and_removed(dav: Any, server: Server) -> None:
    dav.mkdir("from")
    (server.root / "from" / "file.txt").write_bytes(b"x")
    dav.copy("from/file.txt", "from/copied.txt")
    # Left alone it says Depth: 1, which RFC 4918 section 9.8.3 does not know for COPY.
    dav.copy("from", "tree", depth="infinity")
    dav.move("from", "moved")
    dav.move("moved/file.txt", "moved/renamed.txt")
    dav.clean("moved/copied.txt")

    assert os.listdir(server.root / "moved") == ["renamed.txt"]
    assert sorted(os.listdir(server.root / "tree")) == ["copied.txt", "file.txt"]
    dav.clean("moved")
    assert not (server.root / "moved").exists()


@pytest.mark.client("webdavclient3 (Python)", "lock")
def test_locked_file_takes_only_its_holders_changes(
    library: Callable[[str], Any], connect: Callable[[], Any], server: Server, tmp_path: Path
) -> None:
    exceptions = library("webdav3.exceptions")
    (server.root / "folder").mkdir()
    (server.root / "folder" / "guarded.txt").write_bytes(b"old")
    (tmp_path / "mine").write_bytes(b"mine")
    (tmp_path / "theirs").write_bytes(b"theirs")
    path = "folder/guarded.txt"
    with connect().lock(path, timeout=600) as holder:
        with pytest.raises(exceptions.WebDavException):
            connect().upload_sync(remote_path=path, local_path=str(tmp_path / "theirs"))
        refused = (server.root / path).read_bytes()
        holder.upload_sync(remote_path=path, local_path=str(tmp_path / "mine"))

    assert refused == b"old"
    assert (server.root / path).read_bytes() == b"mine"
    connect().upload_sync(remote_path=path, local_path=str(tmp_path / "theirs"))
    assert (server.root / path).read_bytes() == b"theirs"


@pytest.mark.client("webdavclient3 (Python)", "names")
@pytest.mark.parametrize("name", NAMES)
def test_odd_name_is_stored_listed_and_read(dav: Any, server: Server, name: str) -> None:
    folder = f"odd-{NAMES.index(name)}"
    dav.mkdir(folder)
    dav.upload_to(b"content", f"{folder}/{name}")
    dav.move(f"{folder}/{name}", f"{folder}/new {name}")
    back = io.BytesIO()
    dav.download_from(back, f"{folder}/new {name}")

    assert dav.list(folder) == [f"new {name}"]
    assert os.listdir(server.root / folder) == [f"new {name}"]
    assert back.getvalue() == b"content"


@pytest.mark.client("webdavclient3 (Python)", "large")
def test_large_file_is_uploaded_and_downloaded(dav: Any, server: Server, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 50
    (tmp_path / "up").write_bytes(content)
    dav.upload_sync(remote_path="large.bin", local_path=str(tmp_path / "up"))
    dav.download_sync(remote_path="large.bin", local_path=str(tmp_path / "down"))

    assert (server.root / "large.bin").read_bytes() == content
    assert (tmp_path / "down").read_bytes() == content


def test_directory_is_pushed_and_pulled(dav: Any, server: Server, tmp_path: Path) -> None:
    (tmp_path / "local" / "sub").mkdir(parents=True)
    (tmp_path / "local" / "a.txt").write_bytes(b"a")
    (tmp_path / "local" / "sub" / "b.txt").write_bytes(b"b")
    dav.mkdir("pushed")
    dav.push("pushed", str(tmp_path / "local"))
    (server.root / "pushed" / "c.txt").write_bytes(b"c")
    dav.pull("pushed", str(tmp_path / "local"))

    assert (server.root / "pushed" / "sub" / "b.txt").read_bytes() == b"b"
    assert (tmp_path / "local" / "c.txt").read_bytes() == b"c"
