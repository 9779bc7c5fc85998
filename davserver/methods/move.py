"""MOVE (RFC 4918 section 9.9)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from davserver.auth.base import Privilege
from davserver.changes import discard, make_durable, publish
from davserver.context import RequestContext, Response, Target
from davserver.copies import NONCE, SIZE, TIME, locks_in_the_way, new_nonce
from davserver.digests import carry_digests
from davserver.errors import (
    BadRequest,
    Conflict,
    CrossDevice,
    Forbidden,
    ServiceUnavailable,
    StateError,
    StorageError,
)
from davserver.methods._checks import relocate
from davserver.methods._times import confirm_modified, created_at, creation_change, read_times
from davserver.methods._tree import Failures, TreeDelete, prove, refuse_cancelled
from davserver.methods._treecopy import stage_copy
from davserver.methods.base import LockRule, Method
from davserver.properties.base import created_ns
from davserver.protocol.clienttimes import NO_TIMES
from davserver.protocol.headers import Depth
from davserver.protocol.path import DavPath, Key
from davserver.recovery import MODIFIED, put_time, remove_tree
from davserver.state.base import Change, GateView, Step, StepKind
from davserver.storage.base import Kind, Stat
from davserver.usage import Aside, require_same_scopes, size_of


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
        rc.progress.expect(1, 0)
        rc.progress.did()
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
    leaving: Change | None = None,
) -> Aside | None:
    goal, goal_key = target.destination, target.destination_key
    assert goal is not None
    assert goal_key is not None
    known = view.properties(target.key)
    gone = None if target.key == target.destination_key else target.path
    prove(rc, goal, source[2], _created(rc, target), gone=gone)
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
    return max(int(rc.now), old.mtime_ns // second + 1) * second


def _move_across(rc: RequestContext, target: Target) -> Response:
    """Copies to a hidden name beside the Destination, publishes that, then removes the source: a
    file in the same gate, so that it is all or nothing; of a collection what has not been written
    since. The rest stays there: 409 for a file, 207 for members.

    It is one journalled change: when this worker dies, whoever meets it removes the rest."""
    with ExitStack() as leaving:
        owner = rc.services.state.owner
        if target.is_collection:
            owner = leaving.enter_context(rc.services.state.another_owner())
        failures = Failures(rc)
        nonce = new_nonce()
        try:
            moved = _publish_copy(rc, target, failures, (owner, nonce))
            if moved is None:
                return failures.response()
            fresh, change = moved
            if fresh.is_collection:
                with _settling(rc, change):
                    walk = TreeDelete(rc, failures, nonce=nonce)
                    walk.run(fresh.path, fresh.key, fresh.destination)
        except BaseException:
            failures.close()
            raise
    _sync(rc, fresh)
    return failures.response() if failures.count else _created(rc, fresh)


def _publish_copy(
    rc: RequestContext, target: Target, failures: Failures, mark: tuple[str, int]
) -> tuple[Target, Change] | None:
    """Returns None when members could not be copied: then nothing is done."""
    assert target.destination is not None
    storage = rc.services.storage
    staged = storage.hidden(target.destination)
    _, nonce = mark
    with storage.following(staged):
        try:
            size = stage_copy(rc, target, staged, failures, nonce=nonce)
            if failures.count:
                remove_tree(storage, staged)
                return None
            fresh, change, aside = _put_copy_in_place(rc, target, (staged, size), mark)
        except BaseException:
            remove_tree(storage, staged)
            raise
        discard(rc.services, aside)
    return fresh, change


def _put_copy_in_place(
    rc: RequestContext, begun: Target, copy: tuple[DavPath, int], mark: tuple[str, int]
) -> tuple[Target, Change, Aside | None]:
    """Raises Conflict when the source is not the one any more that was copied."""
    refuse_cancelled(rc)
    staged, size = copy
    key = rc.services.storage.canonical(staged)
    with rc.hold([key]) as view:
        fresh = relocate(rc, MOVE, view)
        then, now = begun.stat, fresh.stat
        assert then is not None
        assert now is not None
        if fresh.is_link or then.identity != now.identity or then.etag != now.etag:
            raise Conflict(f"{fresh.path.name!r} was not copied as it is now")
        if view.has_rows(fresh.key):
            view.copy_properties(fresh.key, key, tree=True)
        _keep_creation_time(rc, view, fresh, key)
        stat = _stamp(rc, fresh, staged)
        change = _leaving(rc, view, fresh, mark)
        source, size = (staged, key, stat), size_of(stat) or size
        aside = _publish(rc, view, fresh, source, size=size, leaving=change)
    return fresh, change, aside


def _leaving(rc: RequestContext, view: GateView, target: Target, mark: tuple[str, int]) -> Change:
    """The removal of the source, as the journal knows it."""
    assert target.stat is not None
    owner, nonce = mark
    values, identity = {NONCE: nonce}, None
    if not target.is_collection:
        values = {SIZE: target.stat.size, TIME: target.stat.mtime_ns}
        identity = target.stat.identity
    locks = locks_in_the_way(view, target.key, now=rc.now)
    step = Step(
        StepKind.LEAVE,
        target.path,
        target.destination,
        identity=identity,
        values=values,
        tokens=tuple(lock.token for lock in locks),
    )
    return Change(os.urandom(16).hex(), target.key.root, owner, (step,))


@contextmanager
def _settling(rc: RequestContext, change: Change) -> Iterator[None]:
    """For a block that carries a change out. When it is stopped midway, or the gate cannot be
    had, the change stays in the journal, for the next request to go on with."""
    try:
        yield
    except (ServiceUnavailable, StateError):
        raise
    except BaseException:
        _settle(rc, change)
        raise
    _settle(rc, change)


def _settle(rc: RequestContext, change: Change) -> None:
    with suppress(StateError), rc.hold([]) as view:
        view.settle(change)


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
