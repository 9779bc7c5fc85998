"""Space of the file system that a path is on (RFC 4331)."""

from __future__ import annotations

import os

from davserver.errors import NotACollection, ResourceNotFound
from davserver.protocol.path import DavPath
from davserver.storage._oserrors import translating
from davserver.storage.base import Quota
from davserver.storage.resolve import Resolver

_O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)


def find_space(resolver: Resolver, path: DavPath) -> Quota | None:
    """Returns the space there, or where the nearest mapped ancestor is; None where it is unknown.
    Raises StorageError."""
    nearest = path
    while True:
        try:
            fd = resolver.open(nearest, _O_PATH | os.O_CLOEXEC)
            break
        except (ResourceNotFound, NotACollection):
            parent = nearest.parent
            if parent is None:
                return None
            nearest = parent
    try:
        with translating(path):
            space = os.fstatvfs(fd)
    finally:
        os.close(fd)
    if not space.f_blocks:
        return None
    block = space.f_frsize
    return Quota(space.f_bavail * block, (space.f_blocks - space.f_bfree) * block)
