"""What a request's conditions are compared with (RFC 4918 section 10.4, RFC 9110 section 13)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from davserver.protocol.etag import ETag


@dataclass(frozen=True, slots=True)
class ResourceState:
    """What conditions are compared with.

    Attributes:
        exists: a resource is mapped. False makes every entity-tag condition false.
        etag: its entity-tag, None where there is none (a collection).
        last_modified: seconds since the epoch, None where unknown.
        lock_tokens: tokens of the locks in whose scope the URL is (RFC 4918 section 10.4.4).
    """

    exists: bool
    etag: ETag | None = None
    last_modified: int | None = None
    lock_tokens: Collection[str] = ()
