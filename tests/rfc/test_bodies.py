"""Request bodies: which are read as XML, which are refused (RFC 4918 sections 8.2, 8.4 and 19)."""

from __future__ import annotations

import codecs
from collections.abc import Callable

import pytest

from tests.conftest import AppDav
from tests.support.dav import XML

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
        ("application/json", 400),
        ("application/json-seq", 415),
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
