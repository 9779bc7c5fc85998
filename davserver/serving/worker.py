"""One process's server: uvicorn with our guard, our signals and exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from pathlib import Path
from types import FrameType

import uvicorn

from davserver.app import DavApp, create_app, open_log
from davserver.config import Settings, SettingsError
from davserver.errors import StateError, StorageError
from davserver.metrics.board import Meter
from davserver.registry import build_registry
from davserver.serving.metering import MeteredGuard, Metering, MetricsListener
from davserver.serving.reload import Change, set_up_logging
from davserver.serving.tls import CertificateError, Certificates, files_of
from davserver.wire.edge import Edge
from davserver.wire.guard import Guard

logger = logging.getLogger(__name__)

BACKLOG = 2048
FORCED = 130
"""Exit code after a second Ctrl-C."""
STARTUP_FAILED = 3
"""Exit code of uvicorn when the application does not start."""


class Worker(uvicorn.Server):
    """One process's server: uvicorn's, with our signals and exit codes.

    Args:
        settings: as read.
        look: returns what is to be put in force, if something is; asked ten times a second.
        ended_by: signals that end it; others that a terminal sends are ignored.
        metering: the shared part of the metrics; None counts nothing.
        seat: where this worker counts.
        with_accounts: files that held accounts when others served.
    """

    def __init__(
        self,
        settings: Settings,
        look: Callable[[], Change | None],
        *,
        ended_by: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
        metering: Metering | None = None,
        seat: int = 0,
        with_accounts: Collection[Path] = (),
    ) -> None:
        self._settings = settings
        self._look = look
        self._ended_by = ended_by
        self._log = open_log(settings)
        self._edge = Edge(settings, self._log, _methods)
        self._metering = metering
        meter = None if metering is None else Meter(metering.board, seat)
        self._app = create_app(settings, meter=meter, with_accounts=with_accounts)
        self._edge.at_once = self._app.at_once
        self._listener = None if meter is None else MetricsListener(settings, meter, self._app)
        self._guard: Callable[..., Guard] = partial(Guard, edge=self._edge)
        if meter is not None:
            self._guard = partial(MeteredGuard, edge=self._edge, meter=meter)
        self._certificates: Certificates | None = None
        super().__init__(_configure(settings, self._app, self._guard))
        # They end as requests do, when the server does.
        self._app.jobs.tasks = self.server_state.tasks

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

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens on the sockets, with TLS where there is a certificate.

        In place of uvicorn's, which has one certificate for good, and lets a client take a minute
        for its handshake, uncounted.
        """
        try:
            files = files_of(self._settings)
            self._certificates = None if files is None else Certificates(files)
        except CertificateError as error:
            logger.error("%s", error)
            sys.exit(STARTUP_FAILED)
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            sys.exit(STARTUP_FAILED)
        loop = asyncio.get_running_loop()
        secure = self._certificates is not None
        self.servers = [
            await loop.create_server(
                self._make_protocol,
                sock=opened,
                ssl=self._certificates.context if self._certificates else None,
                backlog=BACKLOG,
                ssl_handshake_timeout=self._settings.head_timeout_s if secure else None,
            )
            for opened in sockets or ()
        ]
        if self._listener is not None and self._metering is not None:
            self.servers += await self._listener.listen(self._metering.sockets, self.server_state)
        self.started = True

    def _make_protocol(self) -> asyncio.Protocol:
        return self._guard(self.config, self.server_state, self.lifespan.state)

    async def on_tick(self, counter: int) -> bool:
        change = self._look()
        if change is not None:
            self._adopt(change)
        return await super().on_tick(counter)

    def _adopt(self, change: Change) -> None:
        """Puts new settings in force, for new requests and handshakes."""
        settings = change.settings
        if not change.only_certificate:
            try:
                self._app.reload(settings)
            except (SettingsError, StateError, StorageError) as error:
                logger.error("the settings stay as they were: %s", error)
                return
            self._settings = settings
            self._edge.configure(settings)
            self.config.timeout_graceful_shutdown = round(settings.grace_s)
            set_up_logging(settings)
            if self._log is not None:
                self._log.flush()
            self._log = self._edge.log = open_log(settings)
        files = files_of(settings)
        if self._certificates is not None and files is not None:
            try:
                self._certificates.renew(files)
            except CertificateError as error:
                logger.error("the certificate in use stays: %s", error)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        # Unlike uvicorn's, the signal is not raised again at the end: a stop that was asked for
        # is a success.
        ours = (signal.SIGINT, signal.SIGTERM)
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
    )
