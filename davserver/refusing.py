"""How an error becomes an answer: for the application, and for who runs requests of its own."""

from __future__ import annotations

from davserver.context import RequestContext, Response
from davserver.errors import (
    BadRequest,
    DavError,
    MethodNotAllowed,
    NameTooLong,
    StateError,
    StorageError,
    UriTooLong,
    from_storage,
)
from davserver.protocol.accept import JSON, prefers_json
from davserver.protocol.jsonface import as_json, encode_refusal
from davserver.protocol.multistatus import error_body
from davserver.web.assets import document
from davserver.web.listing import PAGE_FIELDS

_NOSNIFF = (b"x-content-type-options", b"nosniff")


def as_dav_error(rc: RequestContext, error: DavError | StorageError | StateError) -> DavError:
    """Returns the DavError that an error of this request becomes."""
    if isinstance(error, DavError):
        return error
    if isinstance(error, NameTooLong):
        # RFC 4918 section 12.2: 414 is for the Request-URI alone, not for a Destination.
        refused = UriTooLong if rc.destination is None else BadRequest
        return refused(str(error))
    return from_storage(error)


def error_response(rc: RequestContext, error: DavError) -> Response:
    """Returns the answer: the condition as XML where there is one, else a line of text; or either
    in JSON, if the client wants that.

    GET and HEAD have no JSON: caches may keep a refusal of theirs for everybody.
    """
    headers = list(error.headers)
    if isinstance(error, MethodNotAllowed) and not any(k == b"allow" for k, _ in headers):
        headers.append((b"allow", rc.services.allowed(None, can_write=rc.can_write)))
    if error.close:
        headers.append((b"connection", b"close"))
    if rc.method not in ("GET", "HEAD") and rc.headers.recall(prefers_json):
        body = error_json(error)
        headers += ((b"content-type", JSON), (b"vary", b"Accept"), _NOSNIFF)
    elif error.shows_page:
        # What it says in place of a listing is asked for again, and told by the page.
        body = document(rc.base)
        headers += PAGE_FIELDS
    elif error.condition is not None:
        body = error_body(error.condition, error.hrefs, error.inner, beside=error.beside)
        headers.append((b"content-type", b'application/xml; charset="utf-8"'))
    else:
        body = _text(error.detail)
        headers.append((b"content-type", b"text/plain; charset=utf-8"))
        headers.append(_NOSNIFF)
    return Response(error.status, headers, body)


def error_json(error: DavError) -> bytes:
    """Returns the answer in JSON."""
    if error.condition is None:
        return encode_refusal(error.status, error.detail)
    return as_json(error_body(error.condition, error.hrefs, error.inner), error.status)


def _text(detail: str) -> bytes:
    return detail.encode("ascii", "backslashreplace") + b"\n" if detail else b""
