"""The edge's part of the metrics: a guard that counts, and the listener where they are read."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from davserver.app import DavApp
from davserver.config import Settings
from davserver.errors import StateError
from davserver.metrics.board import Board, GateCounts, Meter
from davserver.service.health import look
from davserver.state.base import State
from davserver.state.offers import Measured
from davserver.wire.edge import Edge
from davserver.wire.guard import Guard
from davserver.wire.requesthead import Refused, request_line

_BEAT_S = 1.0
_CONNECTIONS = 64
"""Enough for who scrapes and who looks at it by hand."""


@dataclass(frozen=True, slots=True)
class Metering:
    """What all workers share of the metrics."""

    board: Board
    sockets: Sequence[socket.socket]

    @property
    def url(self) -> str:
        host, port = self.sockets[0].getsockname()[:2]
        return f"http://[{host}]:{port}/metrics" if ":" in host else f"http://{host}:{port}/metrics"


class MeteredGuard(Guard):
    """A guard that counts connections, bodies and the edge's own answers."""

    def __init__(self, *args: Any, meter: Meter, **keys: Any) -> None:
        super().__init__(*args, **keys)
        self._meter = meter

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._meter.connected(1)
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._meter.connected(-1)
        super().connection_lost(exc)

    def _note_body(self, size: int) -> None:
        self._meter.received(size)

    def _answer(self, refused: Refused, *, head: bytes = b"", note: bool = True) -> None:
        super()._answer(refused, head=head, note=note)
        if note:
            method = request_line(head)[0]
            self._meter.request(method, refused.status, len(refused.detail) + 1, 0.0)


class MetricsListener:
    """Answers /metrics and /health for all workers, in whichever of them a reader is taken in."""

    def __init__(self, settings: Settings, meter: Meter, app: DavApp) -> None:
        # What needs the extra is imported where the extra is asked for.
        from davserver.metrics.exposition import Exposition, Outside
        from davserver.metrics.service import create_service

        self._meter = meter
        # Asked anew each time: a reload of the settings makes other services.
        self._app = app
        self._state: State | None = None
        exposition = Exposition(meter.board, Outside(self._measure, time.monotonic))
        limits = {"connections": _CONNECTIONS * settings.workers, "access_log": False}
        self._edge = Edge(settings.model_copy(update=limits), None, lambda: ["GET", "HEAD"])
        self._config = uvicorn.Config(
            create_service(exposition, lambda: look(app.services) is not None),
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        self._config.load()

    async def listen(
        self, sockets: Sequence[socket.socket], state: ServerState
    ) -> list[asyncio.Server]:
        """Begins; the worker closes what is returned together with its own."""
        self._meter.begin(time.monotonic())
        self._beat()
        loop = asyncio.get_running_loop()
        config = self._config
        make = partial(Guard, config=config, server_state=state, app_state={}, edge=self._edge)
        return [await loop.create_server(make, sock=each) for each in sockets]

    def _beat(self) -> None:
        self._meter.beat(time.monotonic(), self._gate_counts())
        # Armed while the loop runs: it dies with it.
        asyncio.get_running_loop().call_later(_BEAT_S, self._beat)

    def _gate_counts(self) -> GateCounts | None:
        state = self._app.services.state
        if state is not self._state:
            # Another state has another gate, which begins to count.
            self._state = state
            self._meter.begin_gate()
        if isinstance(state, Measured):
            with contextlib.suppress(StateError):
                return GateCounts(*state.gate_counts())
        return None

    def _measure(self) -> tuple[int, int] | None:
        state = self._app.services.state
        if isinstance(state, Measured):
            with contextlib.suppress(StateError):
                return state.measure(now=self._app.services.clock())
        return None
