"""Thousands of connections that only hold on, against one worker: others are served meanwhile, and
each slow one is cut at its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import re
import resource
import select
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.edge import EdgeInProcess, Wire
from tests.support.http import Connection
from tests.support.server import Server

MIB = 1 << 20
IDLE = 2000
SLOW = {"head": 170, "body": 170, "reader": 160}
HEAD_S, BODY_S, WRITE_S = 6, 5, 5
"""Deadlines of the server under attack."""


@pytest.fixture
def many_files() -> Iterator[None]:
    """Lets this process open as many sockets as the attack needs."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} open files are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def attacked(tmp_path: Path) -> Iterator[Server]:
    settings = {
        "HEAD_TIMEOUT_S": HEAD_S,
        "BODY_IDLE_S": BODY_S,
        "WRITE_IDLE_S": WRITE_S,
        "MIN_RATE": 1024,
        "CONNECTIONS_PER_ADDRESS": 4096,
        "ACCESS_LOG": "false",
    }
    environment = {f"DAVSERVER_{name}": str(value) for name, value in settings.items()}
    with Server(tmp_path, environment=environment) as server:
        with (server.root / "big").open("wb") as big:
            big.truncate(64 * MIB)
        for number in range(20):
            (server.root / f"f{number}").write_bytes(b"x")
        yield server


