"""Where a new version of a file begins: at what its path leads to, if it may be written there."""

from __future__ import annotations

from davserver.errors import AccessDenied, StorageError
from davserver.protocol.path import DavPath, Key
from davserver.storage._oserrors import show, translate_io, translating
from davserver.storage._stat import Seen, get_looker
from davserver.storage.base import Stat
from davserver.storage.found import Found
from davserver.storage.policy import Policy, may_write, require_creatable, require_file
from davserver.storage.resolve import Resolver
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


def open_direct_writer(
    policy: Policy, path: DavPath, key: Key
) -> tuple[Stat | None, FileWriter] | None:
    """As Storage.create_direct."""
    policy.refuse_read_only(path)
    found = None if policy.resolver.folding else _find_direct(policy.resolver, key)
    if found is None:
        return None
    with found:
        return found.stat, _begin(policy, path, found, old=found.seen)


def _find_direct(resolver: Resolver, key: Key) -> Found | None:
    """Looks up what has just this path on disk; None where that cannot be told in one step."""
    parent, _, name = key.path.rpartition(b"/")
    if not name:
        return None
    dir_fd = resolver.open_parent(parent) if parent else resolver.root_fd
    if dir_fd < 0:
        return None
    found = Found(dir_fd, name, (), None, 1, dir_fd != resolver.root_fd)
    try:
        found.seen = seen = get_looker(plain=resolver.plain).try_look(dir_fd, name)
    except OSError:
        # It may be there all the same: taken for new, it would lose its properties and locks.
        found.__exit__(None, None, None)
        return None
    if name.isascii() if seen is None else not seen.is_link:
        return found
    found.__exit__(None, None, None)
    return None


def _begin(
    policy: Policy,
    path: DavPath,
    found: Found,
    *,
    size_hint: int | None = None,
    mode: int | None = None,
    begun: Begun | None = None,
    old: Seen | None = None,
) -> FileWriter:
    if found.stat is None:
        require_creatable(path, found)
    else:
        require_file(path, found.stat)
    with translating(path):
        if found.stat is not None and not may_write(found):
            raise AccessDenied(f"{show(path)}: may not be written")
        if size_hint is not None and size_hint >= _LOOK_FOR_SPACE_FROM:
            policy.require_space(path, found.dir_fd, size_hint)
    try:
        return FileWriter(policy, path, found, mode=mode, begun=begun, old=old)
    except StorageError:
        raise
    except OSError as error:
        raise translate_io(error, path) from error
