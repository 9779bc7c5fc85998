"""Service routes below `<prefix>/.davserver/`: what is no resource of the served folder."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.responses import Response as StarletteResponse
from starlette.routing import Route, Router

from davserver.asgi import Message
from davserver.context import RequestContext, Response, Services
from davserver.errors import StateError, StorageError
from davserver.protocol.path import DavPath
from davserver.storage.base import Kind

PREFIX = ".davserver"


def health(request: Request) -> StarletteResponse:
    """200 when folder and state answer, 503 otherwise. Needs no sign-in and tells nothing."""
    rc: RequestContext = request.scope["davserver.context"]
    kind = look(rc.services)
    if kind is None:
        return JSONResponse({"status": "failing"}, status_code=503)
    return JSONResponse({"status": "ok", "kind": kind.value})


def look(services: Services) -> Kind | None:
    """Returns the kind of a root; None when one of the folders, or the state, does not answer."""
    storage = services.storage
    # The list of shares would leave out what is gone.
    shares = [DavPath((share.name,)) for share in services.settings.share]
    try:
        for path in shares or [DavPath(())]:
            found = storage.stat(path)
            services.state.properties(storage.canonical(path))
    except (StorageError, StateError):
        return None
    return found.kind


def _not_found(request: Request) -> StarletteResponse:
    return PlainTextResponse("a reserved name\n", status_code=404)


_ROUTER = Router(
    [
        Route("/health", health, methods=["GET"]),
        Route("/{rest:path}", _not_found, methods=["GET", "HEAD"]),
    ]
)


async def service(rc: RequestContext) -> Response:
    """Runs the Starlette route of this path; 404 for every DAV method."""
    path = "/" + "/".join(rc.path.segments[1:])
    scope = {
        **rc.scope,
        "path": path,
        "raw_path": path.encode("utf-8", "replace"),
        "root_path": "",
        "davserver.context": rc,
    }
    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    if rc.method not in ("GET", "HEAD"):
        return Response(404, ((b"content-type", b"text/plain; charset=utf-8"),))
    # A request is begun outside of any task (guard.py); Starlette needs to be in one.
    await asyncio.sleep(0)
    await _ROUTER(scope, rc.receive, send)
    start = messages[0]
    headers = [(k, v) for k, v in start.get("headers", ()) if k != b"content-length"]
    body = b"".join(message.get("body", b"") for message in messages[1:])
    return Response(start["status"], headers, body)
