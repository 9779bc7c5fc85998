"""Locks as XML: activelock, lockdiscovery, supportedlock (RFC 4918 sections 14.1, 15.8, 15.10).

No I/O here.
"""

from __future__ import annotations

from davserver.protocol.deadprops import xml_text
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.multistatus import DECLARATION

SUPPORTEDLOCK = b"<D:supportedlock>%s</D:supportedlock>" % b"".join(
    b"<D:lockentry><D:lockscope><D:%s/></D:lockscope>"
    b"<D:locktype><D:write/></D:locktype></D:lockentry>" % scope.value.encode()
    for scope in LockScope
)


def activelock_xml(lock: Lock, *, now: float, base: bytes, show_token: bool) -> bytes:
    """Returns one `D:activelock` element.

    Args:
        now: seconds since the epoch, for the time that remains.
        base: quoted mount prefix without trailing slash.
        show_token: False for anybody but the lock's own principal: the token is all that stands
            between them and the resource (section 6.5).
    """
    # A clock that was set back makes the lock last longer: nobody is to count on that.
    remaining_s = min(max(0, round(lock.expires_at - now)), lock.timeout_s)
    token = b""
    if show_token:
        token = b"<D:locktoken><D:href>%s</D:href></D:locktoken>" % xml_text(lock.token)
    return (
        b"<D:activelock><D:locktype><D:write/></D:locktype>"
        b"<D:lockscope><D:%s/></D:lockscope><D:depth>%s</D:depth>"
        b"%s<D:timeout>Second-%d</D:timeout>%s"
        b"<D:lockroot><D:href>%s</D:href></D:lockroot></D:activelock>"
    ) % (
        b"exclusive" if lock.scope is LockScope.EXCLUSIVE else b"shared",
        b"0" if lock.depth is Depth.ZERO else b"infinity",
        lock.owner_xml,
        remaining_s,
        token,
        base + lock.href,
    )


def lockdiscovery_response(lock: Lock, *, now: float, base: bytes) -> bytes:
    """Returns the body of a successful LOCK: this lock alone, with its token (section 9.10.1).

    Finder takes the last token of the body, so no other lock may stand in it.
    """
    active = activelock_xml(lock, now=now, base=base, show_token=True)
    return b'%s<D:prop xmlns:D="DAV:"><D:lockdiscovery>%s</D:lockdiscovery></D:prop>' % (
        DECLARATION,
        active,
    )
