"""The file-system backend: one directory tree, reached only through its root's descriptor.

A resource is a file or directory; its canonical path is its path on disk, links resolved. What
each call needs of the operating system is in the modules beside this one; this one says what the
calls of the seam mean.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from davserver.errors import (
    AccessDenied,
    CollectionNotEmpty,
    InvalidName,
    IsACollection,
    NotACollection,
    ParentMissing,
    ResourceExists,
    ResourceNotFound,
    UnsupportedKind,
)
from davserver.protocol.path import DavPath, Key
from davserver.storage import _linux, names
from davserver.storage._oserrors import creating, show, translating
from davserver.storage.attributes import (
    put_attributes,
    read_attributes,
    restore_attributes,
)
from davserver.storage.base import (
    Capability,
    Entry,
    Kind,
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
from davserver.storage.beginning import open_writer
from davserver.storage.bymember import open_members
from davserver.storage.copying import copy_file
from davserver.storage.direct import DirectPlace, DirectReader
from davserver.storage.found import Found
from davserver.storage.leftovers import Leftover, find_leftovers
from davserver.storage.links import make_link, named
from davserver.storage.parts import FilePart, open_part, take_up
from davserver.storage.places import find_place
from davserver.storage.policy import Durability, Policy, require_creatable, umask
from davserver.storage.probing import probe_exchange, probe_folding, probe_links
from davserver.storage.reader import open_direct, open_reader
from davserver.storage.renaming import exchange_names, rename_new, rename_over
from davserver.storage.resolve import Resolver, Symlinks
from davserver.storage.rootlock import hold_root
from davserver.storage.scanning import open_scan, remove_tree
from davserver.storage.space import find_space

_O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)
FALLBACKS = frozenset(
    {"openat2", "statx", "tmpfile", "nowait", "renameat2", "reflink", "copy_file_range"}
)
"""What `fallbacks` may name: a feature of the system that is then not used."""


class FilesystemStorage:
    """Storage over a directory.

    Args:
        root: the directory that is served.
        owner: id of this worker, part of its hidden names.
        root_id: id of the share, part of every Key.
        is_alive: False for the owner of hidden names that may be removed. It must stay True
            while any journalled change of that owner waits for recovery.
        symlinks: "deny" follows none, "within" those that stay inside, "follow" all: then
            nothing contains the clients but the permissions of this process.
        durability: "none" waits for no disk, "file" for the content, "full" for the name too.
        fallbacks: members of FALLBACKS.
        read_only: every change raises ReadOnlyStorage.

    Raises StorageError where the root cannot be opened.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        owner: str,
        root_id: str = "",
        is_alive: Callable[[str], bool],
        symlinks: Symlinks = "within",
        durability: Durability = "full",
        fallbacks: frozenset[str] = frozenset(),
        read_only: bool = False,
    ) -> None:
        root_path = DavPath(())
        with translating(root_path):
            resolver = Resolver(
                os.fsencode(root),
                root_id,
                symlinks=symlinks,
                use_openat2="openat2" not in fallbacks,
                use_statx="statx" not in fallbacks,
            )
        self._resolver = resolver
        self._policy = Policy(
            resolver,
            owner,
            is_alive,
            durability,
            umask=umask(),
            fallbacks=fallbacks,
            read_only=read_only,
            inline=not _linux.is_remote(resolver.root_fd),
        )
        resolver.folding = not read_only and probe_folding(resolver.root_fd, owner)
        can = {Capability.TREE_RENAME, Capability.EXECUTABLE}
        if "renameat2" not in fallbacks and (read_only or probe_exchange(resolver.root_fd, owner)):
            can.add(Capability.EXCHANGE)
        if symlinks != "deny" and (read_only or probe_links(resolver.root_fd, owner)):
            can.add(Capability.LINKS)
        if self.stat(root_path).birth_ns is not None:
            can.add(Capability.BIRTH_TIME)
        self._capabilities = frozenset(can)

    @property
    def inline(self) -> bool:
        """True for a local file system, by its type."""
        return self._policy.inline

    @property
    def durable(self) -> bool:
        return self._policy.durability != "none"

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    @property
    def is_folding(self) -> bool:
        """True when names that differ in case are one; keys are then folded (`child_key`)."""
        return self._resolver.folding

    def child_key(self, key: Key, name: bytes) -> Key:
        return key.child(names.fold(name) if self._resolver.folding else name)

    def path_of(self, key: Key) -> DavPath:
        return names.path_of(key)

    def is_writable(self, path: DavPath) -> bool:
        return not self._policy.read_only

    def is_fixed(self, key: Key) -> bool:
        return not key.path

    def canonical(self, path: DavPath) -> Key:
        return self._resolver.locate(path).key

    def locate(self, path: DavPath) -> Located:
        return self._resolver.locate(path)

    def named(self, path: DavPath) -> Named:
        return named(self._resolver, path)

    def stat(self, path: DavPath) -> Stat:
        stat = self._resolver.locate(path).stat
        if stat is None:
            raise ResourceNotFound(f"{show(path)}: no such resource")
        return stat

    def scan(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return open_scan(self._policy, path, everything=False)

    def scan_all(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return open_scan(self._policy, path, everything=True)

    def open(self, path: DavPath) -> Reader:
        return open_reader(self._policy, path)

    def open_direct(self, path: DavPath, key: Key) -> DirectReader | None:
        return open_direct(self._policy, path, key)

    def look_direct(self, key: Key) -> Stat | None:
        return self._resolver.look_direct(key)

    def direct_key(self, path: DavPath) -> Key:
        return self._resolver.key(tuple(map(names.encode, path.segments)))

    def find_place(self, path: DavPath, key: Key) -> DirectPlace | None:
        return find_place(self._policy, path, key)

    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        return open_writer(self._policy, path, size_hint=size_hint)

    def open_part(self, hidden: DavPath, *, create: bool = False) -> Part | None:
        return open_part(self._policy, hidden, create=create)

    def take_up(self, part: Part, path: DavPath, *, copies: bool = False) -> Writer:
        assert isinstance(part, FilePart)
        return take_up(self._policy, part, path, copies=copies)

    def copy(
        self, source: DavPath, target: DavPath, *, mtime_ns: int | None = None, told: Told = None
    ) -> Stat:
        return copy_file(self._policy, source, target, mtime_ns=mtime_ns, told=told)

    def copy_from(
        self,
        origin: FilesystemStorage,
        source: DavPath,
        target: DavPath,
        *,
        mtime_ns: int | None,
        told: Told,
    ) -> Stat:
        """As copy, of a file in another storage."""
        return copy_file(self._policy, source, target, origin._policy, mtime_ns=mtime_ns, told=told)

    def members(self, path: DavPath, *, copy_to: DavPath | None = None) -> Members:
        return open_members(self._policy, self, path, copy_to)

    def make_collection(self, path: DavPath) -> None:
        self._policy.refuse_read_only(path)
        with self._resolver.find(path) as found:
            if found.stat is not None:
                raise ResourceExists(f"{show(path)}: exists")
            require_creatable(path, found)
            with creating(path):
                os.mkdir(found.name, 0o777, dir_fd=found.dir_fd)

    def make_link(self, path: DavPath, target: DavPath, *, replace: bool = False) -> None:
        make_link(self._policy, path, target, replace=replace)

    def delete(self, path: DavPath) -> None:
        self._policy.refuse_read_only(path)
        with self._resolver.find(path, follow=False) as found:
            stat = _require_member(path, found)
            with translating(path):
                if stat.kind is not Kind.COLLECTION:
                    os.unlink(found.name, dir_fd=found.dir_fd)
                    return
                try:
                    os.rmdir(found.name, dir_fd=found.dir_fd)
                except FileExistsError as error:  # POSIX leaves the choice of the two
                    raise CollectionNotEmpty(f"{show(path)}: has members") from error

    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        self._policy.refuse_read_only(target)
        with self._resolver.find(source, follow=False) as src:
            stat = _require_member(source, src)
            with self._resolver.find(target, follow=False) as dst:
                if dst.stat is None:
                    require_creatable(target, dst)
                    is_tree = stat.kind is Kind.COLLECTION
                    with translating(target):
                        ends = (src.dir_fd, src.name, dst.dir_fd, dst.name)
                        rename_new(self._policy, *ends, is_tree=is_tree)
                    return
                if not replace or not dst.name or stat.kind is Kind.COLLECTION:
                    raise ResourceExists(f"{show(target)}: exists")
                with translating(target):
                    rename_over(src, dst)

    def exchange(self, a: DavPath, b: DavPath) -> None:
        self._policy.refuse_read_only(a)
        with self._resolver.find(a, follow=False) as one:
            _require_member(a, one)
            with self._resolver.find(b, follow=False) as other:
                _require_member(b, other)
                if one.segments == other.segments:
                    return
                if _is_nested(one.segments, other.segments):
                    raise InvalidName(f"{show(a)}: one is inside of the other")
                with translating(a):
                    exchange_names(self._policy, one, other)

    def set_attributes(
        self, path: DavPath, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat:
        self._policy.refuse_read_only(path)
        stat = self.stat(path)
        if stat.kind is Kind.OTHER:
            raise UnsupportedKind(f"{show(path)}: neither file nor collection")
        if executable is not None and stat.kind is Kind.COLLECTION:
            raise IsACollection(f"{show(path)}: is a collection")
        with self._opened(path) as fd:
            return put_attributes(self._policy, fd, mtime_ns, executable)

    def attributes(self, path: DavPath) -> Mapping[str, int]:
        with self._opened(path) as fd:
            return read_attributes(fd)

    def restore(self, path: DavPath, attributes: Mapping[str, int]) -> None:
        self._policy.refuse_read_only(path)
        with self._opened(path) as fd:
            restore_attributes(self._policy, fd, attributes)

    @contextmanager
    def _opened(self, path: DavPath) -> Iterator[int]:
        fd = self._resolver.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            with translating(path):
                yield fd
        finally:
            os.close(fd)

    def quota(self, path: DavPath) -> Quota | None:
        return find_space(self._resolver, path)

    def sync(self, path: DavPath) -> None:
        fd = self._resolver.open(path, _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with translating(path):
                self._policy.sync_directory(fd)
        finally:
            os.close(fd)

    def hidden(self, path: DavPath) -> DavPath:
        parent = path.parent
        if parent is None:
            raise AccessDenied("nothing is beside the root")
        return parent.child(names.hidden_name(self._policy.owner))

    def abandon(self, hidden: DavPath) -> None:
        self._policy.abandoned.add(names.encode(hidden.name))

    @contextmanager
    def following(self, hidden: DavPath) -> Iterator[None]:
        parent = hidden.parent
        if parent is None:
            raise AccessDenied("nothing is beside the root")
        try:
            fd = self._resolver.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except NotACollection as error:
            raise ParentMissing(f"{show(parent)}: is no collection") from error
        except ResourceNotFound as error:
            raise ParentMissing(f"{show(parent)}: is gone") from error
        try:
            yield
        finally:
            name = names.encode(hidden.name)
            if not remove_tree(fd, name):
                self._policy.abandoned.add(name)
            os.close(fd)

    def leftovers(self, is_alive: Callable[[str], bool], *, remove: bool) -> Iterator[Leftover]:
        """Walks the whole tree for hidden names of dead owners."""
        return find_leftovers(self._resolver, is_alive, remove=remove)

    def hold_root(self, *, alone: bool) -> None:
        """Keeps servers with another state off the root until it is closed.

        Args:
            alone: no process with our state is known to hold it.

        Raises RootInUse.
        """
        hold_root(self._resolver.root_fd, self._resolver.root_path, alone=alone)

    def close(self) -> None:
        """Closes the root; harmless twice."""
        self._resolver.close()


def _require_member(path: DavPath, found: Found) -> Stat:
    """Returns what is there. Raises ResourceNotFound, AccessDenied (the root is no member)."""
    if found.stat is None:
        raise ResourceNotFound(f"{show(path)}: no such resource")
    if not found.name:
        raise AccessDenied("the root can be neither removed nor renamed")
    return found.stat


def _is_nested(one: tuple[bytes, ...], other: tuple[bytes, ...]) -> bool:
    shorter = min(len(one), len(other))
    return one[:shorter] == other[:shorter]
