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
from davserver.storage.batches import BATCH, Plain, stat_of

_IFMT = 0o170000
_KINDS = {st.S_IFREG: Kind.FILE, st.S_IFDIR: Kind.COLLECTION}
_OTHER = Kind.OTHER
_FILE = Kind.FILE
_statx = _linux.statx
_try_statx = _linux.try_statx
_statx_each = _linux.statx_each


class Seen(NamedTuple):
    """A Stat, with the mode and owners that a Stat hides."""

    stat: Stat
    mode: int
    uid: int
    gid: int

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
        fields = _statx(dir_fd, name, self._buffer)
        return _new(Seen, (stat_of(fields), fields[3], fields[1], fields[2]))

    def try_look(self, dir_fd: int, name: bytes) -> Seen | None:
        """As `look`; None where nothing has the name: in a third of the time."""
        fields = _try_statx(dir_fd, name, self._buffer)
        return (
            None
            if fields is None
            else _new(Seen, (stat_of(fields), fields[3], fields[1], fields[2]))
        )

    def members(
        self, dir_fd: int, names: Sequence[str], look_closer: Callable[[str], Entry | None]
    ) -> Sequence[Entry]:
        """Returns the members of these names, BATCH of them at most.

        Args:
            look_closer: asked about what is no plain file or collection that its mode lets us
                read, and about what could not be looked at; None leaves it out.
        """
        if self._room is None:
            self._room = _linux.StatxRoom(BATCH)
        failures, rows = _statx_each(dir_fd, encode_segments(names), self._room)
        kinds = None if any(failures) else _plain_kinds(rows)
        if kinds:
            return Plain(names, rows, kinds)
        euid = os.geteuid()
        entries: list[Entry] = []
        for name, failed, fields in zip(names, failures, rows, strict=True):
            seen = Seen(stat_of(fields), fields[3], fields[1], fields[2])
            if failed or seen.stat.kind is _OTHER or not seen.is_readable(euid):
                entry = look_closer(name)
                if entry is not None:
                    entries.append(entry)
            else:
                entries.append(Entry(name, seen.stat))
        return entries


def _plain_kinds(rows: _linux.StatxRows) -> frozenset[Kind]:
    """Returns the kinds that there are; none at all when there is a link, a special file, or one
    whose mode does not let us read it."""
    modes = set(rows.modes())
    is_open = all(mode & 0o444 == 0o444 for mode in modes)
    if not is_open and not (
        all(mode & 0o400 for mode in modes) and set(rows.uids()) == {os.geteuid()}
    ):
        return frozenset()
    kinds = frozenset(_KINDS.get(mode & _IFMT, _OTHER) for mode in modes)
    return frozenset() if _OTHER in kinds else kinds


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
        return Seen(stat, found.st_mode, found.st_uid, found.st_gid)

    def try_look(self, dir_fd: int, name: bytes) -> Seen | None:
        try:
            return self.look(dir_fd, name)
        except FileNotFoundError:
            return None

    def members(
        self, dir_fd: int, names: Sequence[str], look_closer: Callable[[str], Entry | None]
    ) -> Sequence[Entry]:
        found = map(look_closer, names)
        return [entry for entry in found if entry is not None]


def look_at_file(fd: int) -> Stat | None:
    """Returns what an open file is, without its birth time; None for what is no file. In a third
    of the time that `look` takes."""
    found = os.fstat(fd)
    mode = found.st_mode
    return stat_of_file(found, mode) if mode & _IFMT == st.S_IFREG else None


def stat_of_file(found: os.stat_result, mode: int) -> Stat:
    """Returns what fstat has told of a file, but for its mode."""
    device, executable = found.st_dev, mode & 0o100 != 0
    values = (_FILE, found.st_size, found.st_mtime_ns, None, device, found.st_ino, executable)
    return _new(Stat, values)


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
