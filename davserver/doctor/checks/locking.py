"""LOCK, refresh, If and UNLOCK, as Office, Finder and davfs2 use them."""

from __future__ import annotations

import re
from collections.abc import Iterator

from davserver.doctor.findings import Cause, Finding, broken, note, ok
from davserver.doctor.judging import said, unexpected
from davserver.doctor.messages import Answer
from davserver.doctor.visit import LOCK_S, Visit

_LOCK = (
    b'<?xml version="1.0" encoding="utf-8"?><D:lockinfo xmlns:D="DAV:"><D:lockscope>'
    b"<D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype>"
    b"<D:owner>davserver check-url</D:owner></D:lockinfo>"
)
_TOKEN = re.compile(r"locktoken>\s*<(?:\w+:)?href>\s*([^<\s]+)")
_SECONDS = re.compile(rb"[Ss]econd-(\d+)")


def check_locks(visit: Visit) -> Iterator[Finding]:
    if not visit.has_locks:
        yield note("LOCK", "locks are not offered")
        return
    path = visit.path("locked.txt")
    visit.ask("PUT", path, body=b"before")
    token, finding = _lock(visit, path, 200)
    if token is None:
        yield finding
        return
    yield finding
    outsider = visit.ask("PUT", path, body=b"outsider")
    if outsider.status != 423:
        text = f"a PUT without the token is answered with {outsider}: locks protect nothing"
        yield broken("locks", text, Cause.SERVER)
        return
    holder = _use(visit, path, token)
    yield holder if holder is not None else ok("If", "the holder writes, by token and by URL")
    yield from _refresh(visit, path, token)
    yield from _unlock(visit, path, token)


def _lock(visit: Visit, path: str, expected: int) -> tuple[str | None, Finding]:
    headers = [("Depth", "0"), ("Timeout", f"Second-{LOCK_S}"), ("Content-Type", "text/xml")]
    answer = visit.ask("LOCK", path, headers, body=_LOCK)
    token = _token(answer)
    for held in {token, *_TOKEN.findall(answer.body.decode("utf-8", "replace"))} - {None, ""}:
        visit.locks[str(held)] = path
    if answer.status != expected:
        return None, unexpected(visit, "LOCK", "LOCK", answer)
    if token is None:
        text = "no Lock-Token in the answer: clients cannot use the lock"
        return None, broken("LOCK", text, Cause.HEADER, header="Lock-Token")
    lasts_s = _timeout(answer)
    if lasts_s is not None and lasts_s > 2 * LOCK_S:
        text = f"asked for {LOCK_S} s, a lock of {lasts_s} s was given: Timeout is lost"
        return token, broken("LOCK", text, Cause.HEADER, header="Timeout")
    return token, ok("LOCK", said(answer))


def _token(answer: Answer) -> str | None:
    value = answer.get("lock-token") if answer.status in (200, 201) else None
    return None if value is None else value.strip().strip("<>") or None


def _timeout(answer: Answer) -> int | None:
    found = _SECONDS.search(answer.body)
    return None if found is None else int(found[1])


def _use(visit: Visit, path: str, token: str) -> Finding | None:
    """The holder writes with the token alone, and with the URL as clients write it."""
    untagged = visit.ask("PUT", path, [("If", f"(<{token}>)")], body=b"holder")
    if untagged.status == 423:
        text = "a PUT with the token in If is refused (423): If is lost on the way"
        return broken("If", text, Cause.HEADER, header="If")
    if untagged.status not in (200, 204):
        return unexpected(visit, "If", "PUT", untagged)
    condition = f"<{visit.url(path)}> (<{token}>)"
    tagged = visit.ask("PUT", path, [("If", condition)], body=b"holder")
    if tagged.status in (412, 423):
        text = f"a PUT with If: <{visit.url('/...')}> is refused ({tagged.status})"
        return broken("If", text, Cause.AUTHORITY)
    if tagged.status not in (200, 204):
        return unexpected(visit, "If", "PUT", tagged)
    return None


def _refresh(visit: Visit, path: str, token: str) -> Iterator[Finding]:
    headers = [("If", f"(<{token}>)"), ("Timeout", f"Second-{LOCK_S}")]
    answer = visit.ask("LOCK", path, headers)
    if answer.status in (400, 412, 423):
        text = f"LOCK without a body: {said(answer)}: If is lost, or a body was added"
        yield broken("refresh", text, Cause.HEADER, header="If")
    elif answer.status != 200:
        yield unexpected(visit, "refresh", "LOCK", answer)
    else:
        yield ok("refresh", said(answer))


def _unlock(visit: Visit, path: str, token: str) -> Iterator[Finding]:
    answer = visit.ask("UNLOCK", path, [("Lock-Token", f"<{token}>")])
    if answer.status == 400:
        text = f"UNLOCK: {said(answer)}: Lock-Token is lost on the way"
        yield broken("UNLOCK", text, Cause.HEADER, header="Lock-Token")
        return
    if answer.status != 204:
        yield unexpected(visit, "UNLOCK", "UNLOCK", answer)
        return
    visit.locks.pop(token, None)
    yield ok("UNLOCK", said(answer))
