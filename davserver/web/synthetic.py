"""The collections above the mount: `/` and what lies between it and the prefix.

Windows asks every ancestor of the folder that it mounts, and gvfs looks upward; each is shown as a
read-only collection whose one member leads to the mount.
"""

from __future__ import annotations

from davserver.context import RequestContext, Response
from davserver.errors import MethodNotAllowed, NotFound
from davserver.properties.base import Resource
from davserver.protocol.headers import Depth, parse_depth
from davserver.protocol.multistatus import MultiStatusWriter
from davserver.protocol.path import DavPath
from davserver.protocol.prefer import Preferences
from davserver.protocol.quirks import leaves_out_missing_properties
from davserver.storage.base import Kind, Stat

_ALLOW = (b"allow", b"OPTIONS, PROPFIND")


async def ancestor(rc: RequestContext, path: DavPath, body: bytes) -> Response:
    """Answers OPTIONS, and PROPFIND of depth 0 and 1, for a URL above the mount."""
    if rc.method == "OPTIONS":
        headers = (
            _ALLOW,
            (b"dav", rc.services.classes(can_write=False)),
            (b"ms-author-via", b"DAV"),
        )
        return Response(200, headers)
    if rc.method in ("GET", "HEAD"):
        raise NotFound("the served folder is mounted below this URL")
    if rc.method != "PROPFIND":
        raise MethodNotAllowed("only the way to the mount is here", headers=(_ALLOW,))
    depth = parse_depth(rc.headers.single(b"depth"))
    plan = rc.services.live.compile(
        body, rc.charset, minimal=leaves_out_missing_properties(rc.headers)
    )
    writer = MultiStatusWriter()
    if depth is Depth.ZERO or not rc.headers.recall(Preferences.from_headers).without_root:
        writer.add(plan.render_response(_resource(rc, path)))
    if depth is not Depth.ZERO:
        member = path.child(rc.prefix[len(path.segments)])
        writer.add(plan.render_response(_resource(rc, member)))
    xml = (b"content-type", b'application/xml; charset="utf-8"')
    return Response(207, (xml,), writer.finish())


def _resource(rc: RequestContext, path: DavPath) -> Resource:
    stat = rc.services.storage.stat(DavPath(()))
    # It changes when the mount does, and is no more to be had than its name.
    shown = Stat(Kind.COLLECTION, 0, stat.mtime_ns, stat.birth_ns, 0, 0)
    return Resource(
        href=path.href(collection=True),
        name=path.name,
        stat=shown,
        principal=rc.principal.name,
        base=rc.base,
        now=rc.now,
        can_write=False,
    )
