"""The JSON face of WebDAV: who gets it, and that it says what the XML says."""

from __future__ import annotations

import json
import tempfile
from typing import Any, BinaryIO

import pytest

from tests.conftest import AppDav
from tests.service.test_jobs import await_job
from tests.support.asgi import drive
from tests.support.dav import XML
from tests.support.faces import compare, read_json, validator
from tests.support.reply import Reply, in_xml
from tests.support.server import Server

ASKED = {"Accept": "application/json"}
BODY = {"Accept": "application/json", "Content-Type": "application/json"}
BY_NAME = '<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><D:x/></D:prop></D:propfind>'


@pytest.fixture
def tree(dav: AppDav) -> AppDav:
    """/c/ with a, b and the collection d."""
    dav.mkcol("/c")
    dav.put("/c/a", b"aaa")
    dav.put("/c/b", b"b")
    dav.mkcol("/c/d")
    dav.proppatch(
        "/c/a",
        '<D:propertyupdate xmlns:D="DAV:" xml:lang="en"><D:set><D:prop>'
        '<q:x xmlns:q="u:q" q:k="q:v">t &amp; q:t <q:y/> u</q:x><x>1</x>'
        "</D:prop></D:set></D:propertyupdate>",
    )
    return dav


def send_json(dav: AppDav, method: str, target: str, document: Any, **fields: str) -> Reply:
    return dav.request(method, target, BODY | fields, json.dumps(document).encode())


@pytest.mark.parametrize("depth", ["0", "1", "infinity"])
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="allprop"),
        pytest.param(BY_NAME.encode(), id="prop"),
        pytest.param(b'<propfind xmlns="DAV:"><propname/></propfind>', id="propname"),
    ],
)
def test_a_propfind_says_the_same_in_both(tree: AppDav, body: bytes, depth: str) -> None:
    fields = {"Depth": depth, "Content-Type": XML}
    xml = tree.request("PROPFIND", "/c/", fields, body)
    told = tree.request("PROPFIND", "/c/", fields | ASKED, body)

    assert told.status == 207
    assert told.headers["content-type"] == "application/json"
    assert told.headers["vary"] == "Accept"
    compare(xml.body, told.body)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("application/json", "application/json"),
        ("application/json, application/xml;q=0.9", "application/json"),
        ("*/*, application/xml;q=0, text/xml;q=0", "application/json"),
        ("application/json, */*", XML),
        ("application/xml, application/json", XML),
        ("*/*", XML),
        ("text/html", XML),
    ],
)
def test_who_gets_json(tree: AppDav, accept: str, kind: str) -> None:
    reply = tree.request("PROPFIND", "/c/a", {"Accept": accept, "Depth": "0"})

    assert reply.headers["content-type"] == kind


@pytest.mark.parametrize("server", [{}, {"workers": 2}], indirect=True, ids=["1", "2"])
@pytest.mark.parametrize("accept", ["application/json", "*/*, application/xml;q=0, text/xml;q=0"])
def test_our_own_server_gives_json_to_who_wants_it(server: Server, accept: str) -> None:
    """Its straight way for PROPFIND with Depth 0 leaves these to the pipeline."""
    with server.connect() as dav:
        dav.put("/file", b"x")
        for _ in range(3):
            reply = dav.request("PROPFIND", "/file", {"Depth": "0", "Accept": accept})

            assert reply.headers["content-type"] == "application/json"
            assert read_json(reply.body)["results"][0]["href"] == "/file"


