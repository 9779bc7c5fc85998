"""What only the database promises: many processes, crashes, damage, durability, cost."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest

from davserver.errors import GateBusy, StateFailure, StateFull
from davserver.protocol.locks import Lock
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state import session, sqlfile, sqlview
from davserver.state.base import Change, GateView
from davserver.state.limits import StateLimits
from davserver.state.rows import SCHEMA_VERSION
from davserver.state.sqlite import SqliteState
from tests.support.descriptors import can_tell, open_descriptors

MakeLock = Callable[..., Lock]
X = QName("{urn:t}x")
A = Key("r", b"a")
B = Key("r", b"b")

# Speaks lines of JSON: [method, ...] in, one answer out. A real process, for flock and SQLite's
# own locks are a process's.
WORKER = """
import json, sys
from contextlib import suppress
from pathlib import Path
from davserver.errors import GateBusy
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state.base import Change
from davserver.state.sqlite import SqliteState

state = SqliteState(Path(sys.argv[1]), durability="none")
A, X = Key("r", b"a"), QName("{urn:t}x")
held = None

def count(times, narrow):
    while times:
        with suppress(GateBusy), state.hold([A], wait_s=15, narrow=narrow) as view:
            number = int(view.properties(A).get(X, b"0")) + 1
            view.patch(A, [PropertyChange(X, b"%d" % number)])
            times -= 1

def race(times, narrow):
    won = []
    for n in range(times):
        key = Key("r", b"race%d" % n)
        with state.hold([key], wait_s=15, narrow=narrow) as view:
            if not view.covering(key, now=1):
                view.add_lock(Lock(f"{state.owner}-{n}", key, b"/", LockScope.EXCLUSIVE,
                                   Depth.ZERO, b"", "ada", 600, 1000.0))
                won.append(n)
    return won

def hold(dirty):
    global held
    held = state.hold([A], wait_s=15)
    view = held.__enter__()
    if dirty:
        view.patch(A, [PropertyChange(X, b"uncommitted")])

def record(id):
    with state.hold([], wait_s=15) as view:
        view.record(Change(id, "r", state.owner, ()))

def add(token):
    with state.hold([], wait_s=15) as view:
        view.add_lock(Lock(token, A, b"/a", LockScope.SHARED, Depth.ZERO, b"", "ada", 600, 1000.0))

def remove(token):
    with state.hold([], wait_s=15) as view:
        view.remove_lock(token)

calls = dict(
    count=count, race=race, hold=hold, record=record, add=add, remove=remove,
    release=lambda: held.__exit__(None, None, None),
    owner=lambda: state.owner,
    tokens=lambda: sorted(lock.token for lock in state.covering(A, now=1)),
    value=lambda: state.properties(A).get(X, b"").decode(),
    has_changes=lambda: state.has_changes(),
    close=lambda: state.close(),
)
for line in sys.stdin:
    name, *args = json.loads(line)
    print(json.dumps(calls[name](*args)), flush=True)
