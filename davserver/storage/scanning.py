"""The members of a collection, one by one, in constant memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from functools import partial
from itertools import islice
from typing import TypeVar

from davserver.errors import NotACollection, ResourceNotFound, StorageError
from davserver.protocol.path import DavPath
from davserver.storage import names
from davserver.storage._oserrors import show, translating
from davserver.storage._stat import Seen, get_looker, look
from davserver.storage.base import Entry, Kind, LinkedEntry
from davserver.storage.batches import BATCH, Scan
from davserver.storage.listed import FEW, Listed, ListedMembers
from davserver.storage.policy import Policy

T = TypeVar("T")
_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHER = Kind.OTHER
_EFFECTIVE = os.access in os.supports_effective_ids


@contextmanager
def open_scan(policy: Policy, path: DavPath, *, everything: bool) -> Iterator[Iterator[Entry]]:
    """Opens a collection and yields the iterator over its members.

    Args:
        everything: also links (as OTHER, not followed), unreadable members.

    Raises as Storage.scan does.
    """
    try:
        fd = policy.resolver.open(path, _FLAGS)
    except NotACollection as error:
        raise NotACollection(f"{show(path)}: is no collection") from error
    try:
        with translating(path):
            directory = os.scandir(fd)
        with directory:
            if everything:
                with closing(_Looking(policy, path, fd)) as look:
                    listed = _listed(policy, fd, directory, look)
                    yield ListedMembers(_translated(path, listed))
            else:
                batches = _batches(policy, fd, directory)
                yield Scan(_translated(path, _members(policy, path, fd, batches)))
    finally:
        os.close(fd)


def _translated(path: DavPath, members: Iterator[T]) -> Iterator[T]:
    with translating(path):
        yield from members


def _batches(policy: Policy, fd: int, directory: Iterator[os.DirEntry[str]]) -> Iterator[list[str]]:
    """Yields the names that are not hidden; removes those of workers that are gone."""
    alive: dict[str, bool] = {}
    while found := [entry.name for entry in islice(directory, BATCH)]:
        yield _shown(policy, fd, names.all_from_os(found), alive)


def _shown(policy: Policy, fd: int, found: list[str], alive: dict[str, bool]) -> list[str]:
    shown = names.not_hidden(found)
    if len(shown) != len(found) and not policy.read_only:
        for name in set(found).difference(shown):
            _remove_dead(policy, fd, name, alive)
    return shown


def _remove_dead(policy: Policy, fd: int, name: str, alive: dict[str, bool]) -> None:
    owner = names.owner_of(name)
    raw = names.encode(name)
    if owner is None:
        return
    if owner == policy.owner:
        if raw in policy.abandoned and remove_tree(fd, raw):
            policy.abandoned.discard(raw)
        return
    if owner not in alive:
        alive[owner] = policy.is_alive(owner)
    if not alive[owner]:
        remove_tree(fd, raw)


def remove_tree(dir_fd: int, name: bytes) -> bool:
    """Removes a hidden file or tree as far as possible; follows no link, raises nothing. Returns
    whether it is gone."""
    try:
        os.unlink(name, dir_fd=dir_fd)
    except FileNotFoundError:
        return True
    except (IsADirectoryError, PermissionError):  # macOS says EPERM for a directory
        with suppress(OSError, RecursionError):
            shutil.rmtree(os.fsdecode(name), ignore_errors=True, dir_fd=dir_fd)
        return not _exists(dir_fd, name)
    except OSError:
        return False
    return True


def _exists(dir_fd: int, name: bytes) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _members(
    policy: Policy, path: DavPath, fd: int, batches: Iterator[list[str]]
) -> Iterator[Sequence[Entry]]:
    plain = policy.resolver.plain
    look_closer = partial(_member, policy, path, fd)
    for batch in batches:
        members = get_looker(plain=plain).members(fd, batch, look_closer)
        yield _linked(members) if policy.resolver.folding else members


def _linked(members: Sequence[Entry]) -> list[Entry]:
    return [one if one.stat.kind is _OTHER else LinkedEntry(*one) for one in members]


def _member(policy: Policy, path: DavPath, fd: int, name: str) -> Entry | None:
    """Returns one member, None for what a listing leaves out."""
    raw = names.encode(name)
    seen = _look(policy, fd, raw)
    if seen is None:
        return None
    if seen.is_link:
        return _resolve_link(policy, path, name)
    if seen.stat.kind is _OTHER:
        return Entry(name, seen.stat)
    is_readable = seen.is_readable(os.geteuid()) or os.access(
        raw, os.R_OK, dir_fd=fd, effective_ids=_EFFECTIVE
    )
    return Entry(name, seen.stat) if is_readable else None


def _look(policy: Policy, fd: int, name: bytes) -> Seen | None:
    """Returns None for what is gone since it was read, or not for us to look at. Any other error
    ends the listing: a client takes what is missing in it for deleted."""
    try:
        return look(fd, name, plain=policy.resolver.plain)
    except (FileNotFoundError, PermissionError):
        return None


def _listed(
    policy: Policy, fd: int, directory: Iterator[os.DirEntry[str]], look: _Looking
) -> Iterator[Listed]:
    """Yields members as the directory tells of them. Raises OSError where it can be read, and what
    is in it cannot be reached."""
    alive: dict[str, bool] = {}
    is_searched = False
    while found := list(islice(directory, FEW)):
        if not is_searched:
            os.stat(b".", dir_fd=fd)
            is_searched = True
        listed = _sorted(found, look)
        shown = _shown(policy, fd, listed.names, alive)
        if len(shown) == len(listed.names):
            yield listed
        elif shown:
            kept = frozenset(shown)
            yield _sorted([entry for entry in found if names.from_os(entry.name) in kept], look)


def _sorted(found: list[os.DirEntry[str]], look: _Looking) -> Listed:
    files = [entry.name for entry in found if entry.is_file(follow_symlinks=False)]
    if len(files) == len(found):
        files = names.all_from_os(files)
        return Listed(files, files, [], look)
    collections = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
    every = names.all_from_os([entry.name for entry in found])
    return Listed(every, names.all_from_os(files), names.all_from_os(collections), look)


class _Looking:
    """Looks at members of a directory, while that is open."""

    __slots__ = ("_fd", "_path", "_policy")

    def __init__(self, policy: Policy, path: DavPath, fd: int) -> None:
        self._policy = policy
        self._path = path
        self._fd = fd

    def __call__(self, listed: Sequence[str]) -> Sequence[Entry]:
        fd, looker = self._fd, get_looker(plain=self._policy.resolver.plain)
        look_closer = partial(_any_member, self._policy, self._path, fd)
        with translating(self._path):
            return looker.members(fd, listed, look_closer)

    def close(self) -> None:
        """From now on the number is perhaps that of another directory."""
        self._fd = -1


def _any_member(policy: Policy, path: DavPath, fd: int, name: str) -> Entry | None:
    """Returns one member, whatever it is; None for one that is gone since it was read."""
    try:
        with translating(path):
            seen = look(fd, names.encode(name), plain=policy.resolver.plain)
    except ResourceNotFound:
        return None
    return LinkedEntry(name, seen.stat) if seen.is_link else Entry(name, seen.stat)


def _resolve_link(policy: Policy, path: DavPath, name: str) -> Entry | None:
    """Returns the member as what its link leads to, None for one that leads nowhere or out."""
    child = path.child(name)
    try:
        stat = policy.resolver.locate(child).stat
    except StorageError:
        return None
    if stat is None or stat.kind is _OTHER:
        return None
    return LinkedEntry(name, stat)
