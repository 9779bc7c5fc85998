"""`.davserver/jobs`: what goes on when its request is answered (RFC 7240 section 4.1).

    GET    jobs              the asker's jobs, the newest first
    GET    jobs/ID           how far one is, and how it ended; as it comes, for who accepts
                             text/event-stream
    GET    jobs/ID/result    the answer that the request would have had; 202 until it is there
    DELETE jobs/ID           ends one (202), or forgets one that has ended (204)

A job is there for who started it alone. Who is not signed in is nobody in particular: there the id
is what one has to know, and nothing is listed.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from itertools import count
from typing import Any

from davserver.context import Header, RequestContext, Response, Services
from davserver.errors import NotFound
from davserver.jobends import is_dead, settle
from davserver.jobs import href_of
from davserver.protocol.jsonface import as_json, encode_refusal
from davserver.service._events import is_stream_wanted, stream
from davserver.service.base import Perform, Route
from davserver.state.jobs import Job, JobState, JobStore

_JSON: Header = (b"content-type", b"application/json")
_FRESH: Header = (b"cache-control", b"no-store")
_SHOWN = 65_536
"""Bytes of an answer that are told with the job itself."""
_VARY: Header = (b"vary", b"Accept")
_AGAIN: Header = (b"retry-after", b"1")


async def get(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """Raises NotFound for what is not the asker's."""
    if not rest:
        listed = await rc.services.runner.hop(partial(_jobs_of, rc))
        return _told(200, {"jobs": [describe(rc, job) for job in listed]})
    id, *more = rest
    job = await rc.services.runner.hop(partial(find, rc, id))
    if more == ["result"]:
        return await _result(rc, job) if job.state.is_ended else _pending(rc, job)
    if more:
        raise NotFound("a job has a result and nothing else")
    if rc.method == "GET" and is_stream_wanted(rc):
        return stream(rc, partial(_look, rc, id))
    return _told(200, await rc.services.runner.hop(partial(_describe_whole, rc, job)), _VARY)


async def _look(rc: RequestContext, id: str) -> tuple[bool, bytes] | None:
    """Returns whether a job has ended, and what is told of it; None once it is forgotten."""

    def look() -> tuple[bool, bytes]:
        job = find(rc, id)
        return job.state.is_ended, json.dumps(_describe_whole(rc, job)).encode()

    try:
        return await rc.services.runner.hop(look)
    except NotFound:
        return None


async def delete(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """202 when the job is going to end, 204 when it is forgotten."""
    if len(rest) != 1:
        raise NotFound("only a job can be ended")
    job = await rc.services.runner.hop(partial(find, rc, rest[0]))
    if job.state.is_ended:
        await rc.services.runner.hop(partial(rc.services.jobs.forget, job.id))
        return Response(204)
    await rc.services.runner.hop(partial(rc.services.jobs.cancel, job.id))
    return _pending(rc, await rc.services.runner.hop(partial(find, rc, rest[0])))


def find(rc: RequestContext, id: str) -> Job:
    """Returns a job as it stands now. Blocks. Raises NotFound, StateError, StorageError."""
    services = rc.services
    job = services.jobs.get(id)
    if job is None or job.principal != rc.principal.name:
        raise NotFound("no such job")
    if is_dead(services, job):
        settle(services, job, JobState.FAILED)
        return services.jobs.get(id) or job
    return job


def _jobs_of(rc: RequestContext) -> list[Job]:
    if not rc.principal.name:
        return []
    found = rc.services.jobs.of(rc.principal.name)
    return [find(rc, job.id) if is_dead(rc.services, job) else job for job in found]


def _describe_whole(rc: RequestContext, job: Job) -> Mapping[str, object]:
    """Returns what is told of a job, with what its answer says where that is not long. Blocks."""
    told = describe(rc, job)
    jobs = rc.services.jobs
    if job.state.is_ended and 0 < jobs.size(job.id) <= _SHOWN:
        body = b"".join(_pieces(jobs, job.id))
        told["result"] |= {"document": _document(job, body)}
    return told


def _pieces(jobs: JobStore, id: str) -> Iterator[bytes]:
    for number in count():
        data = jobs.piece(id, number)
        if data is None:
            return
        yield data


def _document(job: Job, body: bytes) -> object:
    """Returns the body of an answer in JSON: that of the one model for what is told in XML."""
    assert job.status is not None
    kind = dict(job.headers).get(b"content-type", b"").partition(b";")[0]
    if kind == b"application/json":
        return json.loads(body)
    if kind == b"application/xml":
        return json.loads(as_json(body, job.status))
    return json.loads(encode_refusal(job.status, body.decode("utf-8", "replace").strip()))


def describe(rc: RequestContext, job: Job) -> dict[str, Any]:
    """Returns what is told of a job."""
    return {
        "id": job.id,
        "href": href_of(rc, job.id).decode(),
        "method": job.method,
        "resource": job.href,
        "destination": job.destination,
        "state": job.state.value,
        "cancelling": job.is_cancelled and not job.state.is_ended,
        "progress": {
            "members": job.members,
            "members_total": job.all_members,
            "bytes": job.bytes,
            "bytes_total": job.all_bytes,
        },
        "created": _time(job.created),
        "started": _time(job.started),
        "ended": _time(job.ended),
        "result": _outcome(rc, job) if job.state.is_ended else None,
    }


def _outcome(rc: RequestContext, job: Job) -> Mapping[str, object]:
    return {
        "status": job.status,
        "headers": {name.decode("latin-1"): value.decode("latin-1") for name, value in job.headers},
        "href": href_of(rc, job.id).decode() + "/result",
    }


def _time(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _told(status: int, told: Mapping[str, object], *more: Header) -> Response:
    body = json.dumps(told, indent=1).encode() + b"\n"
    return Response(status, (_JSON, _FRESH, *more), body)


def _pending(rc: RequestContext, job: Job) -> Response:
    return _told(202, describe(rc, job), (b"location", href_of(rc, job.id)), _AGAIN)


async def _result(rc: RequestContext, job: Job) -> Response:
    """The very answer, but for what belongs to the connection that it is sent on."""
    services = rc.services
    assert job.status is not None
    size = await services.runner.hop(partial(services.jobs.size, job.id))
    if not size:
        return Response(job.status, job.headers)
    length = (b"content-length", b"%d" % size)
    return Response(job.status, (*job.headers, length), _body(services, job.id))


async def _body(services: Services, id: str) -> AsyncIterator[bytes]:
    number = 0
    while (data := await services.runner.hop(partial(services.jobs.piece, id, number))) is not None:
        yield data
        number += 1


ROUTES = (Route("jobs", {"GET": get, "DELETE": delete}),)
