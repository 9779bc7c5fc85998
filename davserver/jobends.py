"""How jobs end that nobody is at any more: their worker has died, or was told to stop.

Before a change is made that the journal may roll forward, the job's row gets a proof: what will
stand where, or be gone, once it is made. Whoever meets the row later has the journal settled first
and then looks.
"""

from __future__ import annotations

import json
import logging

from davserver.context import Services
from davserver.errors import StateError, StorageError
from davserver.progress import Proof
from davserver.protocol.path import DavPath
from davserver.recovery import recover
from davserver.state.jobs import Ending, Job, JobState

logger = logging.getLogger(__name__)

_TEXT = ((b"content-type", b"text/plain; charset=utf-8"), (b"x-content-type-options", b"nosniff"))
_CANCELLED = b"cancelled before it was complete\n"
_STOPPED = b"the server stopped before it was complete\n"


def prove(services: Services, id: str, proof: Proof) -> None:
    """Inside the gate. When it cannot be written, and the worker dies, nobody knows: that is no
    reason not to go on."""
    stands = None
    if proof.stands is not None:
        path, identity = proof.stands
        stands = [path.segments, identity]
    gone = None if proof.gone is None else proof.gone.segments
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in proof.headers]
    told = [proof.status, headers, stands, gone, proof.answer]
    try:
        services.jobs.prove(id, json.dumps(told))
    except StateError as error:
        logger.warning("job %s goes on without a proof: %s", id, error)


def _read_proof(text: str) -> Proof:
    status, headers, stands, gone, answer = json.loads(text)
    return Proof(
        status,
        tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers),
        None if stands is None else (DavPath(tuple(stands[0])), tuple(stands[1])),
        None if gone is None else DavPath(tuple(gone)),
        None if answer is None else (answer[0], answer[1]),
    )


def _is_shown(services: Services, proof: Proof) -> bool:
    """Raises StorageError."""
    if proof.gone is not None and services.storage.locate(proof.gone).stat is not None:
        return False
    if proof.stands is None:
        return True
    path, identity = proof.stands
    there = services.storage.locate(path).stat
    return there is not None and there.identity == identity


def _kept(services: Services, proof: Proof) -> bytes | None:
    """Returns the body of the answer, None when it was not kept. Enters the gate."""
    if proof.answer is None:
        return b""
    principal, key = proof.answer
    with services.state.hold((), wait_s=services.settings.gate_wait_s) as view:
        found = view.answers.find(principal, key, now=services.clock())
    return None if found is None or found.status is None else found.body


def settle(services: Services, job: Job, otherwise: JobState) -> None:
    """Says how a job ended that nobody is at any more: as its proof shows, or `otherwise`. Enters
    the gate. Raises StateError, StorageError."""
    if services.state.has_changes():
        recover(services, wait_s=services.settings.gate_wait_s)
    fresh = services.jobs.get(job.id)
    if fresh is None or fresh.state.is_ended:
        return
    services.jobs.drop(job.id)
    now = services.clock()
    proof = None if fresh.proof is None else _read_proof(fresh.proof)
    body = None if proof is None else _kept(services, proof)
    if proof is not None and body is not None and _is_shown(services, proof):
        if body:
            services.jobs.keep(job.id, 0, body)
        ending = Ending(JobState.SUCCEEDED, proof.status, tuple(proof.headers), now)
    else:
        why = _CANCELLED if otherwise is JobState.CANCELLED else _STOPPED
        services.jobs.keep(job.id, 0, why)
        ending = Ending(otherwise, 503, _TEXT, now)
    services.jobs.end(job, ending)
    logger.info("job %s is over: %s, %d", job.id, ending.state.value, ending.status)


def give_up(services: Services, job: Job) -> None:
    """At the end of the server. What was about to be done then is looked at by the next one."""
    found = services.jobs.get(job.id)
    if found is not None and found.proof is None:
        settle(services, job, JobState.FAILED)


def is_dead(services: Services, job: Job) -> bool:
    """True when a job has not ended and nobody is at it."""
    return not job.state.is_ended and not services.state.is_alive(job.owner)


def tidy(services: Services) -> None:
    """Forgets what has been kept long enough, and settles what dead workers have left. Raises
    StateError."""
    services.jobs.forget_ended(before=services.clock() - services.settings.jobs_kept_s)
    for job in services.jobs.unfinished():
        if is_dead(services, job):
            try:
                settle(services, job, JobState.FAILED)
            except (StateError, StorageError) as error:
                logger.warning("how job %s ended is not known yet: %s", job.id, error)
