"""`.davserver/session`: sign-in and sign-out for the page's form (RFC 6265).

    GET     session  who is signed in, and whether there is a form to do so
    POST    session  {"name": ..., "password": ...}: 200 and a cookie; 401 as anywhere else
    DELETE  session  the cookie is good for nothing any more: 204

The cookie is for pages of this origin alone, and for no script (browsers.py). A wrong password is
counted like any other.
"""

from __future__ import annotations

import base64
import json
from functools import partial

from davserver.admission import admit, attempt_of, signed_in
from davserver.aio import read_body
from davserver.auth.base import SessionKeeper
from davserver.context import Header, RequestContext, Response
from davserver.documents import media_type
from davserver.errors import BadRequest, Forbidden, NotFound, Unauthorized, UnsupportedMediaType
from davserver.methods._rights import without_prompt
from davserver.origin import is_secure, raw_path
from davserver.protocol.accept import JSON
from davserver.service.base import Perform, Route
from davserver.web.browsers import COOKIE, is_same_origin, session_token

_BODY_LIMIT = 4_096
_FRESH: Header = (b"cache-control", b"no-store")


async def get(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """Tells the asker's name, null for nobody's; whether a form is of use, and was."""
    if rest:
        raise NotFound("a session is one")
    await admit(rc)
    keeper = _keeper(rc)
    can_sign_in = keeper is not None and rc.is_private
    by_cookie = session_token(rc.headers) is not None and rc.headers.get(b"authorization") is None
    has_session = can_sign_in and by_cookie and bool(rc.principal.name)
    told = {"name": rc.principal.name or None, "form": can_sign_in, "session": has_session}
    return _told(told)


async def post(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """Raises Unauthorized (401) and what else a sign-in does; 403 for another origin's page, and
    where a password must not be sent."""
    if rest:
        raise NotFound("a session is one")
    _require_own_page(rc)
    name, password = await _credentials(rc)
    credentials = b"Basic " + base64.b64encode(f"{name}:{password}".encode())
    attempt = attempt_of(
        rc.services.settings,
        rc.scope,
        rc.headers,
        authorization=credentials,
        method="GET",
        uri=raw_path(rc.scope),
        now=rc.now,
    )
    rc.is_private = attempt.secure
    keeper = _keeper(rc)
    if keeper is None or not attempt.secure:
        raise Forbidden("nobody can sign in here: passwords need https, and users")
    try:
        rc.principal = await signed_in(rc, attempt)
    except Unauthorized as error:
        raise without_prompt(rc, error) from error
    token = await rc.services.runner.hop(partial(keeper.begin_session, rc.principal, rc.now))
    if token is None:
        raise Forbidden("who has no account has no session")
    told = {"name": rc.principal.name, "form": True, "session": True}
    return _told(told, _cookie(rc, token, keeper.session_s))


async def delete(rc: RequestContext, rest: tuple[str, ...], perform: Perform) -> Response:
    """204 with or without a session."""
    if rest:
        raise NotFound("a session is one")
    _require_own_page(rc)
    token = session_token(rc.headers)
    keeper = _keeper(rc)
    if token is not None and keeper is not None:
        await rc.services.runner.hop(partial(keeper.end_session, token))
    return Response(204, (_cookie(rc, b"", 0), _FRESH))


async def _credentials(rc: RequestContext) -> tuple[str, str]:
    if media_type(rc) != JSON:
        raise UnsupportedMediaType("name and password come as application/json")
    rc.asked_for_body = True
    with rc.services.runner.bodies.lease() as take:
        body = await read_body(rc.receive, _BODY_LIMIT, take)
    try:
        read = json.loads(body)
        name, password = read["name"], read["password"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise BadRequest('the body is to be {"name": "...", "password": "..."}') from None
    if not isinstance(name, str) or not isinstance(password, str):
        raise BadRequest("name and password are strings")
    try:
        f"{name}:{password}".encode()
    except UnicodeEncodeError:
        raise BadRequest("name and password are text") from None
    if not name or ":" in name:
        raise BadRequest("a name has no colon, and is not empty")
    return name, password


def _require_own_page(rc: RequestContext) -> None:
    if not is_same_origin(rc.headers):
        raise Forbidden("a page of another origin can sign nobody in or out")


def _keeper(rc: RequestContext) -> SessionKeeper | None:
    keeper = rc.services.authenticator
    return keeper if isinstance(keeper, SessionKeeper) and keeper.session_s else None


def _cookie(rc: RequestContext, token: bytes, seconds: float) -> Header:
    value = b"%b=%b; Path=%b/; Max-Age=%d; HttpOnly; SameSite=Strict" % (
        COOKIE,
        token,
        rc.base,
        seconds,
    )
    if is_secure(rc.scope, rc.headers, proxies=rc.services.settings.trusted_proxies):
        value += b"; Secure"
    return b"set-cookie", value


def _told(told: object, *headers: Header) -> Response:
    kind: Header = (b"content-type", JSON)
    return Response(200, (kind, _FRESH, *headers), json.dumps(told).encode())


ROUTES = (Route("session", {"GET": get, "POST": post, "DELETE": delete}, privilege=None),)
