"""GET `.davserver/health`: for who watches the server, a container's HEALTHCHECK for one."""

from __future__ import annotations

import json

from davserver.context import RequestContext, Response, Services
from davserver.errors import StateError, StorageError
from davserver.protocol.path import DavPath
from davserver.service.base import Perform, Route
from davserver.storage.base import Kind


async def health(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """200 when folder and state answer, 503 otherwise. Needs no sign-in and tells nothing."""
    kind = look(rc.services)
    told = {"status": "failing"} if kind is None else {"status": "ok", "kind": kind.value}
    headers = ((b"content-type", b"application/json"),)
    body = json.dumps(told, separators=(",", ":")).encode()
    return Response(503 if kind is None else 200, headers, body)


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


ROUTES = (Route("health", {"GET": health}, privilege=None),)
