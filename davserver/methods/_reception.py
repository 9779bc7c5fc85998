"""A long body on its way to disk: in two buffers of a MiB, one being written in a thread while the
other fills; or read from its connection by that thread itself, where our own server serves."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

from davserver.aio import SMALL_BODY, body_chunks, check_length
from davserver.asgi import BODY_LOAN, BodyLoan
from davserver.context import RequestContext
from davserver.errors import ContentTooLarge
from davserver.methods._gathering import Gathered

INLINE_LIMIT = 1 << 20
"""Bytes: a body up to this is gathered and written in one call."""


class Reception:
    """The body of one PUT.

    Args:
        length: bytes announced, None where nobody tells.
        limit: bytes allowed, None for any number.
        write: appends pieces, and is done with them when it returns. Called in threads, one call
            after the other.
    """

    def __init__(
        self,
        rc: RequestContext,
        length: int | None,
        limit: int | None,
        write: Callable[..., None],
    ) -> None:
        self._rc = rc
        self._runner = rc.services.runner
        self._length = length
        self._limit = limit
        self._write = write
        self._writing: asyncio.Task[None] | None = None

    async def receive(
        self, take: Callable[[int], bool], require_room: Callable[[int], None]
    ) -> Gathered:
        """Returns what is not written yet when all of it is here.

        Args:
            take: of a lease that lives as long as this runs.
            require_room: raises where so many bytes do not fit.

        Raises ContentTooLarge (413), BadRequest (400) for a body that is not as long as announced,
        ClientDisconnect, and as `write` does.
        """
        buffer = Gathered()
        received = 0
        gathered = SMALL_BODY
        has_second = False
        async for chunk in body_chunks(self._rc.receive):
            received += len(chunk)
            if self._limit is not None and received > self._limit:
                raise ContentTooLarge(f"the body is larger than {self._limit} bytes")
            buffer.add(chunk)
            if buffer.size >= gathered == SMALL_BODY and take(INLINE_LIMIT):
                # Where too many bodies wait already, this one is written in small pieces.
                gathered = INLINE_LIMIT
            if buffer.size < gathered or received == self._length:
                continue
            require_room(received)
            await self._written()
            apart = await self._read_apart(buffer)
            if apart is not None:
                received += apart
                buffer = Gathered()
                continue
            self._writing = asyncio.ensure_future(self._flush(buffer))
            buffer = Gathered()
            has_second = has_second or (gathered == INLINE_LIMIT and take(INLINE_LIMIT))
            if not has_second:
                await self._written()
        check_length(self._length, received)
        await self._written()
        return buffer

    async def _read_apart(self, buffer: Gathered) -> int | None:
        """Has a thread write the buffer, and what comes after it for as long as that comes
        quickly. Returns how many bytes that was, None where it cannot be."""
        borrow = self._rc.scope.get("extensions", {}).get(BODY_LOAN, {}).get("borrow")
        room = None if borrow is None else self._runner.rooms.take()
        if room is None:
            return None
        loan: BodyLoan | None = None
        try:
            loan = borrow()
            if loan is None:
                return None
            for piece in loan.here:
                buffer.add(piece)
            work = partial(self._write_apart, buffer, loan, room)
            await self._runner.store(work, on_cancel=loan.stop)
            return loan.size
        finally:
            if loan is not None:
                loan.end()
            self._runner.rooms.give(room)

    def _write_apart(self, buffer: Gathered, loan: BodyLoan, room: memoryview) -> None:
        self._write(*buffer.pieces)
        loan.pass_on(self._write, room)

    async def _written(self) -> None:
        """Waits for the buffer before. Raises what went wrong with it."""
        if self._writing is not None:
            await self._writing
            self._writing = None

    async def _flush(self, buffer: Gathered) -> None:
        await self._runner.store(partial(self._write, *buffer.pieces))

    async def settle(self) -> None:
        """Waits for the thread, after whatever ended this: what a thread works with is not closed
        under its hands."""
        if self._writing is not None:
            await asyncio.wait([self._writing])
            if not self._writing.cancelled():
                self._writing.exception()  # what ended the upload is told, not what followed
