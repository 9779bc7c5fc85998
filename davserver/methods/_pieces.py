"""PUT with `Upload-Complete` (draft-ietf-httpbis-resumable-upload): the whole body in one request,
or the first piece of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial

from davserver.context import RequestContext, Response, Target
from davserver.errors import ContentTooLarge
from davserver.methods._appending import Appending
from davserver.protocol.uploads import OFFSET, Fields, Piece, UploadProblem, complete_field
from davserver.state.base import Upload
from davserver.uploading import begin, cancel, limit_of


def href_of(rc: RequestContext, upload: Upload) -> bytes:
    """Returns where an upload is."""
    return b"%b/.davserver/uploads/%b" % (rc.base, upload.id.encode("ascii"))


def progress_fields(rc: RequestContext, upload: Upload) -> Fields:
    """Returns what the answers about an upload that is not complete tell of it."""
    return (
        complete_field(is_complete=False),
        (OFFSET, b"%d" % upload.size),
        limit_of(rc.services, upload),
    )


def problem_response(error: UploadProblem) -> Response:
    """Returns the problem document (RFC 9457) of an error."""
    closing = ((b"connection", b"close"),) if error.close else ()
    kind = (b"content-type", b"application/problem+json")
    return Response(error.status, (*error.headers, *closing, kind), error.problem)


async def put_piece(
    rc: RequestContext, target: Target, piece: Piece, put: Callable[[], Awaitable[Response]]
) -> Response:
    """Answers as PUT does when the piece is all there is; else 201 with where the upload goes on.
    Nothing stays of one that fails: the client knows no URL of it.

    Args:
        put: PUT itself.
    """
    try:
        length = piece.whole(rc.headers, offset=0)
        if not piece.is_last:
            return await _begin(rc, target, length)
        response = await put()
    except UploadProblem as error:
        return problem_response(error)
    except ContentTooLarge as error:
        limit = limit_of(rc.services)
        if limit[0] not in dict(error.headers):
            error.headers = (*error.headers, limit)
        raise
    return replace(response, headers=(*response.headers, complete_field(is_complete=True)))


async def _begin(rc: RequestContext, target: Target, length: int | None) -> Response:
    services = rc.services
    held = await services.runner.hop(partial(begin, rc, target, length))
    try:
        try:
            await Appending(rc, held, length).run()
        except BaseException:
            if not services.runner.is_closed:
                await services.runner.hop(partial(cancel, services, held))
            raise
    finally:
        held.close()
    location = (b"location", href_of(rc, held.upload))
    return Response(201, (location, *progress_fields(rc, held.upload)))
