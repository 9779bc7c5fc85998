"""Mutual exclusion of the gate: across threads by a lock, across processes by flock.

One gate for everything gives the guarantee of one for each resource: it is held for a rename or
a row, never across an await. Waiting is polling, because flock has no time limit.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from pathlib import Path

from davserver.errors import GateBusy, StateFailure

_FIRST_PAUSE_S = 0.0002
_LONGEST_PAUSE_S = 0.005


class GateLock:
    """Not re-entrant.

    Args:
        path: the file that processes meet at; None within one process.

    Attributes:
        waits: attempts that found it held.
        wait_s: seconds that they waited.
        timeouts: those that waited in vain.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._mutex = threading.Lock()
        self._holder: int | None = None
        self._fd: int | None = None
        self.waits = 0
        self.wait_s = 0.0
        self.timeouts = 0
        self._counting = threading.Lock()
        if path is not None:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    @property
    def is_held(self) -> bool:
        """True while any thread of this process is inside."""
        return self._mutex.locked()

    def acquire(self, wait_s: float) -> None:
        """Raises GateBusy (503) when `wait_s` seconds are over; 0 never waits."""
        me = threading.get_ident()
        if self._holder == me:
            raise RuntimeError("the gate is held by this thread already")
        begun = time.monotonic() if wait_s > 0 else 0.0
        waited = not self._mutex.acquire(blocking=False)
        if waited and (wait_s <= 0 or not self._mutex.acquire(timeout=wait_s)):
            self._count(begun, in_vain=True)
            raise GateBusy("another thread holds the gate")
        try:
            if self._fd is not None and _flock(self._fd, begun + wait_s):
                waited = True
        except BaseException as error:
            self._mutex.release()
            if isinstance(error, GateBusy):
                self._count(begun, in_vain=True)
            raise
        self._holder = me
        if waited:
            self._count(begun, in_vain=False)

    def _count(self, begun: float, *, in_vain: bool) -> None:
        with self._counting:
            self.waits += 1
            if begun:
                self.wait_s += time.monotonic() - begun
                self.timeouts += in_vain

    def release(self) -> None:
        self._holder = None
        if self._fd is not None:
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        self._mutex.release()

    def close(self) -> None:
        """Closes the file; a fork's copy leaves the parent's hold alone."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _flock(fd: int, deadline: float) -> bool:
    """Returns whether it had to wait for another process; deadline 0 never waits."""
    pause_s = _FIRST_PAUSE_S
    waited = False
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            left_s = deadline - time.monotonic()
            if deadline == 0.0 or left_s <= 0:
                raise GateBusy("another process holds the gate") from None
        except OSError as exc:
            raise StateFailure(f"the gate cannot be locked: {exc}") from exc
        else:
            return waited
        waited = True
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
