"""`lastmodified` of ownCloud and Nextcloud: rclone sets the time of a file with it."""

from __future__ import annotations

from davserver.errors import Conflict
from davserver.properties.base import LiveProperty, Prepared, Resource, protected
from davserver.protocol.deadprops import element_text
from davserver.protocol.names import dav

LASTMODIFIED = dav("lastmodified")


def _set_lastmodified(resource: Resource, value: bytes | None) -> Prepared:
    """Takes seconds since the epoch. Nothing is shown under this name: RFC 4918 does not know
    it, and `getlastmodified` has the same."""
    if value is None:
        raise protected(LASTMODIFIED)
    text = (element_text(value) or "").strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 11:
        raise Conflict(f"lastmodified {text!r} is no number of seconds")
    return Prepared(attributes=(("mtime_ns", int(text) * 1_000_000_000),))


PROPERTIES = (LiveProperty(LASTMODIFIED, None, prepare=_set_lastmodified),)
