"""The only module that knows threads: where synchronous work runs, how bodies come in.

A small operation on a local disk takes microseconds and runs inline; a thread hop costs 60 to
75 µs and is paid at most once a request, or once per MiB of body.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import BinaryIO, ParamSpec, TypeVar

import aiofiles.threadpool
import anyio
import anyio.to_thread

from davserver.asgi import Receive
from davserver.errors import BadRequest, ContentTooLarge

_SLOW_S = 0.002
_PAUSE_S = 0.05
_REST_S = 5.0
_STRIKES = 3
P = ParamSpec("P")
T = TypeVar("T")


class ClientDisconnect(Exception):
    """The client left before its request body was complete."""


class Runner:
    """Decides where synchronous work runs, with a limit for each kind of thread work."""

    def __init__(self, *, inline: bool) -> None:
        self._inline = inline
        self._slow_until = 0.0
        self._strikes = 0
        self._first_strike = 0.0
        self._short: anyio.CapacityLimiter | None = None
        self._tree: anyio.CapacityLimiter | None = None

    @property
    def inline(self) -> bool:
        """True while calls are quick enough for the event loop."""
        return self._inline and time.monotonic() >= self._slow_until

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs here, and takes the storage off the loop when it was slow."""
        begun = time.monotonic()
        try:
            return function(*args, **kwargs)
        finally:
            ended = time.monotonic()
            if ended - begun > _SLOW_S:
                self._strike(ended)

    def _strike(self, now: float) -> None:
        """One slow call sends the rest of its request to a thread; three within a second are a
        slow disk, and rest for longer. (One alone is more often the scheduler's doing.)"""
        if now - self._first_strike > 1.0:
            self._first_strike, self._strikes = now, 0
        self._strikes += 1
        self._slow_until = now + (_REST_S if self._strikes >= _STRIKES else _PAUSE_S)

    async def hop(self, function: Callable[[], T], *, tree: bool = False) -> T:
        """Runs in a thread; `tree` work has few threads of its own."""
        return await anyio.to_thread.run_sync(function, limiter=self._limiter(tree=tree))

    async def batch(self, function: Callable[[], T]) -> T:
        """Runs one batch of a long walk: here while the storage is quick, else in a thread."""
        if self.inline:
            return self.call(function)
        return await self.hop(function)

    def _limiter(self, *, tree: bool) -> anyio.CapacityLimiter:
        # Made on first use: a limiter belongs to the running event loop.
        if self._short is None or self._tree is None:
            self._short = anyio.CapacityLimiter(32)
            self._tree = anyio.CapacityLimiter(4)
        return self._tree if tree else self._short


async def read_body(receive: Receive, limit: int) -> bytes:
    """Returns the whole request body. Raises ContentTooLarge (413) past `limit` bytes."""
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(body) > limit:
            raise ContentTooLarge(f"the body is larger than {limit} bytes")
        return body
    parts = [body]
    total = len(body)
    async for chunk in body_chunks(receive):
        total += len(chunk)
        if total > limit:
            raise ContentTooLarge(f"the body is larger than {limit} bytes")
        parts.append(chunk)
    return b"".join(parts)


async def body_chunks(receive: Receive) -> AsyncIterator[bytes]:
    """Yields the request body as it comes. Raises ClientDisconnect when it breaks off."""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        if chunk:
            yield chunk
        if not message.get("more_body", False):
            return


async def spooled_chunks(file: BinaryIO, size: int) -> AsyncIterator[bytes]:
    """Yields what is left of a temporary file, `size` bytes at a time, off the event loop."""
    reader = aiofiles.threadpool.wrap(file)
    while chunk := await reader.read(size):
        yield chunk


def check_length(expected: int | None, received: int) -> None:
    """Raises BadRequest when a body is not as long as was announced."""
    if expected is not None and expected != received:
        raise BadRequest(f"the body has {received} bytes, {expected} were announced")
