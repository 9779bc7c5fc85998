"""The memory backend: everything the seam promises, nothing kept. For tests and demonstrations."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import partial, wraps
from typing import Concatenate, ParamSpec, TypeVar

from davserver.errors import (
    AccessDenied,
    CollectionNotEmpty,
    EtagMismatch,
    InvalidName,
    IsACollection,
    NotACollection,
    ParentChanged,
    ParentMissing,
    ResourceExists,
    StorageFailure,
    UnsupportedKind,
)
from davserver.protocol.etag import ETag
from davserver.protocol.path import DavPath, Key
from davserver.storage import names
from davserver.storage._nodes import Node, Place, touch
from davserver.storage._oserrors import show
from davserver.storage.base import (
    Bytes,
    Capability,
    Entry,
    Located,
    Members,
    Named,
    Part,
    Quota,
    Reader,
    Stat,
    Told,
    Writer,
)
from davserver.storage.bymember import MembersByPath
from davserver.storage.memorypart import MemoryPart, MemoryReader
from davserver.storage.policy import new_mtime_ns

P = ParamSpec("P")
T = TypeVar("T")


class _MemoryWriter:
    """A Writer into a buffer that becomes a node at its publication."""

    def __init__(
        self,
        storage: MemoryStorage,
        path: DavPath,
        parent: Node,
        *,
        executable: bool,
        part: MemoryPart | None = None,
    ) -> None:
        self._storage = storage
        self._path = path
        self._parent = parent
        self._part = part
        self._buffer: bytearray | None = bytearray()
        self._mtime_ns = 0
        self.executable = executable

    @property
    def size(self) -> int:
        return 0 if self._buffer is None else len(self._buffer)

    def _open_buffer(self) -> bytearray:
        if self._buffer is None:
            raise StorageFailure(f"{show(self._path)}: nothing to publish")
        return self._buffer

    def write(self, *pieces: Bytes) -> None:
        buffer = self._open_buffer()
        for piece in pieces:
            buffer.extend(piece)

    def copy(self, reader: Reader, offset: int, size: int) -> None:
        self.write(reader.read_at(offset, size))

    def seal(self, *, mtime_ns: int | None = None) -> None:
        self._mtime_ns = new_mtime_ns(mtime_ns)

    def commit(self, *, replace: bool, expect: ETag | None = None) -> Stat:
        with self._storage.lock:
            return self._commit(replace=replace, expect=expect)

    def _commit(self, *, replace: bool, expect: ETag | None) -> Stat:
        data = bytes(self._open_buffer())
        place = self._storage.find(self._path)
        if place.missing > 1 or place.parent is not self._parent:
            raise ParentChanged(f"{show(self._path)}: its parent was replaced meanwhile")
        current = place.node
        if expect is not None and (current is None or current.stat.etag != expect):
            raise EtagMismatch(f"{show(self._path)}: changed meanwhile")
        if current is not None:
            if current.members is not None:
                raise IsACollection(f"{show(self._path)}: is a collection")
            if not replace:
                raise ResourceExists(f"{show(self._path)}: exists")
        node = self._storage.new_node(data=data)
        node.mtime_ns = self._mtime_ns or node.mtime_ns
        node.executable = self.executable
        assert self._parent.members is not None
        self._parent.members[place.name] = node
        touch(self._parent)
        self._buffer = None
        if self._part is not None:
            self._part.remove()
        return node.stat

    def stage(self, hidden: DavPath) -> Stat:
        self._path = hidden
        return self.commit(replace=False)

    def settle(self) -> None:
        """Memory lasts as long as it lasts."""
        self.discard()

    def discard(self) -> None:
        self._buffer = None


def _locked(
    call: Callable[Concatenate[MemoryStorage, P], T],
) -> Callable[Concatenate[MemoryStorage, P], T]:
    @wraps(call)
    def locked(self: MemoryStorage, /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            return call(self, *args, **kwargs)

    return locked


class MemoryStorage:
    """Storage in dictionaries; one lock around every call, so that each is atomic."""

    def __init__(self, root_id: str = "", owner: str = "memory") -> None:
        self.lock = threading.RLock()
        self._root_id = root_id
        self._owner = owner
        self._inodes = itertools.count(2)
        self._abandoned: set[bytes] = set()
        self._held: set[int] = set()
        now = time.time_ns()
        self._root = Node(1, now, now, members={})

    @property
    def inline(self) -> bool:
        return True

    @property
    def durable(self) -> bool:
        return False

    @property
    def capabilities(self) -> frozenset[Capability]:
        return frozenset(Capability) - {Capability.LINKS}

    def new_node(self, *, data: bytes = b"", is_collection: bool = False) -> Node:
        now = time.time_ns()
        return Node(next(self._inodes), now, now, data, members={} if is_collection else None)

    def find(self, path: DavPath) -> Place:
        """Looks a path up; names that are not ASCII in their other spellings too."""
        parent, node = None, self._root
        done: list[bytes] = []
        segments = tuple(map(names.encode, path.segments))
        for index, segment in enumerate(segments):
            found = None
            if node.members is not None:
                spellings = (segment, *names.spellings(segment))
                found = next((name for name in spellings if name in node.members), None)
            if node.members is None or found is None:
                rest = segments[index:]
                missing = len(rest) if node.members is not None else len(rest) + 1
                return Place(path, node, (*done, *rest), None, missing)
            parent, node = node, node.members[found]
            done.append(found)
        return Place(path, parent, tuple(done), node)

    def canonical(self, path: DavPath) -> Key:
        return self.locate(path).key

    def child_key(self, key: Key, name: bytes) -> Key:
        return key.child(name)

    def path_of(self, key: Key) -> DavPath:
        return names.path_of(key)

    def is_writable(self, path: DavPath) -> bool:
        return True

    def is_fixed(self, key: Key) -> bool:
        return not key.path

    @_locked
    def locate(self, path: DavPath) -> Located:
        place = self.find(path)
        key = Key(self._root_id, b"/".join(place.segments))
        return Located(key, None if place.node is None else place.node.stat)

    def named(self, path: DavPath) -> Named:
        key, stat, _ = self.locate(path)
        return Named(key, stat, False)

    @_locked
    def stat(self, path: DavPath) -> Stat:
        return self.find(path).require().stat

    @contextmanager
    def scan(self, path: DavPath) -> Iterator[Iterator[Entry]]:
        with self.lock:
            node = self.find(path).require()
            if node.members is None:
                raise NotACollection(f"{show(path)}: is no collection")
            for name in self._abandoned & node.members.keys():
                del node.members[name]
            members = list(node.members.items())
        decoded = ((names.decode(name), member) for name, member in members)
        yield (Entry(name, member.stat) for name, member in decoded if not names.is_hidden(name))

    def scan_all(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self.scan(path)

    @_locked
    def open(self, path: DavPath) -> Reader:
        node = self.find(path).require_file()
        return MemoryReader(node.stat, node.data)

    @_locked
    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        return self._writer(path)

    @_locked
    def open_part(self, hidden: DavPath, *, create: bool = False) -> Part | None:
        if create:
            self.create(hidden).commit(replace=False)
        place = self.find(hidden)
        node, members = place.require(), place.members_above()
        if node.inode in self._held:
            return None
        self._held.add(node.inode)
        return MemoryPart(self.lock, node, partial(self._held.discard, node.inode), members)

    @_locked
    def take_up(self, part: Part, path: DavPath, *, copies: bool = False) -> Writer:
        assert isinstance(part, MemoryPart)
        writer = self._writer(path, part)
        writer.write(part.read_at(0, part.size))
        return writer

    def _writer(self, path: DavPath, part: MemoryPart | None = None) -> _MemoryWriter:
        place = self.find(path)
        if place.node is None:
            place.require_creatable()
        elif place.node.members is not None:
            raise IsACollection(f"{show(path)}: is a collection")
        assert place.parent is not None
        executable = place.node is not None and place.node.executable
        return _MemoryWriter(self, path, place.parent, executable=executable, part=part)

    @_locked
    def make_collection(self, path: DavPath) -> None:
        place = self.find(path)
        if place.node is not None:
            raise ResourceExists(f"{show(path)}: exists")
        place.require_creatable()[place.name] = self.new_node(is_collection=True)
        touch(place.parent)

    @_locked
    def delete(self, path: DavPath) -> None:
        place = self.find(path)
        node = place.require()
        members = place.members_above()
        if node.members:
            raise CollectionNotEmpty(f"{show(path)}: has members")
        del members[place.name]
        touch(place.parent)

    @_locked
    def copy(
        self, source: DavPath, target: DavPath, *, mtime_ns: int | None = None, told: Told = None
    ) -> Stat:
        node = self.find(source).require_file()
        writer = self._writer(target)
        writer.write(node.data)
        writer.seal(mtime_ns=mtime_ns)
        writer.executable = node.executable
        return writer.commit(replace=False)

    def make_link(self, path: DavPath, target: DavPath, *, replace: bool = False) -> None:
        raise UnsupportedKind(f"{show(path)}: there are no links in memory")

    def members(self, path: DavPath, *, copy_to: DavPath | None = None) -> Members:
        return MembersByPath(self, path, copy_to)

    @_locked
    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        src, dst = self.find(source), self.find(target)
        node = src.require()
        old = src.members_above()
        if dst.node is None:
            members = dst.require_creatable()
            if dst.segments[: len(src.segments)] == src.segments:
                raise InvalidName(f"{show(target)}: is inside of what is renamed")
        elif not replace or node.members is not None or dst.node.members is not None:
            raise ResourceExists(f"{show(target)}: exists")
        else:
            members = dst.members_above()
        del old[src.name]
        members[dst.name] = node
        touch(src.parent)
        touch(dst.parent)

    @_locked
    def exchange(self, a: DavPath, b: DavPath) -> None:
        one, other = self.find(a), self.find(b)
        first, second = one.require(), other.require()
        above_one, above_other = one.members_above(), other.members_above()
        shorter, longer = sorted((one.segments, other.segments), key=len)
        if longer[: len(shorter)] == shorter and longer != shorter:
            raise InvalidName(f"{show(a)}: one is inside of the other")
        above_one[one.name], above_other[other.name] = second, first
        touch(one.parent)
        touch(other.parent)

    @_locked
    def set_attributes(
        self, path: DavPath, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat:
        node = self.find(path).require()
        if executable is not None:
            if node.members is not None:
                raise IsACollection(f"{show(path)}: is a collection")
            node.executable = executable
        if mtime_ns is not None:
            node.mtime_ns = new_mtime_ns(mtime_ns)
        return node.stat

    @_locked
    def attributes(self, path: DavPath) -> Mapping[str, int]:
        node = self.find(path).require()
        return {"executable": node.executable, "mtime_ns": node.mtime_ns}

    @_locked
    def restore(self, path: DavPath, attributes: Mapping[str, int]) -> None:
        node = self.find(path).require()
        node.executable = bool(attributes["executable"])
        node.mtime_ns = attributes["mtime_ns"]

    def quota(self, path: DavPath) -> Quota | None:
        return None

    def sync(self, path: DavPath) -> None:
        self.stat(path)

    def hidden(self, path: DavPath) -> DavPath:
        parent = path.parent
        if parent is None:
            raise AccessDenied("nothing is beside the root")
        return parent.child(names.hidden_name(self._owner))

    def abandon(self, hidden: DavPath) -> None:
        self._abandoned.add(names.encode(hidden.name))

    @contextmanager
    def following(self, hidden: DavPath) -> Iterator[None]:
        members = None if hidden.parent is None else self.find(hidden.parent).require().members
        if members is None:
            raise ParentMissing(f"{show(hidden)}: its parent is no collection")
        try:
            yield
        finally:
            members.pop(names.encode(hidden.name), None)

    def close(self) -> None:
        """There is nothing to close."""
