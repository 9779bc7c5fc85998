"""Mutual exclusion of the gate: across threads by a lock, across processes by locks on bytes of a
file.

The gate is held for a rename or a row, never across an await. Who holds it has all of the file's
bytes. Who needs it for one name alone has the byte of that name: two such do not wait for each
other, unless both change rows, for which there is one byte more. Waiting is polling, because the
locks have no time limit.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import sys
import threading
import time
import zlib
from pathlib import Path

from davserver.errors import GateBusy, StateFailure
from davserver.protocol.path import Key

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 0.0002
_LONGEST_PAUSE_S = 0.005
# Who must not wait looks again so often: a thread hop would take as long as this, and more work.
_LOOKS_AGAIN = 8
_BRIEF_PAUSE_S = 0.00005

_PARTS = 32
"""Of the gate, each for the names that have it: few, because who waits takes one by one."""


def _flock(kind: int, start: int, length: int) -> bytes:
    """Returns a `struct flock` (fcntl(2)); its pid must be 0."""
    return struct.pack("hhqqi4x", kind, os.SEEK_SET, start, length, 0)


_ROWS = _PARTS
"""Who has a part and this may change rows of that part's names."""
_ALL = _flock(fcntl.F_WRLCK, 0, _PARTS + 1)
_NONE = _flock(fcntl.F_UNLCK, 0, _PARTS + 1)
_ONE = [_flock(fcntl.F_WRLCK, part, 1) for part in range(_PARTS + 1)]


def part_of(key: Key) -> int | None:
    """Returns the part of the gate that is enough for a resource; None: all of it.

    It goes by the name alone, in whatever case: where a folder is mounted twice, or case means
    nothing, a file has several keys, and one part all the same. Names that may be another spelling
    of another one (not ASCII; "f." and "LONGNA~1" on a file system of Windows) take all of it.
    """
    name = key.path.rpartition(b"/")[2]
    is_one = name and name.isascii() and b"~" not in name and name[-1] not in b". "
    return zlib.crc32(name.lower()) % _PARTS if is_one else None


