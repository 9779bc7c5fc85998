"""The lock index against the rules in protocol/locks.py, taken one lock at a time."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.path import Key
from davserver.state.lockindex import KeyTree, LockIndex

MakeLock = Callable[..., Lock]
KEYS = st.builds(
    lambda root, names: Key(root, b"/".join(names)),
    st.sampled_from(["r", "q"]),
    st.lists(st.sampled_from([b"a", b"a-", b"a0", b"b", b"\xff"]), max_size=3),
)
LOCKS = st.builds(
    lambda token, key, depth, expires_at: Lock(
        token, key, b"/", LockScope.SHARED, depth, b"", "ada", 1, expires_at
    ),
    st.sampled_from([f"t{n}" for n in range(12)]),
    KEYS,
    st.sampled_from([Depth.ZERO, Depth.INFINITY]),
    st.integers(0, 10),
)


def _tokens(locks: list[Lock]) -> list[str]:
    return sorted(lock.token for lock in locks)


@given(st.lists(st.tuples(LOCKS, st.booleans()), max_size=30), KEYS, st.integers(0, 10))
def test_index_answers_as_a_scan_over_all_locks(
    history: list[tuple[Lock, bool]], key: Key, now: int
) -> None:
    index = LockIndex()
    model: dict[str, Lock] = {}
    for lock, stays in history:
        if stays:
            index.put(lock)
            model[lock.token] = lock
        else:
            assert index.remove(lock.token) == model.pop(lock.token, None)
    alive = [lock for lock in model.values() if lock.expires_at > now]
    below = [lock for lock in alive if key.covers(lock.key) and lock.key != key]

    assert _tokens(index.covering(key, now)) == _tokens(
        [each for each in alive if each.covers(key)]
    )
    assert _tokens(index.beneath(key, now)) == _tokens(below)
    assert _tokens(index.rooted(key, itself=True)) == _tokens(
        [lock for lock in model.values() if key.covers(lock.key)]
    )
    expired = index.pop_expired(now, 100)
    assert _tokens(expired) == _tokens([each for each in model.values() if each not in alive])
    assert len(index) == len(alive)
    assert index.keys() == sorted({lock.key for lock in alive})


@given(st.sets(KEYS), KEYS)
def test_tree_knows_what_lies_beneath(keys: set[Key], key: Key) -> None:
    tree = KeyTree()
    for each in keys:
        tree.add(each)

    assert tree.beneath(key) == sorted(each for each in keys if key.covers(each) and each != key)
    for each in keys:
        tree.remove(each)
    assert len(tree) == 0


def test_nearest_lock_comes_first(lock: MakeLock) -> None:
    index = LockIndex(lock(path.decode(), path) for path in (b"", b"a", b"a/b"))

    assert [each.token for each in index.covering(Key("r", b"a/b"), 1)] == ["a/b", "a", ""]


def test_refreshing_for_ever_keeps_the_heap_small(lock: MakeLock) -> None:
    index = LockIndex()
    for second in range(1000):
        index.put(lock("t", b"a", expires_at=second))

    assert len(index._heap) < 100
    assert index.pop_expired(998, 10) == []
    assert _tokens(index.pop_expired(999, 10)) == ["t"]


def test_clearing_expired_locks_is_bounded(lock: MakeLock) -> None:
    index = LockIndex(lock(f"t{n}", b"a%d" % n) for n in range(10))

    assert len(index.pop_expired(1000, 4)) == 4
    assert len(index) == 6
