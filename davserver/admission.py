"""Who asks: the part of the pipeline between the method and the header fields (401)."""

from __future__ import annotations

from asyncio import sleep
from collections.abc import Sequence
from functools import partial

from davserver.asgi import Scope
from davserver.auth.base import Attempt, Principal, Privilege
from davserver.config import Settings
from davserver.context import RequestContext
from davserver.errors import DavError, Forbidden, TooManyRequests
from davserver.methods._rights import challenged, require
from davserver.origin import client_address, is_private, is_trusted, raw_path
from davserver.protocol.headers import DavHeaders
from davserver.web.browsers import session_token


async def admit(rc: RequestContext, privilege: Privilege | None = None) -> None:
    """Sets the principal, and what it may do here. Raises 401 with a challenge, 400, 403, 429; who
    has to sign in first, to have the privilege, learns nothing else.

    None is for what is no secret, the way to the mount: Windows asks there before it has a user.
    """
    rc.principal = await signed_in(rc, _attempt(rc))
    rc.can_write = rc.may_write(rc.path)
    if privilege is not None and not rc.principal.name:
        require(rc, privilege, rc.path)


async def signed_in(rc: RequestContext, attempt: Attempt) -> Principal:
    """Returns who it is. Raises 401 with a challenge, 400, 403, 429; late to who guesses."""
    try:
        return await _principal(rc, attempt)
    except DavError as error:
        if error.delay_s or error.status == TooManyRequests.status:
            await sleep(rc.services.runner.refusals.delay(error.delay_s))
        raise


async def _principal(rc: RequestContext, attempt: Attempt) -> Principal:
    authenticator = rc.services.authenticator
    principal = authenticator.recall(attempt)
    if principal is None:
        verify = partial(authenticator.authenticate, attempt)
        principal = await rc.services.runner.verify(
            verify, address=attempt.address, same=attempt.credentials
        )
    if principal is None:
        raise challenged(rc) or Forbidden("nobody can sign in here")
    return principal


def _attempt(rc: RequestContext) -> Attempt:
    headers = rc.headers
    attempt = attempt_of(
        rc.services.settings,
        rc.scope,
        headers,
        headers.single(b"authorization"),
        method=rc.method,
        uri=raw_path(rc.scope),
        now=rc.now,
    )
    rc.is_private = attempt.secure
    return attempt


def attempt_of(
    settings: Settings,
    scope: Scope,
    headers: DavHeaders,
    authorization: bytes | None,
    *,
    method: str,
    uri: bytes,
    now: float,
) -> Attempt:
    """Returns what a request offers to prove who sends it. Raises BadRequest (400).

    Args:
        scope: what it says of the other end.
    """
    proxies = settings.trusted_proxies
    client = scope.get("client")
    sender = (client and client[0], is_trusted(scope, proxies), scope.get("scheme"), proxies)
    private, address = headers.recall_for(sender, partial(_sender, scope, proxies))
    asserted = None
    if settings.proxy_header is not None:
        asserted = _asserted(scope, headers, settings.proxy_header, proxies)
    secure = settings.insecure_basic or private
    session = session_token(headers)
    return Attempt(authorization, method, uri, address, secure, now, asserted, session)


def _sender(scope: Scope, proxies: Sequence[str], headers: DavHeaders) -> tuple[bool, str]:
    """Returns whether a password may travel as it is, and where the client is."""
    private = is_private(scope, headers, proxies=proxies)
    return private, client_address(scope, headers, proxies=proxies)


def _asserted(scope: Scope, headers: DavHeaders, name: str, proxies: Sequence[str]) -> bytes | None:
    """Returns who has signed in at the proxy, None when nobody or when it is not ours."""
    if not is_trusted(scope, proxies):
        return None
    return headers.single(name.lower().encode("ascii")) or None
