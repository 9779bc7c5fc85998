"""One change of many requests: begun, and committed or undone.

The gate is held from the beginning to the end, so that no other writer comes in between. A row in
the journal says that everything in the undo log is to be undone; the transaction that has all rows
of the change takes it out. That commit is the moment from which everything stands.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from davserver.atomic.state import HeldState, HeldView
from davserver.atomic.storage import UndoableStorage
from davserver.context import Services
from davserver.errors import StateError, StorageError
from davserver.protocol.path import DavPath
from davserver.recovery import recover, recover_inside, remove_trees, undo_all
from davserver.state.base import Change, GateView, Step, StepKind, UndoLog

logger = logging.getLogger(__name__)


@contextmanager
def all_or_nothing(
    services: Services, *, wait_s: float, finish: Callable[[GateView], None] | None = None
) -> Iterator[Services]:
    """Yields services with which everything that is done in this thread is one change: it stands
    when the block ends in peace, and nothing of it when it does not, were it because this worker
    dies.

    Args:
        wait_s: how long to wait for the gate.
        finish: called last, for what is to be committed with it.

    Raises GateBusy, StateError, StorageError: then nothing is done.
    """
    state = services.state
    if state.has_changes():
        recover(services, wait_s=wait_s)
    left_over: list[DavPath] = []
    try:
        with state.hold((), wait_s=wait_s) as view:
            recover_inside(services, view, [DavPath(())])
            change = Change(os.urandom(16).hex(), "", state.owner, (Step(StepKind.ATOMIC),))
            state.undo.keep([change.id for change in view.changes()])
            log = state.undo.log(change.id)
            view.record(change)
            view.commit()
            held = HeldView(view, change.id)
            disk = UndoableStorage(services.storage, log)
            try:
                yield replace(services, storage=disk, state=HeldState(state, held))
                held.require_whole()
                disk.flush()
                if finish is not None:
                    finish(view)
                view.settle(change)
                view.commit()
            except BaseException:
                left_over += _take_back(services, held, change, log)
                raise
            left_over += disk.kept
            log.remove()
    finally:
        remove_trees(services.storage, left_over)


def _take_back(services: Services, held: HeldView, change: Change, log: UndoLog) -> list[DavPath]:
    """Returns hidden trees to remove. What cannot be undone now stays in the journal, for whoever
    meets it."""
    view = held.view
    left_over: list[DavPath] = []
    try:
        view.rollback()
        left_over += undo_all(services.storage, log)
        held.take_back_numbers()
        view.settle(change)
        view.commit()
    except (StorageError, StateError) as error:
        logger.error("change %s stays half done: %s", change.id, error)
        log.close()
        with suppress(StateError):
            view.rollback()
            held.doubt_numbers()
    else:
        log.remove()
    return left_over
