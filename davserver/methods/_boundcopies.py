"""What a copy of a tree makes of resources that it meets by several bindings (RFC 5842 section
2.3): one copy, with as many bindings, loops too.

A resource that has its place in the tree is copied there; one that has it elsewhere where it is met
first. Each further binding becomes a link to that copy, once the tree is copied.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field

from davserver.context import RequestContext
from davserver.errors import DavError, StorageError
from davserver.methods._failures import Failures, as_dav
from davserver.methods._walking import Frame, child_key
from davserver.protocol.path import DavPath, Key
from davserver.state.base import GateView
from davserver.storage.base import Entry, LinkedEntry, Storage


@dataclass(slots=True)
class BoundCopies:
    """For one copy.

    Attributes:
        source, staged: where the tree is, and the hidden name of its copy.
    """

    rc: RequestContext
    source: Key
    staged: DavPath
    _copies: dict[Key, DavPath] = field(default_factory=dict)
    _outside: list[tuple[Key, DavPath]] = field(default_factory=list)
    _links: list[tuple[DavPath, DavPath]] = field(default_factory=list)

    def is_link(self, frame: Frame, entry: Entry) -> bool:
        """Returns True for a member that is not to be copied, for it is a further binding. Raises
        StorageError."""
        bindings = self.rc.services.state.bindings
        if not bindings:
            return False
        assert frame.target is not None
        storage, is_link = self.rc.services.storage, type(entry) is LinkedEntry
        path, copy = frame.path.child(entry.name), frame.target.child(entry.name)
        key = storage.canonical(path) if is_link else child_key(storage, frame.key, entry.name)
        if not bindings.links(key):
            return False
        first = self._copies.get(key)
        if is_link and self.source.covers(key):
            first = self._inside(key)
        if first is not None:
            self._links.append((copy, first))
            return True
        self._copies[key] = copy
        if is_link:
            self._outside.append((key, copy))
        return False

    def _inside(self, key: Key) -> DavPath:
        """Returns where the copy of what has its place in the tree is, or will be."""
        names = self.rc.services.storage.path_of(key).segments
        top = len(self.rc.services.storage.path_of(self.source).segments)
        return DavPath(self.staged.segments + names[top:])

    def link(self, failures: Failures) -> None:
        """Makes the links, when all is copied. What was left out is bound by nothing."""
        storage = self.rc.services.storage
        made = []
        for path, copy in self._links:
            try:
                target = storage.named(copy)
                if target.stat is not None:
                    storage.make_link(path, storage.path_of(target.key))
                    made.append((path, copy))
            except (DavError, StorageError) as error:
                failures.add(path, as_dav(error), collection=False)
        self._links = made

    def store(self, view: GateView) -> None:
        """Inside the gate: what is stored of the copies, which nobody sees yet. Raises
        StateError."""
        storage = self.rc.services.storage
        for key, copy in self._outside:
            with suppress(StorageError):
                goal = _key(storage, copy)
                is_tree = not key.covers(goal)
                view.copy_properties(key, goal, tree=is_tree)
        links = {_key(storage, path): _key(storage, copy) for path, copy in self._links}
        for link in links:
            view.clear(link, locks=False)
        view.bind(links)


def _key(storage: Storage, path: DavPath) -> Key:
    return storage.named(path).key
