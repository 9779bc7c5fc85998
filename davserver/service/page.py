"""GET `.davserver/page/<file>`: the modules and styles of the page that a browser shows.

They are the same for everybody and tell nothing: no sign-in is needed for them.
"""

from __future__ import annotations

from davserver.context import Header, RequestContext, Response
from davserver.errors import NotFound
from davserver.protocol.etag import ETag
from davserver.protocol.preconditions import (
    HttpConditions,
    Outcome,
    evaluate_http,
)
from davserver.protocol.resourcestate import ResourceState
from davserver.service.base import Perform, Route
from davserver.web.assets import assets


async def page(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """Answers one file; 304 when the browser has it as it is. Raises 404 for any other name, and
    for all of them where the page is switched off."""
    asset = assets().get(rest[0]) if len(rest) == 1 else None
    if asset is None or not rc.services.settings.page:
        raise NotFound("no file of the page")
    headers: list[Header] = [
        (b"etag", asset.etag),
        # Asked about each time, so that no two versions are ever mixed.
        (b"cache-control", b"no-cache"),
        (b"x-content-type-options", b"nosniff"),
        (b"cross-origin-resource-policy", b"same-origin"),
        # A module opened by itself is text and no more.
        (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    ]
    conditions = HttpConditions.from_headers(rc.headers)
    state = ResourceState(exists=True, etag=ETag.from_header(asset.etag))
    outcome = None if conditions is None else evaluate_http(conditions, state, is_read=True)
    if outcome is Outcome.NOT_MODIFIED:
        return Response(304, headers)
    return Response(200, [(b"content-type", asset.kind), *headers], asset.body)


ROUTES = (Route("page", {"GET": page}, privilege=None),)
