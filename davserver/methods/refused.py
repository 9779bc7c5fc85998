"""Methods of HTTP that are known here but exist for no resource: 405 with Allow, not 501.

TRACE would echo what a proxy added, credentials among it (RFC 9110 section 9.3.8).
"""

from __future__ import annotations

from davserver.auth.base import Privilege
from davserver.context import RequestContext, Response, Target
from davserver.errors import MethodNotAllowed
from davserver.methods.base import BodyPolicy, Method


async def refuse(rc: RequestContext, target: Target) -> Response:
    """Never reached for a mapped URL: the method applies to no kind."""
    raise MethodNotAllowed(f"{rc.method} is for no resource here")


METHODS = tuple(
    Method(
        name,
        stream=refuse,
        body=BodyPolicy.STREAM,
        privilege=Privilege.READ if name == "TRACE" else Privilege.WRITE,
        applies_to=frozenset(),
    )
    for name in ("POST", "TRACE")
)
