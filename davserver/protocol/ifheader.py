"""The `If` header field (RFC 4918 section 10.4): parsed by a linear scanner, evaluated purely.

Never ignored where it cannot be read: it may carry the only condition that keeps an update from
being lost, so that everything unexpected is 400.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from davserver.errors import BadRequest
from davserver.protocol.etag import ETag
from davserver.protocol.headers import parse_reference
from davserver.protocol.path import DavPath
from davserver.protocol.resourcestate import ResourceState

VALUE_LIMIT = 8192
"""Bytes. 100 lock tokens of the usual length fill less than 5,000."""
LIST_LIMIT = 100
CONDITION_LIMIT = 1000

NO_LOCK = "DAV:no-lock"
"""A state token that never matches (RFC 4918 section 10.4.8)."""

_BLANK = re.compile(rb"[ \t]+")
_URL = re.compile(rb"<([^<>\x00-\x1f\x7f]*)>")
_TOKEN = re.compile(rb"<([\x21-\x3b=\x3f-\x7e]+)>")
_TAG = re.compile(rb'\[[ \t]*((?:W/)?"[^"]*")[ \t]*\]')
_NOT = re.compile(rb"not(?=[ \t<\[])", re.IGNORECASE)
_SOLE = re.compile(rb"[ \t]*\([ \t]*%b[ \t]*\)[ \t]*" % _TOKEN.pattern)
_ROOT = DavPath(())


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition: exactly one of `token` and `etag` is set."""

    negated: bool
    token: str | None = None
    etag: ETag | None = None


@dataclass(frozen=True, slots=True)
class IfList:
    """Conditions that are ANDed.

    Attributes:
        resource: the tagged URL's whole path, None for the Request-URI.
        foreign: the tag names another server: nothing is mapped there, as far as we know.
    """

    resource: DavPath | None
    foreign: bool
    conditions: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class IfHeader:
    """Lists that are ORed."""

    lists: tuple[IfList, ...]

    def submitted_tokens(self) -> frozenset[str]:
        """Returns every state token in the header.

        RFC 4918 section 10.4.1: a token is submitted by standing here, whether its list is true,
        false, negated or never looked at, and whatever resource it is tagged with.
        """
        sole = self.sole_token
        if sole is not None and sole != NO_LOCK:
            return frozenset((sole,))
        return frozenset(
            condition.token
            for one in self.lists
            for condition in one.conditions
            if condition.token is not None and condition.token != NO_LOCK
        )

    @property
    def sole_token(self) -> str | None:
        """What stands in `(<token>)`, None where there is more, or something else."""
        if len(self.lists) != 1:
            return None
        only = self.lists[0]
        if only.resource is not None or only.foreign or len(only.conditions) != 1:
            return None
        condition = only.conditions[0]
        return None if condition.negated else condition.token

    def is_about(self, segments: tuple[str, ...]) -> bool:
        """True when no list looks at another resource than the one at this path.

        Args:
            segments: of the whole path, as a tag has it.
        """
        return all(
            one.foreign or one.resource is None or one.resource.segments == segments
            for one in self.lists
        )

    @property
    def is_only_tokens(self) -> bool:
        """True when no condition is an entity-tag."""
        return all(condition.etag is None for one in self.lists for condition in one.conditions)


def parse_if(values: Sequence[bytes], *, authorities: Collection[bytes]) -> IfHeader | None:
    """Reads the field.

    Args:
        values: one for each line of the field; none gives None.
        authorities: host[:port] that are this server.

    Raises:
        BadRequest: 400, two lines, tagged and untagged lists mixed, an empty list, a relative
            reference, more than the limits, anything else out of the grammar.
    """
    if not values:
        return None
    if len(values) > 1:
        raise BadRequest("header field sent more than once: b'if'")
    if len(values[0]) > VALUE_LIMIT:
        raise BadRequest(f"if header has {len(values[0])} bytes, more than {VALUE_LIMIT}")
    sole = _SOLE.fullmatch(values[0])
    if sole is not None:
        # What nearly all clients send needs no scanner.
        condition = Condition(False, sole[1].decode("ascii"))
        return IfHeader((IfList(None, False, (condition,)),))
    return _Scanner(values[0], authorities).header()


