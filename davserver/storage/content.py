"""The content of one file into another: shared blocks, else in the kernel, else by hand."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from collections.abc import Callable

from davserver.storage.base import Bytes, Reader, Told
from davserver.storage.policy import Policy

_FICLONE = 0x40049409
_BLOCK = 4096  # bytes; a stretch that begins at a multiple can be shared
_CHUNK = 1 << 20  # bytes a read and write
_KERNEL_CHUNK = 1 << 26  # bytes a copy_file_range, so that signals are handled between
_CANNOT = frozenset(
    {
        errno.EXDEV,
        errno.ENOSYS,
        errno.EOPNOTSUPP,
        errno.EINVAL,
        errno.ENOTTY,
        errno.EBADF,
        errno.EPERM,
        errno.EIO,  # some FUSE and CIFS servers say so of the call; a real EIO comes again below
    }
)


def copy_content(policy: Policy, source: int, target: int, told: Told = None) -> int:
    """Copies all of one open file into another one, which is new. Returns how many bytes that
    are. Raises OSError, and what `told` raises; blocks that are shared take no time, and it is not
    told of them."""
    if _reflink(policy, source, target):
        return os.fstat(target).st_size
    done = 0
    if hasattr(os, "copy_file_range") and "copy_file_range" not in policy.fallbacks:
        done = _copy_in_kernel(source, target, told)
    # What the kernel did not do, or came to the file since: to its end, whatever its size was.
    while data := os.pread(source, _CHUNK, done):
        write_all(target, data)
        done += len(data)
        if told is not None:
            told(len(data))
    return done


def write_all(fd: int, data: Bytes) -> None:
    """Appends all of `data`. Raises OSError."""
    written = os.write(fd, data)
    if written != len(data):
        rest = memoryview(data)[written:]
        while rest:
            rest = rest[os.write(fd, rest) :]


def _reflink(policy: Policy, source: int, target: int) -> bool:
    if not sys.platform.startswith("linux") or "reflink" in policy.fallbacks:
        return False
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True


def _copy_in_kernel(source: int, target: int, told: Told) -> int:
    """Returns how many bytes were copied; the target stands behind them."""
    done = 0
    while True:
        try:
            count = os.copy_file_range(source, target, _KERNEL_CHUNK, done)
        except OSError as error:
            if error.errno in _CANNOT:
                return done
            raise
        if not count:
            return done
        done += count
        if told is not None:
            told(count)


def copy_range(policy: Policy, source: int, target: int, offset: int, size: int) -> None:
    """Appends a stretch of an open file to another one. Raises OSError, EIO where it ends before
    the stretch does."""
    end = offset + size
    in_kernel = hasattr(os, "copy_file_range") and "copy_file_range" not in policy.fallbacks
    while offset < end:
        # One step to the next block: from there on the file system may share them.
        step = min(end - offset, _BLOCK - offset % _BLOCK if offset % _BLOCK else _KERNEL_CHUNK)
        if in_kernel:
            try:
                count = os.copy_file_range(source, target, step, offset)
            except OSError as error:
                if error.errno not in _CANNOT:
                    raise
                in_kernel = False
                continue
        else:
            data = os.pread(source, min(step, _CHUNK), offset)
            write_all(target, data)
            count = len(data)
        if not count:
            raise OSError(errno.EIO, "the file got shorter")
        offset += count


def copy_by_hand(reader: Reader, offset: int, size: int, write: Callable[[bytes], None]) -> None:
    """As copy_range, where there is no descriptor to read from."""
    end = offset + size
    while offset < end:
        data = reader.read_at(offset, min(_CHUNK, end - offset))
        if not data:
            raise OSError(errno.EIO, "the file got shorter")
        write(data)
        offset += len(data)
