"""DELETE (RFC 4918 section 9.6)."""

from __future__ import annotations

from davserver.auth.base import Privilege
from davserver.changes import removing
from davserver.context import RequestContext, Response, Target
from davserver.errors import BadRequest, Forbidden
from davserver.methods._checks import relocate
from davserver.methods._tree import Failures, TreeDelete
from davserver.methods.base import MAPPED, LockRule, Method
from davserver.protocol.headers import Depth
from davserver.storage.base import Kind


def handle_delete(rc: RequestContext, target: Target) -> Response:
    """204 when all is gone; 207 naming the members that could not be deleted, which stay with
    their ancestors; a plain status when the cause is the Request-URI itself."""
    if target.path.is_root:
        raise Forbidden("the root cannot be deleted")
    if target.is_collection and rc.depth not in (None, Depth.INFINITY):
        # Section 9.6.1: "A client MUST NOT submit a Depth header with a DELETE on a collection
        # with any value but infinity."
        raise BadRequest("DELETE of a collection has Depth infinity")
    if target.is_collection and not target.is_link:
        response = _delete_collection(rc)
    else:
        response = _delete_one(rc, target)
    assert target.path.parent is not None
    rc.services.storage.sync(target.path.parent)
    return response


def _delete_one(rc: RequestContext, target: Target) -> Response:
    with rc.hold([target.key]) as view:
        fresh = relocate(rc, DELETE, view)
        # What a link leads to stays, with its properties and locks.
        doomed = [] if fresh.is_link else [(fresh.path, fresh.key)]
        with removing(rc.services, view, doomed):
            rc.services.storage.delete(fresh.path)
            if not fresh.is_link:
                view.clear(fresh.key)
    return Response(204)


def _delete_collection(rc: RequestContext) -> Response:
    with rc.hold([]) as view:
        fresh = relocate(rc, DELETE, view)
    failures = Failures(rc)
    try:
        if TreeDelete(rc, failures).run(fresh.path, fresh.key):
            return Response(204)
    except BaseException:
        failures.close()
        raise
    return failures.response()


DELETE = Method(
    "DELETE",
    handle=handle_delete,
    locks=LockRule.TARGET | LockRule.PARENT,
    privilege=Privilege.WRITE,
    applies_to=MAPPED | {Kind.OTHER},
    unbounded=True,
)
METHODS = (DELETE,)
