"""A connection's life: admission, its answers' ends, deadlines (RFC 9112 section 9).

An answer made before the body was read reaches its client: a short rest of the body is read and
thrown away; else the connection ends its sending side first and reads on for a while, because
closing over unread bytes would make the kernel take the answer back.
"""

from __future__ import annotations

import asyncio
import enum
import fcntl
import termios
import time
from abc import abstractmethod
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from davserver.asgi import FILE_MESSAGE, ASGIApp, Scope
from davserver.jsonlog import Access
from davserver.wire.chunks import ChunkedBody
from davserver.wire.cycle import Cycle
from davserver.wire.edge import Edge, refusal
from davserver.wire.filesending import CAN_SEND
from davserver.wire.requesthead import Refused, request_line

LINGER_S = 5.0
"""How long the rest of a refused request is read after the answer."""
FAREWELL_S = 1.0
"""How long a client of a server that stops has to answer the end of TLS."""
UNKNOWN: Final = -1


class Phase(enum.IntEnum):
    """Where a connection stands."""

    IDLE = 0
    """Waiting for the first byte of a request."""
    HEAD = 1
    """Part of a head is here."""
    BODY = 2
    """A request body is coming in: for the application, or after its answer for nobody."""
    BUSY = 3
    """The request is here, the answer is not complete."""
    LINGER = 4
    """The last answer is sent; what still comes is thrown away."""
    CLOSED = 5
    SMALL = 6
    """A head is here, and part of a small body: both are looked at together."""


_IDLE, _HEAD, _BODY, _BUSY, _LINGER, _CLOSED, _SMALL = Phase
_WRITING_PHASES = frozenset({_BODY, _BUSY, _CLOSED})
"""Where an answer may be under way; a closed connection still owes its client what is unsent."""


