"""Digests that are known of a file, in a private row beside its dead properties.

The row names the entity-tag of the version that it is of, so that one of an older version is
never used: the tag is made of inode, size and time of modification. It follows the resource as
every row does, is deleted with it, and costs a listing nothing that asks for no property.
"""

from __future__ import annotations

from collections.abc import Mapping

from davserver.properties.base import PRIVATE
from davserver.protocol.deadprops import element_text
from davserver.protocol.digests import Digests, from_text, to_text
from davserver.protocol.names import PropertyChange, QName
from davserver.storage.base import Stat

DIGESTS = QName(f"{PRIVATE}digests")
_NONE: Digests = {}


def stored_digests(dead: Mapping[QName, bytes], stat: Stat) -> Digests:
    """Returns what is known of this version of a file."""
    row = dead.get(DIGESTS)
    etag = stat.etag
    if row is None or etag is None:
        return _NONE
    version, _, digests = (element_text(row) or "").partition(" ")
    return from_text(digests) if version == etag.opaque else _NONE


def digests_change(stat: Stat, digests: Digests) -> PropertyChange:
    """Returns the row for this version of a file."""
    assert stat.etag is not None
    text = f"{stat.etag.opaque} {to_text(digests)}"
    return PropertyChange(DIGESTS, f'<digests xmlns="davserver:">{text}</digests>'.encode("ascii"))
