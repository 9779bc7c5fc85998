"""Win32LastModifiedTime and Win32CreationTime: the Windows redirector sets them after each upload.

Once set they are shown with the times that the resource has now, for Explorer prefers them to
`getlastmodified` and `creationdate`. The other Win32 properties (time of access, attributes) are
dead ones, kept as they are sent: Explorer must get a 200 for each, or it reports "insufficient
space".
"""

from __future__ import annotations

from davserver.properties.base import (
    CREATED,
    LiveProperty,
    Needs,
    Prepared,
    Resource,
    created_element,
    creation_ns,
    never,
)
from davserver.properties.rfc4918 import date_ns, modified_at
from davserver.protocol.dates import format_http_date
from davserver.protocol.names import PropertyChange, QName

LAST_MODIFIED_TIME = QName("{urn:schemas-microsoft-com:}Win32LastModifiedTime")
CREATION_TIME = QName("{urn:schemas-microsoft-com:}Win32CreationTime")
_SECOND = 1_000_000_000
_ELEMENT = b'<Z:%s xmlns:Z="urn:schemas-microsoft-com:">%s</Z:%s>'


def _element(name: QName, ns: int) -> bytes:
    local = name.rpartition("}")[2].encode("ascii")
    return _ELEMENT % (local, format_http_date(ns // _SECOND), local)


def _last_modified_time(resource: Resource) -> bytes | None:
    if LAST_MODIFIED_TIME not in resource.dead:
        return None
    return _element(LAST_MODIFIED_TIME, resource.stat.mtime_ns)


def _set_last_modified_time(resource: Resource, value: bytes | None) -> Prepared:
    row = PropertyChange(LAST_MODIFIED_TIME, value)
    return Prepared((row,), () if value is None else modified_at(value))


def _creation_time(resource: Resource) -> bytes | None:
    ns = creation_ns(resource) if CREATION_TIME in resource.dead else None
    return None if ns is None else _element(CREATION_TIME, ns)


def _set_creation_time(resource: Resource, value: bytes | None) -> Prepared:
    rows = [PropertyChange(CREATION_TIME, value)]
    if value is not None:
        rows.append(PropertyChange(CREATED, created_element(date_ns(value))))
    return Prepared(tuple(rows))


PROPERTIES = (
    LiveProperty(
        LAST_MODIFIED_TIME,
        _last_modified_time,
        needs=Needs.DEAD,
        prepare=_set_last_modified_time,
        column=never,
    ),
    LiveProperty(
        CREATION_TIME,
        _creation_time,
        needs=Needs.DEAD,
        prepare=_set_creation_time,
        column=never,
    ),
)
