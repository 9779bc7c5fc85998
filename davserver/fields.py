"""What the header fields of a request ask for, read into its context before anything is looked up
(RFC 4918 section 10, RFC 9110 section 13)."""

from __future__ import annotations

from davserver.config import Settings
from davserver.context import RequestContext
from davserver.errors import BadGateway, BadRequest, NotFound
from davserver.methods.base import Method
from davserver.origin import authorities, is_trusted
from davserver.protocol.headers import (
    DavHeaders,
    Depth,
    normalize_authority,
    parse_depth,
    parse_destination,
    parse_overwrite,
)
from davserver.protocol.ifheader import parse_if
from davserver.protocol.path import DavPath
from davserver.protocol.preconditions import HttpConditions
from davserver.protocol.quirks import refresh_token_without_list, submitted_by_lock_token_header

IDLE = frozenset(
    {
        *(b"accept-charset", b"accept-encoding", b"accept-language", b"cache-control", b"dnt"),
        *(b"connection", b"host", b"keep-alive", b"origin-agent-cluster", b"pragma", b"priority"),
        *(b"referer", b"sec-ch-ua", b"sec-ch-ua-mobile", b"sec-ch-ua-platform", b"sec-fetch-dest"),
        *(b"sec-fetch-mode", b"sec-fetch-site", b"sec-fetch-user", b"te", b"translate"),
        *(b"upgrade-insecure-requests", b"user-agent"),
        # From proxies. Who asks, and under which addresses, is told by all fields (origin.py).
        *(b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-port"),
        *(b"x-forwarded-proto", b"x-forwarded-server", b"x-real-ip"),
    }
)
"""Fields that change nothing about an answer, but to what browsers are told and to who it is that
asks."""
_PLAIN = frozenset({"GET", "HEAD", "PUT", "OPTIONS"})
"""Methods to which Depth, Destination and Overwrite mean nothing: clients send them all the
same."""


def public_authorities(settings: Settings) -> frozenset[bytes]:
    """Returns the host[:port] of each address under which clients reach the server."""
    return frozenset(
        normalize_authority(url.encode().partition(b"://")[2].partition(b"/")[0])
        for url in settings.public_url
    )


def read_fields(rc: RequestContext, method: Method, public: frozenset[bytes]) -> None:
    """Sets what the fields say. Raises BadRequest (400), BadGateway (502), NotFound (404), and
    what `Method.validate` raises."""
    headers = rc.headers
    if method.destination is not None or method.names_urls:
        rc.authorities = _authorities(rc, public)
    if rc.method not in _PLAIN:
        rc.depth = headers.recall(_depth)
        rc.overwrite = headers.recall(_overwrite)
    read_conditions(rc, public)
    if method.validate is not None:
        method.validate(rc)
    if method.destination is not None:
        rc.destination = _destination(rc)


def read_conditions(rc: RequestContext, public: frozenset[bytes]) -> None:
    """Sets what is to be compared, and the tokens that are submitted. Raises BadRequest (400)."""
    headers = rc.headers
    rc.conditions = headers.recall(HttpConditions.from_headers)
    if headers.get(b"if") is not None:
        _read_if(rc, public)
    token = submitted_by_lock_token_header(rc.method, headers.get(b"lock-token"))
    if token is not None:
        rc.submitted |= {token}


def _authorities(rc: RequestContext, public: frozenset[bytes]) -> frozenset[bytes]:
    scope, proxies = rc.scope, rc.services.settings.trusted_proxies

    def read(headers: DavHeaders) -> frozenset[bytes]:
        return authorities(scope, headers, proxies=proxies, public=public)

    key = ("authorities", is_trusted(scope, proxies), public)
    return rc.headers.recall_for(key, read)


def _read_if(rc: RequestContext, public: frozenset[bytes]) -> None:
    rc.authorities = rc.authorities or _authorities(rc, public)
    values = rc.headers.get_all(b"if")
    if rc.method == "LOCK" and refresh_token_without_list(values):
        return
    rc.if_header = parse_if(values, authorities=rc.authorities)
    if rc.if_header is not None:
        rc.submitted = rc.if_header.submitted_tokens()


def _destination(rc: RequestContext) -> DavPath:
    value = rc.headers.single(b"destination")
    if value is None:
        raise BadRequest(f"{rc.method} needs a Destination header")
    url = parse_destination(value, authorities=rc.authorities)
    path = url.below(rc.prefix)
    if path is None:
        raise BadGateway("the destination is outside of what this server serves")
    if path.is_reserved:
        raise NotFound("the destination has a reserved name")
    return path


def _depth(headers: DavHeaders) -> Depth | None:
    return parse_depth(headers.single(b"depth"))


def _overwrite(headers: DavHeaders) -> bool:
    return parse_overwrite(headers.single(b"overwrite"))
