"""The contract of davserver/state/base.py, over every backend."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from davserver.errors import GateBusy, StateFull
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Change, Phase, State, Step, StepKind, Upload
from davserver.state.limits import StateLimits

MakeLock = Callable[..., Lock]
X, Y, Z = QName("{urn:t}x"), QName("{urn:t}y"), QName("z")
PRIVATE = QName("{davserver:}upload")
BAD = b"\xff\xfe-not-utf8"


def key(path: bytes, root: str = "r") -> Key:
    return Key(root, path)


def put(state: State, stored: dict[Key, dict[QName, bytes]]) -> None:
    with state.hold([], wait_s=5) as view:
        for where, properties in stored.items():
            view.patch(where, [PropertyChange(*item) for item in properties.items()])


def tokens(locks: Any) -> list[str]:
    return [lock.token for lock in locks]


# Locks ---------------------------------------------------------------------------------------


@pytest.mark.rfc("LM-02", "CL-03")
@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(key(b""), [], id="root above the lock"),
        pytest.param(key(b"a"), ["infinity"], id="lock root"),
        pytest.param(key(b"a/m"), ["infinity"], id="member"),
        pytest.param(key(b"a/b/c/d"), ["infinity"], id="deep member"),
        pytest.param(key(b"a-b"), [], id="name that begins alike"),
        pytest.param(key(b"a", "other"), [], id="another share"),
        pytest.param(key(b"z"), ["zero"], id="depth 0 on itself"),
        pytest.param(key(b"z/m"), [], id="depth 0 not on members"),
    ],
)
def test_covering_is_the_lock_itself_and_those_of_infinity_above(
    state: State, lock: MakeLock, asked: Key, expected: list[str]
) -> None:
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("infinity", b"a"))
        view.add_lock(lock("zero", b"z", depth=Depth.ZERO))

        assert expected == tokens(view.covering(asked, now=1))
        assert all(view.lock(token, now=1) for token in expected)
    assert expected == tokens(state.covering(asked, now=1))


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        pytest.param(key(b""), ["a", "a/b", "a/b/c", "a-b", "a0"], id="root"),
        pytest.param(key(b"a"), ["a/b", "a/b/c"], id="collection, not its namesakes"),
        pytest.param(key(b"a/b/c"), [], id="leaf"),
        pytest.param(key(b"", "other"), ["o"], id="another share"),
    ],
)
def test_beneath_is_strictly_below(
    state: State, lock: MakeLock, asked: Key, expected: list[str]
) -> None:
    with state.hold([], wait_s=0) as view:
        for path in ("a", "a/b", "a/b/c", "a-b", "a0"):
            view.add_lock(lock(path, path.encode()))
        view.add_lock(lock("root", b""))
        view.add_lock(lock("o", b"o", root="other"))

        assert sorted(expected) == sorted(tokens(view.beneath(asked, now=1)))
    assert sorted(expected) == sorted(tokens(state.beneath(asked, now=1)))


@pytest.mark.rfc("LM-03")
def test_shared_locks_on_one_resource_are_told_apart(state: State, lock: MakeLock) -> None:
    made = [lock(f"t{n}", b"a", scope=LockScope.SHARED, principal=f"p{n}") for n in range(5)]
    with state.hold([], wait_s=0) as view:
        for each in made:
            view.add_lock(each)
        view.remove_lock("t2")

    assert made[:2] + made[3:] == sorted(state.covering(key(b"a"), now=1), key=lambda x: x.token)
    assert made[0] == state.lock("t0", now=1)
    assert state.lock("t2", now=1) is None


@pytest.mark.rfc("LM-08")
def test_expired_lock_is_gone_before_anybody_sweeps(state: State, lock: MakeLock) -> None:
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t", b"a/b", expires_at=100))

    assert tokens(state.covering(key(b"a/b"), now=99.9)) == ["t"]
    assert list(state.covering(key(b"a/b"), now=100)) == []
    assert list(state.beneath(key(b"a"), now=100)) == []
    assert state.lock("t", now=100) is None
    with state.hold([], wait_s=0) as view, pytest.raises(KeyError):
        view.refresh_lock("t", timeout_s=5, expires_at=200)


@pytest.mark.rfc("LR-01", "LR-05")
def test_refresh_changes_one_lock_only(state: State, lock: MakeLock) -> None:
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t", b"a", scope=LockScope.SHARED, expires_at=100))
        view.add_lock(lock("u", b"a", scope=LockScope.SHARED, expires_at=100))
    with state.hold([], wait_s=0) as view:
        refreshed = view.refresh_lock("t", timeout_s=900, expires_at=1000)

    assert (refreshed.timeout_s, refreshed.expires_at) == (900, 1000)
    assert refreshed == state.lock("t", now=500)
    assert state.lock("u", now=500) is None
    with state.hold([], wait_s=0) as view, pytest.raises(KeyError):
        view.refresh_lock("never", timeout_s=1, expires_at=1)


@pytest.mark.rfc("UL-05")
@pytest.mark.parametrize(
    ("itself", "left"),
    [pytest.param(True, ["n"], id="with itself"), pytest.param(False, ["a", "n"], id="members")],
)
def test_remove_locks_takes_the_tree(
    state: State, lock: MakeLock, itself: bool, left: list[str]
) -> None:
    with state.hold([], wait_s=0) as view:
        for token, path in (("a", b"a"), ("b", b"a/b"), ("n", b"ab")):
            view.add_lock(lock(token, path))
        view.remove_locks(key(b"a"), itself=itself)
        view.remove_lock("unknown")

    assert left == [token for token in ("a", "b", "n") if state.lock(token, now=1)]


@pytest.mark.security("S-05")
def test_locks_of_a_principal_and_of_a_resource_are_limited(
    make: Callable[..., State], lock: MakeLock
) -> None:
    limits = StateLimits(locks_per_principal=4, locks_per_resource=3)
    state = make(limits)
    with state.hold([], wait_s=0) as view:
        for n in range(3):
            view.add_lock(lock(f"t{n}", b"a", scope=LockScope.SHARED))
        with pytest.raises(StateFull, match="on one resource"):
            view.add_lock(lock("t3", b"a", scope=LockScope.SHARED, principal="bob"))
        view.add_lock(lock("t4", b"b"))
        with pytest.raises(StateFull, match="'ada'"):
            view.add_lock(lock("t5", b"c"))
        view.add_lock(lock("t6", b"c", principal="bob"))

    assert state.lock("t3", now=1) is None
    assert state.lock("t6", now=1) is not None


def test_expired_locks_make_room(make: Callable[..., State], lock: MakeLock) -> None:
    state = make(StateLimits(locks_per_principal=2, locks_per_resource=2))
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t0", b"a", expires_at=100))
        view.add_lock(lock("t1", b"a", expires_at=100))
    with state.hold([], wait_s=0) as view:
        assert list(view.covering(key(b"a"), now=101)) == []
        view.add_lock(lock("t2", b"a"))

    assert tokens(state.covering(key(b"a"), now=101)) == ["t2"]


# Properties ----------------------------------------------------------------------------------


@pytest.mark.rfc("PP-02", "PP-08")
def test_patch_applies_in_document_order(state: State) -> None:
    with state.hold([], wait_s=0) as view:
        view.patch(
            key(b"a"),
            [
                PropertyChange(X, b"<x>1</x>"),
                PropertyChange(Y, b"<y/>"),
                PropertyChange(X, None),
                PropertyChange(X, b"<x>2</x>"),
                PropertyChange(Y, None),
                PropertyChange(Z, None),
            ],
        )

        assert view.properties(key(b"a")) == {X: b"<x>2</x>"}
    assert state.properties(key(b"a")) == {X: b"<x>2</x>"}


@pytest.mark.security("X-06")
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        pytest.param([(X, b"x" * 21)], "larger than 20 bytes", id="one value"),
        pytest.param([(X, b"x" * 20), (Y, b"y" * 20), (Z, b"z")], "more than 40 bytes", id="sum"),
        pytest.param(
            [(X, b""), (Y, b""), (Z, b""), (PRIVATE, b"")], "more than 3 properties", id="count"
        ),
    ],
)
def test_patch_past_a_limit_stores_nothing(
    make: Callable[..., State], changes: list[tuple[QName, bytes]], reason: str
) -> None:
    limits = StateLimits(
        properties_per_resource=3, property_bytes=20, properties_bytes_per_resource=40
    )
    state = make(limits)
    with state.hold([], wait_s=0) as view, pytest.raises(StateFull, match=reason):
        view.patch(key(b"a"), [PropertyChange(*change) for change in changes])

    assert state.properties(key(b"a")) == {}


def test_removing_is_possible_past_a_lowered_limit(make: Callable[..., Any]) -> None:
    state = make()
    put(state, {key(b"a"): {X: b"x" * 50, Y: b"y" * 50, Z: b""}})
    if hasattr(state, "limits"):
        state.limits = StateLimits(properties_per_resource=1, property_bytes=1)
    with state.hold([], wait_s=0) as view:
        view.patch(key(b"a"), [PropertyChange(X, None), PropertyChange(Y, b"y" * 49)])

    assert state.properties(key(b"a")) == {Y: b"y" * 49, Z: b""}


@pytest.mark.parametrize(
    "parent", [pytest.param(b"", id="root"), pytest.param(b"a/" + BAD, id="not UTF-8")]
)
def test_member_properties_come_by_name(state: State, parent: bytes) -> None:
    names = [b"m%d" % n for n in range(300)] + [BAD]
    above = key(parent)
    put(
        state,
        {
            above: {Z: b"<z/>"},
            above.child(b"m7"): {X: b"<x/>", Y: b"<y/>"},
            above.child(b"m299"): {X: b"<x/>"},
            above.child(BAD): {X: b"<x/>"},
            above.child(b"m7").child(b"m8"): {X: b"deeper"},
            above.child(b"unasked"): {X: b"<x/>"},
        },
    )
    expected = {
        b"m7": {X: b"<x/>", Y: b"<y/>"},
        b"m299": {X: b"<x/>"},
        BAD: {X: b"<x/>"},
    }

    assert expected == state.member_properties(above, names)
    assert state.member_properties(above, []) == {}
    with state.hold([], wait_s=0) as view:
        assert expected == view.member_properties(above, names)


TREE = {
    key(b"s"): {X: b"1", PRIVATE: b"p"},
    key(b"s/m"): {X: b"2"},
    key(b"s/" + BAD): {X: b"3"},
    key(b"s/" + BAD + b"/d/e"): {X: b"4", PRIVATE: b"p"},
    key(b"s-"): {X: b"sibling"},
    key(b"s0/m"): {X: b"sibling"},
}
SIBLINGS = {key(b"s-"): {X: b"sibling"}, key(b"s0/m"): {X: b"sibling"}}


def everything(state: Any) -> dict[Key, dict[QName, bytes]]:
    return {each: dict(state.properties(each)) for each in state.keys_with_rows()}


@pytest.mark.rfc("MV-05")
@pytest.mark.parametrize(
    "target",
    [
        pytest.param(key(b"t"), id="sibling"),
        pytest.param(key(b"deep/er/t"), id="deeper"),
        pytest.param(key(b"t", "other"), id="another share"),
        pytest.param(key(BAD), id="not UTF-8"),
    ],
)
def test_move_takes_the_rows_of_the_tree_along(state: State, target: Key) -> None:
    put(state, TREE)
    put(state, {target: {Y: b"old"}, target.child(b"m"): {Y: b"old"}})
    with state.hold([], wait_s=0) as view:
        view.move_rows(key(b"s"), target)

        assert not view.has_rows(key(b"s"))
        assert view.has_rows(target)
    moved = {
        target: TREE[key(b"s")],
        target.child(b"m"): {X: b"2"},
        target.child(BAD): {X: b"3"},
        target.child(BAD + b"/d/e"): {X: b"4", PRIVATE: b"p"},
    }
    assert moved | SIBLINGS == everything(state)


def test_move_out_of_and_into_a_whole_share(state: State) -> None:
    stored = {key(b""): {X: b"1"}, key(b"m"): {X: b"2"}, key(b"m/d/e"): {X: b"3"}}
    put(state, stored)
    with state.hold([], wait_s=0) as view:
        view.move_rows(key(b""), key(b"into", "other"))

    there = {
        key(b"into", "other"): {X: b"1"},
        key(b"into/m", "other"): {X: b"2"},
        key(b"into/m/d/e", "other"): {X: b"3"},
    }
    assert there == everything(state)
    with state.hold([], wait_s=0) as view:
        view.move_rows(key(b"into", "other"), key(b""))
    assert stored == everything(state)


@pytest.mark.rfc("MV-06", "CL-05")
def test_move_drops_locks_of_the_source_and_leaves_those_of_the_target(
    state: State, lock: MakeLock
) -> None:
    with state.hold([], wait_s=0) as view:
        for path in ("s", "s/m", "t", "t/m"):
            view.add_lock(lock(path, path.encode()))
        view.move_rows(key(b"s"), key(b"t"))

    left = [token for token in ("s", "s/m", "t", "t/m") if state.lock(token, now=1)]
    assert left == ["t", "t/m"]


def test_move_onto_itself_keeps_the_properties(state: State) -> None:
    """A rename that changes only the case of a name, where the file system folds it."""
    put(state, TREE)
    with state.hold([], wait_s=0) as view:
        view.move_rows(key(b"s"), key(b"s"))

    assert everything(state) == TREE


@pytest.mark.parametrize(
    ("source", "target"), [(b"s", b"s/m"), (b"s/m", b"s")], ids=["into itself", "onto its parent"]
)
def test_overlapping_trees_are_refused(state: State, source: bytes, target: bytes) -> None:
    put(state, TREE)
    with state.hold([], wait_s=0) as view:
        with pytest.raises(ValueError, match="overlap"):
            view.move_rows(key(source), key(target))
        with pytest.raises(ValueError, match="overlap"):
            view.copy_properties(key(source), key(target), tree=True)

    assert everything(state) == TREE


@pytest.mark.rfc("CP-09")
@pytest.mark.parametrize("tree", [True, False], ids=["tree", "one resource"])
def test_copy_replaces_and_leaves_private_ones_out(state: State, tree: bool) -> None:
    put(state, TREE)
    put(state, {key(b"t"): {Y: b"old"}, key(b"t/old"): {Y: b"old"}})
    with state.hold([], wait_s=0) as view:
        view.copy_properties(key(b"s"), key(b"t"), tree=tree)
        view.copy_properties(key(b"s"), key(b"s"), tree=tree)
        view.copy_properties(key(b"none"), key(b"nowhere"), tree=tree)

    copied = {key(b"t"): {X: b"1"}}
    if tree:
        copied[key(b"t/m")] = {X: b"2"}
        copied[key(b"t/" + BAD)] = {X: b"3"}
        copied[key(b"t/" + BAD + b"/d/e")] = {X: b"4"}
    else:
        copied[key(b"t/old")] = {Y: b"old"}
    assert TREE | copied == everything(state)


@pytest.mark.parametrize("locks", [True, False], ids=["with locks", "without locks"])
def test_clear_removes_at_and_below(state: State, lock: MakeLock, locks: bool) -> None:
    put(state, TREE)
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("l", b"s/m"))
        view.clear(key(b"s"), locks=locks)
        view.clear(key(b"nothing here"))

        assert not view.has_rows(key(b"s"))
        assert view.has_rows(key(b"s0"))
        assert view.has_rows(key(b""))
    assert locks == (state.lock("l", now=1) is None)
    assert state.properties(key(b"s-")) == {X: b"sibling"}


@pytest.mark.security("Q-08")
def test_awkward_names_are_data(state: State, lock: MakeLock) -> None:
    awkward = b"';DROP TABLE locks;--%_\\\n\xf0\x9f\x98\x80"
    name = QName("{x'; --}\u00e9")
    put(state, {key(awkward, "r'"): {name: b"\x00\xff"}})
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("t'", awkward, root="r'", principal="o'hara"))

    assert {name: b"\x00\xff"} == state.properties(key(awkward, "r'"))
    assert tokens(state.covering(key(awkward, "r'"), now=1)) == ["t'"]


# The gate ------------------------------------------------------------------------------------


def test_exception_undoes_what_was_not_committed(state: State, lock: MakeLock) -> None:
    put(state, {key(b"a"): {X: b"1"}})
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("old", b"a"))
    change = Change("c", "r", "gone", ())

    def fail() -> None:
        with state.hold([], wait_s=0) as view:
            view.patch(key(b"a"), [PropertyChange(Y, b"committed")])
            view.commit()
            view.patch(key(b"a"), [PropertyChange(X, b"2")])
            view.remove_locks(key(b"a"))
            view.add_lock(lock("new", b"a"))
            view.refresh_lock("new", timeout_s=1, expires_at=5000)
            view.record(change)
            assert tokens(view.covering(key(b"a"), now=1)) == ["new"]
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        fail()

    assert state.properties(key(b"a")) == {X: b"1", Y: b"committed"}
    assert tokens(state.covering(key(b"a"), now=1)) == ["old"]
    assert not state.has_changes()


def test_gate_is_not_reentrant(state: State) -> None:
    with (
        state.hold([], wait_s=0),
        pytest.raises(RuntimeError, match="this thread"),
        state.hold([], wait_s=0),
    ):
        pass

    with state.hold([], wait_s=0) as view:
        assert not view.has_rows(key(b""))


def test_gate_held_by_a_thread_is_busy_but_reading_goes_on(state: State, lock: MakeLock) -> None:
    inside, leave = threading.Event(), threading.Event()

    def holder() -> None:
        with state.hold([], wait_s=5) as view:
            view.patch(key(b"a"), [PropertyChange(X, b"1")])
            inside.set()
            leave.wait(5)

    thread = threading.Thread(target=holder)
    thread.start()
    inside.wait(5)
    try:
        with pytest.raises(GateBusy), state.hold([], wait_s=0):
            pass
        with pytest.raises(GateBusy), state.hold([], wait_s=0.01):
            pass
        assert list(state.covering(key(b"a"), now=1)) == []
        assert state.properties(key(b"b")) == {}
    finally:
        leave.set()
        thread.join()
    with state.hold([], wait_s=0) as view:
        assert view.properties(key(b"a")) == {X: b"1"}


def test_no_update_is_lost_between_threads(state: State) -> None:
    def count() -> None:
        for _ in range(25):
            with state.hold([key(b"a")], wait_s=10) as view:
                number = int(view.properties(key(b"a")).get(X, b"0"))
                view.patch(key(b"a"), [PropertyChange(X, b"%d" % (number + 1))])

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert state.properties(key(b"a")) == {X: b"100"}


# The journal ---------------------------------------------------------------------------------


def test_change_comes_back_as_it_was_recorded(state: State) -> None:
    odd = DavPath(("a\udcff", "b c", "\u00e9"))
    steps = (
        Step(StepKind.PUBLISH, odd, DavPath(("t",), True), DavPath(()), (1, 2**63, None)),
        Step(StepKind.REMOVE, source=odd, identity=(1, 2, 3)),
        Step(StepKind.APPLY, target=odd, values={"mtime_ns": 2**62, "executable": 1}),
    )
    change = Change("id", "r", "another", steps)
    with state.hold([], wait_s=0) as view:
        view.record(change)
        view.commit()

        assert [change] == list(view.changes())
    assert state.has_changes()
    with state.hold([], wait_s=0) as view:
        view.settle(change)
        view.settle(change)

        assert list(view.changes()) == []
    assert not state.has_changes()


def test_own_changes_are_recovery_s_business_once_they_are_left_behind(state: State) -> None:
    change = Change("id", "r", state.owner, ())
    with state.hold([], wait_s=0) as view:
        view.record(change)
        view.commit()
        assert not state.has_changes()

    assert state.has_changes()
    with state.hold([], wait_s=0) as view:
        assert [change] == list(view.changes())
        view.settle(change)
    assert not state.has_changes()


def test_a_change_that_is_only_remembered_is_told_of_until_it_is_settled(state: State) -> None:
    change = Change("id", "r", state.owner, ())
    with state.hold([], wait_s=0) as view:
        view.remember(change)
        view.rollback()

    assert state.has_changes()
    with state.hold([], wait_s=0) as view:
        assert [change] == list(view.changes())
        view.settle(change)
        view.rollback()
        assert [change] == list(view.changes())
        view.settle(change)
    assert not state.has_changes()


@pytest.mark.security("Q-03")
def test_who_goes_on_after_a_rollback_finds_what_there_was(state: State, lock: MakeLock) -> None:
    """Still in the gate: a lock whose removal was undone holds, one that was not granted does not,
    and a change that could not be settled is there to be recovered."""
    change = Change("id", "r", state.owner, ())
    link, target = key(b"link"), key(b"a")
    with state.hold([], wait_s=0) as view:
        view.add_lock(lock("old", b"a"))
        view.record(change)
        view.bind({link: target})
    with state.hold([], wait_s=0) as view:
        view.remove_lock("old")
        view.add_lock(lock("new", b"b"))
        view.settle(change)
        view.bind({link: None})
        view.rollback()

        assert tokens(view.covering(key(b"a"), now=1)) == ["old"]
        assert tokens(view.beneath(key(b""), now=1)) == ["old"]
        assert view.lock("new", now=1) is None
        assert [change] == list(view.changes())
        assert view.bindings.target(link) == target
        view.settle(change)
    assert not state.has_changes()


def test_keys_with_rows_are_those_at_and_below(state: State) -> None:
    paths = [b"a", b"a/b", b"a/b/c", b"ab", b"b"]
    with state.hold([], wait_s=0) as view:
        for path in paths:
            view.patch(key(path), [PropertyChange(X, b"1")])

        assert {key(path) for path in paths[:3]} == set(view.keys_with_rows(key(b"a")))
        assert {key(path) for path in paths} == set(view.keys_with_rows(key(b"")))
        assert not view.keys_with_rows(key(b"a/b/c/d"))


@pytest.mark.security("K-05")
def test_another_owner_is_alive_as_long_as_its_block(state: State) -> None:
    with state.another_owner() as other:
        assert other != state.owner
        assert state.is_alive(other)

    assert not state.is_alive(other)


@pytest.mark.security("K-05")
def test_a_change_of_another_owner_is_nobodys_to_recover_while_it_lives(state: State) -> None:
    with state.another_owner() as other:
        with state.hold([], wait_s=0) as view:
            view.record(Change("c1", "", other, (Step(StepKind.LEAVE),)))
        assert not state.has_changes()

    assert state.has_changes()
    with state.hold([], wait_s=0) as view:
        view.settle(view.changes()[0])
    assert not state.has_changes()


def test_only_owners_that_live_are_alive(state: State) -> None:
    assert state.is_alive(state.owner)
    assert not state.is_alive("0123456789abcdef")
    assert not state.is_alive("../gate")


# Uploads -------------------------------------------------------------------------------------


def upload(id: str, *, expires_at: float = 1e12, **more: Any) -> Upload:
    part = DavPath((f".davserver.u{id}.x",))
    fields = ((b"if-match", b'"\xff"'),)
    target = DavPath(("c", "\udcff"))
    return Upload(id, "alice", f"u{id}", target, key(BAD), part, fields, expires_at, **more)


def test_an_upload_comes_back_as_it_was_stored(state: State) -> None:
    first, second = upload("a"), upload("b", length=9, size=5, phase=Phase.PUBLISHING, calls=2)
    with state.hold([], wait_s=0) as view:
        view.keep_upload(second)
        view.keep_upload(first)
        assert (view.upload("a"), view.upload("c")) == (first, None)
        view.keep_upload(replace(first, size=3, expires_at=5.0))

    assert state.upload("a") == replace(first, size=3, expires_at=5.0)
    assert state.uploads() == [replace(first, size=3, expires_at=5.0), second]
    with state.hold([], wait_s=0) as view:
        view.remove_upload("a")
        view.remove_upload("a")
        assert view.uploads() == [second]
    assert state.uploads() == [second]


def test_what_is_undone_of_an_upload_is_not_seen(state: State) -> None:
    with state.hold([], wait_s=0) as view:
        view.keep_upload(upload("a"))
    with state.hold([], wait_s=0) as view:
        view.keep_upload(upload("b"))
        view.keep_upload(upload("a", size=7))
        view.remove_upload("a")
        view.rollback()

    assert state.uploads() == [upload("a")]


def test_the_owner_of_a_part_lives_as_long_as_its_upload(state: State) -> None:
    assert not state.is_alive("ua")
    with state.hold([], wait_s=0) as view:
        view.keep_upload(upload("a"))
    assert state.is_alive("ua")
    with state.hold([], wait_s=0) as view:
        view.remove_upload("a")
    assert not state.is_alive("ua")
