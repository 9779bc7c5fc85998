"""MOVE (RFC 4918 section 9.9)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from davserver.auth.base import Privilege
from davserver.changes import discard
from davserver.context import RequestContext, Response, Target
from davserver.copies import NONCE, SIZE, TIME, locks_in_the_way, new_nonce
from davserver.errors import (
    BadRequest,
    Conflict,
    CrossDevice,
    ServiceUnavailable,
    StateError,
)
from davserver.handover import release
from davserver.methods._binding import refuse_bound
from davserver.methods._checks import relocate
from davserver.methods._failures import Failures
from davserver.methods._moving import (
    answer_moved,
    move_at_once,
    new_time,
    publish_moved,
    sync_moved,
)
from davserver.methods._times import creation_change, read_times
from davserver.methods._tree import TreeDelete
from davserver.methods._treecopy import stage_copy
from davserver.methods._walking import refuse_cancelled
from davserver.methods.base import LockRule, Method, TakesLong
from davserver.properties.base import created_ns
from davserver.protocol.headers import Depth
from davserver.protocol.path import DavPath, Key
from davserver.recovery import MODIFIED, put_time, remove_tree
from davserver.state.base import Change, GateView, Step, StepKind
from davserver.storage.base import Stat
from davserver.usage import Aside, size_of


def handle_move(rc: RequestContext, target: Target) -> Response:
    """One rename: all or nothing, 201 or 204. Across file systems a copy that is published
    whole, then the source goes; there 207 names the members that stayed."""
    if target.is_collection and rc.depth not in (None, Depth.INFINITY):
        raise BadRequest("MOVE of a collection has Depth infinity")
    try:
        return move_at_once(rc, MOVE, target)
    except CrossDevice:
        refuse_bound(rc.services.state, target)
        return _move_across(rc, target)


def _move_briefly(rc: RequestContext, target: Target) -> Response:
    """A rename of a file, or of a tree of which nothing is stored, onto nothing or over a file."""
    try:
        return move_at_once(rc, MOVE, target, briefly=True)
    except CrossDevice as exc:
        raise TakesLong from exc


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
    sync_moved(rc, fresh)
    return failures.response() if failures.count else answer_moved(rc, fresh)


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
            size = stage_copy(rc, target, staged, failures, nonce=nonce).size
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
        refuse_bound(view, fresh)
        goal = fresh.destination_key
        if goal is not None and release(rc.services, view, goal, goal):
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
        aside = publish_moved(rc, view, fresh, source, size=size, leaving=change)
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
    modified_ns = new_time(rc, target, stat)
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


MOVE = Method(
    "MOVE",
    handle=handle_move,
    # Of a collection any other Depth is refused.
    brief=lambda rc: _move_briefly if rc.depth in (None, Depth.INFINITY) else None,
    validate=read_times,
    locks=LockRule.TARGET | LockRule.PARENT | LockRule.SUBTREE | LockRule.DESTINATION,
    privilege=Privilege.WRITE,
    destination=Privilege.WRITE,
    unbounded=True,
)
METHODS = (MOVE,)
