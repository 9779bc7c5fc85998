"""LOCK: new write locks and refreshes (RFC 4918 sections 6, 7 and 9.10)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache

from davserver.auth.base import Privilege
from davserver.binding import is_in_scope, locks_below
from davserver.changes import creating
from davserver.context import RequestContext, Response, Target
from davserver.errors import BadRequest, Forbidden, Locked, PreconditionFailed, StorageError
from davserver.methods._checks import relocate, standing
from davserver.methods.base import MAPPED, UNMAPPED, BodyPolicy, LockRule, Method
from davserver.protocol.headers import Depth, parse_timeout
from davserver.protocol.locks import Lock, conflicting
from davserver.protocol.lockxml import lockdiscovery_response
from davserver.protocol.multistatus import MultiStatusWriter
from davserver.protocol.quirks import refresh_token_without_list
from davserver.protocol.xmlread import LockInfo, parse_lockinfo
from davserver.state.base import GateView
from davserver.storage.base import Writer
from davserver.usage import growing, require_room

XML = (b"content-type", b'application/xml; charset="utf-8"')
NO_STORE = (b"cache-control", b"no-store")
_KEPT, _KEPT_BYTES = 64, 1_024


def parse_lock(rc: RequestContext) -> LockInfo | None:
    """None for a refresh, to which Depth does not matter (section 9.10.2)."""
    if not rc.body or refresh_token_without_list(rc.headers.get_all(b"if")) is not None:
        return None
    if rc.depth is Depth.ONE:
        raise BadRequest("LOCK has Depth 0 or infinity")
    if len(rc.body) > _KEPT_BYTES:
        return parse_lockinfo(rc.body, charset=rc.charset)
    return _parsed(rc.body, rc.charset)


@lru_cache(_KEPT)
def _parsed(body: bytes, charset: str | None) -> LockInfo:
    """Clients send the same body for whatever they lock."""
    return parse_lockinfo(body, charset=charset)


def handle_lock(rc: RequestContext, target: Target) -> Response:
    """200 with the new lock, 201 when it made an empty file; a refresh without a body."""
    if rc.document is None:
        return _refresh(rc, target)
    if target.stat is None and rc.expected is None:
        return _lock_unmapped(rc, target, rc.document)
    response = _lock_file(rc, target, rc.document)
    if response is not None:
        return response
    with rc.hold([target.key]) as view:
        fresh = relocate(rc, LOCK, view)
        if fresh.stat is not None:
            return _lock_mapped(rc, view, fresh, rc.document)
    # It was deleted since it was looked up, or is looked up only now.
    return _lock_unmapped(rc, fresh, rc.document)


def _lock_file(rc: RequestContext, target: Target, info: LockInfo) -> Response | None:
    """While others are in the gate for other resources. None where it is no file, and nothing is
    done."""
    if target.path.slash or target.is_collection:
        return None
    with rc.hold([target.key], narrow=True) as view:
        if view.changes():
            return None
        fresh = relocate(rc, LOCK, view)
        if fresh.key != target.key or fresh.stat is None or fresh.is_collection:
            return None
        return _lock_mapped(rc, view, fresh, info)


def _lock_mapped(rc: RequestContext, view: GateView, target: Target, info: LockInfo) -> Response:
    lock = _new_lock(rc, target, info)
    members = _refuse_conflict(rc, view, target, lock)
    if members:
        return _members_are_locked(rc, target, members)
    view.add_lock(lock)
    return _granted(rc, lock, 200)


def _lock_unmapped(rc: RequestContext, target: Target, info: LockInfo) -> Response:
    """Section 7.3: a successful LOCK of an unmapped URL creates an empty resource, locked."""
    if target.path.slash:
        raise BadRequest("a URL with a trailing slash names a collection: MKCOL it first")
    require_room(rc.services, rc.services.state, target.key, 0)
    writer = rc.services.storage.create(target.path)
    try:
        writer.seal()
        with rc.hold([target.key]) as view:
            fresh = relocate(rc, LOCK, view)
            if fresh.stat is not None:
                # Somebody else was first.
                return _lock_mapped(rc, view, fresh, info)
            view.clear(fresh.key)
            lock = _new_lock(rc, fresh, info)
            _refuse_conflict(rc, view, fresh, lock)
            view.add_lock(lock)
            with (
                growing(rc.services, view, fresh.key, 0),
                creating(rc.services, view, fresh.path, fresh.key),
            ):
                writer.commit(replace=False)
        _settle(rc, writer, fresh, lock)
    finally:
        writer.discard()
    return _granted(rc, lock, 201)


def _settle(rc: RequestContext, writer: Writer, target: Target, lock: Lock) -> None:
    """Waits for the disk. Raises its error with the lock gone again: nobody would know the
    token."""
    try:
        writer.settle()
    except StorageError:
        with rc.hold([target.key]) as view:
            view.remove_lock(lock.token)
            view.commit()
            with suppress(StorageError):
                rc.services.storage.delete(target.path)
        raise


def _new_lock(rc: RequestContext, target: Target, info: LockInfo) -> Lock:
    settings = rc.services.settings
    timeout_s = parse_timeout(
        rc.headers.joined(b"timeout"),
        default_s=settings.lock_timeout_s,
        maximum_s=settings.lock_timeout_max_s,
    )
    return Lock(
        token=rc.services.new_token(),
        key=target.key,
        href=target.path.href(collection=target.is_collection),
        scope=info.scope,
        # Section 9.10.3: "If no Depth header is submitted on a LOCK request, then the request
        # MUST act as if a Depth: infinity had been submitted."
        depth=rc.depth or Depth.INFINITY,
        owner_xml=info.owner_xml,
        principal=rc.principal.name,
        timeout_s=timeout_s,
        expires_at=rc.now + timeout_s,
    )


def _refuse_conflict(
    rc: RequestContext, view: GateView, target: Target, lock: Lock
) -> Sequence[Lock]:
    """Raises 423 for a conflict on the resource; returns the conflicting locks of members."""
    covering = view.covering(target.key, now=rc.now)
    is_deep = lock.depth is Depth.INFINITY
    inner = locks_below(view, target.key, now=rc.now) if is_deep else ()
    own, below = conflicting(lock.scope, lock.depth, covering, inner)
    if own:
        roots = dict.fromkeys(rc.base + other.href for other in own)
        raise Locked("the resource is locked", hrefs=tuple(roots), condition=b"no-conflicting-lock")
    return standing(rc, below) if below else ()


def _members_are_locked(rc: RequestContext, target: Target, locks: Sequence[Lock]) -> Response:
    """Section 9.10.3: 207 with the members that prevented it, 424 for the Request-URI."""
    writer = MultiStatusWriter()
    for href in dict.fromkeys(rc.base + lock.href for lock in locks):
        writer.status(href, 423, condition=b"no-conflicting-lock", hrefs=(href,))
    writer.status(rc.href(target.path, collection=True), 424)
    return Response(207, (XML, NO_STORE), writer.finish())


def _granted(rc: RequestContext, lock: Lock, status: int) -> Response:
    body = lockdiscovery_response(lock, now=rc.now, base=rc.base)
    token = (b"lock-token", b"<%s>" % lock.token.encode("ascii"))
    return Response(status, (token, XML, NO_STORE), body)


def _refresh(rc: RequestContext, target: Target) -> Response:
    """Section 9.10.2: one token in `If`, any URL in the lock's scope; Depth is ignored."""
    token = _token_to_refresh(rc)
    with rc.hold([target.key]) as view:
        fresh = relocate(rc, LOCK, view)
        lock = view.lock(token, now=rc.now)
        if fresh.stat is None or lock is None or not is_in_scope(lock, fresh.key, view, now=rc.now):
            raise _no_such_lock()
        if lock.principal != rc.principal.name:
            raise Forbidden("the lock belongs to somebody else")
        timeout_s = parse_timeout(
            rc.headers.joined(b"timeout"),
            default_s=lock.timeout_s,
            maximum_s=rc.services.settings.lock_timeout_max_s,
        )
        try:
            lock = view.refresh_lock(token, timeout_s=timeout_s, expires_at=rc.now + timeout_s)
        except KeyError as error:
            raise _no_such_lock() from error  # it expired this moment
    body = lockdiscovery_response(lock, now=rc.now, base=rc.base)
    return Response(200, (XML, NO_STORE), body)


def _no_such_lock() -> PreconditionFailed:
    return PreconditionFailed(
        "the token names no lock on this resource", condition=b"lock-token-matches-request-uri"
    )


def _token_to_refresh(rc: RequestContext) -> str:
    if rc.if_header is None:
        raw = refresh_token_without_list(rc.headers.get_all(b"if"))
        if raw is None:
            raise BadRequest("LOCK without a body refreshes: it needs an If header with the token")
        return raw
    tokens = rc.if_header.submitted_tokens() - {"DAV:no-lock"}
    if len(tokens) != 1:
        raise BadRequest(f"a refresh names one lock token, not {len(tokens)}")
    return next(iter(tokens))


LOCK = Method(
    "LOCK",
    handle=handle_lock,
    parse=parse_lock,
    body=BodyPolicy.XML,
    locks=LockRule.CREATES,
    privilege=Privilege.WRITE,
    applies_to=MAPPED | UNMAPPED,
    creates=True,
)
METHODS = (LOCK,)
