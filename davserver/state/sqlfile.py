"""The database file of the state: opened, checked, made, set aside when it is damaged.

Only this module knows apsw, which brings its own SQLite: older ones can corrupt a WAL database
with two writers.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw

from davserver.errors import GateBusy, StateFailure, StateFull
from davserver.state import rows

logger = logging.getLogger(__name__)

FILE = "state.sqlite3"
_BUSY_MS = 2_000
# Larger ones would hold up the start; what is wrong in them shows when it is read.
_CHECKED_BYTES = 16 * 1024 * 1024


class CorruptState(StateFailure):
    """The file is no database, or a damaged one."""


class Database:
    """One connection, never used by two threads at once. Raises StateError only.

    Attributes:
        is_damaged: a statement has met damage in the file.
    """

    def __init__(self, path: Path | str, *, full: bool) -> None:
        self.is_damaged = False
        try:
            self._connection = apsw.Connection(str(path))
            self._connection.set_busy_timeout(_BUSY_MS)
            self._cursor = self._connection.cursor()
        except apsw.Error as exc:
            raise _translated(exc) from exc
        try:
            # WAL loses the last commits at a power cut unless each waits for the disk.
            self.query(f"PRAGMA synchronous = {'FULL' if full else 'NORMAL'}")
            self.query("PRAGMA fullfsync = ON")
        except BaseException:
            self.close()
            raise

    def query(self, sql: str, bindings: Sequence[rows.Value] = ()) -> list[rows.Row]:
        try:
            return self._cursor.execute(sql, bindings).fetchall()
        except apsw.Error as exc:
            error = _translated(exc)
            self.is_damaged = self.is_damaged or isinstance(error, CorruptState)
            raise error from exc
        except UnicodeDecodeError as exc:
            self.is_damaged = True
            raise CorruptState(f"the state is damaged: {exc}") from exc

    def watch_log(self, is_due: Callable[[int], bool]) -> None:
        """Has `is_due` asked after each commit, with the pages in the log: True puts them where
        they belong, as far as nobody is hindered."""

        def committed(connection: apsw.Connection, name: str, pages: int) -> int:
            if is_due(pages):
                # As SQLite does: what cannot be now, is done after a later commit.
                with contextlib.suppress(apsw.Error):
                    connection.wal_checkpoint()
            return apsw.SQLITE_OK

        self._connection.set_wal_hook(committed)

    @property
    def in_transaction(self) -> bool:
        return self._connection.in_transaction

    def last_row_id(self) -> int:
        return self._connection.last_insert_rowid()

    def data_version(self) -> int:
        number: int = self.query("PRAGMA data_version")[0][0]
        return number

    def close(self) -> None:
        self._connection.close(True)


def put_log_away(path: Path | str) -> None:
    """Puts what is in the log of a database where it belongs, as far as nobody is hindered. Blocks;
    raises nothing: whoever commits next sees what is left."""
    with contextlib.suppress(apsw.Error):
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        try:
            connection.execute("PRAGMA fullfsync = ON").fetchall()
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        finally:
            connection.close(True)


def _translated(error: apsw.Error) -> GateBusy | StateFull | StateFailure:
    if isinstance(error, apsw.BusyError | apsw.LockedError):
        return GateBusy(f"the state is busy: {error}")
    if isinstance(error, apsw.FullError):
        return StateFull(f"no room for the state: {error}")
    logger.error("the state cannot be used: %s: %s", type(error).__name__, error)
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return CorruptState(f"the state is damaged: {error}")
    return StateFailure(f"the state cannot be used: {error}")


def has_wal_fault(version: tuple[int, ...]) -> bool:
    """True for an SQLite in which two writers can corrupt a WAL database: fixed in 3.51.3, and
    in 3.50.7 and 3.44.6 of the older lines."""
    older: dict[tuple[int, ...], tuple[int, ...]] = {(3, 50): (3, 50, 7), (3, 44): (3, 44, 6)}
    return version < older.get(version[:2], (3, 51, 3))


def _refuse_old_sqlite() -> None:
    """apsw can also be built to use the system's."""
    version = apsw.sqlite_lib_version()
    if has_wal_fault(tuple(map(int, version.split(".")))):
        raise StateFailure(
            f"SQLite {version} can corrupt a database that processes share: install apsw from PyPI"
        )


