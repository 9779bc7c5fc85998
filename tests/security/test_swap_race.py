"""The swap race: while requests run, somebody swaps a folder for a link that leads out.

A thread exchanges the two in one step, over and over. Outside there is a tree of the same names
with a canary in each file: nothing there may be read, written, created or deleted.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davserver.storage import _linux
from tests.support.dav import XML
from tests.support.every import LOCK, PROPPATCH, Ask, snapshot
from tests.support.http import Connection, ConnectionEnded
from tests.support.server import Server

CANARY = b"canary-of-the-swap-91c2"
CANARY_NAME = "canary-name-of-the-swap"
MEMBERS = ("f", "g", "d/h", "d/e/i")
CLIENTS = 4

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="renameat2 is a call of Linux"
)


def fill(folder: Path, content: bytes) -> None:
    (folder / "d/e").mkdir(parents=True, exist_ok=True)
    for name in MEMBERS:
        (folder / name).write_bytes(content)


class Swapper(threading.Thread):
    """Exchanges `root/a` with a link to the outside until it is told to stop."""

    def __init__(self, root: Path, outside: Path, aside: Path) -> None:
        super().__init__(daemon=True)
        self.swaps = 0
        self.error: BaseException | None = None
        self._outside = outside
        # Only the last of these is swapped: `a` itself, or what is in it.
        self._ends = [(root / "a", aside / "a"), (root / "b/a", aside / "b")]
        self._stop_asked = threading.Event()
        for _, other in self._ends:
            os.symlink(outside, other)

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                for inside, other in self._ends:
                    self._swap(inside, other)
        except BaseException as error:
            self.error = error

    def _swap(self, inside: Path, other: Path) -> None:
        try:
            _linux.renameat2(-100, os.fsencode(inside), -100, os.fsencode(other), 2)
            self.swaps += 1
        except FileNotFoundError:
            # A request deleted or moved what was there, be it the folder or the link.
            with contextlib.suppress(OSError):
                if not os.path.lexists(other):
                    os.symlink(self._outside, other)
                if not os.path.lexists(inside):
                    inside.parent.mkdir(exist_ok=True)
                    if os.path.islink(other):
                        fill(inside, b"inside")
                    else:
                        os.symlink(self._outside, inside)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(10)
        assert not self.is_alive()
        assert self.error is None, self.error


def asks() -> Iterator[Ask]:
    xml = {"Content-Type": XML}
    while True:
        for base in ("/a", "/b/a"):
            for name in MEMBERS:
                path = f"{base}/{name}"
                yield Ask("GET", path)
                yield Ask("PUT", path, {}, b"of a client")
                yield Ask("PROPPATCH", path, xml, PROPPATCH)
                yield Ask("COPY", "/src", {"Destination": path})
                yield Ask("COPY", path, {"Destination": "/copied"})
                yield Ask("MOVE", path, {"Destination": f"{base}/moved"})
                yield Ask("DELETE", path)
            yield Ask("PUT", f"{base}/new", {}, b"x" * 300_000)
            yield Ask("LOCK", f"{base}/locked", xml | {"Timeout": "Second-1"}, LOCK)
            yield Ask("MKCOL", f"{base}/col")
            yield Ask("PROPFIND", f"{base}/", {"Depth": "infinity"})
            yield Ask("PROPFIND", "/", {"Depth": "infinity"})
            yield Ask("COPY", f"{base}/", {"Destination": "/tree/"})
            yield Ask("COPY", "/tree/", {"Destination": f"{base}/tree/"})
            yield Ask("MOVE", f"{base}/d/", {"Destination": "/tree/d/"})
            yield Ask("COPY", "/srctree/", {"Destination": f"{base}/d/"})
            yield Ask("COPY", "/srctree/", {"Destination": f"{base}/"})
            yield Ask("DELETE", f"{base}/d/")
            yield Ask("DELETE", f"{base}/")
        yield Ask("DELETE", "/b/")
        yield Ask("MKCOL", "/b/")
        yield Ask("DELETE", "/copied")


class Client(threading.Thread):
    """Sends one request after the other, and keeps what should not be."""

    def __init__(self, connection: Connection, skip: int, deadline: float) -> None:
        super().__init__(daemon=True)
        self.counts: Counter[tuple[str, int]] = Counter()
        self.wrong: list[str] = []
        self._connection = connection
        self._skip = skip
        self._deadline = deadline

    def run(self) -> None:
        with self._connection as connection:
            for number, ask in enumerate(asks()):
                if time.monotonic() > self._deadline:
                    return
                if number >= self._skip:
                    self._send(connection, ask)

    def _send(self, connection: Connection, ask: Ask) -> None:
        try:
            reply = ask.send(connection)
        except (ConnectionEnded, AssertionError) as error:
            # A listing that cannot be finished is broken off; nothing else is.
            connection.close()
            if ask.method != "PROPFIND":
                self.wrong.append(f"{ask} {error!r}")
            self.counts[ask.method, 0] += 1
            return
        self.counts[ask.method, reply.status] += 1
        if CANARY in reply.body or CANARY_NAME.encode() in reply.body or reply.status == 500:
            self.wrong.append(f"{ask} {reply}")


def race(server: Server, folder: Path, duration_s: float) -> Counter[tuple[str, int]]:
    outside, aside = folder / "outside", folder / "aside"
    aside.mkdir()
    fill(outside, CANARY)
    (outside / CANARY_NAME).write_bytes(CANARY)
    fill(server.root / "a", b"inside")
    fill(server.root / "b/a", b"inside")
    fill(server.root / "srctree", b"source")
    (server.root / "src").write_bytes(b"source")
    before = snapshot(outside)
    swapper = Swapper(server.root, outside, aside)
    deadline = time.monotonic() + duration_s
    clients = [
        Client(server.connect(timeout_s=15), 17 * number, deadline) for number in range(CLIENTS)
    ]
    swapper.start()
    for client in clients:
        client.start()
    for client in clients:
        client.join(duration_s + 60)
        assert not client.is_alive(), "a client hangs"
    swapper.stop()

    counts: Counter[tuple[str, int]] = Counter()
    for client in clients:
        assert client.wrong == []
        counts += client.counts
    assert snapshot(outside) == before
    for path in server.root.rglob("*"):
        if not path.is_symlink():
            assert path.name != CANARY_NAME
            assert not path.is_file() or CANARY not in path.read_bytes(), path
    assert swapper.swaps > 100 * duration_s, "the race was hardly run"
    methods = {method for method, _ in counts}
    done = {method for method, status in counts if 200 <= status < 300}
    assert methods == done, f"some methods never got through: {counts}"
    return counts


SERVERS = [
    pytest.param({}, id="openat2"),
    pytest.param({"environment": {"DAVSERVER_FALLBACKS": "openat2,renameat2"}}, id="fallback"),
    pytest.param(
        {"workers": 2, "environment": {"DAVSERVER_SYMLINKS": "deny"}}, id="deny, two workers"
    ),
]


@pytest.fixture
def racing(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[Callable[[float], Counter[tuple[str, int]]]]:
    with Server(tmp_path, **request.param) as server:
        yield lambda duration_s: race(server, tmp_path, duration_s)
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.mark.security("P-09", "P-08")
@pytest.mark.parametrize("racing", SERVERS[:2], indirect=True)
def test_nothing_outside_is_touched(racing: Callable[[float], Counter[tuple[str, int]]]) -> None:
    racing(3)


@pytest.mark.long
@pytest.mark.timeout(200)
@pytest.mark.security("P-09", "P-08")
@pytest.mark.parametrize("racing", SERVERS, indirect=True)
def test_nothing_outside_is_touched_for_a_minute(
    racing: Callable[[float], Counter[tuple[str, int]]],
) -> None:
    counts = racing(60)
    print(sum(counts.values()), sorted(counts.items()))
