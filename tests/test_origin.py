"""Whose request it is: the peer's, or the client's of whom a trusted proxy tells."""

from __future__ import annotations

import os
import signal
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from davserver.origin import client_address, is_private, is_trusted, raw_path
from davserver.protocol.headers import DavHeaders
from tests.support.processes import await_true
from tests.support.server import Server

PROXIES = ("127.0.0.1", "10.0.0.1")


def headers(**fields: str) -> DavHeaders:
    return DavHeaders(
        (name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()
    )


def scope(client: str | None, **more: Any) -> dict[str, Any]:
    return {"client": None if client is None else (client, 1), "scheme": "http"} | more


@pytest.mark.security("T-02", "A-03")
@pytest.mark.parametrize(
    ("peer", "fields", "address"),
    [
        ("192.0.2.1", {}, "192.0.2.1"),
        ("192.0.2.1", {"x_forwarded_for": "203.0.113.1"}, "192.0.2.1"),
        ("127.0.0.1", {}, "127.0.0.1"),
        (None, {}, "-"),
        (None, {"x_forwarded_for": "203.0.113.1"}, "203.0.113.1"),
        ("127.0.0.1", {"x_forwarded_for": "203.0.113.1"}, "203.0.113.1"),
        ("127.0.0.1", {"x_forwarded_for": "198.51.100.1, 203.0.113.1"}, "203.0.113.1"),
        ("127.0.0.1", {"x_forwarded_for": "203.0.113.1, 10.0.0.1"}, "203.0.113.1"),
        ("127.0.0.1", {"x_forwarded_for": "10.0.0.1"}, "10.0.0.1"),
        ("127.0.0.1", {"x_forwarded_for": "203.0.113.1:4711"}, "203.0.113.1"),
        ("127.0.0.1", {"x_forwarded_for": "[2001:db8::1]"}, "2001:db8::1"),
        ("127.0.0.1", {"x_forwarded_for": "2001:DB8::1"}, "2001:db8::1"),
        ("127.0.0.1", {"x_forwarded_for": "unknown"}, "127.0.0.1"),
        ("127.0.0.1", {"x_forwarded_for": "203.0.113.1, x"}, "127.0.0.1"),
        ("127.0.0.1", {"x_forwarded_for": ""}, "127.0.0.1"),
        ("127.0.0.1", {"x_forwarded_for": "\xff"}, "127.0.0.1"),
        ("127.0.0.1", {"forwarded": "for=203.0.113.1;proto=https"}, "203.0.113.1"),
        ("127.0.0.1", {"forwarded": 'for="[2001:db8::1]:47"'}, "2001:db8::1"),
        ("127.0.0.1", {"forwarded": "for=198.51.100.1, for=203.0.113.1"}, "203.0.113.1"),
        ("127.0.0.1", {"forwarded": "by=203.0.113.1"}, "127.0.0.1"),
        ("127.0.0.1", {"x_real_ip": "203.0.113.1"}, "203.0.113.1"),
        ("127.0.0.1", {"x_real_ip": "2001:DB8::1"}, "2001:db8::1"),
        (None, {"x_real_ip": "203.0.113.1"}, "203.0.113.1"),
        ("192.0.2.1", {"x_real_ip": "203.0.113.1"}, "192.0.2.1"),
        ("127.0.0.1", {"x_real_ip": "unknown"}, "127.0.0.1"),
        ("127.0.0.1", {"x_real_ip": "198.51.100.1, 10.0.0.1"}, "10.0.0.1"),
        (
            "127.0.0.1",
            {"x_real_ip": "198.51.100.1", "x_forwarded_for": "203.0.113.1"},
            "203.0.113.1",
        ),
        ("127.0.0.1", {"x_real_ip": "198.51.100.1", "x_forwarded_for": "unknown"}, "127.0.0.1"),
        ("127.0.0.1", {"x_real_ip": "198.51.100.1", "forwarded": "for=203.0.113.1"}, "203.0.113.1"),
        ("127.0.0.1", {"x_real_ip": "198.51.100.1", "forwarded": "proto=https"}, "127.0.0.1"),
    ],
)
def test_the_address_is_the_last_that_no_trusted_proxy_has(
    peer: str | None, fields: dict[str, str], address: str
) -> None:
    assert client_address(scope(peer), headers(**fields), proxies=PROXIES) == address


@pytest.mark.security("T-02")
@pytest.mark.parametrize(
    ("server", "trusted"),
    [(("/run/dav.sock", None), True), (None, True), (("127.0.0.1", 80), False)],
)
def test_who_has_no_address_is_a_proxy_on_a_unix_socket_alone(server: Any, trusted: bool) -> None:
    assert is_trusted(scope(None, server=server), PROXIES) is trusted


@pytest.mark.security("T-02", "A-06")
def test_who_breaks_off_before_it_is_taken_in_is_no_trusted_proxy(tmp_path: Path) -> None:
    """The kernel still has what it sent, and tells its address no more."""
    told = {"DAVSERVER_PROXY_HEADER": "Remote-User", "DAVSERVER_TRUSTED_PROXIES": "192.0.2.1"}
    put = b"PUT /%d HTTP/1.1\r\nHost: x\r\nRemote-User: alice\r\nContent-Length: 1\r\n\r\nx"
    with Server(tmp_path, environment=told) as server:
        os.kill(server.pid, signal.SIGSTOP)
        try:
            for number in range(3):
                with socket.create_connection(("127.0.0.1", server.port)) as peer:
                    peer.sendall(put % number)
                    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        finally:
            os.kill(server.pid, signal.SIGCONT)

        assert await_true(lambda: server.log_text().count(" PUT /") == 3)
        assert list(server.root.iterdir()) == []


@pytest.mark.security("A-01")
@pytest.mark.parametrize(
    "field", ["forwarded", "x_forwarded_for", "x_forwarded_host", "x_real_ip", "via"]
)
def test_a_proxy_on_this_machine_is_not_the_client(field: str) -> None:
    assert is_private(scope("127.0.0.1"), headers(), proxies=PROXIES)
    assert not is_private(scope("127.0.0.1"), headers(**{field: "x"}), proxies=PROXIES)


@pytest.mark.parametrize(
    ("given", "raw"),
    [
        ({"raw_path": b"/a%20b?x=1"}, b"/a%20b"),
        ({"raw_path": None, "path": "/a b/"}, b"/a%20b/"),
        ({"path": "/é"}, b"/%C3%A9"),
    ],
)
def test_the_path_is_the_one_that_was_sent(given: dict[str, Any], raw: bytes) -> None:
    assert raw_path(given) == raw
