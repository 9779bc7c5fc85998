"""Times and mode of a resource, set together or not at all."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress

from davserver.storage._stat import look
from davserver.storage.base import Stat
from davserver.storage.policy import Policy, new_mtime_ns


def put_attributes(policy: Policy, fd: int, mtime_ns: int | None, executable: bool | None) -> Stat:
    """Sets what is not None on an open file or directory. Raises OSError with what was there
    before put back, as far as that can still be had."""
    old = os.fstat(fd)
    mode = old.st_mode & 0o7777
    try:
        if executable is not None:
            granted = mode | (mode & 0o444) >> 2
            os.fchmod(fd, granted if executable else mode & ~0o111)
        if mtime_ns is not None:
            os.utime(fd, ns=(old.st_atime_ns, new_mtime_ns(mtime_ns)))
        policy.sync_file(fd)
        return look(fd, b"", plain=policy.resolver.plain).stat
    except OSError:
        with suppress(OSError):
            os.fchmod(fd, mode)
            os.utime(fd, ns=(old.st_atime_ns, old.st_mtime_ns))
        raise


def read_attributes(fd: int) -> dict[str, int]:
    """Returns mode and time of an open file or directory. Raises OSError."""
    found = os.fstat(fd)
    return {"mode": found.st_mode & 0o7777, "mtime_ns": found.st_mtime_ns}


def restore_attributes(policy: Policy, fd: int, attributes: Mapping[str, int]) -> None:
    """Puts back what `read_attributes` returned. Raises OSError."""
    found = os.fstat(fd)
    if found.st_mode & 0o7777 != attributes["mode"]:
        os.fchmod(fd, attributes["mode"])
    os.utime(fd, ns=(found.st_atime_ns, attributes["mtime_ns"]))
    policy.sync_file(fd)