class GateLock:
    """Not re-entrant.

    Args:
        path: the file that processes meet at; None within one process. Raises OSError.

    Attributes:
        waits: attempts that found it held.
        wait_s: seconds that they waited.
        timeouts: those that waited in vain.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._mutex = threading.Lock()
        self._holder: int | None = None
        self._part: int | None = None
        self._is_whole = False
        self._has_rows = False
        self._wait_s = 0.0
        self._is_patient = True
        self._fd: int | None = None
        self.waits = 0
        self.wait_s = 0.0
        self.timeouts = 0
        self._counting = threading.Lock()
        self._has_parts = False
        if path is not None:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                self._has_parts = _has_parts(self._fd)
            except OSError:
                self.close()
                raise

    @property
    def is_held(self) -> bool:
        """True while any thread of this process is inside."""
        return self._mutex.locked()

    def acquire(self, wait_s: float, part: int | None = None) -> None:
        """Raises GateBusy (503) when `wait_s` seconds are over; 0 waits for no thread, and for
        another process no longer than a hop to a thread takes.

        Args:
            part: of the gate that is enough; None: all.
        """
        begun = time.monotonic() if wait_s > 0 else 0.0
        waited = not self._mutex.acquire(blocking=False)
        if waited:
            self._await_thread(begun, wait_s)
        try:
            if self._fd is not None and not self._try(part):
                waited = True
                self._wait(part, begun + wait_s)
        except BaseException as error:
            self._mutex.release()
            if isinstance(error, GateBusy):
                self._count(begun, in_vain=True)
            raise
        self._holder = threading.get_ident()
        self._part, self._wait_s = part, wait_s
        self._is_whole = self._has_rows = part is None
        if waited:
            self._count(begun, in_vain=False)

    def _await_thread(self, begun: float, wait_s: float) -> None:
        if self._holder == threading.get_ident():
            raise RuntimeError("the gate is held by this thread already")
        if wait_s <= 0 or not self._mutex.acquire(timeout=wait_s):
            self._count(begun, in_vain=True)
            raise GateBusy("another thread holds the gate")

    @property
    def is_whole(self) -> bool:
        """False for who is in a part."""
        return self._is_whole

    def widen(self) -> None:
        """Takes all of the gate for who has a part of it: nobody has been in all of it meanwhile,
        but others may have changed rows of other parts' names. Raises GateBusy, with the part as it
        was."""
        if not self._is_whole:
            if self._fd is not None and not self._try(None):
                # Somebody else who does the same has to let go first: not for long.
                self._look_again(None)
            self._is_whole = self._has_rows = True

    def enter_rows(self, part: int | None) -> None:
        """Lets who has a part of the gate change rows that are about names of `part` alone: one at
        a time does. Where that is another one, or None, all of it is taken. Raises GateBusy, with
        the part as it was."""
        if part is None or part != self._part:
            self.widen()
        elif not self._has_rows:
            # Where there are no parts who has one has everything.
            if self._has_parts and not self._try(_ROWS):
                self._wait(_ROWS, time.monotonic() + self._wait_s if self._wait_s > 0 else 0.0)
            self._has_rows = True

    def _count(self, begun: float, *, in_vain: bool) -> None:
        with self._counting:
            self.waits += 1
            if begun:
                self.wait_s += time.monotonic() - begun
                self.timeouts += in_vain

    def _try(self, part: int | None) -> bool:
        """Raises StateFailure."""
        assert self._fd is not None
        try:
            if self._has_parts:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _ALL if part is None else _ONE[part])
            else:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as exc:
            raise StateFailure(f"the gate cannot be locked: {exc}") from exc
        return True

    def _wait(self, part: int | None, deadline: float) -> None:
        if deadline == 0.0:
            self._look_again(part)
        elif part is not None or not self._has_parts:
            self._poll(part, deadline)
        else:
            self._gather(deadline)

    def _gather(self, deadline: float) -> None:
        """Takes one part after the other: those who come for a part alone would always come
        before who waits for all at once."""
        try:
            for each in range(_PARTS + 1):
                if not self._try(each):
                    self._poll(each, deadline)
        except BaseException:
            self._unlock()
            raise

    def _look_again(self, part: int | None) -> None:
        """Waits for who is about to leave. Raises GateBusy."""
        for _ in range(_LOOKS_AGAIN if self._is_patient else 0):
            time.sleep(_BRIEF_PAUSE_S)
            if self._try(part):
                return
        # Somebody stays for longer: until that one has left, nobody waits at all.
        self._is_patient = False
        raise GateBusy("another process holds the gate")

    def _poll(self, part: int | None, deadline: float) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise GateBusy("another process holds the gate")
            time.sleep(min(pause_s, left_s))
            if self._try(part):
                return
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)

    def _unlock(self) -> None:
        if self._fd is None:
            return
        try:
            if self._has_parts:
                fcntl.fcntl(self._fd, fcntl.F_OFD_SETLK, _NONE)
            else:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as error:
            logger.error("other processes are kept out until the gate is left again: %s", error)

    def release(self) -> None:
        """Raises nothing: what was done inside would seem to have failed."""
        self._holder = None
        self._is_patient = True
        try:
            self._unlock()
        finally:
            # Whatever the other processes find: this one may lock the same bytes again.
            self._mutex.release()

    def close(self) -> None:
        """Closes the file; a fork's copy leaves the parent's hold alone."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _has_parts(fd: int) -> bool:
    """True where bytes of a file can be locked by whoever has it open, whatever process that is
    (Linux 3.15): else there is but one lock for all of it. The two do not meet, so whoever opens
    the file has to find the same: raises OSError for what is perhaps not so next time."""
    if sys.platform != "linux":
        return False
    try:
        # Behind the parts, so that nobody is kept out of one.
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_WRLCK, _PARTS + 1, 1))
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, _flock(fcntl.F_UNLCK, _PARTS + 1, 1))
    except BlockingIOError:
        return True  # somebody else is trying
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True
