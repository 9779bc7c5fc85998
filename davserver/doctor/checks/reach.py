"""The first contact: redirects, sign-in, what OPTIONS offers, the clock, the folder to work in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from ssl import SSLContext
from urllib.parse import urljoin

from davserver.doctor.address import Address, UnusableUrl, parent, parse_address
from davserver.doctor.findings import Cause, Finding, broken, note, ok, warning
from davserver.doctor.judging import said, unexpected
from davserver.doctor.messages import Answer, Request
from davserver.doctor.proxies import recognise
from davserver.doctor.visit import Visit, challenges

SKEW_S = 60
_HOPS = 4


class CannotExamine(Exception):
    """Not reached, or not signed in. The message is one line."""


def check_sign_in(
    visit: Visit, trust_for: Callable[[Address], SSLContext | None]
) -> Iterator[Finding]:
    """Gets in. Raises CannotExamine, Unreachable, BrokenAnswer.

    Args:
        trust_for: makes what https needs, for an address that was redirected to.
    """
    sign_in, visit.sign_in = visit.sign_in, None
    for _ in range(_HOPS):
        answer = _knock(visit)
        if answer.status not in (301, 302, 303, 307, 308):
            break
        yield unexpected(visit, "sign-in", "PROPFIND", answer)
        _follow(visit, answer, trust_for)
    visit.sign_in = sign_in
    if answer.status == 403 and visit.address.is_secure and b"https" in answer.body:
        # davserver gives no chance to send a password over what it takes for plain http.
        yield broken("sign-in", f"PROPFIND: {said(answer)}", Cause.SCHEME_UNKNOWN)
    if answer.status == 401:
        yield from _sign_in(visit, answer)
        answer = _knock(visit)
    elif answer.status < 300:
        yield ok("sign-in", "nobody needs to sign in to read")
    _require_in(visit, answer)
    yield from _about_transport(visit)


def _knock(visit: Visit) -> Answer:
    answer = visit.ask("PROPFIND", visit.address.path, [("Depth", "0")])
    if answer.status in (405, 501):
        # That is a finding of its own, later; who asks for sign-in does so for GET too.
        answer = visit.ask("HEAD", visit.address.path)
    return answer


def _follow(
    visit: Visit, answer: Answer, trust_for: Callable[[Address], SSLContext | None]
) -> None:
    target = urljoin(visit.address.url, answer.get("location") or "")
    try:
        address = parse_address(target)
    except UnusableUrl:
        raise CannotExamine(f"{visit.address.url} redirects to {target}") from None
    if address.host != visit.address.host:
        # A password that was typed for one server is not given to another.
        raise CannotExamine(f"{visit.address.url} redirects to another server: {address.url}")
    if visit.address.is_secure and not address.is_secure:
        raise CannotExamine(f"{visit.address.url} redirects to {address.url}, without TLS")
    if address.path != visit.address.path:
        raise CannotExamine(f"{visit.address.url} redirects to {target}")
    visit.turn_to(address, trust_for(address))


def _sign_in(visit: Visit, answer: Answer) -> Iterator[Finding]:
    offers = challenges(answer)
    if visit.sign_in is None:
        names = ", ".join(offer.shown for offer in offers) or "nothing"
        raise CannotExamine(f"{visit.address.url} asks for sign-in ({names}): name a --user")
    if not offers:
        raise CannotExamine(
            "401 comes without WWW-Authenticate: no client can sign in (is it removed, or does a"
            " page of the proxy's stand in for the server's answer?)"
        )
    if visit.address.is_secure and {offer.scheme for offer in offers} == {"digest"}:
        yield warning(
            "sign-in", "only Digest is offered, though the URL is https", Cause.SCHEME_UNKNOWN
        )


def _require_in(visit: Visit, answer: Answer) -> None:
    url = visit.address.url
    if answer.status == 401:
        user = visit.sign_in.user if visit.sign_in is not None else ""
        raise CannotExamine(
            f"{url} refuses user {user!r} or the password (or Authorization is lost on the way)"
        )
    if answer.status == 403:
        raise CannotExamine(f"{url} may not be read: {said(answer)}")
    if answer.status == 404:
        raise CannotExamine(f"there is nothing at {url}: {said(answer)}")
    if answer.status >= 500:
        raise CannotExamine(f"{url} answers {said(answer)}: is the server behind it running?")


def _about_transport(visit: Visit) -> Iterator[Finding]:
    chosen = visit.sign_in.challenge if visit.sign_in is not None else None
    if chosen is None:
        return
    assert visit.sign_in is not None
    if chosen.scheme == "basic" and not visit.address.is_secure:
        if visit.address.is_loopback:
            yield note("sign-in", "Basic over plain http: fit for this machine alone")
        else:
            yield warning(
                "sign-in",
                "Basic over plain http: passwords can be read on the way",
                Cause.BASIC_PLAIN,
            )
    yield ok("sign-in", f"{chosen.shown} as {visit.sign_in.user}")


def check_front(visit: Visit) -> Iterator[Finding]:
    """Says what stands in front, so that its configuration can be named."""
    if not visit.proxies:
        # Who hides its name shows it in the page for a host that nobody serves. Without
        # credentials: whoever answers there need not have them.
        answer = visit.wire.exchange(Request("GET", "/", host="davserver-check.invalid"))
        visit.proxies |= recognise(answer)
    shown = ", ".join(f"{name} ({how})" for name, how in visit.proxies.items())
    yield note("in front", shown) if shown else ok("in front", "nothing that tells of itself")


def check_options(visit: Visit) -> Iterator[Finding]:
    answer = visit.ask("OPTIONS", visit.address.path)
    if answer.status not in (200, 204):
        yield unexpected(visit, "OPTIONS", "OPTIONS", answer, cause=Cause.OPTIONS)
        return
    classes = answer.tokens("dav")
    visit.has_locks = "2" in classes or "1" not in classes
    if "1" not in classes:
        yield broken(
            "OPTIONS", "no DAV field in the answer: clients take it for no WebDAV", Cause.OPTIONS
        )
        return
    shown = ", ".join(sorted(each for each in classes if each.isdigit()))
    if "2" not in classes:
        yield note("OPTIONS", f"DAV: {shown}: no locks, so Finder and Office open read-only")
    else:
        yield ok("OPTIONS", f"DAV: {shown}")
    if answer.get("ms-author-via") is None:
        yield note("OPTIONS", "no MS-Author-Via: DAV: old versions of Office open read-only")
    if visit.address.path != "/":
        yield from _look_at_root(visit)


def _look_at_root(visit: Visit) -> Iterator[Finding]:
    """Windows asks the root of the host before the folder that it was told."""
    answer = visit.ask("OPTIONS", "/")
    if "1" in answer.tokens("dav"):
        yield ok("OPTIONS /", f"DAV is offered at {visit.address.origin}/ too")
    else:
        yield note("OPTIONS /", f"{answer}, no DAV: some versions of Windows ask there first")


def check_clock(visit: Visit) -> Iterator[Finding]:
    answer = visit.ask("OPTIONS", visit.address.path)
    value = answer.get("date")
    try:
        skew_s = 0.0 if value is None else parsedate_to_datetime(value).timestamp() - time.time()
    except ValueError:
        value = None
    if value is None:
        yield note("clock", "no Date in the answers")
    elif abs(skew_s) > SKEW_S:
        direction = "ahead of" if skew_s > 0 else "behind"
        yield warning(
            "clock", f"the server's is {abs(skew_s):.0f} s {direction} this machine's", Cause.CLOCK
        )
    else:
        yield ok("clock", "as this machine's")


def make_folder(visit: Visit) -> Iterator[Finding]:
    """Makes the folder to work in; without it `visit.is_made` stays False."""
    visit.is_made = True
    answer = visit.ask("MKCOL", visit.folder)
    if answer.status == 201:
        yield ok("MKCOL", "a folder to work in was made")
        return
    visit.is_made = False
    if answer.status == 401:
        raise CannotExamine(f"{visit.address.url} asks for sign-in to write: name a --user")
    if answer.status == 403 and parent(visit.folder) == visit.address.path:
        text = f"MKCOL: {said(answer)}: what needs writing was not looked at"
        yield broken("MKCOL", text, Cause.RIGHTS)
        return
    prefix = visit.address.path.rstrip("/")
    yield unexpected(visit, "MKCOL", "MKCOL", answer, cause=Cause.PREFIX, prefix=prefix)
