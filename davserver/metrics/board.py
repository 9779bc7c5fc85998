"""Counters that all workers share: memory in which each worker has a seat of its own.

A worker writes to its seat alone, so that counting takes no lock and sends nothing; any worker can
read them all, so that whichever answers tells of the whole server. A worker that takes the place
of a dead one takes its seat: what was counted stays counted.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from typing import Final

BUCKETS: Final = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0),
)
"""Upper bounds of the duration histogram, in seconds; above the last there is one more."""
OTHER: Final = "other"
"""What a method that nobody knows is counted as: names are the client's, series must not be."""
CLASSES: Final = ("1xx", "2xx", "3xx", "4xx", "5xx")
UPLOADS: Final = frozenset({"PUT", "PATCH", "POST"})
BROKEN_OFF: Final = 499
"""Status in the log of a request whose client left before its answer."""

(
    _PID,
    _BEAT,
    _CONNECTIONS,
    _GATE_WAITS,
    _GATE_WAIT_S,
    _GATE_TIMEOUTS,
    _STARTS,
    _RECEIVED,
    _SENT,
    _BROKEN,
    _SIGN_IN,
    _ROWS,
) = range(12)
_ROW = len(CLASSES) + 1 + len(BUCKETS) + 1
"""Cells of one method: status classes, sum of seconds, buckets."""
_SUM = len(CLASSES)
_FIRST_BUCKET = _SUM + 1


@dataclass(frozen=True, slots=True)
class GateCounts:
    """What a worker knows of its waits for the gate."""

    waits: int
    wait_s: float
    timeouts: int


@dataclass(frozen=True, slots=True)
class SeatReading:
    """What one worker tells of itself now.

    Attributes:
        beat: monotonic seconds when its event loop last turned.
    """

    pid: int
    beat: float
    connections: int


@dataclass(frozen=True, slots=True)
class MethodReading:
    """All requests of one method.

    Attributes:
        statuses: counts, in the order of CLASSES.
        seconds: sum of all durations.
        buckets: counts of each bucket alone, in the order of BUCKETS and one for the rest.
    """

    method: str
    statuses: tuple[int, ...]
    seconds: float
    buckets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """All workers together; sizes are in bytes.

    Attributes:
        seats: the workers that have begun, by seat.
    """

    seats: dict[int, SeatReading]
    methods: tuple[MethodReading, ...]
    gate: GateCounts
    starts: int
    received: int
    sent: int
    broken: int
    sign_in_failures: int


class Board:
    """The shared memory. Made before the workers are forked, or handed to them.

    Args:
        methods: names that are counted on their own.
        seats: workers at most.
    """

    def __init__(self, methods: Sequence[str], seats: int) -> None:
        self.methods = (*methods, OTHER)
        self.seats = seats
        self.width = _ROWS + _ROW * len(self.methods)
        # A plain array: a lock would make each request of a worker wait for the others'.
        self.memory = RawArray("d", self.width * seats)

    def read(self) -> Reading:
        """Returns the sums. A request that is being counted may be in one number and not yet in
        another."""
        rows = [self._cells(seat) for seat in range(self.seats)]
        sums = [sum(column) for column in zip(*rows, strict=True)]
        return Reading(
            seats={
                seat: SeatReading(int(row[_PID]), row[_BEAT], int(row[_CONNECTIONS]))
                for seat, row in enumerate(rows)
                if row[_PID]
            },
            methods=tuple(
                _read_method(method, sums[start : start + _ROW])
                for start, method in zip(range(_ROWS, self.width, _ROW), self.methods, strict=True)
            ),
            gate=GateCounts(int(sums[_GATE_WAITS]), sums[_GATE_WAIT_S], int(sums[_GATE_TIMEOUTS])),
            starts=int(sums[_STARTS]),
            received=int(sums[_RECEIVED]),
            sent=int(sums[_SENT]),
            broken=int(sums[_BROKEN]),
            sign_in_failures=int(sums[_SIGN_IN]),
        )

    def _cells(self, seat: int) -> list[float]:
        cells: list[float] = self.memory[seat * self.width : (seat + 1) * self.width]
        return cells


class Meter:
    """One worker's seat. Its methods are called on the worker's event loop only."""

    def __init__(self, board: Board, seat: int) -> None:
        self.board = board
        start = seat * board.width
        cells = memoryview(board.memory).cast("B").cast("d")
        self._cells = cells[start : start + board.width]
        self._rows = {method: _ROWS + index * _ROW for index, method in enumerate(board.methods)}
        self._other = self._rows[OTHER]
        self._gate_before = GateCounts(0, 0.0, 0)

    def begin(self, now: float) -> None:
        """This process takes the seat; what is counted there goes on."""
        cells = self._cells
        self.begin_gate()
        cells[_PID] = os.getpid()
        cells[_BEAT] = now
        cells[_CONNECTIONS] = 0
        cells[_STARTS] += 1

    def begin_gate(self) -> None:
        """What `beat` tells of the gate begins at zero again; what was told stays counted."""
        cells = self._cells
        self._gate_before = GateCounts(
            int(cells[_GATE_WAITS]), cells[_GATE_WAIT_S], int(cells[_GATE_TIMEOUTS])
        )

    def beat(self, now: float, gate: GateCounts | None) -> None:
        """The event loop turns; about once a second.

        Args:
            now: monotonic seconds.
            gate: what was counted since `begin`, or `begin_gate`.
        """
        cells = self._cells
        cells[_BEAT] = now
        if gate is not None:
            before = self._gate_before
            cells[_GATE_WAITS] = before.waits + gate.waits
            cells[_GATE_WAIT_S] = before.wait_s + gate.wait_s
            cells[_GATE_TIMEOUTS] = before.timeouts + gate.timeouts

    def connected(self, change: int) -> None:
        self._cells[_CONNECTIONS] += change

    def received(self, size: int) -> None:
        """Takes bytes of a request body."""
        self._cells[_RECEIVED] += size

    def sign_in_failed(self) -> None:
        self._cells[_SIGN_IN] += 1

    def request(self, method: str, status: int, size: int, seconds: float) -> None:
        """Counts an answered request.

        Args:
            size: bytes of the response body.
            seconds: from the head of the request to the last byte handed to the transport.
        """
        cells = self._cells
        row = self._rows.get(method, self._other)
        cells[row + status // 100 - 1] += 1
        cells[row + _SUM] += seconds
        cells[row + _FIRST_BUCKET + bisect_left(BUCKETS, seconds)] += 1
        cells[_SENT] += size
        if status == BROKEN_OFF and method in UPLOADS:
            cells[_BROKEN] += 1


def _read_method(method: str, cells: list[float]) -> MethodReading:
    return MethodReading(
        method,
        tuple(int(count) for count in cells[:_SUM]),
        cells[_SUM],
        tuple(int(count) for count in cells[_FIRST_BUCKET:]),
    )
