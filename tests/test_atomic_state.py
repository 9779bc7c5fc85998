"""The state for who holds the gate: asked anything, it answers as the view does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.atomic.state import HeldState, HeldView
from davserver.errors import StateError
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Change, GateView, Step, StepKind, Upload
from davserver.state.sqlite import SqliteState

NAME = QName("{urn:x}topic")
A, B = Key("", b"a"), Key("", b"a/b")
LOCK = Lock("urn:uuid:1", A, b"/a", LockScope.EXCLUSIVE, Depth.INFINITY, b"", "alice", 60, 10.0**12)
OWN = Change("own", "", "me", (Step(StepKind.ATOMIC),))
NOW = 1_000.0


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    opened = SqliteState(tmp_path / "state", durability="none")
    yield opened
    opened.close()


class Held:
    """A gate that is held.

    Attributes:
        view: of the gate; `inner` the one within.
    """

    def __init__(self, state: SqliteState, view: GateView) -> None:
        self.view = view
        self.inner = HeldView(view, OWN.id)
        self.state = HeldState(state, self.inner)


@pytest.fixture
def held(state: SqliteState) -> Iterator[Held]:
    with state.hold((), wait_s=1) as view:
        yield Held(state, view)


def test_what_is_done_within_is_seen_within_and_by_nobody_else(
    held: Held, state: SqliteState
) -> None:
    with held.state.hold([A], wait_s=0) as view:
        view.add_lock(LOCK)
        view.refresh_lock(LOCK.token, timeout_s=90, expires_at=10.0**12)
        view.patch(A, [PropertyChange(NAME, b"<a/>")])
        view.copy_properties(A, B.child(b"c"), tree=False)

    inside = held.state
    assert [lock.timeout_s for lock in inside.covering(B, now=NOW)] == [90]
    assert inside.beneath(Key("", b""), now=NOW)
    assert inside.lock(LOCK.token, now=NOW) is not None
    assert inside.properties(A) == {NAME: b"<a/>"}
    assert inside.member_properties(B, [b"c"]) == {b"c": {NAME: b"<a/>"}}
    assert held.inner.has_rows(B)
    assert held.inner.keys_with_rows(A) == [A, B.child(b"c")]
    assert held.inner.member_properties(B, [b"c"]) == inside.member_properties(B, [b"c"])
    assert state.lock(LOCK.token, now=NOW) is None
    assert state.properties(A) == {}


def test_it_goes_away_within(held: Held) -> None:
    with held.state.hold([A], wait_s=0) as view:
        view.add_lock(LOCK)
        view.patch(A, [PropertyChange(NAME, b"<a/>")])
        view.move_rows(A, Key("", b"z"))
        view.add_lock(LOCK)
        view.remove_lock(LOCK.token)
        view.add_lock(LOCK)
        view.remove_locks(A)
        view.clear(Key("", b"z"))

    assert not held.state.covering(A, now=NOW)
    assert not held.inner.has_rows(Key("", b"z"))


def test_the_own_change_is_nobodys_to_recover(held: Held) -> None:
    other = Change("other", "", "me", (Step(StepKind.REMOVE, DavPath(("a",))),))
    held.view.record(OWN)
    held.inner.record(other)
    found = held.inner.changes()
    held.inner.settle(other)

    assert [change.id for change in found] == ["other"]
    assert held.inner.changes() == ()
    assert [change.id for change in held.view.changes()] == ["own"]
    assert not held.state.has_changes()


def test_a_part_that_cannot_be_taken_back_breaks_the_whole(held: Held) -> None:
    held.inner.rollback()
    held.inner.require_whole()
    with pytest.raises(RuntimeError):
        change_and_fail(held)

    with pytest.raises(StateError):
        held.inner.require_whole()


def change_and_fail(held: Held) -> None:
    with held.state.hold([A], wait_s=0) as view:
        view.patch(A, [PropertyChange(NAME, b"<a/>")])
        raise RuntimeError


def test_what_cannot_be_journalled_breaks_the_whole(held: Held) -> None:
    held.inner.remember(OWN)

    with pytest.raises(StateError):
        held.inner.require_whole()


def test_numbers_are_taken_back_whatever_became_of_the_transaction(held: Held) -> None:
    numbers = held.state.numbers(A)
    tally = numbers.begin(before=NOW)
    assert tally is not None
    assert numbers.end(tally, 100, now=NOW)
    numbers.change(added=50)
    numbers.change(removed=80)
    counts = numbers.counts
    held.inner.take_back_numbers()
    found = held.view.numbers(A).read()
    held.inner.doubt_numbers()
    numbers.begin(before=0)
    numbers.give_up()

    assert (found.used, found.is_known) == (100, True)
    assert counts == numbers.counts == 1
    assert numbers.read().used == 100


def test_uploads_and_bindings_are_those_of_the_view(held: Held) -> None:
    path = DavPath(("a",))
    upload = Upload("id", "alice", "owner", path, A, path, (), NOW)
    with held.state.hold([A], wait_s=0) as view:
        view.keep_upload(upload)
        view.keep_upload(Upload("other", "alice", "two", path, A, path, (), NOW))
        view.remove_upload("other")
        view.bind({B: A})

    assert held.state.upload("id") == held.inner.upload("id") == upload
    assert list(held.state.uploads()) == list(held.inner.uploads()) == [upload]
    assert held.state.bindings.target(B) == held.inner.bindings.target(B) == A


def test_all_else_is_the_states(held: Held, state: SqliteState) -> None:
    held.state.keep_numbers(list)
    held.state.close()

    assert held.state.inline is state.inline
    assert held.state.owner == state.owner
    assert held.state.undo is state.undo
    assert held.state.is_alive(state.owner)
    with held.state.another_owner() as other:
        assert state.is_alive(other)
