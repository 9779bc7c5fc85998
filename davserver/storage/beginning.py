"""Where a new version of a file begins: at what its path leads to, if it may be written there."""

from __future__ import annotations

from davserver.errors import AccessDenied, StorageError
from davserver.protocol.path import DavPath
from davserver.storage._oserrors import show, translate_io, translating
from davserver.storage.found import Found
from davserver.storage.policy import Policy, may_write, require_creatable, require_file
from davserver.storage.writer import Begun, FileWriter

_LOOK_FOR_SPACE_FROM = 1 << 20  # bytes; smaller bodies find out by writing


def open_writer(
    policy: Policy,
    path: DavPath,
    *,
    size_hint: int | None = None,
    mode: int | None = None,
    begun: Begun | None = None,
) -> FileWriter:
    """Begins a new version, or takes one up. Raises as Storage.create does."""
    policy.refuse_read_only(path)
    with policy.resolver.find(path) as found:
        return _begin(policy, path, found, size_hint=size_hint, mode=mode, begun=begun)


def _begin(
    policy: Policy,
    path: DavPath,
    found: Found,
    *,
    size_hint: int | None = None,
    mode: int | None = None,
    begun: Begun | None = None,
) -> FileWriter:
    if found.stat is None:
        require_creatable(path, found)
    else:
        require_file(path, found.stat)
    with translating(path):
        if found.stat is not None and not may_write(found.dir_fd, found.name, found.seen):
            raise AccessDenied(f"{show(path)}: may not be written")
        if size_hint is not None and size_hint >= _LOOK_FOR_SPACE_FROM:
            policy.require_space(path, found.dir_fd, size_hint)
    try:
        return FileWriter(policy, path, found, mode=mode, begun=begun)
    except StorageError:
        raise
    except OSError as error:
        raise translate_io(error, path) from error
