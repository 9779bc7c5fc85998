"""Renames in one step, where the system has them, and what stands in for them where not."""

from __future__ import annotations

import errno
import os

from davserver.storage import _linux, names
from davserver.storage.found import Found
from davserver.storage.policy import Policy


def rename_new(
    policy: Policy, src_fd: int, src: bytes, dst_fd: int, dst: bytes, *, is_tree: bool
) -> None:
    """Renames to a name at which nothing stands. Raises FileExistsError, OSError."""
    if "renameat2" not in policy.fallbacks:
        try:
            _linux.renameat2(src_fd, src, dst_fd, dst, _linux.RENAME_NOREPLACE)
            return
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL):
                raise
    if not is_tree:
        try:
            os.link(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd, follow_symlinks=False)
        except OSError as error:
            # a file system without links; a link that may not be made (protected_hardlinks)
            if error.errno not in (errno.EOPNOTSUPP, errno.EPERM, errno.ENOSYS, errno.EMLINK):
                raise
        else:
            try:
                os.unlink(src, dir_fd=src_fd)
            except OSError:
                os.unlink(dst, dir_fd=dst_fd)
                raise
            return
    try:
        os.stat(dst, dir_fd=dst_fd, follow_symlinks=False)
    except FileNotFoundError:
        # The gate keeps our own writers out between the look and the rename.
        os.rename(src, dst, src_dir_fd=src_fd, dst_dir_fd=dst_fd)
        return
    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))


def rename_over(src: Found, dst: Found) -> None:
    """A file in the place of a file. Raises OSError."""
    os.rename(src.name, dst.name, src_dir_fd=src.dir_fd, dst_dir_fd=dst.dir_fd)
    one, other = src.stat, dst.stat
    if one is None or other is None or (one.device, one.inode) != (other.device, other.inode):
        return
    # rename(2): two names of one file (hard links) are left as they are, without an error
    here, there = os.fstat(src.dir_fd), os.fstat(dst.dir_fd)
    if (here.st_dev, here.st_ino, src.name) != (there.st_dev, there.st_ino, dst.name):
        os.unlink(src.name, dir_fd=src.dir_fd)


def exchange_names(policy: Policy, one: Found, other: Found) -> None:
    """Swaps two names, in one step where the system can. Raises OSError."""
    if "renameat2" not in policy.fallbacks:
        try:
            ends = (one.dir_fd, one.name, other.dir_fd, other.name)
            _linux.renameat2(*ends, _linux.RENAME_EXCHANGE)
            return
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.EINVAL):
                raise
    # A file system below the root may not know what the root's does. No journal knows this name:
    # were this worker to die now, or the way back to fail, who lists the collection must leave it.
    aside = names.encode(names.kept_name())
    os.rename(one.name, aside, src_dir_fd=one.dir_fd, dst_dir_fd=one.dir_fd)
    try:
        os.rename(other.name, one.name, src_dir_fd=other.dir_fd, dst_dir_fd=one.dir_fd)
        try:
            os.rename(aside, other.name, src_dir_fd=one.dir_fd, dst_dir_fd=other.dir_fd)
        except OSError:
            os.rename(one.name, other.name, src_dir_fd=one.dir_fd, dst_dir_fd=other.dir_fd)
            raise
    except OSError:
        os.rename(aside, one.name, src_dir_fd=one.dir_fd, dst_dir_fd=one.dir_fd)
        raise
