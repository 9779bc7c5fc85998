"""What holds for every method: bodies, validators, error bodies, header fields (RFC 4918
sections 5, 8, 12, 16 and 19; RFC 9110 sections 8.8 and 9.1)."""

from __future__ import annotations

import codecs
import os
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest

from tests.conftest import AppDav
from tests.support.dav import LOCKINFO, XML

D = "{DAV:}"
TOPIC = "{http://example.org/ns}topic"
MakeDav = Callable[..., AppDav]


@pytest.fixture
def tree(make_dav: MakeDav) -> AppDav:
    """`/c/` with the file `/c/f`, and the file `/a`."""
    dav = make_dav("memory")
    assert dav.mkcol("/c/").status == 201
    for name in ("/c/f", "/a"):
        assert dav.put(name, b"kept").status == 201
    return dav


def assert_untouched(dav: AppDav) -> None:
    assert dav.members("/") == ["/a", "/c/"]
    assert dav.members("/c/") == ["/c/f"]
    assert dav.get("/a").body == b"kept"
    assert dav.prop("/a", TOPIC) is None
    assert dav.locks("/a") == []


# -- bodies ----------------------------------------------------------------------------------

ILL_FORMED = {
    "not XML": b"hello",
    "an end tag missing": b'<D:{root} xmlns:D="DAV:"><D:prop>',
    "a prefix undeclared": b"<D:{root}/>",
    "a prefix undeclared inside": b'<D:{root} xmlns:D="DAV:"><X:prop/></D:{root}>',
    "a prefix bound to nothing": b'<D:{root} xmlns:D="DAV:"><x:p xmlns:x=""/></D:{root}>',
    "two roots": b'<D:{root} xmlns:D="DAV:"/><D:{root} xmlns:D="DAV:"/>',
    "text after the root": b'<D:{root} xmlns:D="DAV:"/>text',
    "an attribute twice": b'<D:{root} xmlns:D="DAV:" a="1" a="2"/>',
    "an attribute twice by namespace": (
        b'<D:{root} xmlns:D="DAV:" xmlns:x="u" xmlns:y="u" x:a="1" y:a="2"/>'
    ),
    "bytes that are not UTF-8": b'<D:{root} xmlns:D="DAV:" a="\xff"/>',
    "a control character": b'<D:{root} xmlns:D="DAV:" a="&#1;"/>',
    "an unknown entity": b'<D:{root} xmlns:D="DAV:">&nbsp;</D:{root}>',
    "the xml prefix bound anew": b'<D:{root} xmlns:D="DAV:" xmlns:xml="u"/>',
}
ROOTS = {"PROPFIND": b"propfind", "PROPPATCH": b"propertyupdate", "LOCK": b"lockinfo"}


@pytest.mark.rfc("G-07")
@pytest.mark.parametrize("body", ILL_FORMED.values(), ids=ILL_FORMED)
@pytest.mark.parametrize("method", ROOTS)
@pytest.mark.parametrize("target", ["/a", "/new"])
def test_ill_formed_xml_is_400_and_changes_nothing(
    tree: AppDav, method: str, target: str, body: bytes
) -> None:
    content = body.replace(b"{root}", ROOTS[method])

    reply = tree.request(method, target, {"Content-Type": XML, "Depth": "0"}, content)

    assert reply.status == 400
    assert_untouched(tree)


