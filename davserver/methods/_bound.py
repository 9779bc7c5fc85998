"""What PROPFIND tells of bindings (RFC 5842 section 3): a URI for each resource, made when somebody
first asks for it, and the collections that it is a member of."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress

from davserver.auth.base import Principal, Privilege
from davserver.binding import is_binding
from davserver.context import Services
from davserver.errors import StorageError
from davserver.properties.base import Needs, Plan, Resource
from davserver.properties.bindings import IDENTITY, identity_change
from davserver.protocol.names import QName
from davserver.protocol.path import DavPath, Key, quote_segment

_PARENT = b"<D:parent><D:href>%s</D:href><D:segment>%s</D:segment></D:parent>"
_ANY = {IDENTITY: b"<resource-id/>"}
_NONE: Mapping[QName, bytes] = {}


def identified(
    services: Services, plan: Plan, rows: Mapping[Key, Mapping[QName, bytes]], keys: Iterable[Key]
) -> Mapping[Key, Mapping[QName, bytes]]:
    """Returns the rows of these resources, each with the URI that it has from now on. Waits for
    the gate. Raises StateError."""
    found = {key: rows.get(key, _NONE) for key in keys}
    if plan.names_only:
        return {key: {**dead, **_ANY} for key, dead in found.items()}
    missing = [key for key, dead in found.items() if IDENTITY not in dead]
    if not missing:
        return found
    with services.state.hold(missing, wait_s=services.settings.gate_wait_s) as view:
        for key in missing:
            dead = view.properties(key)
            if IDENTITY not in dead:
                change = identity_change(services.new_token())
                view.patch(key, [change])
                assert change.value is not None
                dead = {**dead, change.name: change.value}
            found[key] = dead
    return found


def tell_bindings(
    services: Services, asker: Principal, base: bytes, plan: Plan, at: tuple[Resource, Key]
) -> None:
    """Puts what the plan needs to know of bindings into a resource."""
    resource, key = at
    if Needs.IDENTITY in plan.needs:
        resource.dead = identified(services, plan, {key: resource.dead}, [key])[key]
    if plan.names_only:
        resource.parents = b""
    elif Needs.PARENTS in plan.needs:
        resource.parents = b"".join(_parents(services, asker, base, key))


def _parents(services: Services, asker: Principal, base: bytes, key: Key) -> Iterator[bytes]:
    """Yields the bindings in collections that the asker may read."""
    storage = services.storage
    for binding in (key, *_links(services, key)):
        if binding.parent is None:
            continue
        parent = storage.path_of(binding.parent)
        name = binding.name.decode("utf-8", "surrogateescape")
        if _may_read(services, asker, parent) and _may_read(services, asker, parent.child(name)):
            yield _PARENT % (parent.href(base, collection=True), quote_segment(name))


def _links(services: Services, key: Key) -> Sequence[Key]:
    found = []
    for link in services.state.bindings.links(key):
        with suppress(StorageError):
            found += [link] if is_binding(services.storage, link, key) else []
    return found


def _may_read(services: Services, asker: Principal, path: DavPath) -> bool:
    """The path is a canonical one."""
    if not services.authorizer.permits(asker, Privilege.READ, path):
        return False
    rights = services.path_rights
    return rights is None or rights.permits_real(asker, Privilege.READ, path)
