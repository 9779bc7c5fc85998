"""One share of several, looked at as if it were all: so that whatever a storage promises is asked
of Mounts too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any

from davserver.protocol.path import DavPath, Key
from davserver.storage.base import (
    Entry,
    Located,
    Members,
    Named,
    Part,
    Quota,
    Reader,
    Stat,
    Storage,
    Writer,
)
from davserver.storage.mounts import Mounts


class OneShare:
    """The share of this name as a Storage; every call goes through the Mounts."""

    def __init__(self, mounts: Mounts, name: str) -> None:
        self.mounts = mounts
        self.name = name

    def __getattr__(self, name: str) -> Any:
        """What tests look at behind the seam is asked of the share itself."""
        is_seam = hasattr(self.mounts, name)
        return getattr(self.mounts if is_seam else self.mounts.shares[self.name], name)

    def _in(self, path: DavPath) -> DavPath:
        return DavPath((self.name, *path.segments), path.slash)

    def _out(self, path: DavPath) -> DavPath:
        assert path.segments[0] == self.name
        return DavPath(path.segments[1:], path.slash)

    def locate(self, path: DavPath) -> Located:
        found = self.mounts.locate(self._in(path))
        return found._replace(link_to=found.link_to and self._out(found.link_to))

    def named(self, path: DavPath) -> Named:
        return self.mounts.named(self._in(path))

    def canonical(self, path: DavPath) -> Key:
        return self.mounts.canonical(self._in(path))

    def path_of(self, key: Key) -> DavPath:
        return self._out(self.mounts.path_of(key))

    def is_writable(self, path: DavPath) -> bool:
        return self.mounts.is_writable(self._in(path))

    def stat(self, path: DavPath) -> Stat:
        return self.mounts.stat(self._in(path))

    def scan(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self.mounts.scan(self._in(path))

    def scan_all(self, path: DavPath) -> AbstractContextManager[Iterator[Entry]]:
        return self.mounts.scan_all(self._in(path))

    def open(self, path: DavPath) -> Reader:
        return self.mounts.open(self._in(path))

    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        return self.mounts.create(self._in(path), size_hint=size_hint)

    def open_part(self, hidden: DavPath, *, create: bool = False) -> Part | None:
        return self.mounts.open_part(self._in(hidden), create=create)

    def take_up(self, part: Part, path: DavPath, *, copies: bool = False) -> Writer:
        return self.mounts.take_up(part, self._in(path), copies=copies)

    def make_collection(self, path: DavPath) -> None:
        self.mounts.make_collection(self._in(path))

    def make_link(self, path: DavPath, target: DavPath, *, replace: bool = False) -> None:
        self.mounts.make_link(self._in(path), self._in(target), replace=replace)

    def delete(self, path: DavPath) -> None:
        self.mounts.delete(self._in(path))

    def copy(self, source: DavPath, target: DavPath, **options: Any) -> Stat:
        return self.mounts.copy(self._in(source), self._in(target), **options)

    def members(self, path: DavPath, *, copy_to: DavPath | None = None) -> Members:
        into = None if copy_to is None else self._in(copy_to)
        return self.mounts.members(self._in(path), copy_to=into)

    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        self.mounts.rename(self._in(source), self._in(target), replace=replace)

    def exchange(self, a: DavPath, b: DavPath) -> None:
        self.mounts.exchange(self._in(a), self._in(b))

    def set_attributes(self, path: DavPath, **attributes: Any) -> Stat:
        return self.mounts.set_attributes(self._in(path), **attributes)

    def attributes(self, path: DavPath) -> Mapping[str, int]:
        return self.mounts.attributes(self._in(path))

    def restore(self, path: DavPath, attributes: Mapping[str, int]) -> None:
        self.mounts.restore(self._in(path), attributes)

    def quota(self, path: DavPath) -> Quota | None:
        return self.mounts.quota(self._in(path))

    def sync(self, path: DavPath) -> None:
        self.mounts.sync(self._in(path))

    def hidden(self, path: DavPath) -> DavPath:
        return self._out(self.mounts.hidden(self._in(path)))

    def abandon(self, hidden: DavPath) -> None:
        self.mounts.abandon(self._in(hidden))

    def following(self, hidden: DavPath) -> AbstractContextManager[None]:
        return self.mounts.following(self._in(hidden))


def one_of_two(name: str, share: Storage, other: Storage) -> Storage:
    """Returns `share` behind a Mounts that has `other` as well."""
    one: Any = OneShare(Mounts({name: share, "other": other}), name)
    storage: Storage = one
    return storage