class Connection(HttpToolsProtocol):
    """One connection; what comes in is the subclass's (guard.py)."""

    cycle: Cycle | None  # type: ignore[assignment]  # in place of uvicorn's own class

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        edge: Edge,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._edge = edge
        self._application: ASGIApp = config.loaded_app
        self._address = "-"
        self._phase = _IDLE
        self._deadline = 0.0
        self._buffer = bytearray()
        self._special: list[tuple[bytes, bytes]] = []
        self._head_done = False
        self._complete = False
        self._upgraded = False
        self._persistent = True
        self._remaining = 0
        self._drained = 0
        self._chunks = ChunkedBody()
        self._window_end = 0.0
        self._window_bytes = 0
        self._idle_end = 0.0
        self._stalled: tuple[tuple[int, int], float] | None = None
        self._half_closed = False
        self._is_last = False
        self._has_all = False
        self._extensions: dict[str, dict[str, object]] = {}
        self._peer: Scope = {}

    # --- connection -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = get_local_addr(transport)
        self.client = get_remote_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self._peer = {"client": self.client, "server": self.server, "scheme": self.scheme}
        if self.is_plain_socket and CAN_SEND:
            self._extensions = {FILE_MESSAGE: {}}
        self._address = self.client[0] if self.client else "-"
        admitted = self._edge.enter(self, self._address)
        self._deadline = self._edge.now + self._edge.settings.head_timeout_s
        if admitted:
            return
        if self._edge.is_flooded:
            self.break_off()
            return
        self._answer(Refused(503, b"too many connections", b"retry-after: 5\r\n"), note=False)

    @property
    def is_plain_socket(self) -> bool:
        """True where what is sent is what the socket gets, and the other way round."""
        return self.scheme == "http" and self.transport.get_extra_info("socket") is not None

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        self._edge.leave(self, self._address)
        if self._phase is _SMALL:
            self._begin()  # it is broken off, and said to be
        self._phase = _CLOSED
        self._buffer.clear()
        if self.cycle is not None:
            if not self.cycle.response_complete:
                self.cycle.disconnect()
            else:
                self.cycle.message_event.set()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]  # ends the cycle of references

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn never keeps it open
        """A client that has sent all of its request may end its sending side: it still gets its
        answer, and what it asked for is done. TLS knows no such half."""
        self._half_closed = self._phase is _BUSY and self.scheme == "http"
        return self._half_closed

    def shutdown(self) -> None:
        """The server stops: idle connections end now, others after their answer."""
        self._is_last = True
        if self._phase is _LINGER:
            return
        if self._phase is _SMALL:
            self._begin()
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
            return
        self._close()

    def break_off(self) -> None:
        self._phase = _CLOSED
        self.transport.abort()

    # --- answers --------------------------------------------------------------------------------

    @property
    def unread(self) -> int:
        return self._remaining if self._phase is _BODY else 0

    def default_lines(self) -> bytes:
        return self._edge.default_lines(self.server_state.default_headers, time.time())

    async def empty_buffer(self) -> None:
        self.transport.set_write_buffer_limits(0)  # nothing may wait, so writing is paused now
        try:
            await self.flow.drain()
        finally:
            self.transport.set_write_buffer_limits()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        self._stalled = None  # as much of the next answer may wait some time
        cycle = self.cycle
        if cycle is None or self.transport.is_closing():
            return
        if not cycle.keep_alive:
            if self._phase is _BODY:
                self._linger()
            else:
                self._close()
        elif self._phase is _BODY:
            self._idle_end = self._edge.now + self._edge.settings.body_idle_s
            self.flow.resume_reading()
        else:
            self._await_next()

    def _answer(self, refused: Refused, *, head: bytes = b"", note: bool = True) -> None:
        """Sends an answer of the edge's own, and ends the connection after it."""
        answer = refusal(refused.status, refused.detail, self.default_lines(), refused.extra)
        if head.startswith(b"HEAD "):
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.transport.write(answer)
        self._remaining = UNKNOWN
        self._linger()
        log = self._edge.log
        if note and log is not None:
            method, target = request_line(head)
            size = len(refused.detail) + 1
            log.line(Access(method, target, refused.status, size, 0.0, "", self._address))

    def _linger(self) -> None:
        """Ends the sending side and reads on, so that the answer gets through."""
        if self.transport.is_closing():
            return
        self._phase = _LINGER
        self._deadline = self._edge.now + LINGER_S
        self._buffer.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self) -> None:
        self._phase = _CLOSED
        self._deadline = self._edge.now + FAREWELL_S
        self.transport.close()

    def _break_body(self, refused: Refused) -> None:
        """The body cannot be had: nothing of it may be taken for the whole."""
        cycle = self.cycle
        assert cycle is not None
        if cycle.response_started:
            cycle.disconnect()
            self.break_off()
            return
        cycle.disconnect()
        self._answer(refused, note=False)

    def _await_next(self) -> None:
        """The answer is complete, and so is the request: the next one may come."""
        self._phase = _IDLE
        self._deadline = self._edge.now + self._edge.settings.keep_alive_s
        self.flow.resume_reading()
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._advance(data)
        elif self._half_closed:
            self._close()

    @abstractmethod
    def _advance(self, data: bytes) -> None:
        """Takes bytes that begin a message."""

    @abstractmethod
    def _begin(self) -> None:
        """Waits no longer for a small body: the application waits for what is missing."""

    # --- deadlines ------------------------------------------------------------------------------

    def watch(self, now: float) -> None:
        """Looks after the deadlines; called about once a second."""
        phase = self._phase
        if phase is _BODY:
            self._watch_body(now)
        elif phase is not _BUSY and now >= self._deadline:
            if phase is _HEAD:
                self._answer(
                    Refused(408, b"the request head took too long"), head=bytes(self._buffer)
                )
            elif phase is _SMALL:
                self._begin()
            elif phase is _LINGER:
                self.break_off()
            elif phase is _IDLE:
                self._close()
            elif self._is_last and self.scheme == "https":
                self._take_leave()
        if phase in _WRITING_PHASES:
            self._watch_writing(now)

    def _take_leave(self) -> None:
        """Ends what is closed, once its client has all of it: who keeps a connection in stock does
        not look at it, and never answers the end of TLS."""
        opened = self.transport.get_extra_info("socket")
        had_all = self._has_all
        self._has_all = opened is not None and not _on_its_way(opened.fileno())
        if had_all and self._has_all:  # in between what waited in this process had its turn
            self.break_off()

    def _watch_body(self, now: float) -> None:
        cycle = self.cycle
        assert cycle is not None
        if cycle.response_complete:
            if now >= self._idle_end:
                self._linger()
        elif self.flow.read_paused or not cycle.asked:
            # The application is not waiting for the client, so the client is not late.
            self._restart_window(now)
        elif now >= self._idle_end:
            self._break_body(Refused(408, b"the body stopped coming"))
        elif now >= self._window_end:
            if self._window_bytes < self._edge.settings.min_rate * self._edge.settings.body_idle_s:
                self._break_body(Refused(408, b"the body comes too slowly"))
            else:
                self._restart_window(now)

    def _restart_window(self, now: float) -> None:
        self._window_end = self._idle_end = now + self._edge.settings.body_idle_s
        self._window_bytes = 0

    def _watch_writing(self, now: float) -> None:
        """Ends a connection whose client takes nothing of its answer."""
        unsent, cycle = self.transport.get_write_buffer_size(), self.cycle
        # TLS tells of as much each time, however fast it goes on.
        reached = (unsent, 0 if cycle is None else cycle.given)
        waits = unsent or (cycle is not None and cycle.is_waiting)
        if not waits or self._stalled is None or self._stalled[0] != reached:
            self._stalled = (reached, now)
        elif now - self._stalled[1] >= self._edge.settings.write_idle_s:
            if cycle is not None:
                cycle.disconnect()
            self.break_off()


def _on_its_way(fd: int) -> bool:
    """False when all that was sent has arrived. What waits in this process waits for that, so it
    need not be asked for; under TLS it could not be."""
    try:
        queued = fcntl.ioctl(fd, termios.TIOCOUTQ, bytes(4))
    except (OSError, ValueError):  # it is closed
        return True
    return any(queued)
