"""The face of an answer: what the methods tell in XML goes out as JSON where the client wants that.

One place for every method: a multistatus, the lock that was granted, a collection that could not
be made. (A refusal has its faces in refusing.py.)
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from davserver.aio import Runner, spooled_chunks
from davserver.context import Body, Header, RequestContext, Response, SpoolBody
from davserver.protocol.accept import JSON, prefers_json
from davserver.protocol.jsonface import JsonFace, as_json

_XML_TYPE = b'application/xml; charset="utf-8"'
_CONTENT_TYPE = (b"content-type", JSON)
_VARY = (b"vary", b"Accept")
_DOCUMENTS = frozenset({"LOCK", "MKCOL"})
"""Methods whose other answers than 207 have a document, too."""
_PIECE = 1 << 15
"""Bytes of XML that are turned into JSON at once: about 2 ms."""


def with_face(rc: RequestContext, response: Response) -> Response:
    """Returns the answer as the client wants it: in XML unless JSON is put strictly above it."""
    if response.status != 207 and rc.method not in _DOCUMENTS:
        return response
    accept = rc.headers.get(b"accept")
    if accept is None or not rc.headers.recall(prefers_json):
        return response
    # The length of a stream is that of the XML.
    headers = [_faced(field) for field in response.headers if field[0] != b"content-length"]
    if _CONTENT_TYPE not in headers:
        return response
    headers.append(_VARY)
    body = response.body
    if isinstance(body, bytes) and len(body) <= _PIECE:
        return Response(response.status, headers, as_json(body, response.status))
    return Response(response.status, headers, _Pieces(body, rc.services.runner, response.status))


def _faced(field: Header) -> Header:
    return _CONTENT_TYPE if field == (b"content-type", _XML_TYPE) else field


class _Pieces:
    """The JSON of a long multistatus, as the XML comes; what breaks off there breaks off here."""

    def __init__(self, body: Body, runner: Runner, status: int) -> None:
        self._body = body
        self._pieces = _convert(_chunks(body), runner, JsonFace(status))

    def __aiter__(self) -> _Pieces:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._pieces)

    async def aclose(self) -> None:
        await self._pieces.aclose()
        if isinstance(self._body, SpoolBody):
            self._body.file.close()
        elif isinstance(self._body, AsyncGenerator):
            await self._body.aclose()


def _chunks(body: Body) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        return _whole(body)
    if isinstance(body, SpoolBody):
        return spooled_chunks(body.file, _PIECE)
    assert isinstance(body, AsyncIterator), body
    return body


async def _whole(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _convert(
    chunks: AsyncIterator[bytes], runner: Runner, face: JsonFace
) -> AsyncGenerator[bytes, None]:
    async for chunk in chunks:
        for begin in range(0, len(chunk), _PIECE):
            piece = chunk[begin : begin + _PIECE]
            yield await runner.batch(partial(face.feed, piece))
    yield face.finish()
