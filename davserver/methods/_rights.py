"""What the asker may do, as errors: 403, or 401 where signing in would help.

The pipeline asks for the Request-URI and the Destination before anything is looked up (authorize).
What only the look-up tells is asked for then, and again inside the gate (check_rights): canonical
paths, where a link, another spelling or another case led; collections whose membership changes;
members of trees.

A right is to a path and everything below. To add, remove or replace a member needs WRITE on the
member and on its collection (the bind and unbind of RFC 3744 section 3.9 and 3.10); to change what
it holds, on the member alone.
"""

from __future__ import annotations

from davserver.auth.base import PathAuthorizer, Privilege, SessionKeeper
from davserver.context import RequestContext, Target
from davserver.errors import DavError, Forbidden, ServiceUnavailable, StorageError, Unauthorized
from davserver.methods.base import LockRule, Method
from davserver.protocol.headers import Depth
from davserver.protocol.multistatus import need_privilege
from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Kind, Stat
from davserver.web.browsers import BASIC, is_page, opens_page


def authorize(rc: RequestContext, method: Method) -> None:
    """Raises when the asker may not do this to the Request-URI, or to the Destination. Who is not
    signed in was asked about the former already (admission.py)."""
    if rc.principal.name:
        require(rc, method.privilege, rc.path)
    if rc.destination is not None and method.destination is not None:
        require(rc, method.destination, rc.destination)


def require(rc: RequestContext, privilege: Privilege, path: DavPath) -> None:
    """Raises when the asker may not do this there, or nobody may."""
    is_fixed = privilege is Privilege.WRITE and not rc.services.storage.is_writable(path)
    if is_fixed or not rc.services.authorizer.permits(rc.principal, privilege, path):
        raise refusal(rc, privilege, path)


def refusal(
    rc: RequestContext, privilege: Privilege, path: DavPath, real: DavPath | None = None
) -> DavError:
    """Returns the error for who may not: a challenge for the anonymous principal, where somebody
    who signs in could go on, or see at least that nobody can. What is `real`, where `path` leads,
    is not told."""
    if not rc.principal.name:
        may_see = rc.services.authorizer.permits(rc.principal, Privilege.READ, path)
        if _is_open(rc, privilege if may_see else Privilege.READ, real or path):
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
    if not headers:
        return None
    error = Unauthorized("sign in", headers=headers)
    return without_prompt(rc, error) if _has_form(rc) else error


def _has_form(rc: RequestContext) -> bool:
    """True where whoever asks shows a form, in which a password may be sent."""
    keeper = rc.services.authenticator
    is_asked_for = is_page(rc.headers) or opens_page(rc.method, rc.headers)
    if rc.scope.get("query_string") == BASIC:
        return False
    has_sessions = isinstance(keeper, SessionKeeper) and keeper.session_s > 0
    return is_asked_for and rc.services.settings.page and rc.is_private and has_sessions


def without_prompt(rc: RequestContext, error: Unauthorized) -> Unauthorized:
    """Returns the 401 with a scheme that no browser has a prompt for: the page asks by itself."""
    realm = rc.services.settings.realm
    challenge = (b"www-authenticate", f'Session realm="{realm}"'.encode("ascii"))
    other = Unauthorized(error.detail, headers=(challenge,))
    other.delay_s = error.delay_s
    other.shows_page = opens_page(rc.method, rc.headers)
    return other


def check_rights(rc: RequestContext, method: Method, target: Target) -> None:
    """Raises 403 or 401 for what the look-up has told."""
    if rc.services.path_rights is None:
        return
    key = binding_key(rc, method, target)
    require_real(rc, method.privilege, rc.path, key)
    if rc.can_write and not rc.may(Privilege.WRITE, rc.path, key):
        rc.can_write = False
    removes = LockRule.PARENT in method.locks
    if removes or (target.stat is None and method.creates):
        _require_on_parent(rc, rc.path, key)
    if target.is_collection:
        _check_members(rc, method, target)
    if target.destination is not None and method.destination is not None:
        _check_destination(rc, method, target)


