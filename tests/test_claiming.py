"""One state a root: a server with another one is kept off, those with the same work together."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from davserver.app import create_app
from davserver.check import check
from davserver.config import Settings
from davserver.errors import StateFailure
from davserver.state.gatelock import GateLock
from davserver.state.memory import MemoryState
from tests.support.server import Server
from tests.test_cli import COMMAND, environment, refused

ROUNDS = 40
WAIT_S = 15
OPENS = """
import sys
from davserver.app import create_app
from davserver.errors import StateError

sys.stdin.readline()
try:
    create_app(root=sys.argv[1], state=sys.argv[2], access_log=False).services
except StateError as error:
    print(error, flush=True)
else:
    print("serves", flush=True)
sys.stdin.readline()
"""


class Opener:
    """A process that opens a root and a state when it is told to, and waits to be ended."""

    def __init__(self, root: Path, state: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", OPENS, str(root), str(state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate(timeout=WAIT_S)


def busy(root: Path) -> str:
    return (
        f"{root} is served already by a davserver with another state folder:"
        " give both the same --state, or stop the other one"
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


def opened(root: Path, state: Path, **keys: Any) -> Any:
    """Returns an application that serves the root."""
    app = create_app(root=root, state=state, access_log=False, **keys)
    assert app.services.state.owner
    return app


@pytest.mark.security("K-05", "Q-05")
@pytest.mark.parametrize("flags", [[], ["--read-only"]], ids=["", "read-only"])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_server_with_another_state_does_not_start(
    tmp_path: Path, workers: int, flags: list[str]
) -> None:
    with Server(tmp_path, workers=workers, arguments=flags) as server:
        line = refused(tmp_path, str(server.root), "--state", str(tmp_path / "other"), "--port=0")

        assert line == busy(server.root)
        with server.connect() as http:
            assert http.get("/").status == 200


@pytest.mark.security("K-05")
def test_check_with_another_state_looks_at_nothing(tmp_path: Path) -> None:
    """It would sweep what the server's clients are uploading."""
    other = tmp_path / "other"
    (tmp_path / "root").mkdir()
    opened(tmp_path / "root", other).close()
    with Server(tmp_path) as server:
        done = subprocess.run(
            [*COMMAND, "check", str(server.root), "--state", str(other), "--repair"],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            timeout=WAIT_S,
            check=False,
        )

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"davserver: {busy(server.root)}\n"


@pytest.mark.security("K-05")
@pytest.mark.parametrize("workers", [1, 2])
def test_servers_and_check_with_one_state_work_together(tmp_path: Path, workers: int) -> None:
    with Server(tmp_path, workers=workers) as one, Server(tmp_path, workers=workers) as other:
        assert list(check(Settings(root=one.root, state=one.state))) == []
        with one.connect() as here, other.connect() as there:
            assert here.put("/a", b"x").status == 201
            token = here.lock("/a").token

            assert there.put("/a", b"y").status == 423
            assert there.put("/a", b"y", {"If": f"(<{token}>)"}).status == 204


@pytest.mark.security("K-05")
def test_an_embedded_application_fails_its_lifespan(root: Path, tmp_path: Path) -> None:
    first = opened(root, tmp_path / "one")
    app = create_app(root=root, state=tmp_path / "other", access_log=False)
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "lifespan.startup"}

    async def send(message: Any) -> None:
        sent.append(message)

    coroutine: Any = app({"type": "lifespan"}, receive, send)
    with pytest.raises(StopIteration):
        coroutine.send(None)
    first.close()

    assert sent == [{"type": "lifespan.startup.failed", "message": busy(root)}]


@pytest.mark.security("K-05")
def test_a_state_in_memory_is_nobody_elses(root: Path, tmp_path: Path) -> None:
    first = create_app(root=root, state=MemoryState(), access_log=False)
    assert first.services.state.owner
    for state in (MemoryState(), tmp_path / "other"):
        app = create_app(root=root, state=state, access_log=False)
        with pytest.raises(StateFailure, match="with another state folder"):
            _ = app.services
    first.close()

    opened(root, tmp_path / "one").close()


@pytest.mark.security("K-05")
@pytest.mark.parametrize("end", ["close", "kill"])
def test_once_the_first_has_ended_another_state_is_welcome(
    root: Path, tmp_path: Path, end: str
) -> None:
    if end == "close":
        opened(root, tmp_path / "one").close()
    else:
        process = Opener(root, tmp_path / "one")
        process.go()
        assert process.said() == "serves"
        process.kill()

    opened(root, tmp_path / "other").close()
    opened(root, tmp_path / "one").close()


@pytest.mark.security("K-05")
def test_who_was_refused_keeps_nobody_off(root: Path, tmp_path: Path) -> None:
    first = opened(root, tmp_path / "one")
    with pytest.raises(StateFailure, match="served already"):
        opened(root, tmp_path / "other")
    first.close()

    opened(root, tmp_path / "third").close()
    opened(root, tmp_path / "other").close()


@pytest.mark.security("K-05")
def test_one_that_ends_while_another_starts_with_its_state(root: Path, tmp_path: Path) -> None:
    """As on a restart: the new process waits for the last moments of the old one."""
    for _ in range(3):
        old, new = Opener(root, tmp_path / "state"), Opener(root, tmp_path / "state")
        old.go()
        assert old.said() == "serves"
        new.go()
        old.kill()
        said = new.said()
        new.kill()

        assert said == "serves"


