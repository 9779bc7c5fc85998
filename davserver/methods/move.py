"""MOVE (RFC 4918 section 9.9)."""

from __future__ import annotations

from contextlib import ExitStack

from davserver.auth.base import Privilege
from davserver.changes import discard, make_durable, publish, removing
from davserver.context import RequestContext, Response, Target
from davserver.digests import carry_digests
from davserver.errors import BadRequest, CrossDevice, Forbidden, StorageError
from davserver.methods._checks import relocate
from davserver.methods._times import confirm_modified, created_at, creation_change, read_times
from davserver.methods._tree import Failures, TreeDelete, require_copied
from davserver.methods._treecopy import stage_copy
from davserver.methods.base import LockRule, Method
from davserver.properties.base import created_ns
from davserver.protocol.clienttimes import NO_TIMES
from davserver.protocol.headers import Depth
from davserver.protocol.path import DavPath, Key
from davserver.recovery import MODIFIED, put_time, remove_tree
from davserver.state.base import GateView
from davserver.storage.base import Kind, Stat
from davserver.usage import Aside, require_same_scopes, shrinking, size_of


def handle_move(rc: RequestContext, target: Target) -> Response:
    """One rename: all or nothing, 201 or 204. Across file systems a copy that is published
    whole, then the source goes; there 207 names the members that stayed."""
    if target.is_collection and rc.depth not in (None, Depth.INFINITY):
        raise BadRequest("MOVE of a collection has Depth infinity")
    assert target.destination is not None
    with ExitStack() as leaving:
        try:
            fresh, aside = _rename(rc, target, leaving)
        except CrossDevice:
            return _move_across(rc, target)
        discard(rc.services, aside)
    _sync(rc, fresh)
    return _created(rc, fresh)


def _rename(rc: RequestContext, target: Target, leaving: ExitStack) -> tuple[Target, Aside | None]:
    assert target.destination_key is not None
    with rc.hold([target.key, target.destination_key]) as view:
        fresh = relocate(rc, MOVE, view)
        assert fresh.stat is not None
        if fresh.is_link:
            return _rename_link(rc, fresh), None
        require_same_scopes(rc.services, target.key, target.destination_key)
        modified_ns = _new_time(rc, fresh, fresh.stat)
        with created_at(view, fresh.key, rc.times.created_ns):
            source = fresh.path, fresh.key, fresh.stat
            aside = _publish(rc, view, fresh, source, modified_ns=modified_ns)
        if aside is not None:
            try:
                leaving.enter_context(rc.services.storage.following(aside.path))
            except StorageError:
                rc.services.storage.abandon(aside.path)  # it is done all the same
        return fresh, aside


def _rename_link(rc: RequestContext, target: Target) -> Target:
    """A link may get another name beside its own. Elsewhere its text would lead elsewhere."""
    assert target.destination is not None
    if target.destination.parent != target.path.parent or target.destination_stat is not None:
        raise Forbidden("a link can only be renamed, within its own collection")
    rc.services.storage.rename(target.path, target.destination)
    rc.times = NO_TIMES  # they would be those of what it leads to
    return target


def _publish(
    rc: RequestContext,
    view: GateView,
    target: Target,
    source: tuple[DavPath, Key, Stat],
    *,
    size: int | None = None,
    modified_ns: int | None = None,
) -> Aside | None:
    goal, goal_key = target.destination, target.destination_key
    assert goal is not None
    assert goal_key is not None
    known = view.properties(target.key)
    # Section 9.9.3: "the server MUST perform a DELETE with Depth: infinity on the destination":
    # its locks go with it.
    goal_and_old = goal, goal_key, _old(target, source[1])
    aside = publish(rc.services, view, source, goal_and_old, size=size, modified_ns=modified_ns)
    stat = confirm_modified(rc, goal)
    if stat is not None:
        carry_digests(view, goal_key, known, (target.stat, stat))
    return aside


def _old(target: Target, key: object) -> Stat | None:
    # A rename that only changes the case finds the source itself at its destination.
    return target.stat if key == target.destination_key else target.destination_stat


