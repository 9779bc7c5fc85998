"""The state in one SQLite database, shared by any number of worker processes on one machine.

The folder holds `state.sqlite3`, `gate` (an flock), `owners/` (one flock a worker), and what
serving.py keeps. Everything is opened on first use, so that nothing crosses a fork.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from davserver.errors import GateBusy, StateFailure
from davserver.protocol.locks import Lock
from davserver.protocol.names import QName
from davserver.protocol.path import Key
from davserver.state import uploads
from davserver.state.base import GateView, Numbers, Upload
from davserver.state.bindings import Bindings
from davserver.state.commitcount import CommitCount
from davserver.state.gatelock import GateLock
from davserver.state.limits import StateLimits
from davserver.state.mirror import Mirror
from davserver.state.offers import Stored
from davserver.state.owners import Owner, another_owner
from davserver.state.served import OtherFolder, Served
from davserver.state.serving import Serving
from davserver.state.sqlfile import (
    FILE,
    CorruptState,
    Database,
    NotMade,
    inode_of,
    prepare,
    set_aside,
    size_in,
    sync_folder,
)
from davserver.state.sqlview import SqlView
from davserver.state.undo import UndoFolder
from davserver.state.usage import UsageFolder

_OPEN_WAIT_S = 5.0


class _Session:
    """What one process has open."""

    def __init__(self, folder: Path, *, full: bool) -> None:
        self.pid = os.getpid()
        self._path = folder / FILE
        self._name = str(self._path)
        self._full = full
        self.has_left = False
        with contextlib.ExitStack() as undo:
            try:
                if not folder.is_dir():
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    sync_folder(folder.parent)
                self.owners = folder / "owners"
                self.owner = Owner(self.owners)
                undo.callback(self.owner.close)
                self.gate = GateLock(folder / "gate")
                undo.callback(self.gate.close)
                self.commits = CommitCount(folder / "commits")
                undo.callback(self.commits.close)
                self.usage = UsageFolder(folder / "usage", self.owner.id, self.owner.is_alive)
                self.owner.forget_dead()
            except OSError as exc:
                raise StateFailure(f"the state folder cannot be used: {exc}") from exc
            self._open()
            self.mirror = Mirror(self._reader, self.commits)
            with self.mirror.mutex:
                self.mirror.refresh()
            undo.pop_all()

    def _open(self) -> None:
        """Opens both connections. Only where something is to be made or set aside is the gate
        needed: others may hold it for a while."""
        try:
            self._connect(create=False)
        except (NotMade, CorruptState):
            self.gate.acquire(_OPEN_WAIT_S)
            try:
                self._open_or_replace()
            finally:
                self.gate.release()

    def _open_or_replace(self, *, thorough: bool = False) -> None:
        """Inside the gate: another worker may have done it meanwhile."""
        try:
            self._connect(create=True, thorough=thorough)
        except CorruptState:
            set_aside(self._path)
            self._connect(create=True)

    def _connect(self, *, create: bool, thorough: bool = False) -> None:
        before = inode_of(self._path)
        self._inode: int | None = None
        self.writer = prepare(self._path, full=self._full, create=create, thorough=thorough)
        try:
            after = inode_of(self._path)
            if not create and before != after:
                # It was replaced while it was opened.
                raise NotMade
            self._reader = Database(self._path, full=self._full)
            self._reader.query("PRAGMA query_only = ON")
        except BaseException:
            self.writer.close()
            raise
        self._inode = after

    @property
    def is_damaged(self) -> bool:
        """True when a statement has met damage."""
        return self.writer.is_damaged or self._reader.is_damaged

    def suspect(self) -> None:
        """Has all of the database read before it is used again."""
        self.writer.is_damaged = True

    def heal(self) -> None:
        """Sets a database aside in which damage was met, unless somebody is inside the gate: then
        the next one does it."""
        if self.gate.is_held:
            return
        with contextlib.suppress(GateBusy):
            self.gate.acquire(_OPEN_WAIT_S)
            try:
                self.follow()
            finally:
                self.gate.release()

    def follow(self) -> None:
        """Inside the gate: catches up, and opens anew what another worker replaced because it
        was damaged. Two workers with two databases would both grant one lock."""
        try:
            inode = inode_of(self._name)
        except OSError as exc:
            raise StateFailure(f"the state file cannot be found: {exc}") from exc
        if inode == self._inode and not self.is_damaged:
            with self.mirror.mutex:
                self.mirror.refresh()
            return
        with self.mirror.mutex:
            thorough = self.is_damaged
            self._reader.close()
            self.writer.close()
            if inode is None:
                set_aside(self._path, why="is gone")
            self._open_or_replace(thorough=thorough)
            self.mirror.attach(self._reader)

    def note_left(self) -> None:
        """On leaving the gate: did a change of our own stay in the journal? After a rollback
        only the database knows; then perhaps."""
        mirror = self.mirror
        self.has_left = bool(mirror.intents or mirror.unwritten) or not mirror.is_fresh

    def close(self) -> None:
        with self.mirror.mutex:
            self._reader.close()
            self.writer.close()
            self.commits.close()
        self.usage.close(is_parting=self.pid == os.getpid())
        self.gate.close()
        if self.pid == os.getpid():
            self.owner.close()
        else:
            self.owner.abandon()


class _Hold:
    """The gate as a context manager; a class, because it is on every writer's path."""

    __slots__ = ("_session", "_state", "_view", "_wait_s")

    def __init__(self, state: SqliteState, wait_s: float) -> None:
        self._state = state
        self._wait_s = wait_s

    def __enter__(self) -> GateView:
        self._session = session = self._state.session()
        session.gate.acquire(self._wait_s)
        try:
            session.follow()
        except BaseException:
            session.gate.release()
            raise
        limits, clock, numbers = self._state.limits, self._state.clock, session.usage.of
        self._view = SqlView(session.writer, session.mirror, limits, clock, numbers)
        return self._view

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                try:
                    self._view.commit()
                except BaseException:
                    self._view.rollback()
                    raise
            else:
                self._view.rollback()
        finally:
            self._session.note_left()
            self._session.gate.release()


