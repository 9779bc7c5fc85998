"""The module that knows threads (with turnstile.py): where synchronous work runs, how bodies
come in.

A small operation on a local disk takes microseconds and runs inline; a thread hop costs 60 to
75 µs and is paid at most once a request, or once per MiB of body.
"""

from __future__ import annotations

import asyncio
import os
import resource
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import BinaryIO, ParamSpec, TypeVar

import aiofiles.threadpool

from davserver.asgi import Receive
from davserver.errors import BadRequest, ContentTooLarge, ServiceUnavailable
from davserver.turnstile import Pace, Turnstile

_SLOW_S = 0.002
_STALL_S = 0.02
_PAUSE_S = 0.05
_WATCH_S = 2.0
_REST_S = 5.0
_STRIKES = 3
_REFUSAL_S = 0.01
_BODIES_LIMIT = 64 << 20
_ROOMS = 4
_ROOM = 1 << 20
SMALL_BODY = 65_536
"""Bytes of a body that are never refused: no honest PROPFIND or LOCK is larger."""
P = ParamSpec("P")
T = TypeVar("T")


class ClientDisconnect(Exception):
    """The client left before its request body was complete."""


Waits = tuple[int, int]
"""Of a thread, so far: what it read from disk, and how often it waited for anything."""

_THREAD: int | None = getattr(resource, "RUSAGE_THREAD", None)
_CAN_TELL = _THREAD is not None


def _waits() -> Waits:
    if _THREAD is None:
        return 0, 0
    usage = resource.getrusage(_THREAD)
    return usage.ru_inblock + usage.ru_majflt, usage.ru_nvcsw


class BodyBudget:
    """Bytes of request bodies that may be held in memory at once, by all requests of a worker.

    Each request has its first SMALL_BODY bytes free: who fills the budget with large bodies that
    never end keeps nobody from ordinary requests.
    """

    def __init__(self, limit: int = _BODIES_LIMIT) -> None:
        self._limit = limit
        self.left = limit

    @contextmanager
    def lease(self) -> Iterator[Callable[[int], bool]]:
        """Yields a function that reserves bytes, False when there are not so many left; what it
        reserved is given back at the end."""
        taken = 0

        def take(size: int) -> bool:
            nonlocal taken
            size = min(size, self._limit)
            if size > self.left:
                return False
            self.left -= size
            taken += size
            return True

        try:
            yield take
        finally:
            self.left += taken


class Rooms:
    """Buffers for threads that read long bodies by themselves: as many as may do so at once."""

    def __init__(self, count: int = _ROOMS) -> None:
        self._free: list[memoryview | None] = [None] * count

    def take(self) -> memoryview | None:
        """Returns one, to be given back; None when there is none."""
        if not self._free:
            return None
        return self._free.pop() or memoryview(bytearray(_ROOM))

    def give(self, room: memoryview) -> None:
        self._free.append(room)


