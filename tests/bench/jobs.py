"""What a COPY of 50,000 files that goes on by itself costs, and what small requests notice of it.

    .venv/bin/python tests/bench/jobs.py [--files 50000] [--durability none]

One worker. Prints how long 202 took, the job, and its cancelling; the processor time of the server
for the job and for the same COPY while the client waits; and how long a GET of 4 KiB takes alone,
beside the job, and beside the COPY.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.latency import show, small_gets
from tests.bench.workloads import file, tree
from tests.support.server import Server

TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(server: Server) -> float:
    """Returns the processor time that the server has used."""
    fields = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def ask(server: Server, method: str, target: str, **headers: str) -> Any:
    with server.connect(timeout_s=900) as http:
        return http.request(method, target, headers)


def told_of(server: Server, href: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(ask(server, "GET", href).body)
    return told


def run_job(server: Server) -> tuple[list[int], dict[str, Any]]:
    """Returns the members that were told of, a few times a second, and how the job ended."""
    begun = time.perf_counter()
    reply = ask(server, "COPY", "/tree/", Destination="/copy/", Prefer="respond-async")
    print(f"202 after {(time.perf_counter() - begun) * 1000:.1f} ms")
    assert reply.status == 202, reply
    href, seen = reply.headers["location"], []
    while (told := told_of(server, href))["ended"] is None:
        seen.append(told["progress"]["members"])
        time.sleep(0.2)
    return seen, told


def beside(server: Server, work: Callable[[], None], name: str) -> None:
    """Measures small requests as long as the work takes."""
    thread = threading.Thread(target=work)
    before, begun = cpu_s(server), time.perf_counter()
    thread.start()
    times: list[float] = []
    while thread.is_alive():
        times += small_gets(server.port, 0.5)
    took, used = time.perf_counter() - begun, cpu_s(server) - before
    print(f"{name}: {took:.1f} s, {used:.1f} s of the processor with what is beside it")
    show(f"small GET beside {name}", times)
    print(f"longest: {max(times) * 1000:.1f} ms")


def cancel(server: Server) -> None:
    reply = ask(server, "COPY", "/tree/", Destination="/copy/", Prefer="respond-async")
    href = reply.headers["location"]
    while not told_of(server, href)["progress"]["members"] > 1000:
        time.sleep(0.05)
    begun = time.perf_counter()
    ask(server, "DELETE", href)
    while (told := told_of(server, href))["ended"] is None:
        time.sleep(0.02)
    left = [name for name in os.listdir(server.root) if "davserver" in name or name == "copy"]
    took = time.perf_counter() - begun
    print(
        f"{told['state']} {took:.2f} s after it was asked for, at"
        f" {told['progress']['members']} members; left: {left}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--durability", default="none")
    chosen = parser.parse_args()
    environment = {"DAVSERVER_DURABILITY": chosen.durability}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        server = stack.enter_context(Server(folder, environment=environment))
        for make in (file("small", 4096), tree("tree", chosen.files, 100)):
            make(server.root)
        show("small GET alone", small_gets(server.port, 3))
        found: list[tuple[list[int], dict[str, Any]]] = []
        beside(server, lambda: found.append(run_job(server)), "job")
        ((seen, told),) = found
        print(
            f"{told['state']}: {told['progress']}; rose {seen == sorted(seen)}, {len(seen)} looks"
        )
        ask(server, "DELETE", "/copy/")

        def wait() -> None:
            ask(server, "COPY", "/tree/", Destination="/copy/")

        beside(server, wait, "COPY")
        ask(server, "DELETE", "/copy/")
        cancel(server)


if __name__ == "__main__":
    main()
