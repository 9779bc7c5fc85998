"""Names of XML elements and properties (RFC 4918 sections 14 and 15). No I/O here."""

from __future__ import annotations

from typing import NamedTuple, NewType

QName = NewType("QName", str)
"""An expanded name in Clark notation, `{DAV:}getetag`, as lxml gives it; `name` alone when the
element is in no namespace."""

DAV = "DAV:"


def dav(local: str) -> QName:
    """Returns the name in the `DAV:` namespace."""
    return QName(f"{{{DAV}}}{local}")


CREATIONDATE = dav("creationdate")
DISPLAYNAME = dav("displayname")
GETCONTENTLANGUAGE = dav("getcontentlanguage")
GETCONTENTLENGTH = dav("getcontentlength")
GETCONTENTTYPE = dav("getcontenttype")
GETETAG = dav("getetag")
GETLASTMODIFIED = dav("getlastmodified")
LOCKDISCOVERY = dav("lockdiscovery")
RESOURCETYPE = dav("resourcetype")
SUPPORTEDLOCK = dav("supportedlock")
CURRENT_USER_PRINCIPAL = dav("current-user-principal")
QUOTA_AVAILABLE_BYTES = dav("quota-available-bytes")
QUOTA_USED_BYTES = dav("quota-used-bytes")


class PropertyChange(NamedTuple):
    """One instruction of a PROPPATCH (RFC 4918 section 9.2), in document order.

    `value` is the whole property element in canonical form (its own namespace declarations,
    `xml:lang` from the request's ancestors put on it), or None for `remove`.
    """

    name: QName
    value: bytes | None
