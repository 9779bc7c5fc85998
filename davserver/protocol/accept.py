"""Which face of an answer the client asks for: `Accept` (RFC 9110 section 12.5.1). No I/O here."""

from __future__ import annotations

import re

from davserver.protocol.headers import DavHeaders

JSON = b"application/json"
_XML = (b"application/xml", b"text/xml")
_WEIGHT = re.compile(rb"(?:0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)")
_RANGES_LIMIT = 100
"""Ranges that are looked at: no client sends as many."""


def prefers_json(headers: DavHeaders) -> bool:
    """True when JSON is put strictly above both types of XML, wildcards applied.

    RFC 4918 sections 8.2 and 13 have XML as the default: no `Accept`, `*/*`, or a tie, get it.
    Parameters other than the weight do not matter; what cannot be read is passed over.
    """
    value = headers.joined(b"accept")
    if value is None:
        return False
    ranges: dict[bytes, float] = {}
    for one in value.split(b",", _RANGES_LIMIT)[:_RANGES_LIMIT]:
        kind, *parameters = [part.strip(b" \t").lower() for part in one.split(b";", 10)]
        weight = _weight(parameters)
        if weight is not None:
            ranges.setdefault(kind, weight)
    json = _quality(ranges, JSON)
    return all(json > _quality(ranges, kind) for kind in _XML)


def _weight(parameters: list[bytes]) -> float | None:
    """Returns the weight, 1 where none is given, None where it cannot be read."""
    for parameter in parameters:
        name, _, value = parameter.partition(b"=")
        if name == b"q":
            return float(value) if _WEIGHT.fullmatch(value) else None
    return 1.0


def _quality(ranges: dict[bytes, float], kind: bytes) -> float:
    """The most specific range that matches counts."""
    for name in (kind, kind.partition(b"/")[0] + b"/*", b"*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0