def _new_time(rc: RequestContext, target: Target, stat: Stat) -> int | None:
    """Returns the time that what is moved gets, None when it keeps its own.

    It is the one that the client asks for. Else RFC 4918 section 8.8: for any URL Last-Modified
    increases whenever the representation changes. A file that takes the place of one as new as
    itself, or newer, gets the time of the move."""
    old = target.destination_stat
    if rc.times.modified_ns is not None:
        return rc.times.modified_ns
    if old is None or old.kind is not Kind.FILE or stat.kind is not Kind.FILE:
        return None
    second = 1_000_000_000
    if target.key == target.destination_key or stat.mtime_ns // second > old.mtime_ns // second:
        return None
    return max(int(rc.now * second), old.mtime_ns + second)


def _move_across(rc: RequestContext, target: Target) -> Response:
    """Copies to a hidden name beside the Destination, publishes that, then deletes the source.

    What was written to the source meanwhile stays there: 409 for a file, 207 for members.
    """
    assert target.destination is not None
    storage = rc.services.storage
    staged = storage.hidden(target.destination)
    failures = Failures(rc)
    with storage.following(staged):
        try:
            size = _stage(rc, target, staged, failures)
            if failures.count:
                remove_tree(storage, staged)
                return failures.response()
            fresh, aside = _publish_copy(rc, staged, size)
        except BaseException:
            failures.close()
            remove_tree(storage, staged)
            raise
        discard(rc.services, aside)
    if fresh.is_collection:
        TreeDelete(rc, failures).run(fresh.path, fresh.key, fresh.destination)
    _sync(rc, fresh)
    return failures.response() if failures.count else _created(rc, fresh)


def _stage(rc: RequestContext, target: Target, staged: DavPath, failures: Failures) -> int:
    """Returns the bytes of what was copied."""
    assert target.stat is not None
    mtime_ns = target.stat.mtime_ns
    return stage_copy(rc, target, staged, failures, mtime_ns=mtime_ns, keep_times=True)


def _publish_copy(rc: RequestContext, staged: DavPath, size: int) -> tuple[Target, Aside | None]:
    """A file's source goes in the same gate, so that it cannot be written in between."""
    storage = rc.services.storage
    key = storage.canonical(staged)
    with rc.hold([key]) as view:
        fresh = relocate(rc, MOVE, view)
        if not fresh.is_collection:
            require_copied(storage, fresh.path, staged)
        if view.has_rows(fresh.key):
            view.copy_properties(fresh.key, key, tree=True)
        _keep_creation_time(rc, view, fresh, key)
        stat = _stamp(rc, fresh, staged)
        aside = _publish(rc, view, fresh, (staged, key, stat), size=size_of(stat) or size)
        if not fresh.is_collection:
            with (
                removing(rc.services, view, [(fresh.path, fresh.key)]) as gone,
                shrinking(rc.services, view, fresh.key, size_of(fresh.stat)),
            ):
                storage.delete(fresh.path)
                gone.append(fresh.key)
    return fresh, aside


def _stamp(rc: RequestContext, target: Target, staged: DavPath) -> Stat:
    """Gives the copy its time before anybody sees it."""
    storage = rc.services.storage
    stat = storage.stat(staged)
    modified_ns = _new_time(rc, target, stat)
    if modified_ns is not None:
        put_time(storage, staged, {MODIFIED: modified_ns})
    return storage.stat(staged)


def _keep_creation_time(rc: RequestContext, view: GateView, target: Target, staged: Key) -> None:
    """The copy is a new file to its file system, and the same resource to everybody else."""
    assert target.stat is not None
    times = rc.times.created_ns, created_ns(view.properties(target.key)), target.stat.birth_ns
    known = next((ns for ns in times if ns is not None), None)
    if known is not None:
        view.patch(staged, [creation_change(known)])


def _sync(rc: RequestContext, target: Target) -> None:
    assert target.destination is not None
    make_durable(rc.services.storage, target.path.parent, target.destination.parent)


def _created(rc: RequestContext, target: Target) -> Response:
    assert target.destination is not None
    if target.destination_stat is not None and target.key != target.destination_key:
        return Response(204, rc.times.accepted())
    href = rc.href(target.destination, collection=target.is_collection)
    return Response(201, ((b"location", href), *rc.times.accepted()))


MOVE = Method(
    "MOVE",
    handle=handle_move,
    validate=read_times,
    locks=LockRule.TARGET | LockRule.PARENT | LockRule.SUBTREE | LockRule.DESTINATION,
    privilege=Privilege.WRITE,
    destination=Privilege.WRITE,
    unbounded=True,
)
METHODS = (MOVE,)
