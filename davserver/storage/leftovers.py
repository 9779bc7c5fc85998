"""Hidden names that nobody owns any more, wherever in the tree.

Requests remove those that they meet in a listing; here the whole tree is walked.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import NamedTuple

from davserver.errors import StorageError
from davserver.protocol.path import DavPath
from davserver.storage import names
from davserver.storage.resolve import Resolver
from davserver.storage.scanning import remove_tree

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Leftover(NamedTuple):
    """A hidden name of a dead owner.

    Attributes:
        is_removed: it was to be removed, and it is gone.
    """

    path: DavPath
    owner: str
    is_removed: bool


def find_leftovers(
    resolver: Resolver, is_alive: Callable[[str], bool], *, remove: bool
) -> Iterator[Leftover]:
    """Yields hidden names of dead owners, one directory after the other; follows no link. What
    may not be read is passed over."""
    waiting = [DavPath(())]
    while waiting:
        path = waiting.pop()
        try:
            fd = resolver.open(path, _FLAGS)
        except StorageError:
            continue  # removed meanwhile, or not for us to read
        try:
            hidden, below = _members(fd)
            waiting.extend(path.child(name) for name in below)
            for name in hidden:
                owner = names.owner_of(name)
                if owner is not None and not is_alive(owner):
                    gone = remove and _is_removed(fd, names.encode(name))
                    yield Leftover(path.child(name), owner, gone)
        finally:
            os.close(fd)


def _members(fd: int) -> tuple[list[str], list[str]]:
    """Returns the hidden names in a directory, and the directories in it."""
    hidden: list[str] = []
    below: list[str] = []
    try:
        with os.scandir(fd) as entries:
            for entry in entries:
                name = names.from_os(entry.name)
                if names.is_hidden(name):
                    hidden.append(name)
                elif entry.is_dir(follow_symlinks=False):
                    below.append(name)
    except OSError:
        return hidden, below
    return hidden, below


def _is_removed(fd: int, name: bytes) -> bool:
    remove_tree(fd, name)
    try:
        os.stat(name, dir_fd=fd, follow_symlinks=False)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False
