"""Workers that are in the gate at once, step by step in one thread: whatever comes between, each
knows what was committed, and no two locks that exclude each other are ever granted.

Every statement of a worker is a point where another one may go on, and where it may fail.
"""

from __future__ import annotations

import errno
import fcntl
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
import pytest

from davserver.errors import GateBusy, StateError, StateFailure, StateFull
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state import gatelock
from davserver.state.base import GateView
from davserver.state.sqlfile import Database
from davserver.state.sqlite import SqliteState

X = QName("{urn:t}x")
# Two of a name, which is one part of the gate; and what needs all of it, being a collection.
FILES = [Key("r", name) for name in (b"a", b"b", b"c", b"d/a", b"d/b")]
COLLECTIONS = [Key("r", b"d"), Key("r", b"")]
STEPS = 1_500


class Left(Exception):
    """Leaves the gate with nothing done."""


class Clock:
    """The gate's, which nobody waits for."""

    now = 1.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@dataclass
class Inside:
    """A worker in the gate, with what it has changed and not committed: None is gone."""

    key: Key
    gate: AbstractContextManager[GateView]
    view: GateView
    locks: dict[str, Lock | None] = field(default_factory=dict)
    properties: dict[Key, bytes] = field(default_factory=dict)


@dataclass
class World:
    """Some workers on one folder, and what each should know.

    Args:
        fails: how often a statement does, or the system's locking.
        between: how often another worker goes on before a statement.
    """

    folder: Path
    chance: random.Random
    fails: float
    between: float
    now: float = 1_000.0
    number: int = 0
    granted: int = 0
    locks: dict[str, Lock] = field(default_factory=dict)
    properties: dict[Key, bytes] = field(default_factory=dict)
    inside: dict[int, Inside] = field(default_factory=dict)
    is_looking: bool = False

    def __post_init__(self) -> None:
        self.workers = [SqliteState(self.folder, durability="none") for _ in range(3)]
        for worker in self.workers:
            worker.session()
        self.database = apsw.Connection(str(self.folder / "state.sqlite3"))
        self._busy: set[int] = set()

    def close(self) -> None:
        for who in list(self.inside):
            self._leave(who, Left())
        for worker in self.workers:
            worker.close()
        self.database.close()

    def step(self) -> None:
        """Something that one worker does which is not at something already."""
        who = self.chance.randrange(len(self.workers))
        if who in self._busy:
            return
        self._busy.add(who)
        try:
            self.now += self.chance.choice([0] * 20 + [1, 5])
            if who not in self.inside:
                self._enter(who)
            elif self.chance.random() < 0.3:
                self._leave(who, Left() if self.chance.random() < 0.25 else None)
            else:
                self._change(who)
        finally:
            self._busy.discard(who)

    def _enter(self, who: int) -> None:
        is_narrow = self.chance.random() < 0.8
        key = self.chance.choice(FILES if is_narrow else FILES + COLLECTIONS)
        gate = self.workers[who].hold(
            [key], wait_s=self.chance.choice([0, 0.003]), narrow=is_narrow
        )
        with suppress(StateError):
            self.inside[who] = Inside(key, gate, gate.__enter__())

    def _leave(self, who: int, error: BaseException | None) -> None:
        here = self.inside.pop(who)
        with suppress(StateError):
            here.gate.__exit__(None if error is None else type(error), error, None)
            if error is None:
                self._commit(here)

    def _commit(self, here: Inside) -> None:
        for token, lock in here.locks.items():
            self.locks.pop(token, None)
            if lock is not None:
                self.locks[token] = lock
        self.properties |= here.properties
        here.locks, here.properties = {}, {}

    def _change(self, who: int) -> None:
        here = self.inside[who]
        act = self.chance.choices(
            [self._lock, self._unlock, self._refresh, self._patch, self._commit_now],
            [30, 30, 10, 10, 10],
        )[0]
        try:
            act(here)
        except StateError as error:
            if "database is locked" in str(error):
                raise  # whoever changes rows is alone: for the database itself nobody waits
            self._leave(who, Left())

    def _commit_now(self, here: Inside) -> None:
        here.view.commit()
        self._commit(here)

    def _lock(self, here: Inside) -> None:
        """As LOCK does it: after a look at what covers the resource, and lies below it."""
        scope, depth = self.chance.choice(list(LockScope)), self.chance.choice(list(Depth)[::2])
        others = [*here.view.covering(here.key, now=self.now)]
        if depth is Depth.INFINITY:
            others += here.view.beneath(here.key, now=self.now)
        if others and LockScope.EXCLUSIVE in (scope, *(other.scope for other in others)):
            return
        self.number += 1
        ends_at = self.now + self.chance.choice([2, 20, 500])
        path = b"/" + here.key.path
        lock = Lock(str(self.number), here.key, path, scope, depth, b"", "ada", 9, ends_at)
        here.view.add_lock(lock)
        here.locks[lock.token] = lock
        self.granted += 1

    def _one_of(self, here: Inside) -> Lock | None:
        found = [lock for lock in self.known(here) if lock.key == here.key]
        return self.chance.choice(found) if found else None

    def _unlock(self, here: Inside) -> None:
        lock = self._one_of(here)
        if lock is not None:
            here.view.remove_lock(lock.token)
            here.locks[lock.token] = None

    def _refresh(self, here: Inside) -> None:
        lock = self._one_of(here)
        if lock is not None:
            new = here.view.refresh_lock(lock.token, timeout_s=9, expires_at=self.now + 9)
            here.locks[lock.token] = new

    def _patch(self, here: Inside) -> None:
        self.number += 1
        value = b"%d" % self.number
        here.view.patch(here.key, [PropertyChange(X, value)])
        here.properties[here.key] = value

    def known(self, here: Inside | None = None) -> list[Lock]:
        """Returns the locks that have not expired, for everybody or for who is inside."""
        locks: Mapping[str, Lock | None] = self.locks | ({} if here is None else here.locks)
        return [lock for lock in locks.values() if lock is not None and lock.expires_at > self.now]

    def look(self) -> None:
        """Not at every worker: who is asked catches up."""
        self.is_looking = True
        query = "SELECT token FROM locks WHERE expires_at > ?"
        stored = {token for (token,) in self.database.execute(query, (self.now,))}
        assert stored == {lock.token for lock in self.known()}
        for one, other in combinations(self.known(), 2):
            if one.covers(other.key) or other.covers(one.key):
                assert one.scope is other.scope is LockScope.SHARED, (one, other)
        for who, worker in enumerate(self.workers):
            here = self.inside.get(who)
            if here is not None and self.chance.random() < 0.5:
                self._compare(here.view.covering, self.known(here), [here.key])
            if self.chance.random() < 0.2:
                self._compare(worker.covering, self.known(), FILES + COLLECTIONS)
                for key in FILES:
                    assert worker.properties(key).get(X) == self.properties.get(key)
        self.is_looking = False

    def _compare(self, covering: Callable[..., Any], known: list[Lock], keys: list[Key]) -> None:
        for key in keys:
            found = {lock.token: lock for lock in covering(key, now=self.now)}
            assert found == {lock.token: lock for lock in known if lock.covers(key)}

    def fault(self) -> bool:
        return not self.is_looking and self.chance.random() < self.fails

    def is_interrupted(self) -> bool:
        return not self.is_looking and self.chance.random() < self.between


