"""A resource is handed to another of its bindings before the place where it stands goes
(RFC 5842 section 2.4: a DELETE "MUST NOT remove any bindings to that resource other than the one
identified by the Request-URI").

The two change places: the resource comes to stand where the link was, and a link to it where it
was. Every URL still leads where it led, so that what goes then is a link, and a death in between
has changed nothing that a client could see. All of this is for who is in the gate.
"""

from __future__ import annotations

import os

from davserver.binding import end_hand_over, is_binding
from davserver.context import Services
from davserver.protocol.path import DavPath, Key
from davserver.recovery import left_to_recovery
from davserver.state.base import Change, GateView, Step, StepKind
from davserver.storage.base import Capability, Storage


def release(
    services: Services, view: GateView, key: Key, doomed: Key, *, itself: bool = True
) -> bool:
    """Hands over what has a binding that stays, at `key` and below, before the tree at `doomed`
    goes with all of that. Returns whether anything was.

    Args:
        itself: also what is at `key`.

    Raises StorageError, with what was not handed over as it was.
    """
    has_released = False
    while view.bindings:
        found = _next(services.storage, view, key, doomed, itself=itself)
        if found is None:
            break
        hand_over(services, view, *found)
        has_released = True
    return has_released


def _next(
    storage: Storage, view: GateView, key: Key, doomed: Key, *, itself: bool
) -> tuple[Key, Key] | None:
    """Returns the outermost resource that has a binding elsewhere, and that binding."""
    for bound in view.bindings.bound(key):
        if bound == key and not itself:
            continue
        for link in view.bindings.links(bound):
            if not doomed.covers(link) and is_binding(storage, link, bound):
                return bound, link
    return None


def hand_over(services: Services, view: GateView, key: Key, link: Key) -> None:
    """Has the resource at `key` and a link to it change places, with all that is stored of it.
    Raises StorageError, with everything as it was, or the rest of it left to recovery."""
    storage = services.storage
    path, goal = storage.path_of(key), storage.path_of(link)
    stat = storage.named(path).stat
    assert stat is not None
    step = Step(StepKind.HAND_OVER, path, goal, identity=stat.identity)
    change = Change(os.urandom(16).hex(), key.root, services.state.owner, (step,))
    view.record(change)
    view.commit()
    try:
        _swap(storage, path, goal)
    except BaseException:
        with left_to_recovery(view):
            _end(services, view, change)
        raise
    try:
        _end(services, view, change)
    except BaseException:
        view.rollback()  # rows that have gone over already would do so once more
        raise


def _swap(storage: Storage, path: DavPath, goal: DavPath) -> None:
    if Capability.EXCHANGE in storage.capabilities:
        storage.exchange(path, goal)
        storage.make_link(path, goal, replace=True)
        return
    # The journal knows what the link was: whoever finds it missing makes it again.
    storage.delete(goal)
    storage.rename(path, goal)
    storage.make_link(path, goal)


def _end(services: Services, view: GateView, change: Change) -> None:
    end_hand_over(services, view, change.steps[0])
    view.settle(change)
    view.commit()
