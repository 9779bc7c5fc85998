"""One state a root: servers with different ones would take each other's workers for dead, sweep
what they upload, and grant two locks on one resource."""

from __future__ import annotations

import time

from davserver.errors import RootInUse, StateFailure
from davserver.protocol.path import DavPath
from davserver.state.base import State
from davserver.state.sqlite import SqliteState
from davserver.storage.filesystem import FilesystemStorage

_WAIT_S = 1.0
_PAUSE_S = 0.05


def claim_root(state: State, storage: FilesystemStorage) -> None:
    """Makes sure that, while both are open, no process with another state serves the root.

    Whoever closes them closes the state first: a mark is never left without its lock on the root.
    Raises StateFailure.
    """
    deadline = time.monotonic() + _WAIT_S
    while True:
        try:
            _claim(state, storage)
        except RootInUse as error:
            # A process that is just ending lets go of the one a little before the other.
            if time.monotonic() > deadline:
                raise StateFailure(
                    f"{error} by a davserver with another state folder:"
                    " give both the same --state, or stop the other one"
                ) from error
        else:
            return
        time.sleep(_PAUSE_S)


def _claim(state: State, storage: FilesystemStorage) -> None:
    if not isinstance(state, SqliteState):
        # No other process can have part in it.
        storage.hold_root(alone=True)
        return
    with state.serving(storage.canonical(DavPath(())).root) as is_first:
        storage.hold_root(alone=is_first)
