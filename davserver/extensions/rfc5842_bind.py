"""Bindings (RFC 5842): more than one name for a resource, in collections of one share.

BIND, UNBIND and REBIND are requests to a collection. What REBIND does is what MOVE does, what
UNBIND does is what DELETE does, but for a whole tree at once; so they pass the same checks, and the
conditions here only tell more exactly what stands in the way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from davserver.auth.base import Privilege
from davserver.changes import discard, make_durable, removing
from davserver.context import RequestContext, Response, Target
from davserver.errors import (
    BadGateway,
    Conflict,
    CrossDevice,
    DavError,
    Forbidden,
    PreconditionFailed,
    StorageError,
)
from davserver.extensions._binding_locks import (
    require_binding,
    require_compatible,
    require_membership,
)
from davserver.extensions.base import Extension
from davserver.handover import release
from davserver.methods._binding import put_binding
from davserver.methods._checks import locate, relocate
from davserver.methods._moving import move_at_once
from davserver.methods._rights import refuse_denied, require, require_real
from davserver.methods.base import MAPPED, BodyPolicy, LockRule, Method
from davserver.properties.base import LiveProperty, Needs, Resource
from davserver.properties.bindings import stored_identity
from davserver.protocol.bindxml import BindingRequest, parse_binding
from davserver.protocol.deadprops import xml_text
from davserver.protocol.headers import parse_destination
from davserver.protocol.junk import is_refused
from davserver.protocol.names import dav
from davserver.protocol.path import DavPath, Key
from davserver.state.base import GateView
from davserver.storage.base import Capability, Kind, Named, Stat
from davserver.usage import Aside, own_size, set_aside, shrinking


class _Place(NamedTuple):
    """Where a binding is, or is to be."""

    path: DavPath
    key: Key
    stat: Stat | None
    resource: Key | None
    """What a binding of ours leads to."""


def _member(rc: RequestContext, collection: Target) -> _Place:
    """Returns the member that the segment names. Raises 403 `name-allowed` for what can be none,
    and for a link of somebody else's."""
    request: BindingRequest = rc.document
    try:
        segments = DavPath.from_raw(b"/" + request.segment).segments
    except DavError as error:
        raise Forbidden(error.detail, condition=b"name-allowed") from error
    path = DavPath((*collection.path.segments, *segments))
    if len(segments) != 1 or path.is_reserved:
        raise Forbidden(f"{request.segment!r} is no name", condition=b"name-allowed")
    key, stat, is_link = rc.services.storage.named(path)
    bound = rc.services.state.bindings.target(key) if is_link else None
    return _Place(path, key, stat, bound)


def _require_creatable(rc: RequestContext, place: _Place) -> None:
    services = rc.services
    is_foreign = place.stat is not None and place.stat.kind is Kind.OTHER and not place.resource
    if is_foreign or services.storage.is_fixed(place.key):
        detail = f"what is at {place.path.name!r} cannot be replaced"
        raise Forbidden(detail, condition=b"name-allowed")
    is_junk = is_refused(services.settings.junk_of(place.key.root), place.path.segments)
    if place.stat is None and (is_junk or not DavPath((place.path.name,)).is_creatable):
        detail = f"{place.path.name!r} is no name to create"
        raise Forbidden(detail, condition=b"name-allowed")
    if place.stat is not None and not rc.overwrite:
        # RFC 4918 section 10.6: "If the destination exists and Overwrite is F: 412".
        raise PreconditionFailed("there is a binding already", condition=b"can-overwrite")


def _source_path(rc: RequestContext, condition: bytes) -> DavPath:
    """Returns the path of the href in the body. Raises 403 for one of another server, 409 for one
    that can name nothing."""
    request: BindingRequest = rc.document
    assert request.href is not None
    try:
        url = parse_destination(request.href, authorities=rc.authorities)
    except BadGateway as error:
        raise Forbidden(error.detail, condition=b"cross-server-binding") from error
    path = url.below(rc.prefix)
    if path is None:
        raise Forbidden("outside of what is served here", condition=b"cross-server-binding")
    if path.is_reserved:
        raise Conflict("a reserved name", condition=condition)
    return path


def _require_same_share(rc: RequestContext, source: Key, place: _Place) -> None:
    if source.root != place.key.root:
        raise Forbidden("it is in another share", condition=b"cross-server-binding")
    scopes = rc.services.quotas.scopes
    if rc.services.quotas and scopes(source) != scopes(place.key):
        raise Forbidden("another quota holds there", condition=b"binding-allowed")


def _require_rights(rc: RequestContext, place: _Place, privilege: Privilege) -> None:
    """RFC 3744 section 3.9: to add, replace or remove a member needs the right on both."""
    require(rc, privilege, place.path)
    if rc.services.path_rights is None:
        return
    require_real(rc, privilege, place.path, place.key)
    if place.stat is not None and place.stat.kind is Kind.COLLECTION:
        refuse_denied(rc, place.path, place.key)


