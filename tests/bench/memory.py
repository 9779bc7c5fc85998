"""Resident memory of the server while it moves what does not fit into it.

    .venv/bin/python tests/bench/memory.py [--gib 10] [--members 200000] [--folder DIR]

Starts the server on an empty folder, then: a PUT of so many GiB, a GET of the same, a PROPFIND of
Depth infinity over so many members (1,000 a collection). Prints, for each, the highest resident
memory of the server's processes above what they had when idle. The exit code is 1 when one was
100 MiB or more. Needs twice the GiB of free space in DIR.
"""

from __future__ import annotations

import argparse
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.support.server import Server

MIB = 1 << 20
LIMIT_MIB = 100


def peak_bytes(pids: list[int]) -> int:
    """Sum of the highest resident set sizes since `reset`."""
    total = 0
    for pid in pids:
        status = Path(f"/proc/{pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found is not None
        total += int(found[1]) * 1024
    return total


def reset(pids: list[int]) -> None:
    for pid in pids:
        Path(f"/proc/{pid}/clear_refs").write_text("5")


def processes(pid: int) -> list[int]:
    """The process and its descendants."""
    found = [pid]
    for parent in found:
        for task in Path(f"/proc/{parent}/task").iterdir():
            children = (task / "children").read_text().split()
            found += [int(child) for child in children]
    return found


def put(server: Server, size: int) -> None:
    block = bytes(range(256)) * (MIB // 256)
    with server.connect(timeout_s=600) as connection:
        stream = connection.socket
        head = f"PUT /huge.bin HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {size}\r\n\r\n"
        stream.sendall(head.encode())
        for _ in range(size // MIB):
            stream.sendall(block)
        answer = stream.recv(4096)
    assert answer.startswith(b"HTTP/1.1 201"), answer


def get(server: Server, target: str, head: str = "") -> int:
    """Reads an answer of any size and forgets it; returns its bytes, head and framing included."""
    with server.connect(timeout_s=600) as connection:
        stream = connection.socket
        request = f"{target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{head}\r\n"
        stream.sendall(request.encode())
        total = 0
        buffer = bytearray(MIB)
        while count := stream.recv_into(buffer):
            if not total:
                assert buffer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 207")), bytes(buffer[:200])
            total += count
    return total


def make_members(root: Path, count: int) -> None:
    for number in range(0, count, 1000):
        folder = root / "tree" / f"{number // 1000:04}"
        folder.mkdir(parents=True)
        for index in range(min(1000, count - number) - 1):
            (folder / f"file-{index:04}.txt").touch()


def measure(name: str, pids: list[int], idle: int, work: Callable[[], object]) -> bool:
    reset(pids)
    begun = time.monotonic()
    result = work()
    above = (peak_bytes(pids) - idle) / MIB
    seconds = time.monotonic() - begun
    print(f"{name:<34} {above:8.1f} MiB above idle  {seconds:7.1f} s  {result or ''}", flush=True)
    return above < LIMIT_MIB


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--gib", type=int, default=10)
    parser.add_argument("--members", type=int, default=200_000)
    parser.add_argument("--folder", type=Path, default=None)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="davserver-memory-", dir=options.folder))
    try:
        with Server(folder, environment={"DAVSERVER_DURABILITY": "none"}) as server:
            get(server, "GET /")
            pids = processes(server.pid)
            reset(pids)
            idle = peak_bytes(pids)
            print(f"{'idle':<34} {idle / MIB:8.1f} MiB")
            size = options.gib << 30
            held = measure(f"PUT {options.gib} GiB", pids, idle, lambda: put(server, size))
            held &= measure(
                f"GET {options.gib} GiB", pids, idle, lambda: get(server, "GET /huge.bin")
            )
            make_members(server.root, options.members)
            name = f"PROPFIND infinity, {options.members} members"
            held &= measure(
                name, pids, idle, lambda: get(server, "PROPFIND /tree/", "Depth: infinity\r\n")
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
