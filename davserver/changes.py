"""Where storage and state meet: publishing with a journal, and recovery of what a dead worker left.

A change that touches disk and state is recorded before its first step and settled after its last.
When its owner died in between, whoever meets it finishes it or undoes it: the identity of the
resource tells which. Everything here runs inside the gate unless it says otherwise.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Set

from davserver.context import Services
from davserver.errors import ResourceNotFound, StorageError
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Change, GateView, Step, StepKind
from davserver.storage.base import Capability, Kind, Stat, Storage

logger = logging.getLogger(__name__)
Identity = tuple[int, int, int | None]
_KEEPS_LOCK = "keeps_lock"


def identity(stat: Stat) -> Identity:
    """What tells a resource from another one that comes to stand at the same path."""
    return stat.device, stat.inode, stat.birth_ns


def _change(services: Services, step: Step, root: str) -> Change:
    return Change(os.urandom(16).hex(), root, services.state.owner, (step,))


def has_traces(services: Services, view: GateView, key: Key) -> bool:
    """True when the state knows anything of the resource or of what is below it: a row, a lock."""
    now = services.clock()
    return (
        any(lock.key == key for lock in view.covering(key, now=now))
        or bool(view.beneath(key, now=now))
        or view.has_rows(key)
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
        view.clear(key)
        view.settle(change)
        view.commit()
        raise
    view.settle(change)
    view.commit()


@contextlib.contextmanager
def removing(
    services: Services, view: GateView, doomed: Iterable[tuple[DavPath, Key]]
) -> Iterator[None]:
    """For a block that removes resources and clears each: when this worker dies in between, the
    rows and locks of those that are gone go, too. Costs nothing where there are none."""
    steps = []
    root = ""
    for path, key in doomed:
        if has_traces(services, view, key):
            found = services.storage.locate(path)
            if found.stat is not None and found.link_to is None:
                steps.append(Step(StepKind.REMOVE, path, identity=identity(found.stat)))
                root = key.root
    if not steps:
        yield
        return
    change = Change(os.urandom(16).hex(), root, services.state.owner, tuple(steps))
    view.record(change)
    view.commit()
    try:
        yield
    finally:
        view.settle(change)
        view.commit()


def publish(
    services: Services,
    view: GateView,
    source: tuple[DavPath, Key, Stat],
    target: tuple[DavPath, Key, Stat | None],
    *,
    keeps_lock: bool = False,
) -> DavPath | None:
    """Makes what stands at `source` (a resource, or a tree staged under a hidden name) `target`.

    Its dead properties go along, those of the old target go, and so do the locks at or below
    `source` and below `target`; those at the target itself stay with `keeps_lock`. The old
    target stays until the new one stands. Returns the hidden path to which an old tree was set
    aside, for the caller to remove after the gate, or None. Raises StorageError, with everything
    as it was.
    """
    path, key, stat = source
    goal, goal_key, old = target
    replaces_file = old is not None and old.kind is Kind.FILE and stat.kind is Kind.FILE
    aside = None
    if key == goal_key:
        aside = services.storage.hidden(goal)
    elif old is not None and not replaces_file:
        aside = _aside(services.storage, path, goal)
    change = None
    # Where a system cannot rename unless something is in the way, a file is linked and unlinked.
    is_one_step = path.is_reserved or Capability.EXCHANGE in services.storage.capabilities
    traces = (has_traces(services, view, name) for name in (key, goal_key))
    if aside is not None or not is_one_step or any(traces):
        values = {_KEEPS_LOCK: int(keeps_lock)}
        step = Step(StepKind.PUBLISH, path, goal, aside, identity(stat), values)
        change = _change(services, step, key.root)
        view.record(change)
        view.commit()
    try:
        _put_in_place(services.storage, path, goal, aside, replaces_file=replaces_file)
    except BaseException:
        if change is not None:
            _take_back(services, view, change)
        raise
    if key == goal_key:
        aside = None
    else:
        view.move_rows(key, goal_key)
        view.remove_locks(goal_key, itself=not keeps_lock)
    if change is not None:
        view.settle(change)
    view.commit()
    return aside


def _put_in_place(
    storage: Storage, path: DavPath, goal: DavPath, aside: DavPath | None, *, replaces_file: bool
) -> None:
    if aside is None:
        storage.rename(path, goal, replace=replaces_file)
    elif storage.canonical(path) == storage.canonical(goal):
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
        for step in change.steps:
            _recover_step(services, view, step)
    except StorageError as error:
        logger.error("change %s stays half done: %s", change.id, error)
        return
    view.settle(change)
    view.commit()


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
        _apply(services.storage, path, values)
    finally:
        view.settle(change)
    view.commit()


def _apply(storage: Storage, path: DavPath, values: Mapping[str, int]) -> None:
    executable = values.get("executable")
    storage.set_attributes(
        path,
        mtime_ns=values.get("mtime_ns"),
        executable=None if executable is None else bool(executable),
    )


def remove_tree(storage: Storage, path: DavPath) -> None:
    """Removes a hidden tree as far as it can, outside the gate: nobody else can name it."""
    stack = [path]
    stuck: set[DavPath] = set()
    while stack:
        here = stack[-1]
        if not _is_removed(storage, here):
            children = _remove_members(storage, here, stuck)
            if children:
                stack.extend(children)
                continue
            if not _is_removed(storage, here):
                logger.warning("left behind %r", here.name)
                stuck.add(here)
        stack.pop()


def _is_removed(storage: Storage, path: DavPath) -> bool:
    try:
        storage.delete(path)
    except ResourceNotFound:
        return True
    except StorageError:
        return False
    return True


def _remove_members(storage: Storage, path: DavPath, stuck: Set[DavPath]) -> list[DavPath]:
    """Removes files; returns collections, at most so many that the list stays short."""
    children: list[DavPath] = []
    with contextlib.suppress(StorageError), storage.scan_all(path) as members:
        for entry in members:
            child = path.child(entry.name)
            if entry.stat.kind is not Kind.COLLECTION:
                _is_removed(storage, child)
            elif child not in stuck:
                children.append(child)
                if len(children) >= 1000:
                    break
    return children


def recover(services: Services, *, wait_s: float) -> None:
    """Finishes or undoes every journalled change whose owner is dead. Enters the gate itself."""
    state = services.state
    with state.hold([Key("", b"")], wait_s=wait_s) as view:
        for change in view.changes():
            if change.owner == state.owner or state.is_alive(change.owner):
                continue
            logger.warning("recovering change %s of worker %s", change.id, change.owner)
            try:
                for step in change.steps:
                    _recover_step(services, view, step)
            except StorageError as error:
                # It stays in the journal; the rest of the tree is served meanwhile.
                logger.error("change %s cannot be recovered: %s", change.id, error)
                continue
            view.settle(change)
            view.commit()


def _recover_step(services: Services, view: GateView, step: Step) -> None:
    storage = services.storage
    if step.kind is StepKind.APPLY and step.target is not None:
        try:
            _apply(storage, step.target, step.values)
        except StorageError as error:
            logger.warning("attributes of %r are lost: %s", step.target.name, error)
    elif step.kind is StepKind.CREATE and step.target is not None:
        there = storage.locate(step.target)
        if there.stat is None:
            view.clear(there.key)
    elif step.kind is StepKind.REMOVE and step.source is not None:
        _recover_removal(services, view, step, step.source)
    elif step.kind is StepKind.PUBLISH and step.source is not None and step.target is not None:
        _recover_publish(services, view, step, step.source, step.target)


def _recover_removal(services: Services, view: GateView, step: Step, source: DavPath) -> None:
    found = services.storage.locate(source)
    if step.identity is None:
        remove_tree(services.storage, source)
    elif found.stat is not None and identity(found.stat) == step.identity:
        return
    if found.link_to is None:
        view.clear(found.key)


def _recover_publish(
    services: Services, view: GateView, step: Step, source: DavPath, target: DavPath
) -> None:
    storage = services.storage
    aside = step.aside
    here, key = storage.locate(target), storage.canonical(source)
    is_aside = aside is not None and storage.locate(aside).stat is not None
    if here.stat is None and aside is not None and is_aside:
        # The old target was set aside first (or the source, when only the case of its name was
        # to change): it comes back.
        storage.rename(aside, target)
    elif here.stat is not None and identity(here.stat) == step.identity and here.key != key:
        # Published, but its rows did not follow any more.
        left = storage.locate(source).stat
        if left is not None and identity(left) == step.identity:
            storage.delete(source)  # linked, and not yet unlinked
        elif aside not in (None, source) and not is_aside and left is not None:
            assert aside is not None
            storage.rename(source, aside)
        view.move_rows(key, here.key)
        view.remove_locks(here.key, itself=not step.values.get(_KEEPS_LOCK))
        view.commit()
        if aside is not None:
            remove_tree(storage, aside)
        return
    if source.is_reserved:
        remove_tree(storage, source)
        view.clear(key)
