"""PUT (RFC 9110 section 9.3.4, RFC 4918 section 9.7): nothing is visible until all of it is there.

Every check runs before the first byte of the body is asked for, and again inside the gate when
the new version is published.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from davserver.aio import SMALL_BODY
from davserver.auth.base import Privilege
from davserver.context import RequestContext, Response, Target
from davserver.digests import keep_digests
from davserver.errors import (
    BadRequest,
    Conflict,
    ContentTooLarge,
    CrossDevice,
    GateBusy,
    InsufficientStorage,
    ResourceExists,
    UnsupportedMediaType,
)
from davserver.methods._checks import check_direct, relocate
from davserver.methods._freeing import freed_after, is_long
from davserver.methods._gathering import Gathered
from davserver.methods._pieces import put_piece
from davserver.methods._publishing import publish_new, publish_over, stored
from davserver.methods._reception import INLINE_LIMIT, Reception
from davserver.methods._times import read_times
from davserver.methods.base import UNMAPPED, BodyPolicy, LockRule, Method
from davserver.protocol.digests import Digests, Hasher, UploadDigests, digest_field
from davserver.protocol.etag import ETag
from davserver.protocol.headers import parse_content_length
from davserver.protocol.locks import Lock
from davserver.protocol.path import Key
from davserver.protocol.uploads import COMPLETE, Piece
from davserver.state.base import GateView
from davserver.storage.base import Bytes, Kind, Part, Stat, Writer
from davserver.storage.direct import DirectStorage
from davserver.usage import require_room

_DIGITS = re.compile(rb"[0-9]{1,18}\Z")


def validate_put(rc: RequestContext) -> None:
    """Refuses what would store something other than what was meant, before any look-up."""
    headers = rc.headers
    if headers.get(b"content-range") is not None:
        # RFC 9110 section 14.5: "an origin server SHOULD respond with a 400 (Bad Request)".
        raise BadRequest("a partial PUT is not supported: Content-Range must not be sent")
    coding = headers.joined(b"content-encoding")
    if coding is not None and coding.lower() not in (b"", b"identity"):
        raise UnsupportedMediaType(
            f"content coding {coding!r} is not stored", headers=((b"accept-encoding", b"identity"),)
        )
    expected_length(rc)
    read_times(rc)
    rc.document = UploadDigests.from_headers(headers)


def expected_length(rc: RequestContext) -> int | None:
    """Bytes announced by Content-Length, or by Finder for a chunked body; None if neither."""
    length = parse_content_length(rc.headers)
    if length is not None:
        return length
    value = rc.headers.single(b"x-expected-entity-length")
    if value is None:
        return None
    if not _DIGITS.match(value):
        raise BadRequest(f"X-Expected-Entity-Length is no number: {value!r}")
    return int(value)


async def handle_put(rc: RequestContext, target: Target) -> Response:
    """201 for a new resource, 204 for a replaced one; with the ETag of what was sent."""
    _refuse_missing_collection(target)
    if rc.headers.get(COMPLETE) is not None:
        piece = Piece.from_headers(rc.headers)
        if piece.is_last is not None:
            return await put_piece(rc, target, piece, partial(_put, rc, target))
    return await _put(rc, target)


async def _put(rc: RequestContext, target: Target) -> Response:
    length = expected_length(rc)
    limit = rc.services.settings.put_limit
    _require_allowed(rc, target, length)
    if length is not None and length > INLINE_LIMIT and rc.part is None:
        _refuse_what_cannot_fit(rc, target, length)
    return await _Upload(rc, target, length, limit).run()


def _require_allowed(rc: RequestContext, target: Target, length: int | None) -> None:
    limit = rc.services.settings.put_limit
    if limit is not None and length is not None and length > limit:
        raise ContentTooLarge(f"the body has {length} bytes, {limit} are allowed")
    require_room(rc.services, rc.services.state, target.key, length or 0, target.stat)


def store_whole(rc: RequestContext, target: Target, body: bytes) -> Response | None:
    """PUT of a small body that is here, in one call."""
    if rc.part is not None or rc.headers.get(COMPLETE) is not None or is_long(target.stat):
        return None
    _refuse_missing_collection(target)
    _require_allowed(rc, target, len(body))
    return _Upload(rc, target, len(body), None).store(body)


def _refuse_missing_collection(target: Target) -> None:
    if target.path.slash and target.stat is None:
        raise Conflict("a URL with a trailing slash names a collection")


def put_whole(rc: RequestContext, storage: DirectStorage, body: bytes) -> Response | None:
    """PUT of a small body that is here: looked up once, checked and published in the gate. None
    where more is asked for, or may have to be done."""
    limit = rc.services.settings.put_limit
    is_plain = rc.document is None and rc.part is None and rc.in_gate is None
    if not is_plain or rc.headers.get(COMPLETE) is not None:
        return None
    if limit is not None and len(body) > limit:
        return None
    return put_direct(rc, storage, rc.expected or storage.direct_key(rc.path), body)


def put_direct(
    rc: RequestContext, storage: DirectStorage, key: Key, body: bytes
) -> Response | None:
    """As put_whole, where nothing but the path and conditions is to be looked at.

    Args:
        key: what `direct_key` says of the path.
    """
    if rc.path.slash:
        return None
    # What counts for a quota is entered for who is alone in the gate.
    with rc.hold([key], narrow=not rc.services.quotas) as view:
        place = None if view.changes() else storage.find_place(rc.path, key)
        if place is None:
            return None
        try:
            there = place.stat
            if is_long(there):
                return None
            target = Target(rc.path, key, there)
            check_direct(rc, PUT, target, view)
            place.fill(body, rc.times.modified_ns)
            publish = publish_new if there is None else publish_over
            stat = publish(rc, view, target, len(body), place.publish)
        finally:
            place.close()
    return stored(rc, stat, replaced=there is not None)


def _refuse_what_cannot_fit(rc: RequestContext, target: Target, length: int) -> None:
    parent = target.path.parent
    assert parent is not None
    quota = rc.services.storage.quota(parent)
    if quota is not None and length > quota.available:
        raise InsufficientStorage(f"{length} bytes do not fit, {quota.available} are free")


class _Upload:
    """One body on its way to its name: small ones in one call, long ones as they come."""

    def __init__(
        self, rc: RequestContext, target: Target, length: int | None, limit: int | None
    ) -> None:
        self._rc = rc
        self._target = target
        self._length = length
        self._limit = limit
        self._checks: UploadDigests | None = rc.document
        self._hasher = None if self._checks is None else Hasher(self._checks.algorithms)
        self._digests: Digests = {}
        self._held: Sequence[Lock] = ()
        self._writer: Writer | None = None
        self._reception: Reception | None = None
        if rc.submitted:
            held = rc.services.state.covering(target.key, now=rc.now)
            self._held = [lock for lock in held if lock.token in rc.submitted]

    async def run(self) -> Response:
        part = self._rc.part
        try:
            if part is not None:
                self._rc.wait_s = self._rc.services.settings.gate_wait_s
                return await self._rc.services.runner.hop(partial(self._publish_part, part))
            self._rc.asked_for_body = True
            with self._rc.services.runner.bodies.lease() as take:
                rest = await self._receive(take)
                return await self._finish(rest)
        except BaseException:
            await self._give_up()
            raise

    async def _receive(self, take: Callable[[int], bool]) -> Gathered:
        self._reception = Reception(self._rc, self._length, self._limit, self._write)
        return await self._reception.receive(take, self._require_room)

    def store(self, body: bytes) -> Response:
        """As run, of a small body, in one call."""
        rest = Gathered()
        if body:
            rest.add(body)
        try:
            return self._complete_and_publish(rest)
        except BaseException:
            if self._writer is not None:
                self._writer.discard()
            raise

    async def _give_up(self) -> None:
        """Nothing of it stays. What a thread works with is not closed under its hands."""
        if self._reception is not None:
            await self._reception.settle()
        writer, runner = self._writer, self._rc.services.runner
        if writer is not None and writer.size > INLINE_LIMIT and not runner.is_closed:
            # To free what is long takes the file system longer than others should wait.
            await runner.hop(writer.discard)
        elif writer is not None:
            writer.discard()

    def _require_room(self, received: int) -> None:
        """A body whose length nobody told of ends where it does not fit any more."""
        services, target = self._rc.services, self._target
        if self._length is None:
            require_room(services, services.state, target.key, received, target.stat)

    def _write(self, *pieces: Bytes) -> None:
        if self._writer is None:
            self._writer = self._create()
        self._writer.write(*pieces)
        if self._hasher is not None:
            for piece in pieces:
                self._hasher.update(memoryview(piece))

    def _create(self) -> Writer:
        return self._rc.services.storage.create(self._target.path, size_hint=self._length)

    async def _finish(self, rest: Gathered) -> Response:
        services = self._rc.services
        is_quick = self._hasher is None or rest.size <= SMALL_BODY
        is_quick = is_quick and not is_long(self._target.stat)
        is_whole = self._writer is None
        if is_whole and services.runner.inline and not services.storage.durable and is_quick:
            # The checks may have run in a thread, where waiting for the gate stalls nobody.
            self._rc.wait_s = 0.0
            services.runner.call(self._complete, rest)
            try:
                return self._publish()
            except GateBusy:
                self._rc.wait_s = services.settings.gate_wait_s
                return await services.runner.hop(self._publish)
        self._rc.wait_s = services.settings.gate_wait_s
        return await services.runner.hop(partial(self._complete_and_publish, rest))

    def _publish_part(self, part: Part) -> Response:
        if self._hasher is not None:
            for offset in range(0, part.size, INLINE_LIMIT):
                self._hasher.update(part.read_at(offset, INLINE_LIMIT))
        self._check_digests()
        try:
            return self._take_up(part, copies=False)
        except CrossDevice:
            assert self._writer is not None
            self._writer.discard()
            return self._take_up(part, copies=True)

    def _take_up(self, part: Part, *, copies: bool) -> Response:
        storage = self._rc.services.storage
        self._writer = storage.take_up(part, self._target.path, copies=copies)
        self._writer.seal(mtime_ns=self._rc.times.modified_ns)
        return self._publish()

    def _complete(self, rest: Gathered) -> None:
        self._write(*rest.pieces)
        self._check_digests()
        assert self._writer is not None
        self._writer.seal(mtime_ns=self._rc.times.modified_ns)

    def _check_digests(self) -> None:
        """Raises BadRequest (400) when the body is not what the client says it is."""
        if self._checks is not None and self._hasher is not None:
            self._digests = self._hasher.digests()
            self._checks.check(self._digests)

    def _complete_and_publish(self, rest: Gathered) -> Response:
        self._complete(rest)
        return self._publish()

    def _publish(self) -> Response:
        """Raises GateBusy with the writer as it was, to be called again."""
        rc, writer = self._rc, self._writer
        assert writer is not None
        parent = self._target.key.parent
        with (
            freed_after(rc.services.storage, rc.path, self._target.stat),
            rc.hold([self._target.key], [parent] if parent else []) as view,
        ):
            stat, replaced = self._commit(view, writer)
            if self._digests:
                keep_digests(view, self._target.key, stat, self._digests)
        writer.settle()
        return self._stored(stat, replaced=replaced)

    def _commit(self, view: GateView, writer: Writer) -> tuple[Stat, bool]:
        held = self._held_still()
        fresh = relocate(self._rc, PUT, view, held)
        try:
            if fresh.stat is None:
                commit = partial(writer.commit, replace=False)
                return publish_new(self._rc, view, fresh, writer.size, commit), False
        except ResourceExists:
            # Somebody beside this server created it in between: look again.
            fresh = relocate(self._rc, PUT, view)
        commit = partial(writer.commit, replace=True)
        return publish_over(self._rc, view, fresh, writer.size, commit), True

    def _held_still(self) -> Sequence[Lock]:
        """Returns the locks that the client had when its upload began, unless the resource has
        been changed since one of them expired: what somebody else wrote meanwhile must not be
        lost. Raises Conflict (409) when nothing but `Lock-Token` would have guarded it."""
        rc = self._rc
        now = rc.services.clock()
        if all(lock.expires_at > now for lock in self._held):
            return self._held
        stat = rc.services.storage.locate(rc.path).stat
        if _etag(stat) == _etag(self._target.stat):
            return self._held
        if rc.if_header is None:
            raise Conflict("the lock expired during the upload, and the resource was changed")
        return ()

    def _stored(self, stat: Stat, *, replaced: bool) -> Response:
        response = stored(self._rc, stat, replaced=replaced)
        if self._checks is None or self._checks.wanted is None:
            return response
        wanted = self._checks.wanted
        field = (b"repr-digest", digest_field(wanted, self._digests[wanted]))
        return replace(response, headers=(*response.headers, field))


def _etag(stat: Stat | None) -> ETag | None:
    return None if stat is None else stat.etag


PUT = Method(
    "PUT",
    stream=handle_put,
    whole=put_whole,
    store=store_whole,
    validate=validate_put,
    body=BodyPolicy.STREAM,
    locks=LockRule.TARGET | LockRule.CREATES,
    privilege=Privilege.WRITE,
    applies_to=UNMAPPED | {Kind.FILE},
    creates=True,
)
METHODS = (PUT,)
