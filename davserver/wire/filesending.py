"""Stretches of files that the kernel puts into a connection's socket (sendfile(2)).

For answers that hold FILE_MESSAGE (asgi.py): no byte of such a stretch passes through this process.
"""

from __future__ import annotations

import asyncio
import os

CAN_SEND = hasattr(os, "sendfile")


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

    async def send(self, fd: int, offset: int, count: int) -> None:
        """Returns when the socket has all of it, or was closed.

        Raises RuntimeError when the file got shorter, OSError when the client is gone.
        """
        while self._fd >= 0:
            try:
                sent = os.sendfile(self._fd, fd, offset, count)
            except BlockingIOError:
                pass
            else:
                if not sent:
                    raise RuntimeError("the file got shorter while it was sent")
                self.sent += sent
                offset += sent
                count -= sent
                if not count:
                    return
            await self._until_writable()

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


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
