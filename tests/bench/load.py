"""Load on a server, from this process: blocking sockets in lockstep, which cost less a request than
any server does. Requests are made before the clock runs.

Each round sends one request on every connection, then reads one answer from each: the server
always has something to do, and every answer's time is known.
"""

from __future__ import annotations

import os
import re
import socket
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.workloads import TOKEN

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_TOKEN = re.compile(rb"\r\nlock-token: *(<[^>]+>)\r\n", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked\r\n", re.IGNORECASE)
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_BUFFER = 1 << 20


class Failed(Exception):
    """The server answered something else than success."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run showed.

    Attributes:
        count: answers.
        seconds: from the first request to the last answer.
        cpu_s: seconds of processor that the server used meanwhile.
        times: of each answer, in seconds.
        first_s: seconds until the first byte of the first answer.
        size: bytes of all answers' bodies.
    """

    count: int
    seconds: float
    cpu_s: float
    times: Sequence[float]
    first_s: float
    size: int

    @property
    def rate(self) -> float:
        return self.count / self.seconds

    @property
    def cpu_us(self) -> float:
        """Microseconds of the server's processor for an answer."""
        return self.cpu_s / self.count * 1e6

    @property
    def p50_ms(self) -> float:
        return statistics.median(self.times) * 1000

    @property
    def p99_ms(self) -> float:
        ordered = sorted(self.times)
        return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000


class Client:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), 120)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(_BUFFER))
        self._token = TOKEN
        self.first_at = 0.0

    def close(self) -> None:
        self._socket.close()

    def send(self, request: bytes) -> None:
        self._socket.sendall(request.replace(TOKEN, self._token))

    def send_body(self, size: int) -> None:
        block = memoryview(os.urandom(_BUFFER))
        while size:
            size -= self._socket.send(block[: min(size, _BUFFER)])

    def receive(self) -> int:
        """Reads one answer; returns the bytes of its body. Raises Failed."""
        data = self._socket.recv(65_536)
        self.first_at = time.perf_counter()
        while (end := data.find(b"\r\n\r\n")) < 0:
            more = self._socket.recv(65_536)
            if not more:
                raise Failed("the connection ended")
            data += more
        if data[9:10] != b"2":
            raise Failed(data[:200].decode("latin-1"))
        head = data[: end + 2]
        granted = _TOKEN.search(head)
        if granted is not None:
            self._token = granted[1]
        length = _LENGTH.search(head)
        if length is not None:
            return self._skip(int(length[1]), len(data) - end - 4)
        if _CHUNKED.search(head):
            return self._skip_chunks(data[end + 4 :])
        return 0

    def _skip(self, size: int, have: int) -> int:
        while have < size:
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise Failed("the answer ended early")
            have += count
        return size

    def _skip_chunks(self, data: bytes) -> int:
        size = len(data)
        tail = data[-5:]
        while tail != b"0\r\n\r\n":
            count = self._socket.recv_into(self._buffer)
            if not count:
                raise Failed("the answer ended early")
            size += count
            tail = (tail + bytes(self._buffer[max(0, count - 5) : count]))[-5:]
        return size


def cpu_s(pids: Sequence[int]) -> float:
    """Returns the seconds of processor that processes have used."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total * _TICK_S


def measure(
    port: int,
    pids: Sequence[int],
    request: Callable[[int], Sequence[bytes]],
    *,
    connections: int,
    seconds: float,
    most: int = 1_000_000,
) -> Measured:
    """Runs rounds until the time is over.

    Args:
        request: the steps (one request each) of the n-th cycle; what is counted are cycles.
        most: cycles at the most.
    """
    clients = [Client(port) for _ in range(connections)]
    times: list[float] = []
    first_s = 0.0
    size = number = 0
    try:
        before, begun = cpu_s(pids), time.perf_counter()
        while (now := time.perf_counter()) - begun < seconds and number < most:
            cycles = [request(number + each) for each in range(connections)]
            number += connections
            for step in range(len(cycles[0])):
                for client, steps in zip(clients, cycles, strict=True):
                    client.send(steps[step])
                for client in clients:
                    size += client.receive()
            first_s = first_s or clients[0].first_at - now
            times += [time.perf_counter() - now] * connections
        ended, after = time.perf_counter(), cpu_s(pids)
    finally:
        for client in clients:
            client.close()
    return Measured(number, ended - begun, after - before, times, first_s, size)
