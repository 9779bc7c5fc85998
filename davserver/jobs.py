"""Work that goes on when its request is answered: `Prefer: respond-async` (RFC 7240 section 4.1).

A job is a task of the worker that was asked, and a row that every worker reads. Its owner writes
down how far it is, and looks there whether it is to end. When the owner dies, whoever meets the
row first says how the job ended (jobends.py).
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from davserver.aio import spooled_chunks
from davserver.context import Body, RequestContext, Response, SpoolBody, Work
from davserver.errors import DavError, InternalError, StateError, Stopped, StorageError
from davserver.jobends import give_up, prove, settle, tidy
from davserver.progress import Progress
from davserver.protocol.headers import DavHeaders
from davserver.protocol.prefer import Preferences
from davserver.refusing import as_dav_error, error_response
from davserver.state.jobs import Ending, Job, JobState

logger = logging.getLogger(__name__)

LOOK_S = 0.25
"""How often a job's progress is written, and looked whether it is to end."""
LISTENERS = 64
"""Who is told of progress at once, by one worker."""
_ATTEMPTS = 20
_PIECE = 1 << 18
"""Bytes of an answer in one row."""
Keep = Callable[[], AbstractContextManager[None]]


def is_wanted(rc: RequestContext) -> bool:
    """True when the client prefers not to wait for the answer."""
    return rc.background is not None and rc.headers.recall(Preferences.from_headers).is_async


def href_of(rc: RequestContext, id: str) -> bytes:
    """Returns where a job tells of itself."""
    return b"%s/.davserver/jobs/%s" % (rc.base, id.encode())


@dataclass(slots=True, eq=False)
class _Run:
    """A job of this worker.

    Attributes:
        is_awaited: the client waits for the answer itself.
        stop: set when it is to end.
    """

    job: Job
    rc: RequestContext
    work: Work
    is_awaited: bool
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] = field(init=False)
    response: Response | None = None
    was_stopped: bool = False

    @property
    def done(self) -> Job:
        """The row, with the progress as it is now."""
        progress = self.rc.progress
        wanted = progress.all_members, progress.all_bytes
        return replace(
            self.job,
            members=progress.members,
            bytes=progress.bytes,
            all_members=None if wanted[0] is None else max(wanted[0], progress.members),
            all_bytes=None if wanted[1] is None else max(wanted[1], progress.bytes),
        )


class Jobs:
    """The jobs that this worker runs; for its event loop.

    Attributes:
        tasks: those of jobs: a server that has a set of its own waits for them with its requests.
    """

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[None]] = set()
        self._runs: set[_Run] = set()
        self._running = 0
        self._line: deque[asyncio.Future[None]] = deque()
        self._listeners = 0

    def stop(self) -> None:
        """Has all of them end between two members."""
        for run in self._runs:
            run.rc.progress.cancelled = True

    async def end(self) -> None:
        """Ends all of them, and waits until they have."""
        for run in self._runs:
            run.task.cancel()
        if self._runs:
            await asyncio.wait([run.task for run in self._runs])

    def listen(self) -> Callable[[], None] | None:
        if self._listeners >= LISTENERS:
            return None
        self._listeners += 1

        def leave() -> None:
            self._listeners -= 1

        return leave

    async def run(self, rc: RequestContext, work: Work, keep: Keep) -> Response:
        """See Background.run.

        Args:
            keep: keeps the services open as long as it lasts.
        """
        run = await self._enter(rc, work)
        if run is None:
            # RFC 7240 section 2: who is "unable to comply with particular preference tokens [...]
            # MUST ignore those tokens and continue processing".
            return await work(rc)
        kept = ExitStack()
        kept.enter_context(keep())
        self._runs.add(run)
        run.task = asyncio.create_task(self._live(run))
        self.tasks.add(run.task)

        def ended(task: asyncio.Task[None]) -> None:
            self.tasks.discard(task)
            self._runs.discard(run)
            kept.close()

        run.task.add_done_callback(ended)
        if run.is_awaited:
            await asyncio.wait([run.task], timeout=_wait_s(rc))
            run.is_awaited = False
            if run.response is not None:
                await self._forget(run)
                return run.response
        fields = ((b"location", href_of(rc, run.job.id)), (b"preference-applied", b"respond-async"))
        return Response(202, fields)

    async def _forget(self, run: _Run) -> None:
        """The client has its answer: nobody will ask."""
        with suppress(StateError):
            await run.rc.services.runner.hop(partial(run.rc.services.jobs.forget, run.job.id))

    async def _enter(self, rc: RequestContext, work: Work) -> _Run | None:
        """Returns None where there cannot be a job."""
        services = rc.services
        settings = services.settings
        if not settings.jobs_at_once:
            return None
        job = Job(
            id=secrets.token_hex(16),
            principal=rc.principal.name,
            owner=services.state.owner,
            method=rc.method,
            href=_text(rc.href(rc.path, collection=rc.path.slash or bool(rc.is_collection))),
            destination=_destination(rc),
            created=services.clock(),
        )

        def add() -> bool:
            tidy(services)
            return services.jobs.add(job, limit=settings.jobs_per_principal)

        try:
            if not await services.runner.hop(add):
                return None
        except StateError as error:
            logger.warning("no job can be started: %s", error)
            return None
        own = replace(rc, headers=_without_preferences(rc.headers), background=None)
        own.progress = Progress(prove=partial(prove, services, job.id))
        return _Run(job, own, work, is_awaited=bool(_wait_s(rc)))

    async def _live(self, run: _Run) -> None:
        services = run.rc.services
        watch = asyncio.create_task(self._watch(run))
        try:
            await self._perform(run)
        except asyncio.CancelledError:
            # The server ends. A thread that was at work has ended, too.
            with suppress(StateError, StorageError, RuntimeError):
                await services.runner.hop(partial(give_up, services, run.done))
            raise
        except Exception:
            logger.exception("how job %s ended cannot be kept", run.job.id)
            await _settle_after_all(run)
        finally:
            watch.cancel()
            await asyncio.wait([watch])

    async def _watch(self, run: _Run) -> None:
        services = run.rc.services
        while not run.stop.is_set():
            await asyncio.sleep(LOOK_S)
            try:
                is_asked = await services.runner.hop(partial(services.jobs.report, run.done))
            except StateError as error:
                logger.warning("how far job %s is cannot be written: %s", run.job.id, error)
                continue
            if is_asked:
                run.rc.progress.cancelled = True
                run.stop.set()

    async def _perform(self, run: _Run) -> None:
        services = run.rc.services
        if not await self._turn(run):
            await services.runner.hop(partial(settle, services, run.done, JobState.CANCELLED))
            return
        try:
            with suppress(StateError):
                begin = partial(services.jobs.begin, run.job.id, now=services.clock())
                await services.runner.hop(begin)
            response = await _answer(run)
        finally:
            self._leave()
        if run.was_stopped:
            await services.runner.hop(partial(settle, services, run.done, JobState.CANCELLED))
        elif run.is_awaited:
            run.response = response
        else:
            is_good = response.status < 300 and response.status != 207
            await self._end(run, JobState.SUCCEEDED if is_good else JobState.FAILED, response)

    async def _turn(self, run: _Run) -> bool:
        """Waits in line; False when the job was cancelled there."""
        limit = run.rc.services.settings.jobs_at_once
        if self._running < limit and not self._line:
            self._running += 1
            return True
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        stop = asyncio.create_task(run.stop.wait())
        either: list[asyncio.Future[Any]] = [turn, stop]
        try:
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if turn.done():
                return True
            self._line.remove(turn)
            return False
        except BaseException:
            if turn.done():
                self._leave()
            else:
                self._line.remove(turn)
            raise
        finally:
            stop.cancel()

    def _leave(self) -> None:
        """Whose turn is over gives it to the next in line."""
        if self._line:
            self._line.popleft().set_result(None)
        else:
            self._running -= 1

    async def _end(self, run: _Run, state: JobState, response: Response) -> None:
        services, number = run.rc.services, 0
        async for piece in _pieces(response.body):
            await services.runner.hop(partial(services.jobs.keep, run.job.id, number, piece))
            number += 1
        ending = Ending(state, response.status, tuple(response.headers), services.clock())
        await services.runner.hop(partial(services.jobs.end, run.done, ending))
        logger.info("job %s is over: %s, %d", run.job.id, state.value, response.status)


