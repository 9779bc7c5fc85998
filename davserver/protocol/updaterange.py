"""`X-Update-Range`: which bytes of a file a PATCH writes (SabreDAV's partial update). No I/O
here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from davserver.errors import BadRequest, RangeNotSatisfiable

PARTIAL_UPDATE = b"application/x-sabredav-partialupdate"
_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*(?:([0-9]{1,18})-([0-9]{1,18})?|-([0-9]{1,18}))")


@dataclass(frozen=True, slots=True)
class UpdateRange:
    """Where a body goes in a file.

    Attributes:
        first: its first byte; None: counted from the end.
        from_end: bytes before the end of the file; 0 appends.
    """

    first: int | None = None
    from_end: int = 0

    @classmethod
    def from_header(cls, value: bytes, *, length: int) -> UpdateRange:
        """Reads `bytes=a-b`, `bytes=a-`, `bytes=-n` or `append`.

        Args:
            length: bytes of the body.

        Raises BadRequest (400) for anything else; RangeNotSatisfiable (416) where the end is
        before the beginning, or the body has another length than the range.
        """
        text = value.strip(b" \t").lower()
        if text == b"append":
            return cls()
        match = _RANGE.fullmatch(text)
        if match is None:
            raise BadRequest(f"not an X-Update-Range: {value[:200]!r}")
        first, last, from_end = match.groups()
        if from_end is not None:
            if not int(from_end):
                raise RangeNotSatisfiable("the last 0 bytes are none")
            return cls(from_end=int(from_end))
        if last is not None and int(last) - int(first) + 1 != length:
            raise RangeNotSatisfiable(f"{value[:200]!r} is no range of {length} bytes")
        return cls(first=int(first))

    def start(self, size: int) -> int:
        """Returns where it begins in a file of `size` bytes; a file shorter than `from_end` is
        written from its first byte on."""
        return max(0, size - self.from_end) if self.first is None else self.first