@pytest.mark.rfc("G-08")
@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (None, 207),
        ("text/xml", 207),
        ("application/xml", 207),
        ('Text/XML; charset="utf-8"', 207),
        ("application/example+xml", 207),
        ("application/octet-stream", 207),
        ("text/plain", 207),
        ("application/x-www-form-urlencoded", 207),
        ("application/json", 415),
        ("image/png", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
def test_which_types_of_body_are_read_as_xml(tree: AppDav, kind: str | None, expected: int) -> None:
    body = (
        b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>'
        b'<topic xmlns="http://example.org/ns">new</topic></D:prop></D:set></D:propertyupdate>'
    )

    reply = tree.request("PROPPATCH", "/a", {"Content-Type": kind} if kind else None, body)

    assert reply.status == expected
    if expected == 207:
        assert reply.headers["content-type"] == 'application/xml; charset="utf-8"'
        assert tree.prop("/a", TOPIC).text == "new"
    else:
        # RFC 9110 section 12.5.3: Accept-Encoding would say that a coding was the cause.
        assert "accept-encoding" not in reply.headers
        assert_untouched(tree)


TEXT = (
    '<?xml version="1.0"{declared}?><propertyupdate xmlns="DAV:"><set><prop>'
    '<t:topic xmlns:t="http://example.org/ns">ü – 日本 😀</t:topic></prop></set></propertyupdate>'
)
ENCODINGS = [
    pytest.param("utf-8", "", b"", None, id="UTF-8"),
    pytest.param("utf-8", "utf-8", b"", None, id="UTF-8 declared"),
    pytest.param("utf-8", "", codecs.BOM_UTF8, None, id="UTF-8 with BOM"),
    pytest.param("utf-16-le", "", codecs.BOM_UTF16_LE, None, id="UTF-16LE with BOM"),
    pytest.param("utf-16-be", "utf-16", codecs.BOM_UTF16_BE, None, id="UTF-16BE with BOM"),
    pytest.param("utf-16-be", "utf-16", b"", None, id="UTF-16BE by declaration"),
    pytest.param("utf-8", "utf-8", b"", "utf-8", id="charset"),
    pytest.param("utf-8", "iso-8859-1", b"", "utf-8", id="charset wins over the declaration"),
    pytest.param("utf-16-le", "utf-8", codecs.BOM_UTF16_LE, "utf-16", id="charset UTF-16"),
]


@pytest.mark.rfc("G-09", "G-10")
@pytest.mark.parametrize(("encoding", "declared", "mark", "charset"), ENCODINGS)
def test_utf_8_and_utf_16_are_read(
    tree: AppDav, encoding: str, declared: str, mark: bytes, charset: str | None
) -> None:
    text = TEXT.format(declared=f' encoding="{declared}"' if declared else "")
    kind = f"application/xml; charset={charset}" if charset else "application/xml"

    reply = tree.request("PROPPATCH", "/a", {"Content-Type": kind}, mark + text.encode(encoding))

    assert reply.status == 207
    assert tree.prop("/a", TOPIC).text == "ü – 日本 😀"


@pytest.mark.rfc("G-10")
@pytest.mark.parametrize(
    ("kind", "declared"),
    [
        ("application/xml; charset=iso-8859-1", ""),
        ("application/xml", "iso-8859-1"),
        ("application/xml; charset=utf-7", ""),
    ],
)
def test_other_encodings_are_refused(tree: AppDav, kind: str, declared: str) -> None:
    text = TEXT.format(declared=f' encoding="{declared}"' if declared else "")

    reply = tree.request("PROPPATCH", "/a", {"Content-Type": kind}, text.encode())

    assert reply.status in (400, 415)
    assert_untouched(tree)


@pytest.mark.rfc("G-14")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("kind", [None, XML, "text/plain"])
@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/a", {}),
        ("HEAD", "/a", {}),
        ("DELETE", "/a", {}),
        ("COPY", "/a", {"Destination": "/new"}),
        ("MOVE", "/a", {"Destination": "/new"}),
        ("UNLOCK", "/a", {"Lock-Token": "<urn:uuid:x>"}),
        ("OPTIONS", "/a", {}),
        ("MKCOL", "/new/", {}),
    ],
)
def test_a_body_where_none_is_defined_is_415(
    tree: AppDav,
    method: str,
    target: str,
    headers: dict[str, str],
    kind: str | None,
    chunked: bool,
) -> None:
    """Section 8.4: lest it be taken for something that was done."""
    fields = headers | ({"Content-Type": kind} if kind else {})

    assert tree.request(method, target, fields, [b"<x/>"] if chunked else b"<x/>").status == 415
    assert_untouched(tree)
    if not chunked:
        empty = tree.request(method, target, fields | {"Content-Length": "0"})
        assert empty.status != 415


def test_xml_past_the_limit_is_413_and_nothing_changes(make_dav: MakeDav) -> None:
    dav = make_dav("memory", xml_body_limit=500)
    dav.put("/a", b"kept")
    text = TEXT.format(declared="").replace("ü", "ü" * 200).encode()

    for body in (text, [text[:300], text[300:]]):
        assert dav.request("PROPPATCH", "/a", {"Content-Type": XML}, body).status == 413
    assert dav.prop("/a", TOPIC) is None


