"""Runs the application on sockets: uvicorn with our guard, one process or several.

Sockets are bound and listening before anything else is started, so that a port in use is found
early and nobody who reads the address is refused.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import os
import re
import resource
import signal
import socket
import time
from collections.abc import Mapping, Sequence

from davserver.address import split_address
from davserver.config import Settings
from davserver.metrics.board import Board
from davserver.registry import build_registry
from davserver.serving.metering import Metering
from davserver.serving.reload import Change, Read, Watch, set_up_logging
from davserver.serving.supervisor import Supervisor
from davserver.serving.worker import BACKLOG, Worker

_NOT_HERE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""`localhost` may mean ::1 too where there is no IPv6."""


class CannotListen(Exception):
    """The address cannot be had. The message is one line."""


def bind(settings: Settings) -> list[socket.socket]:
    """Returns listening sockets for the settings' host and port. Raises CannotListen."""
    return _bind(settings.host.strip("[]"), settings.port)


def prepare_metrics(settings: Settings) -> Metering | None:
    """Returns what the workers share of the metrics; None when they are off. Raises
    CannotListen, also where prometheus-client is missing."""
    if settings.metrics_listen is None:
        return None
    if importlib.util.find_spec("prometheus_client") is None:
        raise CannotListen("metrics_listen needs one more package: pip install prometheus-client")
    methods = sorted(build_registry().methods)
    return Metering(
        Board(methods, settings.workers), _bind(*split_address(settings.metrics_listen))
    )


def _bind(host: str, port: int) -> list[socket.socket]:
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


def run(
    settings: Settings,
    sockets: Sequence[socket.socket],
    read: Read,
    metering: Metering | None = None,
) -> int:
    """Serves until a signal ends it; returns the exit code.

    Args:
        read: reads the settings again, when a SIGHUP asks for it.
    """
    _raise_file_limit()
    set_up_logging(settings)
    watch = Watch(settings, read)
    before = signal.signal(signal.SIGHUP, lambda number, frame: watch.ask())
    _tell_manager(os.environ)
    try:
        if settings.workers > 1:
            return Supervisor(settings, sockets, watch, metering).run()

        def look() -> Change | None:
            return watch.look(time.monotonic())

        return Worker(settings, look, metering=metering).serve_on(sockets)
    finally:
        signal.signal(signal.SIGHUP, before)


def _tell_manager(environment: Mapping[str, str]) -> None:
    """Tells systemd, where it started us, that the sockets listen and a SIGHUP is understood
    (sd_notify(3))."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        # An "@" stands for the abstract namespace. Nobody may listen any more: so be it.
        with contextlib.suppress(OSError):
            manager.sendto(b"READY=1", re.sub("^@", "\0", address))


def _raise_file_limit() -> None:
    # Every connection and every open file is a descriptor; the soft limit is often 1024.
    with contextlib.suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
