"""Server-sent events (WHATWG HTML section 9.2): what changes is told as it comes, until it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable

from davserver.context import RequestContext, Response
from davserver.errors import ServiceUnavailable

_TYPE = b"text/event-stream"
_LOOK_S = 0.25
_QUIET = 60
"""Looks without anything new after which a comment is sent, lest a proxy takes it for dead."""
_LAST = b"ended"
_HEADERS = (
    (b"content-type", _TYPE),
    (b"cache-control", b"no-store"),
    (b"vary", b"Accept"),
    (b"x-accel-buffering", b"no"),  # nginx would gather it
)
Look = Callable[[], Awaitable[tuple[bool, bytes] | None]]
"""Returns whether it is the last that is told, and the text; None when there is nothing any
more."""


def is_stream_wanted(rc: RequestContext) -> bool:
    """True for a client that accepts events: an EventSource accepts nothing else."""
    accepted = (rc.headers.joined(b"accept") or b"").lower().split(b",")
    return any(one.partition(b";")[0].strip() == _TYPE for one in accepted)


def stream(rc: RequestContext, look: Look) -> Response:
    """Returns an answer that lasts: an event `progress` for each change, then one `ended`.

    A client that comes back after the last (an EventSource does, unless it is closed) gets 204,
    which ends that. Raises ServiceUnavailable (503) when too many listen.
    """
    if rc.headers.get(b"last-event-id") == _LAST:
        return Response(204)
    leave = None if rc.background is None else rc.background.listen()
    if leave is None:
        raise ServiceUnavailable("too many listen", headers=((b"retry-after", b"5"),))
    return Response(200, _HEADERS, _Stream(_events(look), leave))


class _Stream:
    """The body. Whoever sends it closes it, also when it was never begun."""

    def __init__(self, events: AsyncGenerator[bytes], leave: Callable[[], None]) -> None:
        self._events = events
        self._leave: Callable[[], None] | None = leave

    def __aiter__(self) -> _Stream:
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._events)

    async def aclose(self) -> None:
        leave, self._leave = self._leave, None
        if leave is not None:
            leave()
        await self._events.aclose()


async def _events(look: Look) -> AsyncGenerator[bytes]:
    before, quiet = b"", 0
    while (found := await look()) is not None:
        is_last, text = found
        if is_last:
            yield b"event: ended\nid: %s\ndata: %s\n\n" % (_LAST, text)
            return
        if text != before:
            yield b"event: progress\ndata: %s\n\n" % text
            before, quiet = text, 0
        elif (quiet := quiet + 1) >= _QUIET:
            yield b":\n\n"
            quiet = 0
        await asyncio.sleep(_LOOK_S)
