"""What a worker knows of the store without asking: locks and journalled changes, kept in step.

A count in shared memory tells that nobody committed, SQLite's `data_version` where that cannot.
When somebody did, only the rows of the table `changes` past the last one seen are read. A worker's
own writes enter at once, so that it sees them inside the gate; a rollback makes the mirror stale,
and it is read anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.names import QName
from davserver.protocol.path import Key
from davserver.state import rows
from davserver.state.base import Change
from davserver.state.bindings import BINDING, Bindings, load_bindings, load_some_bindings
from davserver.state.commitcount import CommitCount
from davserver.state.lockindex import LockIndex
from davserver.state.offers import Stored
from davserver.state.rows import Reader, Row, Value

logger = logging.getLogger(__name__)

LOCK = "lock"
INTENT = "intent"
# Past this many the table is as quick to read whole.
_MOST_CHANGES = 1_000
# Resources whose properties are remembered, and bytes of one's.
_REMEMBERED = 4_096
_REMEMBERED_BYTES = 512
_COLUMNS = (
    "token, root, path, href, scope, depth, owner_xml, principal, timeout_s, expires_at FROM locks"
)


def lock_row(lock: Lock) -> tuple[Value, ...]:
    """Returns the values of a row of the table `locks`."""
    return (
        lock.token,
        *lock.key,
        lock.href,
        lock.scope.value,
        lock.depth.value,
        lock.owner_xml,
        lock.principal,
        lock.timeout_s,
        lock.expires_at,
    )


def _lock(row: Row) -> Lock:
    token, root, path, href, scope, depth, owner_xml, principal, timeout_s, expires_at = row
    return Lock(
        token=token,
        key=Key(root, path),
        href=href,
        scope=LockScope(scope),
        depth=Depth(depth),
        owner_xml=owner_xml,
        principal=principal,
        timeout_s=timeout_s,
        expires_at=expires_at,
    )


def _locks(found: Iterable[Row]) -> Iterator[Lock]:
    for row in found:
        try:
            yield _lock(row)
        except ValueError as error:
            logger.error("a lock is damaged, and passed over: %s", error)


def _covers(key: Key, above: frozenset[Key] | None, lock: Lock) -> bool:
    if above is None or lock.key == key:
        return lock.covers(key)
    return lock.depth is Depth.INFINITY and lock.key in above


def _is_beneath(key: Key, lock: Lock) -> bool:
    return lock.key != key and key.covers(lock.key)


class Mirror:
    """Safe across threads; every section is short, so that the event loop may take it.

    Attributes:
        mutex: guards the reader and everything here.
        index: the locks. Hold `mutex`.
        commits: how many there were, by anybody.
        intents: id to owner of every journalled change. Hold `mutex`.
        loads: how often all of this was read anew, or became doubtful. Hold `mutex`.
        bindings: as they were committed.
        unwritten: changes of this worker, by id, that there was no room for. In the gate only.
        now: when somebody last asked, in seconds since the epoch.
    """

    def __init__(self, reader: Reader, commits: CommitCount) -> None:
        self.mutex = threading.Lock()
        self.commits = commits
        self.index = LockIndex()
        self.intents: dict[str, str] = {}
        self.bindings = Bindings()
        self.unwritten: dict[str, Change] = {}
        self.now = 0.0
        self.loads = 0
        self._reader = reader
        self._version: int | None = None
        self._count: int | None = None
        self._seq = 0
        self._properties: dict[Key, Mapping[QName, bytes]] = {}
        self._is_bare: bool | None = None
        # By token, as they were committed: locks that `index` has otherwise, or not, by now.
        self._committed: dict[str, Lock | None] = {}

    @property
    def is_fresh(self) -> bool:
        """False while a rollback makes everything here doubtful."""
        return self._version is not None

    def attach(self, reader: Reader) -> None:
        """Reads from another database from now on. Hold `mutex`."""
        self._reader = reader
        self._version = None
        self._properties.clear()
        self._is_bare = None
        self._committed.clear()
        self.refresh()

    def refresh(self) -> None:
        """Catches up with what was committed. Hold `mutex`."""
        count = self.commits.read()
        if count is not None and count == self._count and self._version is not None:
            return
        self._properties.clear()
        self._is_bare = None
        if self._committed and self._version is not None:
            # Who writes is in the gate, and that is this worker: has it committed?
            if self._newest() >= self._seq:
                self._committed.clear()
        else:
            self._follow(is_told=count is not None)
        # Only now: a failure above is tried again. It is the count of before the question, so that
        # what is committed after it is asked about again.
        self._count = count

    def _follow(self, *, is_told: bool) -> None:
        """Reads what others have committed; `is_told`: the count says that somebody has."""
        version = self._version
        if version is None or not is_told:
            version = self._reader.data_version()
            if version == self._version:
                return
        if self._version is None or not self._catch_up():
            self._load()
        self._version = version  # what is committed meanwhile moves it further

    def invalidate(self) -> None:
        """After a rollback: what is here was perhaps never true."""
        with self.mutex:
            self._doubt()

    def _doubt(self) -> None:
        self.loads += 1
        self._version = None
        self._committed.clear()

    def put(self, lock: Lock, seq: int) -> None:
        """Enters a lock that is not committed yet, and of which the row `seq` of `changes` tells.
        In the gate; hold `mutex`."""
        self._seq = seq
        self._keep_committed(lock.token)
        self.index.put(lock)

    def remove(self, token: str, seq: int) -> None:
        """Takes a lock out, as `put` enters one."""
        self._seq = seq
        self._keep_committed(token)
        self.index.remove(token)

    def _keep_committed(self, token: str) -> None:
        if token not in self._committed:
            self._committed[token] = self.index.get(token, float("-inf"))

    def committed(
        self,
        loads: int,
        properties: Mapping[Key, Mapping[QName, bytes]] | None,
        bound: Bindings | None,
    ) -> None:
        """What was entered is committed: from now on it counts for everybody. Still in the gate:
        nobody else has committed since it was entered, so that there is nothing to catch up with.

        Args:
            loads: as it was when the transaction began.
            properties: of the resources whose properties it has changed; None: of many.
            bound: all bindings; None: as they were.
        """
        with self.mutex:
            if self._version is None or self.loads != loads:
                # It was read anew meanwhile, without what was entered.
                self._doubt()
                return
            self._committed.clear()
            if bound is not None:
                self.bindings = bound
            self._count = self.commits.read()
            if properties is None:
                self._properties.clear()
            else:
                for key, found in properties.items():
                    self._keep(key, found)
            if properties is None or properties:
                self._is_bare = None

    def written(self, seq: int) -> None:
        """A row of `changes` that this worker wrote itself and has entered here. Hold `mutex`."""
        self._seq = seq

    def _load(self) -> None:
        self.loads += 1
        # First the number: what is committed in between is then read twice, not missed.
        newest = self._newest()
        self.index = LockIndex(_locks(self._reader.query(f"SELECT {_COLUMNS}")))
        self._load_intents()
        self.bindings = load_bindings(self._reader)
        self._seq = newest

    def _newest(self) -> int:
        """Returns the number of the last change that anybody has committed."""
        newest: int = self._reader.query("SELECT coalesce(max(seq), 0) FROM changes")[0][0]
        return newest

    def _load_intents(self) -> None:
        self.intents = dict(self._reader.query("SELECT id, owner FROM intents"))

    def _catch_up(self) -> bool:
        """False when too much happened, or what happened is pruned already."""
        changes = self._reader.query(
            "SELECT seq, root, path, kind FROM changes WHERE seq > ? ORDER BY seq LIMIT ?",
            (self._seq, _MOST_CHANGES),
        )
        if not changes:
            return True
        if changes[0][0] != self._seq + 1 or len(changes) == _MOST_CHANGES:
            return False
        for root, path in {(row[1], row[2]) for row in changes if row[3] == LOCK}:
            here = f"SELECT {_COLUMNS} WHERE root = ? AND path = ?"
            self.index.replace(Key(root, path), _locks(self._reader.query(here, (root, path))))
        if any(row[3] == INTENT for row in changes):
            self._load_intents()
        rebound = {Key(row[1], row[2]) for row in changes if row[3] == BINDING}
        if rebound:
            self.bindings = self.bindings.changed(load_some_bindings(self._reader, rebound))
        self._seq = changes[-1][0]
        return True

    def covering(self, key: Key, *, now: float) -> Sequence[Lock]:
        with self.mutex:
            self.now = now
            self.refresh()
            above = self.bindings.above
            found = self.index.covering(key, now, above(key)) if self.index else ()
            if self._committed:
                each = above(key)
                all_above = None if each is None else frozenset(each)
                return self._as_committed(found, partial(_covers, key, all_above), now)
            return found

    def covering_inside(self, key: Key, now: float, bound: Bindings) -> Sequence[Lock]:
        """As `covering`, inside the gate, where nobody else changes what covers the resource;
        `bound` is what is bound there."""
        with self.mutex:
            self.now = now
            return self.index.covering(key, now, bound.above(key)) if self.index else ()

    def beneath(self, key: Key, *, now: float, fresh: bool = True) -> Sequence[Lock]:
        with self.mutex:
            self.now = now
            if fresh:
                self.refresh()
            found = self.index.beneath(key, now) if self.index else ()
            if fresh and self._committed:
                is_beneath = partial(_is_beneath, key)
                return self._as_committed(found, is_beneath, now)
            return found

    def _as_committed(
        self, found: Sequence[Lock], is_asked_for: Callable[[Lock], bool], now: float
    ) -> Sequence[Lock]:
        before = [lock for lock in self._committed.values() if lock and is_asked_for(lock)]
        return [
            *(lock for lock in found if lock.token not in self._committed),
            *(lock for lock in before if lock.expires_at > now),
        ]

    def lock(self, token: str, *, now: float, fresh: bool = True) -> Lock | None:
        with self.mutex:
            self.now = now
            if fresh:
                self.refresh()
            if fresh and token in self._committed:
                before = self._committed[token]
                return before if before is not None and before.expires_at > now else None
            return self.index.get(token, now)

    def properties(self, key: Key) -> Mapping[QName, bytes]:
        """Remembered until somebody else commits; mostly there are none."""
        with self.mutex:
            self.refresh()
            found = self._properties.get(key)
            count = self._count
        if found is not None:
            return found
        found = rows.read(self, key)
        with self.mutex:
            # A commit since the count was read may be in what was found, or not.
            if count is not None and self._count == count:
                self._keep(key, found)
        return found

    def stored(self, key: Key, *, now: float) -> Stored:
        """Returns the properties of a resource and the locks that cover it."""
        with self.mutex:
            self.now = now
            self.refresh()
            found = self._properties.get(key)
            if found is not None and not self.index and not self._committed:
                return Stored(found, ())
        return Stored(self.properties(key), self.covering(key, now=now))

    def _keep(self, key: Key, found: Mapping[QName, bytes]) -> None:
        if sum(map(len, found.values())) > _REMEMBERED_BYTES:
            self._properties.pop(key, None)
            return
        if len(self._properties) >= _REMEMBERED:
            self._properties.clear()
        self._properties[key] = found

    def has_no_properties(self) -> bool:
        """True when no resource at all has any."""
        with self.mutex:
            self.refresh()
            return self._has_no_properties()

    def _has_no_properties(self) -> bool:
        if self._is_bare is None:
            found = self._reader.query("SELECT EXISTS(SELECT 1 FROM properties)")
            self._is_bare = not found[0][0]
        return self._is_bare

    def knows_nothing(self) -> bool:
        """True when there are no properties, no locks and no bindings at all. In the gate, before
        anything is changed."""
        with self.mutex:
            if self._version is None:
                self.refresh()
            return not self.index and not self.bindings and self._has_no_properties()

    def member_properties(
        self, parent: Key, names: Sequence[bytes]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        return rows.read_members(self, parent, names)

    def query(self, sql: str, bindings: Sequence[Value] = ()) -> list[Row]:
        """Runs one statement on the reader."""
        with self.mutex:
            return self._reader.query(sql, bindings)

    def keys(self) -> Iterator[Key]:
        """Yields what has properties, then the lock roots, never holding `mutex` meanwhile."""
        yield from rows.keys(self)
        with self.mutex:
            self.refresh()
            roots = self.index.keys()
        yield from roots

    def locks(self) -> list[Lock]:
        """Returns every lock, expired ones too."""
        with self.mutex:
            self.refresh()
            return list(self.index)

    def fresh_bindings(self) -> Bindings:
        """Returns the bindings, as anybody has committed them."""
        with self.mutex:
            self.refresh()
            return self.bindings

    def owners_of_changes(self) -> set[str]:
        """Returns who has a change journalled."""
        with self.mutex:
            self.refresh()
            return set(self.intents.values()) if self.intents else set()
