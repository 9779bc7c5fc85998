"""One request body on its way into the part of an upload (uploading.py).

Whatever ends it, what came counts, so that the client can go on from there; but where a digest of
this very content was sent, all of it counts or nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

from davserver.aio import SMALL_BODY, ClientDisconnect, check_length
from davserver.context import RequestContext
from davserver.errors import Conflict, StateError, StorageError
from davserver.methods._gathering import Gathered
from davserver.protocol.digests import Hasher, UploadDigests
from davserver.protocol.headers import DavHeaders, parse_content_length
from davserver.protocol.uploads import inconsistent_length
from davserver.uploading import Held, cancel, is_called, keep, require_space, too_large

logger = logging.getLogger(__name__)

_GATHERED = 1 << 20
"""Bytes that are written at once."""
_KEPT_EVERY = 16 << 20
_KEPT_EVERY_S = 5.0
"""Bytes, and seconds, after which what came is made to count, were the server to die."""
_LOOK_S = 0.25
"""How often it is looked whether somebody else wants the upload."""
_CONTENT_DIGEST = b"content-digest"


class Appending:
    """Takes the body of a request as the next piece of an upload.

    Args:
        length: bytes of the whole, None while nobody tells.
    """

    def __init__(self, rc: RequestContext, held: Held, length: int | None) -> None:
        self._rc = rc
        self._services = rc.services
        self._held = held
        self._length = length
        self._begin = held.open_part.size
        self._before = held.upload
        self._announced = parse_content_length(rc.headers)
        fields = [field for field in rc.headers.items if field[0] == _CONTENT_DIGEST]
        self._checks = UploadDigests.from_headers(DavHeaders(fields))
        self._hasher = None if self._checks is None else Hasher(self._checks.algorithms)
        self._kept_at = time.monotonic()
        self._is_void = False

    async def run(self) -> None:
        """Returns when all of the body is in the part and counts.

        Raises BadRequest (400) for a body that is not as announced, ContentTooLarge (413),
        Conflict (409) when somebody else wants the upload, ClientDisconnect, and as the storage
        and the state do.
        """
        rc = self._rc
        rc.asked_for_body = True
        rest = Gathered()
        try:
            await self._hop(partial(self._require_space, self._announced or 0))
            with rc.services.runner.bodies.lease() as take:
                rest = await self._receive(rest, take)
                await self._hop(partial(self._finish, rest))
        except BaseException:
            await self._hop(partial(self._keep_what_came, rest))
            raise

    async def _hop(self, function: Callable[[], None]) -> None:
        runner = self._services.runner
        if runner.is_closed:
            # The server ends, and its threads have.
            function()
        else:
            await runner.store(function)

    async def _receive(self, buffer: Gathered, take: Callable[[int], bool]) -> Gathered:
        received = 0
        gathered = SMALL_BODY
        async for chunk in self._chunks():
            received += len(chunk)
            self._require_within(self._begin + received)
            buffer.add(chunk)
            if buffer.size >= gathered == SMALL_BODY and take(_GATHERED):
                gathered = _GATHERED
            if buffer.size >= gathered or (buffer.size and self._is_late()):
                await self._hop(partial(self._write, buffer))
        check_length(self._announced, received)
        return buffer

    async def _chunks(self) -> AsyncIterator[bytes]:
        """Yields the body as it comes; ends with Conflict when somebody else comes instead."""
        looked_at = time.monotonic()
        more = True
        while more:
            coming = asyncio.ensure_future(_received(self._rc))
            try:
                while not (await asyncio.wait([coming], timeout=_LOOK_S))[0]:
                    await self._look()
            finally:
                coming.cancel()
            chunk, more = coming.result()
            if time.monotonic() - looked_at > _LOOK_S:
                looked_at = time.monotonic()
                await self._look()
            if chunk:
                yield chunk

    async def _look(self) -> None:
        if await self._services.runner.batch(partial(is_called, self._services, self._before)):
            raise Conflict("another request has taken the upload over", close=True)

    def _require_within(self, size: int) -> None:
        limit = self._services.settings.put_limit
        if limit is not None and size > limit:
            raise too_large(self._services)
        if self._length is not None and size > self._length:
            # Section 4.4.2: "rejecting the request once the offset exceeds the length, marking
            # the upload resource invalid and rejecting any further interaction with it".
            self._is_void = True
            raise inconsistent_length(f"more than the {self._length} bytes that the upload has")

    def _require_space(self, more: int) -> None:
        """Blocks."""
        services, upload = self._services, self._held.upload
        try:
            replaced = services.storage.locate(upload.target).stat
        except StorageError:
            replaced = None
        size = max(self._begin + more, self._held.open_part.size)
        require_space(services, services.state, upload, size, replaced)

    def _is_late(self) -> bool:
        return time.monotonic() - self._kept_at > _KEPT_EVERY_S

    def _write(self, buffer: Gathered) -> None:
        """Writes and empties the buffer. Blocks."""
        part = self._held.open_part
        pieces, buffer.pieces, buffer.size = buffer.pieces, [], 0
        part.write(*pieces)
        if self._hasher is not None:
            for piece in pieces:
                self._hasher.update(memoryview(piece))
        elif part.size - self._held.upload.size >= _KEPT_EVERY or self._is_late():
            self._require_space(0)
            self._keep()

    def _keep(self) -> None:
        keep(self._services, self._held, length=self._length)
        self._kept_at = time.monotonic()

    def _finish(self, rest: Gathered) -> None:
        self._write(rest)
        if self._announced is None:
            self._require_space(0)
        if self._checks is not None and self._hasher is not None:
            self._checks.check(self._hasher.digests())
            self._hasher = None
        self._keep()

    def _keep_what_came(self, rest: Gathered) -> None:
        """After whatever ended it. Raises nothing."""
        try:
            if self._is_void:
                cancel(self._services, self._held)
                return
            if self._hasher is not None:
                self._held.open_part.cut(self._begin)
                return
            if rest.size:
                self._held.open_part.write(*rest.pieces)
            self._keep()
        except (StorageError, StateError) as error:
            logger.warning("what came of an upload is lost: %s", error)


async def _received(rc: RequestContext) -> tuple[bytes, bool]:
    """Returns a piece of the body, and whether more is to come."""
    message = await rc.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)