# -- validators ------------------------------------------------------------------------------


@pytest.mark.rfc("G-15")
def test_what_changes_no_content_changes_no_validator(dav: AppDav) -> None:
    def validators() -> tuple[str, str]:
        headers = dav.head("/a").headers
        return headers["etag"], headers["last-modified"]

    dav.put("/a", b"kept")

    before = validators()
    dav.clock.pass_s(10)

    assert dav.proppatch("/a", set={TOPIC: "new", f"{D}displayname": "A"}).status == 207
    lock = dav.lock("/a")
    assert dav.refresh("/a", lock.token).status == 200
    assert dav.unlock("/a", lock.token).status == 204
    assert dav.copy("/a", "/copy").status == 201
    dav.propfind("/a", b"")
    assert dav.proppatch("/a", set={f"{D}getetag": '"mine"'}).multistatus["/a"].keys() == {403}

    assert before == validators()


@pytest.mark.rfc("G-16", "HV-02")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_last_modified_rises_when_an_older_file_takes_the_place(
    make_dav: MakeDav, method: str
) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    dav.put("/older", b"older")
    dav.put("/newer", b"newer")
    now = int(dav.clock.now)
    os.utime(dav.root / "older", (now - 5000, now - 5000))
    os.utime(dav.root / "newer", (now - 1000, now - 1000))
    before = dav.head("/newer").headers["last-modified"]

    assert dav.request(method, "/older", {"Destination": "/newer"}).status == 204

    reply = dav.get("/newer", {"If-Modified-Since": before})
    assert (reply.status, reply.body) == (200, b"older")


@pytest.mark.rfc("G-17")
def test_an_entity_tag_never_comes_back_for_other_content(dav: AppDav) -> None:
    seen = [dav.put("/u", b"%04d" % number).headers["etag"] for number in range(40)]
    for number in range(10):
        dav.delete("/u")
        seen.append(dav.put("/u", b"%04d" % (100 + number)).headers["etag"])
    for number in range(10):
        dav.put("/x", b"%04d" % (200 + number))
        dav.move("/x", "/u")
        seen.append(dav.head("/u").headers["etag"])
    for number in range(10):
        dav.put("/x", b"%04d" % (300 + number))
        dav.copy("/x", "/u")
        seen.append(dav.head("/u").headers["etag"])

    assert len(set(seen)) == len(seen)


@pytest.mark.rfc("HV-02")
def test_a_future_time_on_disk_is_told_as_now(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    dav.put("/a", b"x")
    os.utime(dav.root / "a", (dav.clock.now + 10**6,) * 2)

    for _ in range(2):
        shown = dav.head("/a").headers["last-modified"]
        assert parsedate_to_datetime(shown).timestamp() == int(dav.clock.now)
        assert dav.prop("/a", f"{D}getlastmodified").text == shown
        dav.clock.pass_s(60)


# -- error bodies and statuses ----------------------------------------------------------------


@pytest.mark.rfc("G-18", "PC-02", "PC-03", "PC-06", "PC-01")
def test_violated_conditions_are_named(make_dav: MakeDav) -> None:
    dav = make_dav("memory", propfind_infinity="refuse")
    dav.put("/a", b"kept")
    lock = dav.lock("/a")
    unlock = {"Lock-Token": "<urn:uuid:unknown>"}
    found = {
        "lock-token-submitted": dav.put("/a", b"lost"),
        "no-conflicting-lock": dav.lock_request("/a"),
        "propfind-finite-depth": dav.request("PROPFIND", "/", {"Depth": "infinity"}),
        "lock-token-matches-request-uri": dav.request("UNLOCK", "/a", unlock),
    }

    for condition, reply in found.items():
        assert reply.conditions == [f"{D}{condition}"]
        assert reply.headers["content-type"] == 'application/xml; charset="utf-8"'
        assert not (reply.xml.text or "").strip()
        assert lock.token.encode() not in reply.body


@pytest.mark.rfc("G-19")
@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/missing", {}),
        ("PUT", "/no/such", {}),
        ("MKCOL", "/c/", {}),
        ("DELETE", "/missing", {}),
        ("COPY", "/a", {"Destination": "/c/"}),
        ("MOVE", "/a", {"Destination": "/c/", "Overwrite": "T"}),
        ("PROPPATCH", "/missing", {"Content-Type": XML}),
        ("UNLOCK", "/a", {"Lock-Token": "<urn:uuid:x>"}),
        ("LOCK", "/a", {}),
    ],
)
def test_412_is_for_conditions_that_the_client_sent(
    tree: AppDav, method: str, target: str, headers: dict[str, str]
) -> None:
    body = LOCKINFO.format(scope="exclusive", owner="").encode() if method == "LOCK" else b""
    plain = tree.request(method, target, headers, body).status

    assert plain != 412


