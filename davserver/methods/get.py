"""GET and HEAD (RFC 9110 sections 9.3.1, 9.3.2 and 14; RFC 4918 section 9.4)."""

from __future__ import annotations

import os
from collections.abc import Sequence

from davserver.context import FileBody, Header, PartsBody, RequestContext, Response, Target
from davserver.methods._checks import check
from davserver.methods._conditions import last_modified
from davserver.methods._rights import check_opened
from davserver.methods.base import Method
from davserver.properties.rfc4918 import content_language
from davserver.protocol.dates import format_http_date
from davserver.protocol.mediatypes import media_type
from davserver.protocol.preconditions import Outcome
from davserver.protocol.ranges import evaluate_if_range, parse_range
from davserver.storage.base import Kind, Reader, Stat
from davserver.web.listing import listing

_ACTIVE = (
    b"text/html",
    b"text/xml",
    b"application/xml",
    b"message/rfc822",
)
"""Types whose content a browser may run, or show with what it refers to. PDF is none of them:
Chromium shows nothing of one in a sandbox."""


def handle_get(rc: RequestContext, target: Target) -> Response:
    """Serves a file, whole or in ranges; a collection as a plain listing."""
    if target.is_collection:
        return listing(rc, target)
    reader = rc.services.storage.open(target.path)
    try:
        fresh = target if reader.stat == target.stat else target._replace(stat=reader.stat)
        check_opened(rc, target, reader.stat)
        if not _still_holds(rc, target, fresh):
            reader.close()
            return not_modified(rc, fresh)
        return _respond(rc, fresh, reader)
    except BaseException:
        reader.close()
        raise


def _still_holds(rc: RequestContext, target: Target, fresh: Target) -> bool:
    """Evaluates the conditions again when a newer version was opened than was looked up: who
    resumes a download under If-Match gets no bytes of another one. Raises 412."""
    is_conditional = rc.conditions is not None or rc.if_header is not None
    if not is_conditional or target.stat is None or fresh.stat is None:
        return True
    if fresh.stat.etag == target.stat.etag:
        return True
    method = _HEAD if rc.method == "HEAD" else _GET
    return check(rc, method, fresh, rc.services.state) is not Outcome.NOT_MODIFIED


def _respond(rc: RequestContext, target: Target, reader: Reader) -> Response:
    # The open file decides: it may be a newer version than the one that was looked up.
    stat = reader.stat
    kind = media_type(target.path.name)
    headers = file_headers(rc, target, stat, kind)
    # RFC 9110 section 14.2: "A server MUST ignore a Range header field received with a request
    # method that is unrecognized or for which range handling is not defined" - GET alone has it.
    value = rc.headers.single(b"range") if rc.method == "GET" else None
    ranges = None if value is None else parse_range(value, stat.size)
    if ranges is None or not _range_holds(rc, stat):
        return Response(200, headers, FileBody(reader, 0, stat.size))
    if len(ranges) == 1:
        first, last = ranges[0]
        headers.append((b"content-range", b"bytes %d-%d/%d" % (first, last, stat.size)))
        return Response(206, headers, FileBody(reader, first, last - first + 1))
    return _multipart(headers, ranges, stat.size, kind, reader)


def file_headers(rc: RequestContext, target: Target, stat: Stat, kind: bytes) -> list[Header]:
    """The validators and the description of a file, the same for GET, HEAD, 206 and 304."""
    headers = describe(stat, kind, rc.now)
    language = content_language(rc.services.state.properties(target.key))
    if language:
        headers.append((b"content-language", language))
    return headers


def describe(stat: Stat, kind: bytes, now: float) -> list[Header]:
    """What `file_headers` has of any file with this Stat and of this media type."""
    etag = stat.etag
    headers: list[Header] = [
        (b"content-type", kind),
        (b"last-modified", format_http_date(last_modified(stat, now))),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
    ]
    if etag is not None:
        headers.append((b"etag", etag.to_header()))
    essence = kind.partition(b";")[0]
    if essence in _ACTIVE or essence.endswith(b"+xml"):
        # What somebody stored never runs in the origin of this server.
        headers.append((b"content-security-policy", b"sandbox; default-src 'none'"))
    return headers


def not_modified(rc: RequestContext, target: Target) -> Response:
    """304 with the fields that a 200 would carry (RFC 9110 section 15.4.5)."""
    if target.stat is None or target.stat.kind is not Kind.FILE:
        return Response(304)
    kept = (b"etag", b"last-modified", b"content-location")
    headers = file_headers(rc, target, target.stat, media_type(target.path.name))
    return Response(304, [header for header in headers if header[0] in kept])


def _range_holds(rc: RequestContext, stat: Stat) -> bool:
    value = rc.headers.single(b"if-range")
    if value is None:
        return True
    return evaluate_if_range(value, stat.etag, last_modified(stat, rc.now), int(rc.now))


def _multipart(
    headers: list[Header],
    ranges: Sequence[tuple[int, int]],
    size: int,
    kind: bytes,
    reader: Reader,
) -> Response:
    """Several ranges as multipart/byteranges, in the order asked for (RFC 9110 section 14.6)."""
    boundary = os.urandom(12).hex().encode()
    parts = []
    for number, (first, last) in enumerate(ranges):
        head = b"%s--%s\r\nContent-Type: %s\r\nContent-Range: bytes %d-%d/%d\r\n\r\n" % (
            b"\r\n" if number else b"",
            boundary,
            kind,
            first,
            last,
            size,
        )
        parts.append((head, first, last - first + 1))
    tail = b"\r\n--%s--\r\n" % boundary
    others = [header for header in headers if header[0] != b"content-type"]
    others.append((b"content-type", b"multipart/byteranges; boundary=" + boundary))
    return Response(206, others, PartsBody(reader, parts, tail))


_GET = Method("GET", handle=handle_get)
_HEAD = Method("HEAD", handle=handle_get)
METHODS = (_GET, _HEAD)
