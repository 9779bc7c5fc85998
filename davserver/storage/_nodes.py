"""What the memory backend is made of: nodes, and places where a path leads."""

from __future__ import annotations

import time
from dataclasses import dataclass

from davserver.errors import (
    AccessDenied,
    InvalidName,
    IsACollection,
    NameTooLong,
    ParentMissing,
    ResourceNotFound,
)
from davserver.protocol.path import DavPath
from davserver.storage import names
from davserver.storage._oserrors import show
from davserver.storage.base import Kind, Stat

_DEVICE = 1


@dataclass(slots=True)
class Node:
    """A file (`members` None) or collection. A new version of a file is a new node."""

    inode: int
    mtime_ns: int
    birth_ns: int
    data: bytes = b""
    executable: bool = False
    members: dict[bytes, Node] | None = None

    @property
    def stat(self) -> Stat:
        kind = Kind.FILE if self.members is None else Kind.COLLECTION
        size = len(self.data)
        times = (self.mtime_ns, self.birth_ns)
        return Stat(kind, size, *times, _DEVICE, self.inode, self.executable)


@dataclass(slots=True)
class Place:
    """Where a path leads: the collection above, the stored name, what is there."""

    path: DavPath
    parent: Node | None
    segments: tuple[bytes, ...]
    node: Node | None
    missing: int = 0

    @property
    def name(self) -> bytes:
        return self.segments[-1]

    def require(self) -> Node:
        if self.node is None:
            raise ResourceNotFound(f"{show(self.path)}: no such resource")
        return self.node

    def require_file(self) -> Node:
        node = self.require()
        if node.members is not None:
            raise IsACollection(f"{show(self.path)}: is a collection")
        return node

    def require_creatable(self) -> dict[bytes, Node]:
        """Returns the members to put the new name in."""
        if self.missing > 1 or self.parent is None or self.parent.members is None:
            raise ParentMissing(f"{show(self.path)}: its parent is no collection")
        name = names.decode(self.name)
        if len(self.name) > names.NAME_MAX:
            raise NameTooLong(f"{show(self.path)}: too long")
        if not DavPath((name,)).is_creatable:
            raise InvalidName(f"{show(self.path)}: not UTF-8 or a control character")
        return self.parent.members

    def members_above(self) -> dict[bytes, Node]:
        """Returns the members that a mapped path is one of."""
        if self.parent is None or self.parent.members is None:
            raise AccessDenied("the root can be neither removed nor renamed")
        return self.parent.members


def touch(collection: Node | None) -> None:
    """Gives a collection whose membership changed its new time."""
    if collection is not None:
        collection.mtime_ns = time.time_ns()
