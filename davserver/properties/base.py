"""Live properties: the record, the registry, and the plan that a PROPFIND body is compiled to.

A live property is one `LiveProperty` record in a module here (or in an extension); allprop,
propname, 404 and the 403 of PROPPATCH follow from it. Rendering is the hot path of every listing:
a Plan is compiled once for a request body and kept, and gives a member's whole response as bytes.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from davserver.errors import Forbidden
from davserver.protocol.deadprops import element_text, name_only
from davserver.protocol.locks import Lock
from davserver.protocol.multistatus import PropStat
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.xmlread import PropfindKind, PropfindRequest, parse_propfind
from davserver.storage.base import Kind, Quota, Stat
from davserver.storage.batches import StatColumns

PRIVATE = "{davserver:}"
"""Names in this namespace are the server's own: never listed, set or copied."""
CREATED = QName(f"{PRIVATE}created")
"""The creation time that outlives a replacement of the file: decimal nanoseconds."""
_CACHED_BODY = 4096
_CACHED_PLANS = 256
_CACHED_NAMES = 8_192
"""Bytes: each name is spelled out with its namespace, so that those of a short body take a MB."""
_NONE: Mapping[QName, bytes] = {}


class Needs(enum.Flag):
    """What must be fetched before a property can be rendered."""

    STAT = 0
    LOCKS = enum.auto()
    QUOTA = enum.auto()
    DEAD = enum.auto()
    IDENTITY = enum.auto()
    """With DEAD."""
    PARENTS = enum.auto()


@dataclass(slots=True)
class Resource:
    """What a renderer sees of a resource. A walk fills the same object anew for each member.

    Attributes:
        href: percent-encoded, with the mount prefix; ends with "/" on a collection.
        name: last segment as stored, "" for the root.
        principal: name of the asker; "" is the anonymous principal.
        base: quoted mount prefix without trailing slash.
        now: seconds since the epoch.
        can_write: the asker may write here.
        locks, dead, quota, parents: only as far as the plan needs them; the last is the inner XML
            of `parent-set`.
        hides_supportedlock: leaves that property out (quirks.py).
    """

    href: bytes
    name: str
    stat: Stat
    principal: str
    base: bytes
    now: float
    can_write: bool
    locks: Sequence[Lock] = ()
    dead: Mapping[QName, bytes] = field(default_factory=lambda: _NONE)
    quota: Quota | None = None
    hides_supportedlock: bool = False
    parents: bytes | None = None


