"""A new version of a file: written where nobody sees it, published in one step.

Where the system can, the version has no name at all until then (O_TMPFILE), so that a crash
leaves nothing; elsewhere it has a hidden name beside its target. Publishing a new name is a link,
which fails where something stands; publishing over an old version is a rename.
"""

from __future__ import annotations

import os
import stat as st
from typing import NamedTuple

from davserver.errors import (
    EtagMismatch,
    ParentChanged,
    ResourceExists,
    StorageFailure,
)
from davserver.protocol.etag import ETag
from davserver.protocol.path import DavPath
from davserver.storage import names
from davserver.storage._oserrors import creating, show, translate_io, translating
from davserver.storage._stat import Seen, look
from davserver.storage.base import Bytes, Reader, Stat
from davserver.storage.content import copy_by_hand, copy_range
from davserver.storage.found import Found
from davserver.storage.policy import Policy, let_go, new_mtime_ns, require_file
from davserver.storage.renaming import rename_new
from davserver.storage.versions import (
    MODE_MASK,
    adopt,
    link_version,
    new_hidden,
    open_version,
    remove_hidden,
)

_IOV_MAX = 1024  # pieces that one writev takes, on every system of note


class Begun(NamedTuple):
    """A version that is there already, under a hidden name, and stays there until it is published.

    Attributes:
        fd, dir_fd: open, of the file and of the directory that its name is in; the writer takes
            copies.
        size: bytes in it.
    """

    fd: int
    dir_fd: int
    name: bytes
    size: int


