"""MKCOL with properties from the start (RFC 5689)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import AccessDenied
from davserver.protocol.path import DavPath
from davserver.storage.filesystem import FilesystemStorage
from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.faces import read_json, validator
from tests.support.reply import Reply

D = "{DAV:}"
TYPE = "<D:resourcetype><D:collection/></D:resourcetype>"
TOPIC = '<topic xmlns="u">news</topic>'
PROTECTED = "<D:getetag>x</D:getetag>"


def body_of(*sets: str) -> bytes:
    inner = "".join(f"<D:set><D:prop>{each}</D:prop></D:set>" for each in sets)
    return f'<D:mkcol xmlns:D="DAV:">{inner}</D:mkcol>'.encode()


def make(dav: AppDav, *sets: str, headers: dict[str, str] | None = None) -> Reply:
    return dav.mkcol("/c/", {"Content-Type": XML, **(headers or {})}, body_of(*sets))


def statuses(reply: Reply) -> dict[str, int]:
    """Returns the status of each property in a mkcol-response."""
    assert reply.xml.tag == f"{D}mkcol-response"
    return {
        str(element.tag): int(propstat.findtext(f"{D}status").split()[1])
        for propstat in reply.xml
        for element in propstat.find(f"{D}prop")
    }


@pytest.mark.rfc("EM-02", "EM-04", "EM-06")
def test_what_is_set_at_creation_is_there(dav: AppDav) -> None:
    shown = "<D:displayname>Shown</D:displayname>"
    modified = "<D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified>"
    created = "<D:creationdate>1997-02-03T04:05:06Z</D:creationdate>"
    reply = make(dav, TYPE + TOPIC + shown, modified + created)

    assert (reply.status, reply.body) == (201, b"")
    assert dav.prop("/c/", f"{D}resourcetype").find(f"{D}collection") is not None
    assert dav.prop("/c/", "{u}topic").text == "news"
    assert dav.prop("/c/", f"{D}displayname").text == "Shown"
    assert dav.prop("/c/", f"{D}getlastmodified").text == "Mon, 12 Jan 1998 09:25:56 GMT"
    assert dav.prop("/c/", f"{D}creationdate").text == "1997-02-03T04:05:06Z"


@pytest.mark.rfc("EM-04")
def test_the_last_of_two_values_counts_and_no_type_is_needed(dav: AppDav) -> None:
    assert make(dav, TOPIC, '<topic xmlns="u">later</topic>').status == 201
    assert dav.prop("/c/", "{u}topic").text == "later"


@pytest.mark.rfc("EM-03", "MS-04")
def test_a_property_that_fails_leaves_nothing(dav: AppDav) -> None:
    reply = make(dav, TYPE + PROTECTED + TOPIC)

    assert reply.status == 403
    assert statuses(reply) == {f"{D}getetag": 403, f"{D}resourcetype": 424, "{u}topic": 424}
    assert b"cannot-modify-protected-property" in reply.body
    assert dav.members("/") == []
    assert dav.mkcol("/c/").status == 201
    assert dav.prop("/c/", "{u}topic") is None


@pytest.mark.rfc("EM-03")
def test_the_answer_has_the_status_of_the_first_failure(dav: AppDav) -> None:
    reply = make(dav, "<D:creationdate>never</D:creationdate>" + PROTECTED)

    assert reply.status == 409
    assert statuses(reply) == {f"{D}creationdate": 409, f"{D}getetag": 403}


@pytest.mark.rfc("EM-05", "EM-02", "PC-09")
@pytest.mark.parametrize(
    "value",
    [
        '<D:collection/><C:calendar xmlns:C="urn:ietf:params:xml:ns:caldav"/>',
        "<D:principal/>",
        "",
        "collection",
    ],
)
def test_another_type_is_403_with_its_condition(dav: AppDav, value: str) -> None:
    reply = make(dav, f"<D:resourcetype>{value}</D:resourcetype>{TOPIC}")

    assert reply.status == 403
    assert statuses(reply) == {f"{D}resourcetype": 403, "{u}topic": 424}
    (error,) = reply.xml.iter(f"{D}error")
    assert [child.tag for child in error] == [f"{D}valid-resourcetype"]
    assert dav.members("/") == []


@pytest.mark.rfc("EM-06", "EM-02", "MK-04")
@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        pytest.param("text/plain", body_of(TYPE), 415, id="text/plain"),
        pytest.param("application/octet-stream", body_of(TYPE), 415, id="bytes"),
        pytest.param(None, body_of(TYPE), 415, id="no type"),
        pytest.param("text/xml", body_of(TYPE), 201, id="text/xml"),
        pytest.param("application/x+xml", body_of(TYPE), 201, id="+xml"),
        pytest.param(XML, b'<propfind xmlns="DAV:"><allprop/></propfind>', 415, id="other root"),
        pytest.param(XML, b"<mkcol/>", 415, id="no namespace"),
        pytest.param(XML, b"<D:mkcol", 400, id="bad: not well-formed"),
        pytest.param(XML, b'<mkcol xmlns="DAV:"/>', 400, id="bad: no set"),
        pytest.param(XML, b'<mkcol xmlns="DAV:"><set/></mkcol>', 400, id="bad: no prop"),
        pytest.param(XML, b'<mkcol xmlns="DAV:"><remove/></mkcol>', 400, id="bad: remove"),
    ],
)
def test_what_is_taken_for_a_body(dav: AppDav, kind: str | None, body: bytes, status: int) -> None:
    reply = dav.mkcol("/c/", {"Content-Type": kind} if kind else None, body)

    assert reply.status == status
    assert dav.members("/") == (["/c/"] if status == 201 else [])


def test_what_is_mapped_is_405_whatever_would_be_set(dav: AppDav) -> None:
    dav.put("/f", b"kept")
    reply = dav.mkcol("/f", {"Content-Type": XML}, body_of(TYPE + TOPIC))

    assert reply.status == 405
    assert dav.prop("/f", "{u}topic") is None


@pytest.mark.parametrize(("headers", "status"), [({}, 423), ({"If-Match": "*"}, 412)])
def test_locks_and_conditions_come_first(dav: AppDav, headers: dict[str, str], status: int) -> None:
    if status == 423:
        dav.lock("/", depth="infinity")

    assert make(dav, TYPE + TOPIC, headers=headers).status == status
    assert dav.members("/") == []


@pytest.mark.rfc("EM-01")
def test_it_is_announced_to_who_can_make_collections(make_dav: Any) -> None:
    may, may_not = make_dav(), make_dav(anonymous="read")

    assert "extended-mkcol" in may.options("/").headers.tokens("dav")
    assert "extended-mkcol" not in may_not.options("/").headers.tokens("dav")


@pytest.mark.rfc("PR-04", "PR-08")
@pytest.mark.parametrize("body", [b"", body_of(TYPE + TOPIC)], ids=["plain", "extended"])
def test_a_minimal_mkcol_is_201_without_a_body(dav: AppDav, body: bytes) -> None:
    fields = {"Prefer": "return=minimal", **({"Content-Type": XML} if body else {})}
    reply = dav.mkcol("/c/", fields, body)

    assert (reply.status, reply.body) == (201, b"")
    assert reply.headers["preference-applied"] == "return=minimal"
    assert reply.headers["vary"] == "Prefer"


@pytest.mark.rfc("EM-03")
def test_values_that_are_too_much_are_507_and_nothing_is_made(dav: AppDav) -> None:
    long = f'<long xmlns="u">{"x" * 70_000}</long>'
    reply = make(dav, TYPE + TOPIC + long)

    assert reply.status == 507
    assert statuses(reply) == {f"{D}resourcetype": 424, "{u}topic": 424, "{u}long": 507}
    assert dav.members("/") == []


def test_a_value_that_the_disk_refuses_leaves_nothing(
    make_dav: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav()

    def refuse(*_: Any, **__: Any) -> None:
        raise AccessDenied("not here")

    monkeypatch.setattr(FilesystemStorage, "set_attributes", refuse)
    modified = "<D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified>"
    reply = make(dav, TYPE + TOPIC + modified)

    assert reply.status == 403
    assert statuses(reply)[f"{D}getlastmodified"] == 403
    assert dav.root is not None
    assert list(Path(dav.root).iterdir()) == []
    monkeypatch.undo()
    assert dav.mkcol("/c/").status == 201
    assert dav.prop("/c/", "{u}topic") is None


@pytest.mark.parametrize("call", ["make_collection", "set_attributes", "rename"])
def test_what_fails_is_told_of_the_name_that_was_asked_for(
    make_dav: Any, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    dav = make_dav()

    def refuse(_: FilesystemStorage, path: DavPath, *__: Any, **___: Any) -> None:
        raise AccessDenied(f"{path.name!r}: permission denied")

    monkeypatch.setattr(FilesystemStorage, call, refuse)
    modified = "<D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified>"
    reply = make(dav, TYPE + modified)

    assert reply.status == 403
    assert b"'c': permission denied" in reply.body


def test_in_json(dav: AppDav) -> None:
    fields = {"Content-Type": "application/json", "Accept": "application/json"}
    kind = {"content": [{"namespace": "DAV:", "name": "collection"}]}
    refused = {"set": {"DAV:": {"resourcetype": kind, "getetag": "x"}}}
    reply = dav.mkcol("/c/", fields, json.dumps(refused).encode())
    document = read_json(reply.body)

    assert (reply.status, document["status"], document["message"]) == (403, 403, "Forbidden")
    assert {one["status"]: one["properties"] for one in document["propstat"]} == {
        403: {"DAV:": {"getetag": None}},
        424: {"DAV:": {"resourcetype": None}},
    }
    made = {"set": {"DAV:": {"resourcetype": kind}, "u": {"topic": "news"}}}
    validator("mkcol").validate(made)
    assert dav.mkcol("/c/", fields, json.dumps(made).encode()).status == 201
    assert dav.prop("/c/", "{u}topic").text == "news"
    assert dav.mkcol("/d/", fields, b"{}").status == 400
