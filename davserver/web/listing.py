"""GET of a collection: a plain page that lists its members (RFC 4918 section 9.4)."""

from __future__ import annotations

import asyncio
import html
from collections.abc import AsyncGenerator, Iterator
from itertools import islice

from davserver.context import Header, RequestContext, Response, Target
from davserver.protocol.dates import format_http_date
from davserver.protocol.path import quote_segment
from davserver.storage.base import Entry, Kind

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"></head>
<body><h1>{title}</h1>
<table><thead><tr><th>Name<th>Bytes<th>Modified</tr></thead><tbody>
"""
_TAIL = "</tbody></table></body></html>\n"


def listing(rc: RequestContext, target: Target) -> Response:
    """Streams the members in the order of the disk: no listing is ever held whole. Raises the
    StorageError of a collection that cannot be listed."""
    with rc.services.storage.scan(target.path):
        pass  # once the head is sent there is no way to tell
    headers: list[Header] = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
        (b"cache-control", b"no-cache"),
    ]
    return Response(200, headers, _Pages(rc, target))


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
    yield _encode(_HEAD.format(title=html.escape(title)))
    base = rc.href(target.path, collection=True)
    if not target.path.is_root:
        parent = base[: base.rstrip(b"/").rindex(b"/") + 1]
        yield b'<tr><td><a href="%s">../</a><td><td></tr>\n' % parent
    while rows := await rc.services.runner.batch(lambda: _rows(base, members)):
        yield rows
        await asyncio.sleep(0)
    yield _TAIL.encode()


def _rows(base: bytes, members: Iterator[Entry]) -> bytes:
    return b"".join(_row(base, entry) for entry in islice(members, 256))


def _row(base: bytes, entry: Entry) -> bytes:
    slash = "/" if entry.stat.kind is Kind.COLLECTION else ""
    # Hrefs are percent-encoded: no character of them means anything to HTML.
    href = base + quote_segment(entry.name) + slash.encode()
    size = "" if slash else str(entry.stat.size)
    time = format_http_date(entry.stat.mtime_ns // 1_000_000_000).decode()
    name = html.escape(entry.name) + slash
    row = f'<tr><td><a href="{href.decode("ascii")}">{name}</a><td>{size}<td>{time}</tr>\n'
    return _encode(row)


def _encode(text: str) -> bytes:
    # Bytes that are not UTF-8 show as U+FFFD; the link still has them as they are.
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace").encode()
