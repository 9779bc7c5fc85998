"""Dictionaries of structured field values (RFC 9651 sections 3.2 and 4.2.2). No I/O here."""

from __future__ import annotations

import base64
import re

from davserver.errors import BadRequest

Bare = bytes | int | None
"""What a member is: a byte sequence, an integer, or (None) anything else that is well-formed."""

_KEY = r"[a-z*][a-z0-9_\-.*]*+"
_BYTES = r":[A-Za-z0-9+/=]*+:"
_INTEGER = r"-?[0-9]{1,15}(?![0-9.])"
_OTHERS = (
    r"-?[0-9]{1,12}\.[0-9]{1,3}(?![0-9])",
    r'"(?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*+"',
    r"[A-Za-z*][!#$%&'*+\-.^_`|~0-9A-Za-z:/]*+",
    r"\?[01]",
    r"@-?[0-9]{1,15}(?![0-9.])",
    r'%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*+"',
)
_BARE = "(?:" + "|".join((_BYTES, _INTEGER, *_OTHERS)) + ")"
_PARAMETERS = rf"(?:;\x20*+{_KEY}(?:={_BARE})?)*+"
_ITEM = _BARE + _PARAMETERS
_INNER_LIST = rf"\(\x20*+(?:{_ITEM}(?:\x20++{_ITEM})*\x20*+)?\){_PARAMETERS}"
_MEMBER = re.compile(
    rf"(?P<key>{_KEY})(?:=(?:(?P<bytes>{_BYTES}){_PARAMETERS}|(?P<integer>{_INTEGER}){_PARAMETERS}"
    rf"|{_ITEM}|{_INNER_LIST})|{_PARAMETERS})"
)
_COMMA = re.compile(r"[ \t]*+,[ \t]*+")


def parse_dictionary(name: str, value: bytes) -> dict[str, Bare]:
    """Reads the value of a field that is a Dictionary; parameters are passed over, of two members
    with one key the last counts.

    Raises BadRequest (400) where it is none: section 4.2 has the field ignored or the whole
    message refused, and who sends a digest must not take it for checked.
    """
    text = value.decode("latin-1").strip(" ")
    members: dict[str, Bare] = {}
    position = 0
    while position < len(text):
        match = _MEMBER.match(text, position)
        if match is None:
            raise _malformed(name, value)
        members[match["key"]] = _bare(match)
        position = match.end()
        if position == len(text):
            break
        comma = _COMMA.match(text, position)
        if comma is None or comma.end() == len(text):
            raise _malformed(name, value)
        position = comma.end()
    return members


def _bare(match: re.Match[str]) -> Bare:
    if match["integer"] is not None:
        return int(match["integer"])
    if match["bytes"] is None:
        return None
    # Section 4.2.7: neither missing padding nor bits in it are an error.
    encoded = match["bytes"].strip(":").rstrip("=")
    if "=" in encoded or len(encoded) % 4 == 1:
        return None
    return base64.b64decode(encoded + "=" * (-len(encoded) % 4))


def _malformed(name: str, value: bytes) -> BadRequest:
    return BadRequest(f"{name} is no dictionary of structured fields: {value[:200]!r}")
