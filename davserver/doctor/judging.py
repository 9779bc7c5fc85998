"""What an answer that was not expected means."""

from __future__ import annotations

from urllib.parse import urljoin, urlsplit

from davserver.doctor.findings import Cause, Finding, broken
from davserver.doctor.messages import Answer
from davserver.doctor.visit import Visit

_LONGEST = 120
_REDIRECTS = (301, 302, 303, 307, 308)
_BY_STATUS = {
    401: Cause.SIGN_IN,
    403: Cause.METHOD,
    405: Cause.METHOD,
    411: Cause.CHUNKED,
    413: Cause.BODY_LIMIT,
    417: Cause.EXPECT,
    501: Cause.METHOD,
    502: Cause.GATEWAY,
    503: Cause.GATEWAY,
    504: Cause.TIMEOUT,
    507: Cause.ROOM,
}


def unexpected(
    visit: Visit,
    check: str,
    method: str,
    answer: Answer,
    *,
    cause: Cause = Cause.SERVER,
    **facts: str,
) -> Finding:
    """Returns the finding for an answer of a status that should not be.

    Args:
        cause: what it is when the status itself does not tell.
    """
    if answer.status in _REDIRECTS:
        return _redirected(visit, check, method, answer)
    found = _BY_STATUS.get(answer.status, cause)
    return broken(check, f"{method}: {said(answer)}", found, **{"method": method} | facts)


def said(answer: Answer) -> str:
    """Returns status and reason, with the server's own words where it gives plain text."""
    kind = (answer.get("content-type") or "").partition(";")[0].strip()
    if kind != "text/plain":
        return str(answer)
    words = " ".join(answer.body[:400].decode("utf-8", "replace").split())
    shown = "".join(char if char.isprintable() else "?" for char in words)[:_LONGEST]
    return f"{answer} ({shown})" if shown else str(answer)


def is_page(answer: Answer) -> bool:
    """An error page for people, as proxies make them: the server's own are plain."""
    return (answer.get("content-type") or "").startswith("text/html")


def _redirected(visit: Visit, check: str, method: str, answer: Answer) -> Finding:
    location = urljoin(visit.url(visit.folder), answer.get("location") or "")
    to = urlsplit(location)
    text = f"{method}: {answer} to {location[:_LONGEST]}"
    if to.scheme == "https" and not visit.address.is_secure:
        return broken(check, text, Cause.REDIRECT_SECURE, location=location)
    if to.path.endswith("/"):
        return broken(check, text, Cause.REDIRECT_SLASH, bare=to.path.rstrip("/"))
    return broken(check, text, Cause.LOGIN_PAGE)
