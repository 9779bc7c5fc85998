"""MOVE (RFC 4918 section 9.9)."""

from __future__ import annotations

from davserver.auth.base import Privilege
from davserver.changes import publish, remove_tree
from davserver.context import RequestContext, Response, Target
from davserver.errors import BadRequest, CrossDevice, Forbidden
from davserver.methods._checks import relocate
from davserver.methods._tree import Failures, TreeCopy, TreeDelete
from davserver.methods.base import LockRule, Method
from davserver.protocol.headers import Depth
from davserver.protocol.path import DavPath
from davserver.state.base import GateView
from davserver.storage.base import Kind, Stat


def handle_move(rc: RequestContext, target: Target) -> Response:
    """One rename: all or nothing, 201 or 204. Across file systems a copy that is published
    whole, then the source goes; there 207 names the members that stayed."""
    if target.is_collection and rc.depth not in (None, Depth.INFINITY):
        raise BadRequest("MOVE of a collection has Depth infinity")
    assert target.destination is not None
    try:
        fresh, aside = _rename(rc, target)
    except CrossDevice:
        return _move_across(rc, target)
    if aside is not None:
        remove_tree(rc.services.storage, aside)
    _sync(rc, fresh)
    return _created(rc, fresh)


def _rename(rc: RequestContext, target: Target) -> tuple[Target, DavPath | None]:
    assert target.destination_key is not None
    with rc.hold([target.key, target.destination_key]) as view:
        fresh = relocate(rc, MOVE, view)
        assert fresh.stat is not None
        if fresh.is_link:
            return _rename_link(rc, fresh), None
        stat = _keep_modified_rising(rc, fresh, fresh.stat)
        return fresh, _publish(rc, view, fresh, (fresh.path, stat))


def _rename_link(rc: RequestContext, target: Target) -> Target:
    """A link may get another name beside its own. Elsewhere its text would lead elsewhere."""
    assert target.destination is not None
    if target.destination.parent != target.path.parent or target.destination_stat is not None:
        raise Forbidden("a link can only be renamed, within its own collection")
    rc.services.storage.rename(target.path, target.destination)
    return target


def _publish(
    rc: RequestContext, view: GateView, target: Target, source: tuple[DavPath, Stat]
) -> DavPath | None:
    path, stat = source
    goal, goal_key = target.destination, target.destination_key
    assert goal is not None
    assert goal_key is not None
    key = target.key if path == target.path else rc.services.storage.canonical(path)
    if key != goal_key:
        # Section 9.9.3: "the server MUST perform a DELETE with Depth: infinity on the
        # destination": its locks go with it.
        if target.destination_stat is None:
            view.clear(goal_key)
        else:
            view.remove_locks(goal_key)
    return publish(rc.services, view, (path, key, stat), (goal, goal_key, _old(target, key)))


def _old(target: Target, key: object) -> Stat | None:
    # A rename that only changes the case finds the source itself at its destination.
    return target.stat if key == target.destination_key else target.destination_stat


def _keep_modified_rising(rc: RequestContext, target: Target, stat: Stat) -> Stat:
    """RFC 4918 section 8.8: for any URL Last-Modified increases whenever the representation
    changes. A file that takes the place of one as new as itself, or newer, gets the time of the
    move; otherwise it keeps its own."""
    old = target.destination_stat
    if old is None or old.kind is not Kind.FILE or stat.kind is not Kind.FILE:
        return stat
    second = 1_000_000_000
    if target.key == target.destination_key or stat.mtime_ns // second > old.mtime_ns // second:
        return stat
    newest = max(int(rc.now * second), old.mtime_ns + second)
    return rc.services.storage.set_attributes(target.path, mtime_ns=newest)


def _move_across(rc: RequestContext, target: Target) -> Response:
    """Copies to a hidden name beside the Destination, publishes that, then deletes the source."""
    assert target.destination is not None
    storage = rc.services.storage
    staged = storage.hidden(target.destination)
    failures = Failures(rc)
    try:
        if target.is_collection:
            TreeCopy(rc, failures, keep_times=True).run(target.path, target.key, staged)
        else:
            assert target.stat is not None
            storage.copy(target.path, staged, mtime_ns=target.stat.mtime_ns)
        if failures.count:
            remove_tree(storage, staged)
            return failures.response()
        with rc.hold([target.key]) as view:
            fresh = relocate(rc, MOVE, view)
            if view.has_rows(fresh.key):
                view.copy_properties(fresh.key, storage.canonical(staged), tree=True)
            aside = _publish(rc, view, fresh, (staged, storage.stat(staged)))
    except BaseException:
        failures.close()
        remove_tree(storage, staged)
        raise
    if aside is not None:
        remove_tree(storage, aside)
    _delete_source(rc, fresh, failures)
    _sync(rc, fresh)
    return failures.response() if failures.count else _created(rc, fresh)


def _delete_source(rc: RequestContext, target: Target, failures: Failures) -> None:
    if target.is_collection:
        TreeDelete(rc, failures).run(target.path, target.key)
        return
    with rc.hold([target.key]) as view:
        rc.services.storage.delete(target.path)
        view.clear(target.key)


def _sync(rc: RequestContext, target: Target) -> None:
    assert target.destination is not None
    for path in {target.path.parent, target.destination.parent}:
        if path is not None:
            rc.services.storage.sync(path)


def _created(rc: RequestContext, target: Target) -> Response:
    assert target.destination is not None
    if target.destination_stat is not None and target.key != target.destination_key:
        return Response(204)
    href = rc.href(target.destination, collection=target.is_collection)
    return Response(201, ((b"location", href),))


MOVE = Method(
    "MOVE",
    handle=handle_move,
    locks=LockRule.TARGET | LockRule.PARENT | LockRule.SUBTREE | LockRule.DESTINATION,
    privilege=Privilege.WRITE,
    destination=Privilege.WRITE,
    unbounded=True,
)
METHODS = (MOVE,)
