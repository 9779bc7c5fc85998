"""Runs the application on sockets: uvicorn with our guard, one process or several.

Sockets are bound and listening before anything else is started, so that a port in use is found
early and nobody who reads the address is refused.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Generator, Sequence
from functools import partial
from types import FrameType

import uvicorn

from davserver.accesslog import AccessLog
from davserver.app import create_app
from davserver.config import Settings
from davserver.edge import Edge
from davserver.guard import Guard
from davserver.registry import build_registry

logger = logging.getLogger(__name__)

BACKLOG = 2048
_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""`localhost` may mean ::1 too where there is no IPv6."""
FORCED = 130
"""Exit code after a second Ctrl-C."""
STARTUP_FAILED = 3
"""Exit code of uvicorn when the application does not start."""


class CannotListen(Exception):
    """The address cannot be had. The message is one line."""


def bind(settings: Settings) -> list[socket.socket]:
    """Returns listening sockets for the settings' host and port. Raises CannotListen."""
    host, port = settings.host.strip("[]"), settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise CannotListen(f"cannot listen on {host!r}: {error.strerror}") from error
    sockets: list[socket.socket] = []
    failed: OSError | None = None
    for family, _, _, _, address in dict.fromkeys(found):
        if sockets and port == 0:
            # One port for all addresses, also where the system chose it.
            address = (address[0], sockets[0].getsockname()[1], *address[2:])
        try:
            sockets.append(_listen(family, address, alone=len(found) == 1))
        except OSError as error:
            failed = error
            if error.errno not in _NOT_HERE:
                break
    if failed is not None and (not sockets or failed.errno not in _NOT_HERE):
        for opened in sockets:
            opened.close()
        raise CannotListen(f"cannot listen on {host} port {port}: {failed.strerror}") from failed
    return sockets


def _listen(family: int, address: tuple[object, ...], *, alone: bool) -> socket.socket:
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # "::" alone means every address, IPv4 too.
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if alone else 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def run(settings: Settings, sockets: Sequence[socket.socket]) -> int:
    """Serves until a signal ends it; returns the exit code."""
    _raise_file_limit()
    _set_up_logging(settings)
    if settings.workers > 1:
        from davserver.supervisor import Supervisor

        return Supervisor(settings, sockets).run()
    return Worker(settings).serve_on(sockets)


def _raise_file_limit() -> None:
    # Every connection and every open file is a descriptor; the soft limit is often 1024.
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _set_up_logging(settings: Settings) -> None:
    level = settings.log_level.upper()
    logging.basicConfig(
        stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if level == "INFO":
        # What uvicorn tells at this level ("Started server process") is nobody's business.
        logging.getLogger("uvicorn.error").setLevel("WARNING")


class Worker(uvicorn.Server):
    """One process's server: uvicorn's, with our signals and exit codes.

    Args:
        settings: as read.
        ended_by: signals that end it; others that a terminal sends are ignored.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        ended_by: Sequence[signal.Signals] = (signal.SIGINT, signal.SIGTERM),
    ) -> None:
        self._ended_by = ended_by
        self._log = AccessLog(sys.stdout.buffer) if settings.access_log else None
        edge = Edge(settings, self._log, _methods)
        super().__init__(_configure(settings, edge))

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


def _configure(settings: Settings, edge: Edge) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(settings),
        loop="auto",
        http=partial(Guard, edge=edge),  # type: ignore[arg-type]  # called as a class is
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
