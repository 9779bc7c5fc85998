"""Where storage and state meet: what is done to both is journalled.

A change that touches disk and state is recorded before its first step and settled after its last.
When its owner died in between, or the state could not take its part any more, whoever meets it
finishes it or undoes it (recovery.py). Everything here runs inside the gate unless it says
otherwise.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping

from davserver.binding import bound_within, drop_unled
from davserver.context import Services
from davserver.copies import SIZE
from davserver.errors import NotACollection, ResourceNotFound, StateFull, StorageError
from davserver.protocol.path import DavPath, Key
from davserver.recovery import (
    KEEPS_LOCK,
    MODIFIED,
    follow,
    identity,
    left_to_recovery,
    put_attributes,
    put_time,
    remove_tree,
    remove_trees,
    take_up,
)
from davserver.state.base import Change, GateView, Step, StepKind
from davserver.storage.base import Capability, Stat, Storage
from davserver.usage import (
    Aside,
    disturb,
    enter_removed,
    given_way,
    growing,
    moving,
    set_aside,
    shrinking,
)

logger = logging.getLogger(__name__)


def _change(services: Services, step: Step, root: str, rest: Change | None = None) -> Change:
    owner, steps = (services.state.owner, ()) if rest is None else (rest.owner, rest.steps)
    return Change(os.urandom(16).hex(), root, owner, (step, *steps))


def has_traces(services: Services, view: GateView, key: Key) -> bool:
    """True when the state knows anything of the resource or of what is below it: a row, a lock, a
    binding."""
    now = services.clock()
    return (
        any(lock.key == key for lock in view.covering(key, now=now))
        or bool(view.beneath(key, now=now))
        or view.has_rows(key)
        or view.bindings.touches(key)
    )


@contextlib.contextmanager
def creating(services: Services, view: GateView, path: DavPath, key: Key) -> Iterator[None]:
    """Commits what the transaction holds for a resource that the block creates. Rows and locks
    go again when it does not come to that, were it because this worker dies."""
    change = _change(services, Step(StepKind.CREATE, target=path), key.root)
    view.record(change)
    view.commit()
    try:
        yield
    except BaseException:
        with left_to_recovery(view):
            view.clear(key)
            view.settle(change)
            view.commit()
        raise
    with left_to_recovery(view):
        view.settle(change)
        view.commit()


@contextlib.contextmanager
def removing(
    services: Services, view: GateView, doomed: Iterable[tuple[DavPath, Key]]
) -> Iterator[list[Key]]:
    """For a block that removes resources and adds the key of each to the list: their rows and
    locks go, too, were it because this worker dies. Costs nothing where there are none."""
    gone: list[Key] = []
    steps = []
    root = ""
    is_unsure = False
    for path, key in doomed:
        if has_traces(services, view, key):
            try:
                found = services.storage.named(path)
            except StorageError:
                # Most likely it cannot be removed either; if it can, at least its rows go.
                is_unsure = True
                continue
            if found.stat is not None:
                steps.append(Step(StepKind.REMOVE, path, identity=identity(found.stat)))
                root = key.root
    if not steps:
        yield gone
        for key in gone if is_unsure else ():
            # Nothing tells of rows that stay, but that it failed would be told of what is gone.
            with left_to_recovery(view):
                view.clear(key)
                view.commit()
        return
    change = Change(os.urandom(16).hex(), root, services.state.owner, tuple(steps))
    try:
        view.record(change)
        view.commit()
    except StateFull as error:
        # Whoever deletes makes room: it must not need any. A death now would leave rows behind.
        logger.warning("nothing can be journalled: %s", error)
        view.rollback()
        view.remember(change)
    try:
        yield gone
    finally:
        with left_to_recovery(view):
            for key in gone:
                bound = bound_within(view, key)
                view.clear(key)
                for resource in bound:
                    drop_unled(services, view, resource)
            view.settle(change)
            view.commit()


def publish(
    services: Services,
    view: GateView,
    source: tuple[DavPath, Key, Stat],
    target: tuple[DavPath, Key, Stat | None],
    *,
    size: int | None = None,
    keeps_lock: bool = False,
    modified_ns: int | None = None,
    leaving: Change | None = None,
) -> Aside | None:
    """Makes what stands at `source` (a resource, or a tree staged under a hidden name) `target`.

    Its dead properties go along, those of the old target go, and so do the locks at or below
    `source` and below `target`; those at the target itself stay with `keeps_lock`. The old
    target stays until the new one stands. Returns an old tree that was set aside, for `discard`
    after the gate, or None. Raises StorageError, with everything as it was.

    Args:
        size: bytes of all files that were staged, which count for quotas from now on.
        modified_ns: the time that it gets once it stands there, if the system lets it; until then
            nothing at `source` has changed.
        leaving: what goes once its copy, which `source` is, stands at the target: a file at once,
            so that a file that cannot go leaves everything as it was; of a collection the change
            stays in the journal for the caller to carry out and settle.
    """
    _, key, stat = source
    _, goal_key, old = target
    is_same = key == goal_key
    replaced = None if is_same else given_way(old, stat)
    if old is not None and replaced is None and services.quotas:
        disturb(services, view, goal_key)
    if size is None:
        entered = moving(services, view, goal_key, stat, replaced)
    else:
        entered = growing(services, view, goal_key, size, replaced)
    values = {KEEPS_LOCK: int(keeps_lock)}
    if modified_ns is not None:
        values[MODIFIED] = modified_ns
    with entered:
        aside = _publish(services, view, source, target, (values, leaving))
    if aside is not None and replaced is not None:
        return Aside(aside)  # entered as gone already
    return None if is_same else set_aside(services, view, goal_key, aside, old)


def _publish(
    services: Services,
    view: GateView,
    source: tuple[DavPath, Key, Stat],
    target: tuple[DavPath, Key, Stat | None],
    how: tuple[Mapping[str, int], Change | None],
) -> DavPath | None:
    """Returns the hidden path to which an old target was set aside."""
    path, key, stat = source
    goal, goal_key, old = target
    values, leaving = how
    # An old file that may have to come back is set aside, too.
    replaces_file = leaving is None and given_way(old, stat) is not None
    aside = None
    if key == goal_key:
        aside = services.storage.hidden(goal)
    elif old is not None and not replaces_file:
        aside = _aside(services.storage, path, goal)
    leaves = None if leaving is None else services.storage.named(_source(leaving)).key
    change = None
    # Where a system cannot rename unless something is in the way, a file is linked and unlinked.
    is_one_step = path.is_reserved or Capability.EXCHANGE in services.storage.capabilities
    is_one_step &= aside is None and leaving is None and MODIFIED not in values
    if not is_one_step or any(has_traces(services, view, name) for name in (key, goal_key)):
        step = Step(StepKind.PUBLISH, path, goal, aside, identity(stat), values)
        change = _change(services, step, key.root, leaving)
        view.record(change)
        view.commit()
    try:
        _put_in_place(services.storage, path, goal, aside, replaces_file=replaces_file)
        if leaving is not None and leaves is not None:
            _leave_file(services, view, (leaving, leaves), (path, goal, aside))
    except BaseException:
        if change is not None:
            _take_back(services, view, change)
        raise
    if change is None:
        view.commit()
        return aside
    put_time(services.storage, goal, change.steps[0].values)
    with left_to_recovery(view):
        if key != goal_key:
            follow(services, view, (key, goal_key, stat.kind), keeps_lock=bool(values[KEEPS_LOCK]))
        view.settle(change)
        if leaving is not None and leaves is not None:
            _go_on(view, leaving, leaves)
        view.commit()
        return aside
    # Recovery removes it: by its being there it tells that what comes to stand at `path` is not it.
    return None


def _source(leaving: Change) -> DavPath:
    source = leaving.steps[0].source
    assert source is not None
    return source


def _leave_file(
    services: Services,
    view: GateView,
    leaving: tuple[Change, Key],
    ends: tuple[DavPath, DavPath, DavPath | None],
) -> None:
    """Removes a file whose copy has just been put in place; takes the copy back when it cannot."""
    change, key = leaving
    step = change.steps[0]
    if step.identity is None:
        return
    storage = services.storage
    try:
        with shrinking(services, view, key, step.values[SIZE]):
            storage.delete(_source(change))
    except BaseException:
        path, goal, aside = ends
        if aside == path:
            storage.exchange(path, goal)
        else:
            storage.rename(goal, path)
            if aside is not None:
                storage.rename(aside, goal)
        raise


def _go_on(view: GateView, leaving: Change, key: Key) -> None:
    """With the rows of what has been put in place: what is left to be done."""
    if leaving.steps[0].identity is None:
        view.record(leaving)
    else:
        view.clear(key)


def discard(services: Services, aside: Aside | None) -> None:
    """Removes an old tree that was set aside, after the gate."""
    if aside is not None:
        members = remove_tree(services.storage, aside.path, counts=bool(aside.counts))
        enter_removed(services, aside, aside.size + members)


def _put_in_place(
    storage: Storage, path: DavPath, goal: DavPath, aside: DavPath | None, *, replaces_file: bool
) -> None:
    if aside is None:
        storage.rename(path, goal, replace=replaces_file)
    elif storage.named(path).key == storage.named(goal).key:
        # Where case is folded, a rename to the other spelling finds the resource itself in its
        # way, or does nothing. The journal knows the name between.
        storage.rename(path, aside)
        try:
            storage.rename(aside, goal)
        except BaseException:
            storage.rename(aside, path)
            raise
    else:
        _replace_tree(storage, path, goal, aside)


def _take_back(services: Services, view: GateView, change: Change) -> None:
    """After a step that failed. What cannot be put right now stays in the journal, for whoever
    meets it once this worker is gone."""
    try:
        left_over, _ = take_up(services, view, change)
    except StorageError as error:
        logger.error("change %s stays half done: %s", change.id, error)
        # Rows that have followed already would follow twice, should somebody commit them here.
        view.rollback()
        return
    with left_to_recovery(view):
        view.settle(change)
        view.commit()
        # As long as the change is not settled, an old tree tells that what is at its source by now
        # is not it.
        remove_trees(services.storage, left_over)


def _aside(storage: Storage, path: DavPath, goal: DavPath) -> DavPath:
    """Where the old target goes: an exchange leaves it at the hidden name of the new one."""
    if path.is_reserved and Capability.EXCHANGE in storage.capabilities:
        return path
    return storage.hidden(goal)


def _replace_tree(storage: Storage, path: DavPath, goal: DavPath, aside: DavPath) -> None:
    """Puts `path` in the place of `goal`, whose old tree ends up at `aside`."""
    if Capability.EXCHANGE in storage.capabilities:
        storage.exchange(path, goal)
        if aside == path:
            return
        try:
            storage.rename(path, aside)
        except BaseException:
            storage.exchange(path, goal)
            raise
        return
    # The journal knows both names: whoever finds the target missing puts the old one back.
    storage.rename(goal, aside)
    try:
        storage.rename(path, goal)
    except BaseException:
        storage.rename(aside, goal)
        raise


def apply_attributes(
    services: Services, view: GateView, path: DavPath, key: Key, values: Mapping[str, int]
) -> None:
    """Commits what the transaction holds together with the live `values` (`mtime_ns`,
    `executable`), then puts those on the resource. Recovery rolls forward.

    Raises StorageError with the change settled and not committed: the caller takes the rows back
    and commits both.
    """
    change = _change(services, Step(StepKind.APPLY, target=path, values=dict(values)), key.root)
    view.record(change)
    view.commit()
    try:
        put_attributes(services.storage, path, values)
    except BaseException:
        view.settle(change)
        raise
    with left_to_recovery(view):
        view.settle(change)
        view.commit()


def make_durable(storage: Storage, *collections: DavPath | None) -> None:
    """Waits for the disk after the gate. A collection that somebody has moved or deleted since is
    passed over: what was done there is done. Where no disk is waited for nothing can fail here:
    the straight way (shortcut.py) would have it done again."""
    for path in dict.fromkeys(collections) if storage.durable else ():
        if path is not None:
            with contextlib.suppress(ResourceNotFound, NotACollection):
                storage.sync(path)
