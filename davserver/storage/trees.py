"""What a storage may be able to do with whole trees, beyond the seam."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from davserver.protocol.path import DavPath


@runtime_checkable
class TreeStorage(Protocol):
    """A Storage that can remove a collection with all that is in it in one step."""

    def delete_tree(self, path: DavPath) -> None:
        """Raises as Storage.delete does."""