class Runner:
    """Decides where synchronous work runs, with a limit for each kind of thread work.

    Attributes:
        bodies: what request bodies may fill.
        rooms: of threads that read bodies.
        refusals: how refused sign-ins are held back.
    """

    def __init__(
        self, *, inline: bool, bodies: BodyBudget | None = None, hash_threads: int = 1
    ) -> None:
        self.bodies = bodies or BodyBudget()
        self.rooms = Rooms()
        self._inline = inline
        self._slow_until = 0.0
        self._watch_until = 0.0
        self._strikes = 0
        self._first_strike = 0.0
        # Threads come only when something waits for one.
        self._short = ThreadPoolExecutor(32, thread_name_prefix="davserver")
        self._store = ThreadPoolExecutor(32, thread_name_prefix="davserver-store")
        self._tree = ThreadPoolExecutor(4, thread_name_prefix="davserver-tree")
        self._hash = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="davserver-hash")
        self._turnstile = Turnstile(hash_threads)
        self.refusals = Pace(_REFUSAL_S)
        self._ended = threading.Event()
        self._repeating: list[threading.Thread] = []

    @property
    def inline(self) -> bool:
        """True while calls are quick enough for the event loop."""
        return self._inline and time.monotonic() >= self._slow_until

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs here, and takes the storage off the loop when it was slow."""
        begun = time.monotonic()
        before = _waits() if begun < self._watch_until else None
        try:
            return function(*args, **kwargs)
        finally:
            ended = time.monotonic()
            if ended - begun > _SLOW_S:
                self._judge(before, ended - begun, ended)

    def _judge(self, before: Waits | None, took_s: float, now: float) -> None:
        """A slow call was held up by the disk, or by whoever else wanted the processor: the
        kernel tells which, once it is asked before each call. The first one only begins that."""
        self._watch_until = now + _WATCH_S
        if before is None:
            if not _CAN_TELL:
                self._strike(now)
            return
        reads, waits = (after - then for after, then in zip(_waits(), before, strict=True))
        if reads or (waits and took_s > _STALL_S):
            self._strike(now)

    def _strike(self, now: float) -> None:
        """One slow call sends the rest of its request to a thread; three within a second are a
        slow disk, and rest for longer. (One alone is more often the scheduler's doing.)"""
        if now - self._first_strike > 1.0:
            self._first_strike, self._strikes = now, 0
        self._strikes += 1
        self._slow_until = now + (_REST_S if self._strikes >= _STRIKES else _PAUSE_S)

    async def hop(
        self,
        function: Callable[[], T],
        *,
        tree: bool = False,
        on_cancel: Callable[[], None] | None = None,
    ) -> T:
        """Runs in a thread; `tree` work has few threads of its own.

        A task that is cancelled meanwhile calls `on_cancel`, and ends only after the thread did:
        what it works with must not be closed under its hands.
        """
        return await _await(self._tree if tree else self._short, function, on_cancel)

    async def store(
        self, function: Callable[[], T], *, on_cancel: Callable[[], None] | None = None
    ) -> T:
        """As hop, for what writes bodies: where the disk is slow they wait for it in threads that
        nobody else needs."""
        return await _await(self._store, function, on_cancel)

    async def hash(self, function: Callable[[], T], *, on_cancel: Callable[[], None]) -> T:
        """As hop, for what reads whole files and computes: no more at once than there are
        processors."""
        return await _await(self._hash, function, on_cancel)

    def repeat(self, function: Callable[[Callable[[], bool]], None], *, every_s: float) -> None:
        """Runs `function` again and again until `close`, in a thread of its own, at once the first
        time; it is given what tells it to stop."""

        def run() -> None:
            function(self._ended.is_set)
            while not self._ended.wait(every_s):
                function(self._ended.is_set)

        thread = threading.Thread(target=run, name="davserver-repeat", daemon=True)
        self._repeating.append(thread)
        thread.start()

    @property
    def is_closed(self) -> bool:
        """True when there are no threads any more: who is cancelled at the end finds them gone."""
        return self._ended.is_set()

    def close(self) -> None:
        """Ends the threads, after what they are at."""
        self._ended.set()
        for thread in self._repeating:
            thread.join()
        for pool in (self._short, self._store, self._tree, self._hash):
            pool.shutdown()
        self._turnstile.close()

    async def verify(self, function: Callable[[], T], *, address: str, same: object) -> T:
        """Runs what hashes a password; see Turnstile."""
        return await self._turnstile.run(function, address=address, same=same)

    async def batch(self, function: Callable[[], T]) -> T:
        """Runs one batch of a long walk: here while the storage is quick, else in a thread."""
        if self.inline:
            return self.call(function)
        return await self.hop(function)


async def _await(
    pool: ThreadPoolExecutor, function: Callable[[], T], on_cancel: Callable[[], None] | None
) -> T:
    future = asyncio.get_running_loop().run_in_executor(pool, function)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if on_cancel is not None:
            on_cancel()
        await asyncio.wait([future])
        with suppress(asyncio.CancelledError):
            future.exception()  # nobody else is going to ask
        raise


async def read_body(receive: Receive, limit: int, take: Callable[[int], bool]) -> bytes:
    """Returns the whole request body.

    Args:
        take: of a lease that lives as long as the body does.

    Raises ContentTooLarge (413) past `limit` bytes, ServiceUnavailable (503) when too many large
    bodies are here at once.
    """
    parts: list[bytes] = []
    total = 0
    is_small = True
    async for chunk in body_chunks(receive):
        total += len(chunk)
        if total > limit:
            raise ContentTooLarge(f"the body is larger than {limit} bytes")
        if is_small and total > SMALL_BODY:
            # For what is allowed, not for what is here: a body once begun can end.
            is_small = False
            if not take(limit):
                retry = ((b"retry-after", b"5"),)
                raise ServiceUnavailable("too many large bodies at once", headers=retry)
        parts.append(chunk)
    return parts[0] if len(parts) == 1 else b"".join(parts)


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
