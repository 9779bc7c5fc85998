"""Bodies of BIND, UNBIND and REBIND (RFC 5842 sections 4 to 6). No I/O here."""

from __future__ import annotations

from dataclasses import dataclass

from davserver.errors import BadRequest
from davserver.protocol.names import dav
from davserver.protocol.xmlguard import DEFAULT_LIMITS, Element, XmlLimits, parse_xml


@dataclass(frozen=True, slots=True)
class BindingRequest:
    """What is to be bound, or no more.

    Attributes:
        segment: as it was sent: a percent-encoded path segment (RFC 3986 section 3.3).
        href: of the resource, as it was sent; None for UNBIND.
    """

    segment: bytes
    href: bytes | None


def parse_binding(
    body: bytes,
    local: str,
    *,
    has_href: bool,
    charset: str | None = None,
    limits: XmlLimits = DEFAULT_LIMITS,
) -> BindingRequest:
    """Reads a `bind`, `unbind` or `rebind` element, called `local`.

    Raises BadRequest (400), and what `parse_xml` raises.
    """
    if not body:
        raise BadRequest(f"there must be a body, {{DAV:}}{local}")
    root = parse_xml(body, charset=charset, limits=limits)
    if root.name != dav(local):
        raise BadRequest(f"the body must be {{DAV:}}{local}, not {root.name!r}")
    return BindingRequest(_text(root, "segment"), _text(root, "href") if has_href else None)


def _text(root: Element, local: str) -> bytes:
    found = root.find_all(dav(local))
    if len(found) != 1 or found[0].elements:
        raise BadRequest(f"there must be exactly one {local}, of text alone")
    text = "".join(child for child in found[0].children if isinstance(child, str))
    return text.strip().encode("utf-8")
