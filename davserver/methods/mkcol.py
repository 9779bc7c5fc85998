"""MKCOL (RFC 4918 section 9.3)."""

from __future__ import annotations

from davserver.auth.base import Privilege
from davserver.changes import make_durable
from davserver.context import RequestContext, Response, Target
from davserver.errors import MethodNotAllowed, ResourceExists
from davserver.methods._checks import relocate
from davserver.methods.base import UNMAPPED, LockRule, Method
from davserver.storage.base import Kind
from davserver.usage import growing


def handle_mkcol(rc: RequestContext, target: Target) -> Response:
    """Creates an empty collection: 201, 405 if something is mapped, 409 without a parent."""
    parent = target.key.parent
    with rc.hold([target.key], [parent] if parent else []) as view:
        fresh = relocate(rc, MKCOL, view)
        try:
            with growing(rc.services, view, fresh.key, 0):
                view.clear(fresh.key)
                view.commit()
                rc.services.storage.make_collection(fresh.path)
        except ResourceExists as error:
            allow = rc.services.allow(Kind.COLLECTION, rc.can_write)
            raise MethodNotAllowed(str(error), headers=((b"allow", allow),)) from error
    make_durable(rc.services.storage, fresh.path.parent)
    return Response(201)


MKCOL = Method(
    "MKCOL",
    handle=handle_mkcol,
    locks=LockRule.CREATES,
    privilege=Privilege.WRITE,
    applies_to=UNMAPPED,
    creates=True,
)
METHODS = (MKCOL,)
