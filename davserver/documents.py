"""Request bodies that are documents: what is taken for one, read whole, and made a value.

XML, whatever the client calls it, and JSON where a method says how that is written as XML.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

from davserver.aio import SMALL_BODY, read_body
from davserver.context import RequestContext
from davserver.errors import BadRequest, NotImplementedMethod, UnsupportedMediaType
from davserver.methods.base import BodyPolicy, Method
from davserver.protocol.accept import JSON
from davserver.protocol.headers import DavHeaders, parse_content_length

T = TypeVar("T")

_DECLARED = frozenset({b"application/xml", b"text/xml"})
_XML_TYPES = _DECLARED | frozenset(
    {
        b"",
        b"text/plain",
        b"application/x-www-form-urlencoded",
        b"application/octet-stream",
    }
)


async def read_document(rc: RequestContext, method: Method, take: Callable[[int], bool]) -> None:
    """Reads the body as XML. Raises 415 for what is none, 413, and 400 for JSON that is none."""
    if method.body is BodyPolicy.NONE:
        # RFC 4918 section 8.4: a body that the method does not define is refused, lest it
        # be taken for something that was done.
        raise UnsupportedMediaType(f"{method.name} has no body here")
    kind = media_type(rc)
    from_json = method.from_json if kind == JSON else None
    types = _XML_TYPES if method.body is BodyPolicy.XML else _DECLARED
    if kind not in types and from_json is None and not kind.endswith(b"+xml"):
        raise UnsupportedMediaType(f"the body must be XML, not {kind!r}")
    coding = rc.headers.joined(b"content-encoding")
    if coding is not None and coding.lower() not in (b"", b"identity"):
        # Nothing is inflated: what is small on the wire could be huge here.
        raise UnsupportedMediaType(
            f"content coding {coding!r} is not understood",
            headers=((b"accept-encoding", b"identity"),),
        )
    limit = rc.services.settings.xml_body_limit
    rc.asked_for_body = True
    rc.body = await read_body(rc.receive, limit, take)
    if from_json is not None:
        rc.body = await _read(rc, partial(from_json, rc.body))


async def parse_document(rc: RequestContext, method: Method) -> None:
    """Makes the body a value. Raises what the method's `parse` does."""
    if method.parse is not None:
        rc.document = await _read(rc, partial(method.parse, rc))


async def _read(rc: RequestContext, read: Callable[[], T]) -> T:
    """Runs a parser; in a thread for a large body, lest others wait for it."""
    return read() if len(rc.body) <= SMALL_BODY else await rc.services.runner.hop(read)


def media_type(rc: RequestContext) -> bytes:
    """Returns the Content-Type in lower case, without parameters; b"" without one."""
    return (rc.headers.get(b"content-type") or b"").partition(b";")[0].strip().lower()


def check_framing(headers: DavHeaders) -> None:
    """What our own HTTP server has refused already; another one may not have."""
    coding = headers.joined(b"transfer-encoding")
    length = parse_content_length(headers)
    if coding is None:
        return
    if length is not None:
        raise BadRequest("both Content-Length and Transfer-Encoding", close=True)
    if coding.lower() != b"chunked":
        raise NotImplementedMethod(f"transfer coding {coding!r} is not understood", close=True)