def evaluate_if(header: IfHeader, lookup: Callable[[IfList], ResourceState]) -> bool:
    """True when any list is true (RFC 4918 section 10.4.3); false becomes 412.

    Args:
        lookup: gives the state of a list's resource; called once a resource, never for foreign
            ones.
    """
    states: dict[DavPath | None, ResourceState] = {}
    for one in header.lists:
        if one.foreign:
            state = _UNMAPPED
        elif one.resource in states:
            state = states[one.resource]
        else:
            state = states[one.resource] = lookup(one)
        if all(_holds(condition, state) for condition in one.conditions):
            return True
    return False


_UNMAPPED = ResourceState(exists=False)


def _holds(condition: Condition, state: ResourceState) -> bool:
    if condition.etag is not None:
        # RFC 4918 section 10.4.4 leaves the function open; strong, as the tag guards an update.
        matches = (
            state.exists and state.etag is not None and condition.etag.matches_strong(state.etag)
        )
    else:
        matches = condition.token != NO_LOCK and condition.token in state.lock_tokens
    return matches is not condition.negated


class _Scanner:
    """Walks over the value once, from left to right."""

    def __init__(self, value: bytes, authorities: Collection[bytes]) -> None:
        self._value = value
        self._authorities = authorities
        self._position = 0
        self._conditions = 0

    def header(self) -> IfHeader:
        lists: list[IfList] = []
        resource: DavPath | None = None
        foreign = False
        tagged = self._peek() == b"<"
        while self._peek():
            if tagged and self._peek() == b"<":
                resource, foreign = self._resource_tag()
                # RFC 4918 section 10.4.2: Tagged-list = Resource-Tag 1*List
            lists.append(IfList(resource, foreign, self._list()))
            if len(lists) > LIST_LIMIT:
                raise BadRequest(f"if header has more than {LIST_LIMIT} lists")
        if not lists:
            raise BadRequest("if header is empty")
        return IfHeader(tuple(lists))

    def _resource_tag(self) -> tuple[DavPath, bool]:
        value = self._take(_URL, "a resource tag")[1].strip(b" \t")
        if b"://" not in value and not value.startswith(b"/"):
            if b":" not in value:
                raise BadRequest("if header has a relative reference")
            return _ROOT, True  # an absolute URI of another kind (urn:, mailto:)
        path, authority = parse_reference(
            value, authorities=self._authorities, field="resource tag of the if header"
        )
        return path, authority is not None

    def _list(self) -> tuple[Condition, ...]:
        self._expect(b"(")
        conditions: list[Condition] = []
        while self._peek() != b")":
            conditions.append(self._condition())
            self._conditions += 1
            if self._conditions > CONDITION_LIMIT:
                raise BadRequest(f"if header has more than {CONDITION_LIMIT} conditions")
        self._expect(b")")
        if not conditions:
            raise BadRequest("if header has an empty list")
        return tuple(conditions)

    def _condition(self) -> Condition:
        negated = _NOT.match(self._value, self._position)
        if negated is not None:
            self._position = negated.end()
        if self._peek() == b"[":
            tag = ETag.from_header(self._take(_TAG, "an entity-tag")[1])
            return Condition(negated is not None, etag=tag.without_coding())
        token = self._take(_TOKEN, "a state token")[1]
        return Condition(negated is not None, token=token.decode("ascii"))

    def _peek(self) -> bytes:
        """Skips blanks and returns the next byte, b"" at the end."""
        blank = _BLANK.match(self._value, self._position)
        if blank is not None:
            self._position = blank.end()
        return self._value[self._position : self._position + 1]

    def _expect(self, mark: bytes) -> None:
        if self._peek() != mark:
            raise BadRequest(f"if header: {mark!r} expected at byte {self._position}")
        self._position += 1

    def _take(self, pattern: re.Pattern[bytes], what: str) -> re.Match[bytes]:
        match = pattern.match(self._value, self._position)
        if match is None:
            raise BadRequest(f"if header: {what} expected at byte {self._position}")
        self._position = match.end()
        return match
