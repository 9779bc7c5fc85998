"""A root is served by one davserver: its processes each hold a shared flock on the directory.

flock(2) on a directory needs no right to write, and the kernel drops it however a process dies.
Who comes first makes sure that nobody else is there by asking for an exclusive lock.
"""

from __future__ import annotations

import fcntl
import logging
import os

from davserver.errors import RootInUse

logger = logging.getLogger(__name__)

_ATTEMPTS = 8


def hold_root(fd: int, path: bytes, *, alone: bool) -> None:
    """Locks the directory behind `fd`, for as long as that is open, here or in a fork.

    Args:
        path: of the directory, for messages.
        alone: nobody may hold it yet.

    Raises RootInUse. A file system that has no such locks is warned of, and served.
    """
    for _ in range(_ATTEMPTS):
        try:
            if alone:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RootInUse(f"{os.fsdecode(path)} is served already") from None
        except OSError as error:
            _warn(path, error)
            return
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            # flock(2): a conversion is not atomic. Somebody else has just asked, too.
            continue
        except OSError as error:
            _warn(path, error)
        return
    raise RootInUse(f"{os.fsdecode(path)} is served already")


def _warn(path: bytes, error: OSError) -> None:
    logger.warning(
        "%s cannot be locked (%s): nothing would keep a server with another state off it",
        os.fsdecode(path),
        os.strerror(error.errno or 0).lower(),
    )
