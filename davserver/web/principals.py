"""Principal resources, `<prefix>/.davserver/principals/NAME/`: what `current-user-principal` names
(RFC 5397) answers PROPFIND (RFC 3744 section 4).

Everybody sees the own one alone: who else has an account is nobody's business.
"""

from __future__ import annotations

from davserver.context import RequestContext, Response
from davserver.errors import MethodNotAllowed, NotFound
from davserver.protocol.deadprops import name_only, xml_text
from davserver.protocol.multistatus import MultiStatusWriter, PropStat
from davserver.protocol.names import CURRENT_USER_PRINCIPAL, DISPLAYNAME, RESOURCETYPE, QName, dav
from davserver.protocol.principals import principal_href, principal_name
from davserver.protocol.quirks import leaves_out_missing_properties
from davserver.protocol.xmlread import PropfindKind, PropfindRequest, parse_propfind

_ALLOW = (b"allow", b"OPTIONS, PROPFIND")
_IN_ALLPROP = (DISPLAYNAME, RESOURCETYPE)


async def principal(rc: RequestContext, body: bytes) -> Response:
    """Raises 404 for any but the asker's own, 405 for any method but OPTIONS and PROPFIND."""
    name = principal_name(rc.path.segments)
    if not name or name != rc.principal.name:
        raise NotFound("no such principal")
    if rc.method == "OPTIONS":
        headers = (
            _ALLOW,
            (b"dav", rc.services.classes(can_write=False)),
            (b"ms-author-via", b"DAV"),
        )
        return Response(200, headers)
    if rc.method != "PROPFIND":
        raise MethodNotAllowed("a principal is only to be asked for properties", headers=(_ALLOW,))
    request = parse_propfind(body, charset=rc.charset)
    href = principal_href(rc.base, name)
    writer = MultiStatusWriter()
    propstats = _propstats(request, _properties(name, href))
    if leaves_out_missing_properties(rc.headers):
        propstats = [one for one in propstats if one.status != 404] or [PropStat(200, b"")]
    writer.propstats(href, propstats)
    xml = (b"content-type", b'application/xml; charset="utf-8"')
    return Response(207, (xml,), writer.finish())


def _properties(name: str, href: bytes) -> dict[QName, bytes]:
    link = b"<D:href>%s</D:href>" % href
    values = {
        DISPLAYNAME: xml_text(name),
        RESOURCETYPE: b"<D:principal/>",
        dav("principal-URL"): link,
        dav("alternate-URI-set"): b"",
        dav("group-membership"): b"",
        CURRENT_USER_PRINCIPAL: link,
    }
    locals_ = {key: key.rpartition("}")[2].encode("ascii") for key in values}
    return {
        key: b"<D:%s>%s</D:%s>" % (locals_[key], value, locals_[key])
        for key, value in values.items()
    }


def _propstats(request: PropfindRequest, properties: dict[QName, bytes]) -> list[PropStat]:
    if request.kind is PropfindKind.PROPNAME:
        return [PropStat(200, b"".join(map(name_only, properties)))]
    names = dict.fromkeys(request.names)
    if request.kind is PropfindKind.ALLPROP:
        names = dict.fromkeys((*_IN_ALLPROP, *request.names))
    found = b"".join(properties[name] for name in names if name in properties)
    missing = b"".join(name_only(name) for name in names if name not in properties)
    propstats = [PropStat(200, found)] if found or not missing else []
    return [*propstats, PropStat(404, missing)] if missing else propstats
