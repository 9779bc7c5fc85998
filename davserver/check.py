"""`davserver check`: what is wrong with a state folder and the hidden names in its tree.

Looks for a damaged database, changes that a dead worker left half done, hidden names of dead
workers, rows and locks without a resource, expired locks, bindings without a link; repairs them
when asked to, and counts again what has a quota. Safe beside a running server: what belongs to a
living worker is left alone, and every repair is made inside the gate, where it is looked at again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from davserver import recovery
from davserver.app import create_app
from davserver.binding import is_binding
from davserver.claiming import claim_root
from davserver.config import Settings
from davserver.context import Services
from davserver.counting import count_all, present
from davserver.errors import EscapesRoot, StorageError
from davserver.opening import Root, as_one, claim, open_roots, open_state
from davserver.protocol.path import DavPath, Key
from davserver.state.base import StateReader, Step, StepKind
from davserver.state.sqlfile import CorruptState, examine
from davserver.state.sqlite import SqliteState
from davserver.storage import names


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        text: what, and where; one line.
        is_repaired: it was, and has been put right.
    """

    text: str
    is_repaired: bool


@dataclass(frozen=True, slots=True)
class _Check:
    services: Services
    state: SqliteState
    roots: Sequence[Root]
    repair: bool
    wait_s: float


def check(settings: Settings, *, repair: bool = False, adopt: bool = False) -> Iterator[Finding]:
    """Yields what is wrong, one by one, as it is found and repaired.

    Args:
        adopt: the state is of this folder from now on, whichever it was of before.

    Raises StateError, StorageError when it cannot be looked at all; FileNotFoundError when there
    is no state.
    """
    is_damaged = False
    try:
        examine(settings.state_folder)
    except CorruptState as error:
        # To open it is to set it aside: not before that is asked for.
        is_damaged = True
        yield Finding(str(error), repair)
        if not repair:
            return
    state = open_state(settings)
    try:
        if is_damaged:
            state.replace_damaged()
        roots = open_roots(settings, state)
        storage = as_one(roots)
        try:
            for root in roots:
                claim_root(state, root.storage)
                claim(state, root, adopt=adopt)
            app = create_app(settings, state=state, storage=storage)
            work = _Check(app.services, state, roots, repair, settings.gate_wait_s)
            # Changes first: leftovers may be part of one. Rows last: the others remove some.
            yield from _changes(work)
            yield from _leftovers(work)
            yield from _locks(work)
            yield from _rows(work)
            yield from _bindings(work)
            if repair:
                _count(work)
        finally:
            state.close()  # first (claiming.py); twice is harmless
            storage.close()
    finally:
        state.close()


def _changes(work: _Check) -> Iterator[Finding]:
    found = _dead_changes(work)
    if found and work.repair:
        recovery.recover(work.services, wait_s=work.wait_s)
        left = _dead_changes(work).keys()
    else:
        left = found.keys()
    for id, text in found.items():
        yield Finding(text, id not in left)


def _dead_changes(work: _Check) -> dict[str, str]:
    """Returns the changes that nobody will finish: what each is about, by its id."""
    with work.state.hold((), wait_s=work.wait_s) as view:
        return {
            change.id: f"half done by {change.owner}: "
            + ", ".join(f"{step.kind.value} {_shown(_subject(step))}" for step in change.steps)
            for change in view.changes()
            if not work.state.is_alive(change.owner)
        }


def _subject(step: Step) -> DavPath | None:
    return step.source if step.kind is StepKind.LEAVE else step.target or step.source


def _leftovers(work: _Check) -> Iterator[Finding]:
    def is_alive(owner: str) -> bool:
        # A change that could not be recovered may still need its hidden names.
        return work.state.is_alive(owner) or (work.repair and work.state.has_changes())

    for root in work.roots:
        name = (root.share.name,) if root.share.name else ()
        for found in root.storage.leftovers(is_alive, remove=work.repair):
            path = DavPath((*name, *found.path.segments))
            yield Finding(f"left over by {found.owner}: {_shown(path)}", found.is_removed)


def _locks(work: _Check) -> Iterator[Finding]:
    for lock in work.state.locks():
        if lock.expires_at > work.services.clock() or not _is_ours(work, lock.key):
            continue
        with work.state.hold([lock.key], wait_s=work.wait_s) as view:
            # A refresh may have come before us.
            if view.lock(lock.token, now=work.services.clock()) is not None:
                continue
            if work.repair:
                view.remove_lock(lock.token)
        yield Finding(f"expired lock on {_shown_key(work, lock.key)}", work.repair)


def _rows(work: _Check) -> Iterator[Finding]:
    done: set[Key] = set()
    for key in work.state.keys_with_rows():
        if key in done or not _is_ours(work, key) or _is_mapped(work, key):
            continue
        done.add(key)
        with work.state.hold([key], wait_s=work.wait_s) as view:
            if _is_mapped(work, key):
                continue  # just created
            what = _what_is_stored(view, key, work.services.clock())
            if what and work.repair:
                view.clear(key)
        if what:
            yield Finding(f"{what} of {_shown_key(work, key)}, where nothing is", work.repair)


def _bindings(work: _Check) -> Iterator[Finding]:
    """Rows of bindings whose link is gone, or leads elsewhere: they mean nothing."""
    for link, target in work.state.bindings:
        if not _is_ours(work, link) or _is_bound(work, link, target):
            continue
        with work.state.hold([link], wait_s=work.wait_s) as view:
            if view.bindings.target(link) != target or _is_bound(work, link, target):
                continue  # just changed
            if work.repair:
                view.bind({link: None})
        yield Finding(f"binding of {_shown_key(work, link)}, where no such link is", work.repair)


def _is_bound(work: _Check, link: Key, target: Key) -> bool:
    """True when a link leads where it should, or nobody can tell."""
    try:
        return is_binding(work.services.storage, link, target)
    except StorageError:
        return True


def _count(work: _Check) -> None:
    """What has a quota is counted again, beside whoever changes it."""
    services = work.services
    scopes = present(services.storage, services.quotas)
    now = services.clock()
    count_all(services.storage, work.state, scopes, lambda: None, now=now, before=now + 1)


def _what_is_stored(view: StateReader, key: Key, now: float) -> str:
    has_lock = any(lock.key == key for lock in view.covering(key, now=now))
    stored = ["lock"] * has_lock + ["properties"] * bool(view.properties(key))
    return " and ".join(stored)


def _is_ours(work: _Check, key: Key) -> bool:
    """False for what a living worker is still making under a hidden name, and for what is of a
    share that these settings have not."""
    if key.root not in {root.share.name for root in work.roots}:
        return False
    segments = work.services.storage.path_of(key).segments
    owners = (names.owner_of(name) for name in segments if names.is_hidden(name))
    return not any(owner is not None and work.state.is_alive(owner) for owner in owners)


def _is_mapped(work: _Check, key: Key) -> bool:
    """True when the key still leads to a resource, or nobody can tell."""
    try:
        found = work.services.storage.locate(work.services.storage.path_of(key))
    except EscapesRoot:
        return False
    except StorageError:
        return True
    return found.stat is not None and found.key == key


def _shown_key(work: _Check, key: Key) -> str:
    return _shown(work.services.storage.path_of(key))


def _shown(path: DavPath | None) -> str:
    """Returns a path as one printable word, percent-encoded."""
    return "/" if path is None else path.href(collection=False).decode("ascii")
