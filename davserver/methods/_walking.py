"""What the walks through a tree have in common: the level that they are at.

A walk keeps one open listing a level, 64 at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from davserver.context import RequestContext
from davserver.errors import Stopped
from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Entry, Storage
from davserver.storage.listed import Listed, listed_of

_LEVELS = 64


@dataclass(slots=True)
class Frame:
    """One level of a walk.

    Attributes:
        left: members that come before those of `members`: they were taken, and put back.
    """

    path: DavPath
    key: Key
    target: DavPath | None = None
    listing: AbstractContextManager[Iterator[Entry]] | None = None
    members: Iterator[Listed] = field(default_factory=lambda: iter(()))
    left: Listed | None = None
    pending: list[str] = field(default_factory=list)
    identity: tuple[int, int] | None = None
    failed: bool = False
    locked: bool = False
    is_partial: bool = False
    attempts: int = 0

    def open(self, storage: Storage, *, level: int) -> None:
        """Raises as Storage.scan_all does."""
        listing = storage.scan_all(self.path)
        if level < _LEVELS:
            self.listing, self.members = listing, listed_of(listing.__enter__())
            return
        with listing as members:
            self.members = listed_of(iter(list(members)))

    def take(self) -> Listed | None:
        """Returns the next few members; None at their end. Raises StorageError."""
        few, self.left = self.left, None
        return next(self.members, None) if few is None else few

    def close(self) -> None:
        self.left = None
        if self.listing is not None:
            self.listing.__exit__(None, None, None)
            self.listing = None
        self.members = iter(())


def child_key(storage: Storage, key: Key, name: str) -> Key:
    return storage.child_key(key, name.encode("utf-8", "surrogateescape"))


def refuse_cancelled(rc: RequestContext) -> None:
    """Raises Stopped (503): what was begun is to end here."""
    if rc.progress.cancelled:
        raise Stopped("stopped before it was complete", headers=((b"retry-after", b"1"),))


class Teller:
    """Tells the progress of files that are copied one after the other, and of a long one while
    that is copied."""

    __slots__ = ("_rc", "_so_far")

    def __init__(self, rc: RequestContext) -> None:
        self._rc = rc
        self._so_far = 0

    def tell(self, size: int) -> None:
        """Of so many more bytes. Raises Stopped."""
        self._so_far += size
        self._rc.progress.passed(size)
        refuse_cancelled(self._rc)

    def done(self, size: int, *, count: int = 1) -> None:
        """The file has so many bytes, or so many members have them together."""
        self._rc.progress.did(size - self._so_far, count=count)
        self._so_far = 0

    def failed(self) -> None:
        """Nothing is left of it."""
        self._rc.progress.passed(-self._so_far)
        self._so_far = 0
