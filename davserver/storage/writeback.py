"""A long file goes to disk while more of it comes, not all of it at its end.

What is written waits in memory until somebody asks for it to be on disk: after an upload of some
GiB to a slow disk that is minutes in which the client hears nothing, and gives up. So each step is
begun once it is whole, and the one before it waited for: what is left for the end is never more
than two. Linux only (sync_file_range(2)); durable it is by fsync alone, as ever.
"""

from __future__ import annotations

import errno

from davserver.storage import _linux

STEP = 16 << 20
"""Bytes."""
_UNKNOWN = frozenset(
    {errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.ESPIPE, errno.EPERM}  # a seccomp filter
)
"""Of beginning: the call is not known here, or not allowed."""


class Writeback:
    """Of one file that is written from its beginning on, by one thread at a time.

    Attributes:
        due: bytes from which on `advance` has something to do.
    """

    __slots__ = ("_awaited", "_begun", "_fd", "due")

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self._begun = self._awaited = size
        self.due = size + STEP

    def advance(self, size: int) -> None:
        """Begins what is there now; waits for what was begun before. Blocks. Raises OSError: then
        part of the file is lost, and fsync might not tell again."""
        before, begun = self._awaited, self._begun
        try:
            _linux.begin_writeback(self._fd, begun, size - begun)
        except OSError as error:
            if error.errno not in _UNKNOWN:
                raise
        else:
            if before < begun:
                # Whatever this says is of what was written: a file system may call it EINVAL, too.
                _linux.await_writeback(self._fd, before, begun - before)
        self._awaited, self._begun, self.due = begun, size, size + STEP
