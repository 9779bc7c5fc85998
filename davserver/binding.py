"""Resources with several bindings (RFC 5842), on disk and in the state.

A resource stands at one place, its canonical path; each further binding is a link that leads there,
and a row that says so. Nothing here trusts either alone: a row without its link is forgotten, a
link without a row is somebody else's. All of this is for who is in the gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from davserver.context import Services
from davserver.errors import EscapesRoot
from davserver.protocol.locks import Lock
from davserver.protocol.path import DavPath, Key
from davserver.state.base import GateView, StateReader, Step
from davserver.storage.base import Storage
from davserver.usage import doubt


def is_binding(storage: Storage, link: Key, target: Key) -> bool:
    """True when the link that a row tells of is there, and leads where the row says. Raises
    StorageError where that cannot be told: nobody may take it for gone then."""
    path = storage.path_of(link)
    try:
        return storage.named(path).is_link and storage.canonical(path) == target
    except EscapesRoot:
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


def locks_below(reader: StateReader, key: Key, *, now: float) -> list[Lock]:
    """Returns the locks rooted strictly below a resource, by whatever bindings."""
    found = {lock.token: lock for lock in reader.beneath(key, now=now)}
    bindings = reader.bindings
    pending, seen = list(bindings.within(key)), {key}
    while pending:
        target = bindings.target(pending.pop())
        if target is None or target in seen:
            continue
        seen.add(target)
        found |= {lock.token: lock for lock in locks_in(reader, target, now=now)}
        pending += bindings.within(target)
    return list(found.values())


def locks_in(reader: StateReader, key: Key, *, now: float) -> list[Lock]:
    """Returns the locks rooted at a key and below, by its path."""
    covering, below = reader.covering(key, now=now), reader.beneath(key, now=now)
    return [*(lock for lock in covering if lock.key == key), *below]


def is_in_scope(lock: Lock, key: Key, reader: StateReader, *, now: float) -> bool:
    """True when a lock covers a resource, by whatever binding."""
    if lock.covers(key):
        return True
    return any(each.token == lock.token for each in reader.covering(key, now=now))


def locks_through(
    services: Services, reader: StateReader, binding: Key, *, tree: bool
) -> list[Lock]:
    """Returns the locks whose root, which is a URL, is the binding at a key or leads through it
    (RFC 5842 section 9): they protect it, and those that other bindings were locked by do not.

    Args:
        tree: also those of what is below the resource.
    """
    now = services.clock()
    resource = reader.bindings.target(binding) or binding
    found = [lock for lock in reader.covering(resource, now=now) if lock.key == resource]
    if tree:
        found += locks_below(reader, resource, now=now)
    return [lock for lock in found if _passes(services.storage, lock, binding)]


def _passes(storage: Storage, lock: Lock, binding: Key) -> bool:
    """True when the root of a lock leads through a binding. One that leads elsewhere by now is
    taken by the place of its resource."""
    path = DavPath.from_raw(lock.href)
    if not is_led_to(storage, lock):
        path = storage.path_of(lock.key)
    while not path.is_root:
        if storage.named(path).key == binding:
            return True
        assert path.parent is not None
        path = path.parent
    return False


def is_led_to(storage: Storage, lock: Lock) -> bool:
    """True when the root of a lock leads to the resource that is locked. Raises StorageError."""
    try:
        found = storage.locate(DavPath.from_raw(lock.href))
    except EscapesRoot:
        return False
    return found.stat is not None and found.key == lock.key


def carry_locks(
    services: Services, view: GateView, locks: Sequence[Lock], source: Key, target: Key
) -> None:
    """After a move: of the locks that were rooted in the tree, those stay whose root still leads to
    their resource, by another binding (RFC 5842 section 2.5)."""
    for lock in locks:
        carried = replace(lock, key=_carried(lock.key, source, target))
        if is_led_to(services.storage, carried):
            view.add_lock(carried)


def drop_unled(services: Services, view: GateView, key: Key) -> None:
    """A lock on a resource, or below it, goes with the URL that it protects (section 5)."""
    now = services.clock()
    for lock in (*locks_in(view, key, now=now), *locks_below(view, key, now=now)):
        if not is_led_to(services.storage, lock):
            view.remove_lock(lock.token)


def move_rows(services: Services, view: GateView, source: Key, target: Key) -> list[Lock]:
    """What is stored of a tree that has been moved follows it, and links are pointed anew. Returns
    the locks that were rooted in it, which are gone; `carry_locks` has those back that stay.
    Raises StorageError, StateError."""
    if not view.bindings:
        view.move_rows(source, target)
        return []
    locks = locks_in(view, source, now=services.clock())
    replaced = bound_within(view, target)
    view.move_rows(source, target)
    relink(services, view, target)
    for key in (*replaced, *bound_within(view, target)):
        drop_unled(services, view, key)
    return locks


def bound_within(reader: StateReader, key: Key) -> list[Key]:
    """Returns what the bindings at a key and below lead to."""
    targets = map(reader.bindings.target, reader.bindings.within(key))
    return [target for target in targets if target is not None]


def _carried(key: Key, source: Key, target: Key) -> Key:
    return Key(target.root, target.path + key.path[len(source.path) :])


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
    locks = locks_in(view, key, now=now)
    view.move_rows(key, link)
    view.bind({key: link})
    for lock in locks:
        view.add_lock(replace(lock, key=_carried(lock.key, key, link)))
    relink(services, view, link)
    doubt(services, view, [key, link])
