"""Multi-Status bodies and precondition bodies (RFC 4918 sections 13, 14.24 and 16). No I/O here.

`D` is bound at the root and used everywhere, never a default namespace: the Windows redirector
and Finder look for prefixes. No pretty printing: Finder reads the first piece of text only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from davserver.protocol.deadprops import escape_text, xml_text
from davserver.protocol.status import status_line

DECLARATION = b'<?xml version="1.0" encoding="utf-8"?>\n'
_HEAD = DECLARATION + b'<D:multistatus xmlns:D="DAV:">'
_TAIL = b"</D:multistatus>"


def whole(response: bytes) -> bytes:
    """Returns the document of one `D:response` element that somebody else has made."""
    return b"".join((_HEAD, response, _TAIL))


@dataclass(frozen=True, slots=True)
class PropStat:
    """The properties that share one status (RFC 4918 section 14.22).

    `content` is the ready inner XML of `prop`; `condition` the local name in `DAV:` of a
    precondition element; `description` is for people.
    """

    status: int
    content: bytes
    condition: bytes | None = None
    description: str = ""


class MultiStatusWriter:
    """Writes a multistatus piece by piece; knows no socket.

    The caller gives each href once (section 14.24), already percent-encoded.
    """

    def __init__(self) -> None:
        self._parts: list[bytes] = [_HEAD]
        self._pending = len(_HEAD)
        self._last: bytes | None = None

    @property
    def pending(self) -> int:
        """Bytes that were not taken yet."""
        return self._pending

    def add(self, response: bytes) -> None:
        """Appends a whole `D:response` element that somebody else has made."""
        self._parts.append(response)
        self._pending += len(response)

    def propstats(self, href: bytes, propstats: Sequence[PropStat]) -> None:
        """Appends a response with at least one propstat; 200 goes first (npm's webdav and Infuse
        read only that one). Raises ValueError for none at all, or an informational status."""
        if not propstats:
            raise ValueError(f"a response without propstat or status for {href!r}")
        self._once(href)
        ordered = sorted(propstats, key=lambda one: one.status != 200)
        inner = b"".join([propstat_xml(one) for one in ordered])
        self.add(b"<D:response><D:href>%s</D:href>%s</D:response>" % (_escape(href), inner))

    def status(
        self,
        href: bytes,
        status: int,
        *,
        condition: bytes | None = None,
        hrefs: Sequence[bytes] = (),
        location: bytes | None = None,
    ) -> None:
        """Appends a response with one status for the whole resource."""
        self._once(href)
        parts = [b"<D:response><D:href>%s</D:href>" % _escape(href), _status(status)]
        if condition is not None:
            parts.append(b"<D:error>%s</D:error>" % _condition(condition, hrefs))
        if location is not None:
            parts.append(b"<D:location><D:href>%s</D:href></D:location>" % _escape(location))
        parts.append(b"</D:response>")
        self.add(b"".join(parts))

    def take(self) -> bytes:
        """Returns what is pending, which is so no more."""
        data = b"".join(self._parts)
        self._parts.clear()
        self._pending = 0
        return data

    def finish(self, sync_token: str | None = None) -> bytes:
        """Returns what is pending and the end of the document (`sync_token`: RFC 6578)."""
        if sync_token is not None:
            self.add(b"<D:sync-token>%s</D:sync-token>" % xml_text(sync_token))
        self.add(_TAIL)
        return self.take()

    def _once(self, href: bytes) -> None:
        # All hrefs would be a set that grows with the listing; a repetition is a neighbour.
        if href == self._last:
            raise ValueError(f"a second response for {href!r}")
        self._last = href


def propstat_xml(propstat: PropStat) -> bytes:
    """Returns one `D:propstat` element."""
    parts = [b"<D:propstat><D:prop>", propstat.content, b"</D:prop>", _status(propstat.status)]
    if propstat.condition is not None:
        parts.append(b"<D:error>%s</D:error>" % _condition(propstat.condition, ()))
    if propstat.description:
        text = xml_text(propstat.description)
        parts.append(b"<D:responsedescription>%s</D:responsedescription>" % text)
    parts.append(b"</D:propstat>")
    return b"".join(parts)


def mkcol_response(propstats: Sequence[PropStat]) -> bytes:
    """Returns what became of the properties of an extended MKCOL (RFC 5689 section 5.2)."""
    inner = b"".join([propstat_xml(one) for one in propstats])
    return b'%s<D:mkcol-response xmlns:D="DAV:">%s</D:mkcol-response>' % (DECLARATION, inner)


def error_body(
    condition: bytes,
    hrefs: Sequence[bytes] = (),
    inner: bytes = b"",
    *,
    beside: bytes | None = None,
) -> bytes:
    """Returns the body of a refusal that names a violated condition (section 16).

    Args:
        inner: XML that the condition carries besides hrefs.
        beside: a further condition.
    """
    element = _condition(condition, hrefs, inner)
    if beside is not None:
        element += b"<D:%s/>" % beside
    return b'%s<D:error xmlns:D="DAV:">%s</D:error>' % (DECLARATION, element)


def _status(status: int) -> bytes:
    # Section 13: informational codes never stand in a multistatus.
    if not 200 <= status <= 599:
        raise ValueError(f"no status for a multistatus: {status}")
    return b"<D:status>%s</D:status>" % status_line(status)


def need_privilege(href: bytes, privilege: bytes) -> bytes:
    """Returns what the condition `need-privileges` carries (RFC 3744 section 7.1.1)."""
    return b"<D:resource><D:href>%s</D:href><D:privilege><D:%s/></D:privilege></D:resource>" % (
        _escape(href),
        privilege,
    )


def _condition(condition: bytes, hrefs: Sequence[bytes], inner: bytes = b"") -> bytes:
    inner += b"".join([b"<D:href>%s</D:href>" % _escape(href) for href in hrefs])
    if not inner:
        return b"<D:%s/>" % condition
    return b"<D:%s>%s</D:%s>" % (condition, inner, condition)


def _escape(href: bytes) -> bytes:
    return escape_text(href.decode("ascii")).encode("ascii")
