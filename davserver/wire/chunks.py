"""The chunked transfer coding, strictly (RFC 9112 section 7.1). No I/O here.

The parser of heads could read it too, but doesn't tell where a body ends: what follows, in the
same piece, would go unchecked.
"""

from __future__ import annotations

import enum
import re

LINE_LIMIT = 4_096
"""Bytes of a chunk's first line: nobody uses chunk extensions, but to fill memory."""
TRAILER_LIMIT = 65_536
"""Bytes of all trailer fields."""

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;[^\r\n\x00]*)?")
_FIELD = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\r\n\x00]*")


class MalformedChunk(ValueError):
    """The body does not follow the grammar: where it ends is not to be known."""


class _Next(enum.Enum):
    SIZE = 0
    DATA = 1
    DATA_END = 2
    TRAILER = 3


class ChunkedBody:
    """Decodes one body. Trailer fields are checked and thrown away (RFC 9110 section 6.5.1)."""

    __slots__ = ("_left", "_line", "_next", "_trailers")

    def __init__(self) -> None:
        self._next = _Next.SIZE
        self._left = 0
        self._line = b""
        self._trailers = 0

    def feed(self, data: bytes) -> tuple[list[bytes], bytes | None]:
        """Takes a piece of the wire. Raises MalformedChunk (400).

        Returns:
            Pieces of the body, and what follows the body; None while it is not at its end.
        """
        pieces: list[bytes] = []
        at = 0
        while at < len(data):
            if self._next is _Next.DATA:
                piece = data[at : at + self._left]
                at += len(piece)
                self._left -= len(piece)
                pieces.append(piece)
                if not self._left:
                    self._next = _Next.DATA_END
                continue
            end = data.find(b"\n", at) + 1
            line = self._line + data[at : end or len(data)]
            if len(line) > LINE_LIMIT:
                raise MalformedChunk("a line is too long")
            if not end:
                self._line = line
                break
            self._line = b""
            at = end
            if not line.endswith(b"\r\n"):
                raise MalformedChunk("a line does not end with CR LF")
            if self._take_line(line[:-2]):
                return pieces, data[at:]
        return pieces, None

    def _take_line(self, line: bytes) -> bool:
        """Returns True for the empty line that ends the body."""
        if self._next is _Next.DATA_END:
            if line:
                raise MalformedChunk("a chunk is longer than its size")
            self._next = _Next.SIZE
        elif self._next is _Next.SIZE:
            found = _SIZE.fullmatch(line)
            if found is None:
                raise MalformedChunk("a chunk has no size")
            self._left = int(found[1], 16)
            self._next = _Next.DATA if self._left else _Next.TRAILER
        elif not line:
            return True
        else:
            self._trailers += len(line)
            if self._trailers > TRAILER_LIMIT or _FIELD.fullmatch(line) is None:
                raise MalformedChunk("the trailer fields are too many, or malformed")
        return False
