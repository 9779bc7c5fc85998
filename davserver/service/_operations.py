"""The operations of a batch, each run as the single method that it is, by the pipeline.

All of this is synchronous, for a thread: whoever runs a batch may be a request or a job.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from time import monotonic

from davserver.atomic.change import all_or_nothing
from davserver.context import RequestContext, Services, SpoolBody
from davserver.errors import (
    DavError,
    FailedDependency,
    NotFound,
    ServiceUnavailable,
    StateError,
    Stopped,
    StorageError,
)
from davserver.inthread import InThread, finished
from davserver.progress import PartialProgress
from davserver.protocol.batch import Operation
from davserver.protocol.batchresults import Json, document_of, has_failed, result_of
from davserver.protocol.path import DavPath
from davserver.refusing import as_dav_error, error_json, error_response
from davserver.service._inner import SignedIn, inner_request
from davserver.service.base import Perform
from davserver.state.base import GateView

_KEPT = 1 << 20
"""Bytes of what the single methods answer that are told in one batch."""
_TOO_LONG: Json = {"description": "what it has to say is too long to be told here"}


def services_within(rc: RequestContext) -> Services:
    """Returns the services for the operations of a batch that runs in a thread."""
    services = rc.services
    return replace(
        services,
        authenticator=SignedIn(rc.principal, services.authenticator),
        runner=InThread(services.runner),
    )


def run_each(rc: RequestContext, operations: Sequence[Operation], perform: Perform) -> list[Json]:
    """Runs operations in order, whatever comes of each. Once it is cancelled the rest is 503."""
    services = services_within(rc)
    room = _Room()
    return [
        _refused(rc, operation, ServiceUnavailable("the batch was stopped before"))
        if rc.progress.cancelled
        else _run(rc, operation, services, perform, room)[0]
        for operation in operations
    ]


def run_all(
    rc: RequestContext,
    operations: Sequence[Operation],
    perform: Perform,
    finish: Callable[[GateView, list[Json]], None],
) -> tuple[bool, list[Json]]:
    """Runs operations as one change. Returns whether it stands, and what came of each: when one
    fails it is the cause, the others are 424, and nothing is changed.

    Args:
        finish: called last, with what came of each, for what is to be committed with it.

    Raises StateError, StorageError, Stopped (503) when it is cancelled, and ServiceUnavailable
    (503) when it keeps others waiting for too long: then nothing is changed either."""
    results: list[Json] = []
    inner = services_within(rc)
    _visit_homes(rc, operations, inner, perform)
    wait_s = rc.services.settings.gate_wait_s
    try:
        with all_or_nothing(inner, wait_s=wait_s, finish=lambda v: finish(v, results)) as services:
            _run_in_order(rc, operations, services, perform, results)
    except _Failed:
        undone = FailedDependency("another operation of the batch failed")
        told = [_refused(rc, operation, undone) for operation in operations]
        told[len(results) - 1] = results[-1]
        return False, told
    return True, results


def _run_in_order(
    rc: RequestContext,
    operations: Sequence[Operation],
    services: Services,
    perform: Perform,
    results: list[Json],
) -> None:
    """Adds what came of each to the results. Raises _Failed after the first that fails."""
    limit_s = rc.services.settings.batch_hold_s
    ends_at = monotonic() + limit_s

    def is_over() -> bool:
        return monotonic() > ends_at

    limited = replace(rc, progress=PartialProgress(rc.progress, is_over))
    room = _Room()
    for operation in operations:
        result, is_failed = _run(limited, operation, services, perform, room)
        results.append(result)
        if rc.progress.cancelled:
            raise Stopped("the batch was stopped, and nothing is done")
        if is_over() and (is_failed or len(results) < len(operations)):
            raise ServiceUnavailable(f"it takes more than {limit_s:g} seconds, and is undone")
        if is_failed:
            raise _Failed


def _visit_homes(
    rc: RequestContext, operations: Sequence[Operation], services: Services, perform: Perform
) -> None:
    """A home is made at its first use, and is there to stay, whatever becomes of the batch."""
    for share in services.settings.share if rc.principal.name else ():
        top = rc.href(DavPath((share.name,)), collection=True)
        if share.homes and any(operation.href.startswith(top) for operation in operations):
            home = rc.href(DavPath((share.name, rc.principal.name)), collection=True)
            _run(rc, Operation("options", home, ()), services, perform, _Room())


class _Failed(Exception):
    """An operation did."""


class _Room:
    """What the answers of single methods may fill in that of a batch."""

    def __init__(self) -> None:
        self._left = _KEPT

    def take(self, size: int) -> bool:
        if size > self._left:
            return False
        self._left -= size
        return True


def _run(
    rc: RequestContext,
    operation: Operation,
    services: Services,
    perform: Perform,
    room: _Room,
) -> tuple[Json, bool]:
    """Runs one operation by the pipeline, with every check of its method. Returns what came of it,
    and whether it failed."""
    inner = request_within(rc, operation, services)
    try:
        _refuse_reserved(rc, operation)
        response = finished(perform(inner))
    except (DavError, StorageError, StateError) as error:
        return _refused(inner, operation, as_dav_error(inner, error)), True
    finally:
        rc.progress.did()
    result = result_of(operation.op, operation.href, response.status, response.headers)
    body = response.body
    if isinstance(body, SpoolBody):
        body.file.close()
        return result | _TOO_LONG, True
    assert isinstance(body, bytes)
    told = document_of(body, response.status) if body else {}
    is_failed = has_failed(result | told)
    return result | (told if room.take(len(body)) else _TOO_LONG), is_failed


def _refused(rc: RequestContext, operation: Operation, error: DavError) -> Json:
    answer = error_response(rc, error)
    result = result_of(operation.op, operation.href, answer.status, answer.headers)
    told: Json = json.loads(error_json(error))
    return result | told


def request_within(rc: RequestContext, operation: Operation, services: Services) -> RequestContext:
    """Returns the request that an operation is, from who sent that of `rc`, by the same way."""
    inner = inner_request(rc, operation.method, operation.href, operation.fields, operation.body)
    return replace(inner, services=services, progress=PartialProgress(rc.progress))


def _refuse_reserved(rc: RequestContext, operation: Operation) -> None:
    """Service routes are none for a batch: what they do could not be undone with it."""
    below = DavPath.from_raw(operation.href).below(rc.prefix)
    if below is not None and below.is_reserved:
        raise NotFound("a reserved name")
