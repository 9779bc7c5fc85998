"""What the parts of the file-system backend share: the resolver and how to publish."""

from __future__ import annotations

import fcntl
import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal

from davserver.errors import (
    InvalidName,
    IsACollection,
    NoSpace,
    ParentMissing,
    ReadOnlyStorage,
    UnsupportedKind,
)
from davserver.protocol.path import DavPath, is_creatable
from davserver.storage import names
from davserver.storage._oserrors import show
from davserver.storage._stat import Seen
from davserver.storage.base import Kind, Stat
from davserver.storage.found import Found
from davserver.storage.resolve import Resolver
from davserver.storage.writeback import Writeback

Durability = Literal["none", "file", "full"]

_FULLFSYNC: int | None = getattr(fcntl, "F_FULLFSYNC", None)
_NS = 1_000_000_000


@dataclass(slots=True)
class Policy:
    """Settings and facts of one mount.

    Attributes:
        owner: id of this worker, part of its hidden names.
        is_alive: False for the id of a worker that is gone, whose hidden names may be removed.
        umask: as the process had it at start.
        fallbacks: names of system features not to use, for tests and for systems without.
        inline: the file system is local.
        abandoned: hidden names of this worker that it could not remove.
    """

    resolver: Resolver
    owner: str
    is_alive: Callable[[str], bool]
    durability: Durability
    umask: int
    fallbacks: frozenset[str]
    read_only: bool
    inline: bool
    abandoned: set[bytes] = field(default_factory=set)

    def refuse_read_only(self, path: DavPath) -> None:
        """Raises ReadOnlyStorage (403)."""
        if self.read_only:
            raise ReadOnlyStorage(f"{show(path)}: this storage is read-only")

    def require_space(self, path: DavPath, dir_fd: int, size: int) -> None:
        """Raises NoSpace where the file system has not so many bytes left."""
        space = os.fstatvfs(dir_fd)
        free = space.f_bavail * space.f_frsize
        if space.f_blocks and size > free:  # some FUSE file systems tell nothing
            raise NoSpace(f"{show(path)}: {size} bytes announced, {free} free")

    def sync_file(self, fd: int) -> None:
        """Makes the content of a file durable. Raises OSError: it is then lost, never retried."""
        if self.durability != "none":
            _fsync(fd)
        elif not self.inline:
            # Over a network what there was no room for is told when the file is closed, whoever
            # does it (close(2)): that has to be before it takes the place of another one.
            os.close(os.dup(fd))

    def writeback(self, fd: int, size: int) -> Writeback | None:
        """Returns what writes a long file to disk as it comes, its first `size` bytes apart; None
        where nobody is going to wait for the disk."""
        return None if self.durability == "none" else Writeback(fd, size)

    def sync_directory(self, dir_fd: int) -> None:
        """Makes the names in a directory durable. `dir_fd` may be an O_PATH descriptor."""
        if self.durability != "full":
            return
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
        try:
            _fsync(fd)
        finally:
            os.close(fd)


def let_go(*fds: int) -> None:
    """Closes what is open. What the system says of it comes too late to matter: what had to be
    known was asked for by `sync_file`."""
    for fd in fds:
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


def _fsync(fd: int) -> None:
    if _FULLFSYNC is not None:
        fcntl.fcntl(fd, _FULLFSYNC)  # macOS: fsync does not empty the drive's cache
    else:
        os.fsync(fd)


def new_mtime_ns(wanted_ns: int | None) -> int:
    """Returns the time to set: now, or `wanted_ns`. One of a whole second, which is all that
    clients give, gets random nanoseconds, so that an entity-tag never comes back; for any other
    the caller has seen to that."""
    if wanted_ns is None:
        return time.time_ns()
    return wanted_ns if wanted_ns % _NS else wanted_ns + secrets.randbelow(_NS)


def require_creatable(path: DavPath, found: Found) -> None:
    """Raises ParentMissing (409) or InvalidName (400) where an unmapped path cannot be made."""
    if found.missing > 1:
        raise ParentMissing(f"{show(path)}: its parent is no collection")
    if not is_creatable(names.decode(found.name)):
        raise InvalidName(f"{show(path)}: not UTF-8, or has a control character")


def require_file(path: DavPath, stat: Stat) -> None:
    """Raises IsACollection, UnsupportedKind where a version of a file cannot be published."""
    if stat.kind is Kind.COLLECTION:
        raise IsACollection(f"{show(path)}: is a collection")
    if stat.kind is not Kind.FILE:
        raise UnsupportedKind(f"{show(path)}: neither file nor collection")


def may_write(dir_fd: int, name: bytes, seen: Seen | None) -> bool:
    """False for a file that this process may not write. A rename over it would ask the directory
    alone; one who made a file read-only meant it."""
    if seen is not None and seen.mode & 0o200 and seen.uid == os.geteuid():
        return True
    effective = os.access in os.supports_effective_ids
    if os.access(name, os.W_OK, dir_fd=dir_fd, effective_ids=effective):
        return True
    # access(2) does not tell why: what was deleted since it was found forbids nothing
    return not os.access(name, os.F_OK, dir_fd=dir_fd, effective_ids=effective)


def umask() -> int:
    """Returns the process's umask. Linux tells it (proc_pid_status(5)); elsewhere there is no way
    to read it without setting it, while another thread may be making a file."""
    with suppress(OSError), open("/proc/self/status", "rb") as status:
        for line in status:
            if line.startswith(b"Umask:"):
                return int(line.split()[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask
