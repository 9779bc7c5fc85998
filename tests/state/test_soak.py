"""Processes that write as fast as they can, and die: nothing that was acknowledged is lost."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import apsw
import pytest

from davserver.protocol.names import QName
from davserver.protocol.path import Key
from davserver.state.sqlite import SqliteState
from tests.support.http import Connection, ConnectionEnded
from tests.support.server import Server

PROCESSES = 4
OWN, SHARED = QName("{urn:t}own"), QName("{urn:t}shared")
COUNTER = Key("", b"counter")

# Says "a number" when its own property with that number is acknowledged, "s" when it has counted
# one up, "l token" and "u token" when a lock was granted and given up.
WORKER = """
import random, sys, time
from pathlib import Path
from davserver.errors import GateBusy
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state.sqlite import SqliteState

folder, me, begin = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
state = SqliteState(folder, durability="none")
own, shared = QName("{urn:t}own"), QName("{urn:t}shared")
mine, counter = Key("", b"p" + me.encode()), Key("", b"counter")
chance = random.Random()
tokens = []
write = sys.stdout.write
number = begin
while True:
    number += 1
    try:
        with state.hold([mine], wait_s=10) as view:
            view.patch(mine, [PropertyChange(own, b"%d" % number + b" " * chance.randrange(3000))])
        write(f"a {number}\\n")
        # Before, too: a process that is killed in between leaves one that is not told.
        write("b\\n")
        sys.stdout.flush()
        with state.hold([counter], wait_s=10) as view:
            old = int(view.properties(counter).get(shared, b"0"))
            view.patch(counter, [PropertyChange(shared, b"%d" % (old + 1))])
        write("s\\n")
        sys.stdout.flush()
        if tokens and chance.random() < 0.5:
            token = tokens.pop(chance.randrange(len(tokens)))
            write(f"v {token}\\n")
            sys.stdout.flush()
            with state.hold([mine], wait_s=10) as view:
                view.remove_lock(token)
            write(f"u {token}\\n")
        elif len(tokens) < 20:
            token = f"urn:{me}:{number}"
            key = mine.child(b"%d" % number)
            with state.hold([key], wait_s=10) as view:
                view.add_lock(Lock(token, key, b"/", LockScope.EXCLUSIVE, Depth.ZERO, b"", me, 9,
                                   time.time() + 9999))
            tokens.append(token)
            write(f"l {token}\\n")
        sys.stdout.flush()
    except GateBusy:
        write("busy\\n")
"""


class Soaked:
    """One worker process after the other under one name, each killed in the middle of its work.

    Attributes:
        last: number of the last acknowledged value.
        counted, perhaps: increments that were acknowledged, and those that died unacknowledged.
        locks, doubtful: tokens granted and kept; those whose UNLOCK died unacknowledged.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.last = self.counted = self.perhaps = self.busy = 0
        self.locks: set[str] = set()
        self.doubtful: set[str] = set()
        self._folder = folder
        self._name = name
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", WORKER, str(self._folder), self._name, str(self.last)],
            stdout=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,))
        self._reader.start()

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        begun = False
        for line in process.stdout:
            if not line.endswith("\n"):
                break
            what, _, rest = line.rstrip("\n").partition(" ")
            if what == "a":
                self.last = int(rest)
            elif what == "b":
                begun = True
            elif what == "s":
                begun = False
                self.counted += 1
            elif what == "l":
                self.locks.add(rest)
            elif what == "v":
                self.locks.discard(rest)
                self.doubtful.add(rest)
            elif what == "u":
                self.doubtful.discard(rest)
            else:
                self.busy += 1
        self.perhaps += begun

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def kill_and_restart(self) -> None:
        self.kill()
        self._start()


def soak(folder: Path, seconds: float, *, kill_every_s: float) -> list[Soaked]:
    workers = [Soaked(folder, str(number)) for number in range(PROCESSES)]
    chance = random.Random(7)
    end = time.monotonic() + seconds
    while (left_s := end - time.monotonic()) > 0:
        time.sleep(min(kill_every_s, left_s))
        chance.choice(workers).kill_and_restart()
    for worker in workers:
        worker.kill()
    return workers


