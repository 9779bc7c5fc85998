"""Several worker processes on the same sockets: starts them, replaces those that die or hang."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import multiprocessing.connection
import multiprocessing.reduction  # sockets can be handed to spawned processes
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkContext, SpawnContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from davserver.config import Settings
from davserver.serving.metering import Metering
from davserver.serving.reload import Change, Watch, set_up_logging
from davserver.serving.worker import FORCED, STARTUP_FAILED, Worker

logger = logging.getLogger(__name__)

HEALTH_S = 60.0
"""A worker whose event loop has not turned for so long hangs, and is replaced."""
HEARTBEAT_S = 1
TICK_S = 1.0
PATIENCE_S = 15.0
"""After the grace time, how long until workers that don't end are killed."""
RESTART_AFTER_S = 1.0
"""A worker that died is replaced no sooner than this after its start."""


@dataclass(slots=True)
class _Child:
    process: BaseProcess
    heart: Connection
    seat: int
    begun: float
    seen: float
    is_ready: bool = False
    change: Change | None = None
    """What it is to be told next."""
    hears: bool = True
    """Its loop has turned since it was told something: the pipe takes more without waiting."""


class Supervisor:
    """The parent of the workers. It serves nothing itself."""

    def __init__(
        self,
        settings: Settings,
        sockets: Sequence[socket.socket],
        watch: Watch,
        metering: Metering | None = None,
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._sockets = sockets
        self._metering = metering
        # A fork takes milliseconds, and this process has neither threads nor open state. Elsewhere
        # system libraries don't survive one.
        self._context: ForkContext | SpawnContext
        if sys.platform == "linux":
            self._context = multiprocessing.get_context("fork")
        else:
            self._context = multiprocessing.get_context("spawn")
        self._children: list[_Child] = []
        self._asked = 0
        self._has_served = False
        self._killing = False
        self._exit_code = 0
        self._stop_before = float("inf")

    def run(self) -> int:
        """Runs until a signal ends it; returns the exit code."""
        with self._signals() as woken:
            for seat in range(self._settings.workers):
                self._start(seat)
            ticked = time.monotonic()
            while self._children:
                self._wait(woken)
                now = time.monotonic()
                if now - ticked > 5 * TICK_S:
                    # This process stood still (suspended, stopped): so did the workers.
                    for child in self._children:
                        child.seen = now
                ticked = now
                self._look_after(now)
        return self._exit_code

    @contextlib.contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        reading, writing = socket.socketpair()
        reading.setblocking(False)
        writing.setblocking(False)
        ours = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._stop) for number in ours}
        wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            yield reading
        finally:
            signal.set_wakeup_fd(wakeup)
            for number, handler in before.items():
                signal.signal(number, handler)
            reading.close()
            writing.close()

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self._asked += 1

    def _start(self, seat: int) -> None:
        heart, beating = self._context.Pipe()
        worker = Assignment(
            self._settings, list(self._sockets), self._metering, seat, self._watch.with_accounts
        )
        process = self._context.Process(target=work, args=(worker, beating, os.getpid()))
        # A signal that comes before the child has handlers of its own would be taken by its copy
        # of ours, and nobody would act on it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        beating.close()
        now = time.monotonic()
        self._children.append(_Child(process, heart, seat, now, now))

    def _wait(self, woken: socket.socket) -> None:
        waiting: list[object] = [woken, *(child.process.sentinel for child in self._children)]
        waiting += [child.heart for child in self._children]
        multiprocessing.connection.wait(waiting, timeout=TICK_S)  # type: ignore[arg-type]
        with contextlib.suppress(BlockingIOError):
            woken.recv(4096)

    def _look_after(self, now: float) -> None:
        for child in tuple(self._children):
            self._listen(child, now)
            if not child.process.is_alive():
                self._bury(child, now)
            elif now - child.seen > HEALTH_S:
                logger.error("worker %s hangs, it is killed", child.process.pid)
                child.process.kill()
        if self._asked:
            self._end(now)
        else:
            self._look(now)

    def _look(self, now: float) -> None:
        """Tells the workers what has changed."""
        change = self._watch.look(now)
        if change is not None:
            self._settings = change.settings
            set_up_logging(change.settings)
        for child in self._children:
            if change is not None:
                partly = child.change is None or child.change.only_certificate
                partly &= change.only_certificate
                child.change = Change(change.settings, only_certificate=partly)
            if child.change is not None and child.hears:
                with contextlib.suppress(OSError):
                    child.heart.send(child.change)
                child.change, child.hears = None, False

    def _listen(self, child: _Child, now: float) -> None:
        with contextlib.suppress(EOFError, OSError):
            while child.heart.poll():
                child.heart.recv_bytes()
                child.seen = now
                child.is_ready = child.hears = self._has_served = True

    def _bury(self, child: _Child, now: float) -> None:
        child.process.join()
        child.heart.close()
        self._children.remove(child)
        if self._asked:
            return
        code = child.process.exitcode
        if not self._has_served and code == STARTUP_FAILED:
            # It would fail again: the reason is in the log. Later, what it needs may be back, as a
            # certificate that is being renewed, and until then the others serve.
            self._exit_code = STARTUP_FAILED
            self._asked = 1
            return
        logger.error("worker %s died (%s), another takes its place", child.process.pid, code)
        time.sleep(max(0.0, RESTART_AFTER_S - (now - child.begun)))
        self._start(child.seat)

    def _end(self, now: float) -> None:
        """Asks the workers to end; kills them when asked twice, or after the grace time."""
        if self._stop_before == float("inf"):
            self._stop_before = now + self._settings.grace_s + PATIENCE_S
            for opened in (*self._sockets, *(self._metering.sockets if self._metering else ())):
                opened.close()
            for child in self._children:
                child.process.terminate()
        elif (self._asked > 1 or now > self._stop_before) and not self._killing:
            self._killing = True
            self._exit_code = FORCED
            for child in self._children:
                child.process.kill()


@dataclass(frozen=True, slots=True)
class Assignment:
    """What a worker process gets to work with."""

    settings: Settings
    sockets: list[socket.socket]
    metering: Metering | None
    seat: int
    with_accounts: frozenset[Path]


def work(assigned: Assignment, heart: Connection, parent: int) -> None:
    """What a worker process does. Exits with the server's exit code."""
    signal.set_wakeup_fd(-1)
    # Ctrl-C in a terminal reaches every process of the group: the parent alone decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, signal.SIGTERM))

    def look() -> Change | None:
        with contextlib.suppress(EOFError, OSError):
            if heart.poll():
                change: Change = heart.recv()
                return change
        return None

    worker = Worker(
        assigned.settings,
        look,
        ended_by=(signal.SIGTERM,),
        metering=assigned.metering,
        seat=assigned.seat,
        with_accounts=assigned.with_accounts,
    )

    async def beat() -> None:
        if os.getppid() != parent:
            worker.should_exit = True
            return
        with contextlib.suppress(OSError):
            heart.send_bytes(b".")

    worker.config.callback_notify = beat
    worker.config.timeout_notify = HEARTBEAT_S
    sys.exit(worker.serve_on(assigned.sockets))
