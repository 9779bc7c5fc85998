"""Workers that die, stop or are asked to end while others go on (K-05, K-07, Q-09)."""

from __future__ import annotations

import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import make_app_dav
from tests.support.aftermath import hidden, look
from tests.support.crashing import Crasher, Plan, Running
from tests.support.crashplans import SCENARIOS, Template, fill, request_of
from tests.support.http import Connection, ConnectionEnded
from tests.support.reply import Reply
from tests.support.server import Server

CLIENTS = 4
ROUNDS = 30
SIZE = 200_000
WAIT_S = 15


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


class Author(threading.Thread):
    """Writes version after version of one resource, and a new one each time; on a broken
    connection it connects again and repeats.

    Attributes:
        broken: how often its connection was.
        errors: answers that no client deserves.
    """

    def __init__(self, server: Server, number: int, begun: threading.Barrier) -> None:
        super().__init__(daemon=True)
        self._server = server
        self._number = number
        self._begun = begun
        self.broken = 0
        self.errors: list[Reply] = []

    def content(self, version: int) -> bytes:
        return b"%d.%d " % (self._number, version) * (SIZE // 8)

    def run(self) -> None:
        for version in range(ROUNDS):
            if version == 5:
                self._begun.wait(WAIT_S)
            for path in (f"/{self._number}", f"/{self._number}-{version}"):
                self._put(path, self.content(version))

    def _put(self, path: str, content: bytes) -> None:
        for _ in range(50):
            with self._server.connect() as connection:
                try:
                    reply = connection.put(path, content)
                except (ConnectionEnded, OSError):
                    self.broken += 1
                    continue
            if reply.status not in (201, 204):
                self.errors.append(reply)
            return
        raise AssertionError("nobody answers any more")


@pytest.mark.security("K-01", "Q-09")
@pytest.mark.timeout(60)
def test_a_killed_worker_takes_nothing_along(tmp_path: Path) -> None:
    """Three of four go on; what was answered is there, whoever answered it; the supervisor
    starts another."""
    with Server(tmp_path, workers=4) as server:
        before = children(server.pid)
        started = threading.Barrier(CLIENTS + 1)
        authors = [Author(server, number, started) for number in range(CLIENTS)]
        for author in authors:
            author.start()
        started.wait(WAIT_S)
        for victim in before[:2]:
            os.kill(victim, signal.SIGKILL)
        for author in authors:
            author.join(WAIT_S * 2)
            assert not author.is_alive()
        deadline = time.monotonic() + WAIT_S
        while len(set(children(server.pid)) - set(before[:2])) < 4 and time.monotonic() < deadline:
            time.sleep(0.02)

        assert len(set(children(server.pid)) - set(before[:2])) == 4
        assert not any(author.errors for author in authors)
        with server.connect() as connection:
            for number, author in enumerate(authors):
                assert connection.get(f"/{number}").body == author.content(ROUNDS - 1)
                for version in range(ROUNDS):
                    assert connection.get(f"/{number}-{version}").body == author.content(version)
            assert len(connection.members("/")) == CLIENTS * (ROUNDS + 1)
        assert not hidden(server.root)


@pytest.mark.security("K-07")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("workers", [1, 4])
def test_a_put_that_goes_on_is_finished_before_the_server_ends(
    tmp_path: Path, workers: int
) -> None:
    with Server(tmp_path, workers=workers) as server:
        with server.connect() as connection:
            connection.put("/a", b"old")
            connection.send_head("PUT", "/a", {"Content-Length": "3000000"})
            connection.send_raw(b"x" * 1_500_000)
            os.kill(server.pid, signal.SIGTERM)
            _wait_until_refused(server)
            connection.send_raw(b"x" * 1_500_000)
            reply = connection.read_reply("PUT")

        assert reply.status == 204
        assert server._process is not None
        assert server._process.wait(WAIT_S) == 0
        assert (server.root / "a").read_bytes() == b"x" * 3_000_000
        assert not hidden(server.root)


@pytest.mark.security("K-07", "T-08")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("fallbacks", ["", "tmpfile"], ids=["", "hidden name"])
@pytest.mark.parametrize("workers", [1, 4])
def test_a_put_that_never_ends_is_dropped_after_the_grace_time(
    tmp_path: Path, workers: int, fallbacks: str
) -> None:
    environment = {"DAVSERVER_GRACE_S": "1"}
    if fallbacks:
        environment["DAVSERVER_FALLBACKS"] = fallbacks
    with Server(tmp_path, workers=workers, environment=environment) as server:
        with server.connect() as connection:
            connection.put("/a", b"old")
            connection.send_head("PUT", "/a", {"Content-Length": "3000000"})
            connection.send_raw(b"x" * 2_500_000)
            os.kill(server.pid, signal.SIGTERM)
            assert server._process is not None
            code = server._process.wait(WAIT_S)

        assert code == 0, server.log_text()
        assert (server.root / "a").read_bytes() == b"old"
        assert not hidden(server.root)


def _wait_until_refused(server: Server) -> None:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with server.connect() as connection:
            try:
                connection.options("/")
            except (ConnectionEnded, OSError):
                return
        time.sleep(0.02)
    raise AssertionError("it still listens")


# -- leftovers of the living ---------------------------------------------------------------


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as running:
        yield running


@pytest.mark.security("K-05", "P-14")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "name",
    [
        "PUT over, with hidden name",
        "COPY tree onto tree",
        pytest.param("COPY tree onto tree, without renameat2", marks=pytest.mark.long),
        "MOVE tree onto tree",
        "MOVE tree onto tree across file systems",
    ],
)
def test_leftovers_of_a_worker_that_only_stands_still_are_left_alone(
    tmp_path: Path, crasher: Crasher, name: str
) -> None:
    """Stopped at each step: another worker starts, lists, and removes or undoes nothing; woken,
    the first one ends what it began. Hidden names are found by nobody meanwhile."""
    scenario = SCENARIOS[name]
    seen = set()
    template = Template(tmp_path)
    with template.filling() as dav:
        tokens = fill(dav, scenario)
    for number in range(1, 60):
        base = template.fresh()
        plan = Plan(
            str(base),
            number,
            stops=True,
            across=scenario.across,
            fallbacks=scenario.fallbacks,
        )
        running = crasher.start(plan)
        with running.connect() as connection:
            request = request_of(scenario, tokens)
            fields = list(request.headers.items())
            fields.append(("Content-Length", str(len(request.body))))
            connection.send_head(request.method, request.target, fields)
            connection.send_raw(request.body)
            is_last = not _is_stopped(running, connection)
            if not is_last:
                seen |= _look_past(base, scenario.fallbacks)
                running.resume()
            reply = connection.read_reply(request.method)
        assert reply.status == scenario.status, f"stopped before {running.steps()[-1]}"
        running.kill()
        found = look(base, tokens, fallbacks=scenario.fallbacks)
        if number == 1:
            after = found
        assert found == after
        if is_last:
            break

    assert is_last
    assert seen, "no hidden name was ever there"


def _is_stopped(running: Running, connection: Connection) -> bool:
    """Waits until the server stands still (True) or answers."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
            return True
        if select.select([connection.socket], [], [], 0.002)[0]:
            return False
    raise AssertionError("neither an answer nor a stop")


def _look_past(base: Path, fallbacks: tuple[str, ...]) -> set[str]:
    """Lists everything beside a worker that stands still, perhaps in the gate. Returns the hidden
    names, which are still there."""
    before = hidden(base / "root")
    dav = make_app_dav(base, "filesystem", durability="none", fallbacks=fallbacks, gate_wait_s=0.01)
    reply = dav.request("PROPFIND", "/", {"Depth": "infinity"})
    dav.close()

    assert reply.status in (207, 503)
    assert b".davserver" not in reply.body
    assert hidden(base / "root") == before
    return set(before)
