"""Undoes what an atomic change has done to the disk, from its end: because an operation of it
failed, or its worker died. The rows of the state were never committed.

Each step is undone when the resource that it was about is where the step has put it. So one that
was never done, or is undone already, is passed over, and what somebody beside this server has put
there stays.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress

from davserver.errors import NotACollection, ParentMissing, ResourceExists, ResourceNotFound
from davserver.protocol.path import DavPath
from davserver.state.base import Step, StepKind, UndoLog
from davserver.storage.base import Capability, Storage

logger = logging.getLogger(__name__)
Identity = tuple[int, int, int | None]
EMPTY = "empty"
"""In the values of a RENAME: a collection was made, and had no members."""


def undo(storage: Storage, log: UndoLog, left_over: list[DavPath]) -> None:
    """Undoes all that is in the log, inside the gate. Raises StorageError, StateError: what is left
    in the log is still to be undone.

    Args:
        left_over: gets hidden trees that are nobody's any more, to be removed.
    """
    while (step := log.last()) is not None:
        try:
            moves = _undo_step(storage, step)
        except (ResourceNotFound, ParentMissing, NotACollection, ResourceExists) as error:
            # Somebody beside this server was at it: there is nowhere to put it back.
            logger.error("a step cannot be undone: %s", error)
            moves = ()
        found = left_over
        for old, new in moves:
            found = [moved(path, old, new) for path in found]
        if moves and step.source is not None:
            found = [*found, step.source]  # of use to nobody, if its name is hidden
        left_over[:] = [path for path in found if path.is_reserved]
        log.pop()


def moved(path: DavPath, old: DavPath, new: DavPath) -> DavPath:
    """Returns where a path leads when what stood at `old` is at `new`."""
    if not old.covers(path):
        return path
    return DavPath(new.segments + path.segments[len(old.segments) :])


def _undo_step(storage: Storage, step: Step) -> Sequence[tuple[DavPath, DavPath]]:
    """Returns what was renamed, from where to where: all of it at once."""
    target = step.target
    assert target is not None
    assert step.identity is not None
    if step.kind is StepKind.RESTORE:
        if _identity(storage, target) == step.identity:
            storage.restore(target, step.values)
        return ()
    source = step.source
    assert source is not None
    if step.kind is StepKind.EXCHANGE:
        return _undo_exchange(storage, step.identity, source, target)
    if EMPTY in step.values and has_members(storage, target):
        raise ResourceExists(f"{target.name!r} has members that are none of ours")
    return _undo_rename(storage, step.identity, source, target)


def _undo_exchange(
    storage: Storage, identity: Identity, source: DavPath, target: DavPath
) -> Sequence[tuple[DavPath, DavPath]]:
    if _identity(storage, target) != identity or _identity(storage, source) is None:
        return ()
    storage.exchange(source, target)
    _sync(storage, source, target)
    between = DavPath((".davserver", "between"))
    return (source, between), (target, source), (between, target)


def _undo_rename(
    storage: Storage, identity: Identity, source: DavPath, target: DavPath
) -> Sequence[tuple[DavPath, DavPath]]:
    if _identity(storage, target) != identity:
        return ()
    if _identity(storage, source) is not None:
        if Capability.EXCHANGE in storage.capabilities or _identity(storage, source) != identity:
            raise ResourceExists(f"{source.name!r} is there again")
        # Where a system cannot rename unless something is in the way, it was linked, and not yet
        # unlinked.
        storage.delete(target)
        return ()
    storage.rename(target, source)
    _sync(storage, source, target)
    return ((target, source),)


def has_members(storage: Storage, path: DavPath) -> bool:
    try:
        with storage.scan_all(path) as members:
            return next(members, None) is not None
    except (ResourceNotFound, NotACollection):
        return False


def _identity(storage: Storage, path: DavPath) -> Identity | None:
    stat = storage.named(path).stat
    return None if stat is None else stat.identity


def _sync(storage: Storage, *paths: DavPath) -> None:
    """Before the next step: the log must not be ahead of the disk."""
    for parent in dict.fromkeys(path.parent for path in paths):
        if parent is not None:
            with suppress(ResourceNotFound, NotACollection):
                storage.sync(parent)
