"""A small table in a file that all workers share: recent events by a 16-byte tag.

It is a cache with a fixed size, made of buckets of slots. A new event takes the place of the
oldest of its bucket, and the bucket remembers how new that was: who must know for certain that
something has not been seen asks whether it is newer (`floor`). Every access holds a lock on the
file for some microseconds; nothing is ever made durable.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from davserver.errors import StateFailure

TAG_BYTES = 16
_WAYS = 8
_FLOOR = struct.Struct("<Q")
_SLOT = struct.Struct(f"<{TAG_BYTES}sQQQ")
_BUCKET_BYTES = _FLOOR.size + _WAYS * _SLOT.size


class Event(NamedTuple):
    """What a slot holds: a time in milliseconds since the epoch, and two numbers of 64 bits."""

    at_ms: int
    first: int = 0
    second: int = 0


Change = Callable[[Event | None, int], Event | None]


@contextmanager
def _alone(fd: int) -> Iterator[None]:
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


class SharedTable:
    """The table in one file, made at the first use when it is not there.

    Args:
        buckets: of eight slots each.
    """

    def __init__(self, path: Path, *, buckets: int) -> None:
        self._path = path
        self._buckets = buckets
        self._lock = threading.Lock()
        self._fd = -1

    def _open(self) -> int:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        size = self._buckets * _BUCKET_BYTES
        with _alone(fd):
            if os.fstat(fd).st_size != size:
                os.ftruncate(fd, 0)
                os.ftruncate(fd, size)
        return fd

    def close(self) -> None:
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self._fd = -1

    def get(self, tag: bytes) -> Event | None:
        """Returns what is known of a tag, which is a random or keyed hash. Raises StateFailure."""
        return self.update(tag, lambda event, floor: None)

    def update(self, tag: bytes, change: Change) -> Event | None:
        """Gives `change` the event of a tag, None where there is none, and the bucket's floor in
        ms; writes what it returns, None leaves all as it was. Returns what was there before.
        Raises StateFailure."""
        offset = int.from_bytes(tag[:4], "big") % self._buckets * _BUCKET_BYTES
        try:
            with self._lock:
                if self._fd < 0:
                    self._fd = self._open()
                with _alone(self._fd):
                    return self._update(offset, tag, change)
        except OSError as error:
            raise StateFailure(f"{self._path} cannot be used: {error.strerror}") from error

    def _update(self, offset: int, tag: bytes, change: Change) -> Event | None:
        data = os.pread(self._fd, _BUCKET_BYTES, offset).ljust(_BUCKET_BYTES, b"\0")
        (floor,) = _FLOOR.unpack_from(data)
        slots = [_SLOT.unpack_from(data, _FLOOR.size + n * _SLOT.size) for n in range(_WAYS)]
        found = next((n for n, slot in enumerate(slots) if slot[0] == tag), None)
        before = None if found is None else Event(*slots[found][1:])
        after = change(before, floor)
        if after is None:
            return before
        if found is None:
            # A free slot has the time 0.
            found = min(range(_WAYS), key=lambda n: slots[n][1])
            floor = max(floor, slots[found][1])
        bucket = bytearray(data)
        _FLOOR.pack_into(bucket, 0, floor)
        _SLOT.pack_into(bucket, _FLOOR.size + found * _SLOT.size, tag, *after)
        os.pwrite(self._fd, bucket, offset)
        return before
