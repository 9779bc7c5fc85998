"""One request and its response: the ASGI side of a connection (RFC 9112 sections 6 and 9).

In place of uvicorn's RequestResponseCycle, for what that lacks: an answer given before the body
was read says whether the connection lives on, HTTP/1.0 gets no chunks, and a failure before the
head has left is still a 500.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Generator, Iterable
from functools import lru_cache
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl

from davserver.asgi import FILE_MESSAGE, ASGIApp, FileStretch, Message, Scope
from davserver.protocol.status import status_line
from davserver.wire.filesending import FileSender

logger = logging.getLogger(__name__)
Running = Coroutine[object, object, None]

BODY_HIGH_WATER = 262_144
"""Bytes of a request body that wait for the application before the socket is left alone."""
DRAIN_LIMIT = 1_048_576
"""Bytes of a body nobody wants that are read so that the connection lives on; a longer rest
costs more than a new connection."""
JOIN_LIMIT = 65_536
"""A body up to here is sent in one piece with its head; pieces up to here are joined."""

_VISIBLE = b"\t" + bytes(range(32, 127)) + bytes(range(128, 256))
_FRAMING = frozenset({b"transfer-encoding", b"content-length", b"connection"})


@lru_cache(256)
def _beginning(name: bytes) -> tuple[bytes, bytes]:
    """Returns how the line of a field begins; and its name if the field is about framing."""
    lower = name.lower()
    return lower + b": ", lower if lower in _FRAMING else b""


class Connection(Protocol):
    """What a cycle needs of the connection that it belongs to."""

    transport: asyncio.Transport
    flow: FlowControl

    @property
    def unread(self) -> int:
        """Bytes of the request body still to come, as far as it is known."""

    def default_lines(self) -> bytes:
        """Header lines of every answer: Date."""

    def on_response_complete(self) -> None: ...
    async def empty_buffer(self) -> None:
        """Returns when nothing is left to be written, or the connection is gone."""

    def break_off(self) -> None:
        """Ends the connection at once: the answer cannot be completed."""


class _Rest:
    """What is left of a coroutine that somebody else has begun.

    Args:
        running: stands at an await.
        awaited: what it waits for there.
    """

    def __init__(self, running: Running, awaited: object) -> None:
        self._running = running
        self._awaited = awaited

    def __await__(self) -> Generator[object, object, None]:
        awaited, running = self._awaited, self._running
        try:
            while True:
                try:
                    value = yield awaited
                except GeneratorExit:
                    running.close()
                    raise
                except BaseException as error:
                    awaited = running.throw(error)
                else:
                    awaited = running.send(value)
        except StopIteration:
            return


async def resume(running: Running, awaited: object) -> None:
    """Goes on with a coroutine that was begun outside of a task, as one."""
    await _Rest(running, awaited)


class Cycle:
    """One request being answered.

    Attributes:
        asked: the application has called `receive`.
        more_body: the request body is not yet here as a whole.
        keep_alive: the connection is used further after this answer.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_files",
        "_given",
        "_head",
        "_no_body",
        "_parts",
        "_rest",
        "asked",
        "buffered",
        "disconnected",
        "expects_100",
        "keep_alive",
        "message_event",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
    )

    def __init__(
        self, connection: Connection, scope: Scope, *, keep_alive: bool, expects_100: bool
    ) -> None:
        self._connection = connection
        self.scope = scope
        self.keep_alive = keep_alive
        self.expects_100 = expects_100
        self.message_event = asyncio.Event()
        self.disconnected = False
        self.asked = False
        self.more_body = True
        self._parts: list[bytes] = []
        self.buffered = 0
        self.response_started = False
        self.response_complete = False
        self._head: bytes | None = None
        self._rest: int | None = None
        self._given = 0
        self._chunked = False
        self._no_body = False
        self._files: FileSender | None = None

    async def run(self, app: ASGIApp) -> None:
        """Runs the application for this request; whatever it raises ends here."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            self._connection.break_off()
            raise
        except Exception:
            logger.exception("the application failed")
            self._fail()
        else:
            if not self.response_complete and not self.disconnected:
                logger.error("the application ended without a whole answer")
                self._fail()

    def _fail(self) -> None:
        if self.disconnected or self.response_complete:
            return
        if self.response_started and self._head is None:
            # Part of an answer is on its way: only a broken connection says that it is not whole.
            self._connection.break_off()
            return
        self.keep_alive = False
        self.response_started = False
        self._start(500, [(b"content-type", b"text/plain"), (b"content-length", b"22")])
        self._body(b"internal server error\n", more=False)

    def feed(self, data: bytes) -> None:
        """Takes a piece of the request body."""
        self._parts.append(data)
        self.buffered += len(data)
        if self.buffered > BODY_HIGH_WATER:
            self._connection.flow.pause_reading()
        self.message_event.set()

    def take_parts(self) -> list[bytes]:
        """Returns what was fed, and not received yet."""
        parts, self._parts, self.buffered = self._parts, [], 0
        self.message_event.clear()
        return parts

    def feed_end(self) -> None:
        """The request body is here as a whole."""
        self.more_body = False
        self.message_event.set()

    def disconnect(self) -> None:
        """The client left, or its request broke off."""
        self.disconnected = True
        self.message_event.set()
        self._end_files()

    async def receive(self) -> Message:
        self.asked = True
        connection = self._connection
        if self.expects_100:
            self.expects_100 = False
            is_gone = self.disconnected or connection.transport.is_closing()
            if not self.response_started and not is_gone:
                connection.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.disconnected and not self.response_complete:
            if self.more_body:
                connection.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        parts = self._parts
        if len(parts) > 1 and len(parts[0]) > JOIN_LIMIT:
            # To join what is long costs more than to be asked again.
            body = parts.pop(0)
            self.buffered -= len(body)
            self.message_event.set()
            return {"type": "http.request", "body": body, "more_body": True}
        self._parts, self.buffered = [], 0
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        if self._connection.flow.write_paused and not self.disconnected:
            await self._connection.flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if not self.response_started:
            if kind != "http.response.start":
                raise RuntimeError(f"expected http.response.start, got {kind!r}")
            self._start(message["status"], message.get("headers", ()))
        elif not self.response_complete and kind == "http.response.body":
            more = message.get("more_body", False)
            self._body(message.get("body", b""), more=more)
            if more and self._connection.flow.write_paused:
                # The next piece is not even fetched while this one waits: a stalled reader holds
                # one piece in memory, not two.
                await self._connection.flow.drain()
        elif not self.response_complete and kind == FILE_MESSAGE:
            await self._send_file(message["stretch"])
        else:
            raise RuntimeError(f"unexpected {kind!r}")

    async def _send_file(self, stretch: FileStretch) -> None:
        """Has the kernel send part of a file, after all that was sent before it."""
        begun, count = stretch.offset, stretch.end - stretch.offset
        if self._no_body or not count:
            return
        if self._rest is None or self._rest < count:
            raise RuntimeError("a file is longer than what Content-Length leaves")
        self._write(b"")
        connection = self._connection
        if connection.transport.get_write_buffer_size():
            await connection.empty_buffer()
            if self.disconnected:
                return
        if self._files is None:
            try:
                self._files = FileSender(connection.transport, asyncio.get_running_loop())
            except OSError:
                return  # too many are open: whoever asked for it reads it
        try:
            await self._files.send(stretch, is_last=count == self._rest)
        except OSError:
            self.disconnect()
            connection.break_off()
            return
        self._rest -= stretch.offset - begun

    @property
    def is_waiting(self) -> bool:
        """True while the client takes nothing of a file."""
        return self._files is not None and self._files.is_waiting

    @property
    def given(self) -> int:
        """Bytes so far that the transport or the socket has taken."""
        return self._given + (0 if self._files is None else self._files.sent)

    def _end_files(self) -> None:
        files, self._files = self._files, None
        if files is not None:
            files.close()

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Builds the head, which leaves with the first piece of the body."""
        if self.more_body and (self.expects_100 or self._connection.unread > DRAIN_LIMIT):
            # RFC 9110 section 10.1.1 with RFC 9112 section 9.6: nobody can tell whether a client
            # that waits for 100 (Continue) still sends its body, so no further request is read.
            self.keep_alive = False
        lines, closes = self._read_fields(headers)
        self._no_body = status in (204, 304) or self.scope["method"] == "HEAD"
        self._chunked = self._rest is None and not self._no_body
        if self._chunked and self.scope["http_version"] == "1.0":
            # RFC 9112 section 6.1: no Transfer-Encoding to HTTP/1.0; the end of the connection
            # is the end of the body.
            self._chunked = self.keep_alive = False
        elif self._chunked:
            lines.append(b"transfer-encoding: chunked\r\n")
        if not self.keep_alive and not closes:
            lines.append(b"connection: close\r\n")
        fields = b"".join(lines)
        # What is left besides the ends of the lines was in a name or a value.
        if fields.translate(None, _VISIBLE) != b"\r\n" * len(lines):
            raise RuntimeError("a header field of the answer holds a control character")
        line = status_line(status)
        self._head = b"%b\r\n%b%b\r\n" % (line, self._connection.default_lines(), fields)
        self.response_started = True

    def _read_fields(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[bytes], bool]:
        """Returns the header lines, and whether one of them ends the connection."""
        lines = []
        closes = False
        self._rest = None
        for name, value in headers:
            beginning, frames = _beginning(name)
            if frames:
                if frames == b"transfer-encoding":
                    continue  # the framing is ours to choose
                if frames == b"content-length":
                    self._rest = int(value)
                elif b"close" in value.lower():
                    self.keep_alive = False
                    closes = True
            lines.append(b"%b%b\r\n" % (beginning, value))
        return lines, closes

    def _body(self, body: bytes, *, more: bool) -> None:
        if self._no_body:
            body = b""
        elif self._chunked:
            if body:
                body = b"%x\r\n%b\r\n" % (len(body), body)
            if not more:
                body += b"0\r\n\r\n"
        elif self._rest is not None:
            self._rest -= len(body)
            if self._rest < 0:
                raise RuntimeError("the answer is longer than its Content-Length")
            if self._rest and not more:
                raise RuntimeError("the answer is shorter than its Content-Length")
        self._write(body)
        if not more:
            self._end_files()
            self.response_complete = True
            self.message_event.set()
            self._connection.on_response_complete()

    def _write(self, body: bytes) -> None:
        transport = self._connection.transport
        head, self._head = self._head, None
        self._given += len(body)
        if head is None:
            if body:
                transport.write(body)
        elif len(body) <= JOIN_LIMIT:
            transport.write(head + body)
        else:
            transport.write(head)
            transport.write(body)
