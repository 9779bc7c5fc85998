"""An open file: read by offset, one version whatever is published meanwhile."""

from __future__ import annotations

import errno
import os

from davserver.errors import IsACollection, UnsupportedKind
from davserver.protocol.path import DavPath, Key
from davserver.storage._linux import is_in_memory
from davserver.storage._oserrors import show, translate_io, translating
from davserver.storage._stat import look, look_at_file
from davserver.storage.base import Kind, Stat
from davserver.storage.policy import Policy

_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_RWF_NOWAIT: int = getattr(os, "RWF_NOWAIT", 0)
_NO_NOWAIT = frozenset({errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS})
_PROBE_EVERY = 131_072  # bytes; a probe costs a third of a µs


class FileReader:
    """A Reader over a descriptor."""

    __slots__ = ("_fd", "_nowait", "_path", "_plain_inline", "_stat")

    def __init__(self, policy: Policy, path: DavPath, fd: int, stat: Stat) -> None:
        self._path = path
        self._fd = fd
        self._stat = stat
        self._nowait = bool(_RWF_NOWAIT) and "nowait" not in policy.fallbacks
        self._plain_inline = policy.inline

    @property
    def stat(self) -> Stat:
        return self._stat

    @property
    def fd(self) -> int | None:
        return self._fd

    def fileno(self) -> int:
        return self._fd

    def read_at(self, offset: int, size: int) -> bytes:
        """Returns up to `size` bytes from `offset`; fewer only at the end. May block."""
        try:
            data = os.pread(self._fd, size, offset)
            if len(data) == size or not data or offset + len(data) >= self._stat.size:
                return data
            parts = [data]
            missing = size - len(data)
            while missing and (data := os.pread(self._fd, missing, offset + size - missing)):
                parts.append(data)
                missing -= len(data)
        except OSError as error:
            raise translate_io(error, self._path) from error
        return b"".join(parts)

    def try_read_at(self, offset: int, size: int) -> bytes | None:
        """As read_at, None where the page cache has not all of it."""
        if not self._nowait:
            return self.read_at(offset, size) if self._plain_inline else None
        size = max(0, min(size, self._stat.size - offset))
        if not size:
            return b""
        buffer = bytearray(size)
        try:
            count = os.preadv(self._fd, [buffer], offset, _RWF_NOWAIT)
        except OSError as error:
            if error.errno == errno.EAGAIN:
                return None
            if error.errno not in _NO_NOWAIT:
                raise translate_io(error, self._path) from error
            self._nowait = False  # tmpfs, for one: what it has is in memory
            return self.try_read_at(offset, size)
        return bytes(buffer) if count == size else None

    def try_read_into(self, buffer: memoryview, offset: int) -> bool:
        flags = _RWF_NOWAIT if self._nowait else 0
        if not flags and not self._plain_inline:
            return False
        try:
            return os.preadv(self._fd, [buffer], offset, flags) == len(buffer)
        except OSError as error:
            if flags and error.errno in _NO_NOWAIT:
                self._nowait = False  # as above
                return self.try_read_into(buffer, offset)
            return False  # whoever reads it in the usual way is told why

    def is_cached(self, offset: int, size: int) -> bool:
        """Looks at a byte now and then: what is cached comes and goes in longer stretches. Where
        the file system does not tell, what is on a disk (vfat, exFAT) counts as not cached: it is
        then read in shorter pieces."""
        probe = [bytearray(1)]
        last = offset + size - 1
        try:
            for position in (*range(offset, last, _PROBE_EVERY), last):
                if not self._nowait:
                    return self._is_in_memory()
                os.preadv(self._fd, probe, position, _RWF_NOWAIT)
        except OSError as error:
            if error.errno in _NO_NOWAIT:
                self._nowait = False
                return self._is_in_memory()
            return False  # whoever reads it is told why
        return True

    def _is_in_memory(self) -> bool:
        return self._plain_inline and is_in_memory(self._fd)

    def close(self) -> None:
        """Closes the descriptor; harmless twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def open_direct(policy: Policy, path: DavPath, key: Key) -> FileReader | None:
    """As Storage.open_direct."""
    fd = policy.resolver.open_direct(key, _FLAGS)
    if fd < 0:
        return None
    try:
        stat = look_at_file(fd)
    except OSError:
        stat = None  # whoever opens it in the usual way is told why
    if stat is None:
        os.close(fd)
        return None
    return FileReader(policy, path, fd, stat)


def open_reader(policy: Policy, path: DavPath) -> FileReader:
    """Opens a file. Raises as Storage.open does."""
    fd = policy.resolver.open(path, _FLAGS)
    try:
        with translating(path):
            stat = look(fd, b"", plain=policy.resolver.plain).stat
        if stat.kind is Kind.COLLECTION:
            raise IsACollection(f"{show(path)}: is a collection")
        if stat.kind is not Kind.FILE:
            raise UnsupportedKind(f"{show(path)}: neither file nor collection")
        return FileReader(policy, path, fd, stat)
    except BaseException:
        os.close(fd)
        raise