@pytest.mark.rfc("G-20")
def test_414_is_for_the_request_uri_alone(tree: AppDav) -> None:
    long = "/" + "x/" * 4200

    assert tree.get(long).status == 414
    assert tree.copy("/a", long).status == 400
    assert tree.move("/a", f"http://127.0.0.1:8080{long}").status == 400
    assert_untouched(tree)


@pytest.mark.rfc("HM-01")
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}, {"If-Match": "*"}])
@pytest.mark.parametrize("target", ["/a", "/a.html", "/c/", "/empty"])
def test_head_has_the_fields_of_get_and_no_content(
    tree: AppDav, target: str, headers: dict[str, str]
) -> None:
    tree.put("/a.html", b"<p>")
    tree.put("/empty", b"")
    plain = {"If-Match": "*"} if "If-Match" in headers else {}

    head, get = tree.head(target, headers), tree.get(target, plain)

    assert (head.status, head.body) == (get.status, b"")
    assert sorted(head.headers) == sorted(get.headers)
    if not target.endswith("/"):
        assert int(head.headers["content-length"]) == len(get.body)
        assert head.headers["accept-ranges"] == "bytes"
        assert "etag" in head.headers


@pytest.mark.rfc("HM-02", "HM-03")
@pytest.mark.parametrize("target", ["/a", "/c/", "/missing"])
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("SEARCH", 501),
        ("REPORT", 501),
        ("ORDERPATCH", 501),
        ("VERSION-CONTROL", 501),
        ("BREW", 501),
        ("get", 501),
        ("TRACE", 405),
        ("POST", 405),
        ("PATCH", 405),
    ],
)
def test_unknown_methods_are_501_and_known_ones_405(
    tree: AppDav, method: str, target: str, expected: int
) -> None:
    headers = {"Authorization": "Basic c2VjcmV0", "Max-Forwards": "0", "Content-Type": XML}

    reply = tree.request(method, target, headers, b"<x/>")

    if expected == 405 and target == "/missing":
        assert reply.status == 404
    else:
        assert reply.status == expected
        allow = reply.headers.tokens("allow")
        assert {"OPTIONS", "PROPFIND"} <= set(allow)
        assert method not in allow or expected == 501
    assert b"c2VjcmV0" not in reply.body
    assert_untouched(tree)


@pytest.mark.parametrize("target", ["/a", "/c/", "/missing", "/", "/.davserver/health"])
def test_no_answer_names_another_server_or_leaves_ascii(tree: AppDav, target: str) -> None:
    tree.put("/%C3%BC", b"")
    for method in ("OPTIONS", "GET", "HEAD", "PROPFIND", "PUT", "LOCK"):
        reply = tree.request(method, target, {"Depth": "0"})
        assert not {"server", "x-msdavext", "set-cookie"} & {name for name, _ in reply.headers}
        assert all(value.isascii() for _, value in reply.headers)
    moved = tree.move("/%C3%BC", "/%E2%82%AC")
    assert moved.headers["location"] == "/%E2%82%AC"


@pytest.mark.rfc("G-11", "G-12", "G-13", "G-01")
def test_hrefs_have_one_form_and_no_dots(tree: AppDav) -> None:
    tree.mkcol("/c/a%20b%26c/")
    tree.put("/c/a%20b%26c/x%3By%23z", b"")

    reply = tree.request("PROPFIND", "/c", {"Depth": "infinity"})

    assert sorted(reply.multistatus.hrefs) == [
        "/c/",
        "/c/a%20b%26c/",
        "/c/a%20b%26c/x%3By%23z",
        "/c/f",
    ]
