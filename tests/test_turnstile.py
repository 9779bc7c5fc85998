"""Password hashes: few threads, addresses in turn, who asks the same gets one result."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Callable

import pytest

from davserver.errors import TooManyRequests
from davserver.turnstile import Pace, Turnstile, hash_threads


class Hashes:
    """Work that a test lets go on, one by one."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self._go = threading.Semaphore(0)

    def __call__(self, name: str) -> Callable[[], str]:
        def work() -> str:
            self.begun.append(name)
            assert self._go.acquire(timeout=10)
            return name

        return work

    def let_go(self, count: int = 1) -> None:
        for _ in range(count):
            self._go.release()


@pytest.mark.security("S-13", "A-03")
def test_addresses_take_turns() -> None:
    hashes = Hashes()

    async def main() -> list[str]:
        turnstile = Turnstile(1)
        asks = [
            turnstile.run(hashes(name), address=name[0])
            for name in ("a1", "a2", "a3", "a4", "b1", "b2", "c1")
        ]
        tasks = [asyncio.ensure_future(ask) for ask in asks]
        await asyncio.sleep(0)
        hashes.let_go(7)
        results = await asyncio.gather(*tasks)
        turnstile.close()
        return results

    assert asyncio.run(main()) == ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]
    assert hashes.begun == ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]


@pytest.mark.security("S-13")
def test_no_more_than_the_threads_run_at_once() -> None:
    running = most = 0
    lock = threading.Lock()
    barrier = threading.Barrier(2)

    def work() -> None:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        barrier.wait(10)
        with lock:
            running -= 1

    async def main() -> None:
        turnstile = Turnstile(2)
        await asyncio.gather(*(turnstile.run(work, address=str(n)) for n in range(20)))
        turnstile.close()

    asyncio.run(main())

    assert most == 2


def test_who_asks_the_same_gets_one_result() -> None:
    hashes = Hashes()

    async def main() -> list[str]:
        turnstile = Turnstile(1)
        keys = ["x", "x", "y", None, None]
        tasks = [
            asyncio.ensure_future(turnstile.run(hashes(f"{n}"), address="a", same=key))
            for n, key in enumerate(keys)
        ]
        await asyncio.sleep(0)
        hashes.let_go(4)
        found = await asyncio.gather(*tasks)
        hashes.let_go()
        found.append(await turnstile.run(hashes("again"), address="a", same="x"))
        hashes.let_go()
        found.append(await turnstile.run(hashes("other"), address="b", same="x"))
        turnstile.close()
        return found

    assert asyncio.run(main()) == ["0", "0", "2", "3", "4", "again", "other"]


@pytest.mark.security("S-13", "A-03")
def test_who_has_waited_for_too_long_is_refused_and_costs_nothing_any_more() -> None:
    hashes = Hashes()

    async def main() -> list[object]:
        turnstile = Turnstile(1, patience_s=0.05)
        tasks = [asyncio.ensure_future(turnstile.run(hashes(name), address="a")) for name in "abc"]
        refused = await asyncio.gather(*tasks, return_exceptions=True)
        last = asyncio.ensure_future(turnstile.run(hashes("d"), address="a"))
        await asyncio.sleep(0)
        hashes.let_go(2)
        refused.append(await last)
        turnstile.close()
        return list(refused)

    *refused, last = asyncio.run(main())

    assert [type(error) for error in refused] == [TooManyRequests] * 3
    assert last == "d"
    # b and c had left when their turn came.
    assert hashes.begun == ["a", "d"]


@pytest.mark.security("A-03")
def test_refusals_come_the_later_the_more_there_are() -> None:
    now = [100.0]
    pace = Pace(0.25, clock=lambda: now[0])

    assert [pace.delay(1.0) for _ in range(6)] == [1.0, 1.0, 1.0, 1.0, 1.25, 1.5]
    now[0] += 1.5
    assert pace.delay(0.0) == 0.25
    now[0] += 100
    assert [pace.delay(0.0), pace.delay(0.0)] == [0.25, 0.5]


def test_an_error_reaches_all_who_asked_and_who_left_costs_nothing() -> None:
    def fail() -> None:
        raise KeyError("x")

    async def main() -> list[object]:
        turnstile = Turnstile(1)
        tasks = [
            asyncio.ensure_future(turnstile.run(fail, address="a", same="x")) for _ in range(3)
        ]
        await asyncio.sleep(0)
        tasks[0].cancel()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        found.append(await turnstile.run(lambda: "next", address="a"))
        turnstile.close()
        return list(found)

    cancelled, one, other, following = asyncio.run(main())

    assert isinstance(cancelled, asyncio.CancelledError)
    assert [type(one), type(other), following] == [KeyError, KeyError, "next"]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities on Linux alone")
@pytest.mark.security("S-13")
def test_hashes_give_way_to_requests() -> None:
    def priority() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async def main() -> int:
        turnstile = Turnstile(1)
        found = await turnstile.run(priority, address="a")
        turnstile.close()
        return found

    before = priority()

    assert asyncio.run(main()) > before
    assert priority() == before


@pytest.mark.parametrize(
    ("cpus", "workers", "threads"),
    [(1, 1, 1), (2, 1, 1), (4, 1, 2), (16, 1, 4), (16, 4, 2), (4, 8, 1), (None, 1, 1)],
)
def test_threads_use_half_of_the_machine_at_most(
    monkeypatch: pytest.MonkeyPatch, cpus: int | None, workers: int, threads: int
) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)

    assert hash_threads(workers) == threads
