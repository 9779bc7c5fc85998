"""Who waits for whom at sign-in: password hashes in few threads, refusals one after another."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar

from davserver.errors import TooManyRequests

_HASH_NICENESS = 19
T = TypeVar("T")


@dataclass(slots=True, eq=False)
class _Ask(Generic[T]):
    function: Callable[[], T]
    done: asyncio.Future[T]
    waiters: int = 0


class Turnstile:
    """Runs what takes much of the processor, password hashes, in few threads of low priority.

    Addresses take turns: one that sends thousands keeps no other waiting for longer than one of
    them takes. Who asks the same as one that is waiting gets its result.

    Args:
        threads: that run at once.
        patience_s: who has waited for so long is refused.
    """

    def __init__(self, threads: int, *, patience_s: float = 30.0) -> None:
        self._threads = threads
        self._patience_s = patience_s
        self._pool = ThreadPoolExecutor(threads, "davserver-hash", _lower_priority)
        self._running = 0
        self._waiting: OrderedDict[str, deque[_Ask[Any]]] = OrderedDict()
        self._same: dict[object, _Ask[Any]] = {}

    async def run(self, function: Callable[[], T], *, address: str, same: object = None) -> T:
        """Returns what the function returns. `same` says which asks are the same, None none.
        Raises TooManyRequests (429) when its turn did not come."""
        key = None if same is None else (address, same)
        ask = None if key is None else self._same.get(key)
        if ask is None:
            ask = self._enqueue(function, address, key)
        ask.waiters += 1
        try:
            # Not a timeout(), which wants a task: a request may run outside of any.
            await asyncio.wait([ask.done], timeout=self._patience_s)
        finally:
            ask.waiters -= 1
        if not ask.done.done():
            retry = ((b"retry-after", b"30"),)
            raise TooManyRequests("too many sign-ins at once", headers=retry)
        result: T = ask.done.result()
        return result

    def _enqueue(self, function: Callable[[], T], address: str, key: object) -> _Ask[T]:
        ask = _Ask(function, asyncio.get_running_loop().create_future())
        # Whoever asked may be gone when there is an error to be told.
        ask.done.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
        if key is not None:
            self._same[key] = ask
            ask.done.add_done_callback(lambda _: self._same.pop(key, None))
        self._waiting.setdefault(address, deque()).append(ask)
        # Not at once: this one is counted as waiting only then.
        asyncio.get_running_loop().call_soon(self._start)
        return ask

    def _start(self) -> None:
        while self._waiting and self._running < self._threads:
            address, queue = self._waiting.popitem(last=False)
            ask = queue.popleft()
            if queue:
                self._waiting[address] = queue
            if not ask.waiters:
                ask.done.cancel()  # all who asked have left
                continue
            self._running += 1
            future = asyncio.get_running_loop().run_in_executor(self._pool, ask.function)
            future.add_done_callback(partial(self._ended, ask.done))

    def _ended(self, done: asyncio.Future[Any], future: asyncio.Future[Any]) -> None:
        self._running -= 1
        if future.cancelled():
            done.cancel()
            return
        self._start()
        error = future.exception()
        if error is None:
            done.set_result(future.result())
        else:
            done.set_exception(error)

    def close(self) -> None:
        """Ends the threads, after what they are at."""
        self._pool.shutdown()


class Pace:
    """Holds refusals back, the longer the more there are: who is refused asks again, and thousands
    that do so at once would take the time of others.

    Args:
        interval_s: between two that are let go, where many are held.
        clock: monotonic seconds.
    """

    def __init__(self, interval_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._next = 0.0

    def delay(self, least_s: float) -> float:
        """Returns the seconds that one more has to wait."""
        now = self._clock()
        self._next = max(now, self._next) + self._interval_s
        return max(least_s, self._next - now)


def hash_threads(workers: int) -> int:
    """Returns how many threads of each worker may hash passwords: all of them use half of the
    machine at most."""
    return max(1, min(4, (os.cpu_count() or 1) // (2 * workers)))


def _lower_priority() -> None:
    """Requests that need no hash go first. Elsewhere than on Linux this would be the priority of
    the whole process."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _HASH_NICENESS)
