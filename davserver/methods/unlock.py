"""UNLOCK (RFC 4918 section 9.11)."""

from __future__ import annotations

from davserver.auth.base import Privilege
from davserver.binding import is_in_scope
from davserver.context import RequestContext, Response, Target
from davserver.errors import BadRequest, Conflict, Forbidden
from davserver.methods._checks import relocate
from davserver.methods.base import MAPPED, UNMAPPED, Method
from davserver.protocol.headers import parse_lock_token
from davserver.state.base import GateView


def validate_unlock(rc: RequestContext) -> None:
    value = rc.headers.single(b"lock-token")
    if value is None:
        raise BadRequest("UNLOCK needs a Lock-Token header")
    rc.document = parse_lock_token(value)


def handle_unlock(rc: RequestContext, target: Target) -> Response:
    """204: the whole lock is gone, from whichever URL of its scope it was asked."""
    lock = rc.services.state.lock(rc.document, now=rc.now)
    # The lock of a collection is about its members as well.
    if lock is not None and lock.key == target.key and not lock.href.endswith(b"/"):
        with rc.hold([target.key], narrow=True) as view:
            if not view.changes():
                return _unlock(rc, view)
    with rc.hold([target.key]) as view:
        return _unlock(rc, view)


def _unlock(rc: RequestContext, view: GateView) -> Response:
    token: str = rc.document
    fresh = relocate(rc, UNLOCK, view)
    lock = view.lock(token, now=rc.now)
    if lock is None or not is_in_scope(lock, fresh.key, view, now=rc.now):
        raise Conflict(
            "the token names no lock on this resource",
            condition=b"lock-token-matches-request-uri",
        )
    if lock.principal != rc.principal.name:
        raise Forbidden("the lock belongs to somebody else")
    view.remove_lock(token)
    return Response(204)


UNLOCK = Method(
    "UNLOCK",
    handle=handle_unlock,
    validate=validate_unlock,
    privilege=Privilege.WRITE,
    # A lock whose root was deleted behind the server's back can still be given up.
    applies_to=MAPPED | UNMAPPED,
)
METHODS = (UNLOCK,)
