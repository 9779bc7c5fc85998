"""How a new version of a file is published, by who holds the gate and has made every check: with
the rows that are its own, counted for quotas (RFC 9110 section 9.3.4)."""

from __future__ import annotations

from collections.abc import Callable

from davserver.changes import creating
from davserver.context import Header, RequestContext, Response, Target
from davserver.methods._conditions import last_modified
from davserver.methods._times import created_at, creation_change
from davserver.properties.base import CREATED
from davserver.protocol.clienttimes import NO_TIMES
from davserver.protocol.dates import format_http_date
from davserver.state.base import GateView
from davserver.storage.base import Stat
from davserver.usage import growing

Commit = Callable[[], Stat]
"""Puts the version in its place. Raises StorageError, with everything as it was."""


def publish_new(
    rc: RequestContext, view: GateView, target: Target, size: int, commit: Commit
) -> Stat:
    """Publishes `size` bytes where nothing is."""
    services = rc.services
    if not services.quotas and rc.times.created_ns is None:
        view.clear(target.key)
        view.commit()
        return commit()
    with growing(services, view, target.key, size):
        # A new resource inherits nothing of what stood here once.
        view.clear(target.key)
        created_ns = rc.times.created_ns
        if created_ns is None:
            view.commit()
            return commit()
        view.patch(target.key, [creation_change(created_ns)])
        with creating(services, view, target.path, target.key):
            return commit()


def publish_over(
    rc: RequestContext, view: GateView, target: Target, size: int, commit: Commit
) -> Stat:
    """Publishes `size` bytes in the place of an older version."""
    created_ns = _creation_time(rc, view, target)
    if created_ns is None and not rc.services.quotas:
        view.commit()
        return commit()
    with (
        growing(rc.services, view, target.key, size, target.stat),
        created_at(view, target.key, created_ns),
    ):
        view.commit()
        return commit()


def _creation_time(rc: RequestContext, view: GateView, target: Target) -> int | None:
    """Returns what is to be stored, None for nothing new."""
    if rc.times.created_ns is not None:
        return rc.times.created_ns
    if target.stat is None or CREATED in view.properties(target.key):
        return None
    # The new version is a new file: without this the resource would seem created now.
    return target.stat.birth_ns


def stored(rc: RequestContext, stat: Stat, *, replaced: bool) -> Response:
    """201 for a new resource, 204 for a replaced one; with the ETag of what was sent."""
    modified = last_modified(stat, rc.services.clock())
    etag = b'"%b"' % stat.tag.encode("ascii")
    headers: list[Header] = [(b"last-modified", format_http_date(modified)), (b"etag", etag)]
    if rc.times is not NO_TIMES:
        headers += rc.times.accepted()
    return Response(204 if replaced else 201, headers)
