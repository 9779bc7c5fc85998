"""What a server's processes have open, and which they are (Linux)."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from tests.support.server import Server

LIMIT_S = 10


def serving(server: Server) -> list[int]:
    """Returns the pids that answer requests: the workers, else the server itself."""
    children = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
    return [int(pid) for pid in children] or [server.pid]


def descriptors(pid: int) -> list[str]:
    """Returns what each open descriptor of a process is."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue  # closed meanwhile
    return found


def below(pid: int, folder: Path) -> list[str]:
    """Returns the open files of a process that are, or were, in the folder, not the folder."""
    return [name for name in descriptors(pid) if name.startswith(f"{folder}/")]


def await_true(condition: Callable[[], bool]) -> bool:
    """Polls until another process has come so far; False when that takes too long."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
