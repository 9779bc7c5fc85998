"""Conditional requests (RFC 9110 section 13). No I/O here; `If` of RFC 4918 is in ifheader."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from davserver.errors import BadRequest
from davserver.protocol.dates import parse_http_date
from davserver.protocol.etag import ETagList
from davserver.protocol.headers import DavHeaders
from davserver.protocol.quirks import is_unreadable_none_match_ignored
from davserver.protocol.resourcestate import ResourceState


class Outcome(enum.Enum):
    """What the conditions say of a request; the value is the status."""

    PROCEED = 0
    NOT_MODIFIED = 304
    FAILED = 412


@dataclass(frozen=True, slots=True)
class HttpConditions:
    """The conditional header fields of one request, but for Range and If-Range; None: not sent.

    Dates are seconds since the epoch.
    """

    if_match: ETagList | None = None
    if_none_match: ETagList | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None

    @classmethod
    def from_headers(cls, headers: DavHeaders) -> HttpConditions | None:
        """Returns None when there is nothing to evaluate.

        An invalid date and a list of dates are ignored (RFC 9110 sections 13.1.3, 13.1.4).
        Raises BadRequest (400) for an If-Match that cannot be read: it may guard an update.
        """
        if_match = headers.joined(b"if-match")
        if_none_match = headers.joined(b"if-none-match")
        since, until = headers.get(b"if-modified-since"), headers.get(b"if-unmodified-since")
        if if_match is None and if_none_match is None and since is None and until is None:
            return None
        conditions = cls(
            None if if_match is None else ETagList.from_header(if_match),
            None if if_none_match is None else _none_match(if_none_match),
            _one_date(headers, b"if-modified-since"),
            _one_date(headers, b"if-unmodified-since"),
        )
        return None if conditions == _NOTHING else conditions


_NOTHING = HttpConditions()


def evaluate_http(conditions: HttpConditions, state: ResourceState, *, is_read: bool) -> Outcome:
    """Evaluates in the order of RFC 9110 section 13.2.2.

    Args:
        is_read: the method is GET or HEAD: a false If-None-Match is 304 then, for every other
            method 412 (section 13.1.2), and If-Modified-Since counts.
    """
    if conditions.if_match is not None:
        # RFC 9110 section 13.1.1: "An origin server MUST use the strong comparison function".
        listed = conditions.if_match
        if not (state.exists if listed.is_any else listed.matches_strong(state.etag)):
            return Outcome.FAILED
    elif (
        conditions.if_unmodified_since is not None
        and state.last_modified is not None
        and state.last_modified > conditions.if_unmodified_since
    ):
        return Outcome.FAILED
    if conditions.if_none_match is not None:
        listed = conditions.if_none_match
        if state.exists if listed.is_any else listed.matches_weak(state.etag):
            return Outcome.NOT_MODIFIED if is_read else Outcome.FAILED
    elif (
        is_read
        and conditions.if_modified_since is not None
        and state.last_modified is not None
        and state.last_modified <= conditions.if_modified_since
    ):
        return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def _none_match(value: bytes) -> ETagList:
    try:
        return ETagList.from_header(value)
    except BadRequest:
        if is_unreadable_none_match_ignored(value):
            return ETagList()  # present, so that If-Modified-Since stays out; matches nothing
        raise


def _one_date(headers: DavHeaders, name: bytes) -> int | None:
    values = headers.get_all(name)
    return parse_http_date(values[0]) if len(values) == 1 else None
