"""PATCH (RFC 5789) with `X-Update-Range`: some bytes of a file are written anew.

Never in place: a new version is made of the old one (its blocks are shared where the file system
can) and of the body, and published as PUT publishes, if the old one is still there.
"""

from __future__ import annotations

from functools import partial

from davserver.aio import body_chunks, check_length
from davserver.auth.base import Privilege
from davserver.context import RequestContext, Response, Target
from davserver.errors import (
    BadRequest,
    Conflict,
    ContentTooLarge,
    InsufficientStorage,
    LengthRequired,
    RangeNotSatisfiable,
    ServiceUnavailable,
    UnsupportedMediaType,
)
from davserver.extensions.base import Extension
from davserver.methods._checks import relocate
from davserver.methods._gathering import Gathered
from davserver.methods._publishing import publish_over, stored
from davserver.methods._rights import check_opened
from davserver.methods.base import BodyPolicy, LockRule, Method
from davserver.protocol.digests import Hasher, UploadDigests
from davserver.protocol.headers import DavHeaders, parse_content_length
from davserver.protocol.updaterange import PARTIAL_UPDATE, UpdateRange
from davserver.storage.base import Kind, Reader, Stat, Writer
from davserver.usage import require_room

_INLINE_LIMIT = 1 << 20
"""Bytes: a body up to this is held in memory, and applied again when somebody was faster."""
_ATTEMPTS = 16
_GAP_LIMIT = 16 << 20
"""Bytes of zeros between the end of a file and a range behind it: a small request must not fill
the disk."""
_ZEROS = bytes(1 << 20)
_ACCEPT_PATCH = ((b"accept-patch", PARTIAL_UPDATE),)
_CONTENT_DIGEST = b"content-digest"


class _Changed(Exception):
    """The version that the new one was made of is not there any more."""


