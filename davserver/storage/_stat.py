"""Looks at one name: statx(2) where there is one, for the birth time, else os.stat."""

from __future__ import annotations

import os
import stat as st
import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from davserver.protocol.path import encode_segments
from davserver.storage import _linux
from davserver.storage.base import Entry, Kind, Stat

_IFMT = 0o170000
_KINDS = {st.S_IFREG: Kind.FILE, st.S_IFDIR: Kind.COLLECTION}
_OTHER = Kind.OTHER
_FILE = Kind.FILE
_statx = _linux.statx
_statx_each = _linux.statx_each
BATCH = 128
"""Names that `Looker.members` takes at once."""


class Seen(NamedTuple):
    """A Stat, with the mode and owner that a Stat hides."""

    stat: Stat
    mode: int
    uid: int

    @property
    def is_link(self) -> bool:
        return self.mode & _IFMT == st.S_IFLNK

    def is_readable(self, euid: int) -> bool:
        """True when the mode alone says so, for a process of this user."""
        if self.mode & 0o444 == 0o444:
            return True
        return self.uid == euid and self.mode & 0o400 != 0


# What NamedTuple._make does, without its call in between: a listing makes one of each a member.
_new = tuple.__new__


class Looker:
    """Looks at names with buffers of its own: one a thread."""

    __slots__ = ("_buffer", "_room")

    def __init__(self) -> None:
        self._buffer = _linux.statx_buffer()
        self._room: _linux.StatxRoom | None = None

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

    def members(
        self,
        dir_fd: int,
        names: Sequence[str],
        new_entry: type[Entry],
        look_closer: Callable[[str], Entry | None],
    ) -> list[Entry]:
        """Returns the members of these names, BATCH of them at most. The hot path of a listing:
        what `look` does, with no call of ours for each.

        Args:
            new_entry: made of each file and collection whose mode lets us read it.
            look_closer: asked about every other, and about what could not be looked at; None
                leaves it out.
        """
        if self._room is None:
            self._room = _linux.StatxRoom(BATCH)
        found = _statx_each(dir_fd, encode_segments(names), self._room)
        euid = os.geteuid()
        entries: list[Entry] = []
        for name, fields in zip(names, found, strict=True):
            mask, uid, mode, ino, size, birth, birth_ns, mtime, mtime_ns, major, minor = fields
            kind: Kind | None
            if mode & 0o170444 == 0o100444:  # mostly it is a file that everybody may read
                kind = _FILE
            elif mode & 0o444 == 0o444 or (uid == euid and mode & 0o400):
                kind = _KINDS.get(mode & 0o170000)
            else:
                kind = None
            if kind is None:
                entry = look_closer(name)
                if entry is not None:
                    entries.append(entry)
                continue
            is_file = kind is _FILE
            stat = (
                kind,
                size if is_file else 0,
                mtime * 1_000_000_000 + mtime_ns,
                birth * 1_000_000_000 + birth_ns if mask & 0x800 else None,
                major << 20 | minor,
                ino,
                is_file and mode & 0o100 != 0,
            )
            entries.append(_new(new_entry, (name, _new(Stat, stat))))
        return entries


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

    def members(
        self,
        dir_fd: int,
        names: Sequence[str],
        new_entry: type[Entry],
        look_closer: Callable[[str], Entry | None],
    ) -> list[Entry]:
        found = map(look_closer, names)
        return [entry for entry in found if entry is not None]


class _Threads(threading.local):
    def __init__(self) -> None:
        self.looker = Looker()


_plain = PlainLooker()
_threads = _Threads()


def get_looker(*, plain: bool = False) -> Looker:
    """Returns the Looker of this thread."""
    if plain or not _linux.HAS_STATX:
        return _plain
    return _threads.looker


def look(dir_fd: int, name: bytes, *, plain: bool = False) -> Seen:
    """Looks at one name. Raises OSError."""
    if plain or not _linux.HAS_STATX:
        return _plain.look(dir_fd, name)
    return _threads.looker.look(dir_fd, name)