@pytest.mark.parametrize("accept", ["application/json", "*/*, application/xml;q=0, text/xml;q=0"])
def test_our_own_server_changes_things_for_who_wants_json(server: Server, accept: str) -> None:
    """Its straight way for LOCK and PROPPATCH leaves these to the pipeline, as it does those who
    prefer something."""
    xml = {"Accept": accept, "Content-Type": XML}
    patch = (
        b'<propertyupdate xmlns="DAV:"><set><prop><a xmlns="u">1</a></prop></set></propertyupdate>'
    )
    with server.connect() as dav:
        locked = dav.lock_request("/locked", headers={"Accept": accept})
        changed = dav.request("PROPPATCH", "/other", xml, patch)
        dav.put("/other", b"x")
        told = dav.request("PROPPATCH", "/other", xml, patch)
        minimal = dav.request("PROPPATCH", "/other", xml | {"Prefer": "return=minimal"}, patch)
        given = dav.put("/other", b"given", {"Prefer": "return=representation"})
        dav.unlock("/locked", locked.headers["lock-token"][1:-1])
        dav.delete("/locked")
        dav.delete("/other")

    assert read_json(locked.body)["properties"]["DAV:"].keys() == {"lockdiscovery"}
    assert read_json(changed.body)["status"] == 404
    assert read_json(told.body)["results"][0]["href"] == "/other"
    assert minimal.status == 204
    assert (given.status, given.body) == (200, b"given")


@pytest.mark.spelling
def test_the_result_of_a_job_has_both_faces(tree: AppDav) -> None:
    tree.lock("/c/a")
    begun = tree.request("DELETE", "/c/", {"Prefer": "respond-async"})
    job = begun.headers["location"]
    await_job(tree, job, lambda told: told["ended"] is not None)
    xml, told = (tree.get(f"{job}/result", fields) for fields in ({}, ASKED))

    assert (xml.status, told.status) == (207, 207)
    assert told.headers["content-type"] == "application/json"
    compare(xml.body, told.body)


@pytest.fixture
def many(dav: AppDav) -> AppDav:
    dav.mkcol("/many")
    for number in range(320):
        dav.put(f"/many/{number:04}", b"")
    return dav


def test_a_long_listing_is_streamed(many: AppDav) -> None:
    fields = [("Depth", "1"), ("Accept", "application/json")]
    exchange = many.run(many.send("PROPFIND", "/many/", fields))
    pieces = [bytes(message["body"]) for message in exchange.messages[1:]]

    assert "content-length" not in exchange.reply.headers
    assert len([piece for piece in pieces if piece]) > 3
    assert len(read_json(exchange.reply.body)["results"]) == 321
    xml = many.request("PROPFIND", "/many/", {"Depth": "1"})
    compare(xml.body, exchange.reply.body)


def test_a_client_that_leaves_ends_the_listing(many: AppDav) -> None:
    scope = many.scope("PROPFIND", "/many/", ASKED | {"Depth": "1"})
    exchange = many.run(drive(many.app, scope, [b""], leaves=True))

    assert exchange.messages[-1].get("more_body")
    assert len(exchange.messages) < 10


def test_proppatch_in_json_is_what_propfind_in_json_tells(dav: AppDav) -> None:
    dav.put("/a", b"")
    values = {
        "u:x": {
            "topic": "fish & chips",
            "empty": None,
            "rich": {
                "lang": "en",
                "attributes": [{"namespace": "u:y", "name": "k", "value": "1"}],
                "content": ["a ", {"namespace": "u:y", "name": "b", "content": "c"}],
            },
        },
        "": {"plain": "x"},
    }
    set_ = send_json(dav, "PROPPATCH", "/a", {"update": [{"set": values}]})
    asked = {"prop": {"u:x": ["topic", "empty", "rich"], "": ["plain"]}}
    told = send_json(dav, "PROPFIND", "/a", asked, Depth="0")

    (changed,) = read_json(set_.body)["results"]
    assert changed["propstat"][0]["status"] == 200
    (found,) = read_json(told.body)["results"]
    assert found["propstat"] == [{"status": 200, "message": "OK", "properties": values}]
    assert dav.prop("/a", "{u:x}topic").text == "fish & chips"


