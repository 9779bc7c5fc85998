"""How fast the server is, and how near it comes to uvicorn answering a constant.

    .venv/bin/python tests/bench/speed.py [--rounds 3] [--seconds 2] [--only GET] [--workers 1]
        [--durability none] [--peer NAME=PORT:FOLDER] [--json FILE] [--compare FILE]

Starts davserver, and uvicorn with an application of two lines; each round measures every workload
on each in turn, the table has the medians. A peer is any WebDAV server that runs already, on this
machine, with a folder that may be filled; its process ids are not known, so it has no CPU figure.
Only ratios within one run count. With --json the figures are kept; --compare shows those of an
earlier file beside them.
"""

from __future__ import annotations

import argparse
import json
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.load import Failed, Measured, measure
from tests.bench.memory import processes
from tests.bench.workloads import WORKLOADS, Workload
from tests.support.server import Server

ROOT = Path(__file__).resolve().parents[2]
FLOOR = "uvicorn, a constant"
OURS = "davserver"


@dataclass(frozen=True, slots=True)
class Target:
    """Something that listens."""

    name: str
    port: int
    pids: Sequence[int] = ()


@contextmanager
def floor() -> Iterator[Target]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(ROOT / "tests" / "bench" / "floor.py"), str(port)]
    process = subprocess.Popen(command)
    try:
        for _ in range(100):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        yield Target(FLOOR, port, [process.pid])
    finally:
        process.terminate()
        process.wait(10)


def result(workload: Workload, run: Measured) -> float:
    if workload.unit == "MB/s":
        return run.size / run.seconds / 1e6
    return run.seconds / run.count * 1000 if workload.unit == "ms" else run.rate


def run_all(
    targets: Sequence[Target], workloads: Sequence[Workload], rounds: int, seconds: float
) -> dict[str, dict[str, dict[str, float]]]:
    """Returns the medians: workload, target, figure."""
    figures: dict[str, dict[str, dict[str, list[float]]]] = {}
    for number in range(rounds):
        for workload in workloads:
            for target in targets:
                if target.name == FLOOR and not workload.floor:
                    continue
                print(f"\r{number + 1}/{rounds} {workload.name}, {target.name}", end="\033[K")
                try:
                    run = measure(
                        target.port,
                        target.pids,
                        workload.steps,
                        connections=workload.connections,
                        seconds=seconds,
                        most=workload.most,
                    )
                except (Failed, OSError) as error:
                    print(f"\n{workload.name}, {target.name}: {error}")
                    continue
                found = figures.setdefault(workload.name, {}).setdefault(target.name, {})
                values = {"result": result(workload, run), "cpu_us": run.cpu_us}
                values |= {"p50_ms": run.p50_ms, "p99_ms": run.p99_ms}
                values["first_ms"] = run.first_s * 1000
                for key, value in values.items():
                    found.setdefault(key, []).append(value)
    print("\r", end="\033[K")
    return {
        workload: {
            target: {key: statistics.median(values) for key, values in found.items()}
            for target, found in by_target.items()
        }
        for workload, by_target in figures.items()
    }


def show(
    figures: dict[str, dict[str, dict[str, float]]],
    workloads: Sequence[Workload],
    targets: Sequence[Target],
    before: dict[str, dict[str, dict[str, float]]],
) -> None:
    names = [target.name for target in targets]
    head = ["workload", "unit", *names, "of the constant", "CPU us", "p99 ms"]
    print("| " + " | ".join([*head, *(["before"] if before else [])]) + " |")
    print("|" + " --- |" * (len(head) + bool(before)))
    for workload in workloads:
        found = figures.get(workload.name, {})
        ours, least = found.get(OURS, {}), found.get(FLOOR, {})
        cells = [workload.name, workload.unit]
        cells += [_number(found.get(name, {}).get("result")) for name in names]
        ratio = ours["result"] / least["result"] if ours and least else None
        cells += ["" if ratio is None else f"{ratio:.2f}"]
        cells += [_number(ours.get("cpu_us")), _number(ours.get("p99_ms"))]
        if before:
            cells.append(_number(before.get(workload.name, {}).get(OURS, {}).get("result")))
        print("| " + " | ".join(cells) + " |")


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def commit() -> str:
    command = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--only", default="", help="workloads with this in their name")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--durability", default="none", choices=["none", "file", "full"])
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=PORT:FOLDER")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--compare", type=Path)
    chosen = parser.parse_args()
    workloads = [one for one in WORKLOADS if chosen.only in one.name]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir="/var/tmp")))
        environment = {"DAVSERVER_DURABILITY": chosen.durability}
        server = Server(folder, workers=chosen.workers, environment=environment)
        stack.enter_context(server)
        targets = [Target(OURS, server.port, processes(server.pid)), stack.enter_context(floor())]
        roots = [server.root]
        for text in chosen.peer:
            name, _, place = text.partition("=")
            port, _, root = place.partition(":")
            targets.append(Target(name, int(port)))
            roots.append(Path(root))
        for root in roots:
            for one in WORKLOADS:
                one.prepare(root)
        figures = run_all(targets, workloads, chosen.rounds, chosen.seconds)
    before = json.loads(chosen.compare.read_text())["figures"] if chosen.compare else {}
    show(figures, workloads, targets, before)
    if chosen.json:
        about = {"machine": platform.platform(), "python": platform.python_version()}
        about |= {"commit": commit(), "workers": chosen.workers, "durability": chosen.durability}
        chosen.json.write_text(json.dumps({**about, "figures": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
