"""What a MOVE across file systems left at its source when its worker died: a copy of it stands at
the new place already, so it goes, unless somebody has written or locked it since.

Nothing that is in doubt is removed: it is then at both places, and the log says so.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence, Set
from itertools import islice

from davserver.context import Services
from davserver.copies import NONCE, SIZE, TIME, locks_in_the_way, require_copied
from davserver.errors import Conflict, ResourceNotFound, StorageError
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Change, GateView, Step
from davserver.storage.base import Entry, Kind
from davserver.usage import doubt

logger = logging.getLogger(__name__)

_BATCH = 64
_SUBCOLLECTIONS = 1000
"""Of one collection at a time, so that the list stays short."""


def leave_file(services: Services, view: GateView, step: Step) -> None:
    """Inside the gate: removes the file if it is the version that was copied. What cannot go
    stays."""
    assert step.source is not None
    found = services.storage.named(step.source)
    if found.stat is not None:
        version = found.stat.size, found.stat.mtime_ns
        is_same = found.stat.identity == step.identity
        is_same &= version == (step.values[SIZE], step.values[TIME])
        if not is_same or _is_locked(services, view, step, found.key):
            _tell(step.source)
            return
        try:
            services.storage.delete(step.source)
        except StorageError as error:
            logger.warning("%r cannot be removed: %s", step.source.name, error)
            return
    view.clear(found.key)


def leave_tree(services: Services, change: Change, *, wait_s: float) -> None:
    """Removes what was copied, member by member, and settles the change. Enters the gate itself.
    Raises StateError: then the rest is for who meets it next."""
    (step,) = change.steps
    assert step.source is not None
    assert step.target is not None
    walk = _Walk(services, step, wait_s)
    is_gone = walk.run(step.source, step.target)
    with services.state.hold((), wait_s=wait_s) as view:
        key = services.storage.canonical(step.source)
        _forget_missing(services, view, key)
        doubt(services, view, [key])
        view.settle(change)
    if not is_gone:
        _tell(step.source)


def _tell(source: DavPath) -> None:
    logger.warning(
        "%r was moved to another file system, and stays here, too: what has been written or locked"
        " since is not removed",
        source.name,
    )


def _is_locked(services: Services, view: GateView, step: Step, key: Key) -> bool:
    locks = locks_in_the_way(view, key, now=services.clock())
    return any(lock.token not in step.tokens for lock in locks)


def _forget_missing(services: Services, view: GateView, key: Key) -> None:
    """Who died between a member and its rows left these behind."""
    now = services.clock()
    locks = [*view.covering(key, now=now), *view.beneath(key, now=now)]
    roots = [lock.key for lock in locks if key.covers(lock.key)]
    for each in dict.fromkeys([*view.keys_with_rows(key), *roots]):
        if services.storage.locate(services.storage.path_of(each)).stat is None:
            view.clear(each)


class _Walk:
    """Depth first, without a list of members however many there are."""

    def __init__(self, services: Services, step: Step, wait_s: float) -> None:
        self._services = services
        self._storage = services.storage
        self._step = step
        self._nonce = step.values[NONCE]
        self._wait_s = wait_s

    def run(self, source: DavPath, copy: DavPath) -> bool:
        """Returns True when all is gone."""
        stack = [(source, copy)]
        stuck: set[DavPath] = set()
        while stack:
            here, there = stack[-1]
            below = self._remove_files(here, there, stuck)
            if below:
                stack += [(here.child(name), there.child(name)) for name in below]
                continue
            stack.pop()
            if not self._remove([(here, there)]):
                stuck.add(here)
        return source not in stuck

    def _remove_files(self, here: DavPath, there: DavPath, stuck: Set[DavPath]) -> list[str]:
        """Returns the names of collections to enter."""
        below: list[str] = []
        try:
            with self._storage.scan_all(here) as members:
                while batch := list(islice(members, _BATCH)):
                    below += [e.name for e in batch if _is_to_enter(here, e, stuck)]
                    files = [e.name for e in batch if e.stat.kind is not Kind.COLLECTION]
                    self._remove([(here.child(name), there.child(name)) for name in files])
                    if len(below) >= _SUBCOLLECTIONS:
                        break
        except ResourceNotFound:
            pass
        except StorageError as error:
            logger.warning("%r cannot be listed: %s", here.name, error)
        return below

    def _remove(self, pairs: Sequence[tuple[DavPath, DavPath]]) -> bool:
        """Removes files and empty collections that are still what was copied. Returns True when
        none is left."""
        if not pairs:
            return True
        with self._services.state.hold((), wait_s=self._wait_s) as view:
            gone = [self._is_removed(view, path, copy) for path, copy in pairs]
        return all(gone)

    def _is_removed(self, view: GateView, path: DavPath, copy: DavPath) -> bool:
        try:
            found = self._storage.locate(path)
            require_copied(self._services, view, path, copy, self._nonce)
            if _is_locked(self._services, view, self._step, found.key):
                return False
            self._storage.delete(path)
        except ResourceNotFound:
            return True
        except (Conflict, StorageError):
            return False
        if found.link_to is None:
            view.clear(found.key)
        return True


def _is_to_enter(here: DavPath, entry: Entry, stuck: Set[DavPath]) -> bool:
    return entry.stat.kind is Kind.COLLECTION and here.child(entry.name) not in stuck
