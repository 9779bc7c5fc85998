"""The state in one SQLite database, shared by any number of worker processes on one machine.

Only this module knows apsw, which brings its own SQLite: older ones can corrupt a WAL database
with two writers. The folder holds `state.sqlite3`, `gate` (an flock) and `owners/` (one flock a
worker). Everything is opened on first use, so that nothing crosses a fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType

import apsw

from davserver.errors import GateBusy, StateFailure, StateFull
from davserver.protocol.locks import Lock
from davserver.protocol.names import QName
from davserver.protocol.path import Key
from davserver.state import rows
from davserver.state.base import GateView
from davserver.state.gatelock import GateLock
from davserver.state.limits import StateLimits
from davserver.state.mirror import Mirror
from davserver.state.owners import Owner
from davserver.state.sqlview import SqlView

logger = logging.getLogger(__name__)

FILE = "state.sqlite3"
_BUSY_MS = 2_000
_OPEN_WAIT_S = 5.0
# Larger ones would hold up the start; what is wrong in them shows when it is read.
_CHECKED_BYTES = 16 * 1024 * 1024


class CorruptState(StateFailure):
    """The file is no database, or a damaged one."""


class _Database:
    """One connection, never used by two threads at once. Raises StateError only."""

    def __init__(self, path: Path, *, full: bool) -> None:
        try:
            self._connection = apsw.Connection(str(path))
            self._connection.set_busy_timeout(_BUSY_MS)
        except apsw.Error as exc:
            raise _translated(exc) from exc
        # WAL loses the last commits at a power cut unless each waits for the disk.
        self.query(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
        self.query("PRAGMA fullfsync = ON")

    def query(self, sql: str, bindings: Sequence[rows.Value] = ()) -> list[rows.Row]:
        try:
            return self._connection.execute(sql, bindings).fetchall()
        except apsw.Error as exc:
            raise _translated(exc) from exc

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def data_version(self) -> int:
        number: int = self.query("PRAGMA data_version")[0][0]
        return number

    def close(self) -> None:
        self._connection.close(True)


def _translated(error: apsw.Error) -> GateBusy | StateFull | StateFailure:
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return GateBusy(f"the state is busy: {error}")
    if isinstance(error, apsw.FullError):
        return StateFull(f"no room for the state: {error}")
    logger.error("the state cannot be used: %s: %s", type(error).__name__, error)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return CorruptState(f"the state is damaged: {error}")
    return StateFailure(f"the state cannot be used: {error}")


class _NotMade(Exception):
    """There is no database of our schema, and it was not to be made."""


def _prepare(path: Path, *, full: bool, create: bool) -> _Database:
    """Returns a connection to a database of our schema; inside the gate, with `create`, it is
    made when there is none. Raises _NotMade, CorruptState, StateFailure."""
    if create:
        with contextlib.suppress(FileExistsError):
            # Made by us for its mode, which SQLite gives to the files beside it, too.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            _sync(path.parent)
    elif not path.exists():
        raise _NotMade
    db = _Database(path, full=full)
    try:
        _check(db, path, create=create)
    except BaseException:
        db.close()
        raise
    return db


def _check(db: _Database, path: Path, *, create: bool) -> None:
    version = db.query("PRAGMA user_version")[0][0]
    if version > rows.SCHEMA_VERSION:
        raise StateFailure(
            f"{path} has schema version {version}, this davserver knows"
            f" {rows.SCHEMA_VERSION}: run a newer one, or give it another state folder"
        )
    if version == 0 and not create:
        raise _NotMade
    # The file remembers it, but a restored backup may have forgotten.
    if db.query("PRAGMA journal_mode = WAL") != [("wal",)]:
        raise StateFailure(f"{path} cannot be shared by processes: keep it on a local disk")
    if version == 0:
        _create(db, path)
    elif path.stat().st_size <= _CHECKED_BYTES:
        found = db.query("PRAGMA quick_check(1)")
        if found != [("ok",)]:
            raise CorruptState(f"{path} is damaged: {found[0][0]}")


def _create(db: _Database, path: Path) -> None:
    if db.query("SELECT 1 FROM sqlite_schema LIMIT 1"):
        raise StateFailure(f"{path} is somebody else's database")
    db.query("BEGIN IMMEDIATE")
    db.query(rows.SCHEMA)
    db.query(f"PRAGMA user_version = {rows.SCHEMA_VERSION}")
    db.query("COMMIT")


def _set_aside(path: Path) -> None:
    """Renames a damaged database, with its log, so that somebody can look at it."""
    number = int(time.time())
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    logger.error("%s is damaged: it is kept as %s, and a new state begins", path, aside.name)
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    _sync(path.parent)


def _inode(path: Path) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def _sync(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Session:
    """What one process has open."""

    def __init__(self, folder: Path, *, full: bool) -> None:
        self.pid = os.getpid()
        self._path = folder / FILE
        self._full = full
        with contextlib.ExitStack() as undo:
            try:
                if not folder.is_dir():
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    _sync(folder.parent)
                self.owner = Owner(folder / "owners")
                undo.callback(self.owner.close)
                self.gate = GateLock(folder / "gate")
                undo.callback(self.gate.close)
                self.owner.forget_dead()
            except OSError as exc:
                raise StateFailure(f"the state folder cannot be used: {exc}") from exc
            self._open()
            self.mirror = Mirror(self._reader)
            with self.mirror.mutex:
                self.mirror.refresh()
            undo.pop_all()

    def _open(self) -> None:
        """Opens both connections. Only where something is to be made or set aside is the gate
        needed: others may hold it for a while."""
        try:
            self._connect(create=False)
        except (_NotMade, CorruptState):
            self.gate.acquire(_OPEN_WAIT_S)
            try:
                self._open_or_replace()
            finally:
                self.gate.release()

    def _open_or_replace(self) -> None:
        """Inside the gate: another worker may have done it meanwhile."""
        try:
            self._connect(create=True)
        except CorruptState:
            _set_aside(self._path)
            self._connect(create=True)

    def _connect(self, *, create: bool) -> None:
        before = _inode(self._path)
        self._inode: int | None = None
        self.writer = _prepare(self._path, full=self._full, create=create)
        try:
            after = _inode(self._path)
            if not create and before != after:
                # It was replaced while it was opened.
                raise _NotMade
            self._reader = _Database(self._path, full=self._full)
            self._reader.query("PRAGMA query_only = ON")
        except BaseException:
            self.writer.close()
            raise
        self._inode = after

    def follow(self) -> None:
        """Inside the gate: catches up, and opens anew what another worker replaced because it
        was damaged. Two workers with two databases would both grant one lock."""
        try:
            inode = os.stat(self._path).st_ino
        except OSError as exc:
            logger.error("the state file is gone: %s", exc)
            raise StateFailure(f"the state file is gone: {exc}") from exc
        if inode == self._inode:
            with self.mirror.mutex:
                self.mirror.refresh()
            return
        with self.mirror.mutex:
            self._reader.close()
            self.writer.close()
            self._open_or_replace()
            self.mirror.attach(self._reader)

    def close(self) -> None:
        with self.mirror.mutex:
            self._reader.close()
            self.writer.close()
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
        self._view = SqlView(session.writer, session.mirror, self._state.limits, self._state.clock)
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
        self._folder = folder
        self._full = durability == "full"
        self._opening = threading.Lock()
        self._session: _Session | None = None

    def session(self) -> _Session:
        """Returns what this process has open. Raises StateFailure."""
        session = self._session
        if session is not None and session.pid == os.getpid():
            return session
        with self._opening:
            session = self._session
            if session is not None and session.pid != os.getpid():
                self._leave(session)
            if self._session is None:
                self._session = _Session(self._folder, full=self._full)
            return self._session

    def _leave(self, inherited: _Session) -> None:
        """Closes what a fork copied before anything is opened: SQLite knows open files by their
        inode and would believe to hold the parent's locks."""
        if inherited.gate.is_held or inherited.mirror.mutex.locked():
            raise StateFailure("the process was forked while a thread used the state")
        inherited.close()
        self._session = None

    @property
    def owner(self) -> str:
        return self.session().owner.id

    def is_alive(self, owner: str) -> bool:
        return self.session().owner.is_alive(owner)

    def hold(
        self, exclusive: Sequence[Key], shared: Sequence[Key] = (), *, wait_s: float
    ) -> AbstractContextManager[GateView]:
        """There is one gate for all keys: it is held for a rename or a row."""
        return _Hold(self, wait_s)

    def covering(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self.session().mirror.covering(key, now=now)

    def beneath(self, key: Key, *, now: float) -> Sequence[Lock]:
        return self.session().mirror.beneath(key, now=now)

    def lock(self, token: str, *, now: float) -> Lock | None:
        return self.session().mirror.lock(token, now=now)

    def properties(self, key: Key) -> Mapping[QName, bytes]:
        return self.session().mirror.properties(key)

    def member_properties(
        self, parent: Key, names: Sequence[bytes]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        return self.session().mirror.member_properties(parent, names)

    def has_changes(self) -> bool:
        session = self.session()
        return any(
            not session.owner.is_alive(owner) for owner in session.mirror.owners_of_changes()
        )

    def keys_with_rows(self) -> Iterator[Key]:
        """Yields the resources that have properties or are lock roots, for who looks for
        orphans; a resource with both may come twice."""
        return self.session().mirror.keys()

    def close(self) -> None:
        """Gives up the owner's lock and the files. Using it again opens them again."""
        session, self._session = self._session, None
        if session is not None:
            session.close()
