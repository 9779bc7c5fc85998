"""The members of a collection, one by one, in constant memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice

from davserver.errors import NotACollection, ResourceNotFound, StorageError
from davserver.protocol.path import DavPath
from davserver.storage import names
from davserver.storage._oserrors import show, translating
from davserver.storage._stat import BATCH, Seen, get_looker, look
from davserver.storage.base import Entry, Kind, LinkedEntry
from davserver.storage.policy import Policy

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
            batches = _batches(policy, fd, directory)
            members = _all_members if everything else _members
            yield chain.from_iterable(_translated(path, members(policy, path, fd, batches)))
    finally:
        os.close(fd)


def _translated(path: DavPath, batches: Iterator[Iterable[Entry]]) -> Iterator[Iterable[Entry]]:
    with translating(path):
        yield from batches


def _batches(policy: Policy, fd: int, directory: Iterator[os.DirEntry[str]]) -> Iterator[list[str]]:
    """Yields the names that are not hidden; removes those of workers that are gone."""
    alive: dict[str, bool] = {}
    while found := [entry.name for entry in islice(directory, BATCH)]:
        found = names.all_from_os(found)
        shown = names.not_hidden(found)
        if len(shown) != len(found) and not policy.read_only:
            for name in set(found).difference(shown):
                _remove_dead(policy, fd, name, alive)
        yield shown


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
) -> Iterator[list[Entry]]:
    plain = policy.resolver.plain
    new_entry = LinkedEntry if policy.resolver.folding else Entry
    look_closer = partial(_member, policy, path, fd, new_entry)
    for batch in batches:
        yield get_looker(plain=plain).members(fd, batch, new_entry, look_closer)


def _member(
    policy: Policy, path: DavPath, fd: int, new_entry: type[Entry], name: str
) -> Entry | None:
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
    return new_entry(name, seen.stat) if is_readable else None


def _look(policy: Policy, fd: int, name: bytes) -> Seen | None:
    """Returns None for what is gone since it was read, or not for us to look at. Any other error
    ends the listing: a client takes what is missing in it for deleted."""
    try:
        return look(fd, name, plain=policy.resolver.plain)
    except (FileNotFoundError, PermissionError):
        return None


def _all_members(
    policy: Policy, path: DavPath, fd: int, batches: Iterator[list[str]]
) -> Iterator[Iterator[Entry]]:
    for batch in batches:
        yield _each(policy, path, fd, batch)


def _each(policy: Policy, path: DavPath, fd: int, batch: list[str]) -> Iterator[Entry]:
    """Looks at each when it is its turn: whoever lists everything is about to change it."""
    for name in batch:
        try:
            with translating(path):
                seen = look(fd, names.encode(name), plain=policy.resolver.plain)
        except ResourceNotFound:
            continue  # gone since it was read
        yield LinkedEntry(name, seen.stat) if seen.is_link else Entry(name, seen.stat)


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
