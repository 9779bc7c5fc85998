"""Who has an account: from the settings, the users file, an htpasswd file.

A Roster is what they hold together at one time. The files are read again when they change; one
that cannot be used then is told of, and tried again; meanwhile those who were known before stay so,
and where nobody was, nobody is let in.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import monotonic
from types import MappingProxyType

from davserver.auth.base import Principal
from davserver.auth.passwords import normalized, why_refused
from davserver.configtables import UserEntry
from davserver.errors import StateError

logger = logging.getLogger(__name__)

_FORBIDDEN_MODE = 0o027
"""No hash is for others to read, nor for a group to write."""


class AccountsError(StateError):
    """The accounts cannot be read or written. The message is one line."""


@dataclass(frozen=True, slots=True)
class Account:
    """One user.

    Attributes:
        password: the hash.
        sha256, md5: what Digest needs, in hex, for our realm; None: not for this user.
        quota: bytes of the user's home; None: no limit of its own.
    """

    principal: Principal
    password: str = field(repr=False)
    sha256: str | None = field(default=None, repr=False)
    md5: str | None = field(default=None, repr=False)
    quota: int | None = None


@dataclass(frozen=True, slots=True)
class Roster:
    """Everybody who has an account.

    Attributes:
        is_open: nobody can sign in and nobody has to: no account was ever made.
        names: in a fixed order, for decoys.
    """

    accounts: Mapping[str, Account]
    is_open: bool
    has_sha256: bool = False
    has_md5: bool = False
    names: tuple[str, ...] = ()

    def find(self, name: str) -> Account | None:
        """Returns the account that a client means: Windows puts a domain in front, Office and
        macOS behind."""
        name = normalized(name)
        account = self.accounts.get(name)
        if account is not None:
            return account
        for bare in (name.rpartition("\\")[2], name.partition("@")[0]):
            if bare != name and bare in self.accounts:
                return self.accounts[bare]
        return None


def make_roster(entries: Sequence[UserEntry], *, realm: str, is_open: bool) -> Roster:
    """Of entries with one name the first counts."""
    accounts: dict[str, Account] = {}
    for entry in entries:
        if entry.name not in accounts:
            accounts[entry.name] = _account(entry, realm)
    return Roster(
        MappingProxyType(accounts),
        is_open,
        any(account.sha256 for account in accounts.values()),
        any(account.md5 for account in accounts.values()),
        tuple(sorted(accounts)),
    )


def _account(entry: UserEntry, realm: str) -> Account:
    problem = why_refused(entry.password)
    if problem is not None:
        raise AccountsError(f"user {entry.name!r}: {problem}")
    principal = Principal(entry.name, frozenset(entry.groups))
    digest = entry.digest
    if digest is not None and digest.realm != realm:
        logger.error(
            "%r cannot sign in with Digest: it was made for realm %r, which is %r now;"
            " davserver user passwd makes it anew",
            *(entry.name, digest.realm, realm),
        )
        digest = None
    if digest is None:
        return Account(principal, entry.password, quota=entry.quota)
    return Account(principal, entry.password, digest.sha256, digest.md5, entry.quota)


_LOOK_S = 0.02
_RETRY_S = 1.0
"""What could not be read is tried again so much later, though the files look the same."""
Reader = Callable[[Path], Mapping[str, UserEntry]]
_Seen = tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True)
class Source:
    """A file with accounts; `optional`: it need not be there."""

    path: Path
    read: Reader
    optional: bool = False


class Accounts:
    """Keeps the roster up to date.

    Args:
        listed: the accounts of the settings; they win.
        sources: files, in the order in which they win.
        realm: that Digest is for.
        must_sign_in: somebody can sign in by other means: a proxy's.
        known: files that accounts were read from before, by others of this server.

    Attributes:
        known: the same, with those that these were read from.

    Raises AccountsError when a file cannot be used.
    """

    def __init__(
        self,
        listed: Sequence[UserEntry],
        sources: Sequence[Source],
        *,
        realm: str,
        must_sign_in: bool = False,
        known: Collection[Path] = (),
    ) -> None:
        self._listed = tuple(listed)
        self._sources = tuple(sources)
        self._realm = realm
        self.known = {source.path for source in sources}.intersection(known)
        self._is_open = not (listed or must_sign_in or self.known)
        self._lock = threading.Lock()
        self._next_look = 0.0
        self._next_try = inf
        self._told = ""
        self._seen = tuple(_signature(source.path) for source in self._sources)
        self.roster = self._read()

    @property
    def is_stale(self) -> bool:
        """True when a file is another one than was read: `refresh` has to be called. Looked at
        every _LOOK_S seconds."""
        now = monotonic()
        if now < self._next_look:
            return False
        if self._has_changed():
            return True
        self._next_look = now + _LOOK_S
        return False

    def _has_changed(self) -> bool:
        return monotonic() >= self._next_try or any(
            _signature(source.path) != seen
            for source, seen in zip(self._sources, self._seen, strict=True)
        )

    def refresh(self) -> Roster:
        """Reads again what has changed. Blocks."""
        with self._lock:
            if self._has_changed():
                # Before it is read: a change meanwhile is found the next time.
                self._seen = tuple(_signature(source.path) for source in self._sources)
                self._next_try = monotonic() + _RETRY_S
                try:
                    self.roster = self._read()
                except AccountsError as error:
                    self._keep(str(error))
                else:
                    self._next_try, self._told = inf, ""
            return self.roster

    def _keep(self, problem: str) -> None:
        """Goes on with the accounts that are known, without those that cannot be read."""
        kept = "users stay as they were"
        if self.roster.is_open:
            # Whoever made the file meant to shut others out.
            self.roster = make_roster((), realm=self._realm, is_open=False)
            kept = "nobody is let in until it is mended"
        if problem != self._told:
            logger.error("%s: %s", kept, problem)
            self._told = problem

    def _read(self) -> Roster:
        entries, gone = list(self._listed), []
        for source in self._sources:
            try:
                entries += source.read(source.path).values()
            except FileNotFoundError:
                if not source.optional:
                    raise AccountsError(f"{source.path} does not exist") from None
                gone += [source.path] if source.path in self.known else []
                continue
            except AccountsError:
                self._note(source.path)
                raise
            self._note(source.path)
        roster = make_roster(entries, realm=self._realm, is_open=self._is_open)
        for path in gone:
            logger.error(
                "%s is gone, and with it its accounts: put it back, or make them anew with"
                " davserver user add; to serve without accounts, start the server again",
                path,
            )
        return roster

    def _note(self, path: Path) -> None:
        """Once there are accounts, be they readable or not, their loss lets nobody in."""
        self._is_open = False
        self.known.add(path)


def _signature(path: Path) -> _Seen:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def read_private(path: Path, *, limit: int) -> str:
    """Returns the text of a file with secrets. Raises AccountsError when it is not for us alone,
    FileNotFoundError when it is not there."""
    try:
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(limit + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(path) from None
    except OSError as error:
        raise AccountsError(f"{path} cannot be read: {error.strerror}") from error
    if mode & _FORBIDDEN_MODE:
        raise AccountsError(f"{path} holds password hashes: chmod 600 it (o= at least)")
    if len(data) > limit:
        raise AccountsError(f"{path} is larger than {limit} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise AccountsError(f"{path}: not UTF-8") from None
