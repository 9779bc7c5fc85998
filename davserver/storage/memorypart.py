"""What is open in the memory backend: a version that is read, a node that grows."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock

from davserver.errors import StorageFailure
from davserver.storage._nodes import Node
from davserver.storage.base import Bytes, Stat


class MemoryReader:
    """A Reader over the bytes of one version."""

    fd = None

    def __init__(self, stat: Stat, data: bytes) -> None:
        self.stat = stat
        self._data = data

    def read_at(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]

    def try_read_at(self, offset: int, size: int) -> bytes | None:
        return self.read_at(offset, size)

    def is_cached(self, offset: int, size: int) -> bool:
        return False  # there is no descriptor

    def close(self) -> None:
        """There is nothing to close."""


class MemoryPart:
    """See Part. The node is held by whoever made this, until `release` is called."""

    def __init__(
        self, lock: RLock, node: Node, release: Callable[[], None], members: dict[bytes, Node]
    ) -> None:
        self._lock = lock
        self._node = node
        self._release = release
        self._members = members

    @property
    def size(self) -> int:
        return len(self._node.data)

    def stands_for(self, stat: Stat | None) -> bool | None:
        """Never: it is published and removed at once."""
        return False

    def cut(self, size: int) -> None:
        if size > self.size:
            raise StorageFailure(f"{self.size} bytes are left of {size}")
        self._node.data = self._node.data[:size]

    def write(self, *pieces: Bytes) -> None:
        self._node.data = b"".join((self._node.data, *pieces))

    def read_at(self, offset: int, size: int) -> bytes:
        return self._node.data[offset : offset + size]

    def sync(self) -> None:
        """Memory lasts as long as it lasts."""

    def remove(self) -> None:
        with self._lock:
            for name in [name for name, node in self._members.items() if node is self._node]:
                del self._members[name]

    def close(self) -> None:
        self._release()