# --- BIND ---------------------------------------------------------------------------------------


def handle_bind(rc: RequestContext, target: Target) -> Response:
    """201 for a new binding, 204 for one in the place of another (section 4)."""
    source = _source_path(rc, b"bind-source-exists")
    aside: Aside | None = None
    with ExitStack() as leaving:
        with rc.hold([target.key]) as view:
            collection = relocate(rc, BIND, view)
            resource, place = _check_bind(rc, view, collection, source)
            is_bound = resource in (place.key, place.resource)
            if not is_bound:
                if release(rc.services, view, place.key, place.key):
                    resource, place = _check_bind(rc, view, collection, source)
                aside = put_binding(rc, view, resource, place[:3])
                _follow(rc, leaving, aside)
        discard(rc.services, aside)
    make_durable(rc.services.storage, place.path.parent)
    return _answer(rc, place)


def _follow(rc: RequestContext, leaving: ExitStack, aside: Aside | None) -> None:
    if aside is None:
        return
    try:
        leaving.enter_context(rc.services.storage.following(aside.path))
    except StorageError:
        rc.services.storage.abandon(aside.path)  # it is done all the same


def _answer(rc: RequestContext, place: _Place) -> Response:
    if place.stat is not None:
        return Response(204)
    found = rc.services.storage.locate(place.path).stat
    is_collection = found is not None and found.kind is Kind.COLLECTION
    return Response(201, ((b"location", rc.href(place.path, collection=is_collection)),))


def _check_bind(
    rc: RequestContext, view: GateView, collection: Target, source: DavPath
) -> tuple[Key, _Place]:
    """Returns the resource, and where it is to be bound."""
    place = _member(rc, collection)
    require(rc, Privilege.READ, source)
    _require_rights(rc, place, Privilege.WRITE)
    found = rc.services.storage.locate(source)
    require_real(rc, Privilege.READ, source, found.key)
    if found.stat is None:
        detail = f"nothing is mapped to {source.name!r}"
        raise Conflict(detail, condition=b"bind-source-exists")
    if found.stat.kind is Kind.OTHER:
        raise Forbidden("no file and no collection", condition=b"binding-allowed")
    _require_same_share(rc, found.key, place)
    _require_creatable(rc, place)
    if place.key != found.key and place.key.covers(found.key):
        detail = "it is inside of what would be replaced"
        raise Forbidden(detail, condition=b"binding-allowed")
    require_membership(rc, view, collection.key, b"locked-update-allowed")
    if place.stat is not None:
        require_binding(rc, view, place.key, b"locked-overwrite-allowed")
    if found.key not in (place.key, place.resource):
        require_compatible(rc, view, collection.key, found.key)
    return found.key, place


# --- UNBIND -------------------------------------------------------------------------------------


def handle_unbind(rc: RequestContext, target: Target) -> Response:
    """204: the collection has no binding for the segment any more (section 5)."""
    aside: Aside | None = None
    with ExitStack() as leaving:
        with rc.hold([target.key]) as view:
            collection = relocate(rc, UNBIND, view)
            place = _check_unbind(rc, view, collection)
            if release(rc.services, view, place.key, place.key):
                place = _check_unbind(rc, view, collection)
            aside = _remove(rc, view, place)
            _follow(rc, leaving, aside)
        discard(rc.services, aside)
    make_durable(rc.services.storage, place.path.parent)
    return Response(204)


def _check_unbind(rc: RequestContext, view: GateView, collection: Target) -> _Place:
    place = _member(rc, collection)
    _require_rights(rc, place, Privilege.WRITE)
    if place.stat is None:
        detail = f"there is no binding {place.path.name!r}"
        raise Conflict(detail, condition=b"unbind-source-exists")
    if rc.services.storage.is_fixed(place.key):
        raise Forbidden("a root cannot be unbound")
    require_membership(rc, view, collection.key, b"locked-update-allowed")
    require_binding(rc, view, place.key, b"protected-url-deletion-allowed")
    return place


def _remove(rc: RequestContext, view: GateView, place: _Place) -> Aside | None:
    """Section 5: "If an UNBIND request fails, the server state preceding the request MUST be
    restored": a tree goes in one step, under a hidden name, and is taken apart after the gate."""
    services, storage = rc.services, rc.services.storage
    assert place.stat is not None
    with removing(services, view, [(place.path, place.key)]) as gone:
        if place.stat.kind is not Kind.COLLECTION:
            with shrinking(services, view, place.key, own_size(storage, place.path)):
                storage.delete(place.path)
            gone.append(place.key)
            return None
        aside = storage.hidden(place.path)
        storage.rename(place.path, aside)
        gone.append(place.key)
    return set_aside(services, view, place.key, aside, place.stat)


