"""Write locks as values, and the rules of RFC 4918 sections 6 and 7 as pure functions. No I/O."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from davserver.protocol.headers import Depth
from davserver.protocol.path import Key


class LockScope(enum.Enum):
    """RFC 4918 section 14.13."""

    EXCLUSIVE = "exclusive"
    SHARED = "shared"


@dataclass(frozen=True, slots=True)
class Lock:
    """One granted write lock (RFC 4918 section 14.1).

    Attributes:
        token: the state token, a `urn:uuid:` URI (section 6.5).
        key: the canonical identity of the lock root.
        href: the lock root as it was requested (erratum 1207), relative to the mount: begins
            with "/", percent-encoded, ends with "/" on a collection.
        scope, depth: as granted; depth is ZERO or INFINITY.
        owner_xml: the whole `owner` element in canonical form, b"" when none was sent.
        principal: name of the creator; "" is the anonymous principal (section 6.4).
        timeout_s: seconds granted at creation or the last refresh.
        expires_at: seconds since the epoch.
    """

    token: str
    key: Key
    href: bytes
    scope: LockScope
    depth: Depth
    owner_xml: bytes
    principal: str
    timeout_s: int
    expires_at: float

    def covers(self, key: Key) -> bool:
        """True when `key` is in the scope of this lock (RFC 4918 section 6.1, rule 2)."""
        if key == self.key:
            return True
        return self.depth is Depth.INFINITY and self.key.covers(key)


def is_satisfied(covering: Sequence[Lock], submitted: Collection[str], principal: str) -> bool:
    """True when a resource covered by these locks may be changed (RFC 4918 sections 6.4, 7.5).

    An exclusive lock is the only one on its resource; of shared locks the holder of any may
    write. A token counts only for the principal that created the lock.
    """
    if not covering:
        return True
    return any(lock.token in submitted and lock.principal == principal for lock in covering)


def blocking(
    covering: Sequence[Lock],
    beneath: Iterable[Lock],
    submitted: Collection[str],
    principal: str,
) -> list[Lock]:
    """Returns the locks that stand in the way of a change to a resource, or to its whole tree.

    Args:
        covering: locks in whose scope the resource is.
        beneath: locks rooted below it, when the change reaches the whole tree.
        submitted: tokens of the If header (and of the named quirks).
        principal: name of the asker.
    """
    found: list[Lock] = []
    if not is_satisfied(covering, submitted, principal):
        found.extend(covering)
    by_root: dict[Key, list[Lock]] = {}
    for lock in beneath:
        by_root.setdefault(lock.key, []).append(lock)
    for locks in by_root.values():
        if not is_satisfied(locks, submitted, principal):
            found.extend(locks)
    return found


def conflicting(
    scope: LockScope, depth: Depth, covering: Sequence[Lock], beneath: Iterable[Lock]
) -> tuple[list[Lock], list[Lock]]:
    """Returns the locks that forbid a new one: (on the resource itself, on its members).

    RFC 4918 section 6.1 (3): an exclusive lock conflicts with any, shared ones only with
    exclusive. Members matter only to a lock of depth infinity (section 9.10.3).
    """

    def conflicts(lock: Lock) -> bool:
        return scope is LockScope.EXCLUSIVE or lock.scope is LockScope.EXCLUSIVE

    below = [lock for lock in beneath if conflicts(lock)] if depth is Depth.INFINITY else []
    return [lock for lock in covering if conflicts(lock)], below