@dataclass(frozen=True, slots=True)
class Members:
    """What a column sees: members of one collection and of one kind, with nothing stored of them
    and no lock on them.

    Attributes: as those of Resource.
    """

    kind: Kind
    names: Sequence[str]
    stats: StatColumns
    now: float
    can_write: bool
    hides_supportedlock: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What setting or removing a live property comes to: rows for the store of dead properties,
    and attributes (`mtime_ns`, `executable`) for the storage."""

    rows: tuple[PropertyChange, ...] = ()
    attributes: tuple[tuple[str, int], ...] = ()


Render = Callable[[Resource], bytes | None]
Prepare = Callable[[Resource, bytes | None], Prepared]


class Filled(NamedTuple):
    """Elements that differ in a few values: `form % row` for each row of the columns."""

    form: bytes
    columns: Sequence[Sequence[int]]


Column = Callable[[Members], bytes | Filled | Sequence[bytes | None] | None]
"""Renders many members at once, each as `render` does: one element for all of them, one each, or
what each is made of; None where none of them has the property."""


@dataclass(frozen=True, slots=True)
class LiveProperty:
    """One live property.

    Attributes:
        render: the whole element; None: not defined on this resource (404). When there is no
            renderer at all, the property is read as a dead one and only setting it is special.
        kinds: kinds of resource that can have it.
        needs: what must be fetched to render it.
        in_allprop: RFC 4918 section 14.2.
        prepare: validates a new value (the element in canonical form, None to remove), changes
            nothing yet, raises Conflict (409) or Forbidden (403). Without it the property is
            protected: 403 with `cannot-modify-protected-property`.
        column: the renderer of listings; without it members are rendered one by one.
    """

    name: QName
    render: Render | None
    kinds: frozenset[Kind] = frozenset({Kind.FILE, Kind.COLLECTION})
    needs: Needs = Needs.STAT
    in_allprop: bool = True
    in_propname: bool = True
    prepare: Prepare | None = None
    column: Column | None = None


def protected(name: QName) -> Forbidden:
    """The refusal to change a property that the server alone determines (section 16)."""
    return Forbidden(f"{name} is protected", condition=b"cannot-modify-protected-property")


def created_element(ns: int) -> bytes:
    """Returns the stored form of a creation time in nanoseconds since the epoch."""
    return b'<created xmlns="davserver:">%d</created>' % ns


def created_ns(dead: Mapping[QName, bytes]) -> int | None:
    """Returns the stored creation time in nanoseconds since the epoch."""
    row = dead.get(CREATED)
    text = None if row is None else element_text(row)
    return None if text is None else int(text)


def never(members: Members) -> None:
    """The column of a property that nothing has unless something is stored of it."""


def creation_ns(resource: Resource) -> int | None:
    """Returns when a resource was created, None where nobody knows; needs Needs.DEAD."""
    ns = created_ns(resource.dead) if resource.dead else None
    return resource.stat.birth_ns if ns is None else ns


class LivePropertyRegistry:
    """All live properties by name. Raises ValueError for two of one name."""

    def __init__(self, properties: Iterable[LiveProperty]) -> None:
        self._properties: dict[QName, LiveProperty] = {}
        for one in properties:
            if one.name in self._properties:
                raise ValueError(f"live property {one.name!r} is offered twice")
            self._properties[one.name] = one
        self._plans: dict[tuple[bytes, str | None, bool], Plan] = {}

    def get(self, name: QName) -> LiveProperty | None:
        return self._properties.get(name)

    def compile(self, body: bytes, charset: str | None = None, *, minimal: bool = False) -> Plan:
        """Returns the plan for a PROPFIND body; short bodies are compiled once.

        Raises what `parse_propfind` raises (400, 403, 413, 415).
        """
        asked = body, charset, minimal
        plan = self._plans.get(asked)
        if plan is None:
            plan = self.plan(parse_propfind(body, charset=charset), minimal=minimal)
            if len(body) <= _CACHED_BODY and len(plan._dead_absent) <= _CACHED_NAMES:
                if len(self._plans) >= _CACHED_PLANS:
                    self._plans.clear()
                self._plans[asked] = plan
        return plan

    def plan(self, request: PropfindRequest, *, minimal: bool = False) -> Plan:
        """Compiles a request; `minimal` leaves out what is missing (RFC 8144 section 2.1)."""
        return Plan(self._properties, request, minimal=minimal)

    def prepare(self, resource: Resource, change: PropertyChange) -> Prepared:
        """Validates one instruction of a PROPPATCH. Raises Conflict (409), Forbidden (403)."""
        live = self._properties.get(change.name)
        if live is None:
            if change.name.startswith(PRIVATE):
                raise protected(change.name)
            return Prepared(rows=(change,))
        if live.prepare is None:
            raise protected(change.name)
        return live.prepare(resource, change.value)


class Slot(NamedTuple):
    """One property of a plan. `absent` goes into the 404 propstat when there is no element."""

    render: Render
    absent: bytes
    column: Column | None


class Plan:
    """What a PROPFIND asks for, ready to be rendered for any number of resources."""

    def __init__(
        self, live: Mapping[QName, LiveProperty], request: PropfindRequest, *, minimal: bool
    ) -> None:
        self._minimal = minimal
        self._live = live
        self._all_dead = request.kind is not PropfindKind.PROP
        self.names_only = request.kind is PropfindKind.PROPNAME
        asked = [live[name] for name in request.names if name in live]
        rendered = [one for one in asked if one.render is not None]
        # One that is named has its own 404 even beside allprop (section 9.1).
        every = [one for one in self._every(request.kind) if one.name not in request.names]
        self._file, self._collection, self._other = (
            self._form(kind, every, rendered) for kind in (Kind.FILE, Kind.COLLECTION, Kind.OTHER)
        )
        known = {one.name for one in rendered} | {one.name for one in every}
        self._dead = [
            (None if name.startswith(PRIVATE) else name, name_only(name))
            for name in request.names
            if name not in known
        ]
        self._dead_absent = b"".join([absent for _, absent in self._dead])
        self.needs = self._needs(every, rendered)
        self.tells_bindings = bool(self.needs & (Needs.IDENTITY | Needs.PARENTS))

    def _every(self, kind: PropfindKind) -> list[LiveProperty]:
        """The live properties that are named by nobody: those of allprop and propname."""
        if kind is PropfindKind.PROP:
            return []
        if kind is PropfindKind.ALLPROP:
            chosen = [one for one in self._live.values() if one.in_allprop]
        else:
            chosen = [one for one in self._live.values() if one.in_propname]
        return [one for one in chosen if one.render is not None]

    def _form(
        self, kind: Kind, every: list[LiveProperty], asked: list[LiveProperty]
    ) -> tuple[tuple[Slot, ...], bytes]:
        """The slots for one kind of resource, and the names that this kind never has."""
        unnamed = [_slot(one, self.names_only) for one in every if kind in one.kinds]
        named = [_slot(one, absent=name_only(one.name)) for one in asked if kind in one.kinds]
        absent = [name_only(one.name) for one in asked if kind not in one.kinds]
        return (*unnamed, *named), b"".join(absent)

    def _needs(self, every: list[LiveProperty], asked: list[LiveProperty]) -> Needs:
        needs = Needs.DEAD if self._all_dead or self._dead else Needs.STAT
        for one in (*every, *asked):
            needs |= one.needs
        # A list of names shows that there is a lockdiscovery, not what is in it.
        return needs & ~Needs.LOCKS if self.names_only else needs

    def render(self, resource: Resource) -> list[PropStat]:
        """Returns the propstats of a resource, 200 first."""
        found, missing = self._collect(resource)
        if not missing:
            return [PropStat(200, found)]
        if not found:
            return [PropStat(404, missing)]
        return [PropStat(200, found), PropStat(404, missing)]

    def render_response(self, resource: Resource) -> bytes:
        """Returns the whole `D:response` element of a resource."""
        found, missing = self._collect(resource)
        return _response(resource.href, found, missing)

    def render_members(
        self, base: bytes, segments: Sequence[bytes], members: Members
    ) -> Sequence[bytes | None]:
        """As `render_response` for each of the members, in a fraction of the time. Only Nones
        where they have to be rendered one by one.

        Args:
            base: the href of the collection.
            segments: the names, percent-encoded.
        """
        slots, absent = self._slots(members.kind)
        nothing = [None] * len(segments)
        href = base.replace(b"%", b"%%") + (b"%s/" if members.kind is Kind.COLLECTION else b"%s")
        found: list[bytes] = []
        missing = [absent]
        columns: list[Sequence[bytes | int | None]] = [segments]
        for slot in slots:
            if slot.column is None:
                return nothing
            column = slot.column(members)
            if isinstance(column, Filled):
                found.append(column.form)
                columns += column.columns
            elif column is None or column == nothing:
                missing.append(slot.absent)
            elif isinstance(column, bytes):
                found.append(column.replace(b"%", b"%%"))
            elif None in column:
                return nothing
            else:
                found.append(b"%s")
                columns.append(column)
        missing.append(self._dead_absent)
        absent = b"" if self._minimal else b"".join(missing).replace(b"%", b"%%")
        form = _response(href, b"".join(found), absent)
        return [form % row for row in zip(*columns, strict=True)]

    def _slots(self, kind: Kind) -> tuple[tuple[Slot, ...], bytes]:
        if kind is Kind.FILE:
            return self._file
        return self._collection if kind is Kind.COLLECTION else self._other

    def _collect(self, resource: Resource) -> tuple[bytes, bytes]:
        """Returns the inner XML of the 200 propstat and of the 404 one."""
        slots, absent = self._slots(resource.stat.kind)
        found: list[bytes] = []
        missing: list[bytes] = [absent] if absent else []
        for render, name, _ in slots:
            element = render(resource)
            if element is not None:
                found.append(element)
            elif name:
                missing.append(name)
        if resource.dead:
            self._collect_dead(resource.dead, found, missing)
        elif self._dead_absent:
            missing.append(self._dead_absent)
        return b"".join(found), b"" if self._minimal else b"".join(missing)

    def _collect_dead(
        self, dead: Mapping[QName, bytes], found: list[bytes], missing: list[bytes]
    ) -> None:
        if self._all_dead:
            for name, element in dead.items():
                if not self._is_shadowed(name):
                    found.append(name_only(name) if self.names_only else element)
        for asked, absent in self._dead:
            stored = None if asked is None else dead.get(asked)
            if stored is None:
                missing.append(absent)
            elif not self._all_dead:
                found.append(stored)

    def _is_shadowed(self, name: QName) -> bool:
        """True for rows that are not dead properties, but what a live one is made of."""
        live = self._live.get(name)
        return name.startswith(PRIVATE) or (live is not None and live.render is not None)


_FOUND = (
    b"<D:response><D:href>%s</D:href><D:propstat><D:prop>%s</D:prop>"
    b"<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>"
)
_MISSING = (
    b"<D:response><D:href>%s</D:href><D:propstat><D:prop>%s</D:prop>"
    b"<D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>"
)
_BOTH = (
    b"<D:response><D:href>%s</D:href><D:propstat><D:prop>%s</D:prop>"
    b"<D:status>HTTP/1.1 200 OK</D:status></D:propstat><D:propstat><D:prop>%s</D:prop>"
    b"<D:status>HTTP/1.1 404 Not Found</D:status></D:propstat></D:response>"
)


def _response(href: bytes, found: bytes, missing: bytes) -> bytes:
    if not missing:
        return _FOUND % (href, found)
    if not found:
        return _MISSING % (href, missing)
    return _BOTH % (href, found, missing)


def _slot(one: LiveProperty, names_only: bool = False, *, absent: bytes = b"") -> Slot:
    render = one.render
    assert render is not None
    if not names_only:
        return Slot(render, absent, one.column)
    name = name_only(one.name)
    return Slot(lambda resource: None if render(resource) is None else name, absent, None)
