"""Where a small file is published whole, by who is in the gate: looked up once, and filled before
it has a name."""

from __future__ import annotations

import os
import re

from davserver.errors import AccessDenied, StorageFailure
from davserver.protocol.path import DavPath, Key
from davserver.storage._oserrors import show, translate_io, translate_new
from davserver.storage._stat import Seen, get_looker, stat_of_file
from davserver.storage.base import Stat
from davserver.storage.policy import Policy, let_go, may_write, new_mtime_ns, require_file
from davserver.storage.renaming import rename_new
from davserver.storage.versions import (
    MODE_MASK,
    adopt,
    link_version,
    new_hidden,
    open_version,
    remove_hidden,
)

_NEW_MODE = 0o666
_PERMISSIONS = 0o7777
_PLAIN_NAME = re.compile(rb"[ -~]+")
"""Has no other spelling, and no control characters."""


class Place:
    """A DirectPlace.

    Args:
        dir_fd: of the directory; closed with this one if it is its `own`.
    """

    __slots__ = (
        "_dir_fd",
        "_fd",
        "_hidden",
        "_made",
        "_name",
        "_old",
        "_own",
        "_path",
        "_policy",
        "stat",
    )

    def __init__(
        self, policy: Policy, path: DavPath, dir_fd: int, name: bytes, *, own: bool
    ) -> None:
        self._policy = policy
        self._path = path
        self._dir_fd = dir_fd
        self._name = name
        self._own = own
        self._fd = -1
        self._hidden: bytes | None = None
        self._old: Seen | None = None
        self._made: Stat | None = None
        self.stat: Stat | None = None

    def look(self) -> bool:
        """Finds out what stands here; False where that cannot be told in one step. Raises as
        Storage.create does."""
        name = self._name
        try:
            old = get_looker(plain=self._policy.resolver.plain).try_look(self._dir_fd, name)
        except OSError:
            # It may be there all the same: taken for new, it would lose its properties and locks.
            return False
        if old is None:
            return _PLAIN_NAME.fullmatch(name) is not None
        if old.is_link:
            return False
        require_file(self._path, old.stat)
        if not may_write(self._dir_fd, name, old):
            raise AccessDenied(f"{show(self._path)}: may not be written")
        self._old, self.stat = old, old.stat
        return True

    def fill(self, content: bytes, mtime_ns: int | None) -> None:
        policy, old = self._policy, self._old
        mode = _NEW_MODE & ~policy.umask if old is None else old.mode & MODE_MASK
        try:
            self._fd, self._hidden = fd, _ = open_version(policy, self._dir_fd, mode)
        except OSError as error:
            raise translate_new(error, self._path) from error
        try:
            count = os.write(fd, content)
            while count < len(content):
                count += os.write(fd, memoryview(content)[count:])
            modified_ns = new_mtime_ns(mtime_ns)
            os.utime(fd, ns=(modified_ns, modified_ns))
            new = os.fstat(fd)
            kept = None if old is None else adopt(fd, self._dir_fd, self._name, old, new)
            if kept is not None:
                mode = kept
            # Else a version without a name has been opened with the mode that it is to have.
            if kept is not None or new.st_mode & _PERMISSIONS != mode:
                os.fchmod(fd, mode)
        except OSError as error:
            raise translate_io(error, self._path) from error
        self._made = stat_of_file(new, mode)

    def publish(self) -> Stat:
        made, self._made = self._made, None
        if made is None:
            raise StorageFailure(f"{show(self._path)}: nothing to publish")
        dir_fd, name = self._dir_fd, self._name
        try:
            if self._old is not None:
                if self._hidden is None:
                    hidden = new_hidden(self._policy)
                    link_version(self._fd, dir_fd, hidden)
                    self._hidden = hidden
                os.rename(self._hidden, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
            elif self._hidden is None:
                link_version(self._fd, dir_fd, name)
            else:
                rename_new(self._policy, dir_fd, self._hidden, dir_fd, name, is_tree=False)
        except OSError as error:
            raise translate_new(error, self._path) from error
        self._hidden = None
        return made

    def close(self) -> None:
        if self._hidden is not None:
            remove_hidden(self._policy, self._dir_fd, self._hidden)
            self._hidden = None
        fd, self._fd = self._fd, -1
        let_go(fd)
        if self._own:
            self._own = False
            let_go(self._dir_fd)


def find_place(policy: Policy, path: DavPath, key: Key) -> Place | None:
    """As DirectStorage.find_place."""
    policy.refuse_read_only(path)
    resolver = policy.resolver
    parent, _, name = key.path.rpartition(b"/")
    if resolver.folding or not name:
        return None
    dir_fd = resolver.open_parent(parent) if parent else resolver.root_fd
    if dir_fd < 0:
        return None
    place = Place(policy, path, dir_fd, name, own=dir_fd != resolver.root_fd)
    try:
        if place.look():
            return place
    except BaseException:
        place.close()
        raise
    place.close()
    return None
