"""Work in threads: what becomes of it when its task is cancelled, and who waits for whom."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import Any

from davserver.aio import Runner


def test_what_a_thread_raises_after_its_task_was_cancelled_is_no_news() -> None:
    told: list[dict[str, Any]] = []
    entered, leave = threading.Event(), threading.Event()

    def work() -> None:
        entered.set()
        assert leave.wait(10)
        raise ZeroDivisionError

    async def cancel() -> bool:
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
        runner = Runner(inline=False)
        task = asyncio.create_task(runner.hop(work, on_cancel=leave.set))
        while not entered.is_set():
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait([task])
        runner.close()
        return task.cancelled()

    cancelled = asyncio.run(cancel())
    gc.collect()

    assert cancelled
    assert told == []


def test_bodies_that_wait_for_a_slow_disk_hold_nobody_else() -> None:
    runner = Runner(inline=True)
    ended = threading.Event()

    async def work() -> int:
        waiting = [asyncio.ensure_future(runner.store(ended.wait)) for _ in range(200)]
        await asyncio.sleep(0)  # they begin
        try:
            async with asyncio.timeout(10):
                return await runner.hop(threading.active_count)
        finally:
            ended.set()
            await asyncio.gather(*waiting)

    threads = asyncio.run(work())
    runner.close()

    assert threads > 32
