"""A request with a key is run once: sent again, it is answered again.

The key is claimed before anything is done, and the answer is kept: with the change itself where
that is one, so that whoever dies when, there are both or neither.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from davserver.context import Header, RequestContext, Response
from davserver.errors import Conflict, StateError, UnprocessableContent
from davserver.progress import Proof
from davserver.state.base import Answer, GateView

logger = logging.getLogger(__name__)

Keep = Callable[[GateView, Response], None]
"""Keeps an answer, with what the transaction holds."""
_MOST = 1_000
"""Answers that are kept for one principal."""


def run_once(
    rc: RequestContext,
    key: str,
    digest: bytes,
    headers: tuple[Header, ...],
    work: Callable[[Keep], Response],
) -> Response:
    """Returns the answer that is kept for the key of this principal, or that of `work`, in a
    thread. `work` may keep it by itself; what is raised is not kept.

    Args:
        digest: of what was sent.
        headers: of each answer.

    Raises UnprocessableContent (422) for a key that came with something else, Conflict (409) while
    the other one is being run, StateError, and what `work` does.
    """
    state, settings = rc.services.state, rc.services.settings
    is_kept = False
    with state.another_owner() as owner:
        until = rc.services.clock() + settings.batch_key_s
        claim = Answer(rc.principal.name, key, digest, owner, until)
        found = _claim(rc, claim)
        if found is not None and found.status is not None:
            return Response(found.status, headers, found.body)

        def keep(view: GateView, response: Response) -> None:
            nonlocal is_kept
            assert isinstance(response.body, bytes)
            view.answers.keep(replace(claim, status=response.status, body=response.body))
            is_kept = True
            if rc.progress.prove is not None:
                answer = claim.principal, claim.key
                rc.progress.prove(Proof(response.status, headers, answer=answer))

        try:
            response = work(keep)
        except BaseException:
            _settle(rc, claim, None, keep)
            raise
        if not is_kept:
            _settle(rc, claim, response, keep)
        return response


def _claim(rc: RequestContext, claim: Answer) -> Answer | None:
    """Returns what is kept for the key; None when it is ours now."""
    state = rc.services.state
    with state.hold((), wait_s=rc.services.settings.gate_wait_s) as view:
        now = rc.services.clock()
        found = view.answers.find(claim.principal, claim.key, now=now)
        if found is not None:
            if found.digest != claim.digest:
                raise UnprocessableContent("this Idempotency-Key came with another body")
            if found.status is not None:
                return found
            if state.is_alive(found.owner):
                retry = ((b"retry-after", b"1"),)
                raise Conflict("a batch with this Idempotency-Key is under way", headers=retry)
        view.answers.tidy(claim.principal, now=now, most=_MOST - 1)
        view.answers.keep(claim)
    return None


def _settle(rc: RequestContext, claim: Answer, response: Response | None, keep: Keep) -> None:
    """Keeps the answer, or gives up the key where there is none worth it. What cannot be written is
    known to be nobody's once the claim's owner is gone."""
    try:
        with rc.services.state.hold((), wait_s=rc.services.settings.gate_wait_s) as view:
            if response is not None:
                keep(view, response)
            else:
                view.answers.remove(claim.principal, claim.key)
    except StateError as error:
        logger.warning("the answer to a batch is not kept: %s", error)
