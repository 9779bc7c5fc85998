"""The content of one file into another: shared blocks, else in the kernel, else by hand."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from davserver.protocol.path import DavPath
from davserver.storage._oserrors import translate_io, translating
from davserver.storage.base import Bytes, Stat, Told
from davserver.storage.policy import Policy
from davserver.storage.reader import open_reader
from davserver.storage.writer import open_writer

_FICLONE = 0x40049409
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


def copy_file(
    policy: Policy,
    source: DavPath,
    target: DavPath,
    origin: Policy | None = None,
    *,
    mtime_ns: int | None = None,
    told: Told = None,
) -> Stat:
    """Copies one file, whole or not at all; out of `origin`, where that is another storage.
    Raises as Storage.copy does."""
    policy.refuse_read_only(target)
    reader = open_reader(origin or policy, source)
    try:
        with translating(target):
            mode = os.fstat(reader.fileno()).st_mode
        writer = open_writer(policy, target, mode=mode)
        try:
            try:
                writer.advance(copy_content(policy, reader.fileno(), writer.fd, told))
            except OSError as error:
                raise translate_io(error, target) from error
            writer.seal(mtime_ns=mtime_ns)
            return writer.commit(replace=False)
        finally:
            writer.discard()
    finally:
        reader.close()


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
    rest = memoryview(data)
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
