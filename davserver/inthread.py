"""Requests that are run in a thread, one after the other, as part of a longer work."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import ParamSpec, TypeVar

from davserver.aio import BodyBudget, Runner

P = ParamSpec("P")
T = TypeVar("T")


class InThread(Runner):
    """Runs everything where it is: for work that has a thread of its own already, and asks others
    to do what they would do on the event loop (see `finished`).

    Args:
        outer: the runner of the event loop.
    """

    def __init__(self, outer: Runner) -> None:
        self._outer = outer
        # Not the loop's, which is counted there; what is run here was received as one body.
        self.bodies = BodyBudget()
        self.refusals = outer.refusals

    @property
    def inline(self) -> bool:
        """False: waiting stalls nobody here."""
        return False

    @property
    def is_closed(self) -> bool:
        return self._outer.is_closed

    def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return function(*args, **kwargs)

    async def hop(
        self,
        function: Callable[[], T],
        *,
        tree: bool = False,
        on_cancel: Callable[[], None] | None = None,
    ) -> T:
        return function()

    async def store(
        self, function: Callable[[], T], *, on_cancel: Callable[[], None] | None = None
    ) -> T:
        return function()

    async def hash(self, function: Callable[[], T], *, on_cancel: Callable[[], None]) -> T:
        return function()

    async def verify(self, function: Callable[[], T], *, address: str, same: object) -> T:
        return function()

    async def batch(self, function: Callable[[], T]) -> T:
        return function()


def finished(work: Awaitable[T]) -> T:
    """Runs to its end, here, what waits for nothing: its Runner is an InThread, its body is there.
    Raises what it raises."""
    steps = work.__await__()
    try:
        next(steps)
    except StopIteration as ended:
        result: T = ended.value
        return result
    steps.close()
    raise RuntimeError("it waits for what only an event loop can bring")
