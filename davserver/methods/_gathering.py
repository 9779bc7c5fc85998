"""A stretch of a request body in memory, as the pieces in which it came: nothing is copied but
what comes in crumbs (RFC 9112 section 6: a body is a stream of octets, however it was cut)."""

from __future__ import annotations

_CRUMB = 16_384
"""Bytes: pieces below this are joined, so that a body of single bytes costs no more memory than
one of whole packets."""
_JOINED = 65_536


class Gathered:
    """Pieces of a body, in order.

    Attributes:
        pieces: none of them changes any more once it is written.
        size: bytes in all of them.
    """

    __slots__ = ("pieces", "size")

    def __init__(self) -> None:
        self.pieces: list[bytes | bytearray] = []
        self.size = 0

    def add(self, piece: bytes) -> None:
        """Takes what came next."""
        self.size += len(piece)
        pieces = self.pieces
        if pieces and len(piece) < _CRUMB:
            last = pieces[-1]
            if isinstance(last, bytearray) and len(last) < _JOINED:
                last += piece
                return
            if len(last) < _CRUMB:
                pieces[-1] = bytearray(last) + piece
                return
        pieces.append(piece)