"""


class Worker:
    """Another process on the same state folder."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def tell(self, name: str, *args: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps([name, *args]) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline())

    def ask(self, name: str, *args: object) -> Any:
        self.tell(name, *args)
        return self.hear()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.close()

    def close(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            pipe.close()
        self.process.wait(10)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def workers(folder: Path) -> Iterator[Callable[[], Worker]]:
    made: list[Worker] = []

    def start() -> Worker:
        made.append(Worker(folder))
        return made[-1]

    yield start
    for worker in made:
        worker.close()


@pytest.fixture
def state(folder: Path) -> Iterator[SqliteState]:
    opened = SqliteState(folder, durability="none")
    yield opened
    opened.close()


def patch(state: SqliteState, value: bytes) -> None:
    with state.hold([], wait_s=5) as view:
        view.patch(A, [PropertyChange(X, value)])


# Many processes ------------------------------------------------------------------------------


@pytest.mark.security("Q-03")
@pytest.mark.parametrize(
    "narrow", [(False, False), (True, True), (True, False)], ids=["whole", "narrow", "both"]
)
def test_no_update_is_lost_between_processes(
    workers: Callable[[], Worker], narrow: tuple[bool, bool]
) -> None:
    both = [workers(), workers()]
    for worker, is_narrow in zip(both, narrow, strict=True):
        worker.tell("count", 60, is_narrow)
    for worker in both:
        worker.hear()

    assert [worker.ask("value") for worker in both] == ["120", "120"]


def test_two_workers_are_in_the_gate_for_two_resources_at_once(
    folder: Path, state: SqliteState
) -> None:
    other = SqliteState(folder, durability="none")
    other.owner  # noqa: B018 - it is opened
    with (
        state.hold([A], wait_s=0, narrow=True) as one,
        other.hold([B], wait_s=0, narrow=True) as two,
    ):
        assert not one.has_rows(A)
        assert not two.has_rows(B)
    counts = state.gate_counts(), other.gate_counts()
    other.close()

    assert counts == ((0, 0.0, 0), (0, 0.0, 0))


@pytest.mark.security("Q-03")
@pytest.mark.parametrize("narrow", [True, False], ids=["the resource", "all"])
def test_who_is_in_the_gate_for_a_resource_keeps_others_from_it_and_from_all(
    folder: Path, state: SqliteState, narrow: bool
) -> None:
    other = SqliteState(folder, durability="none")
    with state.hold([A], wait_s=0, narrow=True):
        with pytest.raises(GateBusy), other.hold([A], wait_s=0, narrow=narrow):
            pass
    with other.hold([A], wait_s=0, narrow=narrow):
        pass
    other.close()


@pytest.mark.security("Q-03")
def test_the_first_change_of_a_row_takes_all_of_the_gate(folder: Path, state: SqliteState) -> None:
    other = SqliteState(folder, durability="none")
    with state.hold([A], wait_s=0, narrow=True) as view:
        with other.hold([B], wait_s=0, narrow=True):
            pass
        view.patch(A, [PropertyChange(X, b"1")])
        with pytest.raises(GateBusy), other.hold([B], wait_s=0, narrow=True):
            pass
    found = other.properties(A)
    other.close()

    assert found == {X: b"1"}


@pytest.mark.security("Q-03")
def test_no_row_is_changed_while_another_is_in_the_gate(folder: Path, state: SqliteState) -> None:
    other = SqliteState(folder, durability="none")
    with other.hold([B], wait_s=0, narrow=True) as theirs:
        with pytest.raises(GateBusy), state.hold([A], wait_s=0, narrow=True) as view:
            view.patch(A, [PropertyChange(X, b"1")])
        theirs.patch(B, [PropertyChange(X, b"2")])
    patch(state, b"3")
    found = other.properties(A), state.properties(B)
    other.close()

    assert found == ({X: b"3"}, {X: b"2"})


@pytest.mark.security("Q-03")
def test_a_resource_is_locked_while_another_worker_is_in_the_gate_for_another(
    folder: Path, state: SqliteState, lock: MakeLock
) -> None:
    other = SqliteState(folder, durability="none")
    with other.hold([B], wait_s=0, narrow=True) as theirs:
        with state.hold([A], wait_s=0, narrow=True) as view:
            view.add_lock(lock("one", b"a"))
        seen = theirs.covering(B, now=1)
        theirs.add_lock(lock("two", b"b"))
    found = [[each.covering(key, now=1) for key in (A, B)] for each in (state, other)]
    other.close()

    assert seen == ()
    assert found == [[[lock("one", b"a")], [lock("two", b"b")]]] * 2


@pytest.mark.security("Q-03")
def test_of_two_that_lock_at_once_one_waits(
    folder: Path, state: SqliteState, lock: MakeLock
) -> None:
    other = SqliteState(folder, durability="none")
    with state.hold([A], wait_s=0, narrow=True) as view:
        view.add_lock(lock("one", b"a"))
        with pytest.raises(GateBusy), other.hold([B], wait_s=0, narrow=True) as theirs:
            theirs.add_lock(lock("two", b"b"))
    with other.hold([B], wait_s=0, narrow=True) as theirs:
        theirs.add_lock(lock("two", b"b"))
        theirs.remove_lock("two")
        theirs.commit()
        theirs.add_lock(lock("three", b"b"))
    found = [each.covering(key, now=1) for key in (A, B) for each in (state, other)]
    other.close()

    assert found == [[lock("one", b"a")]] * 2 + [[lock("three", b"b")]] * 2


@pytest.mark.security("Q-03")
def test_locks_of_another_resource_take_all_of_the_gate(
    folder: Path, state: SqliteState, lock: MakeLock
) -> None:
    other = SqliteState(folder, durability="none")
    with state.hold([A], wait_s=0, narrow=True) as view:
        view.add_lock(lock("one", b"a"))
        view.add_lock(lock("two", b"b"))
        with pytest.raises(GateBusy), other.hold([B], wait_s=0, narrow=True):
            pass
    with other.hold([A], wait_s=0, narrow=True) as theirs:
        with state.hold([B], wait_s=0, narrow=True), pytest.raises(GateBusy):
            theirs.remove_locks(Key("r", b""))
        theirs.rollback()
    found = [each.covering(key, now=1) for key in (A, B) for each in (state, other)]
    other.close()

    assert found == [[lock("one", b"a")]] * 2 + [[lock("two", b"b")]] * 2


@pytest.mark.security("Q-03")
def test_the_number_of_locks_is_limited_whoever_locks_meanwhile(
    folder: Path, lock: MakeLock
) -> None:
    limits = StateLimits(locks_per_principal=1)
    one, other = (SqliteState(folder, durability="none", limits=limits) for _ in "12")
    with one.hold([A], wait_s=0, narrow=True) as view:
        with other.hold([B], wait_s=0, narrow=True) as theirs:
            theirs.add_lock(lock("two", b"b"))
        with pytest.raises(StateFull):
            view.add_lock(lock("one", b"a"))
        view.rollback()
    found = [list(one.covering(key, now=1)) for key in (A, B)]
    one.close()
    other.close()

    assert found == [[], [lock("two", b"b")]]


@pytest.mark.security("Q-03")
def test_properties_are_changed_after_another_locked_meanwhile(
    folder: Path, state: SqliteState, lock: MakeLock
) -> None:
    other = SqliteState(folder, durability="none")
    with state.hold([A], wait_s=0, narrow=True) as view:
        with other.hold([B], wait_s=0, narrow=True) as theirs:
            theirs.add_lock(lock("two", b"b"))
        view.patch(A, [PropertyChange(X, b"1")])
        view.add_lock(lock("one", b"a"))
    found = [each.covering(key, now=1) for key in (A, B) for each in (state, other)]
    told = state.properties(A), other.properties(A)
    other.close()

    assert found == [[lock("one", b"a")]] * 2 + [[lock("two", b"b")]] * 2
    assert told == ({X: b"1"}, {X: b"1"})


@pytest.mark.rfc("LM-01")
@pytest.mark.security("Q-03")
@pytest.mark.parametrize("narrow", [False, True], ids=["all of the gate", "the resource"])
def test_one_exclusive_lock_has_one_winner_between_processes(
    workers: Callable[[], Worker], narrow: bool
) -> None:
    both = [workers(), workers()]
    for worker in both:
        worker.ask("owner")
    for worker in both:
        worker.tell("race", 60, narrow)
    won = [worker.hear() for worker in both]

    assert sorted(won[0] + won[1]) == list(range(60))


def test_locks_of_other_processes_are_seen_at_once(
    state: SqliteState, workers: Callable[[], Worker], lock: MakeLock
) -> None:
    worker = workers()
    assert worker.ask("tokens") == []
    with state.hold([], wait_s=5) as view:
        view.add_lock(lock("mine", b""))
        view.add_lock(lock("other share", b"", root="q"))

    assert worker.ask("tokens") == ["mine"]
    worker.ask("add", "theirs")
    assert [each.token for each in state.covering(A, now=1)] == ["theirs", "mine"]
    worker.ask("remove", "mine")
    assert [each.token for each in state.covering(A, now=1)] == ["theirs"]
    with state.hold([], wait_s=5) as view:
        view.refresh_lock("theirs", timeout_s=1, expires_at=1)
    assert worker.ask("tokens") == []


def test_mirror_is_read_anew_when_the_changes_were_pruned(
    folder: Path, state: SqliteState, lock: MakeLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlview, "_CHANGES_KEPT", 2)
    monkeypatch.setattr(sqlview, "_PRUNE_EVERY", 4)
    other = SqliteState(folder, durability="none")
    with other.hold([], wait_s=5) as view:
        view.add_lock(lock("first", b"a"))
    with state.hold([], wait_s=5) as view:
        for n in range(9):
            view.add_lock(lock(f"t{n}", b"a"))
        view.remove_locks(A)
        view.add_lock(lock("last", b"a"))
    left = state.session().writer.query("SELECT count(*) FROM changes")[0][0]
    seen = [each.token for each in other.covering(A, now=1)]
    other.close()

    assert left < 6
    assert seen == ["last"]


def test_mirror_is_read_anew_after_very_many_changes(
    folder: Path, state: SqliteState, lock: MakeLock
) -> None:
    other = SqliteState(folder, durability="none")
    assert other.lock("kept", now=1) is None
    with state.hold([], wait_s=5) as view:
        view.add_lock(lock("kept", b"a"))
        for n in range(600):
            view.add_lock(lock(f"t{n}", b"m%d" % n))
            view.remove_lock(f"t{n}")
    seen = [each.token for each in other.beneath(Key("r", b""), now=1)]
    other.close()

    assert seen == ["kept"]


def test_opening_does_not_wait_for_a_gate_that_is_held(
    folder: Path, state: SqliteState, lock: MakeLock
) -> None:
    late = SqliteState(folder, durability="none")
    begun = time.monotonic()
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t", b"a"))
        assert late.covering(A, now=1) == ()
        with pytest.raises(GateBusy), late.hold([], wait_s=0):
            pass
    assert time.monotonic() - begun < 2
    assert [each.token for each in late.covering(A, now=1)] == ["t"]
    late.close()


def test_gate_held_by_a_process_is_busy_but_reading_goes_on(
    state: SqliteState, workers: Callable[[], Worker]
) -> None:
    patch(state, b"old")
    worker = workers()
    worker.ask("hold", True)
    for wait_s in (0, 0.02):
        with pytest.raises(GateBusy), state.hold([A], wait_s=wait_s):
            pass

    assert state.properties(A) == {X: b"old"}
    worker.ask("release")
    with state.hold([A], wait_s=0) as view:
        assert view.properties(A) == {X: b"uncommitted"}


@pytest.mark.security("Q-09", "K-05")
def test_killed_process_leaves_the_gate_free_and_its_work_undone(
    state: SqliteState, workers: Callable[[], Worker]
) -> None:
    patch(state, b"old")
    worker = workers()
    owner = worker.ask("owner")
    worker.ask("record", "intent")
    assert state.is_alive(owner)
    assert not state.has_changes()  # its owner is at work on it
    worker.ask("hold", True)
    worker.kill()

    assert not state.is_alive(owner)
    assert state.has_changes()
    with state.hold([A], wait_s=5) as view:
        assert view.properties(A) == {X: b"old"}
        assert view.changes() == [Change("intent", "r", owner, ())]
        view.settle(view.changes()[0])
    assert not state.has_changes()


@pytest.mark.security("K-05")
def test_owner_says_goodbye_and_the_dead_are_forgotten(
    folder: Path, state: SqliteState, workers: Callable[[], Worker]
) -> None:
    polite, killed = workers(), workers()
    owners = [polite.ask("owner"), killed.ask("owner")]
    polite.ask("close")
    killed.kill()
    left = set(os.listdir(folder / "owners"))
    assert left == {owners[1]}

    mine = state.owner

    assert set(os.listdir(folder / "owners")) == {mine}
    assert not any(map(state.is_alive, owners))


def test_owner_that_cannot_be_asked_about_counts_as_alive(folder: Path, state: SqliteState) -> None:
    patch(state, b"1")
    loop = folder / "owners" / ("0" * 16)
    loop.symlink_to(loop)

    assert state.is_alive(loop.name)


def test_state_opened_before_a_fork_is_opened_again_in_the_child(
    state: SqliteState, lock: MakeLock
) -> None:
    patch(state, b"parent")
    parent = state.owner
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child is not measured
        status = 1
        try:
            with state.hold([], wait_s=5) as view:
                view.patch(A, [PropertyChange(X, view.properties(A)[X] + b" and child")])
                view.add_lock(lock("child", b"a"))
            if state.owner != parent and state.is_alive(parent):
                status = 0
            state.close()
        finally:
            os._exit(status)

    assert os.waitpid(pid, 0)[1] == 0
    assert state.properties(A) == {X: b"parent and child"}
    assert [each.token for each in state.covering(A, now=1)] == ["child"]
    assert state.is_alive(parent)
    patch(state, b"parent again")


def test_what_another_process_opened_is_left_alone(state: SqliteState) -> None:
    """As after a fork, in one process."""
    patch(state, b"1")
    before = state.owner
    state.session().pid = 0

    assert state.properties(A) == {X: b"1"}
    assert state.owner != before


@pytest.mark.security("Q-05")
def test_what_was_in_use_at_a_fork_is_refused(state: SqliteState) -> None:
    with state.hold([], wait_s=0):
        session = state.session()
        session.pid = 0
        with pytest.raises(StateFailure, match="forked"):
            state.properties(A)
        session.pid = os.getpid()


@pytest.mark.security("Q-05")
def test_fork_within_the_gate_is_refused_in_the_child(state: SqliteState) -> None:
    with state.hold([], wait_s=5) as view:
        view.patch(A, [PropertyChange(X, b"1")])
        pid = os.fork()
        if pid == 0:  # pragma: no cover - the child is not measured
            try:
                state.properties(A)
            except StateFailure:
                os._exit(0)
            os._exit(1)

        assert os.waitpid(pid, 0)[1] == 0
    assert state.properties(A) == {X: b"1"}


# The file ------------------------------------------------------------------------------------


@pytest.mark.security("Q-05", "P-14")
def test_folder_and_files_are_the_owners_only(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "state"
    mask = os.umask(0)
    try:
        state = SqliteState(folder)
        patch(state, b"1")
        modes = {
            str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
            for path in (folder, *folder.rglob("*"))
            if path.name != state.owner
        }
        state.close()
    finally:
        os.umask(mask)

    assert modes == {
        ".": 0o700,
        "owners": 0o700,
        "commits": 0o600,
        "gate": 0o600,
        "state.sqlite3": 0o600,
        "state.sqlite3-wal": 0o600,
        "state.sqlite3-shm": 0o600,
    }


@pytest.mark.security("Q-01", "Q-04")
@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("file", 1), ("none", 1)])
def test_durability_is_what_sqlite_does(folder: Path, durability: str, synchronous: int) -> None:
    state = SqliteState(folder, durability=durability)
    writer = state.session().writer
    found = [writer.query(f"PRAGMA {name}")[0][0] for name in ("synchronous", "journal_mode")]
    state.close()

    assert found == [synchronous, "wal"]
    assert tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3)


