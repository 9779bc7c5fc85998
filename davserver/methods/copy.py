"""COPY (RFC 4918 section 9.8)."""

from __future__ import annotations

from davserver.auth.base import Privilege
from davserver.changes import publish, remove_tree
from davserver.context import RequestContext, Response, Target
from davserver.errors import BadRequest
from davserver.methods._checks import relocate
from davserver.methods._tree import Failures, TreeCopy
from davserver.methods.base import LockRule, Method
from davserver.protocol.headers import Depth
from davserver.protocol.path import DavPath, Key
from davserver.state.base import GateView


def handle_copy(rc: RequestContext, target: Target) -> Response:
    """Builds the copy under a hidden name, then publishes it whole: 201, or 204 in the place of
    what was there. Members that cannot be read are a 207: to an unmapped Destination the rest is
    published; an existing one is kept as it was, all of it."""
    if target.is_collection and rc.depth is Depth.ONE:
        raise BadRequest("COPY of a collection has Depth 0 or infinity")
    assert target.destination is not None
    storage = rc.services.storage
    staged = storage.hidden(target.destination)
    failures = Failures(rc)
    try:
        _stage(rc, target, staged, failures)
        if failures.count and target.destination_stat is not None:
            remove_tree(storage, staged)
            return failures.response()
        replaced, aside = _publish(rc, staged)
    except BaseException:
        failures.close()
        remove_tree(storage, staged)
        raise
    if aside is not None:
        remove_tree(storage, aside)
    if target.destination.parent is not None:
        storage.sync(target.destination.parent)
    return failures.response() if failures.count else created(rc, target, replaced=replaced)


def created(rc: RequestContext, target: Target, *, replaced: bool) -> Response:
    """201 with Location as an absolute path, or 204."""
    assert target.destination is not None
    if replaced:
        return Response(204)
    href = rc.href(target.destination, collection=target.is_collection)
    return Response(201, ((b"location", href),))


def _stage(rc: RequestContext, target: Target, staged: DavPath, failures: Failures) -> None:
    storage = rc.services.storage
    if not target.is_collection:
        storage.copy(target.path, staged)
    elif rc.depth is Depth.ZERO:
        storage.make_collection(staged)
    else:
        TreeCopy(rc, failures, keep_times=False).run(target.path, target.key, staged)


def _publish(rc: RequestContext, staged: DavPath) -> tuple[bool, DavPath | None]:
    """Returns whether something was replaced, and where its old tree waits to be removed."""
    storage = rc.services.storage
    key = storage.canonical(staged)
    with rc.hold([key]) as view:
        target = relocate(rc, COPY, view)
        goal, goal_key = target.destination, target.destination_key
        assert goal is not None
        assert goal_key is not None
        _stage_rows(rc, view, target, key)
        old = target.destination_stat
        source = staged, key, storage.stat(staged)
        # The lock on a Destination that is mapped stays (its token was submitted); what was in
        # the collection that is replaced is gone, and so are the locks there.
        keeps_lock = old is not None
        aside = publish(rc.services, view, source, (goal, goal_key, old), keeps_lock=keeps_lock)
    return old is not None, aside


def _stage_rows(rc: RequestContext, view: GateView, target: Target, key: Key) -> None:
    # Section 9.8.2: dead properties are duplicated. They wait under the hidden name until the
    # publication moves them along.
    if view.has_rows(target.key):
        view.copy_properties(target.key, key, tree=rc.depth is not Depth.ZERO)


COPY = Method(
    "COPY",
    handle=handle_copy,
    locks=LockRule.DESTINATION,
    privilege=Privilege.READ,
    destination=Privilege.WRITE,
    unbounded=True,
)
METHODS = (COPY,)
