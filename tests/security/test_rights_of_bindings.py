"""Rights by path where a resource has several bindings (RFC 5842 section 12): a binding gives
nobody what they may not have by its other names, and tells of no collection that they may not see.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav
from tests.support.binding import HREF, PARENT_SET
from tests.support.credentials import Basic, entry
from tests.support.dav import XML
from tests.support.reply import Reply

MakeDav = Callable[..., AppDav]


@pytest.fixture
def carrier(make_dav: MakeDav) -> AppDav:
    """bob may not see /private, and may only read /fixed; alice may do anything."""
    rules = (
        {"path": "/private", "access": "none", "users": ("bob",)},
        {"path": "/fixed", "access": "read", "users": ("bob",)},
    )
    users = [entry("alice"), entry("bob")]
    return make_dav("filesystem", user=users, anonymous=None, rule=rules)


@pytest.fixture
def alice(carrier: AppDav) -> Basic:
    alice = Basic(carrier, "alice")
    for path in ("/private/", "/fixed/", "/open/"):
        assert alice.mkcol(path).status == 201
        assert alice.put(f"{path}f", path.encode()).status == 201
    return alice


@pytest.fixture
def bob(carrier: AppDav, alice: Basic) -> Basic:
    return Basic(carrier, "bob")


def ask(dav: Basic, method: str, target: str, segment: str, href: str = "") -> Reply:
    local = method.lower()
    inner = f"<D:segment>{segment}</D:segment>" + (f"<D:href>{href}</D:href>" if href else "")
    body = f'<D:{local} xmlns:D="DAV:">{inner}</D:{local}>'.encode()
    return dav.request(method, target, {"Content-Type": XML}, body)


@pytest.mark.security("A-06")
@pytest.mark.parametrize(
    ("method", "target", "segment", "href"),
    [
        ("BIND", "/open/", "x", "/private/f"),
        ("BIND", "/open/", "x", "/private/"),
        ("BIND", "/open/", "x", "/private/none"),
        ("BIND", "/fixed/", "x", "/open/f"),
        ("BIND", "/private/", "x", "/open/f"),
        ("BIND", "/", "private", "/open/"),
        ("BIND", "/", "fixed", "/open/"),
        ("UNBIND", "/fixed/", "f", ""),
        ("UNBIND", "/", "private", ""),
        ("UNBIND", "/", "fixed", ""),
        ("REBIND", "/open/", "x", "/fixed/f"),
        ("REBIND", "/open/", "x", "/private/f"),
        ("REBIND", "/fixed/", "x", "/open/f"),
    ],
)
def test_who_may_not_is_refused(
    alice: Basic, bob: Basic, method: str, target: str, segment: str, href: str
) -> None:
    before = sorted(alice.propfind("/", b"", depth="infinity"))
    reply = ask(bob, method, target, segment, href)

    assert reply.status == 403
    assert sorted(alice.propfind("/", b"", depth="infinity")) == before


@pytest.mark.security("A-06")
def test_what_may_only_be_read_can_be_bound_and_not_written_by_it(alice: Basic, bob: Basic) -> None:
    bound = ask(bob, "BIND", "/open/", "x", "/fixed/f")

    assert bound.status == 201
    assert bob.get("/open/x").body == b"/fixed/"
    assert bob.put("/open/x", b"new").status == 403
    assert bob.delete("/open/x").status == 204
    assert alice.get("/fixed/f").body == b"/fixed/"


@pytest.mark.rfc("BI-11")
@pytest.mark.security("A-06")
def test_nobody_is_told_of_a_binding_where_they_may_not_look(alice: Basic, bob: Basic) -> None:
    ask(alice, "BIND", "/private/", "secret", "/open/f")
    found = {
        who: [one.findtext(HREF) for one in dav.prop("/open/f", PARENT_SET)]
        for who, dav in {"alice": alice, "bob": bob}.items()
    }

    assert found == {"alice": ["/open/", "/private/"], "bob": ["/open/"]}


@pytest.mark.security("A-06")
def test_a_binding_to_what_may_not_be_seen_is_not_listed(alice: Basic, bob: Basic) -> None:
    ask(alice, "BIND", "/open/", "way", "/private/")
    found = bob.propfind("/", b"", depth="infinity").hrefs

    assert "/open/way/" not in found
    assert bob.get("/open/way/f").status == 403
