"""Resources with several bindings (RFC 5842), on disk and in the state.

A resource stands at one place, its canonical path; each further binding is a link that leads there,
and a row that says so. Nothing here trusts either alone: a row without its link is forgotten, a
link without a row is somebody else's. All of this is for who is in the gate.
"""

from __future__ import annotations

from dataclasses import replace

from davserver.context import Services
from davserver.errors import StorageError
from davserver.protocol.path import Key
from davserver.state.base import GateView, Step
from davserver.storage.base import Storage
from davserver.usage import doubt


def is_binding(storage: Storage, link: Key, target: Key) -> bool:
    """True when the link that a row tells of is there, and leads where the row says."""
    path = storage.path_of(link)
    try:
        return storage.named(path).is_link and storage.canonical(path) == target
    except StorageError:
        return False


def relink(services: Services, view: GateView, key: Key) -> None:
    """Has the links at and below `key`, and those to what is there, lead where the rows say: a
    move has left them with the old way. Raises StorageError."""
    bindings = view.bindings
    if not bindings.touches(key):
        return
    onto = [link for bound in bindings.bound(key) for link in bindings.links(bound)]
    for link in dict.fromkeys([*bindings.within(key), *onto]):
        target = bindings.target(link)
        assert target is not None
        _relink_one(services.storage, view, link, target)


def _relink_one(storage: Storage, view: GateView, link: Key, target: Key) -> None:
    path = storage.path_of(link)
    if storage.named(path).is_link:
        storage.make_link(path, storage.path_of(target), replace=True)
    else:
        view.bind({link: None})


def end_hand_over(services: Services, view: GateView, step: Step) -> None:
    """Finishes a HAND_OVER that was done on disk, undoes one that was not. The caller settles it.
    Raises StorageError."""
    storage = services.storage
    assert step.source is not None
    assert step.target is not None
    here, there = storage.named(step.source), storage.named(step.target)
    if there.stat is None:
        # Where two names cannot be swapped, the link goes first.
        storage.make_link(step.target, step.source)
    elif not there.is_link and there.stat.identity == step.identity:
        if here.stat is not None and here.stat.identity == step.identity:
            storage.delete(step.source)  # a file: linked, and not yet unlinked
        storage.make_link(step.source, step.target, replace=True)
        _hand_over_rows(services, view, here.key, there.key)


def _hand_over_rows(services: Services, view: GateView, key: Key, link: Key) -> None:
    """What is stored of the resource, and its locks, goes along with it."""
    now = services.clock()
    locks = [*view.covering(key, now=now), *view.beneath(key, now=now)]
    view.move_rows(key, link)
    view.bind({key: link})
    for lock in locks:
        if key.covers(lock.key):
            rest = lock.key.path[len(key.path) :]
            view.add_lock(replace(lock, key=Key(link.root, link.path + rest)))
    relink(services, view, link)
    doubt(services, view, [key, link])
