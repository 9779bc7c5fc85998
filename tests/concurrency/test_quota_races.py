"""However many upload at once, through whichever worker: a quota is never passed, and what is used
is known to the byte when they are done."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davserver.protocol.path import Key
from davserver.state.base import Usage
from davserver.state.sqlite import SqliteState
from tests.support.crowd import at_once, hidden_files
from tests.support.http import Connection, ConnectionEnded
from tests.support.processes import serving
from tests.support.server import Server

CLIENTS = 20
LIMIT = 100_000
WAIT_S = 20

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Four workers over a share with a quota of 100,000 bytes, and one without."""
    shares = {"a": f"quota = {LIMIT}", "b": ""}
    with Server(tmp_path, workers=4, shares=shares, arguments=["--durability", "none"]) as running:
        yield running


class Watch(threading.Thread):
    """Looks at the disk again and again.

    Attributes:
        most: bytes that were ever seen in files that clients can see.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._is_over = threading.Event()
        self.most = 0

    def run(self) -> None:
        while not self._is_over.wait(0.002):
            self.most = max(self.most, on_disk(self._folder))

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self.join(WAIT_S)


def on_disk(folder: Path) -> int:
    """Bytes of the visible files: of one moment only while nobody changes anything."""
    total = 0
    for where, names, files in os.walk(folder):
        names[:] = [name for name in names if not name.startswith(".davserver")]
        for name in files:
            try:
                total += 0 if name.startswith(".davserver") else os.stat(f"{where}/{name}").st_size
            except FileNotFoundError:
                continue
    return total


def usage(server: Server) -> Usage:
    state = SqliteState(server.state)
    try:
        return state.numbers(Key("a", b"")).read()
    finally:
        state.close()


@pytest.mark.rfc("QU-04")
@pytest.mark.parametrize("chunked", [False, True], ids=["with a length", "chunked"])
def test_twenty_uploads_at_once_never_exceed_the_quota(server: Server, chunked: bool) -> None:
    """Each would fit alone, and so it is let in; not all can be published."""
    size = LIMIT // 8
    body = b"x" * size

    def upload(number: int) -> Callable[[Connection], list[int]]:
        def run(connection: Connection) -> list[int]:
            pieces = [body[:5000], body[5000:]] if chunked else body
            return [connection.put(f"/a/{number}-{n}", pieces).status for n in range(3)]

        return run

    with Watch(server.root / "a") as watch:
        results = at_once(server, *(upload(number) for number in range(CLIENTS)))

    statuses = [status for each in results for status in each]
    assert sorted(set(statuses)) == [201, 507]
    assert statuses.count(201) == 8
    assert watch.most <= LIMIT
    assert on_disk(server.root / "a") == LIMIT
    assert usage(server) == Usage(LIMIT, True)
    assert hidden_files(server) == []


def work(number: int, seconds: float) -> Callable[[Connection], set[int]]:
    """Changes all kinds of things, paths of other clients among them."""
    chance = random.Random(number)

    def run(connection: Connection) -> set[int]:
        seen = set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            path, other = (f"/a/{chance.randrange(12)}" for _ in range(2))
            kind = chance.randrange(7)
            if kind < 3:
                reply = connection.put(path, b"x" * chance.choice([0, 9_000, 30_000, 60_000]))
            elif kind == 3:
                reply = connection.delete(path)
            elif kind == 4:
                reply = connection.copy(path, other)
            elif kind == 5:
                reply = connection.move(path, other)
            else:
                away = f"/b/{number}"
                connection.move(path, away)
                reply = connection.move(away, path, overwrite="F")
            seen.add(reply.status)
        return seen

    return run


def test_whatever_they_do_what_is_used_is_known(server: Server, seconds: float) -> None:
    with Watch(server.root / "a") as watch:
        results = at_once(server, *(work(number, 3 * seconds) for number in range(CLIENTS)))

    statuses = set().union(*results)
    assert {201, 204, 507} <= statuses
    assert statuses <= {201, 204, 403, 404, 409, 412, 503, 507}
    used = on_disk(server.root / "a")
    assert usage(server) == Usage(used, True)
    # What it looks at while others move files about is not of one moment: a file may be seen in
    # its old place and in its new one.
    assert used <= LIMIT
    assert watch.most < 2 * LIMIT
    assert hidden_files(server) == []


@pytest.mark.security("K-01")
def test_workers_that_are_killed_leave_a_number_that_is_put_right(server: Server) -> None:
    body = b"x" * (LIMIT // 50)
    is_over = threading.Event()
    errors: list[int] = []

    def upload(number: int) -> None:
        count = 0
        while not is_over.is_set():
            with server.connect() as connection:
                try:
                    while not is_over.is_set():
                        path = f"/a/{number}-{count % 40}"
                        count += 1
                        reply = connection.put(path, body)
                        if reply.status == 507:
                            reply = connection.delete(path)
                        if reply.status not in (201, 204, 404, 503):
                            errors.append(reply.status)
                except (ConnectionEnded, OSError):
                    continue

    threads = [threading.Thread(target=upload, args=(n,), daemon=True) for n in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(4):
        time.sleep(0.3)
        os.kill(serving(server)[0], signal.SIGKILL)
    is_over.set()
    for thread in threads:
        thread.join(WAIT_S)
        assert not thread.is_alive()

    assert errors == []
    assert on_disk(server.root / "a") <= LIMIT
    deadline = time.monotonic() + WAIT_S
    while usage(server).used != on_disk(server.root / "a") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert usage(server) == Usage(on_disk(server.root / "a"), True)
