"""Parts: versions of files that are written bit by bit, over days and by any worker, before they
are published.

A part has a hidden name of an owner of its own, who is alive for as long as the upload is; an
flock on it keeps all others out while one appends. It is published by the rename that publishes
any new version (writer.py), or copied where a rename cannot, or would lose what the collection
gives to its members.
"""

from __future__ import annotations

import fcntl
import os
import stat as st

from davserver.errors import ResourceNotFound, StorageFailure
from davserver.protocol.path import DavPath
from davserver.storage._oserrors import creating, show, translate_io, translating
from davserver.storage._stat import look
from davserver.storage.base import Bytes, Stat
from davserver.storage.beginning import open_writer
from davserver.storage.content import copy_content, write_all
from davserver.storage.found import Found
from davserver.storage.policy import Policy, let_go
from davserver.storage.versions import ACL
from davserver.storage.writer import Begun, FileWriter

_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_DEFAULT_ACL = "system.posix_acl_default"


class FilePart:
    """A Part over a descriptor that holds its flock."""

    def __init__(self, policy: Policy, path: DavPath, begun: Begun) -> None:
        self._policy = policy
        self._path = path
        self._begun = begun
        self._size = begun.size
        self._is_open = True
        self._is_doubtful = False

    @property
    def size(self) -> int:
        return self._size

    @property
    def begun(self) -> Begun:
        """What a writer takes up."""
        return self._begun._replace(size=self._size)

    def stands_for(self, stat: Stat | None) -> bool | None:
        here = look(self._begun.fd, b"", plain=self._policy.resolver.plain).stat
        if stat is not None and (stat.device, stat.inode) == (here.device, here.inode):
            return True
        return None if os.fstat(self._begun.fd).st_nlink > 1 else False

    def cut(self, size: int) -> None:
        if size > self._size:
            raise StorageFailure(f"{show(self._path)}: {self._size} bytes are left of {size}")
        try:
            os.ftruncate(self._begun.fd, size)
        except OSError as error:
            raise translate_io(error, self._path) from error
        self._size = size

    def write(self, *pieces: Bytes) -> None:
        fd = self._begun.fd
        try:
            os.lseek(fd, self._size, os.SEEK_SET)
            try:
                for piece in pieces:
                    write_all(fd, piece)
            finally:
                self._size = os.lseek(fd, 0, os.SEEK_CUR)
        except OSError as error:
            raise translate_io(error, self._path) from error

    def read_at(self, offset: int, size: int) -> bytes:
        try:
            return os.pread(self._begun.fd, size, offset)
        except OSError as error:
            raise translate_io(error, self._path) from error

    def sync(self) -> None:
        if self._is_doubtful:
            # What a failed fsync left behind is unknown, and a second one would report success.
            raise StorageFailure(f"{show(self._path)}: cannot be made durable")
        try:
            self._policy.sync_file(self._begun.fd)
        except OSError as error:
            self._is_doubtful = True
            raise translate_io(error, self._path) from error

    def remove(self) -> None:
        try:
            os.unlink(self._begun.name, dir_fd=self._begun.dir_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            raise translate_io(error, self._path) from error

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            let_go(self._begun.fd, self._begun.dir_fd)


def open_part(policy: Policy, path: DavPath, *, create: bool) -> FilePart | None:
    """Opens a part, or makes it. Raises as Storage.open_part does."""
    policy.refuse_read_only(path)
    flags = _FLAGS | os.O_CREAT | os.O_EXCL if create else _FLAGS
    with policy.resolver.find(path, follow=False) as found, creating(path):
        if found.missing > 1 or (found.seen is None and not create):
            raise ResourceNotFound(f"{show(path)}: no such part")
        fd = os.open(found.name, flags, 0o600, dir_fd=found.dir_fd)
        try:
            if not _is_held(fd, found):
                os.close(fd)
                return None
            if create:
                policy.sync_directory(found.dir_fd)
            size = os.fstat(fd).st_size
            begun = Begun(fd, found.take(), found.name, size)
        except BaseException:
            os.close(fd)
            raise
    return FilePart(policy, path, begun)


def _is_held(fd: int, found: Found) -> bool:
    """Takes the flock. False when somebody else has it, or had it and has published or removed
    the file since it was opened here."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    try:
        here = os.stat(found.name, dir_fd=found.dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    opened = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (opened.st_dev, opened.st_ino)


def take_up(policy: Policy, part: FilePart, path: DavPath, *, copies: bool) -> FileWriter:
    """Returns the writer of what is in a part. Raises as Storage.create does."""
    begun = part.begun
    with policy.resolver.find(path) as found, translating(path):
        is_movable = found.missing <= 1 and _is_movable(begun, found)
    if is_movable and not copies:
        return open_writer(policy, path, begun=begun)
    writer = open_writer(policy, path, size_hint=begun.size)
    try:
        writer.advance(copy_content(policy, begun.fd, writer.fd))
    except OSError as error:
        writer.discard()
        raise translate_io(error, path) from error
    return writer


def _is_movable(begun: Begun, found: Found) -> bool:
    """True when a rename into the target's collection can be done, and makes the same of the file
    as if it had been written there."""
    here, there = os.fstat(begun.fd), os.fstat(found.dir_fd)
    if here.st_dev != there.st_dev or _has_acl(found.dir_fd, _DEFAULT_ACL):
        return False
    if _has_acl(begun.fd, ACL):
        return False  # what the place of parts gives to new files
    gid = _group_of_new(found.dir_fd, begun.dir_fd)
    if gid not in (None, here.st_gid):
        try:
            os.fchown(begun.fd, -1, gid)
        except OSError:
            return False
    return True


def _group_of_new(dir_fd: int, begun_dir_fd: int) -> int | None:
    """Returns the group of what is made in a collection, None where that is the one of what was
    begun in the other."""
    there = os.fstat(dir_fd)
    if there.st_mode & st.S_ISGID:
        return there.st_gid
    return os.getegid() if os.fstat(begun_dir_fd).st_mode & st.S_ISGID else None


def _has_acl(fd: int, kind: str) -> bool:
    if not hasattr(os, "getxattr"):
        return False
    try:
        # By its name: the descriptor may be one that only stands for a path.
        return bool(os.getxattr(f"/proc/self/fd/{fd}", kind))
    except OSError:
        return False
