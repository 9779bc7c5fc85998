"""A long request body that a thread reads from its socket, while the event loop does other things.

For applications that ask for BODY_LOAN (asgi.py). What comes by the loop is read in pieces of 64 to
256 KiB, is woken up for, and handed over; a thread that reads and writes in turns does neither, and
needs half of the processor's time (Linux 6.18, loopback: 0.93 and 0.51 ms a MiB).
"""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Sequence

CAN_LEND = hasattr(select, "poll") and hasattr(os, "readv")
LEAST = 1 << 18
"""Bytes still to come: below this a thread has nothing to gain."""
_PATIENCE_MS = 2
"""Who sends nothing for longer than this is waited for by the loop, not by a thread."""
_FILLED_S = 0.05
"""As who does not fill the buffer in this time: below 10 MB a second the loop has time enough."""


class SocketLoan:
    """A BodyLoan of a plain connection.

    Args:
        fd: a duplicate of the descriptor that its transport reads from: others wait for that one.
            Closed by `end`.
        left: bytes of the body that are still in the socket, or on their way.
        here: pieces that were read already.
        ended: called by `end`, with the bytes that were read from the socket.
    """

    __slots__ = ("_ended", "_fd", "_poll", "_read", "_stopped", "here", "left")

    def __init__(
        self,
        fd: int,
        left: int,
        here: Sequence[bytes],
        ended: Callable[[int], None],
    ) -> None:
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN)
        self._ended = ended
        self._read = 0
        self._stopped = False
        self.left = left
        self.here = here

    @property
    def size(self) -> int:
        return self._read + sum(map(len, self.here))

    def pass_on(self, write: Callable[[memoryview], None], room: memoryview) -> None:
        is_slow = False
        while self.left and not is_slow and not self._stopped:
            filled = 0
            until = time.monotonic() + _FILLED_S
            while self.left and not is_slow and filled < len(room) // 2:
                count = self._take(room[filled:])
                filled += count
                is_slow = not count or time.monotonic() > until
            if filled:
                write(room[:filled])

    def _take(self, room: memoryview) -> int:
        """Returns how many bytes came; 0 when the client is slow, or gone, which the transport
        finds out by itself."""
        room = room[: self.left]
        try:
            try:
                count = os.readv(self._fd, [room])
            except BlockingIOError:
                if not self._poll.poll(_PATIENCE_MS):
                    return 0
                count = os.readv(self._fd, [room])
        except OSError:
            return 0
        self._read += count
        self.left -= count
        return count

    def stop(self) -> None:
        self._stopped = True

    def end(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)
            self._ended(self._read)
