"""What a request makes its effect depend on: the If header (RFC 4918 section 10.4), the conditions
of RFC 9110 section 13, and Overwrite."""

from __future__ import annotations

from collections.abc import Sequence

from davserver.auth.base import Privilege
from davserver.context import RequestContext, Target
from davserver.errors import EscapesRoot, PreconditionFailed
from davserver.methods.base import Method
from davserver.protocol.ifheader import IfList, evaluate_if
from davserver.protocol.locks import Lock
from davserver.protocol.path import Key
from davserver.protocol.preconditions import Outcome, evaluate_http
from davserver.protocol.quirks import is_if_ignored, is_if_true_by_member_tokens
from davserver.protocol.resourcestate import ResourceState
from davserver.state.base import StateReader
from davserver.storage.base import Stat


def state_of(
    rc: RequestContext, key: Key, stat: Stat | None, reader: StateReader, held: Sequence[Lock] = ()
) -> ResourceState:
    """What conditions are compared with.

    An unmapped URL has no state tokens either (RFC 4918 section 10.4.4). `held` are locks that
    counted when the request began: one that has only expired since, with nobody else's in its
    place, counts still.
    """
    if stat is None:
        return ResourceState(exists=False)
    covering = reader.covering(key, now=rc.now)
    tokens = {lock.token for lock in covering}
    if not covering:
        tokens = {lock.token for lock in held if lock.covers(key) and lock.expires_at <= rc.now}
    return ResourceState(True, stat.etag, last_modified(stat, rc.now), tokens)


def last_modified(stat: Stat, now: float) -> int:
    """Seconds since the epoch, never later than Date (RFC 9110 section 8.8.2.1)."""
    return min(stat.mtime_ns // 1_000_000_000, int(now))


def check_if(
    rc: RequestContext, target: Target, reader: StateReader, held: Sequence[Lock] = ()
) -> None:
    """Raises 412 when the If header is false (RFC 4918 section 10.4.3)."""
    header = rc.if_header
    if header is None or is_if_ignored(rc.method, header):
        return
    sole = header.sole_token
    if sole is not None and target.stat is not None:
        for lock in reader.covering(target.key, now=rc.now):
            if lock.token == sole:
                return

    def lookup(group: IfList) -> ResourceState:
        if group.foreign:
            return ResourceState(exists=False)
        if group.resource is None:
            return state_of(rc, target.key, target.stat, reader, held)
        path = group.resource.below(rc.prefix)
        if path is None or path.is_reserved:
            return ResourceState(exists=False)
        if not rc.services.authorizer.permits(rc.principal, Privilege.READ, path):
            # Else 412 would tell the entity-tags of what the asker may not read.
            return ResourceState(exists=False)
        try:
            found = rc.services.storage.locate(path)
        except EscapesRoot:
            return ResourceState(exists=False)
        if not rc.may(Privilege.READ, path, found.key):
            return ResourceState(exists=False)
        return state_of(rc, found.key, found.stat, reader, held)

    if evaluate_if(header, lookup):
        return
    inner = {lock.token for lock in reader.beneath(target.key, now=rc.now)}
    if is_if_true_by_member_tokens(
        rc.method, is_collection=target.is_collection, header=header, tokens_beneath=inner
    ):
        return
    names_no_lock = _is_refresh(rc) and not _names_lock_here(rc, target, reader)
    raise PreconditionFailed(
        "the If header is false",
        condition=b"lock-token-matches-request-uri" if names_no_lock else None,
    )


def _is_refresh(rc: RequestContext) -> bool:
    return rc.method == "LOCK" and rc.document is None


def _names_lock_here(rc: RequestContext, target: Target, reader: StateReader) -> bool:
    if target.stat is None:
        return False
    return any(lock.token in rc.submitted for lock in reader.covering(target.key, now=rc.now))


def check_conditions(
    rc: RequestContext, method: Method, target: Target, reader: StateReader
) -> Outcome:
    """Evaluates RFC 9110 section 13.2.2 and Overwrite; raises 412, returns NOT_MODIFIED for a
    read that may answer 304."""
    if rc.conditions is not None and method.name != "OPTIONS":
        state = state_of(rc, target.key, target.stat, reader)
        outcome = evaluate_http(rc.conditions, state, is_read=method.is_read)
        if outcome is Outcome.FAILED:
            raise PreconditionFailed("a conditional header field is false")
        if outcome is Outcome.NOT_MODIFIED:
            return outcome
    is_taken = target.destination_stat is not None and target.destination_key != target.key
    if is_taken and not rc.overwrite:
        raise PreconditionFailed("the destination exists and Overwrite is F")
    return Outcome.PROCEED
