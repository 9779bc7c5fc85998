"""Which tests run where, and which begin, when pytest-xdist's workers run them side by side."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

WHOLE = ("clients", "proxies")
"""Folders that one worker runs from end to end: their programs have settings, caches and mounts
of the user, which two of a kind would share."""
FIRST = ("clients", "faults", "concurrency", "service", "security", "doctor", "proxies", "page", "")
"""Folders with much to do, "" for what is in none. What is short comes last, so that all workers
end together."""


class SideBySide(LoadFileScheduling):  # type: ignore[misc]
    """Gives out units of tests in the order in which they were collected."""

    def __init__(self, config: pytest.Config, log: Producer | None = None) -> None:
        # It would begin with those of the most tests.
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)


def unit_of(nodeid: str) -> str:
    """Returns the file of a test, for the sake of what the tests of a file share, or its folder."""
    file, folder = _where(nodeid)
    return folder if folder in WHOLE else file


def place_of(nodeid: str) -> int:
    """Returns where a test stands in the order of `FIRST`."""
    _, folder = _where(nodeid)
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


def _where(nodeid: str) -> tuple[str, str]:
    """Returns a test's file, and its folder in tests/; "" for none."""
    file = nodeid.partition("::")[0]
    parts = PurePosixPath(file).parts
    return file, parts[1] if len(parts) > 2 else ""
