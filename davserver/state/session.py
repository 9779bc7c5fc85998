"""What one process has open of a state in a folder: the database, the gate, its mark as an owner.

Nothing of it crosses a fork: a child opens its own.
"""

from __future__ import annotations

import contextlib
import os
from functools import partial
from pathlib import Path

from davserver.errors import GateBusy, StateFailure
from davserver.state.commitcount import CommitCount
from davserver.state.gatelock import GateLock
from davserver.state.logkeeping import LogKeeper
from davserver.state.mirror import Mirror
from davserver.state.owners import Owner
from davserver.state.sqlfile import (
    FILE,
    CorruptState,
    Database,
    NotMade,
    inode_of,
    prepare,
    put_log_away,
    set_aside,
    sync_folder,
)
from davserver.state.usage import UsageFolder

OPEN_WAIT_S = 5.0
"""How long who opens or heals waits for the gate."""


class Session:
    """What one process has open."""

    def __init__(self, folder: Path, *, full: bool) -> None:
        self.pid = os.getpid()
        self._path = folder / FILE
        self._name = str(self._path)
        self._full = full
        self.has_left = False
        self._log = LogKeeper(partial(put_log_away, self._name))
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
            undo.callback(self._close_database)
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
            self.gate.acquire(OPEN_WAIT_S)
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
        with contextlib.ExitStack() as undo:
            self.writer = prepare(self._path, full=self._full, create=create, thorough=thorough)
            undo.callback(self.writer.close)
            after = inode_of(self._path)
            if not create and before != after:
                # It was replaced while it was opened.
                raise NotMade
            self._reader = Database(self._path, full=self._full)
            undo.callback(self._reader.close)
            self._reader.query("PRAGMA query_only = ON")
            self.writer.watch_log(self._log.is_due)
            undo.pop_all()
        self._inode = after

    def _close_database(self) -> None:
        self._reader.close()
        self.writer.close()

    @property
    def is_damaged(self) -> bool:
        """True when a statement has met damage."""
        return self.writer.is_damaged or self._reader.is_damaged

    @property
    def is_in_use(self) -> bool:
        """True while a thread is at something here that a fork would copy."""
        return self.gate.is_held or self.mirror.mutex.locked() or self._log.is_at_work

    def suspect(self) -> None:
        """Has all of the database read before it is used again."""
        self.writer.is_damaged = True

    def heal(self) -> None:
        """Sets a database aside in which damage was met, unless somebody is inside the gate: then
        the next one does it."""
        if self.gate.is_held:
            return
        with contextlib.suppress(GateBusy):
            self.gate.acquire(OPEN_WAIT_S)
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
        is_same = inode is not None and inode == self._inode
        if is_same and not (self.writer.is_damaged or self._reader.is_damaged):
            mirror = self.mirror
            with mirror.mutex:
                mirror.refresh()
            return
        self.gate.widen()
        with self.mirror.mutex:
            thorough = self.is_damaged
            self._close_database()
            if inode is None:
                set_aside(self._path, why="is gone")
            try:
                self._open_or_replace(thorough=thorough)
            except BaseException:
                # Nothing is open: whoever asks next tries again, not only who changes something.
                self.suspect()
                raise
            self.mirror.attach(self._reader)

    def note_left(self) -> None:
        """On leaving the gate: did a change of our own stay in the journal? After a rollback
        only the database knows; then perhaps."""
        mirror = self.mirror
        self.has_left = bool(mirror.intents or mirror.unwritten) or not mirror.is_fresh

    def close(self) -> None:
        if self.pid == os.getpid():
            self._log.close()
        with self.mirror.mutex:
            self._close_database()
            self.commits.close()
        self.usage.close(is_parting=self.pid == os.getpid())
        self.gate.close()
        if self.pid == os.getpid():
            self.owner.close()
        else:
            self.owner.abandon()
