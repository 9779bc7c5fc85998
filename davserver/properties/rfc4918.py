"""The live properties of RFC 4918 section 15."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from davserver.errors import Conflict
from davserver.properties.base import (
    CREATED,
    Filled,
    LiveProperty,
    Members,
    Needs,
    Prepared,
    Resource,
    created_element,
    creation_ns,
    never,
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
from davserver.storage.base import TAG_FORM, Kind

_FILES = frozenset({Kind.FILE})
_ALL = frozenset(Kind)
"""What a listing shows of a FIFO, socket or device, too."""
_SECOND = 1_000_000_000
_GETCONTENTTYPE = b"<D:getcontenttype>%s</D:getcontenttype>"
_NO_LOCKS = b"<D:lockdiscovery/>"
_DATES = 1024
"""Elements with a date that are kept: members of a collection often have the same."""
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
    return _creationdate_xml(ns // _SECOND)


def _creationdates(members: Members) -> Sequence[bytes | None]:
    births = members.stats.births_s()
    return [None if birth_s is None else _creationdate_xml(birth_s) for birth_s in births]


@lru_cache(_DATES)
def _creationdate_xml(seconds: int) -> bytes:
    return b"<D:creationdate>%s</D:creationdate>" % format_iso_date(seconds * _SECOND)


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


def _displaynames(members: Members) -> Sequence[bytes]:
    # No name has a slash in it.
    texts = xml_text("/".join(members.names)).split(b"/")
    return [b"<D:displayname>%s</D:displayname>" % text for text in texts]


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


def _getcontentlengths(members: Members) -> Filled:
    return Filled(b"<D:getcontentlength>%d</D:getcontentlength>", (members.stats.sizes(),))


def _getcontenttype(resource: Resource) -> bytes:
    is_file = resource.stat.kind is Kind.FILE
    return _GETCONTENTTYPE % (media_type(resource.name) if is_file else COLLECTION)


def _getcontenttypes(members: Members) -> bytes | Sequence[bytes]:
    if members.kind is Kind.COLLECTION:
        return _GETCONTENTTYPE % COLLECTION
    return [_GETCONTENTTYPE % media_type(name) for name in members.names]


def _getetag(resource: Resource) -> bytes | None:
    etag = resource.stat.etag
    return None if etag is None else b"<D:getetag>%s</D:getetag>" % etag.to_header()


def _getetags(members: Members) -> Filled:
    # As ETag.to_header has them: they are strong.
    return Filled(b'<D:getetag>"%s"</D:getetag>' % TAG_FORM, members.stats.tag_fields())


def _getlastmodified(resource: Resource) -> bytes:
    # RFC 9110 section 8.8.2.1: never later than Date.
    return _getlastmodified_xml(min(resource.stat.mtime_ns // _SECOND, int(resource.now)))


def _getlastmodifieds(members: Members) -> Sequence[bytes]:
    now = int(members.now)
    seconds = members.stats.mtimes_s()
    if max(seconds) > now:
        seconds = [min(each, now) for each in seconds]
    return list(map(_getlastmodified_xml, seconds))


@lru_cache(_DATES)
def _getlastmodified_xml(seconds: int) -> bytes:
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
        return _NO_LOCKS
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


def _no_locks(members: Members) -> bytes | None:
    return _NO_LOCKS if members.can_write else None


def _resourcetype(resource: Resource) -> bytes:
    return _resourcetype_xml(resource.stat.kind)


def _resourcetypes(members: Members) -> bytes:
    return _resourcetype_xml(members.kind)


def _resourcetype_xml(kind: Kind) -> bytes:
    if kind is Kind.COLLECTION:
        return b"<D:resourcetype><D:collection/></D:resourcetype>"
    return b"<D:resourcetype/>"


def _supportedlock(shown: Resource | Members) -> bytes | None:
    return SUPPORTEDLOCK_XML if shown.can_write and not shown.hides_supportedlock else None


PROPERTIES = (
    LiveProperty(
        CREATIONDATE,
        _creationdate,
        kinds=_ALL,
        needs=Needs.DEAD,
        prepare=_set_creationdate,
        column=_creationdates,
    ),
    LiveProperty(
        DISPLAYNAME,
        _displayname,
        kinds=_ALL,
        needs=Needs.DEAD,
        prepare=_set_displayname,
        column=_displaynames,
    ),
    LiveProperty(
        GETCONTENTLANGUAGE,
        _getcontentlanguage,
        needs=Needs.DEAD,
        prepare=_set_getcontentlanguage,
        column=never,
    ),
    LiveProperty(GETCONTENTLENGTH, _getcontentlength, kinds=_FILES, column=_getcontentlengths),
    LiveProperty(GETCONTENTTYPE, _getcontenttype, column=_getcontenttypes),
    LiveProperty(GETETAG, _getetag, kinds=_FILES, column=_getetags),
    LiveProperty(
        GETLASTMODIFIED,
        _getlastmodified,
        kinds=_ALL,
        prepare=_set_getlastmodified,
        column=_getlastmodifieds,
    ),
    LiveProperty(LOCKDISCOVERY, _lockdiscovery, needs=Needs.LOCKS, column=_no_locks),
    LiveProperty(RESOURCETYPE, _resourcetype, kinds=_ALL, column=_resourcetypes),
    LiveProperty(SUPPORTEDLOCK, _supportedlock, column=_supportedlock),
)
