"""What is fuzzed: one function a parser, which takes bytes and raises when a promise is broken.

A parser may refuse with its own errors; anything else that escapes is a finding, and so is a
result that breaks an invariant.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache

from davserver.auth.basic import is_basic, parse_basic
from davserver.auth.digest import is_digest, parse_digest
from davserver.errors import (
    BadGateway,
    BadRequest,
    ContentTooLarge,
    Forbidden,
    RangeNotSatisfiable,
    UnprocessableContent,
    UnsupportedMediaType,
    UriTooLong,
)
from davserver.protocol.clienttimes import ClientTimes
from davserver.protocol.dates import format_http_date, parse_http_date
from davserver.protocol.deadprops import canonical_element, element_text
from davserver.protocol.digests import Hasher, UploadDigests
from davserver.protocol.etag import ETag, ETagList
from davserver.protocol.headers import (
    DavHeaders,
    Depth,
    parse_content_length,
    parse_depth,
    parse_destination,
    parse_lock_token,
    parse_overwrite,
    parse_timeout,
)
from davserver.protocol.ifheader import evaluate_if, parse_if
from davserver.protocol.path import DavPath
from davserver.protocol.preconditions import HttpConditions, evaluate_http
from davserver.protocol.quirks import leaves_out_missing_properties, refresh_token_without_list
from davserver.protocol.ranges import evaluate_if_range, parse_range
from davserver.protocol.resourcestate import ResourceState
from davserver.protocol.xmlguard import parse_xml
from davserver.protocol.xmlread import parse_lockinfo, parse_propfind, parse_proppatch
from davserver.wire.chunks import ChunkedBody, MalformedChunk
from tests.fuzz.jsontargets import JSON_SEEDS, JSON_TARGETS
from tests.support.edge import EdgeInProcess

Target = Callable[[bytes], None]
_OURS = frozenset({b"h", b"h:8080"})
_STATE = ResourceState(True, ETag("a"), 1_000_000_000, ("urn:uuid:1",))
_NOW = 1_700_000_000
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5]\d\d) ")
_XML_REFUSALS = (
    *(BadRequest, ContentTooLarge, Forbidden, UnprocessableContent, UnsupportedMediaType),
)


def _check_path(path: DavPath) -> None:
    for segment in path.segments:
        assert segment not in ("", ".", ".."), path
        assert not set("/\0") & set(segment), path
    href = path.href(collection=path.slash)
    assert DavPath.from_raw(href) == path, href


def path(data: bytes) -> None:
    try:
        found = DavPath.from_raw(data)
    except (BadRequest, UriTooLong):
        return
    _check_path(found)


def destination(data: bytes) -> None:
    try:
        found = parse_destination(data, authorities=_OURS)
    except (BadRequest, BadGateway):
        return
    _check_path(found)


def if_header(data: bytes) -> None:
    refresh_token_without_list([data])
    try:
        found = parse_if([data], authorities=_OURS)
    except BadRequest:
        return
    assert found is not None
    assert found.lists
    for one in found.lists:
        assert one.conditions
        assert all((c.token is None) is not (c.etag is None) for c in one.conditions)
    found.submitted_tokens()
    evaluate_if(found, lambda one: _STATE)


def ranges(data: bytes) -> None:
    size = int.from_bytes(data[:2], "big")
    try:
        found = parse_range(b"bytes=" + data[2:], size)
    except RangeNotSatisfiable:
        return
    if found is None:
        return
    assert found
    assert all(0 <= first <= last < size for first, last in found)
    assert sum(last - first + 1 for first, last in found) <= 2 * size


def depth(data: bytes) -> None:
    try:
        found = parse_depth(data)
    except BadRequest:
        return
    assert isinstance(found, Depth)


def timeout(data: bytes) -> None:
    assert 0 < parse_timeout(data, default_s=3600, maximum_s=86_400) <= 86_400


def overwrite(data: bytes) -> None:
    try:
        assert parse_overwrite(data) is (data.strip(b" \t").upper() == b"T")
    except BadRequest:
        return


def lock_token(data: bytes) -> None:
    try:
        token = parse_lock_token(data)
    except BadRequest:
        return
    assert token.isascii()
    assert token.isprintable()
    assert not set("<> ") & set(token)


def content_length(data: bytes) -> None:
    first, _, second = data.partition(b"\n")
    lines = [(b"content-length", first)] + ([(b"content-length", second)] if second else [])
    try:
        length = parse_content_length(DavHeaders(lines))
    except BadRequest:
        return
    assert length is not None
    assert length >= 0


def etags(data: bytes) -> None:
    try:
        tag = ETag.from_header(data)
        assert ETag.from_header(tag.to_header()) == tag
    except BadRequest:
        pass
    try:
        found = ETagList.from_header(data)
    except BadRequest:
        return
    assert found.is_any or found.tags
    found.matches_strong(_STATE.etag)
    found.matches_weak(_STATE.etag)


def digests(data: bytes) -> None:
    for name in (b"oc-checksum", b"repr-digest", b"want-repr-digest"):
        try:
            checks = UploadDigests.from_headers(DavHeaders([(name, data)]))
        except BadRequest:
            assert name != b"want-repr-digest", "a hint"
            continue
        if checks is not None:
            found = Hasher(checks.algorithms).digests()
            assert {one.algorithm for one in checks.announced} <= found.keys()


def client_times(data: bytes) -> None:
    try:
        times = ClientTimes.from_headers(DavHeaders([(b"x-oc-mtime", data)]))
    except BadRequest:
        return
    assert times.modified_ns is not None
    assert format_http_date(times.modified_ns // 10**9)


_CONDITIONS = (
    *(b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since", b"prefer"),
)


def conditions(data: bytes) -> None:
    """One header field a line, chosen by the line's first byte."""
    fields = [
        (_CONDITIONS[line[0] % len(_CONDITIONS)], line[1:]) for line in data.split(b"\n") if line
    ]
    headers = DavHeaders(fields)
    leaves_out_missing_properties(headers)
    try:
        found = HttpConditions.from_headers(headers)
    except BadRequest:
        return
    if found is not None:
        for is_read in (True, False):
            evaluate_http(found, _STATE, is_read=is_read)


