"""Work in threads: what becomes of it when the task that waits for it is cancelled."""

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
