"""Collections that a listing of infinite depth meets by more than one binding (RFC 5842 section 7).

Who says `DAV: bind` is told with 208, by the properties alone: its members were listed already.
For everybody else each URL is a resource with members of its own, and is listed; but one that leads
round to where the listing is in is 508. That is the whole answer as long as none of it is sent.

Only what has bindings is remembered. A link of somebody else's is listed as any collection is, and
one of those that leads round is not entered.
"""

from __future__ import annotations

import enum

from davserver.context import RequestContext
from davserver.properties.base import Plan, Resource
from davserver.protocol.headers import DavHeaders
from davserver.protocol.multistatus import PropStat, propstat_xml
from davserver.protocol.path import Key

_MOST = 100_000
"""Resources that one answer lists again. Collections that are in each other twice, and those in
others, come to any number."""


class Way(enum.Enum):
    """What a listing does with a collection."""

    ENTER = enum.auto()
    SHOW = enum.auto()
    """Its properties, not its members."""
    REPORTED = enum.auto()
    """As SHOW, with 208."""
    LOOP = enum.auto()
    """508."""


class Repeats:
    """For one listing.

    Attributes:
        count: resources that were listed again so far.
    """

    def __init__(self, rc: RequestContext, top: Key) -> None:
        self.count = 0
        self._bindings = rc.services.state.bindings
        self._knows_bind = rc.headers.recall(knows_bind)
        self._seen = {top}

    def way(self, key: Key, *, is_loop: bool) -> tuple[Way, bool]:
        """Says what to do with the collection at `key`, and whether it was met before.

        Args:
            is_loop: the listing is in it, by whatever way.
        """
        is_bound = bool(self._bindings) and bool(self._bindings.links(key))
        is_met = is_loop or key in self._seen
        if is_bound:
            self._seen.add(key)
        if not is_met or not (is_bound or is_loop):
            return Way.ENTER, False
        if self._knows_bind:
            return Way.REPORTED, True
        if is_loop:
            return (Way.LOOP if is_bound else Way.SHOW), True
        return (Way.ENTER if self.count < _MOST else Way.LOOP), True


def knows_bind(headers: DavHeaders) -> bool:
    """True for a client that says so (section 8.2)."""
    classes = (headers.joined(b"dav") or b"").split(b",")
    return b"bind" in [each.strip(b" \t") for each in classes]


def reported(plan: Plan, resource: Resource) -> bytes:
    """Returns the response of what was reported already: as any other, but 208 for 200."""
    propstats = [
        PropStat(208, one.content) if one.status == 200 else one for one in plan.render(resource)
    ]
    if propstats[0].status != 208:
        propstats.insert(0, PropStat(208, b""))
    inner = b"".join(map(propstat_xml, propstats))
    return b"<D:response><D:href>%s</D:href>%s</D:response>" % (resource.href, inner)