class SqliteState:
    """A State in a folder.

    Args:
        folder: made with mode 0700 when missing; outside of every share.
        durability: "full" waits for the disk at each commit, so that what was answered survives
            a power cut; anything else survives the death of the process only.
        limits: see StateLimits.
        clock: seconds since the epoch, for the age of journalled changes.
    """

    inline = True

    def __init__(
        self,
        folder: Path,
        *,
        durability: str = "full",
        limits: StateLimits | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.limits = StateLimits() if limits is None else limits
        self.clock = clock
        self.folder = folder
        self._full = durability == "full"
        self._opening = threading.Lock()
        self._session: _Session | None = None
        self._serving = Serving(folder)
        self.undo = UndoFolder(folder / "undo", full=self._full)

    def session(self) -> _Session:
        """Returns what this process has open. Raises StateFailure."""
        session = self._session
        if session is not None and session.pid == os.getpid():
            if session.is_damaged:
                session.heal()
            return session
        return self._open_session()

    def _open_session(self) -> _Session:
        with self._opening:
            session = self._session
            if session is not None and session.pid != os.getpid():
                self._leave(session)
            if self._session is None:
                self._session = _Session(self.folder, full=self._full)
            return self._session

    def _leave(self, inherited: _Session) -> None:
        """Closes what a fork copied before anything is opened: SQLite knows open files by their
        inode and would believe to hold the parent's locks."""
        if inherited.gate.is_held or inherited.mirror.mutex.locked():
            raise StateFailure("the process was forked while a thread used the state")
        inherited.close()
        self._session = None

    def claim(self, served: Served, *, adopt: bool = False) -> None:
        """Remembers which folder the rows are of.

        A folder that was moved is the same one, and so is what was put in its place; rows of any
        other would be taken for its own. `adopt` makes them its own.

        Raises OtherFolder, StateFailure, GateBusy.
        """
        session = self.session()
        name = f"served:{served.root}"
        value = json.dumps([served.path, *served.identity])
        found = session.mirror.query("SELECT value FROM meta WHERE name = ?", (name,))
        if found == [(value,)]:
            return
        if found and not adopt:
            path, *identity = json.loads(found[0][0])
            if path != served.path and identity != list(served.identity):
                raise OtherFolder(f"the state in {self.folder} belongs to {path}")
        with self.hold((), wait_s=_OPEN_WAIT_S):
            session.writer.query("INSERT OR REPLACE INTO meta VALUES(?,?)", (name, value))

    def serving(self, root: str) -> AbstractContextManager[bool]:
        """Marks a root, by its id in keys, as served by this process until `close`, unless an
        exception leaves the block. Yields True when no other process of this state serves it;
        others that start wait meanwhile. Raises StateFailure."""
        self.session()
        return self._serving.marking(root, wait_s=_OPEN_WAIT_S)

    @property
    def owner(self) -> str:
        return self.session().owner.id

    def is_alive(self, owner: str) -> bool:
        session = self.session()
        if session.owner.is_alive(owner):
            return True
        return uploads.is_owner(session.mirror, owner, now=self.clock())

    def another_owner(self) -> AbstractContextManager[str]:
        return another_owner(self.session().owners)

    def hold(
        self, exclusive: Sequence[Key], shared: Sequence[Key] = (), *, wait_s: float
    ) -> AbstractContextManager[GateView]:
        return _Hold(self, wait_s)  # one gate for all keys: it is held for a rename or a row

    def gate_counts(self) -> tuple[int, float, int]:
        gate = self.session().gate
        return gate.waits, gate.wait_s, gate.timeouts

    def measure(self, *, now: float) -> tuple[int, int]:
        locks = sum(lock.expires_at > now for lock in self.session().mirror.locks())
        return locks, size_in(self.folder)

    def covering(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self.session().mirror.covering(key, now=now)

    def beneath(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self.session().mirror.beneath(key, now=now)

    def lock(self, token: str, *, now: float) -> Lock | None:
        return self.session().mirror.lock(token, now=now)

    def numbers(self, scope: Key) -> Numbers:
        return self.session().usage.of(scope)

    def keep_numbers(self, scopes: Callable[[], Collection[Key]]) -> None:
        usage = self.session().usage
        if usage.has_others(scopes()):
            with self.hold((), wait_s=_OPEN_WAIT_S):
                usage.forget_others(scopes())

    @property
    def bindings(self) -> Bindings:
        return self.session().mirror.fresh_bindings()

    def properties(self, key: Key) -> Mapping[QName, bytes]:
        return self.session().mirror.properties(key)

    def member_properties(
        self, parent: Key, names: Sequence[bytes]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        return self.session().mirror.member_properties(parent, names)

    def upload(self, id: str) -> Upload | None:
        return uploads.find(self.session().mirror, id)

    def uploads(self) -> Sequence[Upload]:
        return uploads.find_all(self.session().mirror)

    def settled(self, key: Key, *, now: float) -> Stored | None:
        mirror = self.session().mirror
        stored = mirror.stored(key, now=now)
        if (mirror.intents or mirror.unwritten) and self.has_changes():
            return None
        return stored

    def has_changes(self) -> bool:
        session = self.session()
        owners = session.mirror.owners_of_changes()
        if not owners or session.mirror.unwritten:
            return bool(session.mirror.unwritten)
        owner = session.owner
        return any(
            session.has_left if each == owner.id else not owner.is_alive(each) for each in owners
        )

    def keys_with_rows(self) -> Iterator[Key]:
        """Yields what has properties or is a lock root, perhaps twice, for who seeks orphans."""
        return self.session().mirror.keys()

    def replace_damaged(self) -> None:
        """Reads the whole database and begins a new one if it is damaged."""
        session = self.session()
        session.suspect()
        session.heal()

    def locks(self) -> list[Lock]:
        """Returns every lock, expired ones that wait to be cleared away too."""
        return self.session().mirror.locks()

    def close(self) -> None:
        """Gives up the owner's lock and the files. Using it again opens them again."""
        self._serving.close()
        session, self._session = self._session, None
        if session is not None:
            session.close()
