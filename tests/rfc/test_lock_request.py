"""What a LOCK asks for: owner, timeout, body, right (RFC 4918 sections 9.10.1, 10.7, 14.11)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from lxml import etree

from tests.conftest import AppDav
from tests.support.dav import LOCKINFO

D = "{DAV:}"
TAGGED_OWNER = (
    '<D:owner xml:lang="de">Wer <b xmlns="urn:x" c="1">da</b> &amp; dort '
    "<D:href>http://example.org/~ich</D:href></D:owner>"
)


OWNERS = {
    "text": "<D:owner>Someone</D:owner>",
    "href": "<D:owner><D:href>mailto:a@example.org</D:href></D:owner>",
    "mixed": TAGGED_OWNER,
    "empty": "<D:owner/>",
    "attribute with prefix": '<D:owner xmlns:z="urn:z" z:a="b">\n <z:c/>\n</D:owner>',
}


@pytest.mark.rfc("LK-09")
@pytest.mark.parametrize("owner", OWNERS.values(), ids=OWNERS.keys())
def test_owner_comes_back_as_it_was_sent(dav: AppDav, owner: str) -> None:
    sent = etree.fromstring(f'<r xmlns:D="DAV:">{owner}</r>')[0]

    lock = dav.lock("/f", owner=owner)

    for shown in (lock.activelock, *dav.locks("/f")):
        element = shown.find(f"{D}owner")
        element.tail = sent.tail = None
        assert _form(element) == _form(sent)


def _form(element: etree._Element) -> object:
    return (
        element.tag,
        dict(element.attrib),
        element.text or "",
        [(_form(child), child.tail or "") for child in element],
    )


@pytest.mark.rfc("LK-10")
def test_lock_without_owner_shows_none(dav: AppDav) -> None:
    assert dav.lock("/f", owner="").activelock.find(f"{D}owner") is None


BODIES = {
    "no scope": (
        '<D:lockinfo xmlns:D="DAV:"><D:locktype><D:write/></D:locktype></D:lockinfo>',
        400,
    ),
    "no type": (
        '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:shared/></D:lockscope></D:lockinfo>',
        400,
    ),
    "another root": ('<D:lock xmlns:D="DAV:"/>', 400),
    "not XML": ("<D:lockinfo", 400),
    "unknown scope": (LOCKINFO.format(scope="solo", owner=""), 422),
    "unknown type": (LOCKINFO.format(scope="shared", owner="").replace("write", "read"), 422),
}


@pytest.mark.rfc("D-8", "ST-02")
@pytest.mark.parametrize(("body", "status"), BODIES.values(), ids=BODIES.keys())
def test_lockinfo_that_makes_no_sense(dav: AppDav, body: str, status: int) -> None:
    assert dav.lock_request("/new", body=body).status == status
    assert dav.members("/") == []


@pytest.mark.rfc("LK-17", "O-02", "LM-09")
def test_who_may_not_write_may_not_lock(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem", read_only=True)
    assert dav.root is not None
    (dav.root / "f").write_bytes(b"old")

    assert dav.lock_request("/f").status == 403
    assert dav.lock_request("/new").status == 403
    assert sorted(path.name for path in dav.root.iterdir()) == ["f"]
    assert "LOCK" not in dav.options("/f").headers.tokens("allow")
    assert dav.options("/f").headers.tokens("dav") == ["1", "3"]
    assert dav.prop("/f", f"{D}supportedlock") is None


WISHES = {
    "none": (None, 3600),
    "seconds": ("Second-600", 600),
    "list": ("Infinite, Second-4100000000", 86_400),
    "list of seconds": ("Second-100, Second-200", 100),
    "capped": ("Second-4100000000", 86_400),
    "over 32 bits": ("Second-4294967296", 3600),
    "over 32 bits, then one": ("Second-99999999999999999999, Second-70", 70),
    "garbage": ("soon", 3600),
    "empty": ("", 3600),
    "zero": ("Second-0", 3600),
    "negative": ("Second--1", 3600),
    "case": ("second-61", 61),
}


@pytest.mark.rfc("TO-01", "TO-02", "LK-16")
@pytest.mark.parametrize(("wish", "granted"), WISHES.values(), ids=WISHES.keys())
def test_timeout_never_fails_a_lock(dav: AppDav, wish: str | None, granted: int) -> None:
    lock = dav.lock("/f", timeout=wish)

    assert lock.activelock.findtext(f"{D}timeout") == f"Second-{granted}"
    dav.clock.pass_s(granted - 1)
    assert len(dav.locks("/f")) == 1
    dav.clock.pass_s(2)
    assert dav.locks("/f") == []
