"""The gate's view of the SQL store: mutations are one transaction, begun by the first of them.

From then on nobody else writes: the caller has all of the gate, or the part of the resource whose
locks are changed. A gate in which nothing is changed costs no SQL.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import replace

from davserver.errors import StateError, StateFailure, StateFull
from davserver.protocol.locks import Lock
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state import rows, uploads
from davserver.state.answers import SqlAnswers
from davserver.state.base import Change, Numbers, Upload
from davserver.state.bindings import BINDING, Bindings, Changes, store_bindings
from davserver.state.gatelock import part_of
from davserver.state.journal import dump_steps, load_steps
from davserver.state.limits import StateLimits, patched
from davserver.state.mirror import INTENT, LOCK, lock_row
from davserver.state.rows import Row, Value
from davserver.state.session import Session

logger = logging.getLogger(__name__)

# Rows of `changes` that stay for workers that have not looked for a while, and how often the
# older ones go.
_CHANGES_KEPT = 8_192
_PRUNE_EVERY = 1_024
_DELETE_LOCK = "DELETE FROM locks WHERE root = ? AND path = ? AND token = ?"
# Expired locks that one write clears away: bounds its time.
_EXPIRED_AT_ONCE = 500


class SqlView:
    """A GateView; of use to one thread, until `finish`."""

    # As it is until something is changed, which mostly nothing is.
    _begun = False
    _failed: StateError | None = None
    _dirty_mirror = False
    _loads = 0
    # The properties that this transaction leaves, of each resource where it changes some;
    # None: there are more than it knows of.
    _properties: dict[Key, Mapping[QName, bytes]] | None = None
    _settled: tuple[str, ...] = ()
    _bindings: Bindings | None = None

    def __init__(self, session: Session, limits: StateLimits, clock: Callable[[], float]) -> None:
        self._session = session
        self._db = session.writer
        self._mirror = session.mirror
        self._limits = limits
        self._clock = clock

    def numbers(self, scope: Key) -> Numbers:
        return self._session.usage.of(scope)

    def query(self, sql: str, bindings: Sequence[Value] = ()) -> list[Row]:
        """Runs one statement; when it fails, nothing of this transaction can be committed.

        Nor is anything more done in it: SQLite has perhaps undone it all, and would commit each
        statement on its own."""
        if self._begun and self._failed is not None:
            raise type(self._failed)(str(self._failed))
        try:
            return self._db.query(sql, bindings)
        except StateError as error:
            self._failed = error
            raise

    def covering(self, key: Key, *, now: float) -> Sequence[Lock]:
        mirror = self._mirror
        bound = mirror.bindings if self._bindings is None else self._bindings
        return mirror.covering_inside(key, now, bound)

    def beneath(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self._mirror.beneath(key, now=now, fresh=False)

    def lock(self, token: str, *, now: float) -> Lock | None:
        return self._mirror.lock(token, now=now, fresh=False)

    @property
    def bindings(self) -> Bindings:
        return self._mirror.bindings if self._bindings is None else self._bindings

    def bind(self, changes: Changes) -> None:
        if not changes:
            return
        self._begin()
        store_bindings(self, changes)
        with self._mirror.mutex:
            self._dirty_mirror = True
        self._bindings = self.bindings.changed(changes)
        self._log(changes, BINDING)

    def properties(self, key: Key) -> Mapping[QName, bytes]:
        # Nobody else changes them meanwhile: until this one writes, the mirror knows as much.
        return rows.read(self, key) if self._begun else self._mirror.properties(key)

    def member_properties(
        self, parent: Key, names: Sequence[bytes]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        return rows.read_members(self, parent, names)

    def has_rows(self, key: Key) -> bool:
        if not self._begun and self._mirror.has_no_properties():
            return False
        return rows.has_rows(self, key)

    def keys_with_rows(self, key: Key) -> Sequence[Key]:
        return rows.keys_at(self, key)

    def add_lock(self, lock: Lock) -> None:
        self._begin(lock.key)
        mirror = self._mirror
        with mirror.mutex:
            mirror.index.check_limits(lock, self._limits, mirror.now)
        self.query("INSERT INTO locks VALUES(?,?,?,?,?,?,?,?,?,?)", lock_row(lock))
        self._put(lock)

    def refresh_lock(self, token: str, *, timeout_s: int, expires_at: float) -> Lock:
        with self._mirror.mutex:
            old = self._mirror.index.get(token, self._mirror.now)
        if old is None:
            raise KeyError(token)
        self._begin(old.key)
        lock = replace(old, timeout_s=timeout_s, expires_at=expires_at)
        # It may have been cleared away just now, as one that expired.
        self.query("INSERT OR REPLACE INTO locks VALUES(?,?,?,?,?,?,?,?,?,?)", lock_row(lock))
        self._put(lock)
        return lock

    def remove_lock(self, token: str) -> None:
        with self._mirror.mutex:
            lock = self._mirror.index.get(token, float("-inf"))
        if lock is not None:
            self._drop([lock])

    def remove_locks(self, key: Key, *, itself: bool = True) -> None:
        with self._mirror.mutex:
            doomed = self._mirror.index.rooted(key, itself=itself) if self._mirror.index else []
        if doomed:
            self._drop(doomed)

    def patch(self, key: Key, changes: Sequence[PropertyChange]) -> None:
        before = self.properties(key)
        after = patched(before, changes, self._limits)
        if after != before:
            self._begin()
            rows.write(self, key, before, after)
            if self._properties is not None:
                self._properties[key] = after

    def copy_properties(self, source: Key, target: Key, *, tree: bool) -> None:
        if source == target:
            return
        if tree:
            rows.refuse_overlap(source, target)
        if not (self.has_rows(source) or self.has_rows(target)):
            return
        self._begin()
        self._properties = None
        if tree:
            rows.delete_tree(self, target)
            rows.copy_tree(self, source, target)
        else:
            rows.delete(self, target)
            rows.copy(self, source, target)

    def move_rows(self, source: Key, target: Key) -> None:
        if source != target:
            rows.refuse_overlap(source, target)
            if self.has_rows(source) or self.has_rows(target):
                self._begin()
                self._properties = None
                rows.delete_tree(self, target)
                rows.move_tree(self, source, target)
            self.bind(self.bindings.moved(source, target))
        self.remove_locks(source)

    def clear(self, key: Key, *, locks: bool = True) -> None:
        if not self._begun and self._mirror.knows_nothing():
            return
        if self.has_rows(key):
            self._begin()
            self._properties = None
            rows.delete_tree(self, key)
        self.bind(dict.fromkeys(self.bindings.within(key), None))
        if locks:
            self.remove_locks(key)

    @property
    def answers(self) -> SqlAnswers:
        return SqlAnswers(self, self._begin)

    def upload(self, id: str) -> Upload | None:
        return uploads.find(self, id)

    def uploads(self) -> Sequence[Upload]:
        return uploads.find_all(self)

    def keep_upload(self, upload: Upload) -> None:
        self._begin()
        uploads.put(self, upload)

    def remove_upload(self, id: str) -> None:
        self._begin()
        uploads.remove(self, id)

    def record(self, change: Change) -> None:
        self._begin()
        self.query(
            "INSERT INTO intents VALUES(?,?,?,?,?)",
            (change.id, change.root, change.owner, dump_steps(change.steps), self._clock()),
        )
        with self._mirror.mutex:
            self._dirty_mirror = True
            self._mirror.intents[change.id] = change.owner
        self._log([Key(change.root, b"")], INTENT)

    def remember(self, change: Change) -> None:
        self._mirror.unwritten[change.id] = change

    def settle(self, change: Change) -> None:
        if change.id in self._mirror.unwritten:
            self._settled += (change.id,)
            return
        with self._mirror.mutex:
            if change.id not in self._mirror.intents:
                return
        self._begin()
        self.query("DELETE FROM intents WHERE id = ?", (change.id,))
        with self._mirror.mutex:
            self._dirty_mirror = True
            del self._mirror.intents[change.id]
        self._log([Key(change.root, b"")], INTENT)

    def changes(self) -> Sequence[Change]:
        mirror = self._mirror
        unwritten = tuple(mirror.unwritten.values()) if mirror.unwritten else ()
        # Nobody but who is in the gate journals anything.
        if not mirror.intents:
            return unwritten
        found = self.query("SELECT id, root, owner, steps FROM intents ORDER BY created, id")
        changes = []
        for id, root, owner, steps in found:
            try:
                changes.append(Change(id, root, owner, load_steps(steps)))
            except StateFailure as error:
                # Nobody can finish it; everything else is served all the same.
                logger.error("change %s of worker %s: %s", id, owner, error)
        return [*changes, *unwritten]

    def commit(self) -> None:
        if self._begun:
            self._commit()
        for each in self._settled:
            del self._mirror.unwritten[each]
        self._settled = ()

    def _commit(self) -> None:
        if self._failed is None and not self._db.in_transaction:
            raise StateFailure("a write to the state has failed, and what came with it is undone")
        self._mirror.commits.begin()
        try:
            self.query("COMMIT")
        finally:
            self._mirror.commits.end()
        self._mirror.committed(self._loads, self._properties, self._bindings)
        self._forget()

    def _forget(self) -> None:
        self._bindings = None
        self._begun = self._dirty_mirror = False
        self._properties = None

    def rollback(self) -> None:
        """Undoes what was not committed: who goes on in the gate sees nothing of it."""
        dirty, is_full = self._dirty_mirror, isinstance(self._failed, StateFull)
        self._forget()
        self._failed = None
        self._settled = ()
        try:
            if self._db.in_transaction:
                self._db.query("ROLLBACK")
            if is_full:
                self._make_room()
        finally:
            if dirty:
                self._mirror.invalidate()
        if dirty:
            # In the gate nobody looks whether it is doubtful.
            with self._mirror.mutex:
                self._mirror.refresh()

    def _make_room(self) -> None:
        """The log may hold pages many times over; what is in it is put where it belongs."""
        with suppress(StateError):
            self._db.query("PRAGMA wal_checkpoint(TRUNCATE)")

    def _begin(self, *keys: Key) -> None:
        """Begins the transaction, where it is not yet.

        Args:
            keys: locks of these are what is changed; none: it is something else.
        """
        if not self._session.gate.is_whole:
            self._make_way({part_of(key) for key in keys})
        if self._begun:
            return
        db, mirror = self._db, self._mirror
        if db.in_transaction:
            db.query("ROLLBACK")  # one that failed before us
        db.query("BEGIN IMMEDIATE")
        self._begun, self._failed, self._properties = True, None, {}
        with mirror.mutex:
            self._loads = mirror.loads
            expired = mirror.index.pop_expired(mirror.now, _EXPIRED_AT_ONCE) if mirror.index else ()
            self._dirty_mirror = bool(expired)
        # Other workers need no telling: they pass over expired locks, too.
        for lock in expired:
            self.query(_DELETE_LOCK, (*lock.key, lock.token))

    def _make_way(self, parts: Set[int | None]) -> None:
        """Sees to it that nobody else changes rows."""
        self._session.gate.enter_rows(next(iter(parts)) if len(parts) == 1 else None)
        with self._mirror.mutex:
            # Until now others may have done so: of other resources.
            self._mirror.refresh()

    def _put(self, lock: Lock) -> None:
        seq = self._tell(lock.key, LOCK)
        with self._mirror.mutex:
            self._dirty_mirror = True
            self._mirror.put(lock, seq)

    def _drop(self, locks: Sequence[Lock]) -> None:
        self._begin(*(lock.key for lock in locks))
        for lock in locks:
            self.query(_DELETE_LOCK, (*lock.key, lock.token))
        seq = 0
        for key in {lock.key for lock in locks}:
            seq = self._tell(key, LOCK)
        with self._mirror.mutex:
            self._dirty_mirror = True
            for lock in locks:
                self._mirror.remove(lock.token, seq)

    def _log(self, keys: Iterable[Key], kind: str) -> None:
        """Tells the other workers' mirrors what to read again."""
        for key in keys:
            seq = self._tell(key, kind)
            with self._mirror.mutex:
                self._mirror.written(seq)

    def _tell(self, key: Key, kind: str) -> int:
        """Returns the number of the row that tells of a change; the mirror is to be told it."""
        self.query("INSERT INTO changes(root, path, kind) VALUES(?,?,?)", (*key, kind))
        seq = self._db.last_row_id()
        if seq % _PRUNE_EVERY == 0:
            self.query("DELETE FROM changes WHERE seq <= ?", (seq - _CHANGES_KEPT,))
        return seq
