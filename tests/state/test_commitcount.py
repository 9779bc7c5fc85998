"""The shared count of commits: what it says while one is under way, and when that never ends."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from davserver.errors import GateBusy
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state.commitcount import CommitCount
from davserver.state.rows import Row, Value
from davserver.state.sqlfile import Database
from davserver.state.sqlite import SqliteState

KEY = Key("", b"a")
NAME = QName("{u}x")
LOCK = Lock(
    token="urn:uuid:1",
    key=KEY,
    href=b"/a",
    scope=LockScope.EXCLUSIVE,
    depth=Depth.ZERO,
    owner_xml=b"",
    principal="",
    timeout_s=60,
    expires_at=60.0,
)


def element(text: str) -> bytes:
    return f'<x xmlns="u">{text}</x>'.encode()


def test_every_worker_sees_the_count_move(tmp_path: Path) -> None:
    one, other = (CommitCount(tmp_path / "commits") for _ in range(2))
    before = other.read()
    one.begin()
    meanwhile = other.read()
    one.end()
    after = other.read()

    assert meanwhile is None
    assert None not in (before, after)
    assert before != after


def test_a_commit_that_never_ended_is_told_until_the_next_one(tmp_path: Path) -> None:
    dead, alive = (CommitCount(tmp_path / "commits") for _ in range(2))
    before = alive.read()
    dead.begin()
    dead.close()
    left = alive.read()
    alive.begin()
    during = alive.read()
    alive.end()

    assert (left, during) == (None, None)
    assert alive.read() not in (None, before)


def test_the_count_goes_on_from_its_largest_number(tmp_path: Path) -> None:
    path = tmp_path / "commits"
    path.write_bytes(b"\xfe" + b"\xff" * 7)
    count = CommitCount(path)
    count.begin()
    count.end()

    assert count.read() == 0


def test_another_workers_commit_is_seen_without_the_count(tmp_path: Path) -> None:
    """What is left by a worker that died within its commit costs time, and nothing else."""
    one, other = SqliteState(tmp_path / "s"), SqliteState(tmp_path / "s")
    try:
        with one.hold([KEY], wait_s=1) as view:
            view.patch(KEY, [PropertyChange(NAME, element("1"))])
        seen = [other.properties(KEY)]
        stuck = CommitCount(tmp_path / "s" / "commits")
        stuck.begin()
        seen.append(other.properties(KEY))
        with one.hold([KEY], wait_s=1) as view:
            view.patch(KEY, [PropertyChange(NAME, element("2"))])
        seen.append(other.properties(KEY))
        stuck.close()
    finally:
        one.close()
        other.close()

    assert [each[NAME] for each in seen] == [element("1"), element("1"), element("2")]


@pytest.mark.parametrize("statement", ["PRAGMA data_version", "FROM changes", "FROM locks"])
def test_what_could_not_be_read_is_read_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str
) -> None:
    """A lock of another worker must not stay unseen."""
    one, other = SqliteState(tmp_path / "s"), SqliteState(tmp_path / "s")
    read = Database.query
    failed: list[str] = []

    def query(self: Database, sql: str, bindings: Sequence[Value] = ()) -> list[Row]:
        if statement in sql and not failed:
            failed.append(sql)
            raise GateBusy("the state is busy")
        return read(self, sql, bindings)

    try:
        assert not other.covering(KEY, now=0)
        stuck = CommitCount(tmp_path / "s" / "commits")
        with one.hold([KEY], wait_s=1) as view:
            view.add_lock(LOCK)
        if statement.startswith("PRAGMA"):
            stuck.begin()  # only then it is asked
        monkeypatch.setattr(Database, "query", query)
        with pytest.raises(GateBusy):
            other.covering(KEY, now=0)
        if statement.startswith("PRAGMA"):
            stuck.end()
        seen = [other.covering(KEY, now=0) for _ in range(2)]
        stuck.close()
    finally:
        one.close()
        other.close()

    assert len(failed) == 1
    assert [[lock.token for lock in each] for each in seen] == [[LOCK.token]] * 2


def test_what_is_remembered_of_properties_has_a_limit(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "s")
    try:
        with state.hold([KEY], wait_s=1) as view:
            view.patch(KEY, [PropertyChange(NAME, element("x" * 10_000))])
        for number in range(5000):
            state.properties(Key("", b"%d" % number))
        large = state.properties(KEY)
        remembered = state.session().mirror._properties
    finally:
        state.close()

    assert large == {NAME: element("x" * 10_000)}
    assert len(remembered) <= 4096
    assert KEY not in remembered
