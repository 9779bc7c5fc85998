"""The nth system call of a real server fails, made to by strace: the same promises as in
test_faults.py, with the kernel's own calls, those of SQLite among them (F-05, F-08).

Not in any run by itself: it takes some minutes. As root, with strace installed:

    .venv/bin/python -m pytest --long tests/faults/strace_suite.py

strace is attached to the running server for one request and fails the nth call of one kind in each
thread; n goes up until nothing is failed any more. `write` is left out: the event loop wakes itself
by it, and ends the process when it cannot.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.aftermath import TOPIC
from tests.support.confined import require_root
from tests.support.crashing import Request
from tests.support.crashplans import SCENARIOS, Scenario, fill, request_of
from tests.support.http import Connection, ConnectionEnded
from tests.support.processes import await_true, below
from tests.support.reply import Reply
from tests.support.server import Server

CALLS = ["openat", "openat2", "mkdirat", "linkat", "renameat", "renameat2", "unlinkat", "pwrite64"]
CALLS += ["fsync", "fdatasync", "ftruncate", "utimensat", "fchmod", "copy_file_range", "statx"]
CALLS += ["newfstatat", "preadv2", "pread64", "getdents64", "fallocate"]
STATUSES = {"EIO": {500}, "ENOSPC": {507, 500}, "EACCES": {403, 500}}
ERRORS = list(STATUSES)
ROUNDS = 300
WRITING = {
    name: scenario
    for name, scenario in SCENARIOS.items()
    if not scenario.fallbacks and not scenario.across and scenario.durability == "none"
}
Resource = tuple[bytes | None, str | None, int]
Tree = dict[str, Resource]


@dataclass
class Traced:
    """One request under strace.

    Attributes:
        reply: None when the connection ended without one.
        fired: calls that were made to fail.
    """

    reply: Reply | None
    fired: int


class Bench:
    """A server whose requests are made in a fresh folder each."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._number = 0

    def set_up(self, scenario: Scenario) -> tuple[str, dict[str, str]]:
        """Returns the folder, and the tokens of the locks in it."""
        self._number += 1
        place = f"/{self._number}"
        with self.server.connect() as dav:
            assert dav.mkcol(f"{place}/").status == 201
            return place, fill(dav, scenario, place)  # type: ignore[arg-type] # any Dav will do

    def tree(self, place: str) -> Tree:
        """Returns what is there: content, property, number of locks."""
        with self.server.connect() as dav:
            names = [TOPIC, "{DAV:}lockdiscovery"]
            answer = dav.propfind(f"{place}/", props=names, depth="infinity")
            found: Tree = {}
            for href in answer.hrefs:
                if href == f"{place}/":
                    continue
                properties = answer.ok(href)
                topic = properties[TOPIC].text if TOPIC in properties else None
                locks = properties["{DAV:}lockdiscovery"].findall("{DAV:}activelock")
                content = None if href.endswith("/") else dav.get(href).body
                found[href.removeprefix(place)] = (content, topic, len(locks))
        on_disk = (self.server.root / place[1:]).rglob("*")
        names_on_disk = {f"/{path.relative_to(self.server.root / place[1:])}" for path in on_disk}
        assert names_on_disk == {path.rstrip("/") for path in found}
        return found

    def clear(self, place: str) -> None:
        """As an administrator would: locks of what is gone disturb nobody."""
        shutil.rmtree(self.server.root / place[1:])

    def ask(self, request: Request) -> Reply | None:
        with self.server.connect() as connection:
            return _ask(connection, request)

    def ask_traced(self, request: Request, call: str, error: str, number: int) -> Traced:
        log = self.server.folder / "strace"
        inject = f"inject={call}:error={error}:when={number}"
        command = ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={call}", "-e", inject]
        with self.server.connect() as connection:
            connection.socket  # noqa: B018 - connects before anything is traced
            tracer = subprocess.Popen([*command, "-p", str(self.server.pid)])
            try:
                _await_tracer(self.server.pid)
                reply = _ask(connection, request)
            finally:
                tracer.send_signal(signal.SIGINT)
                tracer.wait(10)
        return Traced(reply, log.read_text().count("(INJECTED)"))


def _ask(connection: Connection, request: Request) -> Reply | None:
    with contextlib.suppress(ConnectionEnded, OSError):
        return connection.request(request.method, request.target, request.headers, request.body)
    return None


def _await_tracer(pid: int) -> None:
    """Returns once every thread is traced."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        texts = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
        if all("TracerPid:\t0" not in text for text in texts):
            return
        time.sleep(0.005)
    raise AssertionError("strace could not attach")


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    require_root("strace")
    with Server(tmp_path_factory.mktemp("server"), arguments=["--durability", "full"]) as server:
        yield Bench(server)


def is_legal(
    scenario: Scenario, before: Tree, after: Tree, found: Tree, reply: Reply | None
) -> bool:
    """Old or new; member by member where the method is so, or the answer names members."""
    if found in (before, after):
        return True
    if scenario.method == "LOCK" and "/n" in found:
        return found == after | {"/n": (*after["/n"][:2], 0)}  # the empty file stays, unlocked
    if scenario.method == "DELETE" and "/a/" in before:
        return all(before.get(path) == what for path, what in found.items())
    if scenario.method == "COPY" and reply is not None and reply.status == 207:
        return all(what in (before.get(path), after.get(path)) for path, what in found.items())
    return False


def status_is_right(scenario: Scenario, error: str, reply: Reply | None) -> bool:
    if reply is None:
        return False
    if reply.status == 207:
        answer = reply.multistatus
        groups = {status for each in answer.values() for status in each}
        return set(answer.statuses.values()) | groups <= STATUSES[error] | {200, 409, 424}
    return reply.status in STATUSES[error] | {scenario.status}


@pytest.mark.long
@pytest.mark.security("F-01", "F-04", "F-05", "F-08")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", WRITING)
def test_whatever_system_call_fails_everything_is_old_or_new(bench: Bench, name: str) -> None:
    scenario = WRITING[name]
    place, tokens = bench.set_up(scenario)
    before = bench.tree(place)
    plain = bench.ask(request_of(scenario, tokens, place))
    assert plain is not None
    assert plain.status == scenario.status
    after = bench.tree(place)
    bench.clear(place)
    fired = 0
    for call in CALLS:
        for number in range(1, ROUNDS):
            error = ERRORS[number % len(ERRORS)]
            place, tokens = bench.set_up(scenario)
            traced = bench.ask_traced(request_of(scenario, tokens, place), call, error, number)
            found = bench.tree(place)
            where = f"{error} at {call} {number}: {traced.reply}"
            assert is_legal(scenario, before, after, found, traced.reply), f"{where}: {found}"
            if not traced.fired:
                assert found == after, where
                bench.clear(place)
                break
            assert status_is_right(scenario, error, traced.reply), where
            if traced.reply is not None and traced.reply.status == scenario.status != 207:
                assert found == after, where
            bench.clear(place)
            fired += traced.fired
        else:
            raise AssertionError(f"{call} never came to its end")
    assert await_true(lambda: not below(bench.server.pid, bench.server.root))
    print(f"{name}: {fired} calls failed")
