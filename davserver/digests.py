"""Digests in answers (RFC 9530): what GET and HEAD are asked for, computed once and kept.

A whole file is read for its digest off the event loop, by few threads; what came out is kept in
the private row of the file, under its entity-tag.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from davserver.context import FileBody, Header, PartsBody, RequestContext, Response
from davserver.errors import InternalError, StateError, StorageError
from davserver.properties.digests import DIGESTS, digests_change, stored_digests
from davserver.protocol.digests import Digests, Hasher, digest_field, preferred
from davserver.protocol.names import QName
from davserver.protocol.path import Key
from davserver.state.base import GateView
from davserver.storage.base import Reader, Stat

logger = logging.getLogger(__name__)

_WANT_REPR, _WANT_CONTENT = b"want-repr-digest", b"want-content-digest"
_CHUNK = 1 << 20
_PART_LIMIT = 64 << 20
"""Bytes of a range that is read twice for its Content-Digest: nothing keeps that one, and a
client that asks again and again must not keep the disk busy."""


def keep_digests(view: GateView, key: Key, stat: Stat, digests: Digests) -> None:
    """Stores what is known of the version that stands at `key`. Never fails: it can be computed
    again."""
    try:
        known = stored_digests(view.properties(key), stat)
        if any(name not in known for name in digests):
            view.patch(key, [digests_change(stat, {**known, **digests})])
            view.commit()
    except StateError as error:
        logger.warning("digests are not kept: %s", error)
        view.rollback()


def carry_digests(
    view: GateView, key: Key, known: Mapping[QName, bytes], versions: tuple[Stat | None, Stat]
) -> None:
    """What is `known` of the first version is known of the second, at `key`, too: a copy, or a
    file whose time was set. Never fails."""
    old, new = versions
    if DIGESTS not in known or old is None or old.size != new.size or old.etag == new.etag:
        return
    digests = stored_digests(known, old)
    if digests:
        keep_digests(view, key, new, digests)


async def with_digests(rc: RequestContext, response: Response) -> Response:
    """Adds the digests that the client wants to the answer to a GET or HEAD of a file.

    Raises what reading it raises, with the file closed.
    """
    headers = rc.headers
    if headers.get(_WANT_REPR) is None and headers.get(_WANT_CONTENT) is None:
        return response
    body = response.body
    if not isinstance(body, FileBody | PartsBody):
        return response
    try:
        fields = await _fields(rc, body)
    except BaseException:
        body.reader.close()
        raise
    return replace(response, headers=(*response.headers, *fields))


async def _fields(rc: RequestContext, body: FileBody | PartsBody) -> list[Header]:
    fields = []
    algorithm = preferred(rc.headers, _WANT_REPR)
    if algorithm is not None:
        digest = await _whole(rc, body.reader, algorithm)
        fields.append((b"repr-digest", digest_field(algorithm, digest)))
    # Of a HEAD it is the digest of what a GET would have sent (RFC 9530 section 2).
    algorithm = preferred(rc.headers, _WANT_CONTENT)
    if algorithm is not None and isinstance(body, FileBody):
        content = await _content(rc, body, algorithm)
        if content is not None:
            fields.append((b"content-digest", digest_field(algorithm, content)))
    return fields


async def _content(rc: RequestContext, body: FileBody, algorithm: str) -> bytes | None:
    if body.length == body.reader.stat.size:
        return await _whole(rc, body.reader, algorithm)
    if body.length > _PART_LIMIT:
        return None
    digest = partial(_compute, rc, body.reader, algorithm, body.offset, body.length)
    return await rc.services.runner.hash(digest, on_cancel=partial(_stop, rc))


async def _whole(rc: RequestContext, reader: Reader, algorithm: str) -> bytes:
    runner = rc.services.runner
    known = await runner.batch(partial(_known, rc, reader.stat, algorithm))
    if known is not None:
        return known
    digest = partial(_whole_digest, rc, reader, algorithm)
    return await runner.hash(digest, on_cancel=partial(_stop, rc))


def _stop(rc: RequestContext) -> None:
    rc.progress.cancelled = True


def _known(rc: RequestContext, stat: Stat, algorithm: str) -> bytes | None:
    key = rc.services.storage.locate(rc.path).key
    return stored_digests(rc.services.state.properties(key), stat).get(algorithm)


def _whole_digest(rc: RequestContext, reader: Reader, algorithm: str) -> bytes:
    digest = _compute(rc, reader, algorithm, 0, reader.stat.size)
    _keep(rc, reader.stat, {algorithm: digest})
    return digest


def _compute(rc: RequestContext, reader: Reader, algorithm: str, offset: int, length: int) -> bytes:
    hasher = Hasher((algorithm,))
    end = offset + length
    while offset < end and not rc.progress.cancelled:
        chunk = reader.read_at(offset, min(_CHUNK, end - offset))
        if not chunk:
            raise InternalError("the file got shorter while it was read")
        hasher.update(chunk)
        offset += len(chunk)
    return hasher.digests()[algorithm]


def _keep(rc: RequestContext, stat: Stat, digests: Digests) -> None:
    """Only while that version stands there still: a program beside the server may have written
    into the file while it was read."""
    if rc.progress.cancelled:
        return
    storage = rc.services.storage
    try:
        key = storage.locate(rc.path).key
        with rc.services.state.hold([key], wait_s=0.0) as view:
            found = storage.locate(rc.path)
            if found.key == key and found.stat is not None and found.stat.etag == stat.etag:
                keep_digests(view, key, stat, digests)
    except (StateError, StorageError) as error:
        logger.debug("digests are not kept: %s", error)
