"""How often anybody has committed to the store, or opened it: numbers that every worker has mapped.

Asking SQLite whether somebody committed takes microseconds, at each look at locks; this takes a
look at memory. Odd while a commit is under way, and for good when its worker died in it, until the
next one: then SQLite has to be asked.
"""

from __future__ import annotations

import mmap
import os
from pathlib import Path


class CommitCount:
    """The count, in a file of the state folder. Raises OSError where there can be none.

    `begin` and `end` are called inside the gate alone: one commit at a time.
    """

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size < 16:
                os.ftruncate(fd, 16)
            self._map = mmap.mmap(fd, 16)
        finally:
            os.close(fd)
        self._cell = memoryview(self._map).cast("Q")
        self._joined = 0
        self._opening: int | None = None

    def read(self) -> int | None:
        """Returns a number that no commit leaves as it was; None while it tells nothing."""
        count = self._cell[0]
        return None if count & 1 else count

    def begin(self) -> None:
        """Before a commit: whoever looks now asks SQLite."""
        count = self._cell[0]
        self._cell[0] = (count + 1 | 1) & 0xFFFF_FFFF_FFFF_FFFF

    def end(self) -> None:
        """After it, whatever came of it."""
        self._cell[0] = (self._cell[0] + 1) & 0xFFFF_FFFF_FFFF_FFFE

    def join(self) -> None:
        """From now on, others tell this worker what they commit. Who does so has a mark already,
        by which those that look for others find it."""
        self._joined = (self._cell[1] + 1) & 0xFFFF_FFFF_FFFF_FFFF
        self._cell[1] = self._joined

    def be_alone(self) -> None:
        """When no other worker has been alive after `join`: until somebody joins, which may have
        been since that was looked at."""
        self._opening = self._joined

    @property
    def is_alone(self) -> bool:
        """In the gate: True when nobody has to be told of a transaction that is about to begin. Who
        joins meanwhile reads everything when it sees a commit, until it has been in the gate."""
        return self._opening == self._cell[1]

    def close(self) -> None:
        self._cell.release()
        self._map.close()
