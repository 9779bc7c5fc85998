"""Runs `davserver check-url` in this process, and looks at what it leaves."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from davserver.doctor.command import Options, run
from davserver.state.sqlite import SqliteState
from tests.support.server import Server

SIZE = 2 << 20


@dataclass
class Told:
    """What an examination said."""

    code: int = -1
    lines: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def checks(self, verdict: str) -> list[str]:
        """Returns the checks with a verdict: `BROKEN`, `warning`, ..."""
        return [line[9:].split("  ")[0].strip() for line in self.lines if line.startswith(verdict)]


def examine(url: str, **options: Any) -> Told:
    told = Told()
    keys = {"size": SIZE} | options
    told.code = run(Options(url, **keys), told.lines.append, told.complaints.append)
    return told


def remains(server: Server) -> tuple[list[str], int]:
    """Returns what is on the disk, and how many locks hold."""
    state = SqliteState(server.state)
    try:
        locks, _ = state.measure(now=0)
    finally:
        state.close()
    return sorted(path.name for path in server.root.iterdir()), locks
