"""Opens what the settings name: the state, and each share's folder, which the state must be of."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from typing import NamedTuple

from davserver.claiming import claim_root
from davserver.config import Settings
from davserver.configtables import Share
from davserver.counting import count_all, until
from davserver.errors import StateFailure, StorageFailure
from davserver.protocol.path import DavPath
from davserver.quotas import Quotas
from davserver.state.base import State
from davserver.state.jobs import JobStore
from davserver.state.limits import StateLimits
from davserver.state.served import OtherFolder, Served
from davserver.state.sqlite import SqliteState
from davserver.storage.base import Storage
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.mounts import Mounts

_COUNT_S = 0.3


class Root(NamedTuple):
    """A share whose folder is open. Its name is its root id in keys."""

    share: Share
    storage: FilesystemStorage


def open_parts(
    settings: Settings, state: State | None = None, storage: Storage | None = None
) -> tuple[State, Storage]:
    """Opens what is not given. Raises StateError, StorageError."""
    opened = state or open_state(settings)
    if storage is not None:
        return opened, storage
    with contextlib.ExitStack() as undo:
        if state is None:
            undo.callback(opened.close)
        roots = open_roots(settings, opened)
        for root in roots:
            undo.callback(root.storage.close)
        if state is None:
            undo.callback(opened.close)  # first (claiming.py); twice is harmless
        for root in roots:
            claim_root(opened, root.storage)
            if isinstance(opened, SqliteState):
                claim(opened, root)
        disk = as_one(roots)
        _count_briefly(settings, opened, disk)
        undo.pop_all()
    return opened, disk


def _count_briefly(settings: Settings, state: State, storage: Storage) -> None:
    """What has a quota and is quick to count is known before the first request."""
    scopes = [scope.key for scope in Quotas(settings.share).shares]
    # What is half done is to be put right first: the background does.
    if scopes and not state.has_changes():
        look = until(time.monotonic() + _COUNT_S)
        count_all(storage, state, scopes, look, now=time.time(), before=0)


def open_state(settings: Settings) -> SqliteState:
    """Opens the embedded state in the settings' state folder. Raises StateFailure."""
    limits = StateLimits(
        locks_per_principal=settings.locks_per_principal,
        locks_per_resource=settings.locks_per_resource,
        properties_per_resource=settings.properties_per_resource,
        property_bytes=settings.property_bytes,
    )
    return SqliteState(settings.state_folder, durability=settings.durability, limits=limits)


def open_jobs(settings: Settings, state: State) -> JobStore | None:
    """Returns the jobs beside a state; None where it shares nothing with other processes."""
    if not isinstance(state, SqliteState):
        return None
    return JobStore(state.folder, full=settings.durability == "full")


def open_roots(settings: Settings, state: State) -> list[Root]:
    """Opens every served folder. Raises StorageError."""
    roots: list[Root] = []
    with contextlib.ExitStack() as undo:
        for share in settings.served:
            root = Root(share, _open_root(settings, state, share))
            undo.callback(root.storage.close)
            _refuse_same(roots, root)
            roots.append(root)
        undo.pop_all()
    return roots


def _open_root(settings: Settings, state: State, share: Share) -> FilesystemStorage:
    def is_alive(owner: str) -> bool:
        # What a dead worker left is swept once no journalled change needs it any more.
        return state.is_alive(owner) or state.has_changes()

    return FilesystemStorage(
        share.path,
        owner=state.owner,
        root_id=share.name,
        is_alive=is_alive,
        symlinks=share.symlinks or settings.symlinks,
        durability=settings.durability,
        fallbacks=frozenset(settings.fallbacks),
        read_only=settings.read_only or share.read_only,
    )


def _refuse_same(roots: Sequence[Root], new: Root) -> None:
    """One file must not have two keys. Different paths may lead to one folder by a bind mount."""
    here = new.storage.stat(DavPath(()))
    for other in roots:
        there = other.storage.stat(DavPath(()))
        if (here.device, here.inode) == (there.device, there.inode):
            names = f"{other.share.name!r} and {new.share.name!r}"
            raise StorageFailure(f"the shares {names} are the same folder")


def as_one(roots: Sequence[Root]) -> Storage:
    """Returns the storage of the one root without a name, or one over all shares."""
    if len(roots) == 1 and not roots[0].share.name:
        return roots[0].storage
    homes = frozenset(root.share.name for root in roots if root.share.homes)
    return Mounts({root.share.name: root.storage for root in roots}, homes=homes)


def claim(state: SqliteState, root: Root, *, adopt: bool = False) -> None:
    """Makes sure that what the state holds of a root is of this folder. Raises StateError.

    Args:
        adopt: makes it so.
    """
    here = root.storage.stat(DavPath(()))
    folder = root.share.path
    identity = (here.device, here.inode, here.birth_ns)
    served = Served(root.share.name, os.fspath(folder.resolve()), identity)
    try:
        state.claim(served, adopt=adopt)
    except OtherFolder as error:
        named = "" if root.share.name else f" {folder}"
        raise StateFailure(
            f"{error}, not to {served.path}: name another one with --state; if it is the same"
            f" folder in a new place: davserver check{named} --adopt"
        ) from error
