"""Bindings that methods make and move (RFC 5842): a link, staged under a hidden name and published
as anything else is. All of this is for who is in the gate."""

from __future__ import annotations

import os

from davserver.binding import drop_unled
from davserver.changes import publish
from davserver.context import RequestContext, Target
from davserver.copies import SIZE, TIME, locks_in_the_way
from davserver.errors import Forbidden
from davserver.protocol.path import DavPath, Key
from davserver.recovery import left_to_recovery, remove_tree
from davserver.state.base import Change, GateView, StateReader, Step, StepKind
from davserver.storage.base import Stat
from davserver.usage import Aside


def put_binding(
    rc: RequestContext,
    view: GateView,
    resource: Key,
    goal: tuple[DavPath, Key, Stat | None],
    *,
    leaving: Change | None = None,
) -> Aside | None:
    """Makes `goal` a binding of the resource, in the place of what is there. Returns an old tree
    that was set aside, for `discard` after the gate. Raises StorageError, with everything as it
    was.

    Args:
        leaving: as `publish` has it.
    """
    storage = rc.services.storage
    staged = storage.hidden(goal[0])
    try:
        storage.make_link(staged, storage.path_of(resource))
        link = storage.named(staged)
        assert link.stat is not None
        view.bind({link.key: resource})
        source = staged, link.key, link.stat
        return publish(rc.services, view, source, goal, leaving=leaving)
    except BaseException:
        remove_tree(storage, staged)
        raise


def move_binding(rc: RequestContext, view: GateView, target: Target) -> Aside | None:
    """MOVE of a binding: it comes to stand at the Destination, and the resource stays (RFC 5842
    section 2.5), in one change. Returns and raises as put_binding does."""
    storage = rc.services.storage
    goal, goal_key, binding = target.destination, target.destination_key, target.binding
    assert goal is not None
    assert goal_key is not None
    assert binding is not None
    source = storage.path_of(binding)
    link = storage.named(source)
    assert link.stat is not None
    locks = locks_in_the_way(view, binding, now=rc.now)
    step = Step(
        StepKind.LEAVE,
        source,
        goal,
        identity=link.stat.identity,
        values={SIZE: link.stat.size, TIME: link.stat.mtime_ns},
        tokens=tuple(lock.token for lock in locks),
    )
    change = Change(os.urandom(16).hex(), binding.root, rc.services.state.owner, (step,))
    at = goal, goal_key, target.destination_stat
    aside = put_binding(rc, view, target.key, at, leaving=change)
    with left_to_recovery(view):
        drop_unled(rc.services, view, target.key)
    return aside


def refuse_bound(reader: StateReader, target: Target) -> None:
    """Raises 403 where a tree that is to be copied to another share, and removed here, has, or is,
    a binding: its resources would come to be two."""
    if target.binding is not None or reader.bindings.touches(target.key):
        detail = f"{target.path.name!r} has bindings, which lead nowhere out of their share"
        raise Forbidden(detail, condition=b"cross-server-binding")
