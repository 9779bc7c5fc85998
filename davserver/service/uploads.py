"""`.davserver/uploads/<id>`: an upload in pieces goes on here, where PUT with `Upload-Complete: ?0`
began it (draft-ietf-httpbis-resumable-upload).

Nobody but who began it sees it. When the last piece is here, the PUT is made that the pieces stand
for, with every check; when that is refused, the upload stays until it expires, and an append
without content tries again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from davserver.admission import admit
from davserver.context import RequestContext, Response
from davserver.errors import (
    BadRequest,
    DavError,
    Forbidden,
    NotFound,
    ServiceUnavailable,
    StateError,
    StorageError,
    UnsupportedMediaType,
)
from davserver.methods._appending import Appending
from davserver.methods._pieces import problem_response, progress_fields
from davserver.methods._rights import challenged
from davserver.protocol.headers import parse_content_length
from davserver.protocol.uploads import (
    LENGTH,
    OFFSET,
    PARTIAL_UPLOAD,
    Fields,
    Piece,
    UploadProblem,
    complete_field,
    completed_upload,
    inconsistent_length,
    mismatching_offset,
)
from davserver.refusing import as_dav_error, error_response
from davserver.service._publishing import put_request
from davserver.service.base import Perform, Route
from davserver.state.base import Phase, Upload
from davserver.uploading import Held, call, cancel, enter, find, hold, limit_of

logger = logging.getLogger(__name__)
T = TypeVar("T")

_POLL_S = 0.02
_CALL_EVERY_S = 1.0
_ACCEPT_PATCH = (b"accept-patch", PARTIAL_UPLOAD)


async def show(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """204 with how far the upload is. Who appends meanwhile has to let go: what is told here must
    hold for the next append (section 4.6)."""
    held = await _hold(rc, await _reach(rc, rest))
    held.close()
    upload = held.upload
    fields = _fields(rc, upload)
    if upload.length is not None:
        fields = (*fields, (LENGTH, b"%d" % upload.length))
    return Response(204, (*fields, (b"cache-control", b"no-store")))


async def append(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """204 for a piece, and for the last one what the PUT would have been answered with. 415, 400
    and 409 as the draft says; 503 when another request does not let go of the upload."""
    upload = await _reach(rc, rest)
    piece = _piece(rc)
    if not rc.may_write(upload.target):
        raise Forbidden("no right to write there any more")
    held = await _hold(rc, upload)
    try:
        return await _append(rc, held, piece, perform)
    except UploadProblem as error:
        return problem_response(error)
    finally:
        held.close()


async def discard(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """204: nothing stays of the upload; what it has become, if it was complete, does."""
    held = await _hold(rc, await _reach(rc, rest))
    try:
        await _hop(rc, partial(cancel, rc.services, held))
    finally:
        held.close()
    return Response(204)


async def options(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """200 with what can be done with an upload."""
    await _reach(rc, rest)
    allow = (b"allow", _ROUTE.allow)
    return Response(200, (allow, _ACCEPT_PATCH, limit_of(rc.services)))


async def _hop(rc: RequestContext, function: Callable[[], T]) -> T:
    return await rc.services.runner.hop(function)


async def _reach(rc: RequestContext, rest: tuple[str, ...]) -> Upload:
    """Raises NotFound (404), or Unauthorized (401) for who could still be the one to see it."""
    await admit(rc)
    try:
        if len(rest) != 1:
            raise NotFound("no such upload")
        return await _hop(rc, partial(find, rc.services, rest[0], rc.principal.name))
    except NotFound:
        challenge = None if rc.principal.name else challenged(rc)
        if challenge is None:
            raise
        raise challenge from None


async def _hold(rc: RequestContext, upload: Upload) -> Held:
    """Returns the upload once nobody else is at it: who is has to let go."""
    services = rc.services
    begun = called = time.monotonic()
    held = await _hop(rc, partial(hold, services, upload))
    is_called = False
    while held is None:
        now = time.monotonic()
        if now - begun > services.settings.gate_wait_s:
            raise ServiceUnavailable(
                "another request is at this upload", headers=((b"retry-after", b"1"),)
            )
        if not is_called or now - called > _CALL_EVERY_S:
            is_called, called = True, now
            await _hop(rc, partial(call, services, upload))
        await asyncio.sleep(_POLL_S)
        held = await _hop(rc, partial(hold, services, upload))
    return held


def _piece(rc: RequestContext) -> Piece:
    kind = (rc.headers.get(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != PARTIAL_UPLOAD:
        expected = PARTIAL_UPLOAD.decode("ascii")
        raise UnsupportedMediaType(f"a piece is {expected}, not {kind!r}", headers=(_ACCEPT_PATCH,))
    piece = Piece.from_headers(rc.headers)
    if piece.offset is None or piece.is_last is None:
        raise BadRequest("a piece needs Upload-Offset and Upload-Complete")
    return piece


def _has_content(rc: RequestContext) -> bool:
    is_chunked = rc.headers.get(b"transfer-encoding") is not None
    return is_chunked or bool(parse_content_length(rc.headers))


async def _append(rc: RequestContext, held: Held, piece: Piece, perform: Perform) -> Response:
    upload = held.upload
    assert piece.offset is not None
    if upload.phase is Phase.COMPLETE:
        if _has_content(rc):
            raise inconsistent_length("the upload is complete, and nothing can come after it")
        raise completed_upload(_fields(rc, upload))
    if piece.offset != upload.size:
        raise mismatching_offset(expected=upload.size, provided=piece.offset)
    length = piece.whole(rc.headers, offset=upload.size, known=upload.length)
    try:
        await Appending(rc, held, length).run()
        if not piece.is_last:
            return Response(204, progress_fields(rc, held.upload))
        size = held.upload.size
        if length is not None and size != length:
            raise inconsistent_length(f"{size} bytes are all, and {length} were announced")
    except UploadProblem:
        raise
    except (DavError, StorageError, StateError) as error:
        refused = error_response(rc, as_dav_error(rc, error))
        return _with(refused, progress_fields(rc, held.upload))
    return await _publish(rc, held, perform)


async def _publish(rc: RequestContext, held: Held, perform: Perform) -> Response:
    """Makes the PUT. Whatever comes between leaves what the next request finds out: when the part
    has gone, it was published."""
    await _hop(rc, partial(enter, rc.services, held, Phase.PUBLISHING))
    inner = put_request(rc, held)
    try:
        response = await perform(inner)
    except (DavError, StorageError, StateError) as error:
        refused = error_response(inner, as_dav_error(inner, error))
        # Section 4.4.2: the field tells an error of the upload from one of what comes after it.
        return _with(refused, _complete_fields(held.upload))
    try:
        await _hop(rc, partial(enter, rc.services, held, Phase.COMPLETE))
    except (StateError, StorageError) as error:
        logger.warning("an upload that is complete is not noted as such: %s", error)
    return _with(response, _complete_fields(held.upload))


def _with(response: Response, fields: Fields) -> Response:
    told = {name for name, _ in response.headers}
    more = [field for field in fields if field[0] not in told]
    return replace(response, headers=(*response.headers, *more))


def _complete_fields(upload: Upload) -> Fields:
    return complete_field(is_complete=True), (OFFSET, b"%d" % upload.size)


def _fields(rc: RequestContext, upload: Upload) -> Fields:
    if upload.phase is not Phase.COMPLETE:
        return progress_fields(rc, upload)
    return (*_complete_fields(upload), limit_of(rc.services, upload))


_ROUTE = Route(
    "uploads",
    {"GET": show, "PATCH": append, "DELETE": discard, "OPTIONS": options},
    # Who it is is asked by each of them: the rights are those to the target.
    privilege=None,
)
ROUTES = (_ROUTE,)
