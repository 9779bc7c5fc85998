"""OPTIONS (RFC 9110 section 9.3.7, RFC 4918 section 10.1)."""

from __future__ import annotations

from davserver.context import RequestContext, Response, Target
from davserver.methods.base import MAPPED, UNMAPPED, Method
from davserver.protocol.path import DavPath
from davserver.protocol.quirks import announces_executable, is_class_2_for_shares
from davserver.protocol.updaterange import PARTIAL_UPDATE
from davserver.protocol.uploads import PARTIAL_UPLOAD
from davserver.storage.base import Kind
from davserver.uploading import limit_of

MOD_DAV_FS = b"<http://apache.org/dav/propset/fs/1>"
_UPLOADED = UNMAPPED | {Kind.FILE}
ANY: frozenset[Kind | None] = MAPPED | UNMAPPED | {Kind.OTHER}


def handle_options(rc: RequestContext, target: Target) -> Response:
    """Answers 200 for every URL below the mount, mapped or not: clients ask before they create.

    Windows needs 200 rather than 204, and MS-Author-Via; Finder mounts read-only without
    class 2.
    """
    shares = (DavPath((share.name,)) for share in rc.services.settings.share)
    has_locks = rc.can_write or is_class_2_for_shares(rc.path, map(rc.may_write, shares))
    dav = rc.services.classes(can_write=has_locks)
    if announces_executable(rc.headers):
        dav += b", " + MOD_DAV_FS
    usual = (
        (b"dav", dav),
        (b"allow", rc.services.allowed(target.kind, can_write=rc.can_write)),
        (b"ms-author-via", b"DAV"),
        (b"accept-ranges", b"bytes"),
    )
    if not rc.can_write or target.kind not in _UPLOADED:
        return Response(200, usual)
    # The draft on resumable uploads, section 4.1.4: who begins one asks here whether it can.
    types = (PARTIAL_UPDATE, PARTIAL_UPLOAD) if b"PATCH" in usual[1][1] else (PARTIAL_UPLOAD,)
    accepted = (b"accept-patch", b", ".join(types))
    return Response(200, (*usual, accepted, limit_of(rc.services)))


METHODS = (Method("OPTIONS", handle=handle_options, applies_to=ANY),)
