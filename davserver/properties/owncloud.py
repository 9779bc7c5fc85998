"""`lastmodified` and `checksums` of ownCloud and Nextcloud, for rclone: it sets the time of a file
with the one, and compares content with the other."""

from __future__ import annotations

from davserver.errors import Conflict
from davserver.properties.base import LiveProperty, Needs, Prepared, Resource, never, protected
from davserver.properties.digests import stored_digests
from davserver.protocol.deadprops import element_text
from davserver.protocol.digests import checksums_text
from davserver.protocol.names import QName, dav
from davserver.storage.base import Kind

LASTMODIFIED = dav("lastmodified")
CHECKSUMS = QName("{http://owncloud.org/ns}checksums")
_CHECKSUMS = (
    b'<oc:checksums xmlns:oc="http://owncloud.org/ns"><oc:checksum>%s</oc:checksum></oc:checksums>'
)


def _set_lastmodified(resource: Resource, value: bytes | None) -> Prepared:
    """Takes seconds since the epoch. Nothing is shown under this name: RFC 4918 does not know
    it, and `getlastmodified` has the same."""
    if value is None:
        raise protected(LASTMODIFIED)
    text = (element_text(value) or "").strip()
    if not text.isascii() or not text.isdecimal() or len(text) > 11:
        raise Conflict(f"lastmodified {text!r} is no number of seconds")
    return Prepared(attributes=(("mtime_ns", int(text) * 1_000_000_000),))


def _checksums(resource: Resource) -> bytes | None:
    """What is known already: nothing is read for a listing."""
    text = checksums_text(stored_digests(resource.dead, resource.stat))
    return _CHECKSUMS % text if text else None


PROPERTIES = (
    LiveProperty(LASTMODIFIED, None, prepare=_set_lastmodified),
    LiveProperty(
        CHECKSUMS,
        _checksums,
        kinds=frozenset({Kind.FILE}),
        needs=Needs.DEAD,
        in_allprop=False,
        column=never,
    ),
)
