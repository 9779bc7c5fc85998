"""What the asker may do, as errors: 403, or 401 where signing in would help."""

from __future__ import annotations

from davserver.auth.base import PathAuthorizer, Privilege
from davserver.context import RequestContext
from davserver.errors import DavError, Forbidden, Unauthorized
from davserver.methods.base import Method
from davserver.protocol.multistatus import need_privilege
from davserver.protocol.path import DavPath


def authorize(rc: RequestContext, method: Method) -> None:
    """Raises when the asker may not do this to the Request-URI, or to the Destination."""
    require(rc, method.privilege, rc.path)
    if rc.destination is not None and method.destination is not None:
        require(rc, method.destination, rc.destination)


def require(rc: RequestContext, privilege: Privilege, path: DavPath) -> None:
    """Raises when the asker may not do this there, or nobody may."""
    is_fixed = privilege is Privilege.WRITE and not rc.services.storage.is_writable(path)
    if is_fixed or not rc.services.authorizer.permits(rc.principal, privilege, path):
        raise refusal(rc, privilege, path)


def refusal(rc: RequestContext, privilege: Privilege, path: DavPath) -> DavError:
    """Returns the error for who may not: a challenge for the anonymous principal, where somebody
    who signs in could go on, or see at least that nobody can."""
    if not rc.principal.name:
        may_see = rc.services.authorizer.permits(rc.principal, Privilege.READ, path)
        if _is_open(rc, privilege if may_see else Privilege.READ, path):
            challenge = challenged(rc)
            if challenge is not None:
                return challenge
    # RFC 3744 section 7.1.1 has it said which right is missing, and where.
    inner = need_privilege(rc.href(path, collection=path.slash), privilege.value.encode())
    return Forbidden(f"no right to {rc.method} here", condition=b"need-privileges", inner=inner)


def _is_open(rc: RequestContext, privilege: Privilege, path: DavPath) -> bool:
    """True when some signed-in principal may."""
    if privilege is Privilege.WRITE and not rc.services.storage.is_writable(path):
        return False
    authorizer = rc.services.authorizer
    return not isinstance(authorizer, PathAuthorizer) or authorizer.is_open(privilege, path)


def challenged(rc: RequestContext) -> Unauthorized | None:
    """Returns the 401 that asks to sign in, None where nobody can."""
    challenges = rc.services.authenticator.challenges(secure=rc.is_private)
    headers = tuple((b"www-authenticate", challenge) for challenge in challenges)
    return Unauthorized("sign in", headers=headers) if headers else None
