"""`Prefer: return=representation` (RFC 8144 section 3): what was written comes back at once.

For files, for whom it may read. A collection has no representation but a page for people: there the
preference is passed over, as RFC 7240 section 2 has it for what cannot be honoured.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from davserver.context import FileBody, Header, RequestContext, Response
from davserver.errors import DavError, PreconditionFailed, StateError, StorageError
from davserver.progress import Progress
from davserver.protocol.headers import DavHeaders
from davserver.protocol.path import DavPath
from davserver.protocol.prefer import REPRESENTATION, Preferences, Return, applied

Work = Callable[[RequestContext], Awaitable[Response]]
_WRITES = frozenset({"PUT", "PATCH"})
_METHODS = _WRITES | frozenset({"COPY", "MOVE"})
_FIELDS = applied(REPRESENTATION)
_WITHOUT = frozenset({b"accept-ranges"})
"""The body is all of it, whatever ranges a GET may have."""


def wants_representation(rc: RequestContext) -> bool:
    """True when the client prefers to have what the method writes."""
    if rc.method not in _METHODS or rc.headers.get(b"prefer") is None:
        return False
    return rc.headers.recall(Preferences.from_headers).returns is Return.REPRESENTATION


async def with_representation(rc: RequestContext, work: Work, get: Work) -> Response:
    """Does the work, and returns its answer with the representation: 200 or 201, or 412 with the
    one that a condition of RFC 9110 was not true of (RFC 8144 section 3.2).

    Args:
        get: answers a GET as the pipeline does, rights included.
    """
    try:
        response = await work(rc)
    except PreconditionFailed as error:
        if error.condition is not None or rc.method not in _WRITES:
            raise
        refused = await _represented(rc, rc.path, Response(412, error.headers), get)
        if refused is None:
            raise
        return refused
    if rc.is_collection or response.status not in (201, 204):
        return response
    path = rc.path if rc.destination is None else rc.destination
    status = 200 if response.status == 204 else response.status
    plain = replace(response, status=status)
    return await _represented(rc, path, plain, get) or response


async def _represented(
    rc: RequestContext, path: DavPath, response: Response, get: Work
) -> Response | None:
    """Returns the response with the representation of the file at `path`; None where there is none
    for this client, or not any more."""
    own = RequestContext(
        services=rc.services,
        scope=rc.scope,
        receive=rc.receive,
        method="GET",
        path=path,
        headers=DavHeaders(()),
        now=rc.services.clock(),
        base=rc.base,
        prefix=rc.prefix,
        principal=rc.principal,
        is_private=rc.is_private,
        progress=Progress(),
    )
    try:
        found = await get(own)
    except (DavError, StorageError, StateError):
        return None  # what was asked for is done
    if not isinstance(found.body, FileBody):
        return None
    headers = [field for field in found.headers if field[0] not in _WITHOUT]
    known = {name for name, _ in headers}
    headers += [field for field in response.headers if field[0] not in known]
    location: Header = (b"content-location", rc.href(path, collection=False))
    return Response(response.status, (*headers, location, *_FIELDS), found.body)
