"""Members looked at together: what their Stats say, by the attribute rather than by the member.

A listing of thousands of files is rendered from columns; then nothing of ours is made, or run, for
each of them.
"""

from __future__ import annotations

import stat as st
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice
from typing import Protocol, overload

from davserver.storage._linux import STATX_BTIME, StatxFields, StatxRows
from davserver.storage.base import Entry, Kind, Stat

BATCH = 256
"""Members that are looked at together, at most."""
_SECOND = 1_000_000_000
_KINDS = {st.S_IFREG: Kind.FILE, st.S_IFDIR: Kind.COLLECTION}
# What NamedTuple._make does, without its call in between.
_new = tuple.__new__


def stat_of(fields: StatxFields) -> Stat:
    """Returns what statx has told."""
    mask, _, _, mode, ino, size, birth, birth_ns, mtime, mtime_ns, major, minor = fields
    kind = _KINDS.get(mode & 0o170000, Kind.OTHER)
    is_file = kind is Kind.FILE
    values = (
        kind,
        size if is_file else 0,
        mtime * _SECOND + mtime_ns,
        birth * _SECOND + birth_ns if mask & STATX_BTIME else None,
        major << 20 | minor,
        ino,
        is_file and mode & 0o100 != 0,
    )
    return _new(Stat, values)


class StatColumns(Protocol):
    """Columns of Stats of one kind; each has the order of the members."""

    def sizes(self) -> Sequence[int]: ...
    def mtimes_s(self) -> Sequence[int]:
        """Whole seconds since the epoch."""

    def births_s(self) -> Sequence[int | None]: ...
    def tag_fields(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        """What the entity-tags of files say: see TAG_FORM."""

    def executables(self) -> Sequence[bool]: ...


class StatList:
    """Columns of Stats that are there already."""

    __slots__ = ("_stats",)

    def __init__(self, stats: Sequence[Stat]) -> None:
        self._stats = stats

    def sizes(self) -> Sequence[int]:
        return [stat.size for stat in self._stats]

    def mtimes_s(self) -> Sequence[int]:
        return [stat.mtime_ns // _SECOND for stat in self._stats]

    def births_s(self) -> Sequence[int | None]:
        births = [stat.birth_ns for stat in self._stats]
        return [None if birth_ns is None else birth_ns // _SECOND for birth_ns in births]

    def tag_fields(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        stats = self._stats
        inodes, moments = [stat.inode for stat in stats], [stat.mtime_ns for stat in stats]
        return inodes, self.sizes(), moments

    def executables(self) -> Sequence[bool]:
        return [stat.executable for stat in self._stats]


class Plain(Sequence[Entry]):
    """Files and collections that we may read, as statx told of them. Entries are made when asked
    for.

    Attributes:
        kinds: of which kinds there are members, at most.
    """

    __slots__ = ("_rows", "kinds", "names")

    def __init__(self, names: Sequence[str], rows: StatxRows, kinds: frozenset[Kind]) -> None:
        self.names = names
        self.kinds = kinds
        self._rows = rows

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> Entry: ...
    @overload
    def __getitem__(self, index: slice) -> Plain: ...
    def __getitem__(self, index: int | slice) -> Entry | Plain:
        if isinstance(index, slice):
            return Plain(self.names[index], self._rows[index], self.kinds)
        index = range(len(self))[index]
        return next(iter(self[index : index + 1]))

    def __iter__(self) -> Iterator[Entry]:
        for name, fields in zip(self.names, self._rows, strict=True):
            yield _new(Entry, (name, stat_of(fields)))

    def pick(self, indices: Sequence[int], kinds: frozenset[Kind]) -> Plain:
        """Returns some of the members, of these kinds."""
        return Plain([self.names[i] for i in indices], self._rows.pick(indices), kinds)

    def each_kind(self) -> list[Kind]:
        return [Kind.COLLECTION if mode & 0o040000 else Kind.FILE for mode in self._rows.modes()]

    def sizes(self) -> Sequence[int]:
        return self._rows.sizes()

    def mtimes_s(self) -> Sequence[int]:
        return self._rows.mtimes_s()

    def births_s(self) -> Sequence[int | None]:
        return self._rows.births_s()

    def tag_fields(self) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
        rows = self._rows
        mtimes = zip(rows.mtimes_s(), rows.mtimes_ns(), strict=True)
        return rows.inodes(), rows.sizes(), [seconds * _SECOND + ns for seconds, ns in mtimes]

    def executables(self) -> Sequence[bool]:
        return [mode & 0o140100 == 0o100100 for mode in self._rows.modes()]


class Scan(Iterator[Entry]):
    """The members of a collection, one by one, or as many as were looked at together."""

    __slots__ = ("_members", "batches")

    def __init__(self, batches: Iterator[Sequence[Entry]]) -> None:
        self.batches = batches
        self._members = chain.from_iterable(batches)

    def __iter__(self) -> Iterator[Entry]:
        return self._members

    def __next__(self) -> Entry:
        return next(self._members)


def batches_of(members: Iterator[Entry]) -> Iterator[Sequence[Entry]]:
    """Yields the members together, BATCH of them at most and never none. When there are fewer,
    those were perhaps the last."""
    return filter(None, members.batches if isinstance(members, Scan) else _gathered(members))


def filtered(members: Iterator[Entry], keep: Callable[[Sequence[Entry]], Sequence[Entry]]) -> Scan:
    """Returns the members that `keep` returns of those that it is given."""
    return Scan(map(keep, batches_of(members)))


def names_of(batch: Sequence[Entry]) -> Sequence[str]:
    return batch.names if isinstance(batch, Plain) else [entry.name for entry in batch]


def kinds_of(batch: Sequence[Entry]) -> Sequence[Kind]:
    """Returns the kind of each."""
    return batch.each_kind() if isinstance(batch, Plain) else [one.stat.kind for one in batch]


def columns_of(batch: Sequence[Entry]) -> StatColumns:
    return batch if isinstance(batch, Plain) else StatList([entry.stat for entry in batch])


def picked(batch: Sequence[Entry], indices: Sequence[int], kind: Kind) -> Sequence[Entry]:
    """Returns some members of a batch, all of which are of one kind."""
    if isinstance(batch, Plain):
        return batch.pick(indices, frozenset({kind}))
    return [batch[index] for index in indices]


def _gathered(members: Iterator[Entry]) -> Iterator[Sequence[Entry]]:
    while batch := list(islice(members, BATCH)):
        yield batch
