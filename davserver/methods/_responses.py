"""Responses of PROPFIND for the members of one collection, many at once.

The hot path of every listing: one query for all that is stored, and one column a property for
members of one kind of which nothing is stored. The others are rendered one by one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from davserver.auth.base import Principal
from davserver.context import RequestContext, Services
from davserver.errors import StorageError
from davserver.methods._bound import identified, tell_bindings
from davserver.methods._repeats import reported
from davserver.properties.base import Members, Needs, Plan, Resource
from davserver.protocol.headers import Depth
from davserver.protocol.names import QName
from davserver.protocol.path import DavPath, Key, encode_segments, quote_segments
from davserver.protocol.quirks import is_supportedlock_of_members_left_out
from davserver.state.offers import Stored
from davserver.storage.base import Entry, Kind, Quota, Stat
from davserver.storage.batches import Plain, columns_of, kinds_of, names_of, picked
from davserver.usage import quota_at

_NO_ROWS: Mapping[QName, bytes] = {}


@dataclass(frozen=True, slots=True)
class Listed:
    """A collection that is listed.

    Attributes:
        href: ends with a slash.
        can_write: the asker may write here, and to the members unless that `varies`.
    """

    path: DavPath
    key: Key
    href: bytes
    can_write: bool
    varies: bool


@dataclass(frozen=True, slots=True)
class _Batch:
    """Members, by index; `rows` is what is stored of them, by `raws`, their names as bytes."""

    at: Listed
    entries: Sequence[Entry]
    names: Sequence[str]
    raws: Sequence[bytes]
    rows: Mapping[bytes, Mapping[QName, bytes]]
    now: float


def resource_at(
    rc: RequestContext, href: bytes, name: str, stat: Stat, *, can_write: bool
) -> Resource:
    """Returns a resource as renderers see it, without what has to be fetched first."""
    now = rc.services.clock()
    return Resource(href, name, stat, rc.principal.name, rc.base, now, can_write)


def render_resource(
    services: Services,
    asker: Principal,
    base: bytes,
    plan: Plan,
    at: tuple[DavPath, Key, bytes, Stat],
    *,
    can_write: bool,
    is_repeated: bool = False,
    stored: Stored | None = None,
) -> bytes:
    """Returns the `D:response` of one resource.

    Args:
        base: quoted mount prefix without trailing slash.
        at: path, canonical key, href, and what is there.
        is_repeated: it was reported already.
        stored: what is stored of it, where that is known.
    """
    path, key, href, stat = at
    resource = Resource(href, path.name, stat, asker.name, base, services.clock(), can_write)
    needs = plan.needs
    if Needs.DEAD in needs:
        resource.dead = services.state.properties(key) if stored is None else stored.properties
    if Needs.LOCKS in needs:
        resource.locks = (
            services.state.covering(key, now=resource.now) if stored is None else stored.locks
        )
    if Needs.QUOTA in needs and stat.kind is Kind.COLLECTION:
        resource.quota = quota_at(services, path, key)
    if plan.tells_bindings:
        tell_bindings(services, asker, base, plan, (resource, key))
    return reported(plan, resource) if is_repeated else plan.render_response(resource)


class MemberRenderer:
    """Renders what one PROPFIND asks of members. What is stored of a LinkedEntry is stored under
    another key: where the plan needs that, nobody gives one."""

    def __init__(self, rc: RequestContext, plan: Plan) -> None:
        self._rc = rc
        self._plan = plan
        self._state = rc.services.state
        self._asked = (rc.services, rc.principal, rc.base, plan)
        self._is_lean = is_supportedlock_of_members_left_out(rc.headers, rc.body)

    def render(self, at: Listed, entries: Sequence[Entry]) -> bytes:
        """Returns the responses of at least one member, in their order."""
        names = names_of(entries)
        raws = encode_segments(names)
        rows: Mapping[bytes, Mapping[QName, bytes]] = {}
        if Needs.DEAD in self._plan.needs:
            rows = self._state.member_properties(at.key, raws)
        if Needs.IDENTITY in self._plan.needs:
            rows = self._identified(at, raws, rows)
        batch = _Batch(at, entries, names, raws, rows, self._rc.services.clock())
        found = self._render_together(batch)
        if None in found:
            rest = self._render_rest(batch, found)
            return b"".join([next(rest) if one is None else one for one in found])
        return b"".join(found)  # type: ignore[arg-type]  # there is no None among them

    def _identified(
        self, at: Listed, raws: Sequence[bytes], rows: Mapping[bytes, Mapping[QName, bytes]]
    ) -> Mapping[bytes, Mapping[QName, bytes]]:
        keys = [at.key.child(raw) for raw in raws]
        known = {at.key.child(raw): dead for raw, dead in rows.items()}
        found = identified(self._rc.services, self._plan, known, keys)
        return {key.name: dead for key, dead in found.items()}

    def _render_together(self, batch: _Batch) -> Sequence[bytes | None]:
        """Returns the responses that columns give; None where something is stored of a member,
        or a property has no column, or each member has rights of its own."""
        if batch.at.varies:
            return [None] * len(batch.names)
        apart = {*batch.rows, *self._locked(batch)}
        entries, raws = batch.entries, batch.raws
        if isinstance(entries, Plain) and len(entries.kinds) == 1 and not apart:
            (kind,) = entries.kinds
            return self._render_alike(batch, kind, entries)
        found: list[bytes | None] = [None] * len(entries)
        kinds = kinds_of(entries)
        for kind in set(kinds):
            alike = [i for i, one in enumerate(kinds) if one is kind and raws[i] not in apart]
            responses = self._render_alike(batch, kind, picked(entries, alike, kind))
            for index, response in zip(alike, responses, strict=True):
                found[index] = response
        return found

    def _render_alike(
        self, batch: _Batch, kind: Kind, entries: Sequence[Entry]
    ) -> Sequence[bytes | None]:
        """Renders members of one kind, of which nothing is stored."""
        if not entries:
            return ()
        at, names, columns = batch.at, names_of(entries), columns_of(entries)
        members = Members(kind, names, columns, batch.now, at.can_write, self._is_lean)
        return self._plan.render_members(at.href, quote_segments(names), members)

    def _locked(self, batch: _Batch) -> Collection[bytes]:
        """Returns the names on which there are locks, as far as somebody asks for them."""
        if Needs.LOCKS not in self._plan.needs:
            return ()
        parent, now = batch.at.key, batch.now
        if any(lock.depth is Depth.INFINITY for lock in self._state.covering(parent, now=now)):
            return batch.raws
        below = self._state.beneath(parent, now=now)
        return [lock.key.name for lock in below if lock.key.parent == parent]

    def _render_rest(self, batch: _Batch, found: Sequence[bytes | None]) -> Iterator[bytes]:
        """Yields the responses that are None in `found`; one Resource is filled anew for each."""
        at, rows, needs = batch.at, batch.rows, self._plan.needs
        stat, can_write = batch.entries[0].stat, at.can_write
        resource = resource_at(self._rc, at.href, "", stat, can_write=can_write)
        resource.now = batch.now
        resource.hides_supportedlock = self._is_lean
        has_locks, has_quota = Needs.LOCKS in needs, Needs.QUOTA in needs
        segments = quote_segments(batch.names)
        for (name, stat), raw, segment, response in zip(
            batch.entries, batch.raws, segments, found, strict=True
        ):
            if response is not None:
                continue
            is_collection = stat.kind is Kind.COLLECTION
            href = at.href + segment
            resource.href = href + b"/" if is_collection else href
            resource.name = name
            resource.stat = stat
            if at.varies:
                resource.can_write = self._rc.may_write(at.path.child(name))
            if rows:
                resource.dead = rows.get(raw, _NO_ROWS)
            if has_locks:
                resource.locks = self._state.covering(at.key.child(raw), now=batch.now)
            if Needs.PARENTS in needs:
                tell_bindings(*self._asked, (resource, at.key.child(raw)))
            if has_quota:
                resource.quota = self._quota(at, name) if is_collection else None
            yield self._plan.render_response(resource)

    def _quota(self, at: Listed, name: str) -> Quota | None:
        path = at.path.child(name)
        services = self._rc.services
        try:
            key = services.storage.canonical(path) if services.quotas else at.key
            return quota_at(services, path, key)
        except StorageError:
            # It vanished meanwhile, or cannot be asked: its listing does not fail for that.
            return None
