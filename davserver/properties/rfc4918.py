"""The live properties of RFC 4918 section 15."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime

from davserver.errors import Conflict
from davserver.properties.base import (
    CREATED,
    LiveProperty,
    Needs,
    Prepared,
    Resource,
    created_element,
    creation_ns,
    protected,
)
from davserver.protocol.dates import format_http_date, format_iso_date, parse_http_date
from davserver.protocol.deadprops import element_text, xml_text
from davserver.protocol.lockxml import SUPPORTEDLOCK as SUPPORTEDLOCK_XML
from davserver.protocol.lockxml import activelock_xml
from davserver.protocol.mediatypes import COLLECTION, media_type
from davserver.protocol.names import (
    CREATIONDATE,
    DISPLAYNAME,
    GETCONTENTLANGUAGE,
    GETCONTENTLENGTH,
    GETCONTENTTYPE,
    GETETAG,
    GETLASTMODIFIED,
    LOCKDISCOVERY,
    RESOURCETYPE,
    SUPPORTEDLOCK,
    PropertyChange,
    QName,
)
from davserver.storage.base import Kind

_FILES = frozenset({Kind.FILE})
_ALL = frozenset(Kind)
"""What a listing shows of a FIFO, socket or device, too."""
_SECOND = 1_000_000_000
_LANGUAGES = re.compile(r"[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*([ \t]*,[ \t]*[A-Za-z][A-Za-z0-9-]*)*")


def content_language(dead: Mapping[QName, bytes]) -> bytes | None:
    """Returns the value of Content-Language (section 15.3), None when none was set."""
    row = dead.get(GETCONTENTLANGUAGE)
    text = None if row is None else element_text(row)
    return text.strip().encode("ascii") if text else None


def _creationdate(resource: Resource) -> bytes | None:
    ns = creation_ns(resource)
    if ns is None:
        # Section 15.1: unknown is absent, not the epoch.
        return None
    return b"<D:creationdate>%s</D:creationdate>" % format_iso_date(ns)


def _set_creationdate(resource: Resource, value: bytes | None) -> Prepared:
    if value is None:
        return Prepared(rows=(PropertyChange(CREATED, None),))
    text = (element_text(value) or "").strip()
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise Conflict(f"creationdate {text!r} is no RFC 3339 date") from exc
    if moment.tzinfo is None:
        raise Conflict(f"creationdate {text!r} has no offset from UTC")
    ns = int(moment.timestamp()) * _SECOND
    return Prepared(rows=(PropertyChange(CREATED, created_element(ns)),))


def _displayname(resource: Resource) -> bytes:
    stored = resource.dead.get(DISPLAYNAME)
    if stored is not None:
        return stored
    name = resource.name
    if name.isascii() and name.isalnum():
        return b"<D:displayname>%s</D:displayname>" % name.encode("ascii")
    # A file name that is not UTF-8 holds surrogates, which XML cannot carry.
    return b"<D:displayname>%s</D:displayname>" % xml_text(name)


def _set_displayname(resource: Resource, value: bytes | None) -> Prepared:
    if value is not None and element_text(value) is None:
        raise Conflict("displayname is text, without elements")
    return Prepared(rows=(PropertyChange(DISPLAYNAME, value),))


def _getcontentlanguage(resource: Resource) -> bytes | None:
    return resource.dead.get(GETCONTENTLANGUAGE)


def _set_getcontentlanguage(resource: Resource, value: bytes | None) -> Prepared:
    if value is not None:
        text = element_text(value)
        # It becomes a header field of GET (section 15.3), so nothing else may be in it.
        if text is None or not _LANGUAGES.fullmatch(text.strip(" \t\r\n")):
            raise Conflict(f"getcontentlanguage {text!r} is no list of language tags")
    return Prepared(rows=(PropertyChange(GETCONTENTLANGUAGE, value),))


def _getcontentlength(resource: Resource) -> bytes:
    return b"<D:getcontentlength>%d</D:getcontentlength>" % resource.stat.size


def _getcontenttype(resource: Resource) -> bytes:
    is_file = resource.stat.kind is Kind.FILE
    kind = media_type(resource.name) if is_file else COLLECTION
    return b"<D:getcontenttype>%s</D:getcontenttype>" % kind


def _getetag(resource: Resource) -> bytes | None:
    etag = resource.stat.etag
    return None if etag is None else b"<D:getetag>%s</D:getetag>" % etag.to_header()


def _getlastmodified(resource: Resource) -> bytes:
    # RFC 9110 section 8.8.2.1: never later than Date.
    seconds = min(resource.stat.mtime_ns // _SECOND, int(resource.now))
    return b"<D:getlastmodified>%s</D:getlastmodified>" % format_http_date(seconds)


def date_ns(value: bytes) -> int:
    """Returns nanoseconds of an element that holds an HTTP date. Raises Conflict (409)."""
    text = element_text(value) or ""
    seconds = parse_http_date(text.strip().encode("utf-8"))
    if seconds is None:
        raise Conflict(f"{text!r} is no HTTP date")
    return seconds * _SECOND


def modified_at(value: bytes) -> tuple[tuple[str, int], ...]:
    """Returns the attributes that an element with an HTTP date sets. Raises Conflict (409)."""
    return (("mtime_ns", date_ns(value)),)


def _set_getlastmodified(resource: Resource, value: bytes | None) -> Prepared:
    """Section 15.7 would have it protected: WinSCP keeps the time of an upload with it."""
    if value is None:
        raise protected(GETLASTMODIFIED)
    return Prepared(attributes=modified_at(value))


def _lockdiscovery(resource: Resource) -> bytes | None:
    # A server that nobody can write to is of class 1 (section 18.2).
    if not resource.can_write:
        return None
    if not resource.locks:
        return b"<D:lockdiscovery/>"
    active = [
        activelock_xml(
            lock,
            now=resource.now,
            base=resource.base,
            show_token=lock.principal == resource.principal,
        )
        for lock in resource.locks
    ]
    return b"<D:lockdiscovery>%s</D:lockdiscovery>" % b"".join(active)


def _resourcetype(resource: Resource) -> bytes:
    if resource.stat.kind is Kind.COLLECTION:
        return b"<D:resourcetype><D:collection/></D:resourcetype>"
    return b"<D:resourcetype/>"


def _supportedlock(resource: Resource) -> bytes | None:
    return SUPPORTEDLOCK_XML if resource.can_write and not resource.hides_supportedlock else None


PROPERTIES = (
    LiveProperty(
        CREATIONDATE, _creationdate, kinds=_ALL, needs=Needs.DEAD, prepare=_set_creationdate
    ),
    LiveProperty(DISPLAYNAME, _displayname, kinds=_ALL, needs=Needs.DEAD, prepare=_set_displayname),
    LiveProperty(
        GETCONTENTLANGUAGE,
        _getcontentlanguage,
        needs=Needs.DEAD,
        prepare=_set_getcontentlanguage,
    ),
    LiveProperty(GETCONTENTLENGTH, _getcontentlength, kinds=_FILES),
    LiveProperty(GETCONTENTTYPE, _getcontenttype),
    LiveProperty(GETETAG, _getetag, kinds=_FILES),
    LiveProperty(GETLASTMODIFIED, _getlastmodified, kinds=_ALL, prepare=_set_getlastmodified),
    LiveProperty(LOCKDISCOVERY, _lockdiscovery, needs=Needs.LOCKS),
    LiveProperty(RESOURCETYPE, _resourcetype, kinds=_ALL),
    LiveProperty(SUPPORTEDLOCK, _supportedlock),
)
