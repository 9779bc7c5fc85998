"""GET `.davserver/schema`: the JSON Schema (draft 2020-12) of what this server says in JSON."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

from davserver.context import RequestContext, Response
from davserver.service.base import Perform, Route

_HEADERS = (
    (b"content-type", b"application/schema+json"),
    (b"cache-control", b"public, max-age=3600"),
    (b"x-content-type-options", b"nosniff"),
)


async def schema(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """200 with the schema, for everybody: it tells nothing about what is served."""
    return Response(200, _HEADERS, document())


@cache
def document() -> bytes:
    """Returns the schema, as it is in the package."""
    return files(__package__).joinpath("schema.json").read_bytes()


ROUTES = (Route("schema", {"GET": schema}, privilege=None),)