def test_everything_is_there_after_closing(folder: Path, lock: MakeLock) -> None:
    first = SqliteState(folder)
    made = lock("t", b"a\xff")
    with first.hold([], wait_s=0) as view:
        view.add_lock(made)
        view.patch(A, [PropertyChange(X, b"1")])
        view.record(Change("c", "r", first.owner, ()))
    first.close()
    second = SqliteState(folder)

    assert second.lock("t", now=1) == made
    assert second.properties(A) == {X: b"1"}
    assert second.has_changes()
    second.close()


def test_closed_state_opens_again(state: SqliteState) -> None:
    patch(state, b"1")
    before = state.owner
    state.close()

    assert state.properties(A) == {X: b"1"}
    assert state.owner != before


def test_newer_schema_is_refused_by_name(folder: Path, state: SqliteState) -> None:
    patch(state, b"1")
    state.session().writer.query("PRAGMA user_version = 7")
    state.close()
    knows = f"knows {SCHEMA_VERSION}:"
    with pytest.raises(StateFailure, match=rf"state\.sqlite3 has schema version 7.* {knows}"):
        state.properties(A)

    assert os.listdir(folder / "owners") == []


def test_foreign_database_is_refused(folder: Path, state: SqliteState) -> None:
    folder.mkdir()
    other = apsw.Connection(str(folder / "state.sqlite3"))
    other.execute("CREATE TABLE theirs(x)")
    other.close()

    with pytest.raises(StateFailure, match="somebody else's database"):
        state.properties(A)


