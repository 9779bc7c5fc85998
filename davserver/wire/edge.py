"""What all connections of a worker share: limits, a coarse clock, the answers the edge gives.

One timer looks after every connection, instead of one timer each that every request re-arms.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from davserver.accesslog import AccessLog
from davserver.asked import AtOnce
from davserver.config import Settings
from davserver.protocol.dates import format_http_date
from davserver.protocol.status import status_line
from davserver.wire.requesthead import KnownFields

_SEEN = 4_096
_KNOWN = 512
"""Blocks of header fields that are remembered: a MiB at the most."""


class Watched(Protocol):
    """A connection that the shared timer looks after."""

    def watch(self, now: float) -> None: ...


class Edge:
    """The limits and counters of one worker's connections.

    Args:
        settings: the limits; those on connections are divided by the number of workers.
        log: where the edge's own answers are noted; None notes none.
        methods: the names for Allow, asked for when needed.
    """

    def __init__(
        self, settings: Settings, log: AccessLog | None, methods: Callable[[], list[str]]
    ) -> None:
        self.log = log
        self._methods = methods
        self.at_once: AtOnce | None = None
        """Answers what asks for nothing special (app.py); None where nobody does."""
        self.now = 0.0
        """Monotonic seconds, as exact as the timer's interval."""
        self.known: dict[bytes, KnownFields] = {}
        """What a block of header fields says, by its bytes."""
        self._seen_once: set[int] = set()
        self._open: set[Watched] = set()
        self._addresses: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._default_fields: list[tuple[bytes, bytes]] | None = None
        self._default_lines = b""
        self._second = 0
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Puts limits in force, for connections that are open as well."""
        self.settings = settings
        # What was read of them is within the limits of before.
        self.known.clear()
        workers = settings.workers
        self._limit = math.ceil(settings.connections / workers)
        self._limit_per_address = math.ceil(settings.connections_per_address / workers)
        self._exempt = frozenset(settings.trusted_proxies)
        shortest = min(
            settings.head_timeout_s,
            settings.body_idle_s,
            settings.keep_alive_s,
            settings.write_idle_s,
        )
        self._interval = min(1.0, shortest / 4)

    def allow(self) -> bytes:
        """Returns the value of Allow for a method that nobody knows."""
        return ", ".join(self._methods()).encode()

    def know(self, fields: bytes, known: KnownFields) -> None:
        """Remembers header fields that were read, when they come for the second time: what is
        sent once drives nothing out."""
        mark = hash(fields)
        if mark not in self._seen_once:
            if len(self._seen_once) >= _SEEN:
                self._seen_once.clear()
            self._seen_once.add(mark)
            return
        if len(self.known) >= _KNOWN:
            self.known.clear()
        self.known[fields] = known

    def enter(self, connection: Watched, address: str) -> bool:
        """Counts a new connection. False when there are too many: it is to be turned away."""
        if self._timer is None:
            self._tick()
        full = len(self._open) >= self._limit
        crowded = (
            address not in self._exempt and self._addresses[address] >= self._limit_per_address
        )
        self._open.add(connection)
        self._addresses[address] += 1
        return not (full or crowded)

    @property
    def is_flooded(self) -> bool:
        """True when even those that are turned away are too many to be told why."""
        return len(self._open) > 2 * self._limit

    def leave(self, connection: Watched, address: str) -> None:
        """The connection is gone."""
        if connection not in self._open:
            return
        self._open.discard(connection)
        self._addresses[address] -= 1
        if not self._addresses[address]:
            del self._addresses[address]

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self.now = loop.time()
        for connection in tuple(self._open):
            connection.watch(self.now)
        # Armed while the loop runs: it dies with it.
        self._timer = loop.call_later(self._interval, self._tick)

    def default_lines(self, fields: list[tuple[bytes, bytes]], now: float) -> bytes:
        """Returns the header lines of every answer.

        Args:
            fields: what uvicorn would send. Its Date is as old as its last tick, so that the
                Last-Modified of a file just written would be later (RFC 9110 section 8.8.2.1).
            now: seconds since the epoch.
        """
        second = int(now)
        if fields is not self._default_fields or second != self._second:
            self._default_fields, self._second = fields, second
            date = format_http_date(second)
            self._default_lines = b"".join(
                [
                    b"%b: %b\r\n" % (name, date if name == b"date" else value)
                    for name, value in fields
                ]
            )
        return self._default_lines


def refusal(status: int, detail: bytes, date: bytes, extra: bytes = b"") -> bytes:
    """Returns a whole answer of the edge's own, after which the connection ends."""
    return (
        b"%b\r\n%bcontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
        b"%bconnection: close\r\n\r\n%b"
    ) % (status_line(status), date, len(detail) + 1, extra, detail + b"\n")
