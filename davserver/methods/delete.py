"""DELETE (RFC 4918 section 9.6)."""

from __future__ import annotations

from davserver.auth.base import Privilege
from davserver.changes import make_durable, removing
from davserver.context import RequestContext, Response, Target
from davserver.errors import (
    BadRequest,
    CollectionNotEmpty,
    Forbidden,
    NotACollection,
    ServiceUnavailable,
)
from davserver.handover import release
from davserver.methods._checks import relocate, unsubmitted
from davserver.methods._failures import Failures
from davserver.methods._freeing import freed_after, is_long
from davserver.methods._tree import TreeDelete, expect_tree
from davserver.methods.base import MAPPED, LockRule, Method, TakesLong
from davserver.progress import Proof
from davserver.protocol.headers import Depth
from davserver.state.base import GateView
from davserver.storage.base import Kind
from davserver.storage.trees import TreeStorage
from davserver.usage import shrinking, size_of

_ATTEMPTS = 4


def handle_delete(rc: RequestContext, target: Target) -> Response:
    """204 when all is gone; 207 naming the members that could not be deleted, which stay with
    their ancestors; a plain status when the cause is the Request-URI itself."""
    if rc.services.storage.is_fixed(target.key) and not target.is_link:
        raise Forbidden("a root cannot be deleted")
    if rc.progress.prove is not None:
        rc.progress.prove(Proof(204, gone=target.path))
    for _ in range(_ATTEMPTS):
        try:
            response = _delete(rc, target)
            break
        except (CollectionNotEmpty, NotACollection) as error:
            if target.is_collection and isinstance(error, CollectionNotEmpty):
                raise
            # A file has turned into a collection meanwhile, or the other way round.
            with rc.hold([]) as view:
                target = relocate(rc, DELETE, view)
    else:
        raise ServiceUnavailable("it keeps changing", headers=((b"retry-after", b"1"),))
    make_durable(rc.services.storage, target.path.parent)
    return response


def _delete_briefly(rc: RequestContext, target: Target) -> Response:
    """Of a file that is soon gone."""
    if target.is_collection or is_long(target.stat) or rc.services.storage.is_fixed(target.key):
        raise TakesLong
    try:
        return _delete_one(rc, target, briefly=True)
    except (CollectionNotEmpty, NotACollection) as exc:
        raise TakesLong from exc


def _delete(rc: RequestContext, target: Target) -> Response:
    if target.is_collection and rc.depth not in (None, Depth.INFINITY):
        # Section 9.6.1: "A client MUST NOT submit a Depth header with a DELETE on a collection
        # with any value but infinity."
        raise BadRequest("DELETE of a collection has Depth infinity")
    if target.is_collection and not target.is_link:
        return _delete_collection(rc)
    return _delete_one(rc, target)


def _delete_one(rc: RequestContext, target: Target, *, briefly: bool = False) -> Response:
    kept = freed_after(rc.services.storage, target.path, target.stat)
    with kept, rc.hold([target.key]) as view:
        fresh = relocate(rc, DELETE, view)
        if briefly and not _is_brief(view, fresh):
            raise TakesLong
        if not fresh.is_link and release(rc.services, view, fresh.key, fresh.key):
            fresh = relocate(rc, DELETE, view)
        # What a link leads to stays, with its properties and locks.
        key = fresh.binding if fresh.is_link else fresh.key
        doomed = [] if key is None else [(fresh.path, key)]
        size = 0 if fresh.is_link else size_of(fresh.stat)
        with (
            removing(rc.services, view, doomed) as gone,
            shrinking(rc.services, view, fresh.key, size),
        ):
            rc.services.storage.delete(fresh.path)
            gone += [key for _, key in doomed]
    rc.progress.expect(1, size)
    rc.progress.did(size)
    return Response(204)


def _is_brief(view: GateView, target: Target) -> bool:
    is_ordinary = target.kind is Kind.FILE and not target.is_link and not view.bindings
    return is_ordinary and not is_long(target.stat)


def _delete_collection(rc: RequestContext) -> Response:
    with rc.hold([]) as view:
        fresh = relocate(rc, DELETE, view)
        if release(rc.services, view, fresh.key, fresh.key):
            fresh = relocate(rc, DELETE, view)
        if not fresh.is_link and _is_deleted_whole(rc, view, fresh):
            return Response(204)
    if fresh.is_link:
        return _delete_one(rc, fresh)
    expect_tree(rc, fresh.path)
    failures = Failures(rc)
    try:
        if TreeDelete(rc, failures).run(fresh.path, fresh.key):
            return Response(204)
    except BaseException:
        failures.close()
        raise
    return failures.response()


def _is_deleted_whole(rc: RequestContext, view: GateView, target: Target) -> bool:
    """Removes a tree in one step, where the storage can (in an atomic change: it is set aside), and
    nothing in it has to be looked at."""
    storage = rc.services.storage
    if not isinstance(storage, TreeStorage) or rc.services.quotas or view.bindings:
        return False
    locked = unsubmitted(rc, (), view.beneath(target.key, now=rc.now))
    if locked or rc.varies_below(target.path, target.key):
        return False
    with removing(rc.services, view, [(target.path, target.key)]) as gone:
        storage.delete_tree(target.path)
        gone.append(target.key)
    rc.progress.expect(1, 0)
    rc.progress.did()
    return True


DELETE = Method(
    "DELETE",
    handle=handle_delete,
    brief=lambda rc: None if rc.path.slash else _delete_briefly,
    locks=LockRule.TARGET | LockRule.PARENT,
    privilege=Privilege.WRITE,
    applies_to=MAPPED | {Kind.OTHER},
    unbounded=True,
)
METHODS = (DELETE,)
