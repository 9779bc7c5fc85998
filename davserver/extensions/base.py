"""The Extension record: what a later RFC adds, as data."""

from __future__ import annotations

from dataclasses import dataclass

from davserver.methods.base import Method
from davserver.properties.base import LiveProperty
from davserver.storage.base import Capability


@dataclass(frozen=True, slots=True)
class Extension:
    """One RFC beyond 4918, switched off by `name` in the settings.

    Attributes:
        dav_tokens: compliance classes for the DAV field (RFC 4918 section 10.1).
        needs_write: they are told to who can write, and to nobody else.
        needs: what the storage must be able to do; where it cannot, they are told to nobody.
    """

    name: str
    dav_tokens: tuple[str, ...] = ()
    needs_write: bool = False
    methods: tuple[Method, ...] = ()
    properties: tuple[LiveProperty, ...] = ()
    needs: Capability | None = None
