"""Stretches of files that go from the page cache into a connection's socket.

For answers that hold FILE_MESSAGE (asgi.py). Written to the socket from where the page cache has
them, by a mapping that nobody reads but the kernel: that copies once. A buffer copies twice, and
sendfile(2) hands over page by page (Linux 6.18, loopback, a processor's time for 1 GiB: 0.30, 0.38
and 0.49 s).
"""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from davserver.asgi import FileStretch

CAN_SEND = hasattr(os, "preadv")
ROOM = 1 << 16
"""Bytes that are read into a buffer at once."""
STEP = 2 << 20
"""Bytes that are mapped at once: 0.7 ms on the loopback, or as much as the socket has room for.
Others wait for that long; less at once costs more of the processor."""
_SHORTER = "the file got shorter while it was sent"
_LAST = 1 << 12
"""Bytes at the end of a response that are always read. A file may get shorter while it is sent: of
its last page a mapping shows zeros, which nobody could tell from what was there; reading says that
nothing is there, and the connection breaks before it looks complete."""


class _Room(threading.local):
    """A buffer for each event loop: nothing stays in it between two calls."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(ROOM))


_room = _Room()


class FileSender:
    """Sends to the socket of a plain connection whose transport has nothing left to write.

    It works with a duplicate of the descriptor: nobody but the transport may wait for its own.

    Attributes:
        sent: bytes so far.
    """

    __slots__ = ("_fd", "_loop", "_waiter", "sent")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = os.dup(transport.get_extra_info("socket").fileno())
        self._loop = loop
        self._waiter: asyncio.Future[None] | None = None
        self.sent = 0

    @property
    def is_waiting(self) -> bool:
        """True while the client takes nothing."""
        return self._waiter is not None

    async def send(self, stretch: FileStretch, *, is_last: bool) -> None:
        """Returns when the socket has all that is cached without a gap, or was closed.

        Args:
            is_last: nothing of the response comes after it.

        Raises RuntimeError when the file got shorter or cannot be read, OSError when the client
        is gone.
        """
        unread = _LAST if is_last else 0
        while self._fd >= 0 and (left := stretch.end - stretch.offset):
            wanted = left if left <= ROOM else min(left - unread, STEP)
            # Each time anew: a slow client outlives what the page cache had.
            if not stretch.is_cached(stretch.offset, wanted):
                return
            pass_on = self._pass_on if left <= ROOM else self._pass_on_mapped
            sent = pass_on(stretch.fd, stretch.offset, wanted)
            self.sent += sent
            stretch.offset += sent
            if sent < wanted:
                await self._until_writable()
            elif sent < left:
                await asyncio.sleep(0)  # the others' turn

    def _pass_on(self, fd: int, offset: int, count: int) -> int:
        """Returns how many bytes the socket has taken, of at most ROOM."""
        room = _room.view
        with _reading():
            size = os.preadv(fd, [room[:count]], offset)
        if size < count:
            raise RuntimeError(_SHORTER)
        return self._write(room[:size])

    def _pass_on_mapped(self, fd: int, offset: int, count: int) -> int:
        """Returns how many bytes the socket has taken."""
        before = offset % mmap.ALLOCATIONGRANULARITY
        try:
            mapped = mmap.mmap(fd, before + count, access=mmap.ACCESS_READ, offset=offset - before)
        except ValueError as exc:
            raise RuntimeError(_SHORTER) from exc
        except OSError:
            # Not every file system has that.
            return self._pass_on(fd, offset, min(count, ROOM))
        with mapped, memoryview(mapped) as view, view[before:] as wanted:
            sent = self._write(wanted)
        with _reading():
            size = os.fstat(fd).st_size
        if size < offset + count:
            # Now, not when the socket has room again: by then it may have grown anew.
            raise RuntimeError(_SHORTER)
        return sent

    def _write(self, data: memoryview) -> int:
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            if exc.errno == errno.EFAULT:
                # Not a byte of it is left, or the disk cannot be read.
                raise RuntimeError(_SHORTER) from exc
            raise

    async def _until_writable(self) -> None:
        fd = self._fd
        self._waiter = waiter = self._loop.create_future()
        self._loop.add_writer(fd, _wake, waiter)
        try:
            await waiter
        finally:
            self._waiter = None
            if self._fd == fd:
                self._loop.remove_writer(fd)

    def close(self) -> None:
        """Ends what is being sent; harmless twice."""
        fd, self._fd = self._fd, -1
        if fd < 0:
            return
        if self._waiter is not None:
            self._loop.remove_writer(fd)
            _wake(self._waiter)
        os.close(fd)


@contextmanager
def _reading() -> Iterator[None]:
    """What the disk says is not the client's fault."""
    try:
        yield
    except OSError as exc:
        raise RuntimeError("the file cannot be read") from exc


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
