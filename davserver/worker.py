"""One process's server: uvicorn with our guard, our signals and exit codes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from functools import partial
from types import FrameType

import uvicorn

from davserver.accesslog import AccessLog
from davserver.app import DavApp, create_app
from davserver.config import Settings
from davserver.edge import Edge
from davserver.guard import Guard
from davserver.metering import MeteredGuard, Metering, MetricsListener
from davserver.metrics.board import Meter
from davserver.registry import build_registry

BACKLOG = 2048
FORCED = 130
"""Exit code after a second Ctrl-C."""
STARTUP_FAILED = 3
"""Exit code of uvicorn when the application does not start."""


class Worker(uvicorn.Server):
    """One process's server: uvicorn's, with our signals and exit codes.

    Args:
        settings: as read.
        ended_by: signals that end it; others that a terminal sends are ignored.
        metering: the shared part of the metrics; None counts nothing.
        seat: where this worker counts.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ended_by: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
        metering: Metering | None = None,
        seat: int = 0,
    ) -> None:
        self._ended_by = ended_by
        form = settings.log_format
        self._log = AccessLog(sys.stdout.buffer, form=form) if settings.access_log else None
        edge = Edge(settings, self._log, _methods)
        self._metering = metering
        meter = None if metering is None else Meter(metering.board, seat)
        app = create_app(settings, meter=meter)
        self._listener = None if meter is None else MetricsListener(settings, meter, app)
        guard: Callable[..., Guard] = partial(Guard, edge=edge)
        if meter is not None:
            guard = partial(MeteredGuard, edge=edge, meter=meter)
        super().__init__(_configure(settings, app, guard))

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._listener is not None and self._metering is not None:
            self.servers += await self._listener.listen(self._metering.sockets, self.server_state)

    def serve_on(self, sockets: Sequence[socket.socket]) -> int:
        """Serves until a signal ends it; returns the exit code."""
        try:
            self.run(list(sockets))
        except SystemExit as failed:
            return failed.code if isinstance(failed.code, int) else 1
        finally:
            if self._log is not None:
                self._log.flush()
        return 0 if self.started else STARTUP_FAILED

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Unlike uvicorn's, the signal is not raised again at the end: a stop that was asked for
        # is a success.
        ours = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        before = {number: signal.getsignal(number) for number in ours}
        for number in ours:
            ends = number in self._ended_by
            signal.signal(number, self.handle_exit if ends else signal.SIG_IGN)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal lets running requests finish, the second ends at once."""
        if self.should_exit:
            if self._log is not None:
                self._log.flush()
            # Threads may be deep in a copy: what is half done is in the journal.
            os._exit(FORCED)
        self.should_exit = True


def _methods() -> list[str]:
    return sorted(build_registry().methods)


def _configure(settings: Settings, app: DavApp, guard: Callable[..., Guard]) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        loop="auto",
        http=guard,  # type: ignore[arg-type]  # called as a class is
        ws="none",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        backlog=BACKLOG,
        workers=1,
        timeout_graceful_shutdown=round(settings.grace_s),
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
    )
