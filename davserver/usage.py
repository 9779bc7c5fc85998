"""Enforces quotas (RFC 4331): what comes must fit, and what comes and goes is entered.

All of this is for who is in the gate, unless it says otherwise, so that however many publish at
once a limit is never passed. Where there is no quota it costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from davserver.context import Services
from davserver.errors import CrossDevice, NotCounted, QuotaExceeded, StateError, StorageError
from davserver.protocol.path import DavPath, Key
from davserver.quotas import Scope
from davserver.state.base import GateView, Numbers, StateReader
from davserver.storage.base import Kind, Quota, Stat, Storage

logger = logging.getLogger(__name__)


def room(services: Services, reader: StateReader, key: Key) -> int | None:
    """Returns how many bytes may still come to `key`, in or out of the gate; None: any number.
    Raises NotCounted (503)."""
    scopes = services.quotas.scopes(key)
    return min((_left(reader, scope) for scope in scopes), default=None)


def _left(reader: StateReader, scope: Scope) -> int:
    usage = reader.numbers(scope.key).read()
    if not usage.is_known:
        raise NotCounted("the size of what is here is being counted")
    return scope.limit - usage.used


def require_room(
    services: Services, reader: StateReader, key: Key, size: int, replaced: Stat | None = None
) -> None:
    """Raises QuotaExceeded (507) when a resource of `size` bytes does not fit at `key`, in or out
    of the gate. Where nothing is left nothing new is made, not even what is empty; what takes the
    place of a file as large may always come.

    Args:
        replaced: what gives way to it.
    """
    if not services.quotas:
        return
    growth = size - size_of(replaced)
    if growth <= 0 and replaced is not None:
        return
    left = room(services, reader, key)
    if left is not None and (growth > left or left <= 0):
        raise QuotaExceeded(f"{growth} more bytes, and the quota leaves {max(0, left)}")


def require_same_scopes(services: Services, source: Key, target: Key) -> None:
    """Raises CrossDevice where a rename would take bytes out of one quota into another: who
    copies counts them."""
    scopes = services.quotas.scopes
    if services.quotas and scopes(source) != scopes(target):
        raise CrossDevice("another quota holds there")


def size_of(stat: Stat | None) -> int:
    """Bytes that a resource counts for by itself: a collection for none."""
    return stat.size if stat is not None and stat.kind is Kind.FILE else 0


def given_way(old: Stat | None, new: Stat | None) -> Stat | None:
    """Returns `old` where it goes in the step in which `new` comes: a file for a file. All else is
    set aside first, and there must be room for both."""
    if old is None or new is None:
        return None
    return old if old.kind is Kind.FILE and new.kind is Kind.FILE else None


def own_size(storage: Storage, path: DavPath) -> int:
    """Bytes that go when what is at `path` is deleted: none with a link."""
    found = storage.locate(path)
    return size_of(found.stat) if found.link_to is None else 0


@contextmanager
def growing(
    services: Services, view: GateView, key: Key, size: int, replaced: Stat | None = None
) -> Iterator[None]:
    """For a block that publishes a resource of `size` bytes at `key`. Raises QuotaExceeded,
    NotCounted, with nothing done.

    Args:
        replaced: what gives way to it.
    """
    if not services.quotas:
        yield
        return
    require_room(services, view, key, size, replaced)
    growth = size - size_of(replaced)
    with _entered(services, view, key, growth):
        yield


@contextmanager
def _entered(services: Services, view: GateView, key: Key, growth: int) -> Iterator[None]:
    numbers = _numbers(services, view, key)
    entered: list[Numbers] = []
    try:
        for each in numbers:
            each.change(added=max(0, growth))
            entered.append(each)
        yield
    except BaseException:
        _take_back(view, entered, max(0, growth))
        raise
    if growth < 0:
        _went(numbers, -growth)


def _numbers(services: Services, view: GateView, key: Key) -> Sequence[Numbers]:
    return [view.numbers(scope.key) for scope in services.quotas.scopes(key)]


def _take_back(view: GateView, numbers: Sequence[Numbers], size: int) -> None:
    """After a failure. What was left half done stands there, perhaps: a count will tell."""
    try:
        is_undone = not view.changes()
    except StateError as error:
        logger.warning("it is not known what is half done: %s", error)
        is_undone = False
    if is_undone:
        _went(numbers, size)
        return
    for each in numbers:
        each.doubt()


def _went(numbers: Sequence[Numbers], size: int) -> None:
    """What is gone is gone: that it cannot be entered fails nothing, and a count will tell."""
    for each in numbers:
        try:
            each.change(removed=size)
        except StateError as error:
            logger.warning("more is entered as used than there is: %s", error)
            each.doubt()


@contextmanager
def shrinking(services: Services, view: GateView, key: Key, size: int) -> Iterator[None]:
    """For a block that deletes a resource of `size` bytes at `key`. Raises nothing."""
    if not size or not services.quotas:
        yield
        return
    numbers = _numbers(services, view, key)
    _went(numbers, 0)  # that somebody is at it, should this worker die
    yield
    _went(numbers, size)


@contextmanager
def moving(
    services: Services, view: GateView, key: Key, stat: Stat, replaced: Stat | None
) -> Iterator[None]:
    """For a block that gives what is at `stat` another name in the same scopes, `key`.

    Args:
        replaced: what gives way to it.
    """
    if not services.quotas:
        yield
        return
    with _entered(services, view, key, -size_of(replaced)):
        for each in _numbers(services, view, key):
            # A count that is under way may meet it in both places, or in none.
            size = size_of(stat)
            each.change(added=size, removed=size, moves=stat.kind is not Kind.FILE)
        yield


@dataclass(frozen=True, slots=True)
class Aside:
    """What was replaced, under a hidden name, to be removed after the gate.

    Attributes:
        size: bytes, of a file.
        counts: the scopes that it still counts in, and how many counts there had been.
    """

    path: DavPath
    size: int = 0
    counts: tuple[tuple[Key, int], ...] = ()


def disturb(services: Services, view: GateView, key: Key) -> None:
    """Voids a count that is under way, before a tree at `key` gives way to another: it may be in
    the old one, and find itself in the new one."""
    for numbers in _numbers(services, view, key):
        numbers.change(moves=1)


def set_aside(
    services: Services, view: GateView, key: Key, path: DavPath | None, old: Stat | None
) -> Aside | None:
    """Notes what stood at `key` and is at the hidden `path` now."""
    if path is None:
        return None
    scopes = [scope.key for scope in services.quotas.scopes(key)]
    return Aside(path, size_of(old), tuple((key, view.numbers(key).counts) for key in scopes))


def enter_removed(services: Services, aside: Aside, size: int) -> None:
    """Enters that `size` bytes of what was set aside are gone, after the gate: it enters it by
    itself."""
    if not aside.counts:
        return
    is_gone = _is_gone(services.storage, aside.path)
    try:
        with services.state.hold((), wait_s=services.settings.gate_wait_s) as view:
            for scope, counts in aside.counts:
                numbers = view.numbers(scope)
                is_entered = numbers.counts == counts
                if is_entered:
                    _went([numbers], size)
                if not is_entered or not is_gone:
                    # A count that ended since has not seen it under its hidden name; what could
                    # not be removed goes some time.
                    numbers.doubt()
    except StateError as error:
        logger.warning("more is entered as used than there is: %s", error)


def _is_gone(storage: Storage, path: DavPath) -> bool:
    try:
        return storage.locate(path).stat is None
    except StorageError:
        return False


def doubt(services: Services, view: GateView, keys: Sequence[Key]) -> None:
    """Has counted again what somebody left half done there. Raises nothing."""
    if not services.quotas:
        return
    try:
        for key in keys:
            for numbers in _numbers(services, view, key):
                numbers.doubt()
    except StateError as error:
        logger.warning("what is used here is doubtful: %s", error)


def quota_at(services: Services, path: DavPath, key: Key) -> Quota | None:
    """Returns what the quota properties tell of a collection: the tightest of its limits and of
    the disk's. Out of the gate."""
    disk = services.storage.quota(path)
    best = disk
    for scope in services.quotas.scopes(key):
        used = services.state.numbers(scope.key).read().used
        left = max(0, scope.limit - used)
        if disk is not None:
            left = min(left, disk.available)
        if best is disk or best is None or left < best.available:
            best = Quota(left, used)
    return best
