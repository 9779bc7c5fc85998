"""Counts what trees with a quota hold: the first time, after a crash, and now and then.

A count walks the tree while others change it; what they enter meanwhile says how far the walk may
be off, and only a number that it contradicts is replaced. So what a program beside the server has
changed is found, and what was changed through it is never lost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import NamedTuple

from davserver.context import Services
from davserver.errors import (
    AccessDenied,
    NotACollection,
    ResourceNotFound,
    StateError,
    StorageError,
)
from davserver.protocol.path import DavPath, Key
from davserver.quotas import Quotas
from davserver.recovery import recover
from davserver.state.base import State
from davserver.storage.base import Entry, Kind, LinkedEntry, Storage
from davserver.uploading import keep_swept

logger = logging.getLogger(__name__)

RECOUNT_EVERY_S = 60.0
"""How often it is looked whether a count is due."""
_ATTEMPTS = 3
_LEVELS = 64
_EVERY = 256
"""Members after which a walk looks at the time."""
_PAUSE_S = 0.001
_PASSED_OVER = (ResourceNotFound, NotACollection, AccessDenied)
"""Gone since it was listed, or not for us to read. Any other error ends the count: who counts too
little gives away what is not there."""
Look = Callable[[], None]


class Interrupted(Exception):
    """The time for a count is over."""


def until(deadline: float) -> Look:
    """Interrupts a count at a moment in monotonic seconds."""

    def look() -> None:
        if time.monotonic() > deadline:
            raise Interrupted

    return look


def unhurried(is_stopping: Callable[[], bool]) -> Look:
    """Lets others work in between."""

    def look() -> None:
        if is_stopping():
            raise Interrupted
        time.sleep(_PAUSE_S)

    return look


class Size(NamedTuple):
    """What is below a collection: its members, at any depth, and the bytes of the files."""

    members: int
    bytes: int


def tree_bytes(storage: Storage, path: DavPath, look: Look) -> int:
    """Returns the bytes of all files below `path`; see tree_size."""
    return tree_size(storage, path, look).bytes


def tree_size(storage: Storage, path: DavPath, look: Look) -> Size:
    """Follows no link, passes over what cannot be read. With 64 listings open at most."""
    total = seen = 0
    stack = [_Level(storage, path, keep=True)]
    try:
        while stack:
            level = stack[-1]
            child = None
            for entry in level.members:
                seen += 1
                if seen % _EVERY == 0:
                    look()
                if entry.stat.kind is Kind.FILE:
                    total += entry.stat.size
                elif entry.stat.kind is Kind.COLLECTION and type(entry) is not LinkedEntry:
                    child = level.path.child(entry.name)
                    break
            if child is None:
                stack.pop().close()
            else:
                stack.append(_Level(storage, child, keep=len(stack) < _LEVELS))
    finally:
        for level in stack:
            level.close()
    return Size(seen, total)


class _Level:
    """One collection on the way."""

    def __init__(self, storage: Storage, path: DavPath, *, keep: bool) -> None:
        self.path = path
        self.members: Iterator[Entry] = iter(())
        self._listing: AbstractContextManager[Iterator[Entry]] | None = None
        listing = storage.scan_all(path)
        with suppress(*_PASSED_OVER):
            if keep:
                members = listing.__enter__()
                self._listing = listing
            else:
                with listing as entries:
                    members = iter(list(entries))
            self.members = _readable(members)

    def close(self) -> None:
        if self._listing is not None:
            self._listing.__exit__(None, None, None)
            self._listing = None


def _readable(members: Iterator[Entry]) -> Iterator[Entry]:
    with suppress(*_PASSED_OVER):
        yield from members


def count(
    storage: Storage, state: State, scope: Key, look: Look, *, now: float, before: float
) -> None:
    """Counts a tree, if there is a need and nobody else is at it.

    Args:
        look: called now and then; may raise Interrupted.
        now: seconds since the epoch.
        before: a count older than this is too old.

    Raises Interrupted, StateError, StorageError.
    """
    wait_s = 10.0
    for attempt in range(1, _ATTEMPTS + 1):
        with state.hold((), wait_s=wait_s) as view:
            tally = view.numbers(scope).begin(before=before)
        if tally is None:
            return
        try:
            total = tree_bytes(storage, storage.path_of(scope), look)
            with state.hold((), wait_s=wait_s) as view:
                numbers = view.numbers(scope)
                # Not to know anything keeps everybody from writing.
                anyhow = attempt == _ATTEMPTS and not numbers.read().is_known
                if numbers.end(tally, total, now=now, anyhow=anyhow):
                    return
        except BaseException:
            _give_up(state, scope, wait_s)
            raise
    _give_up(state, scope, wait_s)


def _give_up(state: State, scope: Key, wait_s: float) -> None:
    with suppress(StateError), state.hold((), wait_s=wait_s) as view:
        view.numbers(scope).give_up()


def count_all(
    storage: Storage,
    state: State,
    scopes: Iterable[Key],
    look: Look,
    *,
    now: float,
    before: float,
) -> None:
    """Counts what is due, one after the other, until it is interrupted. What cannot be counted is
    told of in the log."""
    for scope in scopes:
        try:
            count(storage, state, scope, look, now=now, before=before)
        except Interrupted:
            return
        except (StateError, StorageError) as error:
            logger.warning("%r cannot be counted: %s", scope, error)


def present(storage: Storage, quotas: Quotas) -> Iterator[Key]:
    """Yields every tree with a quota that there is."""
    for scope in quotas.shares:
        yield scope.key
    for homes in quotas.homes:
        with suppress(StorageError), storage.scan(storage.path_of(homes)) as members:
            for entry in members:
                key = storage.child_key(homes, entry.name.encode("utf-8", "surrogateescape"))
                yield from (one.key for one in quotas.scopes(key) if one.key == key)


def keep_counted(services: Services) -> None:
    """Counts what is due in the background, for as long as the services are open. Raises
    nothing."""
    with suppress(StateError):
        # Uploads that expire hold space that nobody counts.
        if services.state.uploads():
            keep_swept(services)
    if services.quotas:
        services.runner.repeat(partial(recount, services), every_s=RECOUNT_EVERY_S)
        return
    try:
        services.state.keep_numbers(tuple)
    except StateError as error:
        logger.warning("numbers of old quotas are kept: %s", error)


def recount(services: Services, is_stopping: Callable[[], bool]) -> None:
    """Counts what is due, unhurriedly. Raises nothing."""
    state, now = services.state, services.clock()

    def scopes() -> list[Key]:
        return list(present(services.storage, services.quotas))

    try:
        if state.has_changes():
            # What is half done may be under a hidden name now, and back in its place then.
            recover(services, wait_s=services.settings.gate_wait_s)
        state.keep_numbers(scopes)
    except StateError as error:
        logger.warning("nothing can be counted now: %s", error)
        return
    before = now - services.settings.quota_recount_s
    count_all(services.storage, state, scopes(), unhurried(is_stopping), now=now, before=before)
