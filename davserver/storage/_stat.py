"""Looks at one name: statx(2) where there is one, for the birth time, else os.stat."""

from __future__ import annotations

import os
import stat as st
import threading
from typing import NamedTuple

from davserver.storage import _linux
from davserver.storage.base import Kind, Stat

_IFMT = 0o170000
_KINDS = {st.S_IFREG: Kind.FILE, st.S_IFDIR: Kind.COLLECTION}
_OTHER = Kind.OTHER
_FILE = Kind.FILE
_statx = _linux.statx


class Seen(NamedTuple):
    """A Stat, with the mode and owner that a Stat hides."""

    stat: Stat
    mode: int
    uid: int

    @property
    def is_link(self) -> bool:
        return self.mode & _IFMT == st.S_IFLNK


# What NamedTuple._make does, without its call in between: a listing makes one of each a member.
_new = tuple.__new__


class Looker:
    """Looks at names with one buffer: one a thread, or one a scan."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = _linux.statx_buffer()

    def look(self, dir_fd: int, name: bytes) -> Seen:
        """Returns what `name` in `dir_fd` is, links not followed; b"" is `dir_fd` itself."""
        mask, uid, mode, ino, size, birth, birth_ns, mtime, mtime_ns, major, minor = _statx(
            dir_fd, name, self._buffer
        )
        kind = _KINDS.get(mode & _IFMT, _OTHER)
        is_file = kind is _FILE
        stat = _new(
            Stat,
            (
                kind,
                size if is_file else 0,
                mtime * 1_000_000_000 + mtime_ns,
                birth * 1_000_000_000 + birth_ns if mask & _linux.STATX_BTIME else None,
                major << 20 | minor,
                ino,
                is_file and mode & 0o100 != 0,
            ),
        )
        return _new(Seen, (stat, mode, uid))


class PlainLooker(Looker):
    """The same where the system has no statx."""

    __slots__ = ()

    def __init__(self) -> None:
        """There is nothing to hold."""

    def look(self, dir_fd: int, name: bytes) -> Seen:
        found = os.stat(name, dir_fd=dir_fd, follow_symlinks=False) if name else os.fstat(dir_fd)
        kind = _KINDS.get(found.st_mode & _IFMT, _OTHER)
        is_file = kind is _FILE
        birth_s: float | None = getattr(found, "st_birthtime", None)
        stat = Stat(
            kind,
            found.st_size if is_file else 0,
            found.st_mtime_ns,
            None if birth_s is None else int(birth_s * 1_000_000_000),
            found.st_dev,
            found.st_ino,
            is_file and found.st_mode & 0o100 != 0,
        )
        return Seen(stat, found.st_mode, found.st_uid)


class _Threads(threading.local):
    def __init__(self) -> None:
        self.looker = Looker()


_plain = PlainLooker()
_threads = _Threads()


def new_looker(*, plain: bool = False) -> Looker:
    """Returns a Looker of its own, for a scan."""
    if plain or not _linux.HAS_STATX:
        return _plain
    return Looker()


def look(dir_fd: int, name: bytes, *, plain: bool = False) -> Seen:
    """Looks at one name. Raises OSError."""
    if plain or not _linux.HAS_STATX:
        return _plain.look(dir_fd, name)
    return _threads.looker.look(dir_fd, name)