def test_a_property_that_fails_and_the_others_in_json(tree: AppDav) -> None:
    update = [{"set": {"DAV:": {"getetag": "x"}, "u": {"a": "1"}}}, {"remove": {"u": ["b"]}}]
    reply = send_json(tree, "PROPPATCH", "/c/a", {"update": update})

    ((failed, others),) = [one["propstat"] for one in read_json(reply.body)["results"]]
    if failed["status"] == 424:
        failed, others = others, failed
    assert failed["status"] == 403
    assert failed["error"] == {"DAV:": {"cannot-modify-protected-property": None}}
    assert others["properties"] == {"u": {"a": None, "b": None}}
    assert (others["status"], others["message"]) == (424, "Failed Dependency")
    assert tree.prop("/c/a", "{u}a") is None


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"prop": 1}', b'{"update": 1}'])
@pytest.mark.parametrize("method", ["PROPFIND", "PROPPATCH"])
def test_malformed_json_is_400_and_changes_nothing(tree: AppDav, method: str, body: bytes) -> None:
    reply = tree.request(method, "/c/a", BODY | {"Depth": "0"}, body)

    assert reply.status == 400
    assert read_json(reply.body)["status"] == 400


@pytest.mark.parametrize("method", ["LOCK", "COPY", "DELETE"])
def test_json_is_415_where_it_means_nothing(tree: AppDav, method: str) -> None:
    reply = tree.request(method, "/c/a", BODY | {"Destination": "/x"}, b"{}")

    assert reply.status == 415


def test_a_body_that_is_too_large_is_413(make_dav: Any) -> None:
    dav = make_dav(xml_body_limit=1000)
    reply = dav.request("PROPFIND", "/", BODY, b'{"prop": {"u": ["%s"]}}' % (b"a" * 1000))

    assert reply.status == 413


@pytest.mark.parametrize("method", ["DELETE", "COPY", "MOVE", "LOCK"])
def test_members_that_fail_are_told_in_json(tree: AppDav, method: str) -> None:
    """COPY over a collection, DELETE and LOCK of one, with a member that another has locked."""
    tree.lock("/c/a")
    if method in ("COPY", "MOVE"):
        tree.mkcol("/other")
    target = "/other" if method in ("COPY", "MOVE") else "/c"
    fields = ASKED | {"Destination": "/c"}
    if method == "LOCK":
        reply = tree.lock_request(target, headers=ASKED)
    else:
        reply = tree.request(method, target, fields)

    assert reply.status in (207, 423)
    document = read_json(reply.body)
    locked = {one["href"]: one for one in document.get("results", [])}.get("/c/a", document)
    assert locked["status"] == 423
    condition = "no-conflicting-lock" if method == "LOCK" else "lock-token-submitted"
    (href,) = locked["error"]["DAV:"][condition]["content"]
    assert (href["name"], href["content"]) == ("href", "/c/a")


def test_a_lock_that_is_granted(dav: AppDav) -> None:
    created = dav.lock_request("/new", headers=ASKED)
    document = read_json(created.body)
    token = created.headers["lock-token"][1:-1]

    assert created.status == 201
    (active,) = document["properties"]["DAV:"]["lockdiscovery"]["content"]
    parts = {one["name"]: one["content"] for one in active["content"]}
    assert parts["locktoken"] == [{"namespace": "DAV:", "name": "href", "content": token}]
    assert parts["depth"] == "infinity"
    refreshed = dav.refresh("/new", token, headers=ASKED)
    compare(in_xml(created).body, refreshed.body)


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("PUT", "/none/file", 409),
        ("MKCOL", "/c", 405),
        ("DELETE", "/none", 404),
        ("PROPFIND", "/none", 404),
        ("BREW", "/c", 501),
    ],
)
def test_a_refusal_in_json(tree: AppDav, method: str, target: str, status: int) -> None:
    reply = tree.request(method, target, ASKED)
    document = read_json(reply.body)

    assert (reply.status, document["status"]) == (status, status)
    assert reply.headers["vary"] == "Accept"
    assert document["description"]
    assert ("allow" in reply.headers) is (status in (405, 501))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_refusal_that_may_be_cached_has_one_face(dav: AppDav, method: str) -> None:
    reply = dav.request(method, "/none", ASKED)

    assert reply.status == 404
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    assert "vary" not in reply.headers


def test_the_ways_above_the_mount_and_a_principal(make_dav: Any) -> None:
    dav = make_dav(prefix="/dav/files")
    body = json.dumps({"prop": {"DAV:": ["resourcetype"]}}).encode()
    reply = dav.request("PROPFIND", "/dav/", BODY | {"Depth": "1"}, body)

    assert [one["href"] for one in read_json(reply.body)["results"]] == ["/dav/", "/dav/files/"]
    assert dav.request("PROPFIND", "/dav/", BODY | {"Depth": "1"}, b"{").status == 400


def test_the_schema_is_served(dav: AppDav) -> None:
    reply = dav.get("/.davserver/schema")
    document = json.loads(reply.body)

    assert reply.headers["content-type"] == "application/schema+json"
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    validator().check_schema(document)
    assert dav.head("/.davserver/schema").status == 200
    assert dav.put("/.davserver/schema", b"").status in (403, 404, 405)


def test_a_long_value_comes_whole(dav: AppDav) -> None:
    value = "é<" * 10_000
    send_json(dav, "PUT", "/f", {})
    dav.proppatch("/f", set={"{u}x": value})
    reply = send_json(dav, "PROPFIND", "/f", {"prop": {"u": ["x"]}}, Depth="0")

    ((propstat,),) = [one["propstat"] for one in read_json(reply.body)["results"]]
    assert propstat["properties"] == {"u": {"x": value}}


@pytest.mark.parametrize("leaves", [False, True], ids=["all", "leaves"])
def test_many_failures_wait_in_a_file(
    dav: AppDav, monkeypatch: pytest.MonkeyPatch, leaves: bool
) -> None:
    monkeypatch.setattr("davserver.methods._failures._KEPT", 2000)
    opened = []

    def open_file() -> BinaryIO:
        opened.append(temporary_file())
        return opened[-1]

    temporary_file = tempfile.TemporaryFile
    monkeypatch.setattr("tempfile.TemporaryFile", open_file)
    dav.mkcol("/c/")
    for number in range(60):
        dav.put(f"/c/{number}", b"")
        dav.lock(f"/c/{number}")
    fields = [("Accept", "application/json")]
    exchange = dav.run(dav.send("DELETE", "/c/", fields, leaves=leaves))

    assert len(opened) == 1
    assert opened[0].closed
    assert exchange.messages[0]["status"] == 207
    if not leaves:
        results = read_json(exchange.reply.body)["results"]
        assert sorted(one["href"] for one in results) == sorted(f"/c/{n}" for n in range(60))
        assert {one["status"] for one in results} == {423}


@pytest.mark.security("X-03")
def test_a_value_as_deep_as_any_is_told_and_set(dav: AppDav) -> None:
    """XML may be nested 128 deep: three of that are around a property."""
    deep = "<a xmlns='u'>" * 124 + "</a>" * 124
    dav.put("/f", b"")
    dav.put("/g", b"")
    update = f'<propertyupdate xmlns="DAV:"><set><prop>{deep}</prop></set></propertyupdate>'
    assert dav.proppatch("/f", update).multistatus["/f"].keys() == {200}
    told = send_json(dav, "PROPFIND", "/f", {"prop": {"u": ["a"]}}, Depth="0")

    ((propstat,),) = [one["propstat"] for one in read_json(told.body)["results"]]
    again = {"update": [{"set": propstat["properties"]}]}
    reply = send_json(dav, "PROPPATCH", "/g", again)
    assert read_json(reply.body)["results"][0]["propstat"][0]["status"] == 200
    xml = [dav.request("PROPFIND", target, {"Depth": "0"}) for target in ("/f", "/g")]
    depths = [sum(1 for one in reply.xml.iter("{u}a")) for reply in xml]
    assert depths == [124, 124]