def judge(folder: Path, workers: list[Soaked]) -> None:
    db = apsw.Connection(str(folder / "state.sqlite3"))
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()
    state = SqliteState(folder)
    try:
        kept = {lock.token for lock in state.locks()}
        for number, worker in enumerate(workers):
            stored = int(state.properties(Key("", b"p%d" % number))[OWN])
            # The very last one may have been committed and not been told any more.
            assert stored - worker.last in (0, 1)
            assert worker.locks <= kept
        counted = int(state.properties(COUNTER)[SHARED])
        acknowledged = sum(worker.counted for worker in workers)
        assert acknowledged <= counted <= acknowledged + sum(worker.perhaps for worker in workers)
        assert not state.has_changes()
    finally:
        state.close()


@pytest.mark.security("Q-01", "Q-02", "Q-09")
@pytest.mark.parametrize(
    "seconds",
    [
        pytest.param(2.5, id="short"),
        pytest.param(60, id="long", marks=[pytest.mark.long, pytest.mark.timeout(120)]),
    ],
)
def test_nothing_acknowledged_is_lost_by_processes_that_write_and_die(
    tmp_path: Path, seconds: float, capsys: pytest.CaptureFixture[str]
) -> None:
    workers = soak(tmp_path / "state", seconds, kill_every_s=min(seconds / 3, 2.0))

    judge(tmp_path / "state", workers)
    counted = sum(worker.counted for worker in workers)
    assert counted > 20
    with capsys.disabled():
        if seconds > 10:
            print(f"\n{counted} increments, {sum(w.busy for w in workers)} refused as busy")


class Client(threading.Thread):
    """Locks, changes properties, unlocks, one resource of its own; remembers the last answer."""

    def __init__(self, server: Server, number: int, end: float) -> None:
        super().__init__()
        self.target = f"/{number}"
        self.statuses: dict[int, int] = {}
        self.value: str | None = None
        self.tried: str | None = None
        self.rounds = 0
        self._server = server
        self._end = end

    def run(self) -> None:
        while time.monotonic() < self._end:
            with contextlib.suppress(OSError, ConnectionEnded), self._server.connect() as http:
                self._work(http)

    def _work(self, http: Connection) -> None:
        while time.monotonic() < self._end:
            granted = http.lock_request(self.target, timeout="Second-2")
            self._count(granted.status)
            if granted.status not in (200, 201):
                time.sleep(0.05)
                continue
            token = granted.headers["lock-token"]
            self.tried = f"{self.target} {self.rounds}"
            reply = http.proppatch(
                self.target, set={"{urn:t}x": self.tried}, headers={"If": f"({token})"}
            )
            self._count(reply.status)
            if reply.status == 207 and 200 in reply.multistatus[self.target]:
                self.value = self.tried
            self._count(http.unlock(self.target, token[1:-1]).status)
            self.rounds += 1

    def _count(self, status: int) -> None:
        self.statuses[status] = self.statuses.get(status, 0) + 1


@pytest.mark.long
@pytest.mark.timeout(150)
@pytest.mark.security("Q-01", "Q-02", "Q-09")
def test_a_storm_over_http_while_workers_are_killed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server(tmp_path, workers=4, arguments=["--durability", "none"])
    server.start()
    try:
        end = time.monotonic() + 60
        clients = [Client(server, number, end) for number in range(8)]
        for client in clients:
            client.start()
        kills = 0
        while time.monotonic() < end - 5:
            time.sleep(5)
            pid = server.pid
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            os.kill(int(random.choice(children)), signal.SIGKILL)
            kills += 1
        for client in clients:
            client.join()
        with server.connect() as http:
            found = {c.target: http.prop(c.target, "{urn:t}x").text for c in clients}
    finally:
        server.stop()
    db = apsw.Connection(str(server.state / "state.sqlite3"))
    assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    db.close()

    assert [c.target for c in clients if found[c.target] not in (c.value, c.tried)] == []
    # 423: a lock whose UNLOCK died with its worker, until it expires. 503: the gate was busy.
    assert {s for c in clients for s in c.statuses} <= {200, 201, 204, 207, 423, 503}
    with capsys.disabled():
        print(f"\n{sum(c.rounds for c in clients)} rounds, {kills} workers killed")
