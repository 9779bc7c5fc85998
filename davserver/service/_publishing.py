"""The PUT that an upload in pieces stands for, made when all of them are here."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import unquote

from davserver.asgi import Message
from davserver.context import RequestContext
from davserver.protocol.headers import PARSED, DavHeaders
from davserver.protocol.path import DavPath
from davserver.service._operations import SignedIn
from davserver.uploading import CONDITIONS, Held

_CARRIED = frozenset({b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for"})
_CARRIED |= {b"forwarded", b"via", b"user-agent"}
"""Fields of the request that completes the upload which the PUT has, too: where it came to, and
how."""


def put_request(rc: RequestContext, held: Held) -> RequestContext:
    """Returns the PUT, with the fields of the request that began the upload. Conditions and lock
    tokens are those of the request that completes it, where it has any: what was true when it
    began is then known to the client as it is now."""
    raw = held.upload.target.href(rc.base, collection=False)
    headers = DavHeaders(_fields(rc, held))
    scope = dict(rc.scope)
    scope.pop(PARSED, None)
    scope |= {
        "method": "PUT",
        "path": unquote(raw.decode("ascii")),
        "raw_path": raw,
        "query_string": b"",
        "headers": headers.items,
    }
    services = rc.services
    asked = SignedIn(rc.principal, services.authenticator)
    return RequestContext(
        services=replace(services, authenticator=asked),
        scope=scope,
        receive=_nothing,
        method="PUT",
        path=DavPath(()),
        headers=headers,
        now=services.clock(),
        part=held.part,
    )


def _fields(rc: RequestContext, held: Held) -> list[tuple[bytes, bytes]]:
    carried = [field for field in rc.headers.items if field[0] in _CARRIED]
    obeyed = list(held.upload.request)
    now = [field for field in rc.headers.items if field[0] in CONDITIONS]
    if now:
        obeyed = [field for field in obeyed if field[0] not in CONDITIONS] + now
    return [*carried, *obeyed, (b"content-length", b"%d" % held.upload.size)]


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}