def authorization(data: bytes) -> None:
    """The Authorization field of RFC 7617 and RFC 7616."""
    found = parse_basic(data)
    if found is not None:
        name, password = found
        assert is_basic(data)
        assert name
        assert ":" not in name
        assert "\0" not in name + password
    if is_digest(data):
        try:
            proof = parse_digest(data)
        except BadRequest:
            return
        assert proof.nonce is not None
        assert int(proof.nc, 16) >= 0


def dates(data: bytes) -> None:
    evaluate_if_range(data, _STATE.etag, 1_000_000_000, _NOW)
    seconds = parse_http_date(data, now=_NOW)
    if seconds is not None:
        assert parse_http_date(format_http_date(seconds), now=_NOW) == seconds


def propfind(data: bytes) -> None:
    try:
        found = parse_propfind(data)
    except _XML_REFUSALS:
        return
    assert len(found.names) == len(set(found.names)) <= 10_000


def proppatch(data: bytes) -> None:
    try:
        changes = parse_proppatch(data)
    except _XML_REFUSALS:
        return
    for change in changes:
        if change.value is None:
            continue
        element_text(change.value)
        again = parse_xml(change.value)
        assert again.name == change.name, change
        assert canonical_element(again) == change.value, change


def lockinfo(data: bytes) -> None:
    try:
        found = parse_lockinfo(data)
    except _XML_REFUSALS:
        return
    if found.owner_xml:
        assert parse_xml(found.owner_xml).name == "{DAV:}owner"


def chunks(data: bytes) -> None:
    """The first byte says where the wire is cut: that must make no difference."""
    if not data:
        return
    cut, wire = data[0], data[1:]
    assert _decode([wire]) == _decode([wire[:cut], wire[cut:]]) == _decode_bytewise(wire)


def _decode_bytewise(wire: bytes) -> tuple[bytes, bytes | None] | None:
    return _decode([wire[at : at + 1] for at in range(len(wire))])


def _decode(pieces: list[bytes]) -> tuple[bytes, bytes | None] | None:
    """Returns body and what follows; None when it was refused."""
    decoder = ChunkedBody()
    body = bytearray()
    for number, piece in enumerate(pieces):
        try:
            found, rest = decoder.feed(piece)
        except MalformedChunk:
            return None
        body += b"".join(found)
        if rest is not None:
            return bytes(body), rest + b"".join(pieces[number + 1 :])
    return bytes(body), None


@cache
def _edge() -> EdgeInProcess:
    return EdgeInProcess()


def guard(data: bytes) -> None:
    """Two requests, one connection: however the bytes are cut, the application sees the same,
    and there is one answer a request at most, and one refusal at the end."""
    if not data:
        return
    cut, wire = data[0], data[1:]
    seen, written = _edge().exchange([wire])
    again, rewritten = _edge().exchange([wire[:cut], wire[cut : 2 * cut], wire[2 * cut :]])
    whole = [one for one in seen if one[3]]
    assert whole == [one for one in again if one[3]], (seen, again)
    assert len(seen) - len(whole) <= 1, seen
    for text in (written, rewritten):
        statuses = [one for one in _STATUS.findall(text) if one != b"100"]
        assert statuses[: len(whole)] == [b"200"] * len(whole), text
        assert len(statuses) <= len(whole) + 1, text


