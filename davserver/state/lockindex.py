"""Locks in memory by path, token and time (RFC 4918 section 6.1). Not safe across threads.

A look-up costs the depth of the path, a subtree a bisection: never a scan over all locks.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Iterable, Iterator

from davserver.errors import StateFull, TooManyLocks
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock
from davserver.protocol.path import Key
from davserver.state.limits import StateLimits

_HEAP_SLACK = 64
# What NamedTuple._make does, without its call in between.
_new = tuple.__new__


class KeyTree:
    """A sorted set of keys that knows what lies beneath one."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = sorted(keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Key]:
        return iter(self._keys)

    def add(self, key: Key) -> None:
        """`key` must not be in it yet."""
        insort(self._keys, key)

    def remove(self, key: Key) -> None:
        del self._keys[bisect_left(self._keys, key)]

    def beneath(self, key: Key) -> list[Key]:
        """Returns the keys strictly below `key`."""
        if key.path:
            # "0" is the byte after "/": the subtree is one range, siblings like "a-b" lie outside.
            low, high = Key(key.root, key.path + b"/"), Key(key.root, key.path + b"0")
        else:
            low, high = Key(key.root, b"\x01"), Key(key.root + "\x00", b"")
        begin = bisect_left(self._keys, low)
        return self._keys[begin : bisect_left(self._keys, high, begin)]


class LockIndex:
    """All locks of the store. Expired ones stay until `pop_expired`, and are never returned."""

    def __init__(self, locks: Iterable[Lock] = ()) -> None:
        self._by_token: dict[str, Lock] = {}
        self._by_key: dict[Key, dict[str, Lock]] = {}
        self._principals: Counter[str] = Counter()
        for lock in locks:
            self._by_token[lock.token] = lock
            self._by_key.setdefault(lock.key, {})[lock.token] = lock
            self._principals[lock.principal] += 1
        self._tree = KeyTree(self._by_key)
        self._heap = [(lock.expires_at, lock.token) for lock in self._by_token.values()]
        heapq.heapify(self._heap)

    def __len__(self) -> int:
        return len(self._by_token)

    def __iter__(self) -> Iterator[Lock]:
        """Yields every lock, expired ones too."""
        return iter(self._by_token.values())

    def keys(self) -> list[Key]:
        """Returns every lock root."""
        return list(self._tree)

    def put(self, lock: Lock) -> None:
        """Adds a lock, or replaces the one of the same token (a refresh)."""
        old = self._by_token.get(lock.token)
        if old is not None:
            self._unlink(old)
        self._by_token[lock.token] = lock
        at_key = self._by_key.get(lock.key)
        if at_key is None:
            at_key = self._by_key[lock.key] = {}
            self._tree.add(lock.key)
        at_key[lock.token] = lock
        self._principals[lock.principal] += 1
        heapq.heappush(self._heap, (lock.expires_at, lock.token))
        if len(self._heap) > 2 * len(self._by_token) + _HEAP_SLACK:
            self._heap = [(lock.expires_at, lock.token) for lock in self._by_token.values()]
            heapq.heapify(self._heap)

    def remove(self, token: str) -> Lock | None:
        lock = self._by_token.pop(token, None)
        if lock is not None:
            self._unlink(lock)
        return lock

    def replace(self, key: Key, locks: Iterable[Lock]) -> None:
        """Makes `locks` the only ones rooted at `key`."""
        for token in list(self._by_key.get(key, ())):
            self.remove(token)
        for lock in locks:
            self.put(lock)

    def get(self, token: str, now: float) -> Lock | None:
        lock = self._by_token.get(token)
        return None if lock is None or lock.expires_at <= now else lock

    def covering(self, key: Key, now: float, above: Iterable[Key] | None = None) -> list[Lock]:
        """Locks on `key`, then those of depth infinity above it, nearest first.

        Args:
            above: whatever has `key` in its tree; None: what its path says.
        """
        if above is not None:
            return self._covering_any(key, now, above)
        found: list[Lock] = []
        by_key = self._by_key
        on_key = by_key.get(key)
        if on_key is not None:
            found.extend([lock for lock in on_key.values() if lock.expires_at > now])
        root, path = key
        while path:
            path = path.rpartition(b"/")[0]
            there = by_key.get(_new(Key, (root, path)))
            if there is not None:
                found.extend(
                    lock
                    for lock in there.values()
                    if lock.depth is Depth.INFINITY and lock.expires_at > now
                )
        return found

    def _covering_any(self, key: Key, now: float, above: Iterable[Key]) -> list[Lock]:
        return [
            lock
            for each in above
            for lock in self._by_key.get(each, {}).values()
            if lock.expires_at > now and (each == key or lock.depth is Depth.INFINITY)
        ]

    def beneath(self, key: Key, now: float) -> list[Lock]:
        """Locks rooted strictly below `key`."""
        return [
            lock
            for below in self._tree.beneath(key)
            for lock in self._by_key[below].values()
            if lock.expires_at > now
        ]

    def rooted(self, key: Key, *, itself: bool) -> list[Lock]:
        """Locks rooted below `key`, and at it, expired ones too."""
        keys = self._tree.beneath(key)
        if itself and key in self._by_key:
            keys = [key, *keys]
        return [lock for each in keys for lock in self._by_key[each].values()]

    def pop_expired(self, now: float, most: int) -> list[Lock]:
        """Removes and returns up to `most` expired locks."""
        expired: list[Lock] = []
        while self._heap and self._heap[0][0] <= now and len(expired) < most:
            expires_at, token = heapq.heappop(self._heap)
            lock = self._by_token.get(token)
            if lock is not None and lock.expires_at == expires_at:
                del self._by_token[token]
                self._unlink(lock)
                expired.append(lock)
        return expired

    def check_limits(self, lock: Lock, limits: StateLimits, now: float) -> None:
        """Raises TooManyLocks (403) when `lock` would be one too many, StateFull (507) for an
        owner element that is too large."""
        if len(lock.owner_xml) > limits.owner_bytes:
            raise StateFull(f"the owner element is larger than {limits.owner_bytes} bytes")
        at_key = self._by_key.get(lock.key, {})
        if sum(each.expires_at > now for each in at_key.values()) >= limits.locks_per_resource:
            raise TooManyLocks(f"more than {limits.locks_per_resource} locks on one resource")
        if (
            self._principals[lock.principal] >= limits.locks_per_principal
            and self._count_live(lock.principal, now) >= limits.locks_per_principal
        ):
            raise TooManyLocks(
                f"more than {limits.locks_per_principal} locks of {lock.principal!r}"
            )

    def _count_live(self, principal: str, now: float) -> int:
        """Slow, and right while expired ones wait to be cleared away."""
        return sum(
            lock.principal == principal and lock.expires_at > now
            for lock in self._by_token.values()
        )

    def _unlink(self, lock: Lock) -> None:
        at_key = self._by_key[lock.key]
        del at_key[lock.token]
        if not at_key:
            del self._by_key[lock.key]
            self._tree.remove(lock.key)
        self._principals[lock.principal] -= 1
        if not self._principals[lock.principal]:
            del self._principals[lock.principal]
