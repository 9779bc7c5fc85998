"""Request bodies as values: propfind, propertyupdate, lockinfo (RFC 4918 section 14). No I/O.

Section 17: what is unknown is processed as if it were absent; A.3 and A.4 show where that leaves a
body that says nothing, or two things at once: 400.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from davserver.errors import BadRequest, UnprocessableContent, UnsupportedMediaType
from davserver.protocol.deadprops import CANONICAL_LIMIT, canonical_element
from davserver.protocol.locks import LockScope
from davserver.protocol.names import PropertyChange, QName, dav
from davserver.protocol.xmlguard import DEFAULT_LIMITS, Element, XmlLimits, parse_xml

_ALLPROP, _PROPNAME, _PROP, _INCLUDE = map(dav, ("allprop", "propname", "prop", "include"))
_SET, _REMOVE = dav("set"), dav("remove")
_SCOPES = {dav("exclusive"): LockScope.EXCLUSIVE, dav("shared"): LockScope.SHARED}
_WRITE = dav("write")

OWNER_LIMIT = 16_384
"""Characters of a lock's owner: `lockdiscovery` repeats it for every member (413)."""


class PropfindKind(enum.Enum):
    """What a PROPFIND asks for (RFC 4918 section 14.20)."""

    ALLPROP = "allprop"
    PROPNAME = "propname"
    PROP = "prop"


@dataclass(frozen=True, slots=True)
class PropfindRequest:
    """`names` are those of `prop`, or of `include` beside `allprop`: each once, in order."""

    kind: PropfindKind
    names: tuple[QName, ...] = ()


@dataclass(frozen=True, slots=True)
class LockInfo:
    """RFC 4918 section 14.11. `owner_xml` is the `owner` element in canonical form, or b""."""

    scope: LockScope
    owner_xml: bytes = b""


def parse_propfind(
    body: bytes, *, charset: str | None = None, limits: XmlLimits = DEFAULT_LIMITS
) -> PropfindRequest:
    """Reads a PROPFIND body; an empty one asks for `allprop` (section 9.1).

    Raises BadRequest (400), and what `parse_xml` raises.
    """
    if not body:
        return PropfindRequest(PropfindKind.ALLPROP)
    root = _root(body, "propfind", charset, limits)
    asked = [child for child in root.elements if child.name in (_ALLPROP, _PROPNAME, _PROP)]
    if len(asked) != 1:
        raise BadRequest("propfind needs exactly one of prop, propname and allprop")
    kind = PropfindKind(asked[0].name.rpartition("}")[2])
    if kind is PropfindKind.PROP:
        return PropfindRequest(kind, _names(asked))
    if kind is PropfindKind.ALLPROP:
        return PropfindRequest(kind, _names(root.find_all(_INCLUDE)))
    return PropfindRequest(kind)


def parse_proppatch(
    body: bytes, *, charset: str | None = None, limits: XmlLimits = DEFAULT_LIMITS
) -> list[PropertyChange]:
    """Returns the instructions in document order (section 9.2, erratum 1371).

    Raises BadRequest (400), and what `parse_xml` raises.
    """
    if not body:
        raise BadRequest("PROPPATCH needs a body")
    root = _root(body, "propertyupdate", charset, limits)
    instructions = [child for child in root.elements if child.name in (_SET, _REMOVE)]
    if not instructions:
        raise BadRequest("propertyupdate has neither set nor remove")
    return _changes(instructions, max(CANONICAL_LIMIT, 2 * len(body)))


def parse_mkcol(
    body: bytes, *, charset: str | None = None, limits: XmlLimits = DEFAULT_LIMITS
) -> list[PropertyChange]:
    """Returns what an extended MKCOL sets, in document order (RFC 5689 section 3); nothing without
    a body.

    Raises BadRequest (400), UnsupportedMediaType (415) for another document, which RFC 4918
    section 9.3 leaves to others to define, and what `parse_xml` raises.
    """
    if not body:
        return []
    root = parse_xml(body, charset=charset, limits=limits)
    if root.name != dav("mkcol"):
        raise UnsupportedMediaType(f"the body must be {{DAV:}}mkcol, not {root.name!r}")
    instructions = root.find_all(_SET)
    if not instructions:
        raise BadRequest("mkcol has no set")
    return _changes(instructions, max(CANONICAL_LIMIT, 2 * len(body)))


def is_plain_collection(resourcetype: bytes) -> bool:
    """True for the value of `resourcetype`, in canonical form, that every collection has."""
    return {child.name for child in parse_xml(resourcetype).elements} == {dav("collection")}


def _changes(instructions: Iterable[Element], left: int) -> list[PropertyChange]:
    """`left` are the characters that all values may have."""
    changes: list[PropertyChange] = []
    for instruction in instructions:
        props = instruction.find_all(_PROP)
        if not props:
            raise BadRequest("set and remove need a prop element")
        for element in (child for prop in props for child in prop.elements):
            # Section 14.23: in `remove` only the names count.
            value = None
            if instruction.name == _SET:
                value = canonical_element(element, limit=left)
                left -= len(value)
            changes.append(PropertyChange(element.name, value))
    return changes


def parse_lockinfo(
    body: bytes, *, charset: str | None = None, limits: XmlLimits = DEFAULT_LIMITS
) -> LockInfo:
    """Reads the body of a LOCK that asks for a new lock.

    Raises BadRequest (400) when scope or type are missing, UnprocessableContent (422) for ones
    that RFC 4918 does not define, and what `parse_xml` raises.
    """
    root = _root(body, "lockinfo", charset, limits)
    scope = _only(root, "lockscope")
    lock_type = _only(root, "locktype")
    if scope not in _SCOPES:
        raise UnprocessableContent(f"the lock scope {scope!r} is not supported")
    if lock_type != _WRITE:
        raise UnprocessableContent(f"the lock type {lock_type!r} is not supported")
    owners = root.find_all(dav("owner"))
    if len(owners) > 1:
        raise BadRequest("lockinfo has more than one owner")
    owner = canonical_element(owners[0], limit=OWNER_LIMIT) if owners else b""
    return LockInfo(_SCOPES[scope], owner)


def _root(body: bytes, local: str, charset: str | None, limits: XmlLimits) -> Element:
    root = parse_xml(body, charset=charset, limits=limits)
    if root.name != dav(local):
        raise BadRequest(f"the body must be {{DAV:}}{local}, not {root.name!r}")
    return root


def _names(containers: Iterable[Element]) -> tuple[QName, ...]:
    found = dict.fromkeys(child.name for one in containers for child in one.elements)
    return tuple(found)


def _only(root: Element, local: str) -> QName:
    """The name of the one element inside the one child called `local`."""
    holders = root.find_all(dav(local))
    if len(holders) != 1:
        raise BadRequest(f"lockinfo needs exactly one {local}")
    values = {child.name for child in holders[0].elements}
    # Section 17: beside one that is known, unknown ones are processed as if absent.
    known = values & {*_SCOPES, _WRITE}
    chosen = known or values
    if len(chosen) != 1:
        raise BadRequest(f"{local} needs exactly one element")
    return chosen.pop()
