"""What goes wrong beside a request harms only itself: a disk that hangs, another site, no TLS."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import subprocess
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import AppDav
from tests.support.server import Server
from tests.support.storages import HookedStorage

MakeDav = Callable[..., AppDav]


class SlowStorage(HookedStorage):
    """As a file system across the network is: never asked on the event loop."""

    @property
    def inline(self) -> bool:
        return False


@pytest.mark.security("F-06")
@pytest.mark.parametrize("call", ["open", "create"])
def test_a_file_system_that_hangs_does_not_hang_other_requests(
    make_dav: MakeDav, call: str
) -> None:
    storage = SlowStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    dav.put("/hangs", b"slow")
    dav.put("/works", b"quick")
    hangs = threading.Event()
    storage.on(call, "/hangs", lambda: hangs.wait(15))

    async def both() -> tuple[bytes, int]:
        method, body = ("GET", b"") if call == "open" else ("PUT", b"new")
        slow = asyncio.ensure_future(dav.send(method, "/hangs", body=body))
        quick = await dav.send("GET", "/works")
        assert not slow.done()
        hangs.set()
        return quick.reply.body, (await slow).reply.status

    body, status = dav.run(both())

    assert body == b"quick"
    assert status in (200, 204)


@pytest.mark.security("W-02")
@pytest.mark.parametrize("method", ["PUT", "DELETE", "MOVE", "PROPPATCH", "LOCK", "POST"])
def test_no_other_site_makes_a_browser_change_anything(dav: AppDav, method: str) -> None:
    """A browser asks first for all of these but POST, and is told nothing that lets it go on;
    POST changes nothing."""
    dav.put("/f", b"kept")
    origin = {"Origin": "https://evil.example"}

    preflight = dav.options("/f", origin | {"Access-Control-Request-Method": method})
    form = dav.request("POST", "/f", origin | {"Content-Type": "text/plain"}, b"x=1")

    for reply in (preflight, form):
        assert not [name for name, _ in reply.headers if name.lower().startswith("access-control")]
    assert form.status == 405
    assert dav.get("/f").body == b"kept"


@pytest.mark.security("T-11")
def test_plain_http_on_the_tls_port_is_cut_off_and_harms_nobody(tmp_path: Path) -> None:
    openssl = shutil.which("openssl")
    assert openssl is not None, "openssl makes the certificate of this test"
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    wanted = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=localhost"
    )
    subject = ["-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [openssl, *wanted.split(), *subject, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    environment = {"DAVSERVER_TLS_CERT": str(certificate), "DAVSERVER_TLS_KEY": str(key)}
    server = Server(tmp_path, environment=environment, scheme="https")
    with server:
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = plain.recv(4096)
        trust = ssl.create_default_context(cafile=certificate)
        request = urllib.request.Request(server.url + "f", data=b"content", method="PUT")
        with urllib.request.urlopen(request, timeout=10, context=trust) as reply:
            status = reply.status

    assert not answer.startswith(b"HTTP/")
    assert status == 201
    assert (server.root / "f").read_bytes() == b"content"
