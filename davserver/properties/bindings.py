"""The identity of a resource, whatever its URLs (RFC 5842 section 3.1), as it is stored."""

from __future__ import annotations

from collections.abc import Mapping

from davserver.properties.base import PRIVATE
from davserver.protocol.deadprops import element_text
from davserver.protocol.names import PropertyChange, QName

IDENTITY = QName(f"{PRIVATE}resource-id")


def identity_change(uri: str) -> PropertyChange:
    """Returns the row."""
    return PropertyChange(IDENTITY, f'<resource-id xmlns="davserver:">{uri}</resource-id>'.encode())


def stored_identity(dead: Mapping[QName, bytes]) -> str | None:
    """Returns the URI; None where nobody has asked for it yet."""
    row = dead.get(IDENTITY)
    return None if row is None else element_text(row)