TARGETS: dict[str, Target] = {
    **JSON_TARGETS,
    "path": path,
    "destination": destination,
    "if": if_header,
    "range": ranges,
    "depth": depth,
    "timeout": timeout,
    "overwrite": overwrite,
    "lock-token": lock_token,
    "content-length": content_length,
    "etag": etags,
    "digests": digests,
    "times": client_times,
    "authorization": authorization,
    "conditions": conditions,
    "date": dates,
    "propfind": propfind,
    "proppatch": proppatch,
    "lockinfo": lockinfo,
    "chunks": chunks,
    "guard": guard,
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    **JSON_SEEDS,
    "path": (b"/a/b%20c/", b"/%C3%A9//x", b"/a/%2e%2e/b", b"/%2f", b"/a;b=c,d"),
    "destination": (b"http://h/a/b", b"/a%20b/?q", b"https://u:p@h:8080/x", b"http://other/x"),
    "if": (
        b'(<urn:uuid:1> ["a"]) (Not <DAV:no-lock>)',
        b'<http://h/a> (["a"] Not ["b"]) <http://other/> (<urn:uuid:2>)',
        b'</a/b> (<urn:uuid:1> [W/"a-gzip"])',
    ),
    "range": (b"\x01\x000-1,5-", b"\x00\x10-3", b"\xff\xff1-2, 4-5,-1", b"\x01\x000-,0-,0-"),
    "depth": (b"0", b"1", b"Infinity", b"1,noroot"),
    "timeout": (b"Second-3600", b"Infinite, Second-4100000000", b"Second-0,junk"),
    "overwrite": (b"T", b"f "),
    "lock-token": (b"<urn:uuid:1>", b"opaquelocktoken:1"),
    "content-length": (b"10", b"3, 3", b"3\n4", b"+3"),
    "etag": (b'"a", W/"b"', b"*", b'JoplinIgnore-1, "a-gzip"'),
    "digests": (
        b"sha-256=:ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=:, x=(a 1.5);q=?1",
        b"sha-512=10, sha-256=3",
        b"SHA1:a9993e364706816aba3e25717850c26c9cd0d89d ADLER32:024d0127",
    ),
    "times": (b"1000000000", b"-1.5"),
    "authorization": (
        b"Basic YWxpY2U6c2VjcmV0",
        b'Digest username="alice", realm="r", nonce="n", uri="/a", response="0a", qop=auth,'
        b' algorithm=SHA-256, nc=00000001, cnonce="c"',
        b'Digest username*=UTF-8\'\'a%20b, realm="\\"", nonce=x',
    ),
    "conditions": (b'\x00"a"\n\x01*\n\x02Sun, 06 Nov 1994 08:49:37 GMT', b"\x04return=minimal"),
    "date": (
        b"Sun, 06 Nov 1994 08:49:37 GMT",
        b"Sunday, 06-Nov-94 08:49:37 GMT",
        b"Sun Nov  6 08:49:37 1994",
        b'W/"a"',
    ),
    "propfind": (
        b'<D:propfind xmlns:D="DAV:"><D:prop><D:getetag/><x xmlns="u"/></D:prop></D:propfind>',
        b'<propfind xmlns="DAV:"><allprop/><include><x/></include></propfind>',
        '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>'.encode("utf-16"),
    ),
    "proppatch": (
        b'<D:propertyupdate xmlns:D="DAV:" xml:lang="en" xmlns:q="u:q"><D:set><D:prop>'
        b'<a xmlns="u:a" q:b="q:c">t &amp; &lt; q:v <b/><!-- c --><![CDATA[<]]></a></D:prop>'
        b"</D:set><D:remove><D:prop><q:x/></D:prop></D:remove></D:propertyupdate>",
    ),
    "lockinfo": (
        b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope><D:locktype>'
        b"<D:write/></D:locktype><D:owner><D:href>x</D:href></D:owner></D:lockinfo>",
    ),
    "chunks": (b"\x053;a=b\r\nabc\r\n0\r\nX: y\r\n\r\nrest", b"\x02A\r\n0123456789\r\n00\r\n\r\n"),
    "guard": (
        b"\x20GET /a?b HTTP/1.1\r\nHost: x\r\n\r\nPUT /b HTTP/1.1\r\nHost: x\r\n"
        b"Content-Length: 3\r\n\r\nabc",
        b"\x30PUT /b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
        b"0\r\n\r\nGET http://y/ HTTP/1.0\r\n\r\n",
        b"\x10PUT /b HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\n"
        b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\r\nHost: x\r\n\r\n",
    ),
}
"""Where the fuzzer starts from: one of each kind that is understood."""
