"""Jobs: long work that goes on when its request is answered (RFC 7240 section 4.1), a row each.

They have a database of their own beside the state's: progress is written some times a second, and
must neither wait for the gate nor make workers read their locks and properties anew. A job is its
owner's, the worker that runs it; when that one is dead its work is at an end, too, and whoever
meets the row says how it ended.
"""

from __future__ import annotations

import contextlib
import enum
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from davserver.errors import StateFailure
from davserver.state.gatelock import GateLock
from davserver.state.sqlfile import CorruptState, Database, set_aside

FILE = "jobs.sqlite3"
_VERSION = 1
_OPEN_WAIT_S = 5.0
_SCHEMA = """
CREATE TABLE jobs(
    id TEXT PRIMARY KEY, principal TEXT NOT NULL, owner TEXT NOT NULL, method TEXT NOT NULL,
    href TEXT NOT NULL, destination TEXT, created REAL NOT NULL, state TEXT NOT NULL,
    is_cancelled INTEGER NOT NULL, members INTEGER NOT NULL, bytes INTEGER NOT NULL,
    all_members INTEGER, all_bytes INTEGER, started REAL, ended REAL, status INTEGER,
    headers TEXT NOT NULL, proof TEXT
) WITHOUT ROWID;
CREATE INDEX jobs_by_principal ON jobs(principal);
CREATE TABLE pieces(
    job TEXT NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY(job, number)
) WITHOUT ROWID;
"""

Fields = tuple[tuple[bytes, bytes], ...]


class JobState(enum.Enum):
    """Where a job stands."""

    WAITING = "waiting"
    """In line, until a job before it has ended."""
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Its answer is an error, or names members that failed (207)."""
    CANCELLED = "cancelled"

    @property
    def is_ended(self) -> bool:
        return self not in (JobState.WAITING, JobState.RUNNING)


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    Attributes:
        principal: who started it, "" for the anonymous one.
        owner: the worker's id, see `State.owner`.
        href, destination: as they stand in answers.
        created, started, ended: seconds since the epoch.
        is_cancelled: somebody wants it to end.
        members, bytes: done so far, of `all_members` and `all_bytes` as far as that is known.
        status, headers: of its answer, once it has ended; the body has its own rows.
        proof: what shows that it was done, for when its owner dies; see `davserver.jobs`.
    """

    id: str
    principal: str
    owner: str
    method: str
    href: str
    destination: str | None
    created: float
    state: JobState = JobState.WAITING
    is_cancelled: bool = False
    members: int = 0
    bytes: int = 0
    all_members: int | None = None
    all_bytes: int | None = None
    started: float | None = None
    ended: float | None = None
    status: int | None = None
    headers: Fields = ()
    proof: str | None = None


_NAMES = tuple(field.name for field in fields(Job))
_COLUMNS = ", ".join(_NAMES)
_PLACES = ", ".join("?" * len(_NAMES))
_OLDER = (
    "SELECT id FROM jobs WHERE principal = ? AND ended IS NOT NULL"
    " ORDER BY ended DESC LIMIT -1 OFFSET ?"
)
_MOST_ENDED = 1_000
_UNFINISHED = f"state IN ('{JobState.WAITING.value}', '{JobState.RUNNING.value}')"


@dataclass(frozen=True, slots=True)
class Ending:
    """How a job ended.

    Attributes:
        status, headers: of its answer; see `JobStore.keep` for the body.
        at: seconds since the epoch.
    """

    state: JobState
    status: int
    headers: Fields
    at: float


