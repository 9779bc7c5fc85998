"""Range requests (RFC 9110 section 14). No I/O here."""

from __future__ import annotations

import re

from davserver.errors import BadRequest, RangeNotSatisfiable
from davserver.protocol.dates import parse_http_date
from davserver.protocol.etag import ETag

RANGE_LIMIT = 50
"""Ranges of one request; more are no honest reader's (RFC 9110 section 17.15)."""
OVERLAP_LIMIT = 2
"""RFC 9110 section 14.2 names "more than two overlapping ranges" a sign of an attack."""
VOLUME_FACTOR = 2
"""The ranges together may be this many times the representation."""

_USUAL = re.compile(rb"bytes=([0-9]{1,18})-([0-9]{1,18})")
_SPEC = re.compile(rb"([0-9]*)-([0-9]*)")
_HUGE = 10**18

Range = tuple[int, int]
"""First and last byte, both inclusive."""


def parse_range(value: bytes, size: int) -> list[Range] | None:
    """Returns the satisfiable ranges in the order asked for, clipped to the representation.

    Args:
        size: bytes of the representation.

    Returns:
        None when the field is to be ignored: another unit, invalid, or abusive.

    Raises:
        RangeNotSatisfiable: 416 with Content-Range, when not one of the ranges is satisfiable.
    """
    usual = _USUAL.fullmatch(value)
    if usual is not None:
        first, last = int(usual[1]), int(usual[2])
        if first <= last < size:
            return [(first, last)]
    unit, equals, specs = value.partition(b"=")
    # RFC 9110 section 14.2: "An origin server MUST ignore a Range header field that contains a
    # range unit it does not understand"; units are case-insensitive (section 14.1).
    if not equals or unit.strip(b" \t").lower() != b"bytes" or specs.count(b",") >= 2 * RANGE_LIMIT:
        return None
    asked = [spec for spec in (part.strip(b" \t") for part in specs.split(b",")) if spec]
    if not asked or len(asked) > RANGE_LIMIT:
        return None
    ranges: list[Range] = []
    for spec in asked:
        match = _SPEC.fullmatch(spec)
        if match is None:
            return None
        one = _clip(match[1], match[2], size)
        if one is None:
            return None
        if one[0] <= one[1]:
            ranges.append(one)
    if not ranges:
        raise RangeNotSatisfiable(
            f"no satisfiable range in {value[:200]!r}",
            headers=[(b"content-range", b"bytes */%d" % size)],
        )
    return None if _is_abusive(ranges, size) else ranges


def evaluate_if_range(value: bytes, etag: ETag | None, last_modified: int, now: int) -> bool:
    """True when Range counts (RFC 9110 section 13.1.5). Times are seconds since the epoch.

    The tag is compared strongly; a date must be Last-Modified exactly, and old enough to be a
    strong validator (section 8.8.2.2): two versions within one second share it.
    """
    if b'"' in value:
        try:
            return etag is not None and ETag.from_header(value).matches_strong(etag)
        except BadRequest:
            return False
    return parse_http_date(value, now=now) == last_modified and now - last_modified > 1


def _clip(first: bytes, last: bytes, size: int) -> Range | None:
    """Returns the range; one whose last byte is before its first is not satisfiable; None when
    the specifier is invalid or cannot be expressed in Content-Range."""
    if not first:
        if not last:
            return None
        length = _number(last)
        if length and not size:
            # RFC 9110 section 14.1.2 calls it satisfiable: the whole of nothing, which no
            # Content-Range can say. A plain 200 does.
            return None
        return max(0, size - length), size - 1
    begin = _number(first)
    if last and _number(last) < begin:
        return None
    if begin >= size:
        return 0, -1
    return begin, min(_number(last), size - 1) if last else size - 1


def _number(digits: bytes) -> int:
    """Reads decimals of any length; beyond what a file can have, the exact value is all one."""
    digits = digits.lstrip(b"0") or b"0"
    return int(digits) if len(digits) <= 18 else _HUGE


def _is_abusive(ranges: list[Range], size: int) -> bool:
    if len(ranges) == 1:
        return False
    overlaps = 0
    end = -1
    total = 0
    for first, last in sorted(ranges):
        total += last - first + 1
        overlaps += first <= end
        end = max(end, last)
    return overlaps >= OVERLAP_LIMIT or total > VOLUME_FACTOR * size
