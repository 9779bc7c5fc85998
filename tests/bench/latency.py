"""How long a small GET takes while one worker moves what is large.

    .venv/bin/python tests/bench/latency.py [--seconds 10]

Measures a GET of 4 KiB, one at a time: alone, then beside a PUT and a GET of a GiB, over and over,
and a PROPFIND of Depth infinity over 20,000 files, all on the same worker. Prints the median and
the 99th percentile of both, and the latter as a multiple of the median of the same run. On Linux
also the same without the time in which the client itself was ready to go on and had no processor:
it shares the machine with the server and the other clients, which a client elsewhere does not; and
how long the event loop's thread had none.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.load import Client
from tests.bench.memory import processes
from tests.bench.workloads import MIB, file, propfind, request, tree
from tests.support.server import Server

GIB = 1 << 30


def small_gets(port: int, seconds: float) -> list[tuple[float, float]]:
    """Returns how long each took, and for how much of that this process had no processor."""
    client = Client(port)
    wanted = request("GET", "/small")
    times = []
    own = os.getpid()
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        _, before = held_up(own)
        begun = time.perf_counter()
        client.send(wanted)
        client.receive()
        took = time.perf_counter() - begun
        times.append((took, held_up(own)[1] - before))
        time.sleep(0.001)
    client.close()
    return times


def work(port: int, kind: str, seconds: float) -> None:
    """One of the large things, in a process of its own."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        client = Client(port)
        if kind == "put":
            client.send(request("PUT", "/up").replace(b": 0\r\n\r\n", b": %d\r\n\r\n" % GIB))
            client.send_body(GIB)
        else:
            steps = {"get": request("GET", "/large"), "propfind": propfind("/tree/", "infinity")}
            client.send(steps[kind])
        client.receive()
        client.close()


def show(name: str, times: list[tuple[float, float]]) -> None:
    print(f"{name}: {summary([took for took, _ in times])}, {len(times)} requests")
    print(f"  without the client's waits: {summary([took - waited for took, waited in times])}")


def summary(times: list[float]) -> str:
    median = statistics.median(times)
    p99 = sorted(times)[int(len(times) * 0.99)]
    return f"median {median * 1000:.2f} ms, p99 {p99 * 1000:.2f} ms ({p99 / median:.1f} times)"


def held_up(pid: int) -> tuple[float, float]:
    """Returns the seconds that the main thread of a process has run, and those in which it could
    have (Linux; zeros elsewhere)."""
    try:
        ran, waited, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
    except OSError:
        return 0.0, 0.0
    return int(ran) / 1e9, int(waited) / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--work", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.work:
        work(chosen.port, chosen.work, chosen.seconds)
        return
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        server = stack.enter_context(Server(folder))
        for make in (file("small", 4096), file("large", 1024 * MIB), tree("tree", 20_000, 100)):
            make(server.root)
        show("alone", small_gets(server.port, 3))
        command = [sys.executable, __file__, "--port", str(server.port)]
        command += ["--seconds", str(chosen.seconds)]
        others = [subprocess.Popen([*command, "--work", kind]) for kind in _KINDS]
        time.sleep(0.5)
        worker = processes(server.pid)[-1]
        before = held_up(worker)
        show(f"beside {', '.join(_KINDS)}", small_gets(server.port, chosen.seconds - 1))
        ran, waited = (now - then for now, then in zip(held_up(worker), before, strict=True))
        print(f"the event loop's thread ran for {ran:.2f} s, and waited {waited:.2f} s to run")
        for other in others:
            other.wait(120)


_KINDS = ("put", "get", "propfind")

if __name__ == "__main__":
    main()
