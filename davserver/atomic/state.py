"""The state for who holds the gate already: what many requests do to it is one transaction."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from davserver.errors import StateError, StateFailure
from davserver.protocol.locks import Lock
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state.base import (
    Answers,
    Change,
    GateView,
    Numbers,
    State,
    Tally,
    UndoLogs,
    Upload,
    Usage,
)
from davserver.state.bindings import Bindings, Changes


class HeldView:
    """A GateView within another. What is committed here lasts until the other one is: nothing of it
    can be taken back alone.

    Args:
        own: id of the change that all of this is part of, which nobody is to recover meanwhile.

    Attributes:
        view: the other one.
    """

    def __init__(self, view: GateView, own: str) -> None:
        self.view = view
        self._own = own
        self._error: StateError | None = None
        self._is_dirty = False
        self._numbers: dict[Key, HeldNumbers] = {}

    @contextmanager
    def _changing(self) -> Iterator[GateView]:
        self._is_dirty = True
        yield self.view

    def covering(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self.view.covering(key, now=now)

    def beneath(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self.view.beneath(key, now=now)

    def lock(self, token: str, *, now: float) -> Lock | None:
        return self.view.lock(token, now=now)

    def numbers(self, scope: Key) -> Numbers:
        if scope not in self._numbers:
            self._numbers[scope] = HeldNumbers(self.view.numbers(scope))
        return self._numbers[scope]

    def properties(self, key: Key) -> Mapping[QName, bytes]:
        return self.view.properties(key)

    def member_properties(
        self, parent: Key, names: Sequence[bytes]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        return self.view.member_properties(parent, names)

    @property
    def answers(self) -> Answers:
        return self.view.answers

    @property
    def bindings(self) -> Bindings:
        return self.view.bindings

    def bind(self, changes: Changes) -> None:
        with self._changing() as view:
            view.bind(changes)

    def upload(self, id: str) -> Upload | None:
        return self.view.upload(id)

    def uploads(self) -> Sequence[Upload]:
        return self.view.uploads()

    def keep_upload(self, upload: Upload) -> None:
        with self._changing() as view:
            view.keep_upload(upload)

    def remove_upload(self, id: str) -> None:
        with self._changing() as view:
            view.remove_upload(id)

    def has_rows(self, key: Key) -> bool:
        return self.view.has_rows(key)

    def keys_with_rows(self, key: Key) -> Sequence[Key]:
        return self.view.keys_with_rows(key)

    def add_lock(self, lock: Lock) -> None:
        with self._changing() as view:
            view.add_lock(lock)

    def refresh_lock(self, token: str, *, timeout_s: int, expires_at: float) -> Lock:
        with self._changing() as view:
            return view.refresh_lock(token, timeout_s=timeout_s, expires_at=expires_at)

    def remove_lock(self, token: str) -> None:
        with self._changing() as view:
            view.remove_lock(token)

    def remove_locks(self, key: Key, *, itself: bool = True) -> None:
        with self._changing() as view:
            view.remove_locks(key, itself=itself)

    def patch(self, key: Key, changes: Sequence[PropertyChange]) -> None:
        with self._changing() as view:
            view.patch(key, changes)

    def copy_properties(self, source: Key, target: Key, *, tree: bool) -> None:
        with self._changing() as view:
            view.copy_properties(source, target, tree=tree)

    def move_rows(self, source: Key, target: Key) -> None:
        with self._changing() as view:
            view.move_rows(source, target)

    def clear(self, key: Key, *, locks: bool = True) -> None:
        with self._changing() as view:
            view.clear(key, locks=locks)

    def record(self, change: Change) -> None:
        with self._changing() as view:
            view.record(change)

    def remember(self, change: Change) -> None:
        self._error = StateFailure("there is no room to journal it")

    def settle(self, change: Change) -> None:
        with self._changing() as view:
            view.settle(change)

    def changes(self) -> Sequence[Change]:
        return tuple(change for change in self.view.changes() if change.id != self._own)

    def commit(self) -> None:
        self._is_dirty = False

    def rollback(self) -> None:
        if self._is_dirty:
            why = sys.exception()  # that made somebody call this
            if not isinstance(why, StateError):
                why = StateFailure("a part cannot be undone alone")
            self._error = why

    def require_whole(self) -> None:
        """Raises StateError for what keeps all of this from being committed."""
        if self._error is not None:
            raise self._error

    def take_back_numbers(self) -> None:
        """Everything is as it was. Raises StateError."""
        for numbers in self._numbers.values():
            numbers.take_back()

    def doubt_numbers(self) -> None:
        """Something was left half done. Raises StateError."""
        for numbers in self._numbers.values():
            numbers.doubt()


@dataclass(slots=True)
class HeldNumbers:
    """Numbers that can be made again what they were."""

    inner: Numbers
    growth: int = 0

    def read(self) -> Usage:
        return self.inner.read()

    @property
    def counts(self) -> int:
        return self.inner.counts

    def change(self, *, added: int = 0, removed: int = 0, moves: int = 0) -> None:
        self.inner.change(added=added, removed=removed, moves=moves)
        self.growth += added - removed

    def doubt(self) -> None:
        self.inner.doubt()

    def begin(self, *, before: float) -> Tally | None:
        return self.inner.begin(before=before)

    def end(self, tally: Tally, total: int, *, now: float, anyhow: bool = False) -> bool:
        return self.inner.end(tally, total, now=now, anyhow=anyhow)

    def give_up(self) -> None:
        self.inner.give_up()

    def take_back(self) -> None:
        """A count that is under way may have seen what was there meanwhile."""
        growth, self.growth = self.growth, 0
        self.inner.change(added=max(0, -growth), removed=max(0, growth), moves=1)


class HeldState:
    """A State whose gate is held, by this thread. Questions are answered as in the gate."""

    def __init__(self, state: State, view: HeldView) -> None:
        self._state = state
        self._view = view

    @property
    def inline(self) -> bool:
        return self._state.inline

    @property
    def owner(self) -> str:
        return self._state.owner

    @property
    def undo(self) -> UndoLogs:
        return self._state.undo

    def is_alive(self, owner: str) -> bool:
        return self._state.is_alive(owner)

    def another_owner(self) -> AbstractContextManager[str]:
        return self._state.another_owner()

    @contextmanager
    def hold(
        self,
        exclusive: Sequence[Key],
        shared: Sequence[Key] = (),
        *,
        wait_s: float,
        narrow: bool = False,
    ) -> Iterator[GateView]:
        """It is held already."""
        try:
            yield self._view
        except BaseException:
            self._view.rollback()
            raise
        self._view.commit()

    def covering(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self._view.covering(key, now=now)

    def beneath(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self._view.beneath(key, now=now)

    def lock(self, token: str, *, now: float) -> Lock | None:
        return self._view.lock(token, now=now)

    def numbers(self, scope: Key) -> Numbers:
        return self._view.numbers(scope)

    def properties(self, key: Key) -> Mapping[QName, bytes]:
        return self._view.properties(key)

    def member_properties(
        self, parent: Key, names: Sequence[bytes]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        return self._view.member_properties(parent, names)

    @property
    def bindings(self) -> Bindings:
        return self._view.bindings

    def upload(self, id: str) -> Upload | None:
        return self._view.upload(id)

    def uploads(self) -> Sequence[Upload]:
        return self._view.uploads()

    def keep_numbers(self, scopes: Callable[[], Collection[Key]]) -> None:
        """Whoever starts does."""

    def has_changes(self) -> bool:
        """Who holds the gate has recovered what there was."""
        return False

    def close(self) -> None:
        """The other one stays open."""
