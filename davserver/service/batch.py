"""POST `.davserver/batch`: many operations in one request, as JSON.

Each is run as the single method that it is, with its conditions, rights, locks and limits. 207
tells what came of each; 200 that an atomic batch stands.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from davserver.aio import read_body
from davserver.context import RequestContext, Response
from davserver.errors import NotFound, UnsupportedMediaType
from davserver.jobs import is_wanted
from davserver.protocol.batch import Batch, parse_batch
from davserver.protocol.batchresults import Json, dump
from davserver.protocol.idempotency import parse_key
from davserver.service._operations import run_all, run_each
from davserver.service._repeating import Keep, run_once
from davserver.service.base import Perform, Route
from davserver.state.base import GateView

_KEPT_LONGER = 1 << 20
"""Bytes: a batch of more is not run when its request is answered, for it would stay in memory."""
_JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


async def handle_batch(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """Raises 415 for what is no JSON, 400 for a malformed batch and 413 or 422 for one that is
    too large: then nothing ran."""
    if rest:
        raise NotFound("a reserved name")
    key = parse_key(rc.headers)
    with rc.services.runner.bodies.lease() as take:
        batch, body = await _read(rc, take)
        sent = _Sent(batch, key, hashlib.sha256(body).digest())
        work = partial(_work, sent, perform)
        if rc.background is not None and is_wanted(rc) and len(body) <= _KEPT_LONGER:
            return await rc.background.run(rc, work)
        return await work(rc)


@dataclass(frozen=True, slots=True)
class _Sent:
    """A batch as it came: with its Idempotency-Key, and the digest of its body."""

    batch: Batch
    key: str | None
    digest: bytes


async def _work(sent: _Sent, perform: Perform, rc: RequestContext) -> Response:
    def stop() -> None:
        rc.progress.cancelled = True

    run = partial(_run_sent, rc, sent, perform)
    return await rc.services.runner.hop(run, tree=True, on_cancel=stop)


def _run_sent(rc: RequestContext, sent: _Sent, perform: Perform) -> Response:
    key = sent.key
    if key is None and sent.batch.is_atomic and rc.progress.prove is not None:
        # That it stands is shown by the answer that is kept with it. No client has this key.
        key = f"\0{secrets.token_hex(16)}"
    if key is None:
        return run_batch(rc, sent.batch, perform)
    return run_once(rc, key, sent.digest, _JSON, partial(run_batch, rc, sent.batch, perform))


def run_batch(
    rc: RequestContext, batch: Batch, perform: Perform, keep: Keep | None = None
) -> Response:
    """Runs a batch, in a thread: that of a request, or of a job. Between two operations it is
    looked whether `rc.progress` is cancelled.

    Args:
        keep: keeps the answer with an atomic batch that stands.
    """
    if rc.progress.is_watched:
        rc.progress.expect(len(batch.operations), 0)
    if not batch.is_atomic:
        return _answer(207, run_each(rc, batch.operations, perform), is_atomic=False)

    def finish(view: GateView, results: list[Json]) -> None:
        done.append(_answer(200, results, is_atomic=True))
        if keep is not None:
            keep(view, done[-1])

    done: list[Response] = []
    stands, results = run_all(rc, batch.operations, perform, finish)
    return done[-1] if stands else _answer(207, results, is_atomic=True)


async def _read(rc: RequestContext, take: Callable[[int], bool]) -> tuple[Batch, bytes]:
    settings = rc.services.settings
    kind = (rc.headers.get(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/json":
        # What a form on any page can send is none.
        raise UnsupportedMediaType(f"a batch is application/json, not {kind!r}")
    coding = rc.headers.joined(b"content-encoding")
    if coding is not None and coding.lower() not in (b"", b"identity"):
        raise UnsupportedMediaType(
            f"content coding {coding!r} is not understood",
            headers=((b"accept-encoding", b"identity"),),
        )
    rc.asked_for_body = True
    body = await read_body(rc.receive, settings.batch_body_limit, take)
    parse = partial(
        parse_batch,
        body,
        operations=settings.batch_operations,
        content=settings.batch_content_limit,
    )
    return await rc.services.runner.hop(parse), body


def _answer(status: int, results: list[Json], *, is_atomic: bool) -> Response:
    return Response(status, _JSON, dump({"atomic": is_atomic, "results": results}))


ROUTES = (Route("batch", {"POST": handle_batch}),)
