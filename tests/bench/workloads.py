"""What is measured: each workload prepares a tree, and says what a cycle sends."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
FINDER = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<D:propfind xmlns:D="DAV:">\n<D:prop>\n'
    b"<D:getlastmodified/>\n<D:getcontentlength/>\n<D:creationdate/>\n<D:resourcetype/>\n"
    b"</D:prop>\n</D:propfind>\n"
)
_DEAD = b"".join(b"<u:p%d/>" % number for number in range(5))
FIVE = b'<D:propfind xmlns:D="DAV:" xmlns:u="u"><D:prop>%b</D:prop></D:propfind>' % _DEAD
LOCKINFO = (
    b'<?xml version="1.0" encoding="utf-8"?>\n<D:lockinfo xmlns:D="DAV:"><D:lockscope>'
    b"<D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype><D:owner>bench</D:owner>"
    b"</D:lockinfo>"
)
TOKEN = b"<the token of the lock>"
"""Stands in a request for that of the lock that was granted last on its connection."""
Steps = Callable[[int], Sequence[bytes]]


def request(method: str, target: str, body: bytes = b"", **fields: str) -> bytes:
    """Returns one request; `_` in a field's name stands for `-`."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if body or method == "PUT":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def propfind(target: str, depth: str, body: bytes = FINDER) -> bytes:
    return request("PROPFIND", target, body, Depth=depth, Content_Type="text/xml")


@dataclass(frozen=True, slots=True)
class Workload:
    """One thing to do again and again.

    Attributes:
        steps: requests of the n-th cycle.
        prepare: makes what is needed in the served folder.
        unit: what a result is in: "req/s", "MB/s", "ms".
        floor: it makes sense to hold it against a constant answer.
        most: cycles at the most, where each leaves something behind or takes long.
    """

    name: str
    steps: Steps
    prepare: Callable[[Path], None] = lambda root: None
    connections: int = 1
    unit: str = "req/s"
    floor: bool = False
    most: int = 1_000_000


def members(name: str, count: int, size: int = 100) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        folder = root / name
        folder.mkdir()
        for number in range(count):
            (folder / f"file-{number:05d}.txt").write_bytes(b"x" * size)

    return make


def tree(name: str, count: int, each: int) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        (root / name).mkdir()
        for number in range(count // each):
            members(f"{name}/c{number:03d}", each)(root)

    return make


def file(name: str, size: int) -> Callable[[Path], None]:
    def make(root: Path) -> None:
        block = os.urandom(MIB)
        with (root / name).open("wb") as target:
            for at in range(0, size, MIB):
                target.write(block[: min(MIB, size - at)])

    return make


def five_properties(number: int) -> bytes:
    values = b"".join(b"<u:p%d>value %d</u:p%d>" % (p, number, p) for p in range(5))
    return (
        b'<D:propertyupdate xmlns:D="DAV:" xmlns:u="u"><D:set><D:prop>%b</D:prop></D:set>'
        b"</D:propertyupdate>" % values
    )


def _always(*steps: bytes) -> Steps:
    return lambda number: steps


# Cycles are counted anew each round: what is to be new has a number of its own.
_new = itertools.count()


def _put(number: int) -> Sequence[bytes]:
    return [request("PUT", f"/put-{os.getpid()}-{next(_new)}", b"x" * 4096)]


def _lock_cycle(number: int) -> Sequence[bytes]:
    target = f"/locked/file-{number % 64:05d}.txt"
    token = TOKEN.decode()
    return [
        request("LOCK", target, LOCKINFO, Depth="0", Timeout="Second-60", Content_Type="text/xml"),
        request("PUT", target, b"x" * KIB, If=f"({token})"),
        request("UNLOCK", target, Lock_Token=token),
    ]


def _proppatch(number: int) -> Sequence[bytes]:
    return [request("PROPPATCH", f"/few/file-{number % 100:05d}.txt", five_properties(number))]


def _copy_tree(number: int) -> Sequence[bytes]:
    return [request("COPY", "/tree/", Destination=f"/copy-{os.getpid()}-{next(_new)}/")]


def _move_tree(number: int) -> Sequence[bytes]:
    ends = ("/moved/", "/moved-away/")
    return [request("MOVE", ends[number % 2], Destination=ends[(number + 1) % 2])]


def _copy_and_delete(number: int) -> Sequence[bytes]:
    name = f"/gone-{os.getpid()}-{number}/"
    return [request("COPY", "/tree/", Destination=name), request("DELETE", name)]


WORKLOADS = (
    Workload(
        "GET 4 KiB, 16 connections",
        _always(request("GET", "/small")),
        file("small", 4 * KIB),
        connections=16,
        floor=True,
    ),
    Workload(
        "PROPFIND depth 0, 8 connections",
        _always(propfind("/few/file-00000.txt", "0")),
        members("few", 100),
        connections=8,
        floor=True,
    ),
    Workload(
        "Range GET 64 KiB, 4 connections",
        _always(request("GET", "/large", Range="bytes=1048576-1114111")),
        file("large", 64 * MIB),
        connections=4,
    ),
    Workload("PUT 4 KiB new, 8 connections", _put, connections=8, floor=True, most=20_000),
    Workload(
        "PUT over 4 KiB, 8 connections",
        lambda number: [request("PUT", f"/over-{number % 8}", b"x" * 4096)],
        connections=8,
        most=20_000,
    ),
    Workload("GET 64 MiB", _always(request("GET", "/large")), unit="MB/s", most=64),
    Workload(
        "PROPFIND depth 1, 1,000 members",
        _always(propfind("/thousand/", "1")),
        members("thousand", 1_000),
        unit="ms",
    ),
    Workload(
        "PROPFIND depth 1, 10,000 members",
        _always(propfind("/many/", "1")),
        members("many", 10_000),
        unit="ms",
    ),
    Workload(
        "PROPFIND infinity, 5,000 files",
        _always(propfind("/tree/", "infinity")),
        tree("tree", 5_000, 50),
        unit="ms",
    ),
    Workload(
        "LOCK, PUT with If, UNLOCK, 4 connections",
        _lock_cycle,
        members("locked", 64),
        connections=4,
        most=10_000,
    ),
    Workload("PROPPATCH 5 properties, 4 connections", _proppatch, connections=4, most=5_000),
    Workload(
        "PROPFIND of 5 dead properties, 100 files",
        _always(propfind("/few/", "1", FIVE)),
        unit="ms",
    ),
    Workload("COPY tree of 5,000 files", _copy_tree, unit="ms", most=3),
    Workload("MOVE tree of 5,000 files", _move_tree, tree("moved", 5_000, 50), unit="ms", most=20),
    Workload("COPY and DELETE tree of 5,000 files", _copy_and_delete, unit="ms", most=3),
)