@contextmanager
def disturbed(world: World) -> Iterator[None]:
    """Statements and the system's locking fail, and others come between."""
    query, control = Database.query, fcntl.fcntl

    def disturb(self: Database, sql: str, bindings: Any = ()) -> Any:
        if world.is_interrupted():
            world.step()
        if sql != "ROLLBACK" and world.fault():
            if self.in_transaction and world.chance.random() < 0.5:
                query(self, "ROLLBACK")  # as SQLite does where the disk is full
            raise world.chance.choice([StateFull, StateFailure, GateBusy])("injected")
        return query(self, sql, bindings)

    def lock(fd: int, command: int, span: Any = 0) -> Any:
        if command == getattr(fcntl, "F_OFD_SETLK", None) and world.fault():
            raise OSError(errno.ENOLCK, "injected")
        return control(fd, command, span)

    with (
        mock.patch.object(Database, "query", disturb),
        mock.patch.object(fcntl, "fcntl", lock),
        mock.patch.object(gatelock, "time", Clock()),
    ):
        yield


@pytest.mark.security("Q-02", "Q-03")
@pytest.mark.parametrize(
    "seed", [*range(4), *(pytest.param(n, marks=pytest.mark.long) for n in range(4, 100))]
)
@pytest.mark.parametrize(
    ("fails", "between"), [(0.0, 0.1), (0.05, 0.05)], ids=["others", "failures"]
)
@pytest.mark.parametrize("platform", ["parts", "whole"])
def test_each_knows_what_was_committed_whatever_comes_between(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    fails: float,
    between: float,
    platform: str,
) -> None:
    if platform == "whole":
        monkeypatch.setattr(sys, "platform", "darwin")
    world = World(tmp_path / "state", random.Random(seed), fails, between)
    try:
        with disturbed(world):
            for _ in range(STEPS):
                world.step()
                world.look()
    finally:
        world.close()

    assert world.granted > 5
