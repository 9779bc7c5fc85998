"""Response values become ASGI messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from davserver.aio import ClientDisconnect, Runner, spooled_chunks
from davserver.asgi import FILE_MESSAGE, FileStretch, Message, Receive, Scope, Send
from davserver.context import Body, FileBody, Header, PartsBody, Response, SpoolBody
from davserver.storage.base import Reader

CHUNK = 1 << 18
"""Bytes of a file per message: 256 KiB come out of the page cache in 4 to 7 µs."""


@dataclass(slots=True)
class Sent:
    """Bytes of a response's body that were sent, whatever has become of it."""

    count: int = 0


class _Recipient:
    """A client that a long body is sent to, as long as it is there.

    Servers drop what is sent to a client that has left, most without a word: only `receive` tells
    (ASGI, `http.disconnect`), so it is awaited meanwhile.
    """

    def __init__(self, send: Send, receive: Receive, sent: Sent) -> None:
        self._sent = sent
        self._send = send
        self._watch = asyncio.ensure_future(_departure(receive))

    async def send(self, message: Message) -> None:
        """Raises ClientDisconnect when there is more to send and nobody to take it."""
        stretch = message.get("stretch")
        begun = stretch.offset if stretch else 0
        try:
            await self._send(message)
        except OSError as exc:
            raise ClientDisconnect from exc
        finally:
            self._sent.count += stretch.offset - begun if stretch else 0
        self._sent.count += 0 if stretch else len(message["body"])
        # A send that never waits would keep the loop from noticing that the client left.
        await asyncio.sleep(0)
        if self._watch.done() and message.get("more_body"):
            raise ClientDisconnect

    def close(self) -> None:
        self._watch.cancel()


async def _departure(receive: Receive) -> None:
    pause_s = 0.0
    while (await receive())["type"] != "http.disconnect":
        # The end of the request body comes once; a server that always has something to say must
        # not spin us.
        await asyncio.sleep(pause_s)
        pause_s = 0.05


async def send_response(
    scope: Scope,
    receive: Receive,
    send: Send,
    response: Response,
    *,
    extra: tuple[Header, ...],
    runner: Runner,
    sent: Sent,
) -> None:
    """Sends a response, and counts what of its body was sent. Closes files in any case, and stops
    reading them when the client leaves."""
    body = response.body
    is_head = scope["method"] == "HEAD"
    headers = [*response.headers, *extra]
    is_bare = is_head or response.status in (204, 304)
    try:
        length = len(body) if type(body) is bytes else _length(body)
        if length is not None and response.status not in (204, 304):
            headers.append((b"content-length", b"%d" % length))
        if not is_bare and type(body) is FileBody and body.length <= CHUNK:
            body = await _read(body, runner)
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        if is_bare:
            await send({"type": "http.response.body", "body": b""})
        elif isinstance(body, bytes) or (length is not None and length <= CHUNK):
            await _send_body(send, body, runner)
            sent.count = length or 0
        else:
            takes_files = FILE_MESSAGE in scope.get("extensions", ())
            recipient = _Recipient(send, receive, sent)
            await _send_long(recipient, body, runner, takes_files=takes_files)
    finally:
        await _close(body)


async def _read(body: FileBody, runner: Runner) -> bytes:
    """Returns a short stretch of a file, which is closed. Raises RuntimeError when it got shorter
    since it was opened."""
    reader, offset, length = body.reader, body.offset, body.length
    try:
        data = await _read_piece(reader, offset, length, runner)
    finally:
        reader.close()
    if len(data) != length:
        raise RuntimeError("the file got shorter while it was sent")
    return data


async def _send_long(
    recipient: _Recipient, body: Body, runner: Runner, *, takes_files: bool
) -> None:
    try:
        with suppress(ClientDisconnect):
            await _send_body(recipient.send, body, runner, takes_files=takes_files)
    finally:
        recipient.close()


def _length(body: Body) -> int | None:
    if isinstance(body, bytes):
        return len(body)
    if isinstance(body, FileBody | PartsBody | SpoolBody):
        return body.length
    return None


async def _send_body(send: Send, body: Body, runner: Runner, *, takes_files: bool = False) -> None:
    if isinstance(body, bytes):
        await send({"type": "http.response.body", "body": body})
    elif isinstance(body, FileBody | PartsBody):
        await _send_file(send, body, _Pieces(body.reader, runner, takes_files=takes_files))
    elif isinstance(body, SpoolBody):
        await _send_chunks(send, spooled_chunks(body.file, CHUNK))
    else:
        await _send_chunks(send, body)


async def _send_chunks(send: Send, chunks: AsyncIterator[bytes]) -> None:
    async for chunk in chunks:
        if chunk:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_file(send: Send, body: FileBody | PartsBody, pieces: _Pieces) -> None:
    if isinstance(body, FileBody):
        parts: Sequence[tuple[bytes, int, int]] = ((b"", body.offset, body.length),)
        tail = b""
    else:
        parts, tail = body.parts, body.tail
    for head, offset, length in parts:
        if head:
            await send({"type": "http.response.body", "body": head, "more_body": True})
        end = offset + length
        while offset < end:
            offset = await pieces.send(send, offset, end)
    await send({"type": "http.response.body", "body": tail})


class _Pieces:
    """A file as messages: passed on where the server takes that, as far as the page cache has it;
    else read, inline or in a thread."""

    def __init__(self, reader: Reader, runner: Runner, *, takes_files: bool) -> None:
        self._reader = reader
        self._runner = runner
        self._fd = reader.fd if takes_files else None

    async def send(self, send: Send, offset: int, end: int) -> int:
        """Sends some of what comes next; returns where that ends.

        Raises RuntimeError when the file got shorter: the connection must break rather than end
        what looks whole (decision: never padded).
        """
        size = min(CHUNK, end - offset)
        if self._fd is not None and self._is_cached(offset, size):
            stretch = FileStretch(self._fd, offset, end, self._is_cached)
            await send({"type": FILE_MESSAGE, "stretch": stretch, "more_body": True})
            if stretch.offset > offset:
                return stretch.offset
        chunk = await _read_piece(self._reader, offset, size, self._runner)
        if not chunk:
            raise RuntimeError("the file got shorter while it was sent")
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        return offset + len(chunk)

    def _is_cached(self, offset: int, size: int) -> bool:
        return self._runner.inline and self._reader.is_cached(offset, size)


async def _read_piece(reader: Reader, offset: int, size: int, runner: Runner) -> bytes:
    data = reader.try_read_at(offset, size) if runner.inline else None
    if data is None:
        data = await runner.hop(lambda: reader.read_at(offset, size))
    return data


async def _close(body: Body) -> None:
    if isinstance(body, FileBody | PartsBody):
        body.reader.close()
    elif isinstance(body, SpoolBody):
        body.file.close()
    elif not isinstance(body, bytes):
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
