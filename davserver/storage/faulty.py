"""A Storage that fails on demand: the nth call, its readers', writers' and scans' calls included.

For tests of what a failure halfway leaves behind: run with `fail_at` 1, 2, 3 ... until a run
meets no fault.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from threading import Lock

from davserver.errors import StorageError
from davserver.protocol.etag import ETag
from davserver.protocol.path import DavPath, Key
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
    Storage,
    Told,
    Writer,
)
from davserver.storage.bymember import MembersByPath


class Fuse:
    """Counts calls and blows at one of them.

    Args:
        fail_at: number of the first call that fails, from 1; 0: none does.
        error: what it raises; a class is made an instance each time.
        permanent: every later call fails too.
    """

    def __init__(
        self, fail_at: int, error: StorageError | type[StorageError], *, permanent: bool = False
    ) -> None:
        self.calls = 0
        self.blown = 0
        self._fail_at = fail_at
        self._error = error
        self._permanent = permanent
        self._lock = Lock()

    def burn(self) -> None:
        """Counts one call. Raises the error where it is time."""
        with self._lock:
            self.calls += 1
            late = self._permanent and self.calls > self._fail_at > 0
            if self.calls != self._fail_at and not late:
                return
            self.blown += 1
        if isinstance(self._error, StorageError):
            raise self._error
        raise self._error(f"fault injected at call {self.calls}")


class FaultyStorage:
    """Wraps a storage; what only frees things (close, discard) and names things never fails."""

    def __init__(
        self,
        inner: Storage,
        *,
        fail_at: int,
        error: StorageError | type[StorageError],
        permanent: bool = False,
    ) -> None:
        self._inner = inner
        self.fuse = Fuse(fail_at, error, permanent=permanent)

    @property
    def calls(self) -> int:
        """Calls so far."""
        return self.fuse.calls

    @property
    def blown(self) -> int:
        """Calls that failed so far."""
        return self.fuse.blown

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
        self.fuse.burn()
        return self._inner.canonical(path)

    def child_key(self, key: Key, name: bytes) -> Key:
        return self._inner.child_key(key, name)

    def path_of(self, key: Key) -> DavPath:
        return self._inner.path_of(key)

    def is_writable(self, path: DavPath) -> bool:
        return self._inner.is_writable(path)

    def is_fixed(self, key: Key) -> bool:
        return self._inner.is_fixed(key)

    def locate(self, path: DavPath) -> Located:
        self.fuse.burn()
        return self._inner.locate(path)

    def named(self, path: DavPath) -> Named:
        self.fuse.burn()
        return self._inner.named(path)

    def stat(self, path: DavPath) -> Stat:
        self.fuse.burn()
        return self._inner.stat(path)

    def scan(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self._scan(self._inner.scan(path))

    def scan_all(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self._scan(self._inner.scan_all(path))

    @contextmanager
    def _scan(self, scan: AbstractContextManager[Iterator[Entry]]) -> Iterator[Iterator[Entry]]:
        self.fuse.burn()
        with scan as entries:
            yield self._entries(entries)

    def _entries(self, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self.fuse.burn()
            yield entry

    def open(self, path: DavPath) -> Reader:
        self.fuse.burn()
        return _FaultyReader(self._inner.open(path), self.fuse)

    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        self.fuse.burn()
        return _FaultyWriter(self._inner.create(path, size_hint=size_hint), self.fuse)

    def open_part(self, hidden: DavPath, *, create: bool = False) -> Part | None:
        self.fuse.burn()
        part = self._inner.open_part(hidden, create=create)
        return None if part is None else _FaultyPart(part, self.fuse)

    def take_up(self, part: Part, path: DavPath, *, copies: bool = False) -> Writer:
        self.fuse.burn()
        inner = part.inner if isinstance(part, _FaultyPart) else part
        return _FaultyWriter(self._inner.take_up(inner, path, copies=copies), self.fuse)

    def make_collection(self, path: DavPath) -> None:
        self.fuse.burn()
        self._inner.make_collection(path)

    def make_link(self, path: DavPath, target: DavPath, *, replace: bool = False) -> None:
        self.fuse.burn()
        self._inner.make_link(path, target, replace=replace)

    def delete(self, path: DavPath) -> None:
        self.fuse.burn()
        self._inner.delete(path)

    def copy(
        self, source: DavPath, target: DavPath, *, mtime_ns: int | None = None, told: Told = None
    ) -> Stat:
        self.fuse.burn()
        return self._inner.copy(source, target, mtime_ns=mtime_ns, told=told)

    def members(self, path: DavPath, *, copy_to: DavPath | None = None) -> Members:
        return MembersByPath(self, path, copy_to)

    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        self.fuse.burn()
        self._inner.rename(source, target, replace=replace)

    def exchange(self, a: DavPath, b: DavPath) -> None:
        self.fuse.burn()
        self._inner.exchange(a, b)

    def set_attributes(
        self, path: DavPath, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat:
        self.fuse.burn()
        return self._inner.set_attributes(path, mtime_ns=mtime_ns, executable=executable)

    def attributes(self, path: DavPath) -> Mapping[str, int]:
        self.fuse.burn()
        return self._inner.attributes(path)

    def restore(self, path: DavPath, attributes: Mapping[str, int]) -> None:
        self.fuse.burn()
        self._inner.restore(path, attributes)

    def quota(self, path: DavPath) -> Quota | None:
        self.fuse.burn()
        return self._inner.quota(path)

    def sync(self, path: DavPath) -> None:
        self.fuse.burn()
        self._inner.sync(path)

    def hidden(self, path: DavPath) -> DavPath:
        return self._inner.hidden(path)

    def abandon(self, hidden: DavPath) -> None:
        self._inner.abandon(hidden)

    def following(self, hidden: DavPath) -> AbstractContextManager[None]:
        return self._inner.following(hidden)

    def close(self) -> None:
        """Closes the storage inside."""
        self._inner.close()


class _FaultyReader:
    fd = None  # so that nobody reads past the fuse

    def __init__(self, inner: Reader, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    @property
    def stat(self) -> Stat:
        return self._inner.stat

    def read_at(self, offset: int, size: int) -> bytes:
        self._fuse.burn()
        return self._inner.read_at(offset, size)

    def try_read_at(self, offset: int, size: int) -> bytes | None:
        self._fuse.burn()
        return self._inner.try_read_at(offset, size)

    def is_cached(self, offset: int, size: int) -> bool:
        return False

    def close(self) -> None:
        self._inner.close()


class _FaultyWriter:
    def __init__(self, inner: Writer, fuse: Fuse) -> None:
        self._inner = inner
        self._fuse = fuse

    @property
    def size(self) -> int:
        return self._inner.size

    def write(self, *pieces: Bytes) -> None:
        self._fuse.burn()
        self._inner.write(*pieces)

    def copy(self, reader: Reader, offset: int, size: int) -> None:
        self._fuse.burn()
        self._inner.copy(reader, offset, size)

    def seal(self, *, mtime_ns: int | None = None) -> None:
        self._fuse.burn()
        self._inner.seal(mtime_ns=mtime_ns)

    def commit(self, *, replace: bool, expect: ETag | None = None) -> Stat:
        self._fuse.burn()
        return self._inner.commit(replace=replace, expect=expect)

    def stage(self, hidden: DavPath) -> Stat:
        self._fuse.burn()
        return self._inner.stage(hidden)

    def settle(self) -> None:
        self._fuse.burn()
        self._inner.settle()

    def discard(self) -> None:
        self._inner.discard()


class _FaultyPart:
    def __init__(self, inner: Part, fuse: Fuse) -> None:
        self.inner = inner
        self._fuse = fuse

    @property
    def size(self) -> int:
        return self.inner.size

    def stands_for(self, stat: Stat | None) -> bool | None:
        return self.inner.stands_for(stat)

    def cut(self, size: int) -> None:
        self._fuse.burn()
        self.inner.cut(size)

    def write(self, *pieces: Bytes) -> None:
        self._fuse.burn()
        self.inner.write(*pieces)

    def read_at(self, offset: int, size: int) -> bytes:
        self._fuse.burn()
        return self.inner.read_at(offset, size)

    def sync(self) -> None:
        self._fuse.burn()
        self.inner.sync()

    def remove(self) -> None:
        self._fuse.burn()
        self.inner.remove()

    def close(self) -> None:
        self.inner.close()
