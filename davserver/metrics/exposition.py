"""What is counted, as Prometheus reads it. The only module that imports prometheus-client."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector

from davserver import __version__
from davserver.metrics.board import BUCKETS, CLASSES, Board, Reading

_BOUNDS = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")


@dataclass(frozen=True, slots=True)
class Outside:
    """What is asked when somebody reads, not counted.

    Attributes:
        measure: the number of locks, and the bytes of the state on the disk; None when it does
            not answer.
        now: monotonic seconds.
    """

    measure: Callable[[], tuple[int, int] | None]
    now: Callable[[], float]


class Exposition(Collector):
    """Reads the board and the processes, each time that it is asked."""

    def __init__(self, board: Board, outside: Outside) -> None:
        self._board = board
        self._outside = outside
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Returns body and content type, in the form that Accept asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> Iterator[Metric]:
        """Nothing: names are known from what is collected."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        reading = self._board.read()
        yield InfoMetricFamily("davserver", "This server.", {"version": __version__})
        yield from _requests(reading)
        yield from _gate(reading)
        yield from self._state()
        yield from _workers(reading, self._outside.now())

    def _state(self) -> Iterator[Metric]:
        measured = self._outside.measure()
        if measured is not None:
            locks, size = measured
            yield GaugeMetricFamily("davserver_locks", "Locks that hold.", locks)
            yield GaugeMetricFamily(
                "davserver_state_bytes", "Size of the state (properties, locks, journal).", size
            )


def _requests(reading: Reading) -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "davserver_requests", "Requests answered.", labels=("method", "status")
    )
    durations = HistogramMetricFamily(
        "davserver_request_duration_seconds",
        "From the head of a request to the last byte of its answer.",
        labels=("method",),
    )
    for each in reading.methods:
        for status, count in zip(CLASSES, each.statuses, strict=True):
            if count:
                requests.add_metric((each.method, status), count)
        if any(each.buckets):
            sums = itertools.accumulate(each.buckets)
            durations.add_metric(
                (each.method,), list(zip(_BOUNDS, sums, strict=True)), each.seconds
            )
    yield requests
    yield durations
    yield CounterMetricFamily(
        "davserver_request_body_bytes", "Bytes of request bodies.", reading.received
    )
    yield CounterMetricFamily(
        "davserver_response_body_bytes", "Bytes of response bodies.", reading.sent
    )
    yield CounterMetricFamily(
        "davserver_uploads_broken", "Uploads that broke off; nothing was changed.", reading.broken
    )
    yield CounterMetricFamily(
        "davserver_sign_in_failures",
        "Wrong passwords, and sign-ins refused after too many of them.",
        reading.sign_in_failures,
    )


def _gate(reading: Reading) -> Iterator[Metric]:
    gate = reading.gate
    yield CounterMetricFamily(
        "davserver_gate_waits", "Changes that found another one at work.", gate.waits
    )
    yield CounterMetricFamily("davserver_gate_wait_seconds", "What they waited.", gate.wait_s)
    yield CounterMetricFamily(
        "davserver_gate_timeouts", "Those that waited in vain (503).", gate.timeouts
    )


def _workers(reading: Reading, now: float) -> Iterator[Metric]:
    seats = reading.seats.items()
    yield GaugeMetricFamily(
        "davserver_connections",
        "Open connections.",
        sum(seat.connections for _, seat in seats),
    )
    yield CounterMetricFamily(
        "davserver_worker_starts", "Worker processes that were started.", reading.starts
    )
    ages = GaugeMetricFamily(
        "davserver_worker_beat_age_seconds",
        "Since the event loop of a worker last turned: above a few seconds it hangs.",
        labels=("worker",),
    )
    memory = GaugeMetricFamily(
        "davserver_process_resident_memory_bytes", "Memory of a worker.", labels=("worker",)
    )
    descriptors = GaugeMetricFamily(
        "davserver_process_open_fds", "File descriptors of a worker.", labels=("worker",)
    )
    for number, seat in seats:
        label = (str(number),)
        ages.add_metric(label, max(0.0, now - seat.beat))
        process = _look_at(seat.pid)
        if process is not None:
            memory.add_metric(label, process[0])
            descriptors.add_metric(label, process[1])
    yield from (ages, memory, descriptors)


def _look_at(pid: int) -> tuple[int, int] | None:
    """Returns resident memory in bytes and the number of open descriptors; None where the system
    does not tell, or the process is gone."""
    try:
        with open(f"/proc/{pid}/statm", encoding="ascii") as file:
            pages = int(file.read().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