@pytest.mark.security("K-05")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "states", [["one"] * 4, ["one", "two"], ["one", "two", "one", "two"]], ids="-".join
)
def test_of_processes_that_start_at_once_those_with_one_state_win(
    root: Path, tmp_path: Path, states: list[str]
) -> None:
    processes = [Opener(root, tmp_path / state) for state in states]
    try:
        for process in processes:
            process.go()
        said = [process.said() for process in processes]
    finally:
        for process in processes:
            process.kill()

    require_one_winner(states, [words == "serves" for words in said])
    assert set(said) <= {"serves", busy(root)}


@pytest.mark.security("K-05")
def test_of_many_that_start_at_once_those_with_one_state_win(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In threads, whose descriptors are as far apart as those of processes."""
    monkeypatch.setattr("davserver.claiming._WAIT_S", 0.1)
    states = ["one", "two", "one", "two", "three"]
    begun = threading.Barrier(len(states))

    def start(state: str) -> Any:
        begun.wait(WAIT_S)
        try:
            return opened(root, tmp_path / state)
        except StateFailure as error:
            assert str(error) == busy(root)  # noqa: PT017
            return None

    with ThreadPoolExecutor(len(states)) as pool:
        for _ in range(ROUNDS):
            apps = list(pool.map(start, states))
            for app in apps:
                if app is not None:
                    app.close()

            require_one_winner(states, [app is not None for app in apps])


def require_one_winner(states: list[str], serves: list[bool]) -> None:
    winners = {state for state, does in zip(states, serves, strict=True) if does}
    losers = {state for state, does in zip(states, serves, strict=True) if not does}
    assert len(winners) == 1
    assert not winners & losers


@pytest.mark.security("K-05")
@pytest.mark.parametrize("ends", ["child", "parent"])
def test_a_fork_that_lets_go_leaves_the_others_hold(root: Path, tmp_path: Path, ends: str) -> None:
    """Both have the same open descriptors: who closes them must not unlock them."""
    app = opened(root, tmp_path / "one")
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child is not measured
        try:
            os.close(writing)
            if ends == "child":
                app.close()
                os._exit(0)
            select.select([reading], [], [], WAIT_S)
        finally:
            os._exit(1)
    os.close(reading)
    if ends == "child":
        os.waitpid(pid, 0)
    else:
        app.close()
    with pytest.raises(StateFailure, match="served already"):
        opened(root, tmp_path / "other")
    os.close(writing)
    if ends == "child":
        app.close()
    else:
        os.waitpid(pid, 0)

    opened(root, tmp_path / "other").close()


@pytest.mark.security("K-05")
def test_a_program_that_is_run_holds_nothing(root: Path, tmp_path: Path) -> None:
    """An embedding program may start what it likes, and leave it behind."""
    app = opened(root, tmp_path / "one")
    with subprocess.Popen(["sleep", "30"], close_fds=False) as left:
        app.close()
        opened(root, tmp_path / "other").close()
        left.kill()


@pytest.mark.parametrize("refuses", ["exclusive", "shared"])
def test_a_file_system_without_flock_is_warned_of_and_served(
    root: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    refuses: str,
) -> None:
    flock: Callable[[int, int], None] = fcntl.flock
    inode = root.stat().st_ino
    refused_kind = fcntl.LOCK_EX if refuses == "exclusive" else fcntl.LOCK_SH

    def refusing(fd: int, how: int) -> None:
        if os.fstat(fd).st_ino == inode and how & refused_kind:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", refusing)
    app = opened(root, tmp_path / "one")
    app.close()

    assert [record.message for record in caplog.records] == [
        f"{root} cannot be locked (no locks available): nothing would keep a server with another"
        " state off it"
    ]


@pytest.mark.security("K-05")
@pytest.mark.parametrize(("taken", "serves"), [(1, True), (99, False)], ids=["once", "always"])
def test_who_is_overtaken_while_it_shares_its_lock_asks_again(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, taken: int, serves: bool
) -> None:
    """flock(2): the exclusive lock goes before the shared one is granted."""
    flock: Callable[[int, int], None] = fcntl.flock
    inode = root.stat().st_ino
    calls = 0

    def overtaken(fd: int, how: int) -> None:
        nonlocal calls
        if os.fstat(fd).st_ino == inode and how & fcntl.LOCK_SH:
            calls += 1
            if calls <= taken:
                raise BlockingIOError
        flock(fd, how)

    monkeypatch.setattr(fcntl, "flock", overtaken)
    monkeypatch.setattr("davserver.claiming._WAIT_S", 0.1)
    app = create_app(root=root, state=tmp_path / "one", access_log=False)
    if serves:
        assert app.services.state.owner
        app.close()
    else:
        with pytest.raises(StateFailure, match="served already"):
            _ = app.services


def test_somebody_who_stands_still_while_starting_is_not_waited_for_for_ever(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "one"
    opened(root, state).close()
    monkeypatch.setattr("davserver.state.sqlite.OPEN_WAIT_S", 0.1)
    starting = GateLock(state / "starting")
    starting.acquire(0)
    begun = time.monotonic()
    with pytest.raises(StateFailure, match="starting"):
        opened(root, state)
    waited_s = time.monotonic() - begun
    starting.close()

    assert waited_s < 5
    opened(root, state).close()
