"""The shared count of commits: what it says while one is under way, and when that never ends."""

from __future__ import annotations

from pathlib import Path

from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state.commitcount import CommitCount
from davserver.state.sqlite import SqliteState

KEY = Key("", b"a")
NAME = QName("{u}x")


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
