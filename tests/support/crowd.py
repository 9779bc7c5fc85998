"""Many clients at once against one real server: each a thread with a connection of its own."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable
from itertools import chain
from typing import TypeVar

from davserver.state.sqlite import SqliteState
from tests.support.http import Connection
from tests.support.server import START_S, Server

T = TypeVar("T")
_DONE_S = 300
_PROBE = re.compile(r"\.(swap|case)[0-9a-f]+$")


def at_once(server: Server, *work: Callable[[Connection], T]) -> list[T]:
    """Runs every function in a thread, begun together, and returns what they returned, in
    order. The first exception of any is raised."""
    barrier = threading.Barrier(len(work))
    results: dict[int, T] = {}
    errors: list[BaseException] = []

    def run(number: int, function: Callable[[Connection], T]) -> None:
        with server.connect(timeout_s=30) as connection:
            try:
                connection.options("/")
                barrier.wait(30)
                results[number] = function(connection)
            except BaseException as error:
                errors.append(error)
                barrier.abort()

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(work)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(_DONE_S)
        assert not thread.is_alive(), "a client hangs"
    broken = [error for error in errors if not isinstance(error, threading.BrokenBarrierError)]
    for error in broken or errors:
        raise error
    return [results[number] for number in range(len(work))]


def hidden_files(server: Server) -> list[str]:
    """Returns what the server has left behind under hidden names. Some of several workers may only
    be starting, and try under such names what the disk can: that is waited for, nothing else."""
    deadline = time.monotonic() + START_S
    while True:
        found = [
            os.path.join(folder, name)
            for folder, *names in os.walk(server.root)
            for name in chain(*names)
            if name.startswith(".davserver")
        ]
        if not any(map(_PROBE.search, found)) or time.monotonic() > deadline:
            return sorted(found)
        time.sleep(0.02)


def orphans(server: Server) -> list[str]:
    """Returns the keys with properties or locks at which nothing stands."""
    state = SqliteState(server.state)
    try:
        keys = {key.path.decode() for key in state.keys_with_rows()}
    finally:
        state.close()
    return sorted(key for key in keys if not (server.root / key).exists())


class Until:
    """True until the time is up."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    def __bool__(self) -> bool:
        return time.monotonic() < self._end
