"""Real clients that sign in, with Basic and with Digest: each stores a file and reads it back.

Basic is what the server asks for on loopback. For Digest a proxy stands in between, that came by
plain HTTP; and the user's other hash is that of another password.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from davserver.auth.passwords import hash_password
from tests.clients.test_davfs2 import mounted
from tests.clients.test_npm import DRIVE, INSTALLED
from tests.conftest import lack
from tests.support.brokenproxy import Proxy
from tests.support.desktop import Session
from tests.support.mounting import await_content, why_no_mounting
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(90)]

USER, PASSWORD = "ulla", "pass:w%20rd+&"
SETTINGS = """\
[auth]
digest_md5 = true
[[user]]
name = "ulla"
password = "{password}"
"""
DIGEST = 'digest = {{ realm = "davserver", sha256 = "{sha256}", md5 = "{md5}" }}\n'
Client = Callable[[str], str]
Library = Callable[[str], Any]


@pytest.fixture(scope="module", params=["Basic", "Digest"])
def scheme(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


@pytest.fixture(scope="module")
def server(scheme: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that only the user may use."""
    folder = tmp_path_factory.mktemp("server")
    settings = SETTINGS.format(password=hash_password(PASSWORD if scheme == "Basic" else "other"))
    if scheme == "Digest":
        known = f"{USER}:davserver:{PASSWORD}".encode()
        sha256, md5 = (hash_(known).hexdigest() for hash_ in (hashlib.sha256, hashlib.md5))
        settings += DIGEST.format(sha256=sha256, md5=md5)
    (folder / "settings.toml").write_text(settings)
    (folder / "settings.toml").chmod(0o600)
    options = ("--config", str(folder / "settings.toml"), "--anonymous", "none")
    with Server(folder, arguments=options) as running:
        yield running


@pytest.fixture(scope="module")
def url(scheme: str, server: Server) -> Iterator[str]:
    """Where the clients go."""
    if scheme == "Basic":
        yield server.url
        return
    with Proxy(server.port) as proxy:
        yield proxy.url


