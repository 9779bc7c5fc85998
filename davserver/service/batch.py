"""POST `.davserver/batch`: many operations in one request, as JSON.

Each is run as the single method that it is, with its conditions, rights, locks and limits. 207
tells what came of each; 200 that an atomic batch stands.
"""

from __future__ import annotations

from functools import partial

from davserver.aio import read_body
from davserver.context import RequestContext, Response
from davserver.errors import NotFound, UnsupportedMediaType
from davserver.protocol.batch import Batch, parse_batch
from davserver.protocol.batchresults import Json, dump
from davserver.service._operations import run_all, run_each
from davserver.service.base import Perform, Route

_JSON = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))


async def handle_batch(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """Raises 415 for what is no JSON, 400 for a malformed batch and 413 or 422 for one that is
    too large: then nothing ran."""
    if rest:
        raise NotFound("a reserved name")
    batch = await _read(rc)

    def stop() -> None:
        rc.progress.cancelled = True

    run = partial(run_batch, rc, batch, perform)
    return await rc.services.runner.hop(run, tree=True, on_cancel=stop)


def run_batch(rc: RequestContext, batch: Batch, perform: Perform) -> Response:
    """Runs a batch, in a thread: here of a request, or of whoever has one to run. Between two
    operations it is looked whether `rc.progress` is cancelled."""
    if not batch.is_atomic:
        return _answer(207, run_each(rc, batch.operations, perform), is_atomic=False)
    stands, results = run_all(rc, batch.operations, perform)
    return _answer(200 if stands else 207, results, is_atomic=True)


async def _read(rc: RequestContext) -> Batch:
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
    runner = rc.services.runner
    with runner.bodies.lease() as take:
        body = await read_body(rc.receive, settings.batch_body_limit, take)
        parse = partial(
            parse_batch,
            body,
            operations=settings.batch_operations,
            content=settings.batch_content_limit,
        )
        return await runner.hop(parse)


def _answer(status: int, results: list[Json], *, is_atomic: bool) -> Response:
    return Response(status, _JSON, dump({"atomic": is_atomic, "results": results}))


ROUTES = (Route("batch", {"POST": handle_batch}),)
