"""The PUT that an upload in pieces stands for, made when all of them are here."""

from __future__ import annotations

from dataclasses import replace

from davserver.context import RequestContext
from davserver.service._inner import inner_request
from davserver.uploading import CONDITIONS, Held


def put_request(rc: RequestContext, held: Held) -> RequestContext:
    """Returns the PUT, with the fields of the request that began the upload. Conditions and lock
    tokens are those of the request that completes it, where it has any: what was true when it
    began is then known to the client as it is now."""
    href = held.upload.target.href(rc.base, collection=False)
    return replace(inner_request(rc, "PUT", href, _fields(rc, held)), part=held.part)


def _fields(rc: RequestContext, held: Held) -> list[tuple[bytes, bytes]]:
    obeyed = list(held.upload.request)
    now = [field for field in rc.headers.items if field[0] in CONDITIONS]
    if now:
        obeyed = [field for field in obeyed if field[0] not in CONDITIONS] + now
    return [*obeyed, (b"content-length", b"%d" % held.upload.size)]
