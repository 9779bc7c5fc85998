"""A request as our own server hands it to the straight way: all of it is here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from davserver.asgi import Scope
from davserver.protocol.headers import DavHeaders

Lines = Callable[[], bytes]


class Asked(NamedTuple):
    """One request.

    Attributes:
        method, target: as they were sent.
        fields: the header fields without those of `varying`; the same object for each request
            that has the same ones.
        varying: the fields that are another with each request, but Content-Length.
        peer: what an ASGI scope says of the other end: `client` and `scheme`, and `server`.
        lines: gives the header lines of every answer. Asked for last: nothing that is told may be
            later than its Date (RFC 9110 section 8.8.2.1).
    """

    method: bytes
    target: bytes
    fields: DavHeaders
    varying: Sequence[tuple[bytes, bytes]]
    body: bytes
    peer: Scope
    lines: Lines


AtOnce = Callable[[Asked], bytes | bytearray | None]
"""Returns a whole answer; None for what has to be asked in the usual way."""