@dataclass(frozen=True, slots=True)
class Bound:
    """Jobs that keep certain services open; see Background."""

    jobs: Jobs
    keep: Keep

    async def run(self, rc: RequestContext, work: Work) -> Response:
        return await self.jobs.run(rc, work, self.keep)

    def listen(self) -> Callable[[], None] | None:
        return self.jobs.listen()


async def _answer(run: _Run) -> Response:
    """Does the work; what it raises becomes an answer."""
    rc = run.rc
    try:
        return await run.work(rc)
    except Stopped as error:
        run.was_stopped = True
        return error_response(rc, error)
    except (DavError, StorageError, StateError) as error:
        return error_response(rc, as_dav_error(rc, error))
    except Exception:
        logger.exception("%s failed", rc.method)
        return error_response(rc, InternalError("internal error"))


async def _settle_after_all(run: _Run) -> None:
    """Its answer is lost; what has come to stand is not."""
    services = run.rc.services
    for _ in range(_ATTEMPTS):
        await asyncio.sleep(LOOK_S)
        try:
            await services.runner.hop(partial(settle, services, run.done, JobState.FAILED))
        except (StateError, StorageError) as error:
            logger.warning("how job %s ended is not known yet: %s", run.job.id, error)
        else:
            return


def _text(href: bytes) -> str:
    return href.decode("ascii")


def _destination(rc: RequestContext) -> str | None:
    if rc.destination is None:
        return None
    return _text(rc.href(rc.destination, collection=rc.destination.slash))


def _without_preferences(headers: DavHeaders) -> DavHeaders:
    """What was preferred has been applied, or is not for an answer that is kept."""
    return DavHeaders([(name, value) for name, value in headers.items if name != b"prefer"])


async def _pieces(body: Body) -> AsyncIterator[bytes]:
    """Yields what is to be kept of an answer: what goes on by itself never answers with a file."""
    if isinstance(body, bytes):
        for start in range(0, len(body), _PIECE):
            yield body[start : start + _PIECE]
    elif isinstance(body, AsyncIterator):
        async for piece in body:
            yield piece
    else:
        assert isinstance(body, SpoolBody), body
        with body.file:
            async for piece in spooled_chunks(body.file, _PIECE):
                yield piece


def _wait_s(rc: RequestContext) -> int | None:
    return rc.headers.recall(Preferences.from_headers).wait_s
