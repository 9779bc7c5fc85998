"""What wrong passwords cost those who are signed in.

    .venv/bin/python tests/bench/wrong_passwords.py [--wrong 10000] [--seconds 8] [--rounds 5]

Starts the server with one user, who asks with PROPFIND of depth 0 on 16 connections; then others
keep so many wrong passwords in flight, each for another name, from ten addresses. Prints the rate
of the user without and with them, round by round, and the median of both. The exit code is 1 when
the user is slowed by more than a fifth.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import multiprocessing
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.server import Server

CONNECTIONS = 16
ADDRESSES = [f"127.0.0.{n}" for n in range(2, 12)]
ALLOWED = 0.8
SETTLE_S = 3.0
"""After the last has connected: it is passwords that are measured, not connections."""
REQUEST = (
    "PROPFIND /f HTTP/1.1\r\nHost: 127.0.0.1\r\nDepth: 0\r\nContent-Length: 0\r\n"
    "Authorization: Basic {}\r\n\r\n"
)


def request(name: str, password: str) -> bytes:
    return REQUEST.format(base64.b64encode(f"{name}:{password}".encode()).decode()).encode()


async def answer(reader: asyncio.StreamReader) -> int:
    """Reads one answer; returns its status."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(None, 2)[1])


# -- who is signed in ------------------------------------------------------------------------


def loop_seconds(pid: int) -> float:
    """Returns what the event loop's thread has had of a processor."""
    fields = Path(f"/proc/{pid}/task/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Rate:
    """Answers a second, and the event loop's microseconds for each, of everything it did."""

    each_second: float
    loop_us: float


async def ask(port: int, pid: int, seconds: float) -> Rate:
    count = 0
    before = loop_seconds(pid)
    end = time.monotonic() + seconds

    async def one() -> None:
        nonlocal count
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.monotonic() < end:
            writer.write(request("alice", "secret"))
            status = await answer(reader)
            assert status == 207, status
            count += 1
        writer.close()

    await asyncio.gather(*(one() for _ in range(CONNECTIONS)))
    return Rate(count / seconds, (loop_seconds(pid) - before) / count * 1e6)


# -- who is not ------------------------------------------------------------------------------


def attack(port: int, wrong: int, ready: Event, stop: Event, statuses: dict[int, int]) -> None:
    """Keeps so many wrong passwords in flight until told to stop."""
    counts: dict[int, int] = {}
    sent = 0

    async def one(number: int) -> None:
        address = ADDRESSES[number % len(ADDRESSES)]
        local = (address, 0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=local)
        tries = 0
        nonlocal sent
        sent += 1
        while not stop.is_set():
            writer.write(request(f"user{number}.{tries}", "wrong"))
            status = await answer(reader)
            counts[status] = counts.get(status, 0) + 1
            tries += 1

    async def main() -> None:
        tasks = []
        for number in range(wrong):
            tasks.append(asyncio.ensure_future(one(number)))
            if number % 200 == 199:
                await asyncio.sleep(0.05)
        while sent < wrong:
            await asyncio.sleep(0.1)
        await asyncio.sleep(SETTLE_S)
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.1)
        failed = [task for task in tasks if task.done() and task.exception()]
        for task in tasks:
            task.cancel()
        if failed:
            print("lost", len(failed), repr(failed[0].exception()))

    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    asyncio.run(main())
    statuses.update(counts)


def prepare(folder: Path, wrong: int) -> list[str]:
    """Makes the user and the settings; returns the arguments of the server."""
    (folder / "root").mkdir()
    (folder / "root" / "f").write_bytes(b"content")
    command = [sys.executable, "-m", "davserver", "user", "add", "alice"]
    subprocess.run(
        [*command, "--state", str(folder / "state")], input=b"secret\n", check=True, stdout=2
    )
    config = folder / "davserver.toml"
    each = wrong // len(ADDRESSES) + CONNECTIONS
    config.write_text(
        f"access_log = false\n[http]\nconnections = {wrong + 100}\n"
        f"connections_per_address = {each}\n"
    )
    return ["--config", str(config), "--log-level", "error"]


def measure(options: argparse.Namespace) -> tuple[Rate, Rate, dict[int, int]]:
    """Returns the user's rate alone and with the others, and what those were answered."""
    with tempfile.TemporaryDirectory() as name, multiprocessing.Manager() as manager:
        server = Server(Path(name), arguments=prepare(Path(name), options.wrong))
        server.start()
        calm = asyncio.run(ask(server.port, server.pid, options.seconds))
        ready, stop, statuses = multiprocessing.Event(), multiprocessing.Event(), manager.dict()
        process = multiprocessing.Process(
            target=attack, args=(server.port, options.wrong, ready, stop, statuses)
        )
        process.start()
        assert ready.wait(120), "not all connected"
        hard = asyncio.run(ask(server.port, server.pid, options.seconds))
        stop.set()
        process.join(60)
        server.kill()
        return calm, hard, dict(statuses)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--wrong", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    ratios = []
    for _ in range(options.rounds):
        calm, hard, statuses = measure(options)
        ratios.append((hard.each_second / calm.each_second, calm.loop_us / hard.loop_us))
        print(
            f"alone {calm.each_second:6.0f}/s {calm.loop_us:4.0f} us"
            f"   with them {hard.each_second:6.0f}/s {hard.loop_us:4.0f} us   they got {statuses}",
            flush=True,
        )
    rate, work = (statistics.median(column) for column in zip(*ratios, strict=True))
    print(f"median {rate:.2f} of the rate, {work:.2f} by the loop's time; {os.cpu_count()} CPUs")
    return 0 if rate >= ALLOWED else 1


if __name__ == "__main__":
    sys.exit(main())
