"""Real clients over TLS: each stores a file, renames it (Destination is an https URL) and reads it.

gvfs takes certificates of the system's store alone; cadaver asks at a terminal.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_davfs2 import mounted
from tests.clients.test_npm import DRIVE, INSTALLED
from tests.conftest import lack
from tests.support.certificates import make_pair
from tests.support.mounting import await_content, why_no_mounting
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(60)]

Client = Callable[[str], str]
Library = Callable[[str], Any]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pair(tmp_path_factory.mktemp("tls")).certificate


@pytest.fixture(scope="module")
def server(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    files = ("--tls-cert", str(certificate), "--tls-key", str(certificate.with_name("key.pem")))
    with Server(tmp_path_factory.mktemp("server"), scheme="https", arguments=files) as running:
        yield running


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., str]:
    """Returns a function that runs a command beside the file `up` and gives what it said."""
    (tmp_path / "up").write_bytes(b"content")

    def run(*command: str | Path, data: str = "", **environment: str) -> str:
        result = subprocess.run(
            command,
            input=data.encode(),
            cwd=tmp_path,
            env=os.environ | {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"} | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=50,
            check=False,
        )
        output = result.stdout.decode(errors="replace")
        assert result.returncode == 0, output
        return output

    return run


def test_curl(client: Client, server: Server, certificate: Path, run: Callable[..., str]) -> None:
    curl = [client("curl"), "-sS", "--fail", "--cacert", str(certificate)]
    run(*curl, "-T", "up", server.url + "curl.txt")
    destination = f"Destination: {server.url}curl-2.txt"
    run(*curl, "-X", "MOVE", "-H", destination, server.url + "curl.txt")

    assert run(*curl, server.url + "curl-2.txt") == "content"
    assert (server.root / "curl-2.txt").read_bytes() == b"content"
    assert not (server.root / "curl.txt").exists()


@pytest.mark.skipif(why_no_mounting() is not None, reason=why_no_mounting() or "")
def test_davfs2(client: Client, server: Server, certificate: Path, tmp_path: Path) -> None:
    # It reads the certificate as a user of its own, who does not get into the folders of tests.
    with tempfile.TemporaryDirectory() as public:
        os.chmod(public, 0o755)
        trusted = shutil.copy(certificate, public)
        settings = f"trust_server_cert {trusted}\n"
        with mounted(client, server.url, tmp_path, "tls", settings=settings) as path:
            (path / "davfs2.txt").write_bytes(b"content")
            await_content(server.root / "davfs2.txt", b"content")
            (path / "davfs2.txt").rename(path / "davfs2-2.txt")
            read = (path / "davfs2-2.txt").read_bytes()

    assert read == b"content"
    assert (server.root / "davfs2-2.txt").read_bytes() == b"content"
    assert not (server.root / "davfs2.txt").exists()


def test_rclone(client: Client, server: Server, certificate: Path, run: Callable[..., str]) -> None:
    rclone = [client("rclone"), "--config", "/dev/null", "--ca-cert", str(certificate)]
    remote = f":webdav,url='{server.url}',vendor=other:"
    run(*rclone, "copyto", "up", f"{remote}rclone.txt")
    run(*rclone, "moveto", f"{remote}rclone.txt", f"{remote}rclone-2.txt")

    assert run(*rclone, "cat", f"{remote}rclone-2.txt") == "content"
    assert (server.root / "rclone-2.txt").read_bytes() == b"content"
    assert not (server.root / "rclone.txt").exists()


def test_webdav4(library: Library, server: Server, certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=certificate)
    dav = library("webdav4.client").Client(server.url, verify=trusting)
    back = io.BytesIO()
    try:
        dav.upload_fileobj(io.BytesIO(b"content"), "webdav4.txt")
        dav.move("webdav4.txt", "webdav4-2.txt")
        dav.download_fileobj("webdav4-2.txt", back)
    finally:
        dav.http.close()

    assert back.getvalue() == b"content"
    assert not (server.root / "webdav4.txt").exists()


def test_webdavclient3(library: Library, server: Server, certificate: Path) -> None:
    dav = library("webdav3.client").Client({"webdav_hostname": server.url})
    dav.verify = str(certificate)
    back = io.BytesIO()
    try:
        dav.upload_to(b"content", "webdavclient3.txt")
        dav.move("webdavclient3.txt", "webdavclient3-2.txt")
        dav.download_from(back, "webdavclient3-2.txt")
    finally:
        dav.session.close()

    assert back.getvalue() == b"content"
    assert not (server.root / "webdavclient3.txt").exists()


def test_npm_webdav(
    client: Client, server: Server, certificate: Path, run: Callable[..., str]
) -> None:
    if not (INSTALLED / "node_modules" / "webdav").is_dir():
        lack(f"npm's webdav is not in {INSTALLED} (sh tests/run.sh installs it)")
    steps = """
        await dav.putFileContents("/npm.txt", "content");
        await dav.moveFile("/npm.txt", "/npm-2.txt");
        return await dav.getFileContents("/npm-2.txt", {format: "text"});
    """
    command = [client("node"), DRIVE, INSTALLED, server.url]
    output = run(*command, data=steps, NODE_EXTRA_CA_CERTS=str(certificate))

    assert json.loads(output) == "content"
    assert not (server.root / "npm.txt").exists()
