"""Which members of a tree the asker may copy.

A member that may not be read is not named in an answer: it is its collection that then fails.
"""

from __future__ import annotations

from collections.abc import Sequence

from davserver.auth.base import Privilege
from davserver.context import RequestContext, Target
from davserver.errors import StorageError
from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Entry, LinkedEntry


class CopyRights:
    """Lets through what the asker may read, and may write where it is copied to."""

    def __init__(self, rc: RequestContext, target: Target) -> None:
        assert target.destination is not None
        assert target.destination_key is not None
        self._rc = rc
        self._top = len(target.path.segments)
        real = rc.services.storage.path_of(target.destination_key)
        self._goals = target.destination, real

    def permitted(self, path: DavPath, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Returns those members of a collection that may be copied. Raises StorageError."""
        rights = self._rc.services.path_rights
        if rights is None:
            return entries
        # The walk follows links, and names may have changed hands since: it is asked for anew.
        key = self._rc.services.storage.canonical(path)
        if not self._rc.may(Privilege.READ, path, key):
            return ()
        varies = self._rc.varies_below(path, key)
        goal_varies = any(rights.varies_below(self._at(goal, path)) for goal in self._goals)
        return [
            entry
            for entry in entries
            if self._may_read(path, key, entry, varies=varies)
            and (not goal_varies or self._may_write(path.child(entry.name)))
        ]

    def may_still_read(self, parent: DavPath, name: str) -> bool:
        """Asked right before a member is copied: it may be a link by now. Raises StorageError."""
        if self._rc.services.path_rights is None:
            return True
        path = parent.child(name)
        return self._rc.may(Privilege.READ, path, self._rc.services.storage.canonical(path))

    def _at(self, goal: DavPath, path: DavPath) -> DavPath:
        return DavPath(goal.segments + path.segments[self._top :])

    def _may_write(self, path: DavPath) -> bool:
        rights, principal = self._rc.services.path_rights, self._rc.principal
        assert rights is not None
        goal, real = (self._at(goal, path) for goal in self._goals)
        return rights.permits(principal, Privilege.WRITE, goal) and rights.permits_real(
            principal, Privilege.WRITE, real
        )

    def _may_read(self, parent: DavPath, key: Key, entry: Entry, *, varies: bool) -> bool:
        storage = self._rc.services.storage
        path = parent.child(entry.name)
        if type(entry) is LinkedEntry:
            # What is copied is what it leads to.
            try:
                return self._rc.may(Privilege.READ, path, storage.canonical(path))
            except StorageError:
                return True  # nothing that could be copied
        if not varies:
            return True
        name = entry.name.encode("utf-8", "surrogateescape")
        return self._rc.may(Privilege.READ, path, storage.child_key(key, name))
