"""The state in memory: for tests, and for embedding one process without a state folder.

The same answers as the database gives, gone with the process.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from functools import partial

from davserver.protocol.locks import Lock
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state.answers import MemoryAnswers
from davserver.state.base import Change, GateView, Numbers, Upload
from davserver.state.bindings import Bindings, Changes, moved_key
from davserver.state.gatelock import GateLock
from davserver.state.limits import StateLimits, patched
from davserver.state.lockindex import KeyTree, LockIndex
from davserver.state.offers import Stored
from davserver.state.rows import PRIVATE, refuse_overlap
from davserver.state.undo import MemoryUndoLogs
from davserver.state.usage import SharedNumbers, new_numbers

_EXPIRED_AT_ONCE = 500
_OPEN_WAIT_S = 5.0


class _Store:
    """Everything stored, and how to undo what is not committed. Safe across threads: `mutex` is
    held by every public call, for a bounded time."""

    def __init__(self, limits: StateLimits) -> None:
        self.mutex = threading.Lock()
        self.limits = limits
        self.index = LockIndex()
        self.changes: dict[str, Change] = {}
        self.uploads: dict[str, Upload] = {}
        self.bindings = Bindings()
        self.now = 0.0
        self._properties: dict[Key, dict[QName, bytes]] = {}
        self._tree = KeyTree()
        self._undo: list[Callable[[], object]] = []
        self.answers = MemoryAnswers(self._undo)
        self._numbers: dict[Key, SharedNumbers] = {}

    def numbers(self, scope: Key) -> SharedNumbers:
        return self._numbers.setdefault(scope, new_numbers())

    def other_numbers(self, scopes: Collection[Key]) -> list[SharedNumbers]:
        with self.mutex:
            return [self._numbers[scope] for scope in self._numbers.keys() - set(scopes)]

    def read(self, key: Key) -> dict[QName, bytes]:
        return dict(self._properties.get(key, ()))

    def keys(self) -> list[Key]:
        return [*self._tree, *self.index.keys()]

    def rooted(self, key: Key) -> list[Key]:
        """Returns what has properties, at `key` and below."""
        below = self._tree.beneath(key)
        return [key, *below] if key in self._properties else below

    def store(self, key: Key, properties: dict[QName, bytes]) -> None:
        """Replaces all properties of one resource; dicts that were given out never change."""
        old = self._properties.get(key)
        if old == properties or (old is None and not properties):
            return
        self._undo.append(lambda: self._store(key, old or {}))
        self._store(key, properties)

    def _store(self, key: Key, properties: dict[QName, bytes]) -> None:
        if not properties:
            del self._properties[key]
            self._tree.remove(key)
            return
        if key not in self._properties:
            self._tree.add(key)
        self._properties[key] = properties

    def put_lock(self, lock: Lock) -> None:
        old = self.index.remove(lock.token)
        self.index.put(lock)
        self._undo.append(lambda: self._put_back(lock.token, old))

    def remove_lock(self, token: str) -> None:
        old = self.index.remove(token)
        if old is not None:
            self._undo.append(lambda: self._put_back(token, old))

    def _put_back(self, token: str, old: Lock | None) -> None:
        self.index.remove(token)
        if old is not None:
            self.index.put(old)

    def store_change(self, id: str, change: Change | None) -> None:
        """Puts a journalled change, or removes it."""
        old = self.changes.get(id)
        self._undo.append(lambda: self._store_change(id, old))
        self._store_change(id, change)

    def store_upload(self, id: str, upload: Upload | None) -> None:
        """Puts an upload, or removes it."""
        old = self.uploads.get(id)
        self._undo.append(lambda: self._store_upload(id, old))
        self._store_upload(id, upload)

    def _store_upload(self, id: str, upload: Upload | None) -> None:
        if upload is None:
            self.uploads.pop(id, None)
        else:
            self.uploads[id] = upload

    def _store_change(self, id: str, change: Change | None) -> None:
        if change is None:
            self.changes.pop(id, None)
        else:
            self.changes[id] = change

    def bind(self, changes: Changes) -> None:
        old = self.bindings
        if not changes:
            return
        self._undo.append(partial(setattr, self, "bindings", old))
        self.bindings = old.changed(changes)

    def commit(self) -> None:
        self._undo.clear()

    def rollback(self) -> None:
        while self._undo:
            self._undo.pop()()


class _Reading:
    """The questions that can be asked with and without the gate."""

    def __init__(self, store: _Store) -> None:
        self._store = store

    def covering(self, key: Key, *, now: float) -> Sequence[Lock]:
        with self._store.mutex:
            self._store.now = now
            return self._store.index.covering(key, now, self._store.bindings.above(key))

    def beneath(self, key: Key, *, now: float) -> Sequence[Lock]:
        with self._store.mutex:
            self._store.now = now
            return self._store.index.beneath(key, now)

    def lock(self, token: str, *, now: float) -> Lock | None:
        with self._store.mutex:
            self._store.now = now
            return self._store.index.get(token, now)

    def numbers(self, scope: Key) -> Numbers:
        with self._store.mutex:
            return self._store.numbers(scope)

    @property
    def bindings(self) -> Bindings:
        return self._store.bindings

    def properties(self, key: Key) -> Mapping[QName, bytes]:
        with self._store.mutex:
            return self._store.read(key)

    def member_properties(
        self, parent: Key, names: Sequence[bytes]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        with self._store.mutex:
            found = {name: self._store.read(parent.child(name)) for name in names}
        return {name: properties for name, properties in found.items() if properties}

    def upload(self, id: str) -> Upload | None:
        with self._store.mutex:
            return self._store.uploads.get(id)

    def uploads(self) -> Sequence[Upload]:
        with self._store.mutex:
            return sorted(self._store.uploads.values(), key=lambda one: (one.expires_at, one.id))


class _View(_Reading):
    """A GateView. The mutex makes each call whole for readers outside the gate."""

    def add_lock(self, lock: Lock) -> None:
        store = self._store
        with store.mutex:
            store.index.pop_expired(store.now, _EXPIRED_AT_ONCE)
            store.index.check_limits(lock, store.limits, store.now)
            store.put_lock(lock)

    def refresh_lock(self, token: str, *, timeout_s: int, expires_at: float) -> Lock:
        store = self._store
        with store.mutex:
            old = store.index.get(token, store.now)
            if old is None:
                raise KeyError(token)
            lock = replace(old, timeout_s=timeout_s, expires_at=expires_at)
            store.put_lock(lock)
            return lock

    def remove_lock(self, token: str) -> None:
        with self._store.mutex:
            self._store.remove_lock(token)

    def remove_locks(self, key: Key, *, itself: bool = True) -> None:
        with self._store.mutex:
            self._remove_locks(key, itself=itself)

    def _remove_locks(self, key: Key, *, itself: bool = True) -> None:
        for lock in self._store.index.rooted(key, itself=itself):
            self._store.remove_lock(lock.token)

    def patch(self, key: Key, changes: Sequence[PropertyChange]) -> None:
        store = self._store
        with store.mutex:
            store.store(key, patched(store.read(key), changes, store.limits))

    def copy_properties(self, source: Key, target: Key, *, tree: bool) -> None:
        if source == target:
            return
        if tree:
            refuse_overlap(source, target)
        store = self._store
        with store.mutex:
            for key in store.rooted(target) if tree else [target]:
                store.store(key, {})
            for key in store.rooted(source) if tree else [source]:
                properties = store.read(key).items()
                public = {n: value for n, value in properties if not n.startswith(PRIVATE)}
                store.store(moved_key(key, source, target), public)

    def move_rows(self, source: Key, target: Key) -> None:
        store = self._store
        if source != target:
            refuse_overlap(source, target)
        with store.mutex:
            if source != target:
                for key in store.rooted(target):
                    store.store(key, {})
                for key in store.rooted(source):
                    store.store(moved_key(key, source, target), store.read(key))
                    store.store(key, {})
                store.bind(store.bindings.moved(source, target))
            self._remove_locks(source)

    def clear(self, key: Key, *, locks: bool = True) -> None:
        with self._store.mutex:
            for each in self._store.rooted(key):
                self._store.store(each, {})
            self._store.bind(dict.fromkeys(self._store.bindings.within(key), None))
            if locks:
                self._remove_locks(key)

    @property
    def answers(self) -> MemoryAnswers:
        return self._store.answers

    def keep_upload(self, upload: Upload) -> None:
        with self._store.mutex:
            self._store.store_upload(upload.id, upload)

    def remove_upload(self, id: str) -> None:
        with self._store.mutex:
            self._store.store_upload(id, None)

    def bind(self, changes: Changes) -> None:
        with self._store.mutex:
            self._store.bind(changes)

    def has_rows(self, key: Key) -> bool:
        with self._store.mutex:
            return bool(self._store.rooted(key))

    def keys_with_rows(self, key: Key) -> Sequence[Key]:
        with self._store.mutex:
            return self._store.rooted(key)

    def record(self, change: Change) -> None:
        with self._store.mutex:
            self._store.store_change(change.id, change)

    def remember(self, change: Change) -> None:
        with self._store.mutex:
            self._store.changes[change.id] = change

    def settle(self, change: Change) -> None:
        with self._store.mutex:
            self._store.store_change(change.id, None)

    def changes(self) -> Sequence[Change]:
        with self._store.mutex:
            return list(self._store.changes.values())

    def commit(self) -> None:
        with self._store.mutex:
            self._store.commit()

    def rollback(self) -> None:
        with self._store.mutex:
            self._store.rollback()


class MemoryState(_Reading):
    """A State for one process.

    Args:
        owner: this worker's id; random when None.
        limits: see StateLimits.
    """

    inline = True

    def __init__(self, *, owner: str | None = None, limits: StateLimits | None = None) -> None:
        super().__init__(_Store(StateLimits() if limits is None else limits))
        self._owner = secrets.token_hex(8) if owner is None else owner
        self._others: set[str] = set()
        self._gate = GateLock()
        self.undo = MemoryUndoLogs()
        self._has_left = False

    @property
    def owner(self) -> str:
        return self._owner

    def is_alive(self, owner: str) -> bool:
        """Nobody else shares this memory. (The memory storage asks nobody who is alive.)"""
        return (
            owner == self._owner
            or owner in self._others
            or any(upload.owner == owner for upload in self.uploads())
        )

    @contextmanager
    def another_owner(self) -> Iterator[str]:
        other = secrets.token_hex(8)
        self._others.add(other)
        try:
            yield other
        finally:
            self._others.discard(other)
            self._has_left |= any(c.owner == other for c in list(self._store.changes.values()))

    def hold(
        self,
        exclusive: Sequence[Key],
        shared: Sequence[Key] = (),
        *,
        wait_s: float,
        narrow: bool = False,
    ) -> AbstractContextManager[GateView]:
        """There is one gate for all keys."""
        return self._hold(wait_s)

    @contextmanager
    def _hold(self, wait_s: float) -> Iterator[GateView]:
        self._gate.acquire(wait_s)
        view = _View(self._store)
        try:
            yield view
        except BaseException:
            view.rollback()
            raise
        else:
            view.commit()
        finally:
            # Whoever makes a change settles it before it leaves.
            owners = {change.owner for change in self._store.changes.values()}
            self._has_left = bool(owners - self._others)
            self._gate.release()

    def keep_numbers(self, scopes: Callable[[], Collection[Key]]) -> None:
        if self._store.other_numbers(scopes()):
            with self._hold(_OPEN_WAIT_S):
                for numbers in self._store.other_numbers(scopes()):
                    numbers.forget()

    def settled(self, key: Key, *, now: float) -> Stored | None:
        if self._has_left:
            return None
        return Stored(self.properties(key), self.covering(key, now=now))

    def has_changes(self) -> bool:
        return self._has_left

    def keys_with_rows(self) -> Iterator[Key]:
        """Yields the resources that have properties or are lock roots."""
        with self._store.mutex:
            keys = self._store.keys()
        yield from keys

    def close(self) -> None:
        """Keeps everything: the memory goes with the object."""
