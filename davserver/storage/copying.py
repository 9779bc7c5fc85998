"""The content of one file into another: shared blocks, else in the kernel, else by hand."""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from davserver.protocol.path import DavPath
from davserver.storage._oserrors import translate_io, translating
from davserver.storage.base import Stat
from davserver.storage.policy import Policy
from davserver.storage.reader import FileReader, open_reader
from davserver.storage.writer import FileWriter, open_writer

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
    *,
    mtime_ns: int | None = None,
    origin: Policy | None = None,
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
            with translating(target):
                _copy_content(policy, reader, writer, target)
            writer.seal(mtime_ns=mtime_ns)
            return writer.commit(replace=False)
        finally:
            writer.discard()
    finally:
        reader.close()


def _copy_content(policy: Policy, reader: FileReader, writer: FileWriter, target: DavPath) -> None:
    if _reflink(policy, reader, writer):
        return
    offset = 0
    if hasattr(os, "copy_file_range") and "copy_file_range" not in policy.fallbacks:
        offset = _copy_in_kernel(reader, writer, target)
    # What the kernel did not do, or came to the file since: to its end, whatever its size was.
    while data := reader.read_at(offset, _CHUNK):
        writer.write(data)
        offset += len(data)


def _reflink(policy: Policy, reader: FileReader, writer: FileWriter) -> bool:
    if not sys.platform.startswith("linux") or "reflink" in policy.fallbacks:
        return False
    try:
        fcntl.ioctl(writer.fd, _FICLONE, reader.fileno())
    except OSError:
        return False
    writer.advance(os.fstat(writer.fd).st_size)
    return True


def _copy_in_kernel(reader: FileReader, writer: FileWriter, target: DavPath) -> int:
    """Returns how many bytes were copied; both descriptors stand behind them."""
    done = 0
    while True:
        try:
            count = os.copy_file_range(reader.fileno(), writer.fd, _KERNEL_CHUNK, done)
        except OSError as error:
            if error.errno in _CANNOT:
                return done
            raise translate_io(error, target) from error
        if not count:
            return done
        writer.advance(count)
        done += count
