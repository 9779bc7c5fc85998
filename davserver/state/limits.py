"""How much one resource or one principal may store, so that nobody fills the state alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from davserver.errors import StateFull
from davserver.protocol.names import PropertyChange, QName


@dataclass(frozen=True, slots=True)
class StateLimits:
    """Upper bounds of the store.

    Attributes:
        locks_per_principal: locks that one principal may hold.
        locks_per_resource: locks rooted at one resource (shared ones add up).
        owner_bytes: bytes of the owner element of one lock; every worker keeps all of them in
            memory.
        properties_per_resource: dead properties of one resource.
        property_bytes: bytes of one value.
        properties_bytes_per_resource: bytes of all values of one resource.
    """

    locks_per_principal: int = 10_000
    locks_per_resource: int = 100
    owner_bytes: int = 8_192
    properties_per_resource: int = 1_000
    property_bytes: int = 65_536
    properties_bytes_per_resource: int = 1_048_576


def patched(
    stored: Mapping[QName, bytes], changes: Sequence[PropertyChange], limits: StateLimits
) -> dict[QName, bytes]:
    """Returns the properties after the changes, applied in order (RFC 4918 section 9.2).

    Raises StateFull (507) past a limit; what only removes or shrinks always succeeds, so that a
    resource over a lowered limit can be cleaned up.
    """
    after = dict(stored)
    for name, value in changes:
        if value is None:
            after.pop(name, None)
        else:
            after[name] = value
    grown = [
        name
        for name, value in after.items()
        if name not in stored or len(value) > len(stored[name])
    ]
    if grown:
        _check(after, grown, limits)
    return after


def _check(after: Mapping[QName, bytes], grown: Sequence[QName], limits: StateLimits) -> None:
    for name in grown:
        if len(after[name]) > limits.property_bytes:
            raise StateFull(f"property {name!r} is larger than {limits.property_bytes} bytes")
    if len(after) > limits.properties_per_resource:
        raise StateFull(f"more than {limits.properties_per_resource} properties on one resource")
    if sum(map(len, after.values())) > limits.properties_bytes_per_resource:
        raise StateFull(
            f"more than {limits.properties_bytes_per_resource} bytes of properties on one resource"
        )
