"""Several storages as one: the first segment of a path names the one that the rest is in.

Each has its own root id, which is its name, so that keys tell them apart and nothing else need
know of them. Above them is a collection of our own, which lists them and never changes. Between
two of them there is no rename (CrossDevice): whoever moves across copies.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from types import MappingProxyType

from davserver.errors import (
    AccessDenied,
    CrossDevice,
    IsACollection,
    ReadOnlyStorage,
    ResourceExists,
    ResourceNotFound,
    StorageError,
)
from davserver.protocol.path import DavPath, Key
from davserver.storage import names
from davserver.storage._oserrors import show
from davserver.storage.across import copy_across
from davserver.storage.base import (
    Capability,
    Entry,
    Kind,
    LinkedEntry,
    Located,
    Members,
    Named,
    Part,
    Quota,
    Reader,
    Stat,
    Storage,
    Told,
    Writer,
)
from davserver.storage.bymember import MembersByPath
from davserver.storage.direct import DirectPlace, DirectReader, DirectStorage

_TOP = Key("", b"")


class Mounts:
    """Storage over several named ones.

    Args:
        shares: by name, which is each one's root id: a segment in NFC. Closed with this one.
        homes: names of those whose members are homes, and stay where they are.
    """

    def __init__(
        self, shares: Mapping[str, Storage], *, homes: frozenset[str] = frozenset()
    ) -> None:
        self._homes = homes
        self.shares: Mapping[str, Storage] = MappingProxyType(dict(shares))
        """In the order in which they are listed."""
        self._direct = {
            name: share for name, share in shares.items() if isinstance(share, DirectStorage)
        }
        each = self.shares.values()
        self._durable = any(share.durable for share in each)
        self._capabilities = frozenset(Capability).intersection(*(s.capabilities for s in each))

    @property
    def inline(self) -> bool:
        """True while all of them are quick: a path through the slow one tells nothing."""
        return all(share.inline for share in self.shares.values())

    @property
    def durable(self) -> bool:
        return self._durable

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What all of them can do."""
        return self._capabilities

    def _share(self, path: DavPath) -> tuple[str, Storage, DavPath] | None:
        """Returns the name of a path's share, the share, and the path in it; None for the top,
        and where no share is."""
        segments = path.segments
        if not segments:
            return None
        name = segments[0]
        share = self.shares.get(name)
        if share is None and not name.isascii():
            name = unicodedata.normalize("NFC", name)
            share = self.shares.get(name)
        return None if share is None else (name, share, DavPath(segments[1:], path.slash))

    def _mapped(self, path: DavPath) -> tuple[Storage, DavPath]:
        found = self._share(path)
        if found is None:
            raise ResourceNotFound(f"{show(path)}: no such resource")
        return found[1:]

    def _changing(self, path: DavPath) -> tuple[Storage, DavPath]:
        found = self._share(path)
        if found is None:
            raise ReadOnlyStorage(f"{show(path)}: no share is there")
        return found[1:]

    def _member(self, path: DavPath) -> tuple[Storage, DavPath]:
        """As _mapped, for what is to go from where it is."""
        if path.is_root:
            raise AccessDenied("the root can be neither removed nor renamed")
        return self._mapped(path)

    def _pair(self, source: DavPath, target: DavPath) -> tuple[Storage, DavPath, DavPath]:
        """Returns the share that both are in, and the paths in it. Raises CrossDevice."""
        (one, inner), (other, goal) = self._member(source), self._changing(target)
        if one is not other:
            raise CrossDevice(f"{show(target)}: is in another share")
        return one, inner, goal

    def canonical(self, path: DavPath) -> Key:
        return self.locate(path).key

    def locate(self, path: DavPath) -> Located:
        found = self._share(path)
        if found is None:
            key = Key(_TOP.root, b"/".join(map(names.encode, path.segments)))
            return Located(key, None if path.segments else self._top())
        name, share, inner = found
        located = share.locate(inner)
        if located.link_to is None:
            return located
        link_to = DavPath((name, *located.link_to.segments))
        return located._replace(link_to=link_to)

    def named(self, path: DavPath) -> Named:
        found = self._share(path)
        if found is None:
            key, stat, _ = self.locate(path)
            return Named(key, stat, False)
        return found[1].named(found[2])

    def _top(self) -> Stat:
        """The top is as new as what was last added to a share."""
        newest = max((entry.stat.mtime_ns for entry in self._entries()), default=0)
        return Stat(Kind.COLLECTION, 0, newest, None, 0, 0)

    def _entries(self) -> Iterator[Entry]:
        """Yields the shares that are there. Each has a key of its own, as what a link names."""
        for name, share in self.shares.items():
            try:
                yield LinkedEntry(name, share.stat(DavPath(())))
            except StorageError:
                continue

    def child_key(self, key: Key, name: bytes) -> Key:
        share = self.shares.get(key.root)
        if share is not None:
            return share.child_key(key, name)
        child = names.decode(name)
        return Key(child, b"") if key == _TOP and child in self.shares else key.child(name)

    def path_of(self, key: Key) -> DavPath:
        path = names.path_of(key)
        return path if key.root == _TOP.root else DavPath((key.root, *path.segments))

    def is_writable(self, path: DavPath) -> bool:
        found = self._share(path)
        return found is not None and found[1].is_writable(found[2])

    def is_fixed(self, key: Key) -> bool:
        share = self.shares.get(key.root)
        if share is None:
            return not key.path
        is_home = key.root in self._homes and b"/" not in key.path
        return is_home or share.is_fixed(key)

    def stat(self, path: DavPath) -> Stat:
        if path.is_root:
            return self._top()
        share, inner = self._mapped(path)
        return share.stat(inner)

    def scan(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self._scan(path, lambda share, inner: share.scan(inner))

    def scan_all(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self._scan(path, lambda share, inner: share.scan_all(inner))

    def _scan(
        self,
        path: DavPath,
        scan: Callable[[Storage, DavPath], AbstractContextManager[Iterator[Entry]]],
    ) -> AbstractContextManager[Iterator[Entry]]:
        if path.is_root:
            return nullcontext(self._entries())
        return scan(*self._mapped(path))

    def direct_key(self, path: DavPath) -> Key:
        name, _, inner = self._share(path) or (_TOP.root, None, path)
        share = self._direct.get(name)
        if share is not None:
            return share.direct_key(inner)
        return Key(name, b"/".join(map(names.encode, inner.segments)))

    def open_direct(self, path: DavPath, key: Key) -> DirectReader | None:
        share = self._direct.get(key.root)
        return None if share is None else share.open_direct(path, key)

    def look_direct(self, key: Key) -> Stat | None:
        share = self._direct.get(key.root)
        return None if share is None else share.look_direct(key)

    def find_place(self, path: DavPath, key: Key) -> DirectPlace | None:
        share = self._direct.get(key.root)
        return None if share is None else share.find_place(DavPath(path.segments[1:]), key)

    def open(self, path: DavPath) -> Reader:
        if path.is_root:
            raise IsACollection(f"{show(path)}: is a collection")
        share, inner = self._mapped(path)
        return share.open(inner)

    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        if path.is_root:
            raise IsACollection(f"{show(path)}: is a collection")
        share, inner = self._changing(path)
        return share.create(inner, size_hint=size_hint)

    def open_part(self, hidden: DavPath, *, create: bool = False) -> Part | None:
        share, inner = self._changing(hidden)
        return share.open_part(inner, create=create)

    def take_up(self, part: Part, path: DavPath, *, copies: bool = False) -> Writer:
        share, inner = self._changing(path)
        return share.take_up(part, inner, copies=copies)

    def make_collection(self, path: DavPath) -> None:
        if path.is_root:
            raise ResourceExists(f"{show(path)}: exists")
        share, inner = self._changing(path)
        share.make_collection(inner)

    def make_link(self, path: DavPath, target: DavPath, *, replace: bool = False) -> None:
        share, goal, inner = self._pair(target, path)
        share.make_link(inner, goal, replace=replace)

    def delete(self, path: DavPath) -> None:
        share, inner = self._member(path)
        share.delete(inner)

    def copy(
        self, source: DavPath, target: DavPath, *, mtime_ns: int | None = None, told: Told = None
    ) -> Stat:
        if source.is_root or target.is_root:
            raise IsACollection("'/': is a collection")
        (one, inner), (other, goal) = self._mapped(source), self._changing(target)
        if one is other:
            return one.copy(inner, goal, mtime_ns=mtime_ns, told=told)
        return copy_across(one, inner, other, goal, mtime_ns=mtime_ns, told=told)

    def members(self, path: DavPath, *, copy_to: DavPath | None = None) -> Members:
        found = self._share(path)
        goal = found if copy_to is None else self._share(copy_to)
        if found is None or goal is None or found[1] is not goal[1]:
            return MembersByPath(self, path, copy_to)
        return found[1].members(found[2], copy_to=None if copy_to is None else goal[2])

    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        if target.is_root:
            raise ResourceExists("'/': exists")
        share, inner, goal = self._pair(source, target)
        share.rename(inner, goal, replace=replace)

    def exchange(self, a: DavPath, b: DavPath) -> None:
        if a.is_root or b.is_root:
            raise AccessDenied("the root can be neither removed nor renamed")
        share, one, other = self._pair(a, b)
        share.exchange(one, other)

    def set_attributes(
        self, path: DavPath, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat:
        share, inner = self._changing(path)
        return share.set_attributes(inner, mtime_ns=mtime_ns, executable=executable)

    def attributes(self, path: DavPath) -> Mapping[str, int]:
        share, inner = self._mapped(path)
        return share.attributes(inner)

    def restore(self, path: DavPath, attributes: Mapping[str, int]) -> None:
        share, inner = self._changing(path)
        share.restore(inner, attributes)

    def quota(self, path: DavPath) -> Quota | None:
        found = self._share(path)
        return None if found is None else found[1].quota(found[2])

    def sync(self, path: DavPath) -> None:
        if not path.is_root:
            share, inner = self._mapped(path)
            share.sync(inner)

    def hidden(self, path: DavPath) -> DavPath:
        found = self._share(path)
        if found is None:
            raise AccessDenied("nothing is beside a share")
        name, share, inner = found
        return DavPath((name, *share.hidden(inner).segments))

    def abandon(self, hidden: DavPath) -> None:
        share, inner = self._mapped(hidden)
        share.abandon(inner)

    def following(self, hidden: DavPath) -> AbstractContextManager[None]:
        share, inner = self._changing(hidden)
        return share.following(inner)

    def close(self) -> None:
        for share in self.shares.values():
            share.close()
