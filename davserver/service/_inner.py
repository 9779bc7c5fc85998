"""Requests that stand for a part of another one, from the same client: an operation of a batch, a
file of an archive, the PUT of an upload in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from urllib.parse import unquote

from davserver.asgi import Message, Receive
from davserver.auth.base import Attempt, Authenticator, Principal
from davserver.context import Header, RequestContext
from davserver.protocol.headers import PARSED, DavHeaders
from davserver.protocol.path import DavPath

_CARRIED = frozenset({b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for"})
_CARRIED |= {b"forwarded", b"x-real-ip", b"via", b"user-agent"}
"""Fields of the request which each that stands for a part of it has, too: where it came to, and
how."""


class SignedIn:
    """An Authenticator for who was asked already, with the request that the batch came in."""

    def __init__(self, principal: Principal, inner: Authenticator) -> None:
        self._principal = principal
        self._inner = inner

    def challenges(self, *, secure: bool) -> Sequence[bytes]:
        return self._inner.challenges(secure=secure)

    def recall(self, attempt: Attempt) -> Principal | None:
        return self._principal

    def authenticate(self, attempt: Attempt) -> Principal | None:
        return self._principal

    def close(self) -> None:
        """The other one stays open."""


def inner_request(
    rc: RequestContext, method: str, href: bytes, fields: Iterable[Header], body: bytes = b""
) -> RequestContext:
    """Returns a request to a resource, from who sent that of `rc`, by the same way.

    Args:
        href: an absolute path, the mount's prefix included, percent-encoded.
        body: is here as a whole.
    """
    carried = [field for field in rc.headers.items if field[0] in _CARRIED]
    headers = DavHeaders([*carried, *fields])
    scope = dict(rc.scope)
    scope.pop(PARSED, None)
    scope |= {
        "method": method,
        "path": unquote(href.decode("ascii")),
        "raw_path": href,
        "query_string": b"",
        "headers": headers.items,
        "extensions": {},  # they are the connection's, and this has a body of its own
    }
    services = rc.services
    asked = SignedIn(rc.principal, services.authenticator)
    return RequestContext(
        services=replace(services, authenticator=asked),
        scope=scope,
        receive=_receiving(body),
        method=method,
        path=DavPath(()),
        headers=headers,
        now=services.clock(),
    )


def _receiving(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
