"""Quota and size properties (RFC 4331): what Finder, davfs2 and gvfs show as free space."""

from __future__ import annotations

from davserver.extensions.base import Extension
from davserver.properties.base import LiveProperty, Needs, Resource
from davserver.protocol.names import QUOTA_AVAILABLE_BYTES, QUOTA_USED_BYTES
from davserver.storage.base import Kind


def _available(resource: Resource) -> bytes | None:
    if resource.quota is None:
        return None
    value = max(0, resource.quota.available)
    return b"<D:quota-available-bytes>%d</D:quota-available-bytes>" % value


def _used(resource: Resource) -> bytes | None:
    if resource.quota is None:
        return None
    return b"<D:quota-used-bytes>%d</D:quota-used-bytes>" % max(0, resource.quota.used)


_COLLECTIONS = frozenset({Kind.COLLECTION})
EXTENSION = Extension(
    "rfc4331-quota",
    properties=tuple(
        # Section 2: "SHOULD NOT be returned" by allprop: it may be costly to compute.
        LiveProperty(name, render, kinds=_COLLECTIONS, needs=Needs.QUOTA, in_allprop=False)
        for name, render in ((QUOTA_AVAILABLE_BYTES, _available), (QUOTA_USED_BYTES, _used))
    ),
)