# --- REBIND -------------------------------------------------------------------------------------


def handle_rebind(rc: RequestContext, target: Target) -> Response:
    """201, or 204 in the place of another binding: an atomic MOVE (section 6)."""
    source = _source_path(rc, b"rebind-source-exists")
    with rc.hold([target.key]) as view:
        place = _check_rebind(rc, view, relocate(rc, REBIND, view), source)
    inner = replace(
        rc,
        method="MOVE",
        path=source,
        destination=place.path,
        depth=None,
        conditions=None,
        if_header=None,
        document=None,
        in_gate=partial(_check_rebind_again, rc, source),
    )
    with _told():
        response = move_at_once(inner, _MOVE, locate(inner))
    rc.is_collection = True
    return response


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except CrossDevice as error:
        detail = "it cannot be moved there in one step"
        raise Forbidden(detail, condition=b"cross-server-binding") from error


def _check_rebind_again(rc: RequestContext, source: DavPath, view: GateView) -> None:
    _check_rebind(rc, view, relocate(rc, REBIND, view), source)


def _check_rebind(
    rc: RequestContext, view: GateView, collection: Target, source: DavPath
) -> _Place:
    place = _member(rc, collection)
    require(rc, Privilege.WRITE, source)
    _require_rights(rc, place, Privilege.WRITE)
    found = rc.services.storage.named(source)
    if found.stat is None:
        detail = f"nothing is mapped to {source.name!r}"
        raise Conflict(detail, condition=b"rebind-source-exists")
    _require_same_share(rc, found.key, place)
    _require_creatable(rc, place)
    if found.key != place.key and found.key.covers(place.key):
        # The collection would be in itself alone, where nobody comes to.
        raise Forbidden("the binding would be inside of itself", condition=b"cycle-allowed")
    require_membership(rc, view, collection.key, b"locked-update-allowed")
    if place.stat is not None:
        require_binding(rc, view, place.key, b"protected-url-modification-allowed")
    _require_source_tokens(rc, view, found)
    return place


def _require_source_tokens(rc: RequestContext, view: GateView, found: Named) -> None:
    parent = found.key.parent
    if parent is not None:
        require_membership(rc, view, parent, b"locked-source-collection-update-allowed")
    require_binding(rc, view, found.key, b"protected-source-url-deletion-allowed")


# --- properties ---------------------------------------------------------------------------------


def _resource_id(resource: Resource) -> bytes | None:
    uri = stored_identity(resource.dead)
    return (
        None
        if uri is None
        else b"<D:resource-id><D:href>%s</D:href></D:resource-id>" % (xml_text(uri))
    )


def _parent_set(resource: Resource) -> bytes | None:
    if resource.parents is None:
        return None
    return b"<D:parent-set>%s</D:parent-set>" % resource.parents


def _parse(local: str, *, has_href: bool, rc: RequestContext) -> BindingRequest:
    return parse_binding(rc.body, local, has_href=has_href, charset=rc.charset)


BIND = Method(
    "BIND",
    handle=handle_bind,
    parse=lambda rc: _parse("bind", has_href=True, rc=rc),
    body=BodyPolicy.XML,
    privilege=Privilege.WRITE,
    applies_to=frozenset({Kind.COLLECTION}),
    unbounded=True,
    needs=Capability.LINKS,
    names_urls=True,
    condition=b"bind-into-collection",
)
UNBIND = replace(
    BIND,
    name="UNBIND",
    handle=handle_unbind,
    parse=lambda rc: _parse("unbind", has_href=False, rc=rc),
    condition=b"unbind-from-collection",
)
REBIND = replace(
    BIND,
    name="REBIND",
    handle=handle_rebind,
    parse=lambda rc: _parse("rebind", has_href=True, rc=rc),
    condition=b"rebind-into-collection",
)
_MOVE = replace(
    REBIND,
    name="MOVE",
    locks=LockRule.TARGET | LockRule.PARENT | LockRule.SUBTREE | LockRule.DESTINATION,
    destination=Privilege.WRITE,
    applies_to=MAPPED,
    condition=None,
)
"""What a REBIND comes to."""
EXTENSION = Extension(
    "rfc5842-bind",
    dav_tokens=("bind",),
    needs_write=True,
    methods=(BIND, UNBIND, REBIND),
    properties=tuple(
        # Section 3: neither SHOULD be returned by a PROPFIND DAV:allprop request.
        LiveProperty(name, render, kinds=frozenset(Kind), needs=needs, in_allprop=False)
        for name, render, needs in (
            (dav("resource-id"), _resource_id, Needs.DEAD | Needs.IDENTITY),
            (dav("parent-set"), _parent_set, Needs.DEAD | Needs.PARENTS),
        )
    ),
    needs=Capability.LINKS,
)
