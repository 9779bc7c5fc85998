"""Recovery: what a change left half done is finished or undone, by whoever meets it.

A change stays behind when its worker died, or could not write to disk or state any more. The
identity of the resource tells which of its steps were done.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import replace

from davserver.binding import carry_locks, end_hand_over, move_rows
from davserver.context import Services
from davserver.errors import (
    ResourceExists,
    ResourceNotFound,
    StateError,
    StateFailure,
    StorageError,
    StorageFailure,
)
from davserver.leaving import leave_file, leave_tree
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Change, GateView, Step, StepKind, UndoLog
from davserver.storage.base import Kind, Stat, Storage
from davserver.storage.listed import listed_of
from davserver.undoing import undo
from davserver.usage import doubt, size_of

logger = logging.getLogger(__name__)
Identity = tuple[int, int, int | None]
KEEPS_LOCK = "keeps_lock"
"""In the values of a PUBLISH: 1 when locks on the target itself stay."""
MODIFIED = "mtime_ns"
"""In the values of a PUBLISH: the time that the target gets when it stands there."""
_NS = 1_000_000_000
_CHILDREN = 1000


def identity(stat: Stat) -> Identity:
    """What tells a resource from another one that comes to stand at the same path."""
    return stat.identity


def put_attributes(storage: Storage, path: DavPath, values: Mapping[str, int]) -> None:
    executable = values.get("executable")
    storage.set_attributes(
        path,
        mtime_ns=values.get("mtime_ns"),
        executable=None if executable is None else bool(executable),
    )


def put_time(storage: Storage, path: DavPath, values: Mapping[str, int]) -> None:
    """Gives what a PUBLISH has put in place its time, unless it has it. Who may rename a file may
    not always set its time: then it keeps its own."""
    wanted_ns = values.get(MODIFIED)
    if wanted_ns is None:
        return
    try:
        if storage.stat(path).mtime_ns // _NS != wanted_ns // _NS:
            storage.set_attributes(path, mtime_ns=wanted_ns)
    except StorageError as error:
        logger.warning("%r keeps the time that it had: %s", path.name, error)


@contextlib.contextmanager
def left_to_recovery(view: GateView) -> Iterator[None]:
    """For a block that writes down what has been done on disk, or points links at it: when that
    cannot be now, the journal tells the next request all that it needs."""
    try:
        yield
    except (StateError, StorageError) as error:
        logger.warning("the state is behind the disk for now: %s", error)
        view.rollback()


def follow(
    services: Services, view: GateView, moved: tuple[Key, Key, Kind], *, keeps_lock: bool
) -> None:
    """What is stored of a tree that has been put in its place follows it: from where, to where,
    and what it is. Raises StorageError, StateError."""
    source, target, kind = moved
    locks = move_rows(services, view, source, target)
    _settle_locks(services, view, target, kind, keeps_lock=keeps_lock)
    carry_locks(services, view, locks, source, target)


def _settle_locks(
    services: Services, view: GateView, key: Key, kind: Kind, *, keeps_lock: bool
) -> None:
    """Removes the locks of what stood at `key`. One on itself that stays, where a collection has
    become a file or the other way round, is shown with a slash only on a collection (RFC 4918
    section 5.2)."""
    view.remove_locks(key, itself=not keeps_lock)
    slash = b"/" if kind is Kind.COLLECTION else b""
    for lock in view.covering(key, now=services.clock()) if keeps_lock else ():
        href = lock.href.rstrip(b"/") + slash
        if lock.key == key and lock.href != href:
            view.remove_lock(lock.token)
            view.add_lock(replace(lock, href=href))


def remove_tree(storage: Storage, path: DavPath, *, counts: bool = False) -> int:
    """Removes a hidden tree as far as it can, outside the gate: nobody else can name it. Returns
    the bytes of the members that are gone, if somebody counts them."""
    gone = 0
    stack = [path]
    stuck: set[DavPath] = set()
    while stack:
        here = stack[-1]
        if not _is_removed(storage, here):
            children, size = _remove_members(storage, here, stuck, counts=counts)
            gone += size
            if children:
                stack.extend(children)
                continue
            if not _is_removed(storage, here):
                logger.warning("left behind %r", here.name)
                stuck.add(here)
        stack.pop()
    if path in stuck:
        storage.abandon(path)
    return gone


def _is_removed(storage: Storage, path: DavPath) -> bool:
    try:
        storage.delete(path)
    except ResourceNotFound:
        return True
    except StorageError:
        return False
    return True


def _remove_members(
    storage: Storage, path: DavPath, stuck: Set[DavPath], *, counts: bool
) -> tuple[list[DavPath], int]:
    """Removes files; returns collections, at most so many that the list stays short, and the
    bytes of the files."""
    children: list[DavPath] = []
    gone = 0
    with contextlib.suppress(StorageError), storage.scan_all(path) as listing:
        for few in listed_of(listing):
            files = few.without(few.collections)
            sizes = {e.name: size_of(e.stat) for e in few.look(files)} if counts else {}
            with contextlib.closing(storage.members(path)) as members:
                failures = members.delete_each(files).failures
            for name, error in failures:
                if not isinstance(error, ResourceNotFound):
                    sizes.pop(name, None)
            gone += sum(sizes.values())
            below = [path.child(name) for name in few.collections]
            children += [child for child in below if child not in stuck]
            if len(children) >= _CHILDREN:
                break
    return children, gone


def recover(services: Services, *, wait_s: float) -> None:
    """Finishes or undoes every change that is left half done. Enters the gate itself."""
    with contextlib.ExitStack() as owners:
        with services.state.hold([Key("", b"")], wait_s=wait_s) as view:
            left_over, leaving = _recover_all(services, view, owners)
        remove_trees(services.storage, left_over)
        for change in leaving:
            leave_tree(services, change, wait_s=wait_s)


def recover_inside(services: Services, view: GateView, paths: Iterable[DavPath | None]) -> None:
    """As recover, for who has just entered the gate and is going to change what is at `paths`:
    nobody builds on what is half done. What takes long, and harms nobody, waits for `recover`.
    Raises StateError, StorageError when it must stay so there."""
    if not view.changes():
        return
    try:
        remove_trees(services.storage, _recover_all(services, view, needed=paths)[0])
    except StateError as error:
        view.rollback()
        if any(_concerns(change, paths) for change in view.changes()):
            raise
        logger.warning("nothing can be recovered now: %s", error)


def is_atomic(change: Change) -> bool:
    """True for one whose steps are in an undo log (atomic/)."""
    return change.steps[0].kind is StepKind.ATOMIC


def undo_all(storage: Storage, log: UndoLog) -> list[DavPath]:
    """Undoes an atomic change. Returns hidden trees that are nobody's any more once it is settled.
    Raises StorageError, StateError: the rest is for who meets it next."""
    left_over: list[DavPath] = []
    try:
        undo(storage, log, left_over)
    except StateFailure as error:
        # A log that nobody can read keeps nobody from changing other things.
        remove_trees(storage, left_over)
        raise StorageFailure(str(error)) from error
    except BaseException:
        remove_trees(storage, left_over)
        raise
    finally:
        log.close()
    return left_over


def _concerns(change: Change, paths: Iterable[DavPath | None]) -> bool:
    if is_atomic(change):
        return True  # perhaps
    ends = [end for step in change.steps for end in (step.source, step.target) if end is not None]
    return any(e.covers(path) or path.covers(e) for path in paths if path for e in ends)


def _recover_all(
    services: Services,
    view: GateView,
    owners: contextlib.ExitStack | None = None,
    needed: Iterable[DavPath | None] = (),
) -> tuple[list[DavPath | None], list[Change]]:
    """Changes of dead workers, and those that this one could not settle: whoever is at work on
    one is in the gate, or has another owner for it. Returns hidden trees to remove, and changes to
    carry out after the gate: with `owners` they are ours, else they stay the dead worker's. Raises
    StateError, and StorageError for what concerns those that are `needed`."""
    state = services.state
    left_over: list[DavPath | None] = []
    leaving: list[Change] = []
    for change in view.changes():
        if change.owner != state.owner and state.is_alive(change.owner):
            continue
        if owners is None and _is_tree_to_leave(change.steps[0]):
            continue
        logger.warning("recovering change %s of worker %s", change.id, change.owner)
        try:
            trees, rest = take_up(services, view, change)
        except StorageError as error:
            # It stays in the journal; the rest of the tree is served meanwhile. Rows that have
            # followed already go back: whoever tries again would have them follow twice.
            logger.error("change %s cannot be recovered: %s", change.id, error)
            view.rollback()
            if not is_atomic(change) and _concerns(change, needed):
                remove_trees(services.storage, left_over)
                raise
            continue
        left_over += trees
        doubt(services, view, _keys(services.storage, change))
        # With the rows: done twice, what was moved would be lost.
        view.settle(change)
        if rest is not None:
            owner = change.owner
            if owners is not None:
                owner = owners.enter_context(state.another_owner())
            leaving.append(Change(os.urandom(16).hex(), change.root, owner, (rest,)))
            view.record(leaving[-1])
        view.commit()
        if is_atomic(change):
            state.undo.log(change.id).remove()
    return left_over, leaving


def take_up(
    services: Services, view: GateView, change: Change
) -> tuple[list[DavPath | None], Step | None]:
    """Finishes or undoes a change. Returns hidden trees that are nobody's any more once it is
    settled, and the step that is left to be done outside the gate. Raises StorageError."""
    if is_atomic(change):
        return [*undo_all(services.storage, services.state.undo.log(change.id))], None
    left_over: list[DavPath | None] = []
    goes = _is_in_place(services.storage, change.steps[0])
    rest = None
    for step in change.steps:
        if _is_tree_to_leave(step):
            rest = step if goes else None
        elif step.kind is not StepKind.LEAVE:
            left_over.append(recover_step(services, view, step))
        elif goes:
            leave_file(services, view, step)
    return left_over, rest


def _is_tree_to_leave(step: Step) -> bool:
    return step.kind is StepKind.LEAVE and step.identity is None


def _is_in_place(storage: Storage, step: Step) -> bool:
    """False for a PUBLISH that did not come to be: then nothing is to be left."""
    if step.kind is not StepKind.PUBLISH or step.target is None:
        return True
    here = storage.named(step.target).stat
    return here is not None and identity(here) == step.identity


def _keys(storage: Storage, change: Change) -> list[Key]:
    found = []
    for step in change.steps:
        for path in (step.source, step.target):
            with contextlib.suppress(StorageError):
                found += [] if path is None else [storage.canonical(path)]
    return found


def remove_trees(storage: Storage, paths: Iterable[DavPath | None]) -> None:
    """Whoever dies here leaves hidden names that the next listing removes."""
    for path in paths:
        if path is not None:
            remove_tree(storage, path)


def recover_step(services: Services, view: GateView, step: Step) -> DavPath | None:
    """Returns a hidden tree that is nobody's any more once the change is settled."""
    storage = services.storage
    if step.kind is StepKind.APPLY and step.target is not None:
        try:
            put_attributes(storage, step.target, step.values)
        except ResourceNotFound:
            logger.debug("%r was not created, or is gone", step.target.name)
        except StorageError as error:
            logger.warning("attributes of %r are lost: %s", step.target.name, error)
    elif step.kind is StepKind.CREATE and step.target is not None:
        there = storage.locate(step.target)
        if there.stat is None:
            view.clear(there.key)
    elif step.kind is StepKind.HAND_OVER:
        end_hand_over(services, view, step)
    elif step.kind is StepKind.REMOVE and step.source is not None:
        _recover_removal(services, view, step, step.source)
    elif step.kind is StepKind.PUBLISH and step.source is not None and step.target is not None:
        return _recover_publish(services, view, step, step.source, step.target)
    return None


