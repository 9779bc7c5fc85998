"""The body of a request as it comes in: by length or in chunks (RFC 9112 sections 6 and 7)."""

from __future__ import annotations

import asyncio
import os

from davserver.asgi import BODY_LOAN, BodyLoan
from davserver.wire.chunks import ChunkedBody, MalformedChunk
from davserver.wire.connection import UNKNOWN, Connection, Phase
from davserver.wire.cycle import DRAIN_LIMIT
from davserver.wire.lending import CAN_LEND, LEAST, SocketLoan
from davserver.wire.requesthead import Framing, Refused

_BODY, _BUSY = Phase.BODY, Phase.BUSY


class BodyIntake(Connection):
    """A connection that hands bodies on to its cycle."""

    _loan: BodyLoan | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.is_plain_socket and CAN_LEND:
            self._extensions[BODY_LOAN] = {"borrow": self._lend}

    def connection_lost(self, exc: Exception | None) -> None:
        if self._loan is not None:
            self._loan.stop()
        super().connection_lost(exc)
        self._extensions.pop(BODY_LOAN, None)  # as with the parser: no cycle of references stays

    def _lend(self) -> BodyLoan | None:
        cycle = self.cycle
        if self._phase is not _BODY or self._remaining < LEAST or cycle is None:
            return None
        if cycle.disconnected or self.transport.is_closing():
            return None
        connected = self.transport.get_extra_info("socket")
        try:
            fd = os.dup(connected.fileno())
        except OSError:
            return None  # too many are open: what is there suffices for the loop
        self.flow.pause_reading()
        self._loan = SocketLoan(fd, self._remaining, cycle.take_parts(), self._end_loan)
        return self._loan

    def _end_loan(self, size: int) -> None:
        self._loan = None
        self._note_body(size)
        if self._phase is not _BODY:
            return
        self._remaining -= size
        self._restart_window(self._edge.now)
        self.flow.resume_reading()
        if not self._remaining:
            self._end_body(b"")

    def _note_body(self, size: int) -> None:
        """Told of what came of a body, to the application or past it."""

    def _wait_with(self, data: bytes) -> None:
        """Keeps what came after a request until that is answered."""
        self._buffer += data
        self.flow.pause_reading()

    def _expect_body(self, framing: Framing) -> None:
        self._phase = _BODY
        self._drained = 0
        self._restart_window(self._edge.now)
        if framing.chunked:
            self._remaining = UNKNOWN
            self._chunks = ChunkedBody()
        else:
            self._remaining = framing.length

    def _take_body(self, data: bytes) -> None:
        remaining = self._remaining
        if remaining == UNKNOWN:
            self._take_chunks(data)
            return
        rest = b""
        if len(data) > remaining:
            data, rest = data[:remaining], data[remaining:]
        self._remaining = remaining = remaining - len(data)
        self._deliver(data)
        if remaining == 0 and self._phase is _BODY:
            self._end_body(rest)

    def _take_chunks(self, data: bytes) -> None:
        try:
            pieces, rest = self._chunks.feed(data)
        except MalformedChunk as malformed:
            self._break_body(Refused(400, str(malformed).encode()))
            return
        for piece in pieces:
            self._deliver(piece)
        if rest is not None and self._phase is _BODY:
            self._end_body(rest)

    def _deliver(self, data: bytes) -> None:
        cycle = self.cycle
        assert cycle is not None
        self._note_body(len(data))
        if not cycle.response_complete:
            cycle.feed(data)
            return
        self._drained += len(data)
        if self._drained > DRAIN_LIMIT and self._phase is _BODY:
            self._linger()

    def _end_body(self, rest: bytes) -> None:
        """The request is here as a whole; `rest` follows it."""
        cycle = self.cycle
        assert cycle is not None
        if not cycle.response_complete:
            self._phase = _BUSY
            cycle.feed_end()
            if rest:
                self._wait_with(rest)
        elif cycle.keep_alive:
            self._buffer += rest
            self._await_next()
        else:
            self._close()
