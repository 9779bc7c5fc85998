"""The HTTP edge in process, without sockets: bytes in, what the application saw and answers out."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar

import uvicorn
from uvicorn.server import ServerState

from davserver.config import Settings
from davserver.wire.edge import Edge
from davserver.wire.guard import Guard

T = TypeVar("T")
Seen = tuple[str, bytes, bytes, bool]
"""Method, raw path, body, and whether the body came to its end."""


class Wire(asyncio.Transport):
    """The other end of a connection that takes everything at once."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.protocol: Any = None
        self.paused = False
        self.ended = False
        self._closing = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.ended, "written after the end of the sending side"
        if not self._closing:
            self.written += data

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.ended = True

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        if not self._closing:
            self._closing = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    abort = close

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def is_reading(self) -> bool:
        return not self.paused


class EdgeInProcess:
    """A guard before an application that notes what it gets. Use one for many connections."""

    def __init__(self, **settings: Any) -> None:
        self._settings = Settings(root="/", **settings)
        self._runner = asyncio.Runner()
        self._seen: list[Seen] = []
        self._state = ServerState()
        self._edge = Edge(self._settings, None, lambda: ["GET", "PUT"])
        self._config = uvicorn.Config(
            self._application,
            http=partial(Guard, edge=self._edge),  # type: ignore[arg-type]
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
        )
        self._config.load()

    def close(self) -> None:
        self._runner.close()

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        hosts = [value for name, value in scope["headers"] if name == b"host"]
        assert len(hosts) == 1 or (scope["http_version"] == "1.0" and not hosts), hosts
        target = scope["raw_path"]
        assert target == b"*" or target.startswith(b"/"), target
        assert not any(octet in target for octet in b" \r\n\0#?"), target
        body = bytearray()
        whole = False
        while not whole:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message["body"]
            whole = not message["more_body"]
        self._seen.append((scope["method"], target, bytes(body), whole))
        head = {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", b"2")],
        }
        await send(head)
        await send({"type": "http.response.body", "body": b"ok"})

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop that the connections belong to."""
        return self._runner.run(work)

    def connect(self, wire: Wire) -> Guard:
        """Returns the guard of a new connection; call it on the loop."""
        guard = Guard(self._config, self._state, {}, asyncio.get_running_loop(), edge=self._edge)
        wire.protocol = guard
        guard.connection_made(wire)
        return guard

    def exchange(self, pieces: Sequence[bytes]) -> tuple[list[Seen], bytes]:
        """Sends the pieces on a connection of their own, and leaves."""
        self._seen.clear()
        written = self._runner.run(self._exchange(pieces))
        return list(self._seen), written

    async def _exchange(self, pieces: Sequence[bytes]) -> bytes:
        wire = Wire()
        guard = self.connect(wire)
        for piece in pieces:
            await self.settle(wire)
            if wire.is_closing():
                break
            assert not wire.paused, "the application waits and nobody reads"
            if piece:
                guard.data_received(piece)
        await self.settle(wire)
        wire.close()
        while self._state.tasks or self._state.connections:
            await asyncio.sleep(0)
        return bytes(wire.written)

    async def settle(self, wire: Wire) -> None:
        """Runs until what was sent is dealt with."""
        for _ in range(6):
            await asyncio.sleep(0)
        turns = 0
        while wire.paused and not wire.is_closing():
            await asyncio.sleep(0)
            turns += 1
            assert turns < 100_000, "reading is paused for good"
