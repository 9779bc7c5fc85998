"""What locks forbid BIND, UNBIND and REBIND (RFC 5842 sections 4 to 6 and 9)."""

from __future__ import annotations

from collections.abc import Sequence

from davserver.binding import locks_below
from davserver.context import RequestContext
from davserver.errors import Locked
from davserver.methods._checks import locked_error, on_binding, unsubmitted
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, conflicting
from davserver.protocol.path import Key
from davserver.state.base import StateReader


def require_membership(
    rc: RequestContext, reader: StateReader, collection: Key, condition: bytes
) -> None:
    """Raises 423 unless the tokens were submitted of the locks in whose scope a collection is."""
    _refuse(rc, unsubmitted(rc, reader.covering(collection, now=rc.now)), condition)


def require_binding(
    rc: RequestContext, reader: StateReader, binding: Key, condition: bytes
) -> None:
    """Raises 423 unless the tokens were submitted of the locks that protect a binding."""
    _refuse(rc, on_binding(rc, binding, reader), condition)


def _refuse(rc: RequestContext, locks: Sequence[Lock], condition: bytes) -> None:
    """Names the condition of this RFC beside that of RFC 4918."""
    if locks:
        error = locked_error(rc, locks)
        error.beside = condition
        raise error


def require_compatible(
    rc: RequestContext, reader: StateReader, collection: Key, resource: Key
) -> None:
    """Raises 423 where the resource would come into the scope of a lock that conflicts with one
    that it is in already (RFC 4918 section 7.4)."""
    own = {lock.token: lock for lock in reader.covering(resource, now=rc.now)}
    own |= {lock.token: lock for lock in locks_below(reader, resource, now=rc.now)}
    for lock in reader.covering(collection, now=rc.now):
        if lock.depth is Depth.INFINITY and lock.token not in own:
            found, _ = conflicting(lock.scope, lock.depth, list(own.values()), ())
            if found:
                roots = tuple(dict.fromkeys(rc.base + other.href for other in found))
                raise Locked("its locks conflict", hrefs=roots, condition=b"no-conflicting-lock")
