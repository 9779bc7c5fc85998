"""What a State may offer beyond the seam (base.py)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

from davserver.protocol.locks import Lock
from davserver.protocol.names import QName
from davserver.protocol.path import Key


class Stored(NamedTuple):
    """What is stored of one resource: its dead properties, and the locks in whose scope it is."""

    properties: Mapping[QName, bytes]
    locks: Sequence[Lock]


@runtime_checkable
class DirectState(Protocol):
    """All that has to be known of a resource before it is told of, in one step."""

    def settled(self, key: Key, *, now: float) -> Stored | None:
        """Returns what is stored of a resource; None where `has_changes`: then there is a change
        to be recovered first."""


@runtime_checkable
class Measured(Protocol):
    """Numbers about a State, for who watches the server."""

    def gate_counts(self) -> tuple[int, float, int]:
        """Returns how often this process found the gate held, the seconds that it waited, and
        how often in vain (503). Costs nothing."""

    def measure(self, *, now: float) -> tuple[int, int]:
        """Returns the number of locks that hold, and the bytes of the store on the disk."""
