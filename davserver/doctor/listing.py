"""Reads multistatus answers (RFC 4918 section 13)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from davserver.doctor.address import decoded
from davserver.doctor.messages import Answer
from davserver.errors import DavError
from davserver.protocol.names import QName
from davserver.protocol.xmlguard import Element, XmlLimits, parse_xml

_LIMITS = XmlLimits(
    elements=100_000, names=10_000, name_length=2_000_000, namespaces=100_000, scopes=1_000_000
)


class NoListing(ValueError):
    """The answer is no multistatus. The message says why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One `response`.

    Attributes:
        href: as it came.
        properties: text of those that were found, by name.
    """

    href: str
    properties: dict[str, str]

    @property
    def path(self) -> bytes:
        """The decoded path of the href, without the last slash."""
        return decoded(urlsplit(self.href).path).rstrip(b"/")


def read_listing(answer: Answer) -> list[Entry]:
    """Returns the entries in order. Raises NoListing."""
    if answer.status != 207:
        raise NoListing(f"{answer} in place of 207 Multi-Status")
    coding = answer.get("content-encoding")
    if coding not in (None, "identity"):
        raise NoListing(f"the answer is encoded with {coding}, which was not asked for")
    try:
        root = parse_xml(answer.body, limits=_LIMITS)
    except DavError as error:
        raise NoListing(f"the body of the answer cannot be read: {error.detail}") from None
    if root.name != "{DAV:}multistatus":
        raise NoListing(f"the answer holds {root.name}, not a multistatus")
    return [_entry(each) for each in root.find_all(QName("{DAV:}response"))]


def _entry(response: Element) -> Entry:
    hrefs = response.find_all(QName("{DAV:}href"))
    properties: dict[str, str] = {}
    for propstat in response.find_all(QName("{DAV:}propstat")):
        statuses = propstat.find_all(QName("{DAV:}status"))
        if not statuses or " 200" not in text_of(statuses[0]):
            continue
        for prop in propstat.find_all(QName("{DAV:}prop")):
            properties |= {element.name: text_of(element) for element in prop.elements}
    return Entry(text_of(hrefs[0]).strip() if hrefs else "", properties)


def text_of(element: Element) -> str:
    """Returns all text of an element and of those in it."""
    return "".join(
        child if isinstance(child, str) else text_of(child) for child in element.children
    )
