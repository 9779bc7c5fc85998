"""Every multistatus that the server sends is laid out as RFC 4918 sections 13 and 14 say.

One scene for each method that answers 207; the document is checked against the content models of
section 14, apart from what any test's client checks of every answer.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from lxml import etree

from davserver.errors import AccessDenied
from tests.conftest import AppDav
from tests.support.dav import LOCKINFO
from tests.support.reply import Reply
from tests.support.storages import HookedStorage
from tests.support.trees import fill

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
A = "{http://example.org/ns}a"
# RFC 4918 sections 14.16, 14.22, 14.24: what an element may hold, in this order.
MODELS = {
    "multistatus": r"(response )*(responsedescription )?",
    "response": r"href ((href )*status |(propstat )+)(error )?(responsedescription )?(location )?",
    "propstat": r"prop status (error )?(responsedescription )?",
    "location": r"href ",
    "responsedescription": r"",
    "href": r"",
    "status": r"",
    "lockdiscovery": r"(activelock )*",
    # In section 14.1 the order is not fixed but by the DTD, which nobody validates.
    "activelock": r"locktype lockscope depth (owner )?timeout (locktoken )?lockroot ",
    "lockentry": r"lockscope locktype ",
    "lockscope": r"(exclusive |shared )",
    "locktype": r"write ",
    "locktoken": r"href ",
    "lockroot": r"href ",
    "lock-token-submitted": r"(href )+",
    "no-conflicting-lock": r"(href )*",
    "supportedlock": r"(lockentry )*",
    "resourcetype": r"(collection )?",
    "cannot-modify-protected-property": r"",
    "number-of-matches-within-limits": r"",
}
ONLY_TEXT = {"href", "status", "responsedescription"}


def check_models(element: Any) -> None:
    """Asserts the content models, wherever an element of `DAV:` stands."""
    local = element.tag.removeprefix(D)
    if local == "owner":
        return  # as the client sent it
    if local in MODELS and element.tag.startswith(D):
        names = "".join(child.tag.removeprefix(D) + " " for child in element)
        assert re.fullmatch(MODELS[local], names), f"{local} holds {names}"
        if local not in ONLY_TEXT:
            assert not (element.text or "").strip(), f"text in {local}"
        if local in ("href", "status"):
            assert element.text
            assert element.text == element.text.strip()
    for child in element:
        assert not (child.tail or "").strip()
        check_models(child)


Scene = Callable[[AppDav, HookedStorage], Reply]


def propfind(dav: AppDav, storage: HookedStorage) -> Reply:
    granted = dav.lock("/c/", depth="infinity", scope="shared")
    dav.lock("/c/f", scope="shared", headers={"If": granted.untagged})
    dav.proppatch("/c/f", set={A: "<&>"}, headers={"If": granted.untagged})
    return dav.request("PROPFIND", "/", {"Depth": "infinity"})


def propfind_missing(dav: AppDav, storage: HookedStorage) -> Reply:
    body = '<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><x/><D:lockdiscovery/></D:prop>'
    return dav.request("PROPFIND", "/c/", {"Depth": "1"}, f"{body}</D:propfind>".encode())


def propfind_names(dav: AppDav, storage: HookedStorage) -> Reply:
    body = b'<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>'
    return dav.request("PROPFIND", "/", {"Depth": "1"}, body)


def propfind_unreadable(dav: AppDav, storage: HookedStorage) -> Reply:
    storage.refuse("scan", "/c/d", AccessDenied("no & <never>"))
    return dav.request("PROPFIND", "/", {"Depth": "infinity"})


def proppatch(dav: AppDav, storage: HookedStorage) -> Reply:
    return dav.proppatch("/c/f", set={A: "x"}, remove=["{urn:x}y"])


def proppatch_fails(dav: AppDav, storage: HookedStorage) -> Reply:
    names = {A: "x", f"{D}getetag": "x", f"{D}resourcetype": "x", f"{D}creationdate": "a<b&"}
    return dav.proppatch("/c/f", set=names)


def delete(dav: AppDav, storage: HookedStorage) -> Reply:
    storage.refuse("delete", "/c/f", AccessDenied("no"))
    dav.lock("/c/d/", depth="0")
    return dav.delete("/c/")


def copy(dav: AppDav, storage: HookedStorage) -> Reply:
    storage.refuse("copy", "/c/f", AccessDenied("no"))
    storage.refuse("scan", "/c/d", AccessDenied("no"))
    return dav.copy("/c/", "/new/")


def lock(dav: AppDav, storage: HookedStorage) -> Reply:
    dav.lock("/c/f")
    dav.lock("/c/d/", depth="0")
    return dav.request("LOCK", "/c/", {}, LOCKINFO.format(scope="exclusive", owner="").encode())


SCENES: list[Scene] = [
    *(propfind, propfind_missing, propfind_names, propfind_unreadable),
    *(proppatch, proppatch_fails, delete, copy, lock),
]


@pytest.fixture(params=SCENES, ids=lambda scene: scene.__name__)
def reply(request: pytest.FixtureRequest, make_dav: MakeDav) -> Reply:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/c/", "/c/d/", "/c/d/e", "/c/f", "/c/%3Ca%26b%3E", "/c/%C3%A4/")
    answer: Reply = request.param(dav, storage)
    assert answer.status == 207, answer
    return answer


@pytest.mark.rfc("MS-01", "MS-03", "MS-04", "MS-10", "XX-04")
def test_each_element_holds_what_the_rfc_says(reply: Reply) -> None:
    root = etree.fromstring(reply.body)

    assert root.tag == f"{D}multistatus"
    assert len(root) >= 1
    check_models(root)


@pytest.mark.rfc("MS-02")
def test_each_href_has_one_response(reply: Reply) -> None:
    root = etree.fromstring(reply.body)

    hrefs = [href.text for href in root.iterfind(f"{D}response/{D}href")]
    # A collection with and without its slash is one resource.
    assert len({href.rstrip("/") for href in hrefs if href}) == len(hrefs)


@pytest.mark.rfc("MS-04", "PF-09")
def test_each_property_stands_in_one_propstat(reply: Reply) -> None:
    for response in etree.fromstring(reply.body).iterfind(f"{D}response"):
        names = [name.tag for name in response.iterfind(f"{D}propstat/{D}prop/*")]
        statuses = [status.text for status in response.iterfind(f"{D}propstat/{D}status")]
        assert len(names) == len(set(names))
        assert len(statuses) == len(set(statuses))


REASONS = {
    200: "OK",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    423: "Locked",
    424: "Failed Dependency",
}


@pytest.mark.rfc("MS-05", "MS-09", "ST-01", "ST-04")
def test_each_status_is_a_status_line_of_a_final_status(reply: Reply) -> None:
    lines = {status.text for status in etree.fromstring(reply.body).iter(f"{D}status")}

    known = {f"HTTP/1.1 {status} {reason}" for status, reason in REASONS.items()}
    assert lines <= known


@pytest.mark.rfc("MS-06")
def test_no_location_comes_with_it(reply: Reply) -> None:
    assert "location" not in reply.headers
    assert reply.headers["content-type"] == 'application/xml; charset="utf-8"'


@pytest.mark.rfc("MS-08", "PC-02", "PC-03", "PC-07", "ST-03")
def test_conditions_stand_where_their_status_does(reply: Reply) -> None:
    """In the propstat when it is about a property, else in the response; 423 always has one."""
    root: Any = etree.fromstring(reply.body)

    for error in root.iter(f"{D}error"):
        assert error.getparent().tag in (f"{D}response", f"{D}propstat")
        assert error.getparent().find(f"{D}status") is not None
        assert len(error) == 1
    for status in root.iter(f"{D}status"):
        conditions = status.getparent().find(f"{D}error")
        if " 423 " in status.text:
            assert conditions is not None
            assert conditions[0].tag in (f"{D}lock-token-submitted", f"{D}no-conflicting-lock")
        if " 200 " in status.text or " 424 " in status.text:
            assert conditions is None


def test_it_is_utf_8_and_says_so(reply: Reply) -> None:
    declaration = b'<?xml version="1.0" encoding="utf-8"?>\n'

    assert reply.body.startswith(declaration)
    # Nothing is indented, and there is no second line: Finder takes text piece by piece.
    assert b"\n" not in reply.body.removeprefix(declaration)
    assert b"<!" not in reply.body


@pytest.mark.rfc("MS-03", "MS-08", "DL-04", "PC-02")
def test_causes_are_named_with_their_conditions(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/c/", "/c/d/", "/c/d/e", "/c/f", "/c/g")
    answer = delete(dav, storage)

    assert answer.multistatus.statuses == {"/c/f": 403, "/c/d/": 423}
    (condition,) = answer.xml.iter(f"{D}lock-token-submitted")
    assert [href.text for href in condition] == ["/c/d/"]
    assert dav.members("/c/") == ["/c/d/", "/c/f"]


@pytest.mark.rfc("MS-08", "PC-03", "LK-08")
def test_a_conflict_below_is_told_with_its_lock(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/c/", "/c/d/", "/c/d/e", "/c/f")
    answer = lock(dav, storage)

    assert answer.multistatus.statuses == {"/c/d/": 423, "/c/f": 423, "/c/": 424}
    assert len(dav.locks("/c/")) == 0


@pytest.mark.rfc("MS-02", "MS-07")
def test_links_and_loops_are_listed_once_each(make_dav: MakeDav) -> None:
    """A link inside the root is a resource of its own, never a redirect; one that leads back up
    is not entered again."""
    dav = make_dav("filesystem")
    assert dav.root is not None
    fill(dav, "/c/", "/c/f", "/d/")
    (dav.root / "c" / "up").symlink_to("..")
    (dav.root / "d" / "self").symlink_to(".")
    (dav.root / "d" / "other").symlink_to("../c")
    (dav.root / "d" / "file").symlink_to("../c/f")

    answer = dav.propfind("/", props=[f"{D}resourcetype"], depth="infinity")

    assert answer.statuses == {}
    assert len(set(answer)) == len(answer.hrefs)
    assert {"/", "/c/", "/c/f", "/c/up/", "/d/", "/d/self/", "/d/other/", "/d/file"} <= set(answer)
    assert not [href for href in answer if href.count("/up/") > 1 or "/self/self/" in href]
