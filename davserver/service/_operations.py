"""The operations of a batch, each run as the single method that it is, by the pipeline.

All of this is synchronous, for a thread: whoever runs a batch may be a request or a job.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import unquote

from davserver.asgi import Message, Receive
from davserver.atomic.change import all_or_nothing
from davserver.auth.base import Attempt, Authenticator, Principal
from davserver.context import RequestContext, Response, Services, SpoolBody
from davserver.errors import (
    DavError,
    FailedDependency,
    NotFound,
    ServiceUnavailable,
    StateError,
    StorageError,
)
from davserver.inthread import InThread, finished
from davserver.protocol.batch import Operation
from davserver.protocol.batchresults import has_failed
from davserver.protocol.headers import PARSED, DavHeaders
from davserver.protocol.path import DavPath
from davserver.refusing import as_dav_error
from davserver.service.base import Perform

_CARRIED = frozenset({b"host", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-for"})
_CARRIED |= {b"forwarded", b"via", b"user-agent"}
"""Fields of the batch's own request that each operation has, too: where it came to, and how."""
_KEPT = 4 << 20
"""Bytes of what the single methods answer that are told in one batch."""


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one operation: an answer, or the error that was one.

    Attributes:
        body: of the answer; None where it is too long to be kept.
    """

    operation: Operation
    answer: Response | DavError
    body: bytes | None = b""

    @property
    def has_failed(self) -> bool:
        """True when not all was done: a 207 tells of what was not, but for that of PROPPATCH."""
        status = self.answer.status
        if status == 207 and self.operation.op == "proppatch":
            return self.body is None or has_failed(self.body)
        return status == 207 or status >= 300


class SignedIn:
    """An Authenticator for who was asked already, with the request that the batch came in."""

    def __init__(self, principal: Principal, inner: Authenticator) -> None:
        self._principal = principal
        self._inner = inner

    def challenges(self, *, secure: bool) -> Sequence[bytes]:
        return self._inner.challenges(secure=secure)

    def recall(self, attempt: Attempt) -> Principal | None:
        return self._principal

    def authenticate(self, attempt: Attempt) -> Principal | None:
        return self._principal

    def close(self) -> None:
        """The other one stays open."""


def services_within(rc: RequestContext) -> Services:
    """Returns the services for the operations of a batch that runs in a thread."""
    services = rc.services
    return replace(
        services,
        authenticator=SignedIn(rc.principal, services.authenticator),
        runner=InThread(services.runner),
    )


def run_each(rc: RequestContext, operations: Sequence[Operation], perform: Perform) -> list[Result]:
    """Runs operations in order, whatever comes of each. Once it is cancelled the rest is 503."""
    services = services_within(rc)
    results = []
    left = _KEPT
    for operation in operations:
        if rc.progress.cancelled:
            results.append(Result(operation, ServiceUnavailable("the batch was stopped before")))
            continue
        result = run_one(rc, operation, services, perform)
        left -= len(result.body or b"")
        results.append(replace(result, body=None) if left < 0 else result)
    return results


def run_all(
    rc: RequestContext, operations: Sequence[Operation], perform: Perform
) -> tuple[bool, list[Result]]:
    """Runs operations as one change. Returns whether it stands, and what came of each: when one
    fails it is the cause, the others are 424, and nothing is changed.

    Raises StateError, StorageError, and ServiceUnavailable (503) when it is cancelled: then nothing
    is changed either."""
    results: list[Result] = []
    try:
        wait_s = rc.services.settings.gate_wait_s
        with all_or_nothing(services_within(rc), wait_s=wait_s) as services:
            for operation in operations:
                if rc.progress.cancelled:
                    raise ServiceUnavailable("the batch was stopped, and nothing is done")
                results.append(run_one(rc, operation, services, perform))
                if results[-1].has_failed:
                    raise _Failed
    except _Failed:
        undone = FailedDependency("another operation of the batch failed")
        told = [Result(operation, undone) for operation in operations]
        told[len(results) - 1] = results[-1]
        return False, told
    return True, results


class _Failed(Exception):
    """An operation did."""


def run_one(
    rc: RequestContext, operation: Operation, services: Services, perform: Perform
) -> Result:
    """Runs one operation by the pipeline, with every check of its method."""
    inner = _context(rc, operation, services)
    try:
        _refuse_reserved(rc, operation)
        response = finished(perform(inner))
        return Result(operation, response, _whole(response))
    except (DavError, StorageError, StateError) as error:
        return Result(operation, as_dav_error(inner, error))


def _context(rc: RequestContext, operation: Operation, services: Services) -> RequestContext:
    carried = [field for field in rc.headers.items if field[0] in _CARRIED]
    headers = DavHeaders([*carried, *operation.fields])
    scope = dict(rc.scope)
    scope.pop(PARSED, None)
    scope |= {
        "method": operation.method,
        "path": unquote(operation.href.decode("ascii")),
        "raw_path": operation.href,
        "query_string": b"",
        "headers": headers.items,
    }
    return RequestContext(
        services=services,
        scope=scope,
        receive=_receiving(operation.body),
        method=operation.method,
        path=DavPath(()),
        headers=headers,
        now=services.clock(),
        progress=rc.progress,
    )


def _receiving(body: bytes) -> Receive:
    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


def _refuse_reserved(rc: RequestContext, operation: Operation) -> None:
    """Service routes are none for a batch: what they do could not be undone with it."""
    below = DavPath.from_raw(operation.href).below(rc.prefix)
    if below is not None and below.is_reserved:
        raise NotFound("a reserved name")


def _whole(response: Response) -> bytes | None:
    """Returns the body of an answer to a method that changes something: a multistatus at most."""
    body = response.body
    if isinstance(body, SpoolBody):
        body.file.close()
        return None
    assert isinstance(body, bytes)
    return body
