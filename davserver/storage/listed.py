"""Members of a collection by the names that it lists, before anybody looks at them.

A directory tells with each name whether that is a file, a collection or something else. Who
deletes or copies a tree needs no more of most members.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice

from davserver.storage.base import Entry, Kind

FEW = 128
"""Members that are listed together, at most: whoever lists everything is about to change it."""
Look = Callable[[Sequence[str]], Sequence[Entry]]


class Listed:
    """Some members of a collection. By the time they are asked for they may be something else.

    Attributes:
        names: all of them, in their order.
        files: those of plain files.
        collections: those of collections; what is in neither is a link, or a special file.
    """

    __slots__ = ("_look", "collections", "files", "names")

    def __init__(
        self, names: list[str], files: list[str], collections: list[str], look: Look
    ) -> None:
        self.names = names
        self.files = files
        self.collections = collections
        self._look = look

    def without(self, names: Sequence[str]) -> Sequence[str]:
        """Returns the other names."""
        if not names:
            return self.names
        if len(names) == len(self.names):
            return ()
        left_out = frozenset(names)
        return [name for name in self.names if name not in left_out]

    def rest(self, names: Sequence[str]) -> Listed:
        """Returns some of these members that are no collections."""
        left = frozenset(names)
        files = [name for name in self.files if name in left]
        return Listed(list(names), files, [], self._look)

    def look(self, names: Sequence[str]) -> Sequence[Entry]:
        """Returns those of these members that are still there, as they are now. While the listing
        is open. Raises StorageError."""
        return self._look(names)


class ListedMembers(Iterator[Entry]):
    """The members of a collection, one by one and looked at, or few together as they are listed.

    Attributes:
        listed: the latter.
    """

    __slots__ = ("_members", "listed")

    def __init__(self, listed: Iterator[Listed]) -> None:
        self.listed = listed
        self._members = chain.from_iterable(one.look(one.names) for one in listed)

    def __iter__(self) -> Iterator[Entry]:
        return self._members

    def __next__(self) -> Entry:
        return next(self._members)


def listed_of(members: Iterator[Entry]) -> Iterator[Listed]:
    """Yields the members together, FEW of them at most and never none."""
    return members.listed if isinstance(members, ListedMembers) else _gathered(members)


def _gathered(members: Iterator[Entry]) -> Iterator[Listed]:
    while few := list(islice(members, FEW)):
        yield _of_entries(few)


def _of_entries(entries: Sequence[Entry]) -> Listed:
    """Returns what has been looked at already."""
    by_name = {entry.name: entry for entry in entries}
    named: dict[Kind, list[str]] = {kind: [] for kind in Kind}
    for entry in entries:
        named[entry.stat.kind].append(entry.name)
    files, collections = named[Kind.FILE], named[Kind.COLLECTION]
    return Listed(list(by_name), files, collections, lambda names: [by_name[n] for n in names])
