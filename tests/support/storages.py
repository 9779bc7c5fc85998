"""Storages in memory: one that lets a test step in before a call, to refuse it or to do something
meanwhile; one that takes names that differ in case for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from davserver.errors import StorageError
from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Entry, Quota, Reader, Stat, Writer
from davserver.storage.memory import MemoryStorage

Hook = Callable[[], object]


class HookedStorage(MemoryStorage):
    """Hooks run before the call they are for, with no lock of the storage held.

    Attributes:
        calls: the calls that changed something, as ("delete", "/c/a").
        available: bytes that `quota` tells of; None: unknown.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[str, str]] = []
        self.available: int | None = None
        self._hooks: dict[tuple[str, str], Hook] = {}

    def on(self, call: str, path: str, hook: Hook) -> None:
        """Runs `hook` before each `call` with `path`. The call "entry" is a member's turn in a
        listing."""
        self._hooks[call, path] = hook

    def once(self, call: str, path: str, hook: Hook) -> None:
        def run() -> None:
            del self._hooks[call, path]
            hook()

        self.on(call, path, run)

    def refuse(self, call: str, path: str, error: StorageError) -> None:
        """Fails each `call` with `path`."""

        def hook() -> None:
            raise error

        self.on(call, path, hook)

    def _meet(self, call: str, path: DavPath) -> None:
        text = "/" + "/".join(path.segments)
        self.calls.append((call, text))
        hook = self._hooks.get((call, text))
        if hook is not None:
            hook()

    def stat(self, path: DavPath) -> Stat:
        self._meet("stat", path)
        return super().stat(path)

    def scan(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self._scan("scan", path)

    def scan_all(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self._scan("scan_all", path)

    @contextmanager
    def _scan(self, call: str, path: DavPath) -> Iterator[Iterator[Entry]]:
        self._meet(call, path)
        with super().scan(path) as entries:
            yield self._entries(path, entries)

    def _entries(self, path: DavPath, entries: Iterator[Entry]) -> Iterator[Entry]:
        for entry in entries:
            self._meet("entry", path.child(entry.name))
            yield entry

    def open(self, path: DavPath) -> Reader:
        self._meet("open", path)
        return super().open(path)

    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        self._meet("create", path)
        return super().create(path, size_hint=size_hint)

    def make_collection(self, path: DavPath) -> None:
        self._meet("make_collection", path)
        super().make_collection(path)

    def delete(self, path: DavPath) -> None:
        self._meet("delete", path)
        super().delete(path)

    def copy(self, source: DavPath, target: DavPath, **options: Any) -> Stat:
        self._meet("copy", source)
        return super().copy(source, target, **options)

    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        self._meet("rename", source)
        super().rename(source, target, replace=replace)

    def exchange(self, a: DavPath, b: DavPath) -> None:
        self._meet("exchange", a)
        super().exchange(a, b)

    def set_attributes(
        self, path: DavPath, *, mtime_ns: int | None = None, executable: bool | None = None
    ) -> Stat:
        self._meet("set_attributes", path)
        return super().set_attributes(path, mtime_ns=mtime_ns, executable=executable)

    def quota(self, path: DavPath) -> Quota | None:
        return None if self.available is None else Quota(self.available, 0)


class FoldingStorage(MemoryStorage):
    """As ext4 with case folding: names are kept as they were made, and found in any case; a
    rename to another case of the same name meets the resource itself."""

    def child_key(self, key: Key, name: bytes) -> Key:
        return key.child(name.lower())

    def find(self, path: DavPath) -> Any:
        segments: list[str] = []
        for segment in path.segments:
            node = super().find(DavPath(tuple(segments))).node
            stored = (node.members or {}) if node is not None else {}
            found = [name for name in stored if name.lower() == segment.encode().lower()]
            segments.append(found[0].decode() if found else segment)
        return super().find(DavPath(tuple(segments)))

    def locate(self, path: DavPath) -> Any:
        found = super().locate(path)
        return found._replace(key=found.key._replace(path=found.key.path.lower()))