def run(command: list[str | Path], home: Path, data: bytes = b"") -> str:
    result = subprocess.run(
        command,
        input=data,
        cwd=home,
        env=os.environ | {"HOME": str(home), "LC_ALL": "C.UTF-8"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=60,
        check=False,
    )
    output = result.stdout.decode(errors="replace")
    assert result.returncode == 0, output
    return output


def upload(home: Path) -> Path:
    (home / "up.txt").write_bytes(b"content")
    return home / "up.txt"


def test_curl_uploads_without_emptying_the_file_first(
    client: Client, scheme: str, server: Server, url: str, tmp_path: Path
) -> None:
    """With --digest it sends a PUT of no bytes to be challenged (RFC 7616 section 3.6)."""
    upload(tmp_path)
    (server.root / "curl.txt").write_bytes(b"old")
    command = [client("curl"), "-sS", "--fail", f"--{scheme.lower()}", "-u", f"{USER}:{PASSWORD}"]
    wrong = [client("curl"), "-s", "-o", "body", "-w", "%{http_code}", f"--{scheme.lower()}"]
    url += "curl.txt"
    refused = run([*wrong, "-u", f"{USER}:wrong", "-T", "up.txt", url], tmp_path)
    after_refusal = (server.root / "curl.txt").read_bytes()
    run([*command, "-T", "up.txt", url], tmp_path)

    assert (refused, after_refusal) == ("401", b"old")
    assert (server.root / "curl.txt").read_bytes() == b"content"
    assert run([*command, url], tmp_path) == "content"


def test_cadaver(client: Client, server: Server, url: str, tmp_path: Path) -> None:
    upload(tmp_path)
    netrc = tmp_path / ".netrc"
    netrc.touch(0o600)
    netrc.write_text(f"machine 127.0.0.1 login {USER} password {PASSWORD}\n")
    commands = b"put up.txt cadaver.txt\nget cadaver.txt down.txt\nquit\n"
    output = run([client("cadaver"), url], tmp_path, commands)

    assert output.count("succeeded.") == 2, output
    assert (server.root / "cadaver.txt").read_bytes() == b"content"
    assert (tmp_path / "down.txt").read_bytes() == b"content"


@pytest.mark.skipif(why_no_mounting() is not None, reason=why_no_mounting() or "")
def test_davfs2(client: Client, server: Server, url: str, tmp_path: Path) -> None:
    secret = f'{url} {USER} "{PASSWORD}"\n'
    with mounted(client, url, tmp_path, USER, secret=secret) as path:
        (path / "davfs2.txt").write_bytes(b"content")
        await_content(server.root / "davfs2.txt", b"content")

        assert (path / "davfs2.txt").read_bytes() == b"content"


def test_gvfs(client: Client, server: Server, url: str, tmp_path: Path) -> None:
    url = url.replace("http:", "dav:")
    answers = f"{USER}\n{PASSWORD}\n".encode()

    with Session(client("dbus-daemon"), tmp_path, GIO_USE_VOLUME_MONITOR="unix") as session:
        session.spawn(client("gvfsd"), "--no-fuse")

        def gio(*arguments: str, data: bytes = b"") -> str:
            result = subprocess.run(
                [client("gio"), *arguments],
                input=data,
                env=session.environment,
                capture_output=True,
                timeout=60,
                check=True,
            )
            return result.stdout.decode()

        gio("mount", url, data=answers)
        gio("save", url + "gvfs.txt", data=b"content")
        shown = gio("cat", url + "gvfs.txt")

    assert shown == "content"
    assert (server.root / "gvfs.txt").read_bytes() == b"content"


def test_webdavclient3(library: Library, scheme: str, server: Server, url: str) -> None:
    options = {"webdav_hostname": url, "webdav_login": USER, "webdav_password": PASSWORD}
    dav = library("webdav3.client").Client(options)
    if scheme == "Digest":
        dav.session.auth = library("requests.auth").HTTPDigestAuth(USER, PASSWORD)
    try:
        dav.upload_to(b"content", "webdavclient3.txt")
        back = io.BytesIO()
        dav.download_from(back, "webdavclient3.txt")
    finally:
        dav.session.close()

    assert back.getvalue() == b"content"
    assert (server.root / "webdavclient3.txt").read_bytes() == b"content"


def test_webdav4(library: Library, scheme: str, server: Server, url: str) -> None:
    digest = library("httpx").DigestAuth(USER, PASSWORD)
    auth = digest if scheme == "Digest" else (USER, PASSWORD)
    dav = library("webdav4.client").Client(url, auth=auth)
    try:
        dav.upload_fileobj(io.BytesIO(b"content"), "webdav4.txt")
        back = io.BytesIO()
        dav.download_fileobj("webdav4.txt", back)
    finally:
        dav.http.close()

    assert back.getvalue() == b"content"
    assert (server.root / "webdav4.txt").read_bytes() == b"content"


def test_npm_webdav(client: Client, scheme: str, server: Server, url: str, tmp_path: Path) -> None:
    if not (INSTALLED / "node_modules" / "webdav").is_dir():
        lack(f"npm's webdav is not in {INSTALLED} (sh tests/run.sh installs it)")
    options = {
        "username": USER,
        "password": PASSWORD,
        "authType": "auto" if scheme == "Digest" else "password",
    }
    steps = f"""
        const signedIn = connect({json.dumps(options)});
        await signedIn.putFileContents("/npm.txt", "content");
        return await signedIn.getFileContents("/npm.txt", {{format: "text"}});
    """
    output = run([client("node"), DRIVE, INSTALLED, url], tmp_path, steps.encode())

    assert json.loads(output) == "content"
    assert (server.root / "npm.txt").read_bytes() == b"content"


@pytest.mark.parametrize("scheme", ["Basic"], indirect=True, scope="module")
def test_rclone(client: Client, server: Server, url: str, tmp_path: Path) -> None:
    """It knows Basic alone."""
    upload(tmp_path)
    hidden = run([client("rclone"), "obscure", PASSWORD], tmp_path).strip()
    remote = f":webdav,url='{url}',vendor=other,user={USER},pass='{hidden}':"
    rclone = [client("rclone"), "--config", "/dev/null"]
    run([*rclone, "copyto", "up.txt", f"{remote}rclone.txt"], tmp_path)

    assert run([*rclone, "cat", f"{remote}rclone.txt"], tmp_path) == "content"
    assert (server.root / "rclone.txt").read_bytes() == b"content"


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
@pytest.mark.parametrize("scheme", ["Basic"], indirect=True, scope="module")
def test_aiowebdav2(library: Library, server: Server, url: str) -> None:
    """It knows Basic alone."""
    client_of = library("aiowebdav2.client").Client

    async def content() -> AsyncIterator[bytes]:
        yield b"content"

    async def steps() -> bytes:
        async with client_of(url, USER, PASSWORD) as dav:
            await dav.upload_iter(content(), "aiowebdav2.txt")
            return b"".join([part async for part in await dav.download_iter("aiowebdav2.txt")])

    assert asyncio.run(steps()) == b"content"
    assert (server.root / "aiowebdav2.txt").read_bytes() == b"content"
