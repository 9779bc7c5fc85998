"""Times that PUT, COPY and MOVE are asked to keep (protocol/clienttimes.py)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

from davserver.context import RequestContext
from davserver.errors import StateError, StorageError
from davserver.properties.base import CREATED, created_element
from davserver.protocol.clienttimes import ClientTimes
from davserver.protocol.names import PropertyChange
from davserver.protocol.path import DavPath, Key
from davserver.state.base import GateView
from davserver.storage.base import Stat

_NS = 1_000_000_000


def read_times(rc: RequestContext) -> None:
    """Raises BadRequest (400) before anything is looked up, and before a body is asked for."""
    rc.times = ClientTimes.from_headers(rc.headers)


def set_modified(rc: RequestContext, path: DavPath, stat: Stat) -> Stat:
    """Gives a resource the time that the client asks for, when it does. Where the system does not
    let this process set it the request goes on, and the answer does not say `accepted`."""
    if rc.times.modified_ns is None:
        return stat
    try:
        return rc.services.storage.set_attributes(path, mtime_ns=rc.times.modified_ns)
    except StorageError:
        rc.times = replace(rc.times, modified_ns=None)
        return stat


def confirm_modified(rc: RequestContext, path: DavPath) -> Stat | None:
    """For who had the time set that the client asks for: the answer says `accepted` only where it
    is. Returns what is there, None where that cannot be told."""
    try:
        found = rc.services.storage.locate(path).stat
    except StorageError:
        found = None
    asked_ns = rc.times.modified_ns
    if asked_ns is not None and (found is None or found.mtime_ns // _NS != asked_ns // _NS):
        rc.times = replace(rc.times, modified_ns=None)
    return found


def creation_change(created_ns: int) -> PropertyChange:
    return PropertyChange(CREATED, created_element(created_ns))


@contextlib.contextmanager
def created_at(view: GateView, key: Key, created_ns: int | None) -> Iterator[None]:
    """Stores a creation time of what stands at `key`, for the block that publishes something new
    there or moves it away. It goes back when that fails."""
    if created_ns is None:
        yield
        return
    change = creation_change(created_ns)
    before = view.properties(key).get(CREATED)
    view.patch(key, [change])
    view.commit()
    try:
        yield
    except BaseException:
        with contextlib.suppress(StateError):
            view.patch(key, [PropertyChange(CREATED, before)])
            view.commit()
        raise