def test_folder_that_cannot_be_made_is_a_state_failure(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(StateFailure, match="state folder"):
        SqliteState(tmp_path / "file" / "state").properties(A)


def _overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def _set_aside(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.corrupt-*") if path.name[-4:] not in ("-wal", "-shm")]


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        pytest.param(0, 4096, id="header"),
        pytest.param(100, 400, id="schema page"),
        pytest.param(4096, 4096 * 6, id="every table"),
    ],
)
def test_damaged_file_is_kept_aside_and_a_new_one_begins(
    folder: Path,
    state: SqliteState,
    caplog: pytest.LogCaptureFixture,
    offset: int,
    length: int,
) -> None:
    patch(state, b"1")
    state.close()
    _overwrite(folder / "state.sqlite3", offset, b"\xa5" * length)
    damaged = (folder / "state.sqlite3").read_bytes()
    patch(state, b"2")

    aside = _set_aside(folder)
    assert [path.read_bytes() for path in aside] == [damaged]
    assert state.properties(A) == {X: b"2"}
    levels = {record.levelno for record in caplog.records if aside[0].name in record.message}
    assert levels == {logging.ERROR}


@pytest.mark.skipif(not can_tell, reason="lists open files by /proc")
def test_a_damaged_file_that_was_set_aside_is_closed(folder: Path, state: SqliteState) -> None:
    patch(state, b"1")
    state.close()
    _overwrite(folder / "state.sqlite3", 0, b"\xa5" * 4096)
    gc.disable()  # it would close what the errors, which refer to each other, refer to
    try:
        patch(state, b"2")
        links = [link for _, link in open_descriptors()]
    finally:
        gc.enable()

    assert [link for link in links if link.startswith(str(_set_aside(folder)[0]))] == []


