"""What is long is freed outside of the gate.

Whoever lets go of a file last waits until the file system has taken its blocks back: 70 ms a GiB
where all is in memory, seconds on a slow disk, in which nobody else should have to wait.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from davserver.errors import StorageError
from davserver.protocol.path import DavPath
from davserver.storage.base import Reader, Stat, Storage

LONG = 32 << 20
"""Bytes."""


def is_long(stat: Stat | None) -> bool:
    """True for what is not to be deleted or replaced on the event loop."""
    return stat is not None and stat.size >= LONG


@contextmanager
def freed_after(storage: Storage, path: DavPath, stat: Stat | None) -> Iterator[None]:
    """Keeps what is about to be deleted or replaced open, if it is long; enter the gate inside.

    Args:
        stat: of what was there; anything may have come in its place.
    """
    reader: Reader | None = None
    # On a remote file system what is open can often not be replaced.
    if is_long(stat) and storage.inline:
        with suppress(StorageError):  # it need not be readable to go
            reader = storage.open(path)
    try:
        yield
    finally:
        if reader is not None:
            reader.close()
