"""A Runner for a thread: everything runs where it is."""

from __future__ import annotations

import asyncio
import threading

import pytest

from davserver.aio import Runner
from davserver.inthread import InThread, finished


def test_everything_runs_where_it_is() -> None:
    outer = Runner(inline=True)
    runner = InThread(outer)

    async def work() -> list[int]:
        function = threading.get_ident
        return [
            runner.call(function),
            await runner.hop(function, tree=True),
            await runner.store(function),
            await runner.hash(function, on_cancel=lambda: None),
            await runner.verify(function, address="-", same=None),
            await runner.batch(function),
        ]

    assert finished(work()) == [threading.get_ident()] * 6
    assert not runner.inline
    assert not runner.is_closed
    outer.close()
    assert runner.is_closed


def test_what_waits_for_the_loop_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="event loop"):
        finished(asyncio.sleep(0))
