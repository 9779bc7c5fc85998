"""The state in one SQLite database, shared by any number of worker processes on one machine.

The folder holds `state.sqlite3`, `gate` (locks on its bytes), `owners/` (one flock a worker), and
what serving.py keeps. Everything is opened on first use, so that nothing crosses a fork.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

from davserver.errors import StateFailure
from davserver.protocol.locks import Lock
from davserver.protocol.names import QName
from davserver.protocol.path import Key
from davserver.state import uploads
from davserver.state.base import GateView, Numbers, Upload
from davserver.state.bindings import Bindings
from davserver.state.gatelock import part_of
from davserver.state.limits import StateLimits
from davserver.state.offers import Stored
from davserver.state.owners import another_owner
from davserver.state.served import OtherFolder, Served
from davserver.state.serving import Serving
from davserver.state.session import OPEN_WAIT_S, Session
from davserver.state.sqlfile import size_in
from davserver.state.sqlview import SqlView
from davserver.state.undo import UndoFolder


class _Hold:
    """The gate as a context manager; a class, because it is on every writer's path."""

    __slots__ = ("_part", "_session", "_state", "_view", "_wait_s")

    def __init__(self, state: SqliteState, wait_s: float, part: int | None) -> None:
        self._state = state
        self._wait_s = wait_s
        self._part = part

    def __enter__(self) -> GateView:
        self._session = session = self._state.session()
        session.gate.acquire(self._wait_s, self._part)
        try:
            session.follow()
        except BaseException:
            session.gate.release()
            raise
        self._view = SqlView(session, self._state.limits, self._state.clock)
        return self._view

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        session, view = self._session, self._view
        try:
            if kind is not None:
                view.rollback()
                return
            try:
                view.commit()
            except BaseException:
                view.rollback()
                raise
        finally:
            session.note_left()
            session.gate.release()


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
        self._session: Session | None = None
        self._serving = Serving(folder)
        self.undo = UndoFolder(folder / "undo", full=self._full)

    def session(self) -> Session:
        """Returns what this process has open. Raises StateFailure."""
        session = self._session
        if session is None or session.pid != os.getpid():
            return self._open_session()
        if session.is_damaged:
            session.heal()
        return session

    def _open_session(self) -> Session:
        with self._opening:
            session = self._session
            if session is not None and session.pid != os.getpid():
                self._leave(session)
            if self._session is None:
                self._session = Session(self.folder, full=self._full)
            return self._session

    def _leave(self, inherited: Session) -> None:
        """Closes what a fork copied before anything is opened: SQLite knows open files by their
        inode and would believe to hold the parent's locks."""
        if inherited.is_in_use:
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
        with self.hold((), wait_s=OPEN_WAIT_S):
            session.writer.query("INSERT OR REPLACE INTO meta VALUES(?,?)", (name, value))

    def serving(self, root: str) -> AbstractContextManager[bool]:
        """Marks a root, by its id in keys, as served by this process until `close`, unless an
        exception leaves the block. Yields True when no other process of this state serves it;
        others that start wait meanwhile. Raises StateFailure."""
        self.session()
        return self._serving.marking(root, wait_s=OPEN_WAIT_S)

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
        self,
        exclusive: Sequence[Key],
        shared: Sequence[Key] = (),
        *,
        wait_s: float,
        narrow: bool = False,
    ) -> AbstractContextManager[GateView]:
        # Else there is one gate for all keys: it is held for a rename or a row.
        return _Hold(self, wait_s, part_of(exclusive[0]) if narrow else None)

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
            with self.hold((), wait_s=OPEN_WAIT_S):
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
        mirror, owner = session.mirror, session.owner
        owners = mirror.owners_of_changes()
        if not owners or mirror.unwritten:
            return bool(mirror.unwritten)
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