class JobStore:
    """All jobs of a server, whichever worker runs them. Blocks for a short time; safe across
    threads. Raises StateError.

    Args:
        folder: of the state; None keeps them in memory.
        full: what is known of a job survives a power cut.
    """

    def __init__(self, folder: Path | None, *, full: bool = False) -> None:
        self._folder = folder
        self._full = full
        self._mutex = threading.Lock()
        self._db: Database | None = None

    def close(self) -> None:
        """Closes the file; using it again opens it again. Jobs in memory stay."""
        with self._mutex:
            if self._db is not None and self._folder is not None:
                self._db.close()
                self._db = None

    def add(self, job: Job, *, limit: int) -> bool:
        """Enters a job; False when its principal has `limit` that have not ended. Of those that
        have, the latest thousand stay."""
        count = f"SELECT count(*) FROM jobs WHERE principal = ? AND {_UNFINISHED}"
        with self._writing(durable=True) as db:
            if db.query(count, (job.principal,))[0][0] >= limit:
                return False
            db.query(f"INSERT INTO jobs({_COLUMNS}) VALUES({_PLACES})", _row(job))
            older = db.query(_OLDER, (job.principal, _MOST_ENDED))
            _forget(db, [id for (id,) in older])
        return True

    def get(self, id: str) -> Job | None:
        """Returns a job; None when there is none, or none any more."""
        with self._reading() as db:
            found = db.query(f"SELECT {_COLUMNS} FROM jobs WHERE id = ?", (id,))
        return _job(found[0]) if found else None

    def of(self, principal: str) -> list[Job]:
        """Returns the jobs of a principal, the newest first."""
        asked = f"SELECT {_COLUMNS} FROM jobs WHERE principal = ? ORDER BY created DESC, id"
        with self._reading() as db:
            return [_job(row) for row in db.query(asked, (principal,))]

    def unfinished(self) -> list[Job]:
        """Returns the jobs of everybody that have not ended."""
        with self._reading() as db:
            found = db.query(f"SELECT {_COLUMNS} FROM jobs WHERE {_UNFINISHED}")
        return [_job(row) for row in found]

    def begin(self, id: str, *, now: float) -> None:
        """Its turn has come."""
        with self._writing() as db:
            change = "UPDATE jobs SET state = ?, started = ? WHERE id = ?"
            db.query(change, (JobState.RUNNING.value, now, id))

    def report(self, job: Job) -> bool:
        """Enters the progress of a job. Returns True when it is to be cancelled."""
        done = (job.members, job.bytes, job.all_members, job.all_bytes)
        known = "SELECT is_cancelled, members, bytes, all_members, all_bytes FROM jobs WHERE id = ?"
        with self._reading() as db:
            found = db.query(known, (job.id,))
            if found and found[0][1:] != done:
                change = (
                    "UPDATE jobs SET members = ?, bytes = ?, all_members = ?, all_bytes = ?"
                    " WHERE id = ?"
                )
                db.query(change, (*done, job.id))
        return bool(found and found[0][0])

    def cancel(self, id: str) -> None:
        """Has whoever runs a job end it; harmless when it has ended."""
        with self._writing() as db:
            db.query(f"UPDATE jobs SET is_cancelled = 1 WHERE id = ? AND {_UNFINISHED}", (id,))

    def prove(self, id: str, proof: str) -> None:
        """Enters what will show that a job was done."""
        with self._writing(durable=True) as db:
            db.query("UPDATE jobs SET proof = ? WHERE id = ?", (proof, id))

    def end(self, job: Job, ending: Ending) -> bool:
        """Enters how a job ended, and its last progress; False when somebody else did."""
        with self._writing(durable=True) as db:
            if not db.query(f"SELECT 1 FROM jobs WHERE id = ? AND {_UNFINISHED}", (job.id,)):
                return False
            change = (
                "UPDATE jobs SET state = ?, status = ?, headers = ?, ended = ?, members = ?,"
                " bytes = ?, all_members = ?, all_bytes = ? WHERE id = ?"
            )
            fields = _dump(ending.headers)
            done = (job.members, job.bytes, job.all_members, job.all_bytes)
            db.query(change, (ending.state.value, ending.status, fields, ending.at, *done, job.id))
        return True

    def keep(self, id: str, number: int, data: bytes) -> None:
        """Enters a piece of the body of a job's answer, counted from 0; before `end`."""
        with self._writing() as db:
            db.query("INSERT INTO pieces VALUES(?,?,?)", (id, number, data))

    def drop(self, id: str) -> None:
        """Removes the pieces that a dead owner has kept."""
        with self._writing() as db:
            db.query("DELETE FROM pieces WHERE job = ?", (id,))

    def piece(self, id: str, number: int) -> bytes | None:
        """Returns a piece of the body of a job's answer; None behind the last."""
        with self._reading() as db:
            asked = "SELECT data FROM pieces WHERE job = ? AND number = ?"
            found = db.query(asked, (id, number))
        data: bytes | None = found[0][0] if found else None
        return data

    def size(self, id: str) -> int:
        """Returns how long the body of a job's answer is, in bytes."""
        with self._reading() as db:
            asked = "SELECT coalesce(sum(length(data)), 0) FROM pieces WHERE job = ?"
            size: int = db.query(asked, (id,))[0][0]
        return size

    def forget(self, id: str) -> None:
        """Removes a job, whatever its state."""
        with self._writing() as db:
            _forget(db, [id])

    def forget_ended(self, *, before: float) -> None:
        """Removes the jobs that ended before a moment, in seconds since the epoch."""
        with self._writing() as db:
            ended = db.query("SELECT id FROM jobs WHERE ended < ?", (before,))
            _forget(db, [id for (id,) in ended])

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Database]:
        with self._mutex:
            if self._db is not None and self._db.is_damaged:
                self._db.close()
                self._db = None
            if self._db is None:
                self._db = self._open()
            yield self._db

    @contextlib.contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[Database]:
        """One transaction. How far a job is need not survive a power cut."""
        with self._reading() as db:
            waits = durable and self._full
            if waits:
                db.query("PRAGMA synchronous = FULL")
            db.query("BEGIN IMMEDIATE")
            try:
                yield db
                db.query("COMMIT")
            except BaseException:
                if db.in_transaction:  # SQLite has perhaps undone it itself
                    db.query("ROLLBACK")
                raise
            finally:
                if waits:
                    db.query("PRAGMA synchronous = NORMAL")

    def _open(self) -> Database:
        if self._folder is None:
            return _prepared(Database(":memory:", full=False))
        path = self._folder / FILE
        opening = GateLock(self._folder / "jobs.lock")
        try:
            opening.acquire(_OPEN_WAIT_S)
            try:
                try:
                    return _prepared(Database(path, full=False))
                except CorruptState:
                    # What jobs were at is in the journal; only who started them is not told.
                    set_aside(path)
                    return _prepared(Database(path, full=False))
            finally:
                opening.release()
        finally:
            opening.close()