def check_opened(rc: RequestContext, target: Target, opened: Stat) -> None:
    """Makes sure that what was opened is what was looked up, or may be read as well: a path can
    come to lead elsewhere in between. Raises 403, 401; 503 where it keeps changing."""
    if rc.services.path_rights is None:
        return
    if target.stat is not None and _is_same(target.stat, opened):
        return
    found = rc.services.storage.locate(rc.path)
    require_real(rc, Privilege.READ, rc.path, found.key)
    if found.stat is None or not _is_same(found.stat, opened):
        retry = ((b"retry-after", b"1"),)
        raise ServiceUnavailable("it keeps changing", headers=retry)


def _is_same(one: Stat, other: Stat) -> bool:
    return (one.device, one.inode) == (other.device, other.inode)


def binding_key(rc: RequestContext, method: Method, target: Target) -> Key:
    """Returns the key of what a method works on. One that removes a link, or gives it another
    name, leaves alone what the link leads to."""
    removes = LockRule.PARENT in method.locks
    return link_key(rc, target.path) if target.is_link and removes else target.key


def link_key(rc: RequestContext, path: DavPath) -> Key:
    """Returns the key that a link would have if it were followed by nobody: it is the membership
    of its own parent that changes with it, not that of what it leads to."""
    return rc.services.storage.named(path).key


def require_real(rc: RequestContext, privilege: Privilege, path: DavPath, key: Key) -> None:
    """Raises when the asker may not do this to what the path has led to."""
    if not rc.may(privilege, path, key):
        raise refusal(rc, privilege, path, rc.services.storage.path_of(key))


def _require_on_parent(rc: RequestContext, path: DavPath, key: Key) -> None:
    if path.parent is not None and key.parent is not None:
        require_real(rc, Privilege.WRITE, path.parent, key.parent)


def _check_members(rc: RequestContext, method: Method, target: Target) -> None:
    """MOVE is all or nothing, so a member that may not be removed keeps the whole. A lock of
    infinite depth is on what is to come, too. DELETE and COPY look at each member."""
    if method.name == "MOVE" and not target.is_link:
        refuse_denied(rc, target.path, target.key)
    is_deep_lock = method.name == "LOCK" and rc.document and rc.depth is not Depth.ZERO
    if is_deep_lock and _denied_below(rc, target.path, target.key):
        raise Forbidden("not everything below may be written, and so locked")


def _check_destination(rc: RequestContext, method: Method, target: Target) -> None:
    goal, key = target.destination, target.destination_key
    assert rc.destination is not None
    assert goal is not None
    assert key is not None
    assert method.destination is not None
    require_real(rc, method.destination, rc.destination, key)
    is_update = method.name == "COPY" and _are_files(target)
    if not is_update:
        _require_on_parent(rc, goal, key)
    if target.destination_stat is not None:
        refuse_denied(rc, goal, key)
    if method.name == "MOVE" and target.is_collection and not target.is_link:
        _refuse_members_where_denied(rc, target.path, goal, key)


def _refuse_members_where_denied(
    rc: RequestContext, source: DavPath, goal: DavPath, key: Key
) -> None:
    tops = goal, _real(rc, key)
    for denied in _denied_below(rc, goal, key):
        for inner in (denied.below(top.segments) for top in tops):
            if inner is not None and _is_mapped(rc, DavPath(source.segments + inner.segments)):
                raise Forbidden("a member would come to where it may not be written")


def _are_files(target: Target) -> bool:
    kind = None if target.destination_stat is None else target.destination_stat.kind
    return target.kind is Kind.FILE and kind is Kind.FILE


def _denied_below(rc: RequestContext, path: DavPath, key: Key) -> list[DavPath]:
    """Returns what the asker may not write below a collection, as far as rules name it."""
    rights = rc.services.path_rights
    assert rights is not None
    denied = dict.fromkeys(rights.denied_below(rc.principal, Privilege.WRITE, path))
    denied |= dict.fromkeys(rights.denied_below(rc.principal, Privilege.WRITE, _real(rc, key)))
    return list(denied)


def refuse_denied(rc: RequestContext, path: DavPath, key: Key) -> None:
    """Raises 403 for a collection with a member that the asker may not write."""
    if any(_is_mapped(rc, denied) for denied in _denied_below(rc, path, key)):
        raise Forbidden("a member may not be written, and so neither removed nor replaced")


def _real(rc: RequestContext, key: Key) -> DavPath:
    return rc.services.storage.path_of(key)


def _is_mapped(rc: RequestContext, path: DavPath) -> bool:
    try:
        return rc.services.storage.locate(path).stat is not None
    except StorageError:
        return False
