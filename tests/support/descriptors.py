"""What this process has open, where /proc tells.

The collector of garbage may close what an earlier test left, at any moment: tests look for what
is open after something and was not before, never whether the two are equal.
"""

from __future__ import annotations

import os
from contextlib import suppress

_FOLDER = "/proc/self/fd"
can_tell = os.path.isdir(_FOLDER)


def open_descriptors() -> set[tuple[str, str]]:
    """Returns their numbers, with what they lead to; nothing where /proc does not tell."""
    found = set()
    for number in os.listdir(_FOLDER) if can_tell else ():
        with suppress(FileNotFoundError):  # what listed them is closed
            found.add((number, os.readlink(f"{_FOLDER}/{number}")))
    return found
