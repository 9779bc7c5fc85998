"""What MOVE does in one step, and what it has in common with a MOVE that takes more."""

from __future__ import annotations

from contextlib import ExitStack

from davserver.changes import discard, make_durable, publish
from davserver.context import RequestContext, Response, Target
from davserver.digests import carry_digests
from davserver.errors import Forbidden, StorageError
from davserver.handover import release
from davserver.methods._binding import move_binding
from davserver.methods._checks import relocate
from davserver.methods._freeing import is_long
from davserver.methods._times import confirm_modified, created_at
from davserver.methods._tree import prove
from davserver.methods.base import Method, TakesLong
from davserver.protocol.clienttimes import NO_TIMES
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Change, GateView
from davserver.storage.base import Kind, Stat
from davserver.usage import Aside, require_same_scopes


def move_at_once(
    rc: RequestContext, method: Method, target: Target, *, briefly: bool = False
) -> Response:
    """Raises CrossDevice, with nothing done, where that takes more than a rename.

    Args:
        briefly: raises TakesLong, with nothing done, where other trees, or rows of many resources,
            may have to go as well.
    """
    with ExitStack() as leaving:
        fresh, aside = _rename(rc, method, target, leaving, briefly=briefly)
        rc.progress.expect(1, 0)
        rc.progress.did()
        discard(rc.services, aside)
    sync_moved(rc, fresh)
    return answer_moved(rc, fresh)


def _rename(
    rc: RequestContext, method: Method, target: Target, leaving: ExitStack, *, briefly: bool
) -> tuple[Target, Aside | None]:
    assert target.destination_key is not None
    with rc.hold([target.key, target.destination_key]) as view:
        fresh = relocate(rc, method, view)
        if briefly and not (_is_brief(view, fresh) and _is_where(fresh, target)):
            raise TakesLong
        goal = fresh.destination_key
        if goal and goal != fresh.key and release(rc.services, view, goal, goal):
            fresh = relocate(rc, method, view)
        assert fresh.stat is not None
        if fresh.binding is not None:
            _prove_moved(rc, fresh)
            aside = move_binding(rc, view, fresh)
            rc.times = NO_TIMES  # they would be those of the resource
        elif fresh.is_link:
            return _rename_link(rc, fresh), None
        else:
            require_same_scopes(rc.services, target.key, target.destination_key)
            modified_ns = new_time(rc, fresh, fresh.stat)
            with created_at(view, fresh.key, rc.times.created_ns):
                source = fresh.path, fresh.key, fresh.stat
                aside = publish_moved(rc, view, fresh, source, modified_ns=modified_ns)
        if aside is not None:
            try:
                leaving.enter_context(rc.services.storage.following(aside.path))
            except StorageError:
                rc.services.storage.abandon(aside.path)  # it is done all the same
        return fresh, aside


def _is_brief(view: GateView, target: Target) -> bool:
    """True where one rename is all, but for the rows of one resource."""
    old = target.destination_stat
    if target.is_link or view.bindings or is_long(old):
        return False
    if target.kind is Kind.FILE:
        return old is None or old.kind is Kind.FILE
    return old is None and not view.has_rows(target.key)


def _is_where(target: Target, begun: Target) -> bool:
    """True where both ends are what the gate was entered for."""
    ends = begun.key, begun.destination_key
    return (target.key, target.destination_key) == ends


def _rename_link(rc: RequestContext, target: Target) -> Target:
    """A link may get another name beside its own. Elsewhere its text would lead elsewhere."""
    assert target.destination is not None
    if target.destination.parent != target.path.parent or target.destination_stat is not None:
        raise Forbidden("a link can only be renamed, within its own collection")
    _prove_moved(rc, target)
    rc.services.storage.rename(target.path, target.destination)
    rc.times = NO_TIMES  # they would be those of what it leads to
    return target


def _prove_moved(rc: RequestContext, target: Target) -> None:
    """Of a link: by its new name what it leads to is found."""
    assert target.destination is not None
    assert target.stat is not None
    prove(rc, target.destination, target.stat, answer_moved(rc, target), gone=target.path)


def publish_moved(
    rc: RequestContext,
    view: GateView,
    target: Target,
    source: tuple[DavPath, Key, Stat],
    *,
    size: int | None = None,
    modified_ns: int | None = None,
    leaving: Change | None = None,
) -> Aside | None:
    goal, goal_key = target.destination, target.destination_key
    assert goal is not None
    assert goal_key is not None
    known = view.properties(target.key)
    if rc.progress.is_watched:
        gone = None if target.key == target.destination_key else target.path
        prove(rc, goal, source[2], answer_moved(rc, target), gone=gone)
    # Section 9.9.3: "the server MUST perform a DELETE with Depth: infinity on the destination":
    # its locks go with it.
    goal_and_old = goal, goal_key, _old(target, source[1])
    aside = publish(
        rc.services,
        view,
        source,
        goal_and_old,
        size=size,
        modified_ns=modified_ns,
        leaving=leaving,
    )
    stat = confirm_modified(rc, goal)
    if stat is not None:
        carry_digests(view, goal_key, known, (target.stat, stat))
    return aside


def _old(target: Target, key: object) -> Stat | None:
    # A rename that only changes the case finds the source itself at its destination.
    return target.stat if key == target.destination_key else target.destination_stat


def new_time(rc: RequestContext, target: Target, stat: Stat) -> int | None:
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
    return max(int(rc.now), old.mtime_ns // second + 1) * second


def sync_moved(rc: RequestContext, target: Target) -> None:
    assert target.destination is not None
    make_durable(rc.services.storage, target.path.parent, target.destination.parent)


def answer_moved(rc: RequestContext, target: Target) -> Response:
    assert target.destination is not None
    if target.destination_stat is not None and target.key != target.destination_key:
        return Response(204, rc.times.accepted())
    href = rc.href(target.destination, collection=target.is_collection)
    return Response(201, ((b"location", href), *rc.times.accepted()))