def test_two_damaged_files_do_not_replace_each_other(folder: Path, state: SqliteState) -> None:
    for content in (b"one" * 999, b"two" * 999):
        state.close()
        folder.mkdir(exist_ok=True)
        (folder / "state.sqlite3").write_bytes(content)
        patch(state, b"new")

    assert len(_set_aside(folder)) == 2


@pytest.mark.security("Q-05")
def test_workers_follow_when_one_of_them_began_a_new_file(
    folder: Path, state: SqliteState, workers: Callable[[], Worker], lock: MakeLock
) -> None:
    worker = workers()
    worker.ask("add", "lost")
    assert [each.token for each in state.covering(A, now=1)] == ["lost"]
    os.rename(folder / "state.sqlite3", folder / "state.sqlite3.corrupt-1")
    for suffix in ("-wal", "-shm"):
        os.rename(folder / f"state.sqlite3{suffix}", folder / f"state.sqlite3.corrupt-1{suffix}")
    third = SqliteState(folder, durability="none")
    with third.hold([], wait_s=5) as view:
        view.add_lock(lock("kept", b"a"))
    third.close()
    with state.hold([], wait_s=5) as view:
        assert [each.token for each in view.covering(A, now=1)] == ["kept"]
    worker.ask("add", "added")

    assert {each.token for each in state.covering(A, now=1)} == {"kept", "added"}


@pytest.mark.security("Q-05", "Q-06")
def test_a_new_state_begins_when_the_file_is_removed(
    folder: Path, state: SqliteState, caplog: pytest.LogCaptureFixture
) -> None:
    other = SqliteState(folder, durability="none")
    patch(state, b"1")
    assert other.properties(A) == {X: b"1"}
    os.unlink(folder / "state.sqlite3")
    patch(state, b"2")
    with other.hold([], wait_s=5) as view:
        assert view.properties(A) == {X: b"2"}
    other.close()

    assert "state.sqlite3 is gone" in caplog.text


