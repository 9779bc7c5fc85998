"""What a browser says of the page that a request comes from, and the cookie of our own page.

A cookie goes with whatever a browser sends here, whoever's page made it do so. SameSite keeps it
from most; what it lets through, and what older browsers send, is told by the request itself
(Fetch Metadata, RFC 6454): the cookie counts for pages of this very origin alone.
"""

from __future__ import annotations

from starlette.requests import cookie_parser

from davserver.protocol.headers import DavHeaders, normalize_authority

COOKIE = b"davserver-session"
_COOKIE = COOKIE.decode("ascii")
PAGE = b"x-davserver-page"
"""The page sends this field with what it asks for: it has a form, and wants no browser's prompt."""


BASIC = b"basic"
"""The query of who goes to an address and wants the browser's own prompt."""


def is_same_origin(headers: DavHeaders) -> bool:
    """False where a page of another origin has made the browser send this."""
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    if origin is None:
        return True
    authority = normalize_authority(origin.partition(b"://")[2])
    return bool(authority) and authority == normalize_authority(headers.get(b"host") or b"")


def session_token(headers: DavHeaders) -> bytes | None:
    """Returns the token in the cookie of our page, None where it does not count."""
    if headers.get(b"cookie") is None or not is_same_origin(headers):
        return None
    sent = b"; ".join(headers.get_all(b"cookie")).decode("latin-1")
    value = cookie_parser(sent).get(_COOKIE)
    return None if value is None else value.encode("latin-1", "replace")


def is_page(headers: DavHeaders) -> bool:
    """True for what our page asks for."""
    return headers.get(PAGE) is not None


def opens_page(method: str, headers: DavHeaders) -> bool:
    """True for a browser that goes to an address."""
    accepted = (headers.joined(b"accept") or b"").lower()
    is_document = headers.get(b"sec-fetch-mode") == b"navigate"
    return method == "GET" and is_document and b"text/html" in accepted