def memory(pid: int, field: str) -> int:
    """Resident bytes: now (VmRSS), or the most so far (VmHWM)."""
    found = re.search(rf"{field}:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


def sockets(pid: int) -> int:
    """How many sockets a process has open."""
    count = 0
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            count += entry.readlink().name.startswith("socket:")
    return count


class Attacker:
    """One connection that holds on.

    Attributes:
        received: what came.
        closed: the server has ended it.
    """

    def __init__(self, port: int, kind: str) -> None:
        self.kind = kind
        self.received = b""
        self.closed = False
        self.socket = socket.socket()
        if kind == "reader":
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.socket.settimeout(10)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setblocking(False)
        begun = {
            "idle": b"",
            "head": b"GET / HTTP/1.1\r\nHost: x\r\n",
            "body": b"PUT /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n",
            "reader": b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
        }
        if begun[kind]:
            self.socket.send(begun[kind])

    def trickle(self) -> None:
        if self.kind in ("head", "body") and not self.closed:
            with contextlib.suppress(OSError):
                self.socket.send(b"X")

    def read(self) -> None:
        try:
            data = self.socket.recv(65_536)
        except BlockingIOError:
            return
        except (ConnectionResetError, BrokenPipeError):
            data = b""
        self.received = (self.received + data)[:4096]
        self.closed = self.closed or not data


def propfind_times(client: Connection, attackers: list[Attacker], count: int) -> list[float]:
    """Returns the seconds of each of `count` requests; the attackers go on between them."""
    times = []
    slow = [one for one in attackers if one.kind in SLOW]
    for number in range(count):
        for one in slow[number % 10 :: 10]:
            one.trickle()
        begun = time.perf_counter()
        answer = client.propfind("/", depth="1")
        times.append(time.perf_counter() - begun)
        assert len(answer.hrefs) >= 20
    return times


def await_end(attackers: list[Attacker], deadline: float) -> None:
    """Reads, and goes on trickling, until the server has ended each. Stalled readers cannot see
    it: what the kernel still has for them is before the end."""
    poller = select.poll()
    waiting = {one.socket.fileno(): one for one in attackers if one.kind != "reader"}
    for number in waiting:
        poller.register(number, select.POLLIN)
    while waiting and time.monotonic() < deadline:
        for one in waiting.values():
            one.trickle()
        for number, _ in poller.poll(250):
            one = waiting[number]
            one.read()
            if one.closed:
                poller.unregister(number)
                del waiting[number]


@pytest.mark.timeout(90)
@pytest.mark.security("T-05", "M-01", "S-12")
def test_2000_idle_and_500_slow_connections_keep_nobody_from_being_served(
    attacked: Server, many_files: None
) -> None:
    with attacked.connect() as client:
        calm = propfind_times(client, [], 100)
        resting = sockets(attacked.pid)
        before = memory(attacked.pid, "VmRSS")
        kinds = ["idle"] * IDLE + [kind for kind, count in SLOW.items() for _ in range(count)]
        attackers = [Attacker(attacked.port, kind) for kind in kinds]
        try:
            arriving = propfind_times(client, attackers, 20)
            # Now: on a busy machine the first deadlines come before the last request.
            held = sockets(attacked.pid) - resting
            times = propfind_times(client, attackers, 200)
            await_end(attackers, time.monotonic() + 4 * HEAD_S)
            grown = memory(attacked.pid, "VmHWM") - before
            left = _await_sockets(attacked.pid, resting)
            after = client.propfind("/", depth="0")
        finally:
            for one in attackers:
                one.socket.close()

    for name, values in (("calm", calm), ("attacked", times)):
        quantiles = statistics.quantiles(values, n=100)
        print(f"{name}: median {quantiles[49] * 1000:.1f} ms, p99 {quantiles[98] * 1000:.1f} ms")
    print(f"while the attackers arrive: up to {max(arriving) * 1000:.1f} ms")
    print(f"{held} connections held, {grown / MIB:.1f} MiB more memory")
    refused = {kind: _count(attackers, kind, b"HTTP/1.1 408 ") for kind in ("head", "body")}

    assert held > len(attackers) // 2
    assert {one.kind for one in attackers if not one.closed} == {"reader"}
    assert refused == {"head": SLOW["head"], "body": SLOW["body"]}
    assert [one for one in attackers if one.kind == "idle" and one.received] == []
    assert left <= resting
    assert grown < 160 * MIB
    assert after.hrefs == ["/"]
    assert not (attacked.root / "slow").exists()


def _count(attackers: list[Attacker], kind: str, beginning: bytes) -> int:
    return sum(one.received.startswith(beginning) for one in attackers if one.kind == kind)


def _await_sockets(pid: int, wanted: int) -> int:
    deadline = time.monotonic() + 10
    while (count := sockets(pid)) > wanted and time.monotonic() < deadline:
        time.sleep(0.05)
    return count


@pytest.mark.timeout(60)
@pytest.mark.security("S-12")
@pytest.mark.parametrize("method", ["PROPPATCH", "PUT"])
def test_200_large_bodies_that_never_end_fill_no_memory(
    attacked: Server, many_files: None, method: str
) -> None:
    begin = b"%b /f0 HTTP/1.1\r\nHost: x\r\nContent-Length: 1048576\r\n\r\n" % method.encode()
    with attacked.connect() as client, contextlib.ExitStack() as stack:
        client.propfind("/")
        before = memory(attacked.pid, "VmRSS")
        for _ in range(200):
            one = stack.enter_context(attacked.connect())
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                one.send_raw(begin, b" " * (MIB - 1))
        small = client.proppatch("/f1", set={"{u}x": "y"})
        put = client.put("/f2", b"y" * 3 * MIB)
        grown = memory(attacked.pid, "VmHWM") - before

    assert small.status == 207
    assert put.status == 204
    assert grown < 150 * MIB
    assert (attacked.root / "f0").read_bytes() == b"x"


class StuckWire(Wire):
    """A connection whose client takes nothing more: what is unsent keeps it open."""

    def get_write_buffer_size(self) -> int:
        return 1000

    def close(self) -> None:
        self._closing = True

    def abort(self) -> None:
        super().close()
        self.aborted = True

    aborted = False


@pytest.mark.security("T-05")
@pytest.mark.parametrize("connection", [b"close", b"keep-alive"])
def test_a_client_that_never_takes_the_end_of_its_answer_is_cut_off(connection: bytes) -> None:
    """Also after the application is done with it, when the connection is closed but for that."""
    edge = EdgeInProcess(keep_alive_s=10, write_idle_s=20)
    request = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: %b\r\n\r\n" % connection

    async def stall() -> bool:
        wire = StuckWire()
        guard = edge.connect(wire)
        guard.data_received(request)
        await edge.settle(wire)
        now = asyncio.get_running_loop().time()
        for second in range(40):
            guard.watch(now + second)
        wire.close()
        if not wire.aborted:
            wire.abort()
            return False
        await asyncio.sleep(0)
        return True

    try:
        assert edge.run(stall())
    finally:
        edge.close()


def test_a_client_that_takes_its_time_twice_is_not_cut_off() -> None:
    """Though as much of its second answer waits as of the first: sockets take the same of both."""
    edge = EdgeInProcess(keep_alive_s=10, write_idle_s=20)
    request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    async def stall_twice() -> tuple[bool, int]:
        wire = StuckWire()
        guard = edge.connect(wire)
        now = asyncio.get_running_loop().time()
        for begun in (now, now + 25):
            guard.data_received(request)
            guard.watch(begun)
            goes_on.set()
            await edge.settle(wire)
        aborted = wire.aborted
        wire.abort()
        await asyncio.sleep(0)
        return aborted, wire.written.count(b"whole")

    goes_on = asyncio.Event()

    async def in_two_pieces(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"begun", "more_body": True})
        await goes_on.wait()
        goes_on.clear()
        await send({"type": "http.response.body", "body": b"whole"})

    edge._config.loaded_app = in_two_pieces
    try:
        assert edge.run(stall_twice()) == (False, 2)
    finally:
        edge.close()