def read_patch(rc: RequestContext) -> tuple[UpdateRange, int]:
    """Returns where the body goes, and its bytes. Refuses what cannot be applied to any file: 415,
    411, 400, 416."""
    headers = rc.headers
    kind = (headers.get(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != PARTIAL_UPDATE:
        expected = PARTIAL_UPDATE.decode("ascii")
        # RFC 5789 section 2.2: "Such a response SHOULD include an Accept-Patch".
        raise UnsupportedMediaType(
            f"a patch is {expected} here, not {kind!r}", headers=_ACCEPT_PATCH
        )
    coding = headers.joined(b"content-encoding")
    if coding is not None and coding.lower() not in (b"", b"identity"):
        raise UnsupportedMediaType(
            f"content coding {coding!r} is not stored", headers=((b"accept-encoding", b"identity"),)
        )
    length = parse_content_length(headers)
    if length is None:
        raise LengthRequired("a patch needs Content-Length")
    value = headers.single(b"x-update-range")
    if value is None:
        raise BadRequest("a patch needs X-Update-Range")
    return UpdateRange.from_header(value, length=length), length


async def handle_patch(rc: RequestContext, target: Target) -> Response:
    """204 with the ETag of the new version. 409 when a long body met another writer; 416 for a
    range that begins too far behind the end, 413 and 507 as PUT."""
    assert target.stat is not None
    try:
        range_, length = read_patch(rc)
    except RangeNotSatisfiable as error:
        raise _no_range(error.detail, target.stat) from None
    rc.wait_s = rc.services.settings.gate_wait_s
    return await _Patch(rc, target, range_, length).run()


def _no_range(detail: str, stat: Stat) -> RangeNotSatisfiable:
    # RFC 9110 section 15.5.17 has the length of the file told.
    size = (b"content-range", b"bytes */%d" % stat.size)
    return RangeNotSatisfiable(detail, headers=(size,))


class _Patch:
    """One body on its way into a new version of a file."""

    def __init__(
        self, rc: RequestContext, target: Target, range_: UpdateRange, length: int
    ) -> None:
        self._rc = rc
        self._services = rc.services
        self._target = target
        self._length = length
        self._range = range_
        fields = [field for field in rc.headers.items if field[0] == _CONTENT_DIGEST]
        self._checks = UploadDigests.from_headers(DavHeaders(fields))
        self._hasher = None if self._checks is None else Hasher(self._checks.algorithms)
        self._reader: Reader | None = None
        self._writer: Writer | None = None
        assert target.stat is not None
        self._check_size(target.stat)

    async def run(self) -> Response:
        runner = self._services.runner
        self._rc.asked_for_body = True
        try:
            if self._length > _INLINE_LIMIT:
                return await self._stream()
            with runner.bodies.lease() as take:
                if not take(self._length):
                    retry = ((b"retry-after", b"5"),)
                    raise ServiceUnavailable("too many bodies at once", headers=retry)
                body = await self._gather()
                return await runner.hop(partial(self._apply, body))
        finally:
            if not runner.is_closed:
                await runner.hop(self._close)
            else:
                self._close()

    async def _gather(self) -> Gathered:
        body = Gathered()
        async for chunk in body_chunks(self._rc.receive):
            body.add(chunk)
        check_length(self._length, body.size)
        return body

    async def _stream(self) -> Response:
        runner = self._services.runner
        await runner.hop(self._open)
        buffer, received = Gathered(), 0
        async for chunk in body_chunks(self._rc.receive):
            received += len(chunk)
            buffer.add(chunk)
            if buffer.size >= _INLINE_LIMIT:
                await runner.hop(partial(self._write, buffer))
                buffer = Gathered()
        check_length(self._length, received)
        try:
            return await runner.hop(partial(self._finish, buffer))
        except _Changed:
            raise Conflict("somebody else has written to the file meanwhile") from None

    def _apply(self, body: Gathered) -> Response:
        """Who appends a line to a log does not mind another one before it."""
        if self._hasher is not None:
            for piece in body.pieces:
                self._hasher.update(memoryview(piece))
            self._check_digest()
        for _ in range(_ATTEMPTS):
            try:
                self._open()
                return self._finish(body)
            except _Changed:
                self._close()
        raise Conflict("others write to the file all the time")

    def _open(self) -> None:
        """Begins the new version with what stands before the range."""
        rc, storage = self._rc, self._services.storage
        self._reader = reader = storage.open(rc.path)
        check_opened(rc, self._target, reader.stat)
        self._check_size(reader.stat)
        size = reader.stat.size
        start = self._range.start(size)
        self._writer = writer = storage.create(rc.path, size_hint=max(size, start + self._length))
        writer.copy(reader, 0, min(start, size))
        gap = max(0, start - size)
        while gap:
            zeros = _ZEROS[:gap]
            writer.write(zeros)
            gap -= len(zeros)

    def _check_size(self, stat: Stat) -> None:
        services = self._services
        start = self._range.start(stat.size)
        if start - stat.size > _GAP_LIMIT:
            raise _no_range(
                f"the file ends {start - stat.size} bytes before, {_GAP_LIMIT} are allowed", stat
            )
        size = max(stat.size, start + self._length)
        limit = services.settings.put_limit
        if limit is not None and size > limit:
            raise ContentTooLarge(f"the file would have {size} bytes, {limit} are allowed")
        require_room(services, services.state, self._target.key, size, stat)
        disk = services.storage.quota(self._rc.path)
        if disk is not None and size - stat.size > disk.available:
            raise InsufficientStorage(f"{size} bytes do not fit, {disk.available} are free")

    def _write(self, buffer: Gathered) -> None:
        assert self._writer is not None
        self._writer.write(*buffer.pieces)
        if self._hasher is not None:
            for piece in buffer.pieces:
                self._hasher.update(memoryview(piece))

    def _finish(self, rest: Gathered) -> Response:
        """Ends the new version with what stands behind the range, and publishes it."""
        reader, writer = self._reader, self._writer
        assert reader is not None
        assert writer is not None
        if self._length > _INLINE_LIMIT:
            self._write(rest)
            self._check_digest()
        else:
            writer.write(*rest.pieces)
        end = writer.size
        if end < reader.stat.size:
            writer.copy(reader, end, reader.stat.size - end)
        writer.seal()
        return self._publish(reader.stat, writer)

    def _check_digest(self) -> None:
        if self._checks is not None and self._hasher is not None:
            self._checks.check(self._hasher.digests())

    def _publish(self, old: Stat, writer: Writer) -> Response:
        rc, key = self._rc, self._target.key
        with rc.hold([key], [key.parent] if key.parent else []) as view:
            fresh = relocate(rc, PATCH, view)
            if fresh.stat is None or fresh.stat.etag != old.etag:
                raise _Changed
            commit = partial(writer.commit, replace=True, expect=old.etag)
            stat = publish_over(rc, view, fresh, writer.size, commit)
        writer.settle()
        return stored(rc, stat, replaced=True)

    def _close(self) -> None:
        """Nothing stays of what was not published."""
        reader, self._reader = self._reader, None
        writer, self._writer = self._writer, None
        if reader is not None:
            reader.close()
        if writer is not None:
            writer.discard()


PATCH = Method(
    "PATCH",
    stream=handle_patch,
    body=BodyPolicy.STREAM,
    locks=LockRule.TARGET,
    privilege=Privilege.WRITE,
    applies_to=frozenset({Kind.FILE}),
)
EXTENSION = Extension(
    "rfc5789-patch", dav_tokens=("sabredav-partialupdate",), needs_write=True, methods=(PATCH,)
)
