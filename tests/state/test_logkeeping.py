"""The log is put away beside the requests, and never grows without end."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.errors import StateFailure
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state import sqlfile
from davserver.state.logkeeping import _OVERFULL, FULL, LogKeeper
from davserver.state.sqlite import SqliteState

X = QName("{u}x")
PAGE = 4_096


class Disk:
    """Puts the log away for as long as it is told to."""

    def __init__(self) -> None:
        self.threads: list[threading.Thread] = []
        self.begun, self.done = threading.Event(), threading.Event()

    def put_away(self) -> None:
        self.threads.append(threading.current_thread())
        self.begun.set()
        self.done.wait(10)


@pytest.fixture
def disk() -> Iterator[Disk]:
    made = Disk()
    yield made
    made.done.set()


def ended(disk: Disk) -> None:
    assert disk.begun.wait(10)
    disk.done.set()
    disk.threads[-1].join(10)


def test_a_short_log_is_left_alone(disk: Disk) -> None:
    keeper = LogKeeper(disk.put_away)

    assert not keeper.is_due(FULL - 1)
    assert not disk.threads


def test_commits_go_on_while_a_thread_puts_a_full_log_away(disk: Disk) -> None:
    keeper = LogKeeper(disk.put_away)

    assert [keeper.is_due(FULL + number) for number in range(9)] == [False] * 9
    assert disk.begun.wait(10)
    assert len(disk.threads) == 1
    assert disk.threads[0] is not threading.current_thread()


def test_the_commit_after_it_does_the_rest(disk: Disk) -> None:
    keeper = LogKeeper(disk.put_away)
    keeper.is_due(FULL)
    ended(disk)

    assert keeper.is_due(FULL + 1)
    assert not keeper.is_due(2)
    assert len(disk.threads) == 1


def test_where_the_thread_does_not_keep_up_commits_do_it_themselves(disk: Disk) -> None:
    keeper = LogKeeper(disk.put_away)

    assert not keeper.is_due(_OVERFULL - 1)
    assert keeper.is_due(_OVERFULL)


def test_a_commit_does_it_itself_where_there_is_no_thread_to_be_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    state = SqliteState(tmp_path / "state", durability="none")
    with state.hold([], wait_s=5) as view:
        view.patch(Key("", b"a"), [PropertyChange(X, b"%d" % FULL)])
    monkeypatch.setattr(threading.Thread, "start", fail)
    for number in range(FULL):
        with state.hold([], wait_s=5) as view:
            view.patch(Key("", b"a"), [PropertyChange(X, b"%d" % number)])
    size = (tmp_path / "state" / f"{sqlfile.FILE}-wal").stat().st_size
    state.close()

    assert size < 2 * FULL * PAGE


@pytest.mark.security("Q-05")
def test_a_state_whose_log_is_put_away_at_a_fork_is_refused(
    tmp_path: Path, disk: Disk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite would believe in the child that it holds what the thread holds in the parent."""
    state = SqliteState(tmp_path / "state", durability="none")
    session = state.session()
    monkeypatch.setattr(session._log, "_put_away", disk.put_away)
    session._log.is_due(FULL)
    session.pid = 0
    with pytest.raises(StateFailure, match="forked"):
        state.locks()
    ended(disk)
    session.pid = os.getpid()

    assert state.locks() == []
    state.close()


def test_closing_waits_for_the_thread(disk: Disk) -> None:
    keeper = LogKeeper(disk.put_away)
    keeper.is_due(FULL)
    assert disk.begun.wait(10)
    threading.Timer(0.05, disk.done.set).start()
    keeper.close()

    assert not disk.threads[0].is_alive()
    keeper.close()


def test_the_log_of_a_state_begins_anew(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    state = SqliteState(folder, durability="none")
    for number in range(4 * FULL):
        with state.hold([], wait_s=5) as view:
            view.patch(Key("", b"a"), [PropertyChange(X, b"%d" % number)])
    size = (folder / f"{sqlfile.FILE}-wal").stat().st_size
    state.close()

    assert size < 3 * FULL * PAGE


def test_what_is_no_database_is_not_made_one(tmp_path: Path) -> None:
    sqlfile.put_log_away(tmp_path / "none")

    assert not list(tmp_path.iterdir())
