"""GET of a collection: a plain page that lists its members (RFC 4918 section 9.4), or for a browser
the page that works with them (assets.py)."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncGenerator, Iterator
from itertools import islice

from davserver.context import Header, RequestContext, Response, Target
from davserver.protocol.dates import format_http_date
from davserver.protocol.path import quote_segment
from davserver.storage.base import Entry, Kind
from davserver.web.assets import POLICY, document

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"></head>
<body><h1>{title}</h1>
<table><thead><tr><th>Name<th>Bytes<th>Modified</tr></thead><tbody>
"""
_TAIL = "</tbody></table></body></html>\n"


_PLAIN = b"plain"
"""The query that asks for the plain page by itself: what a browser without scripts goes to."""


def listing(rc: RequestContext, target: Target) -> Response:
    """Streams the members in the order of the disk: no listing is ever held whole. Raises the
    StorageError of a collection that cannot be listed."""
    with rc.services.storage.scan(target.path):
        pass  # once the head is sent there is no way to tell
    if rc.services.settings.page and _asks_for_html(rc) and not _asks_for_plain(rc):
        return Response(200, PAGE_FIELDS, document(rc.base))
    policy = b"default-src 'none'; frame-ancestors 'none'"
    return Response(200, _headers(policy), _Pages(rc, target))


def _headers(policy: bytes) -> list[Header]:
    return [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", policy),
        (b"cross-origin-opener-policy", b"same-origin"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"same-origin"),
        (b"cache-control", b"no-cache"),
        (b"vary", b"accept"),
    ]


PAGE_FIELDS = _headers(POLICY)
"""Header fields of the page's HTML."""


def _asks_for_html(rc: RequestContext) -> bool:
    """True for a browser: it names the type. WebDAV clients and tools send `*/*`, or nothing."""
    accepted = (rc.headers.joined(b"accept") or b"").lower().replace(b" ", b"").split(b",")
    return any(one == b"text/html" or one.startswith(b"text/html;q=0.") for one in accepted)


def _asks_for_plain(rc: RequestContext) -> bool:
    return bool(rc.scope.get("query_string") == _PLAIN)


class _Pages:
    """The page, piece by piece. The collection is opened at once, so that one which is gone by now
    is a 404; whoever sends the page closes it."""

    def __init__(self, rc: RequestContext, target: Target) -> None:
        self._scan = rc.listing(target.path, target.key)
        self._pieces = _pieces(rc, target, self._scan.__enter__())

    def __aiter__(self) -> _Pages:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        await self._pieces.aclose()
        self._scan.__exit__(None, None, None)


async def _pieces(
    rc: RequestContext, target: Target, members: Iterator[Entry]
) -> AsyncGenerator[bytes, None]:
    title = "/" + "/".join(target.path.segments)
    # Who is here for want of scripts stays here.
    query = b"?" + _PLAIN if _asks_for_plain(rc) else b""
    yield _encode(_HEAD.format(title=html.escape(title)))
    base = rc.href(target.path, collection=True)
    if not target.path.is_root:
        parent = base[: base.rstrip(b"/").rindex(b"/") + 1]
        yield b'<tr><td><a href="%s">../</a><td><td></tr>\n' % (parent + query)
    while rows := await rc.services.runner.batch(lambda: _rows(base, query, members)):
        yield rows
        await asyncio.sleep(0)
    yield _TAIL.encode()


def _rows(base: bytes, query: bytes, members: Iterator[Entry]) -> bytes:
    return b"".join(_row(base, query, entry) for entry in islice(members, 256))


def _row(base: bytes, query: bytes, entry: Entry) -> bytes:
    slash = "/" if entry.stat.kind is Kind.COLLECTION else ""
    # Hrefs are percent-encoded: no character of them means anything to HTML.
    href = base + quote_segment(entry.name) + (slash.encode() + query if slash else b"")
    size = "" if slash else str(entry.stat.size)
    time = format_http_date(entry.stat.mtime_ns // 1_000_000_000).decode()
    name = html.escape(entry.name) + slash
    row = f'<tr><td><a href="{href.decode("ascii")}">{name}</a><td>{size}<td>{time}</tr>\n'
    return _encode(row)


def _encode(text: str) -> bytes:
    # Bytes that are not UTF-8 show as U+FFFD; the link still has them as they are.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
