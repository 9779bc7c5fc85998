"""What a Storage may offer beyond the seam (base.py): ordinary files in fewer steps."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Reader, Stat


class DirectReader(Reader, Protocol):
    """A Reader that reads without a copy."""

    def try_read_into(self, buffer: memoryview, offset: int) -> bool:
        """Fills the buffer from `offset`. False where it would block, or the file ends before:
        then the buffer holds anything."""


class DirectPlace(Protocol):
    """Where a small file is published whole, for who looked it up in the gate and is still in it.
    Waits for no disk.

    Attributes:
        stat: what stands there; None where nothing does.
    """

    @property
    def stat(self) -> Stat | None: ...
    def fill(self, content: bytes, mtime_ns: int | None) -> None:
        """Makes a version that nobody sees. Raises NoSpace, AccessDenied, and as `Writer.write`."""

    def publish(self) -> Stat:
        """Publishes it, over the file that stood there, or where nothing was. Its Stat has no birth
        time. Raises ResourceExists (something is there by now), NoSpace."""

    def close(self) -> None:
        """Nothing is left of what was not published; harmless twice."""


@runtime_checkable
class DirectStorage(Protocol):
    """A Storage that can do `locate` and `open` of an ordinary file in one step: those who can
    offer this too."""

    def direct_key(self, path: DavPath) -> Key:
        """Returns the key of a path that no link and no other spelling is in. Looks at no disk."""

    def open_direct(self, path: DavPath, key: Key) -> DirectReader | None:
        """Opens a file; its Stat has no birth time.

        Args:
            key: what `direct_key` says of the path.

        None for whatever is no file there, or is reached through a link or another spelling:
        `locate` and `open` tell what it is.
        """

    def look_direct(self, key: Key) -> Stat | None:
        """Returns what is at a path that has this `direct_key`; None as `open_direct`, but for
        collections."""

    def find_place(self, path: DavPath, key: Key) -> DirectPlace | None:
        """Looks up, for who is in the gate, where a file with this `direct_key` goes. None where a
        link or another spelling may lead elsewhere. Raises as `create` does."""