class FileWriter:
    """A Writer in the directory of its target, or of a version that was begun elsewhere."""

    def __init__(
        self,
        policy: Policy,
        path: DavPath,
        found: Found,
        *,
        mode: int | None = None,
        begun: Begun | None = None,
    ) -> None:
        self._policy = policy
        self._path = path
        self._mode = mode
        self._name = found.name
        self._replaces = found.stat is not None
        self._like: Seen | None = None
        self._size = 0
        self._failed = False
        self._published = False
        self._hidden: bytes | None = None
        self._stays = begun is not None
        self._fd = self._begun_fd = -1
        self._dir_fd = found.take()
        try:
            with creating(path):
                if begun is None:
                    self._fd, self._hidden = open_version(policy, self._dir_fd)
                else:
                    self._take_up(begun)
            self._writeback = policy.writeback(self._fd, self._size)
        except BaseException:
            self._close()
            raise

    @property
    def size(self) -> int:
        return self._size

    @property
    def fd(self) -> int:
        """The descriptor to copy into; `advance` tells how much that was."""
        return self._fd

    def _take_up(self, begun: Begun) -> None:
        self._fd = os.dup(begun.fd)
        self._begun_fd = os.dup(begun.dir_fd)
        self._hidden, self._size = begun.name, begun.size

    @property
    def _hidden_fd(self) -> int:
        """The directory that the hidden name is in."""
        return self._dir_fd if self._begun_fd < 0 else self._begun_fd

    def write(self, *pieces: Bytes) -> None:
        """Appends all of the pieces. May block."""
        try:
            if len(pieces) == 1:
                # Most bodies are one piece, which is taken at once.
                count = os.write(self._fd, pieces[0])
                self._size += count
                if count < len(pieces[0]):
                    self._write_all([memoryview(pieces[0])[count:]])
            else:
                self._write_all([memoryview(piece) for piece in pieces])
            self._write_back()
        except OSError as error:
            self._failed = True
            raise translate_io(error, self._path) from error

    def _write_back(self) -> None:
        if self._writeback is not None and self._size >= self._writeback.due:
            self._writeback.advance(self._size)

    def _write_all(self, rest: list[memoryview]) -> None:
        while rest:
            one = len(rest) == 1
            count = os.write(self._fd, rest[0]) if one else os.writev(self._fd, rest[:_IOV_MAX])
            self._size += count
            while rest and count >= len(rest[0]):
                count -= len(rest.pop(0))
            if count:
                rest[0] = rest[0][count:]

    def copy(self, reader: Reader, offset: int, size: int) -> None:
        """Appends a stretch of an open file. May block."""
        try:
            if reader.fd is None:
                copy_by_hand(reader, offset, size, self.write)
            else:
                copy_range(self._policy, reader.fd, self._fd, offset, size)
                self._size += size
                self._write_back()
        except OSError as error:
            self._failed = True
            raise translate_io(error, self._path) from error

    def advance(self, count: int) -> None:
        """Counts bytes that were put into `fd` by other ways."""
        self._size += count

    def seal(self, *, mtime_ns: int | None = None) -> None:
        """Sets mode and times, then waits for the disk as the policy says. May block."""
        try:
            modified_ns = new_mtime_ns(mtime_ns)
            os.utime(self._fd, ns=(modified_ns, modified_ns))
            new = os.fstat(self._fd)
            self._set_mode(new)
            self._policy.sync_file(self._fd)
        except OSError as error:
            # What a failed fsync left behind is unknown, and a second one would report success.
            self._failed = True
            raise translate_io(error, self._path) from error

    def _set_mode(self, new: os.stat_result) -> None:
        mode = self._mode
        if self._replaces and mode is None:
            mode = self._adopt_attributes(new)
        if mode is None:
            mode = 0o666 & ~self._policy.umask
        mode &= MODE_MASK
        os.fchmod(self._fd, mode)

    def _set_mode_anew(self) -> None:
        """Of what is sealed already. Raises OSError."""
        self._set_mode(os.fstat(self._fd))
        try:
            self._policy.sync_file(self._fd)
        except OSError:
            self._failed = True
            raise

    def _adopt_attributes(self, new: os.stat_result) -> int | None:
        """Returns the old version's mode, None where there is none. Raises OSError: what stands
        there may not be for everybody."""
        try:
            old = look(self._dir_fd, self._name, plain=self._policy.resolver.plain)
        except FileNotFoundError:
            return None
        if not st.S_ISREG(old.mode):
            return None
        self._like = old
        kept = adopt(self._fd, self._dir_fd, self._name, old, new)
        return old.mode if kept is None else kept

    def commit(self, *, replace: bool, expect: ETag | None = None) -> Stat:
        """Publishes, if the target is still in the same directory. One rename at most."""
        self._require_unpublished()
        with self._policy.resolver.find(self._path) as found:
            with creating(self._path):
                self._require_same_parent(found)
                _require_publishable(self._path, found, replace=replace, expect=expect)
                self._name = found.name
                self._replaces = found.stat is not None
                if not _is_like(self._like, found.seen):
                    # Made, made anew or made private by somebody since.
                    self._set_mode_anew()
                # Before, for once it is published nothing may fail any more.
                stat = look(self._fd, b"", plain=self._policy.resolver.plain).stat
                self._publish(replace=replace)
                return stat

    def _require_unpublished(self) -> None:
        if self._failed or self._published:
            raise StorageFailure(f"{show(self._path)}: nothing to publish")

    def _publish(self, *, replace: bool) -> None:
        if self._replaces:
            self._publish_over()
        else:
            self._publish_new(replace=replace)
        self._published = True

    def stage(self, hidden: DavPath) -> Stat:
        """Gives the version a hidden name in the directory that it was made in."""
        self._require_unpublished()
        with creating(self._path):
            stat = look(self._fd, b"", plain=self._policy.resolver.plain).stat
            self._link(names.encode(hidden.name))
            self._published = True
            return stat

    def _require_same_parent(self, found: Found) -> None:
        if found.missing <= 1 and found.name:
            now, then = os.fstat(found.dir_fd), os.fstat(self._dir_fd)
            if (now.st_dev, now.st_ino) == (then.st_dev, then.st_ino):
                return
        raise ParentChanged(f"{show(self._path)}: its parent was replaced during the upload")

    def _publish_new(self, *, replace: bool) -> None:
        try:
            self._link(self._name)
        except FileExistsError:
            if not replace:
                raise
            self._publish_over()

    def _publish_over(self) -> None:
        if self._hidden is None:
            hidden = new_hidden(self._policy)
            self._link(hidden)
            self._hidden = hidden
        os.rename(self._hidden, self._name, src_dir_fd=self._hidden_fd, dst_dir_fd=self._dir_fd)
        self._hidden = None

    def _link(self, name: bytes) -> None:
        """Gives the version a name at which nothing stands. Raises FileExistsError."""
        fd = self._dir_fd
        if self._hidden is None:
            link_version(self._fd, fd, name)
            return
        rename_new(self._policy, self._hidden_fd, self._hidden, fd, name, is_tree=False)
        self._hidden = None

    def settle(self) -> None:
        """Waits for the directory as the policy says, and closes. May block."""
        try:
            if self._published:
                with translating(self._path):
                    self._policy.sync_directory(self._dir_fd)
        finally:
            self.discard()

    def discard(self) -> None:
        """Removes what was not published, and closes; harmless twice."""
        hidden, self._hidden = self._hidden, None
        if hidden is not None and not self._stays:
            remove_hidden(self._policy, self._dir_fd, hidden)
        self._close()

    def _close(self) -> None:
        self._failed = self._failed or not self._published
        fds = (self._fd, self._dir_fd, self._begun_fd)
        self._fd = self._dir_fd = self._begun_fd = -1
        let_go(*fds)


def _is_like(one: Seen | None, other: Seen | None) -> bool:
    """False where a version that was made like one file would not be like the other."""
    if other is None:
        return True
    return one is not None and one[1:] == other[1:] and one.stat.inode == other.stat.inode


def _require_publishable(
    path: DavPath, found: Found, *, replace: bool, expect: ETag | None
) -> None:
    """Raises what keeps a version from being published at `found`."""
    current = found.stat
    if expect is not None and (current is None or current.etag != expect):
        raise EtagMismatch(f"{show(path)}: changed meanwhile")
    if current is None:
        return
    require_file(path, current)
    if not replace:
        raise ResourceExists(f"{show(path)}: exists")
