"""Which folder the rows of a state are of."""

from __future__ import annotations

from typing import NamedTuple

from davserver.errors import StateFailure


class Served(NamedTuple):
    """The folder that rows are of.

    Attributes:
        root: its id in keys.
        path: where it is, resolved.
        identity: (device, inode, birth_ns), which stay when it is moved or mounted elsewhere.
    """

    root: str
    path: str
    identity: tuple[int, int, int | None]


class OtherFolder(StateFailure):
    """The rows are those of another folder."""