class NotMade(Exception):
    """There is no database of our schema, and it was not to be made."""


def prepare(path: Path, *, full: bool, create: bool, thorough: bool = False) -> Database:
    """Returns a connection to a database of our schema.

    Args:
        create: makes it where there is none, or brings it up to date; inside the gate.
        thorough: reads all of it first, however large.

    Raises NotMade, CorruptState, StateFailure.
    """
    _refuse_old_sqlite()
    if create:
        with contextlib.suppress(FileExistsError):
            # Made by us for its mode, which SQLite gives to the files beside it, too.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
            sync_folder(path.parent)
    elif not path.exists():
        raise NotMade
    db = Database(path, full=full)
    try:
        _check(db, path, create=create)
        if thorough or path.stat().st_size <= _CHECKED_BYTES:
            _verify(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _refuse_newer(db: Database, path: Path) -> int:
    """Returns the version of the schema, 0 for none yet. Raises StateFailure."""
    version: int = db.query("PRAGMA user_version")[0][0]
    if version > rows.SCHEMA_VERSION:
        raise StateFailure(
            f"{path} has schema version {version}, this davserver knows"
            f" {rows.SCHEMA_VERSION}: run a newer one, or give it another state folder"
        )
    return version


def _check(db: Database, path: Path, *, create: bool) -> None:
    version = _refuse_newer(db, path)
    if version < rows.SCHEMA_VERSION and not create:
        raise NotMade
    # The file remembers it, but a restored backup may have forgotten.
    if db.query("PRAGMA journal_mode = WAL") != [("wal",)]:
        raise StateFailure(f"{path} cannot be shared by processes: keep it on a local disk")
    if version == 0 and db.query("SELECT 1 FROM sqlite_schema LIMIT 1"):
        raise StateFailure(f"{path} is somebody else's database")
    if version < rows.SCHEMA_VERSION:
        db.query("BEGIN IMMEDIATE")
        for script in rows.SCHEMAS[version:]:
            db.query(script)
        db.query(f"PRAGMA user_version = {rows.SCHEMA_VERSION}")
        db.query("COMMIT")


def _verify(db: Database, path: Path) -> None:
    # Not quick_check: it does not see that an index and its table tell different things.
    found = db.query("PRAGMA integrity_check(1)")
    if found != [("ok",)]:
        raise CorruptState(f"{path} is damaged: {found[0][0]}")
    for table in ("locks", "intents", "meta"):
        db.query(f"SELECT * FROM {table}")  # text that is none


def examine(folder: Path) -> None:
    """Reads the whole database in `folder`, changing nothing; others may use it meanwhile.

    Raises FileNotFoundError, CorruptState, StateFailure.
    """
    path = folder / FILE
    os.stat(path)
    db = Database(path, full=False)
    try:
        db.query("PRAGMA query_only = ON")
        _refuse_newer(db, path)
        _verify(db, path)
    finally:
        db.close()


def set_aside(path: Path, *, why: str = "is damaged") -> None:
    """Renames a damaged database, or what is left of it, with its log, so that somebody can look
    at it."""
    number = int(time.time())
    while (aside := path.with_name(f"{path.name}.corrupt-{number}")).exists():
        number += 1
    logger.error("%s %s: it is kept as %s, and a new state begins", path, why, aside.name)
    for suffix in ("-wal", "-shm", ""):
        with contextlib.suppress(FileNotFoundError):
            os.rename(f"{path}{suffix}", f"{aside}{suffix}")
    sync_folder(path.parent)


def inode_of(path: Path | str) -> int | None:
    try:
        return os.stat(path).st_ino
    except FileNotFoundError:
        return None


def size_in(folder: Path) -> int:
    """Returns the bytes of the database in a folder, with its log."""
    size = 0
    for suffix in ("", "-wal", "-shm"):
        with contextlib.suppress(FileNotFoundError):
            size += os.stat(folder / (FILE + suffix)).st_size
    return size


def sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
