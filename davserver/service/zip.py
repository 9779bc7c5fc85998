"""`.davserver/zip/<collection>`: a collection, or some of its members, as one file (ZIP, stored).

    GET   zip/photos/?name=a.jpg&name=2026     those two; without a name all of it
    POST  the same with the names as a form, for more of them than a URL has room for

It is made while it is sent: nothing is held but the names. Each file is a GET of the asker's, with
every right and limit that has; what could not be read is told in a file of its own at the end.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from functools import partial
from urllib.parse import parse_qsl, quote

from davserver.admission import admit
from davserver.aio import read_body
from davserver.context import Header, RequestContext, Response
from davserver.documents import media_type
from davserver.errors import BadRequest, Forbidden, NotFound, UnsupportedMediaType
from davserver.protocol.path import DavPath
from davserver.service._zipping import Archive, Chosen
from davserver.service.base import Perform, Route

_FORM = b"application/x-www-form-urlencoded"
_BODY_LIMIT = 1 << 20
_NAMES = 10_000
_NOT_A_NAME = ("", ".", "..")


async def zip_(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """Raises what GET of the collection does; 400 for what is no name, 403 for more members than
    `zip_members`, 404 for a name that is not there, or where the path is no collection."""
    path = DavPath(rest, slash=True)
    if path.is_reserved:
        raise NotFound("a reserved name")
    names = await _names(rc)
    await admit(rc)
    archive = Archive(rc, perform, rc.services.settings.zip_members)
    chosen: Chosen = await rc.services.runner.hop(partial(archive.choose, path, names), tree=True)
    if chosen.members is None:
        limit = rc.services.settings.zip_members
        raise Forbidden(f"there are more than {limit} members: choose fewer of them")
    headers: list[Header] = [
        (b"content-type", b"application/zip"),
        (b"content-disposition", _disposition(path.name or "files")),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", b"sandbox; default-src 'none'"),
    ]
    return Response(200, headers, _stream(rc, archive.pieces(chosen)))


async def _names(rc: RequestContext) -> list[str]:
    query: bytes = rc.scope.get("query_string") or b""
    if rc.method == "POST":
        if media_type(rc) != _FORM:
            raise UnsupportedMediaType("names come as a form")
        rc.asked_for_body = True
        with rc.services.runner.bodies.lease() as take:
            query = await read_body(rc.receive, _BODY_LIMIT, take)
    try:
        text = query.decode("ascii")
        fields = parse_qsl(
            text,
            keep_blank_values=True,
            errors="surrogateescape",
            max_num_fields=_NAMES,
            strict_parsing=bool(text),
        )
    except ValueError:
        raise BadRequest("the names are no form, or too many") from None
    for field, name in fields:
        if field != "name":
            raise BadRequest(f"{field!r} is no field of this form")
        if name in _NOT_A_NAME or "/" in name or "\0" in name:
            raise BadRequest(f"{name!r} is no name of a member")
    return list(dict.fromkeys(name for _, name in fields))


def _disposition(name: str) -> bytes:
    """RFC 6266 with RFC 8187: the name in ASCII for who knows no other, and as it is."""
    shown = name.encode("utf-8", "replace").decode("utf-8")
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " -_.()") else "_" for c in shown)
    return f"attachment; filename=\"{plain}.zip\"; filename*=UTF-8''{quote(shown)}.zip".encode()


async def _stream(
    rc: RequestContext, pieces: Generator[bytes, None, None]
) -> AsyncGenerator[bytes, None]:
    try:
        while piece := await rc.services.runner.hop(partial(next, pieces, b"")):
            yield piece
    finally:
        pieces.close()


ROUTES = (Route("zip", {"GET": zip_, "POST": zip_}, privilege=None, is_tree=True),)
