"""A Storage on which everything can be undone: nothing goes or is overwritten before the end.

What comes is made under a hidden name and renamed; what goes is renamed to a hidden one. Each such
step is in the undo log before it is done (undoing.py). Until the change is committed others see its
steps one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress

from davserver.errors import (
    CollectionNotEmpty,
    EtagMismatch,
    IsACollection,
    NotACollection,
    ResourceExists,
    ResourceNotFound,
    StorageError,
)
from davserver.protocol.etag import ETag
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Step, StepKind, UndoLog
from davserver.storage.base import (
    Bytes,
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
    Storage,
    Told,
    Writer,
)
from davserver.storage.bymember import MembersByPath
from davserver.undoing import EMPTY, Identity, has_members, moved


class UndoableStorage:
    """For one change, in the gate.

    Attributes:
        kept: hidden names of what comes back if the change is undone, and goes if it is not.
    """

    def __init__(self, inner: Storage, log: UndoLog) -> None:
        self.kept: dict[DavPath, None] = {}
        self._inner = inner
        self._log = log
        self._unsynced: set[DavPath] = set()
        self._places: set[tuple[Identity, DavPath]] = set()

    @property
    def inline(self) -> bool:
        return self._inner.inline

    @property
    def durable(self) -> bool:
        return self._inner.durable

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._inner.capabilities

    def canonical(self, path: DavPath) -> Key:
        return self._inner.canonical(path)

    def locate(self, path: DavPath) -> Located:
        return self._inner.locate(path)

    def named(self, path: DavPath) -> Named:
        return self._inner.named(path)

    def child_key(self, key: Key, name: bytes) -> Key:
        return self._inner.child_key(key, name)

    def path_of(self, key: Key) -> DavPath:
        return self._inner.path_of(key)

    def is_writable(self, path: DavPath) -> bool:
        return self._inner.is_writable(path)

    def is_fixed(self, key: Key) -> bool:
        return self._inner.is_fixed(key)

    def stat(self, path: DavPath) -> Stat:
        return self._inner.stat(path)

    def scan(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self._inner.scan(path)

    def scan_all(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self._inner.scan_all(path)

    def open(self, path: DavPath) -> Reader:
        return self._inner.open(path)

    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        return _UndoableWriter(self, path, self._inner.create(path, size_hint=size_hint))

    def open_part(self, hidden: DavPath, *, create: bool = False) -> Part | None:
        return self._inner.open_part(hidden, create=create)

    def take_up(self, part: Part, path: DavPath, *, copies: bool = False) -> Writer:
        return _UndoableWriter(self, path, self._inner.take_up(part, path, copies=copies))

    def make_collection(self, path: DavPath) -> None:
        if path.is_reserved:
            self._inner.make_collection(path)
            return
        self._require_unmapped(path)
        hidden = self._inner.hidden(path)
        self._inner.make_collection(hidden)
        with self._discarding(hidden):
            self._rename(hidden, path, {EMPTY: 1})

    def make_link(self, path: DavPath, target: DavPath, *, replace: bool = False) -> None:
        if path.is_reserved:
            self._inner.make_link(path, target)
            return
        if not replace:
            self._require_unmapped(path)
        hidden = self._inner.hidden(path)
        self._inner.make_link(hidden, target)
        self.appear(hidden, path, replace=replace)

    def delete(self, path: DavPath) -> None:
        if path.is_reserved:
            if not self._is_kept(path):
                self._inner.delete(path)
            return
        hidden = self._inner.hidden(path)
        if self._stat(path).kind is Kind.COLLECTION:
            self._require_empty(path)
        self._rename(path, hidden)

    def delete_tree(self, path: DavPath) -> None:
        """In one step; see TreeStorage."""
        self._rename(path, self._inner.hidden(path))

    def copy(
        self, source: DavPath, target: DavPath, *, mtime_ns: int | None = None, told: Told = None
    ) -> Stat:
        if target.is_reserved:
            return self._inner.copy(source, target, mtime_ns=mtime_ns, told=told)
        there = self._inner.named(target).stat
        if there is not None and there.kind is Kind.COLLECTION:
            raise IsACollection(f"{target.name!r} is a collection")
        self._require_unmapped(target)
        hidden = self._inner.hidden(target)
        stat = self._inner.copy(source, hidden, mtime_ns=mtime_ns, told=told)
        self.appear(hidden, target)
        return stat

    def members(self, path: DavPath, *, copy_to: DavPath | None = None) -> Members:
        if copy_to is not None and copy_to.is_reserved:
            return self._inner.members(path, copy_to=copy_to)
        return MembersByPath(self, path, copy_to)

    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        here, there = self._stat(source), self._inner.named(target).stat
        if there is None:
            is_made = source.is_reserved and here.kind is Kind.COLLECTION
            is_made = is_made and not has_members(self._inner, source)
            self._rename(source, target, {EMPTY: 1} if is_made else None)
            return
        if not replace or Kind.COLLECTION in (here.kind, there.kind):
            raise ResourceExists(f"{target.name!r} exists")
        if Capability.EXCHANGE in self.capabilities:
            self._exchange(source, target)
            if not source.is_reserved:
                self._rename(source, self._inner.hidden(source))
        else:
            self._rename(target, self._inner.hidden(target))
            self._rename(source, target)

    def exchange(self, a: DavPath, b: DavPath) -> None:
        if Capability.EXCHANGE in self.capabilities:
            self._exchange(a, b)
            return
        hidden = self._inner.hidden(a)
        self._rename(a, hidden)
        self._rename(b, a)
        self._rename(hidden, b)

    def appear(self, hidden: DavPath, path: DavPath, *, replace: bool = False) -> None:
        """Gives what was made under a hidden name its own. Raises as rename does, with nothing
        left behind."""
        with self._discarding(hidden):
            self.rename(hidden, path, replace=replace)

    @contextmanager
    def _discarding(self, hidden: DavPath) -> Iterator[None]:
        try:
            yield
        except BaseException:
            try:
                self._inner.delete(hidden)
            except ResourceNotFound:
                pass
            except StorageError:
                self._inner.abandon(hidden)
            raise

    def _rename(
        self, source: DavPath, target: DavPath, values: Mapping[str, int] | None = None
    ) -> None:
        stat = self._stat(source)
        identity = stat.identity
        self._comes(identity, source, target)
        step = Step(StepKind.RENAME, source, target, identity=identity, values=values or {})
        self._log.append(step)
        self._inner.rename(source, target)
        self._track(((source, target),), is_tree=stat.kind is Kind.COLLECTION)
        self._keep(source, target)

    def _exchange(self, a: DavPath, b: DavPath) -> None:
        one, two = self._stat(a), self._stat(b)
        identity, other = one.identity, two.identity
        if identity != other:  # two names of one file
            self._comes(identity, a, b)
            self._comes(other, b, a)
            self._log.append(Step(StepKind.EXCHANGE, a, b, identity=identity))
        self._inner.exchange(a, b)
        between = DavPath((".davserver", "between"))
        is_tree = Kind.COLLECTION in (one.kind, two.kind)
        self._track(((a, between), (b, a), (between, b)), is_tree=is_tree)
        self._keep(a, b)
        self._keep(b, a)

    def _stat(self, path: DavPath) -> Stat:
        """Of a link itself, which is what is renamed."""
        stat = self._inner.named(path).stat
        if stat is None:
            raise ResourceNotFound(f"{path.name!r}: no such resource")
        return stat

    def _comes(self, identity: Identity, source: DavPath, target: DavPath) -> None:
        """Before a resource comes to where it has been before, what was done until now waits for
        the disk. After a power cut the log may be ahead of it, and by that place alone a step
        that is not on the disk cannot be told from one that is."""
        if (identity, target) in self._places:
            self.flush()
        self._places |= {(identity, source), (identity, target)}

    def flush(self) -> None:
        """Makes durable what was done, as the policy says."""
        unsynced, self._unsynced, self._places = self._unsynced, set(), set()
        for path in unsynced:
            # Somebody beside this server may have been at it.
            with suppress(ResourceNotFound, NotACollection):
                self._inner.sync(path)

    def _track(self, moves: Sequence[tuple[DavPath, DavPath]], *, is_tree: bool) -> None:
        """What has a hidden name, or waits for the disk, may have been moved with what it is
        in."""
        for old, new in moves:
            if is_tree:
                self.kept = {moved(path, old, new): None for path in self.kept}
                self._unsynced = {moved(path, old, new) for path in self._unsynced}
            elif old in self.kept:
                del self.kept[old]
                self.kept[new] = None
        for _, new in moves:
            if not new.is_reserved:
                self.kept.pop(new, None)

    def _keep(self, old: DavPath, new: DavPath) -> None:
        if new.is_reserved and not old.is_reserved:
            self.kept[new] = None

    def _is_kept(self, path: DavPath) -> bool:
        """True for what is, or is in, something that may have to come back."""
        count = len(path.segments)
        return any(DavPath(path.segments[:end]) in self.kept for end in range(1, count + 1))

    def _require_unmapped(self, path: DavPath) -> None:
        if self._inner.named(path).stat is not None:
            raise ResourceExists(f"{path.name!r} exists")

    def _require_empty(self, path: DavPath) -> None:
        with self._inner.scan_all(path) as members:
            if next(members, None) is not None:
                raise CollectionNotEmpty(f"{path.name!r} has members")

    def set_attributes(
        self, path: DavPath, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat:
        if not path.is_reserved:
            # Of what a link leads to.
            path = self._inner.locate(path).link_to or path
            identity, values = self._stat(path).identity, self._inner.attributes(path)
            step = Step(StepKind.RESTORE, target=path, identity=identity, values=values)
            self._log.append(step)
        return self._inner.set_attributes(path, mtime_ns=mtime_ns, executable=executable)

    def attributes(self, path: DavPath) -> Mapping[str, int]:
        return self._inner.attributes(path)

    def restore(self, path: DavPath, attributes: Mapping[str, int]) -> None:
        self._inner.restore(path, attributes)

    def quota(self, path: DavPath) -> Quota | None:
        return self._inner.quota(path)

    def sync(self, path: DavPath) -> None:
        """Once for all, at the end."""
        self._stat(path)
        self._unsynced.add(path)

    def hidden(self, path: DavPath) -> DavPath:
        return self._inner.hidden(path)

    def abandon(self, hidden: DavPath) -> None:
        """But what is kept: at the end it is seen whether that can be removed."""
        if not self._is_kept(hidden):
            self._inner.abandon(hidden)

    @contextmanager
    def following(self, hidden: DavPath) -> Iterator[None]:
        """Nobody moves anything meanwhile, and what was made goes with the rest."""
        yield

    def close(self) -> None:
        """The other one stays open."""


class _UndoableWriter:
    def __init__(self, storage: UndoableStorage, path: DavPath, inner: Writer) -> None:
        self._storage = storage
        self._path = path
        self._inner = inner

    @property
    def size(self) -> int:
        return self._inner.size

    def write(self, *pieces: Bytes) -> None:
        self._inner.write(*pieces)

    def copy(self, reader: Reader, offset: int, size: int) -> None:
        self._inner.copy(reader, offset, size)

    def seal(self, *, mtime_ns: int | None = None) -> None:
        self._inner.seal(mtime_ns=mtime_ns)

    def stage(self, hidden: DavPath) -> Stat:
        return self._inner.stage(hidden)

    def commit(self, *, replace: bool, expect: ETag | None = None) -> Stat:
        found = self._storage.locate(self._path)
        current = found.stat
        if expect is not None and (current is None or current.etag != expect):
            raise EtagMismatch(f"{self._path.name!r} was changed meanwhile")
        if current is not None and current.kind is Kind.COLLECTION:
            raise IsACollection(f"{self._path.name!r} is a collection")
        if current is not None and not replace:
            raise ResourceExists(f"{self._path.name!r} exists")
        # What a link leads to is written, never the link.
        path = found.link_to or self._path
        hidden = self._storage.hidden(path)
        stat = self._inner.stage(hidden)
        self._storage.appear(hidden, path, replace=replace)
        if path.parent is not None:
            self._storage.sync(path.parent)
        return stat

    def settle(self) -> None:
        """See UndoableStorage.sync."""
        self._inner.discard()

    def discard(self) -> None:
        self._inner.discard()