@pytest.mark.security("Q-06")
def test_a_new_state_begins_though_there_was_no_room_for_it_at_first(
    state: SqliteState, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(state, b"1")
    os.unlink(folder / "state.sqlite3")

    def full(*_: object, **__: object) -> None:
        raise StateFull("no room")

    with monkeypatch.context() as disk:
        disk.setattr(session, "prepare", full)
        for _ in range(2):
            with pytest.raises(StateFull), state.hold([A], wait_s=0):
                pass
    patch(state, b"2")

    assert state.properties(A) == {X: b"2"}


def test_restored_backup_is_shared_again(folder: Path, state: SqliteState) -> None:
    patch(state, b"1")
    state.session().writer.query("VACUUM INTO ?", [str(folder / "backup")])
    state.close()
    os.replace(folder / "backup", folder / "state.sqlite3")

    assert state.properties(A) == {X: b"1"}
    assert state.session().writer.query("PRAGMA journal_mode") == [("wal",)]


def test_file_that_cannot_be_opened_is_a_state_failure(folder: Path, state: SqliteState) -> None:
    (folder / "state.sqlite3").mkdir(parents=True)

    with pytest.raises(StateFailure, match="cannot be used"):
        state.properties(A)
    assert os.listdir(folder / "owners") == []


def test_large_file_is_opened_unchecked(
    state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(state, b"1")
    state.close()
    monkeypatch.setattr(sqlfile, "_CHECKED_BYTES", 0)

    assert state.properties(A) == {X: b"1"}


def test_file_replaced_while_it_is_opened_is_opened_again(
    folder: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(state, b"1")
    state.close()
    real = session.prepare

    def prepare(path: Path, *, create: bool, **options: bool) -> Any:
        opened = real(path, create=create, **options)
        if not create:
            os.rename(path, folder / "elsewhere")
            for suffix in ("-wal", "-shm"):
                os.rename(f"{path}{suffix}", folder / f"elsewhere{suffix}")
        return opened

    monkeypatch.setattr(session, "prepare", prepare)

    assert state.properties(A) == {}
    assert (folder / "state.sqlite3").exists()


@pytest.mark.security("Q-05")
def test_folder_on_which_processes_cannot_share_is_refused(tmp_path: Path) -> None:
    class NoSharedMemory:
        """As SQLite answers where it has no shared memory: the journal mode stays."""

        def query(self, sql: str) -> list[tuple[Any, ...]]:
            return [(0,)] if "user_version" in sql else [("delete",)]

    with pytest.raises(StateFailure, match="keep it on a local disk"):
        sqlfile._check(NoSharedMemory(), tmp_path / "state.sqlite3", create=True)


# Failures ------------------------------------------------------------------------------------


@pytest.mark.security("F-08")
def test_full_disk_is_state_full_and_nothing_is_stored(state: SqliteState, lock: MakeLock) -> None:
    patch(state, b"1")
    writer = state.session().writer
    pages = writer.query("PRAGMA page_count")[0][0]
    writer.query(f"PRAGMA max_page_count = {pages}")

    def fill() -> None:
        with state.hold([], wait_s=0) as view:
            view.add_lock(lock("t", b"a"))
            for n in range(40):
                view.patch(Key("r", b"%d" % n), [PropertyChange(X, b"x" * 50_000)])

    with pytest.raises(StateFull, match="no room"):
        fill()

    assert state.lock("t", now=1) is None
    assert list(state.keys_with_rows()) == [A]
    writer.query("PRAGMA max_page_count = 1000000")
    patch(state, b"2")
    assert state.properties(A) == {X: b"2"}


@pytest.mark.security("F-08")
def test_failed_write_cannot_be_committed_though_its_error_was_caught(
    state: SqliteState, lock: MakeLock
) -> None:
    patch(state, b"1")
    writer = state.session().writer
    writer.query(f"PRAGMA max_page_count = {writer.query('PRAGMA page_count')[0][0]}")

    def fill() -> None:
        with state.hold([], wait_s=0) as view:
            view.add_lock(lock("t", b"a"))
            with pytest.raises(StateFull):
                view.patch(A, [PropertyChange(X, b"x" * 60_000)])

    with pytest.raises(StateFull, match="full"):
        fill()

    assert state.lock("t", now=1) is None
    assert state.properties(A) == {X: b"1"}


def test_foreign_writer_makes_the_gate_busy_not_broken(
    folder: Path, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch(state, b"1")
    state.session().writer.query("PRAGMA busy_timeout = 1")
    other = apsw.Connection(str(folder / "state.sqlite3"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(GateBusy):
        patch(state, b"2")
    other.execute("ROLLBACK")
    other.close()

    patch(state, b"3")
    assert state.properties(A) == {X: b"3"}


def test_damage_met_later_is_a_failure_and_logged(
    state: SqliteState, caplog: pytest.LogCaptureFixture
) -> None:
    patch(state, b"1")
    state.session().writer.query("DROP TABLE properties")
    with pytest.raises(StateFailure, match="no such table"):
        state.properties(Key("r", b"another"))

    assert "no such table" in caplog.text


# Cost ----------------------------------------------------------------------------------------


def _statements(state: SqliteState) -> list[str]:
    """Every SQL text from now on."""
    seen: list[str] = []

    def trace(event: dict[str, Any]) -> None:
        seen.append(event["sql"])

    session = state.session()
    for database in (session.writer, session._reader):
        database._connection.trace_v2(apsw.SQLITE_TRACE_STMT, trace)
    return seen


@pytest.mark.security("S-05", "S-06")
def test_locks_are_read_without_a_query_when_nothing_changed(
    state: SqliteState, lock: MakeLock
) -> None:
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t", b"a"))
    state.covering(A, now=1)
    seen = _statements(state)
    with state.hold([], wait_s=0) as view:
        view.covering(A, now=1)
        view.beneath(A, now=1)
        view.changes()
    state.covering(A, now=1)
    state.has_changes()

    assert seen == []


def test_what_a_worker_has_committed_itself_it_need_not_ask_for(
    state: SqliteState, lock: MakeLock
) -> None:
    seen = _statements(state)
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t", b"a"))
        view.patch(A, [PropertyChange(X, b"1")])
    asked = len(seen)
    with state.hold([], wait_s=0) as view:
        locks, stored = view.covering(A, now=1), view.properties(A)

    assert [each.token for each in locks] == ["t"]
    assert stored == state.properties(A) == {X: b"1"}
    assert len(seen) == asked


def test_a_lock_is_written_and_told_of_without_a_question(
    state: SqliteState, lock: MakeLock
) -> None:
    patch(state, b"1")
    seen = _statements(state)
    with state.hold([], wait_s=0) as view:
        view.covering(A, now=1)
        view.add_lock(lock("t", b"a"))
    with state.hold([], wait_s=0) as view:
        view.remove_lock("t")

    verbs = [text.split()[0] for text in seen]
    assert verbs == ["BEGIN", "INSERT", "INSERT", "COMMIT", "BEGIN", "DELETE", "INSERT", "COMMIT"]


@pytest.mark.parametrize(
    "change",
    [
        lambda view: view.clear(A),
        lambda view: view.move_rows(A, Key("r", b"b")),
        lambda view: view.copy_properties(Key("r", b"none"), A, tree=False),
        lambda view: view.copy_properties(Key("r", b"none"), A, tree=True),
        lambda view: view.patch(A, [PropertyChange(X, None)]),
    ],
    ids=["clear", "move", "copy", "copy tree", "patch"],
)
def test_what_was_remembered_of_properties_goes_with_them(
    state: SqliteState, change: Callable[[GateView], None]
) -> None:
    patch(state, b"1")
    assert state.properties(A) == {X: b"1"}
    with state.hold([], wait_s=0) as view:
        change(view)
        view.commit()
        assert view.properties(A) == {}

    assert state.properties(A) == {}


def test_properties_that_were_not_committed_are_not_remembered(state: SqliteState) -> None:
    patch(state, b"1")
    with suppress(KeyError), state.hold([], wait_s=0) as view:
        view.patch(A, [PropertyChange(X, b"2")])
        raise KeyError
    with state.hold([], wait_s=0) as view:
        view.patch(Key("r", b"b"), [PropertyChange(X, b"3")])

    assert state.properties(A) == {X: b"1"}


def test_a_lock_is_known_though_all_were_read_anew_before_its_commit(
    state: SqliteState, lock: MakeLock
) -> None:
    """Another thread may do so when what is known has become doubtful."""
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t", b"a"))
        state.session().mirror.invalidate()
        assert not state.covering(A, now=1)

    assert [each.token for each in state.covering(A, now=1)] == ["t"]


def test_clearing_what_has_no_rows_begins_no_transaction(state: SqliteState) -> None:
    seen = _statements(state)
    with state.hold([], wait_s=0) as view:
        view.clear(A)
        view.move_rows(A, Key("r", b"b"))
        view.copy_properties(A, Key("r", b"b"), tree=True)
        view.patch(A, [PropertyChange(X, None)])
        view.remove_lock("none")

    assert {text.split()[0] for text in seen} == {"SELECT"}


def test_expired_rows_go_with_the_next_write(state: SqliteState, lock: MakeLock) -> None:
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t", b"a", expires_at=10))
        view.add_lock(lock("u", b"a", expires_at=30))
    state.covering(A, now=20)
    patch(state, b"1")

    assert state.session().writer.query("SELECT token FROM locks") == [("u",)]


# What is not committed -------------------------------------------------------------------------


def tokens(state: SqliteState) -> list[str]:
    """Returns what who is not in the gate takes for the locks, by each way to ask."""
    covering = [each.token for each in state.covering(A, now=1)]
    beneath = [each.token for each in state.beneath(Key("r", b""), now=1)]
    single = [token for token in ("old", "new") if state.lock(token, now=1) is not None]
    assert covering == beneath == single
    return covering


@pytest.mark.security("Q-03")
@pytest.mark.parametrize("commits_first", [False, True], ids=["", "after another commit"])
def test_locks_count_outside_the_gate_from_the_commit_on(
    state: SqliteState, folder: Path, lock: MakeLock, commits_first: bool
) -> None:
    """In the worker that grants them as in any other, and so do those that are given up."""
    other = SqliteState(folder, durability="none")
    with state.hold([A], wait_s=0) as view:
        view.add_lock(lock("old", b"a"))
    assert tokens(state) == tokens(other) == ["old"]
    with state.hold([A], wait_s=0) as view:
        if commits_first:
            view.record(Change("c1", "r", state.owner, ()))
            view.commit()
        view.remove_lock("old")
        assert tokens(state) == tokens(other) == ["old"]
        view.add_lock(lock("new", b"a"))
        assert [each.token for each in view.covering(A, now=1)] == ["new"]
        assert tokens(state) == tokens(other) == ["old"]
        view.commit()
        assert tokens(state) == tokens(other) == ["new"]
        view.remove_lock("new")
        assert tokens(state) == tokens(other) == ["new"]

    assert tokens(state) == tokens(other) == []
    other.close()


@pytest.mark.security("Q-03")
def test_what_is_committed_is_told_apart_where_a_worker_died_in_its_commit(
    state: SqliteState, lock: MakeLock
) -> None:
    """Then nobody knows from the count whether a commit is under way."""
    with state.hold([A], wait_s=0) as view:
        view.add_lock(lock("old", b"a"))
    state.session().commits.begin()
    with state.hold([A], wait_s=0) as view:
        view.remove_lock("old")
        view.add_lock(lock("old", b"a"))
        assert tokens(state) == ["old"]
        view.add_lock(lock("new", b"a"))
        assert tokens(state) == ["old"]
        view.commit()
        assert tokens(state) == ["old", "new"]
        view.remove_lock("new")
        assert tokens(state) == ["old", "new"]

    assert tokens(state) == ["old"]


@pytest.mark.security("Q-03")
def test_a_lock_that_is_not_committed_never_was(state: SqliteState, lock: MakeLock) -> None:
    with state.hold([A], wait_s=0) as view:
        view.add_lock(lock("old", b"a"))
    with suppress(KeyError), state.hold([A], wait_s=0) as view:
        view.refresh_lock("old", timeout_s=9, expires_at=9.0)
        view.add_lock(lock("new", b"b"))
        assert state.covering(A, now=1)[0].timeout_s != 9
        raise KeyError

    assert tokens(state) == ["old"]
    assert state.covering(A, now=1)[0].timeout_s != 9
    assert state.covering(Key("r", b"b"), now=1) == []


@pytest.mark.security("Q-03")
def test_a_lock_counts_at_the_moment_of_its_commit(
    state: SqliteState, folder: Path, lock: MakeLock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not a moment later than with the other workers: between the commit and its end."""
    other = SqliteState(folder, durability="none")
    assert tokens(other) == []
    seen = []
    query = sqlfile.Database.query

    def committing(self: Any, sql: str, bindings: Any = ()) -> Any:
        found = query(self, sql, bindings)
        if sql == "COMMIT":
            seen.append((tokens(state), tokens(other)))
        return found

    monkeypatch.setattr(sqlfile.Database, "query", committing)
    with state.hold([A], wait_s=0) as view:
        view.add_lock(lock("new", b"a"))
    other.close()

    assert seen == [(["new"], ["new"])]


def test_expired_lock_that_a_rollback_brings_back_stays_expired(
    state: SqliteState, lock: MakeLock
) -> None:
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t", b"a", expires_at=10))
    state.covering(A, now=20)

    def fail() -> None:
        with state.hold([], wait_s=0) as view:
            view.patch(A, [PropertyChange(X, b"1")])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert state.session().writer.query("SELECT token FROM locks") == [("t",)]
    assert state.covering(A, now=20) == []


def test_waiting_for_the_gate_ends_in_time(state: SqliteState, workers: Any) -> None:
    worker = workers()
    worker.ask("hold", False)
    begun = time.monotonic()
    with pytest.raises(GateBusy), state.hold([], wait_s=0.05):
        pass

    assert 0.04 < time.monotonic() - begun < 2


@pytest.mark.parametrize("call", ["prepare", "Database"])
def test_what_could_not_be_opened_anew_is_by_the_next_who_asks(
    folder: Path, state: SqliteState, lock: MakeLock, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """Another worker has replaced the database, and this one was out of descriptors."""
    state.session()
    for suffix in ("", "-wal", "-shm"):
        (folder / f"state.sqlite3{suffix}").rename(folder / f"aside{suffix}")
    other = SqliteState(folder, durability="none")
    with other.hold([A], wait_s=0) as view:
        view.add_lock(lock("one", b"a"))

    def fail(*_: object, **__: object) -> None:
        raise StateFailure("too many open files")

    with monkeypatch.context() as system:
        system.setattr(session, call, fail)
        with pytest.raises(StateFailure, match="open files"), state.hold([B], wait_s=0):
            pass
        with pytest.raises(StateFailure):
            state.covering(A, now=1)
    found = state.covering(A, now=1)
    other.close()

    assert found == [lock("one", b"a")]
