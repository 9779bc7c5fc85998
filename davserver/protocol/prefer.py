"""Preferences of the client: `Prefer` (RFC 7240, RFC 8144). No I/O here.

A preference never makes a request fail: what is unknown or cannot be read is passed over.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

from davserver.protocol.headers import DavHeaders

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_QUOTED = rb'"(?:[^"\\]|\\.)*+"'
_WORD = rb"(?:" + _TOKEN + rb"|" + _QUOTED + rb")"
_BLANKS = rb"[ \t]*+"
_PARAMETER = _TOKEN + rb"(?:" + _BLANKS + rb"=" + _BLANKS + _WORD + rb")?+"
_PREFERENCE = re.compile(
    rb"(?P<name>"
    + _TOKEN
    + rb")(?:"
    + _BLANKS
    + rb"="
    + _BLANKS
    + rb"(?P<value>"
    + _WORD
    + rb"))?+"
    # Erratum 4439: a semicolon may stand without a parameter.
    rb"(?:" + _BLANKS + rb";(?:" + _BLANKS + _PARAMETER + rb")?+)*+" + _BLANKS + rb"(?=,|\Z)"
)
# A quotation that nobody closes takes the rest with it: nothing is looked at twice.
_TO_COMMA = re.compile(rb'(?:[^,"]++|' + _QUOTED + rb'|".*+)*+', re.DOTALL)
_SEPARATORS = re.compile(rb"[, \t]*+")
_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_SECONDS = re.compile(rb"[0-9]{1,9}")


MINIMAL, REPRESENTATION = b"return=minimal", b"return=representation"
NO_ROOT = b"depth-noroot"


class Return(enum.Enum):
    """What the client would have as the answer (RFC 7240 section 4.2)."""

    MINIMAL = "minimal"
    REPRESENTATION = "representation"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences of one request that this server knows.

    Attributes:
        returns: None, too, for a request that asks for both at once.
        without_root: `depth-noroot` (RFC 8144 section 4): the Request-URI itself is left out.
        is_async: `respond-async` (RFC 7240 section 4.1).
        wait_s: `wait` (section 4.3), in seconds.
    """

    returns: Return | None = None
    without_root: bool = False
    is_async: bool = False
    wait_s: int | None = None

    @classmethod
    def from_headers(cls, headers: DavHeaders) -> Preferences:
        """Reads every line of `Prefer`; of two preferences with one name the first counts."""
        value = headers.joined(b"prefer")
        if value is None:
            return _NONE
        found: dict[bytes, bytes] = {}
        returns: set[bytes] = set()
        for name, word in _read(value):
            found.setdefault(name, word)
            if name == b"return":
                returns.add(word)
        wait = found.get(b"wait", b"")
        return cls(
            returns=_returns(found.get(b"return"), returns),
            without_root=b"depth-noroot" in found,
            is_async=b"respond-async" in found,
            wait_s=int(wait) if _SECONDS.fullmatch(wait) else None,
        )


_NONE = Preferences()


def applied(*preferences: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Returns the fields of an answer that some preferences made another (section 3)."""
    if not preferences:
        return ()
    return (b"preference-applied", b", ".join(preferences)), (b"vary", b"Prefer")


def _returns(first: bytes | None, every: set[bytes]) -> Return | None:
    # Section 4.2: "a request containing both preferences can be treated as though neither were
    # specified."
    if every >= {b"minimal", b"representation"}:
        return None
    return next((one for one in Return if one.value.encode() == first), None)


def _read(value: bytes) -> list[tuple[bytes, bytes]]:
    """Returns name, in lower case, and value of each preference; b"" is none."""
    found: list[tuple[bytes, bytes]] = []
    position = 0
    while True:
        start = _SEPARATORS.match(value, position)
        assert start is not None
        position = start.end()
        if position == len(value):
            return found
        match = _PREFERENCE.match(value, position)
        if match is not None:
            found.append((match["name"].lower(), _unquote(match["value"] or b"")))
            position = match.end()
            continue
        rest = _TO_COMMA.match(value, position)
        assert rest is not None
        position = rest.end()


def _unquote(word: bytes) -> bytes:
    return _PAIR.sub(rb"\1", word[1:-1]) if word.startswith(b'"') else word
