"""The members of a collection, one by one, in constant memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from davserver.errors import NotACollection, StorageError
from davserver.protocol.path import DavPath
from davserver.storage import names
from davserver.storage._oserrors import show, translating
from davserver.storage._stat import Looker, Seen, new_looker
from davserver.storage.base import Entry, Kind, LinkedEntry
from davserver.storage.policy import Policy

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHER = Kind.OTHER
_EVERYBODY = 0o444
_OWNER = 0o400
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
            entries = _names(policy, fd, directory)
            members = _all_members if everything else _members
            yield _translated(path, members(policy, path, fd, entries))
    finally:
        os.close(fd)


def _translated(path: DavPath, members: Iterator[Entry]) -> Iterator[Entry]:
    with translating(path):
        yield from members


def _names(policy: Policy, fd: int, directory: Iterator[os.DirEntry[str]]) -> Iterator[str]:
    """Yields the names that are not hidden; removes those of workers that are gone."""
    alive: dict[str, bool] = {}
    for entry in directory:
        name = names.from_os(entry.name)
        if not names.is_hidden(name):
            yield name
        elif not policy.read_only:
            _remove_dead(policy, fd, name, alive)


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


def _members(policy: Policy, path: DavPath, fd: int, entries: Iterator[str]) -> Iterator[Entry]:
    looker = new_looker(plain=policy.resolver.plain)
    euid = os.geteuid()
    new_entry = LinkedEntry._make if policy.resolver.folding else Entry._make
    for name in entries:
        raw = names.encode(name)
        seen = _look(looker, fd, raw)
        if seen is None:
            continue
        stat, mode, uid = seen
        if stat.kind is _OTHER:
            if not seen.is_link:
                yield Entry(name, stat)
            elif (entry := _resolve_link(policy, path, name)) is not None:
                yield entry
        elif (
            mode & _EVERYBODY == _EVERYBODY
            or (uid == euid and mode & _OWNER)
            or os.access(raw, os.R_OK, dir_fd=fd, effective_ids=_EFFECTIVE)
        ):
            yield new_entry((name, stat))


def _all_members(policy: Policy, path: DavPath, fd: int, entries: Iterator[str]) -> Iterator[Entry]:
    looker = new_looker(plain=policy.resolver.plain)
    for name in entries:
        try:
            seen = looker.look(fd, names.encode(name))
        except FileNotFoundError:
            continue  # gone since it was read
        yield LinkedEntry(name, seen.stat) if seen.is_link else Entry(name, seen.stat)


def _look(looker: Looker, fd: int, name: bytes) -> Seen | None:
    """Returns None for what is gone since it was read, or not for us to look at. Any other error
    ends the listing: a client takes what is missing in it for deleted."""
    try:
        return looker.look(fd, name)
    except (FileNotFoundError, PermissionError):
        return None


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
