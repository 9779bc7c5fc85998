"""Faults below one request of an application in memory: the nth call of a layer fails.

Three layers: the storage's calls (`FaultyStorage`), the system calls that the file system needs,
and the statements of the state's database. Faults are armed for one request only; what stood there
before and what may stand there after is as in the kill tests.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

from lxml import etree

from davserver import errors
from davserver.errors import StateError, StorageError
from davserver.state.sqlfile import Database
from davserver.state.sqlite import SqliteState
from davserver.storage import _linux, _stat
from davserver.storage.faulty import FaultyStorage
from tests.conftest import AppDav, make_app_dav
from tests.support.aftermath import World, hidden, look
from tests.support.crashing import Request
from tests.support.crashplans import Scenario, fill, request_of
from tests.support.reply import Reply

_SYSTEM = ["copy_file_range", "dup", "fchmod", "fchown", "fstat", "fstatvfs", "fsync", "getxattr"]
_SYSTEM += ["link", "listxattr", "mkdir", "open", "pread", "preadv", "readlink", "rename"]
_SYSTEM += [
    "read",
    "rmdir",
    "scandir",
    "setxattr",
    "stat",
    "symlink",
    "unlink",
    "utime",
    "write",
    "writev",
]
_PLACES = ("davserver.storage", "shutil")
_QUOTA, _SPACE = "{DAV:}quota-not-exceeded", "{DAV:}sufficient-disk-space"


@dataclass(frozen=True)
class Fault:
    """What a call fails with, and the answer that this becomes.

    Attributes:
        error: a class of StorageError or StateError, or an errno.
        condition: the precondition element of the answer.
    """

    layer: str
    error: Any
    status: int
    condition: str | None = None

    @property
    def name(self) -> str:
        error = self.error
        return errno.errorcode[error] if isinstance(error, int) else error.__name__


FAULTS = [
    Fault("storage", errors.StorageFailure, 500),
    Fault("storage", errors.NoSpace, 507, _SPACE),
    Fault("storage", errors.AccessDenied, 403),
    Fault("storage", errors.QuotaExceeded, 507, _QUOTA),
    Fault("storage", errors.TooManyOpenFiles, 503),
    Fault("storage", errors.ReadOnlyStorage, 403),
    Fault("system", errno.EIO, 500),
    Fault("system", errno.ENOSPC, 507, _SPACE),
    Fault("system", errno.EMFILE, 503),
    Fault("system", errno.EDQUOT, 507, _QUOTA),
    Fault("system", errno.EROFS, 403),
    Fault("state", errors.StateFull, 507, _SPACE),
    Fault("state", errors.StateFailure, 500),
    Fault("state", errors.GateBusy, 503),
]


@dataclass
class Fuse:
    """Counts the calls of one request, and blows at one of them, or from it on.

    Attributes:
        fail_at: number of the call, from 1; 0: none.
        calls: those that were made, by name.
    """

    fault: Fault
    fail_at: int = 0
    permanent: bool = False
    armed: bool = False
    blown: int = 0
    calls: list[str] = field(default_factory=list)

    def burn(self, name: str = "") -> None:
        if not self.armed:
            return
        self.calls.append(name)
        number = len(self.calls)
        if number != self.fail_at and not (self.permanent and number > self.fail_at > 0):
            return
        self.blown += 1
        error = self.fault.error
        if isinstance(error, int):
            raise OSError(error, os.strerror(error))
        raise error(f"injected at call {number}, {name}")

    @property
    def where(self) -> str:
        number = self.fail_at
        name = self.calls[number - 1] if 0 < number <= len(self.calls) else "none"
        mode = "from then on" if self.permanent else "once"
        return f"{self.fault.name} at {self.fault.layer} call {number} ({name}), {mode}"


def _wrapped(inner: Callable[..., Any], name: str, fuse: Fuse) -> Callable[..., Any]:
    def call(*args: Any, **options: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"].startswith(_PLACES):
            fuse.burn(name)
            if name == "fsync":
                return None  # nobody cuts the power
        return inner(*args, **options)

    return call


@contextmanager
def faulty_system(fuse: Fuse) -> Iterator[None]:
    """The system calls of storage and state go through the fuse."""
    places: list[tuple[Any, str]] = [(os, name) for name in _SYSTEM]
    places += [(_linux, "openat2"), (_linux, "renameat2"), (_linux, "try_linkat"), (fcntl, "ioctl")]
    places += [(_stat, "_statx"), (_stat, "_statx_each")]
    with ExitStack() as stack:
        for place, name in places:
            call = _wrapped(getattr(place, name), name, fuse)
            stack.enter_context(mock.patch.object(place, name, call))
        # What the system offers is known by its functions.
        stack.enter_context(mock.patch.object(os, "supports_dir_fd", _Everything()))
        stack.enter_context(mock.patch.object(os, "supports_follow_symlinks", _Everything()))
        yield


class _Everything:
    def __contains__(self, function: object) -> bool:
        return True


@contextmanager
def faulty_statements(fuse: Fuse) -> Iterator[None]:
    query = Database.query

    def counted(self: Any, sql: str, bindings: Any = ()) -> Any:
        if not sql.startswith("ROLLBACK"):
            fuse.burn(" ".join(sql.split()[:3]))
        return query(self, sql, bindings)

    with mock.patch.object(Database, "query", counted):
        yield


class Named(FaultyStorage):
    """FaultyStorage with our fuse, which tells the calls by name."""

    def __init__(self, inner: Any, fuse: Fuse) -> None:
        super().__init__(inner, fail_at=0, error=StorageError)
        self.fuse: Any = _Caller(fuse)


class _Caller:
    def __init__(self, fuse: Fuse) -> None:
        self._fuse = fuse

    def burn(self) -> None:
        self._fuse.burn(sys._getframe(1).f_code.co_name)


@dataclass(frozen=True)
class Run:
    """How one request went: `reply` is None when its answer was broken off in the middle."""

    reply: Reply | None
    found: World
    blown: int
    where: str


class Stage:
    """A scenario that is set up once and copied for each run.

    Attributes:
        before, after: what a fresh worker finds when nothing and when everything was done.
    """

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self._scenario = scenario
        # Always the same place: a state knows which folder it is of.
        self._base = folder / "base"
        self._template = folder / "template"
        self._base.mkdir()
        dav = make_app_dav(self._base, "filesystem", durability="none")
        self.tokens = fill(dav, scenario)
        dav.close()
        shutil.copytree(self._base, self._template)
        self.request = request_of(scenario, self.tokens)
        base = self._fresh()
        self.before = self._look(base)
        run = self.run(Fuse(FAULTS[0]))
        assert run.reply is not None
        assert run.reply.status == scenario.status, run.reply
        self.after = run.found
        self.whole = run.reply.body

    def _fresh(self) -> Path:
        shutil.rmtree(self._base)
        shutil.copytree(self._template, self._base)
        return self._base

    def _look(self, base: Path) -> World:
        return look(base, self.tokens, fallbacks=self._scenario.fallbacks)

    def run(self, fuse: Fuse) -> Run:
        """Makes the request with the fault; then without faults the same worker must serve, and
        leave nothing behind: no hidden name, no journalled change."""
        base = self._fresh()
        with ExitStack() as stack:
            dav = self._open(base, fuse, stack)
            reply = self._ask(dav, fuse)
            assert dav.propfind("/", depth="infinity")
            with dav.app.services.state.hold([], wait_s=1) as view:
                assert not view.changes(), fuse.where
            assert not hidden(base / "root"), fuse.where
            again = dav.put("/c", b"nobody touches this", {"If": f"(<{self.tokens['/c']}>)"})
            assert again.status == 204, fuse.where
            assert dav.put("/next", b"").status == 201, fuse.where
            assert dav.delete("/next").status == 204, fuse.where
        try:
            found = self._look(base)
        except AssertionError as error:
            raise AssertionError(f"{fuse.where}: {error}") from error
        return Run(reply, found, fuse.blown, fuse.where)

    def _open(self, base: Path, fuse: Fuse, stack: ExitStack) -> AppDav:
        scenario = self._scenario
        layer = fuse.fault.layer
        if layer == "system":
            stack.enter_context(faulty_system(fuse))
        elif layer == "state":
            stack.enter_context(faulty_statements(fuse))
        state = SqliteState(base / "state", durability="none")
        dav = make_app_dav(
            base,
            "filesystem",
            overrides={"state": state},
            durability="full" if layer == "storage" else scenario.durability,
            fallbacks=scenario.fallbacks,
        )
        stack.callback(dav.close)
        services = dav.app.services
        if layer == "storage":
            stack.enter_context(mock.patch.object(os, "fsync", return_value=None))
            fields = {"storage": Named(services.storage, fuse)}
            for name, value in fields.items():
                object.__setattr__(services, name, value)
        return dav

    def _ask(self, dav: AppDav, fuse: Fuse) -> Reply | None:
        request: Request = self.request
        fuse.armed = True
        try:
            return dav.request(request.method, request.target, request.headers, request.body)
        except (StorageError, StateError):
            assert dav.last.messages or request.method in ("GET", "PROPFIND")
            return None
        finally:
            fuse.armed = False


def check_refusal(reply: Reply, fault: Fault, where: str) -> None:
    """The status of what failed, with its condition; 503 tells when to come again."""
    if reply.status == 207:
        statuses = _statuses(reply)
        assert statuses - {424} <= {fault.status, 200} | _consequences(fault), (where, reply)
        return
    assert reply.status == fault.status, (where, reply)
    if fault.condition is not None:
        assert [child.tag for child in _error(reply)] == [fault.condition], where
    if fault.status == 503:
        assert reply.headers["retry-after"], where


def _error(reply: Reply) -> etree._Element:
    """Returns what names the condition: of an extended MKCOL in the propstat of the properties that
    could not be set (RFC 5689 section 3)."""
    if reply.xml.tag != "{DAV:}mkcol-response":
        return reply.xml
    (error,) = reply.xml.iterfind("{DAV:}propstat/{DAV:}error")
    return error


def _statuses(reply: Reply) -> set[int]:
    """Returns every status that a multistatus tells, or the answer to a batch."""
    if reply.headers["content-type"] == "application/json":
        return _told(json.loads(reply.body)) - {207}
    answer = reply.multistatus
    statuses = set(answer.statuses.values())
    return statuses | {status for groups in answer.values() for status in groups}


def _told(document: dict[str, Any]) -> set[int]:
    """Returns every status in a multistatus in JSON, and in those that are told within."""
    found: set[int] = set()
    for result in document["results"]:
        found |= {
            part["status"] for part in (result, *result.get("propstat", ())) if "status" in part
        }
        found |= _told(result["multistatus"]) if "multistatus" in result else set()
    return found


def _consequences(fault: Fault) -> set[int]:
    """A member that could not be removed keeps its collection, which is then not empty."""
    return {409} if fault.layer != "state" else set()
