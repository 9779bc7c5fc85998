"""Request XML that is made to hurt: it is refused early, and costs little either way."""

from __future__ import annotations

import gc
import itertools
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from davserver.errors import DavError
from davserver.protocol import xmlguard
from davserver.protocol.xmlread import parse_lockinfo, parse_propfind, parse_proppatch
from tests.conftest import AppDav

MIB = 1 << 20
ROOM = MIB - 400
UPDATE = b'<D:propertyupdate xmlns:D="DAV:"%s><D:set><D:prop>%s</D:prop></D:set></D:propertyupdate>'
VALUE = UPDATE % (b"", b"<a>%s</a>")


def many(unit: Callable[[int], bytes], room: int = ROOM) -> bytes:
    """Returns as many numbered units as fit into `room` bytes."""
    pieces: list[bytes] = []
    for number in itertools.count():
        piece = unit(number)
        room -= len(piece)
        if room < 0:
            return b"".join(pieces)
        pieces.append(piece)
    raise AssertionError


def declarations(count: int) -> bytes:
    return b"".join(b' xmlns:n%d="u%d"' % (n, n) for n in range(count))


LONG = b"u" * 60_000

# Name: (document, status or None when it is taken, bytes that the parser may be fed at most).
ATTACKS: dict[str, tuple[bytes, int | None, int]] = {
    "siblings": (UPDATE % (b"", many(lambda n: b"<a/>")), 413, 100_000),
    "100,000 properties": (UPDATE % (b"", many(lambda n: b"<a%x/>" % n)), 413, 50_000),
    "attributes": (UPDATE % (b"", b"<a%s/>" % many(lambda n: b' a%x=""' % n)), 413, 120_000),
    "namespaces": (UPDATE % (b"", b"<a%s/>" % many(lambda n: b' xmlns:a%x="u"' % n)), 413, 120_000),
    "namespaces within namespaces": (
        UPDATE % (declarations(1000), many(lambda n: b'<a xmlns:x="v%d"/>' % n, 20_000)),
        413,
        50_000,
    ),
    "long names": (
        UPDATE % (b' xmlns:L="%s"' % (LONG * 15), many(lambda n: b"<L:a%d/>" % n, 9_000)),
        413,
        120_000,
    ),
    "names in a long namespace": (
        UPDATE % (b' xmlns:L="%s"' % LONG, many(lambda n: b"<L:a%d/>" % n, 9_000)),
        413,
        90_000,
    ),
    "a long namespace, over and over": (
        UPDATE % (b' xmlns:L="%s"' % LONG, b"<L:a/>" * 9000),
        413,
        90_000,
    ),
    "a long language for every value": (
        UPDATE % (b' xml:lang="%s"' % LONG, b"<a/>" * 9000),
        413,
        MIB,
    ),
    "what grows when it is escaped": (VALUE % (b">" * ROOM), 413, MIB),
    "a long attribute": (UPDATE % (b"", b'<a b="%s"/>' % (b"&gt;" * 250_000)), 413, 120_000),
    "a long comment": (VALUE % (b"<!--%s-->" % (b"a" * ROOM)), 413, 120_000),
    "a long name": (UPDATE % (b"", b"<%s/>" % (b"a" * ROOM)), 413, 120_000),
    "depth 129": (b"<a>" * 129 + b"</a>" * 129, 400, 1000),
    "depth 257": (UPDATE % (b"", b"<a>" * 257 + b"</a>" * 257), 400, 3000),
    "depth 100,000": (b"<a>" * 100_000, 400, 20_000),
    "billion laughs": (
        b'<!DOCTYPE a [<!ENTITY a "aa">'
        + b"".join(b'<!ENTITY a%d "&a%d;&a%d;">' % (n, n - 1, n - 1) for n in range(1, 30))
        + b"]><a>&a29;</a>",
        400,
        2000,
    ),
    "quadratic entities": (
        b'<!DOCTYPE a [<!ENTITY a "%s">]><a>%s</a>' % (b"a" * 50_000, b"&a;" * 50_000),
        400,
        70_000,
    ),
    "an entity that nobody uses": (b'<!DOCTYPE a [<!ENTITY a "b">]><a/>', 400, 100),
    "character references": (VALUE % (b"&#65;" * 200_000), None, MIB),
    "text in pieces": (VALUE % (b"x<!---->" * 130_000), None, MIB),
    "processing instructions": (VALUE % (b"x<?a?>" * 170_000), None, MIB),
    "lines": (VALUE % (b"\n" * ROOM), None, MIB),
    "wide characters": (VALUE % ("😀".encode() * 250_000), None, MIB),
    "what looks like prefixes": (VALUE % (b"D:x " * 250_000), None, MIB),
    "words before a colon": (VALUE % (b"a " * 500_000 + b":"), None, MIB),
    "one long word before a colon": (VALUE % (b"a" * 1_000_000 + b" :"), None, MIB),
    "digits before a colon": (VALUE % (b"1" * 1_000_000 + b":"), None, MIB),
}


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of what the parser is given."""
    sizes: list[int] = []

    class Counting(xmlguard.DefusedXMLParser):  # type: ignore[misc]  # untyped there
        def feed(self, data: bytes) -> None:
            sizes.append(len(data))
            super().feed(data)

    monkeypatch.setattr(xmlguard, "DefusedXMLParser", Counting)
    return sizes


@pytest.mark.security("X-02", "X-03", "C-02", "M-13")
@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_cost_little_memory_and_stop_at_the_first_excess(name: str, fed: list[int]) -> None:
    body, expected, limit = ATTACKS[name]
    status = None
    tracemalloc.start()
    try:
        parse_proppatch(body)
    except DavError as error:
        status = error.status
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()

    assert expected == status
    assert peak < 10 * MIB
    assert sum(fed) <= limit


@pytest.mark.security("X-03")
def test_a_lock_owner_is_kept_short_because_every_member_repeats_it() -> None:
    body = (
        b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype>'
        b"<D:write/></D:locktype><D:owner>%s</D:owner></D:lockinfo>"
    )
    parse_lockinfo(body % (b"x" * 16_000))

    with pytest.raises(DavError) as refused:
        parse_lockinfo(body % (b"x" * 20_000))
    assert refused.value.status == 413


@pytest.mark.security("S-12", "X-03")
def test_names_that_never_come_again_are_not_kept(dav: AppDav) -> None:
    """Neither by the parser, nor by what is cached for the answers."""
    dav.put("/f", b"")

    def ask(number: int) -> None:
        names = b"".join(b'<a%d xmlns="u%d:%s"/>' % (n, number, b"x" * 2000) for n in range(50))
        dav.propfind("/f", b'<D:propfind xmlns:D="DAV:"><D:prop>%s</D:prop></D:propfind>' % names)

    tracemalloc.start()
    try:
        for number in range(5):
            ask(number)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(5, 45):
            ask(number)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < MIB  # 40 requests with 100 KB of new names each


# --- over HTTP ----------------------------------------------------------------------------------

_watched: list[list[tuple[str, object]]] = []


def _note(event: str, arguments: tuple[Any, ...]) -> None:
    if _watched and event in ("open", "socket.connect", "socket.getaddrinfo", "subprocess.Popen"):
        _watched[-1].append((event, arguments[0]))


sys.addaudithook(_note)


@contextmanager
def watching() -> Iterator[list[tuple[str, object]]]:
    """Notes what is opened and connected to meanwhile."""
    _watched.append([])
    try:
        yield _watched[-1]
    finally:
        _watched.pop()


EXTERNAL = {
    "general": '<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
    "public": '<!DOCTYPE a [<!ENTITY x PUBLIC "-//x" "http://127.0.0.1:9/x">]>',
    "parameter": '<!DOCTYPE a [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x"> %x;]>',
    "subset": '<!DOCTYPE a SYSTEM "http://127.0.0.1:9/x.dtd">',
}
BODIES = {
    "PROPFIND": '<D:propfind xmlns:D="DAV:"><D:prop><x>{}</x></D:prop></D:propfind>',
    "PROPPATCH": '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><x>{}</x></D:prop></D:set>'
    "</D:propertyupdate>",
    "LOCK": '<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype>'
    "<D:write/></D:locktype><D:owner>{}</D:owner></D:lockinfo>",
}


@pytest.mark.security("X-01", "X-05", "T-14")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("kind", EXTERNAL)
@pytest.mark.parametrize("method", BODIES)
def test_external_entities_are_403_and_nothing_is_opened(
    dav: AppDav, method: str, kind: str, encoding: str
) -> None:
    dav.put("/f", b"")
    content = (EXTERNAL[kind] + BODIES[method].format("&x;")).encode(encoding)
    with watching() as seen:
        reply = dav.request(method, "/f", [("Content-Type", "application/xml")], content)

    assert reply.status == 403
    assert reply.xml.find("{DAV:}no-external-entities") is not None
    assert seen == []
    assert dav.locks("/f") == []


@pytest.mark.security("X-02", "X-05")
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("method", BODIES)
def test_no_encoding_hides_a_doctype(dav: AppDav, method: str, encoding: str) -> None:
    dav.put("/f", b"")
    content = '<!DOCTYPE a [<!ENTITY x "y">]>' + BODIES[method].format("&x;")

    for kind in ("text/xml", "text/xml; charset=utf-8", "text/xml; charset=utf-16"):
        reply = dav.request(method, "/f", {"Content-Type": kind}, content.encode(encoding))
        assert reply.status == 400


@pytest.mark.security("X-05")
@pytest.mark.parametrize(
    ("header", "declared", "encoding", "expected"),
    [
        pytest.param("", "utf-7", "utf-7", 415, id="utf-7"),
        pytest.param("", "", "utf-32", 400, id="utf-32, not declared"),
        pytest.param("utf-32", "", "utf-32-be", 415, id="utf-32"),
        pytest.param("", "iso-8859-1", "latin-1", 415, id="latin-1"),
        pytest.param("cp037", "", "cp037", 415, id="EBCDIC"),
        pytest.param("utf-16", "", "utf-8", 400, id="UTF-8 that calls itself UTF-16"),
    ],
)
def test_other_encodings_are_refused(
    dav: AppDav, header: str, declared: str, encoding: str, expected: int
) -> None:
    dav.put("/f", b"")
    declaration = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    content = (declaration + BODIES["PROPFIND"].format("+ADw-é")).encode(encoding)
    kind = "application/xml" + (f"; charset={header}" if header else "")

    assert expected == dav.request("PROPFIND", "/f", {"Content-Type": kind}, content).status


@pytest.mark.security("X-03")
@pytest.mark.parametrize("body", ["<p:a/>", '<a p:b=""/>', "<a>&undefined;</a>", "<a>&#0;</a>"])
def test_what_is_undeclared_is_400(dav: AppDav, body: str) -> None:
    dav.put("/f", b"")

    assert dav.proppatch("/f", UPDATE % (b"", body.encode())).status == 400


@pytest.mark.security("T-10")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "gzip, gzip"])
@pytest.mark.parametrize("method", BODIES)
def test_a_compressed_body_is_never_inflated(dav: AppDav, method: str, coding: str) -> None:
    dav.put("/f", b"")
    reply = dav.request(method, "/f", {"Content-Encoding": coding}, b"\x1f\x8b" + b"\0" * 100)

    assert (reply.status, reply.headers["accept-encoding"]) == (415, "identity")


@pytest.mark.security("C-02", "T-14")
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x", "http://169.254.169.254/", "ftp://x/", "file:///etc/passwd"]
)
def test_no_url_of_a_request_is_ever_fetched(dav: AppDav, url: str) -> None:
    dav.put("/f", b"")
    href = f"<D:href>{url}</D:href>"
    with watching() as seen:
        dav.copy("/f", url)
        dav.request("DELETE", "/f", {"If": f'<{url}> (["x"])'})
        dav.proppatch("/f", UPDATE % (b"", f"<x>{href}</x>".encode()))
        dav.lock("/f", owner=f"<D:owner>{href}</D:owner>")

    assert [one for one in seen if one[0] != "open"] == []


@pytest.mark.security("X-09", "X-04")
def test_markup_in_owners_values_and_names_stays_data(dav: AppDav) -> None:
    hostile = "</D:owner><script>alert(1)</script>\"'&]]>\r\n"
    escaped = hostile.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    dav.put("/%3Cscript%3E%22&amp;", b"")
    target = dav.members("/")[0]
    assert dav.proppatch(target, set={"{u}x": hostile}).status == 207
    dav.lock(target, owner=f"<D:owner>{escaped}</D:owner>")
    answer = dav.propfind("/", depth="1")

    assert b"<script" not in dav.last.reply.body
    assert answer[target][200]["{u}x"].text.strip() == hostile.strip()


@pytest.mark.security("X-06")
def test_stored_properties_have_a_limit(dav: AppDav) -> None:
    dav.put("/f", b"")
    for start in range(0, 1200, 300):
        dav.proppatch("/f", set={f"{{u}}p{n}": "v" for n in range(start, start + 300)})
    large = dav.proppatch("/f", set={"{u}large": "x" * 100_000})
    answer = dav.propfind("/f", b"")

    assert large.status == 207
    assert b"507" in large.body
    assert len([name for name in answer["/f"][200] if name.startswith("{u}")]) <= 1000


def test_propfind_of_nothing_but_limits_is_taken() -> None:
    """What honest clients could come near is not refused."""
    names = b"".join(b'<p%d xmlns="urn:example:namespace:%d"/>' % (n, n) for n in range(990))
    body = b'<D:propfind xmlns:D="DAV:"><D:prop>%s</D:prop></D:propfind>' % names

    assert len(parse_propfind(body).names) == 990