def _recover_removal(services: Services, view: GateView, step: Step, source: DavPath) -> None:
    found = services.storage.named(source)
    if step.identity is None:
        remove_tree(services.storage, source)
    elif found.stat is not None and identity(found.stat) == step.identity:
        return
    view.clear(found.key)


def _recover_publish(
    services: Services, view: GateView, step: Step, source: DavPath, target: DavPath
) -> DavPath | None:
    storage = services.storage
    aside = step.aside
    here, key = storage.named(target), storage.named(source).key
    spare = None if aside is None else storage.named(aside).stat
    is_aside = spare is not None
    if aside is not None and spare and here.stat and identity(spare) == identity(here.stat):
        storage.delete(aside)  # a file that came back: linked, and not yet unlinked
        is_aside = False
    if here.stat is None and aside is not None and is_aside:
        # The old target was set aside first (or the source, when only the case of its name was
        # to change): it comes back.
        storage.rename(aside, target)
    elif here.stat is not None and identity(here.stat) == step.identity and here.key != key:
        # Published, but its rows did not follow any more.
        left = storage.named(source).stat
        if left is not None and identity(left) == step.identity:
            storage.delete(source)  # linked, and not yet unlinked
        elif aside not in (None, source) and not is_aside and left is not None:
            assert aside is not None
            storage.rename(source, aside)
        put_time(storage, target, step.values)
        keeps_lock = bool(step.values.get(KEEPS_LOCK))
        follow(services, view, (key, here.key, here.stat.kind), keeps_lock=keeps_lock)
        return aside
    elif aside not in (None, source) and is_aside and here.stat is not None:
        # Somebody beside this server made it while the old target was aside. As long as it is
        # there the old one has no place, and the journal keeps it from being swept away.
        raise ResourceExists(f"{target.name!r} is there again")
    if source.is_reserved:
        view.clear(key)
        return source
    if storage.named(source).stat is None:
        view.clear(key)  # whoever put something else in its new place has removed it
    return None
