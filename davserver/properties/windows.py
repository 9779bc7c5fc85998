"""Win32LastModifiedTime: the Windows redirector sets it after each upload.

The other Win32 properties (creation and access time, attributes) are dead ones, kept as they are
sent: Explorer must get a 200 for each, or it reports "insufficient space".
"""

from __future__ import annotations

from davserver.properties.base import LiveProperty, Prepared, Resource
from davserver.properties.rfc4918 import modified_at
from davserver.protocol.names import PropertyChange, QName

LAST_MODIFIED_TIME = QName("{urn:schemas-microsoft-com:}Win32LastModifiedTime")


def _set_last_modified_time(resource: Resource, value: bytes | None) -> Prepared:
    """Kept as it is, and put on the resource, lest Explorer show the time of the upload."""
    row = PropertyChange(LAST_MODIFIED_TIME, value)
    return Prepared((row,), () if value is None else modified_at(value))


PROPERTIES = (LiveProperty(LAST_MODIFIED_TIME, None, prepare=_set_last_modified_time),)
