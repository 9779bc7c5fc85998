"""Whose request it is: the peer's, or the client's of whom a trusted proxy tells."""

from __future__ import annotations

from typing import Any

import pytest

from davserver.origin import client_address, is_private, raw_path
from davserver.protocol.headers import DavHeaders

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
    ],
)
def test_the_address_is_the_last_that_no_trusted_proxy_has(
    peer: str | None, fields: dict[str, str], address: str
) -> None:
    assert client_address(scope(peer), headers(**fields), proxies=PROXIES) == address


@pytest.mark.security("A-01")
@pytest.mark.parametrize("field", ["forwarded", "x_forwarded_for", "x_forwarded_host", "via"])
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
