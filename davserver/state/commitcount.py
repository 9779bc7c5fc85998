"""How often anybody has committed to the store: a number that every worker has mapped.

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
            if os.fstat(fd).st_size <= 8:
                # Behind it, where nobody counts: a hole would be filled by the first commit, and
                # where the disk is full by then, the system kills who does it.
                os.pwrite(fd, b"\0", 8)
            self._map = mmap.mmap(fd, 8)
        finally:
            os.close(fd)
        self._cell = memoryview(self._map).cast("Q")

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

    def close(self) -> None:
        self._cell.release()
        self._map.close()