def _forget(db: Database, ids: Sequence[str]) -> None:
    for id in ids:
        db.query("DELETE FROM jobs WHERE id = ?", (id,))
        db.query("DELETE FROM pieces WHERE job = ?", (id,))


def _prepared(db: Database) -> Database:
    try:
        version = db.query("PRAGMA user_version")[0][0]
        if version > _VERSION:
            raise StateFailure(f"{FILE} is of a newer davserver (version {version})")
        db.query("PRAGMA journal_mode = WAL")
        if version == 0:
            db.query("BEGIN IMMEDIATE")
            db.query(_SCHEMA)
            db.query(f"PRAGMA user_version = {_VERSION}")
            db.query("COMMIT")
        # Not quick_check: it does not see that an index and its table tell different things.
        if db.query("PRAGMA integrity_check(1)") != [("ok",)]:
            raise CorruptState(f"{FILE} is damaged")
    except BaseException:
        db.close()
        raise
    return db


def _row(job: Job) -> tuple[Any, ...]:
    values = dict(zip(_NAMES, astuple(job), strict=True))
    return tuple({**values, "state": job.state.value, "headers": _dump(job.headers)}.values())


def _job(row: Sequence[Any]) -> Job:
    values = dict(zip(_NAMES, row, strict=True))
    headers = json.loads(values["headers"])
    values["headers"] = tuple((n.encode("latin-1"), v.encode("latin-1")) for n, v in headers)
    values["state"] = JobState(values["state"])
    values["is_cancelled"] = bool(values["is_cancelled"])
    return Job(**values)


def _dump(headers: Fields) -> str:
    return json.dumps([(n.decode("latin-1"), v.decode("latin-1")) for n, v in headers])
