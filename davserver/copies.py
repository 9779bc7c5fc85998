"""What a MOVE across file systems leaves behind goes when it is still what was copied.

A copy of a file gets the second of its source's time, and nanoseconds that are made of the
source's version and a number drawn for the MOVE: whoever has that number can tell, now or after a
crash, that the source has not been written since. Nothing has to be remembered of each member.
"""

from __future__ import annotations

import hashlib
import os

from davserver.context import Services
from davserver.errors import Conflict, ResourceNotFound
from davserver.protocol.locks import Lock
from davserver.protocol.names import QName
from davserver.protocol.path import DavPath, Key
from davserver.state.base import GateView, StateReader
from davserver.state.rows import PRIVATE
from davserver.storage.base import Kind, Stat

NONCE, SIZE, TIME = "nonce", "size", "mtime_ns"
"""In the values of a LEAVE: the number of a tree; the version of a file."""
_NS = 1_000_000_000
_UNITS_NS = (100, 1_000, 1_000_000, 10_000_000, _NS, 2 * _NS)
"""What file systems without nanoseconds cut a time down to; on those less is known."""


def new_nonce() -> int:
    """Returns the number that a MOVE draws."""
    return int.from_bytes(os.urandom(7), "big")


def kept_time_ns(stat: Stat, nonce: int) -> int:
    """Returns the time that the copy of a file gets. No entity-tag comes back by it: nobody can
    foresee its nanoseconds, which are never 0."""
    version = f"{stat.inode} {stat.size} {stat.mtime_ns} {nonce}".encode()
    digest = hashlib.blake2b(version, digest_size=8).digest()
    return stat.mtime_ns // _NS * _NS + 1 + int.from_bytes(digest, "big") % (_NS - 1)


def is_copied(now: Stat, copy: Stat, nonce: int) -> bool:
    """True when `copy` was made of the version that `now` is. Of a collection only that it was
    made: its members speak for themselves."""
    if now.kind is not copy.kind or now.kind is Kind.OTHER:
        return False
    if now.kind is Kind.COLLECTION:
        return True
    expected_ns = kept_time_ns(now, nonce)
    is_kept = copy.mtime_ns == expected_ns or any(
        copy.mtime_ns == expected_ns - expected_ns % unit for unit in _UNITS_NS
    )
    return is_kept and now.size == copy.size


def require_copied(
    services: Services, view: GateView, path: DavPath, copy: DavPath, nonce: int
) -> None:
    """Raises Conflict when the resource at `path` was written since its copy was made, or came
    since, or was never to be read; ResourceNotFound when it is gone."""
    now, there = services.storage.locate(path), services.storage.locate(copy)
    if now.stat is None:
        raise ResourceNotFound(f"{path.name!r} is gone")
    if there.stat is None or not is_copied(now.stat, there.stat, nonce):
        raise Conflict(f"{path.name!r} was not copied as it is now")
    # Of a link nothing goes but itself.
    if now.link_to is None and _public(view, now.key) != _public(view, there.key):
        raise Conflict(f"the properties of {path.name!r} were not copied as they are now")


def _public(reader: StateReader, key: Key) -> dict[QName, bytes]:
    found = reader.properties(key)
    return {name: value for name, value in found.items() if not name.startswith(PRIVATE)}


def locks_in_the_way(view: GateView, key: Key, *, now: float) -> list[Lock]:
    """Returns the locks that forbid to remove `key`: on it or below it, and on its parent, whose
    membership they protect (RFC 4918 section 7.4)."""
    above = view.covering(key.parent, now=now) if key.parent is not None else ()
    return [*above, *view.covering(key, now=now), *view.beneath(key, now=now)]
