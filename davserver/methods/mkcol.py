"""MKCOL (RFC 4918 section 9.3), with properties from the start (RFC 5689), all or nothing."""

from __future__ import annotations

from collections.abc import Sequence

from davserver.auth.base import Privilege
from davserver.changes import creating, make_durable
from davserver.context import RequestContext, Response, Target
from davserver.errors import Forbidden, MethodNotAllowed, ResourceExists, StorageError, from_storage
from davserver.methods._checks import relocate
from davserver.methods._updates import Failures, Refused, Update, prepare, propstats, store
from davserver.methods.base import UNMAPPED, BodyPolicy, LockRule, Method
from davserver.protocol.jsonbody import mkcol_xml
from davserver.protocol.multistatus import mkcol_response
from davserver.protocol.names import RESOURCETYPE, PropertyChange
from davserver.protocol.path import DavPath
from davserver.protocol.prefer import MINIMAL, Preferences, Return, applied
from davserver.protocol.xmlread import is_plain_collection, parse_mkcol
from davserver.recovery import put_attributes, remove_tree
from davserver.state.base import GateView
from davserver.storage.base import Kind, Stat, Storage
from davserver.usage import growing

XML = (b"content-type", b'application/xml; charset="utf-8"')


def parse_body(rc: RequestContext) -> list[PropertyChange]:
    return parse_mkcol(rc.body, charset=rc.charset)


def handle_mkcol(rc: RequestContext, target: Target) -> Response:
    """Creates an empty collection: 201, 405 if something is mapped, 409 without a parent; if a
    property cannot be set, nothing is created, and the status is that of the first of them."""
    changes: list[PropertyChange] = rc.document
    parent = target.key.parent
    try:
        with rc.hold([target.key], [parent] if parent else []) as view:
            fresh = relocate(rc, MKCOL, view)
            try:
                with growing(rc.services, view, fresh.key, 0):
                    view.clear(fresh.key)
                    _create(rc, view, fresh, changes)
            except ResourceExists as error:
                allow = rc.services.allowed(Kind.COLLECTION, can_write=rc.can_write)
                raise MethodNotAllowed(str(error), headers=((b"allow", allow),)) from error
    except Refused as refused:
        first = next(iter(refused.failures.values()))
        body = mkcol_response(propstats(changes, refused.failures))
        return Response(first.status, (*first.headers, XML), body)
    make_durable(rc.services.storage, fresh.path.parent)
    minimal = rc.headers.recall(Preferences.from_headers).returns is Return.MINIMAL
    return Response(201, applied(MINIMAL) if minimal else ())


def _create(
    rc: RequestContext, view: GateView, target: Target, changes: Sequence[PropertyChange]
) -> None:
    """Raises Refused, ResourceExists, StorageError: then nothing was created."""
    services, path = rc.services, target.path
    if not changes:
        view.commit()
        services.storage.make_collection(path)
        return
    failures: Failures = {}
    others = []
    for change in changes:
        if change.name != RESOURCETYPE:
            others.append(change)
        elif not is_plain_collection(change.value or b""):
            # RFC 5689 section 3.3: of the types that there may be, this server has one.
            failures[RESOURCETYPE] = Forbidden(
                "a collection is all that can be made", condition=b"valid-resourcetype"
            )
    now_ns = int(rc.now * 1_000_000_000)
    stat = Stat(Kind.COLLECTION, 0, now_ns, now_ns, 0, 0)
    update = prepare(rc, path, stat, others, {}, failures)
    store(target.key, update, view)
    with creating(services, view, path, target.key):
        if update.attributes:
            _make_with(services.storage, path, update)
        else:
            services.storage.make_collection(path)


def _make_with(storage: Storage, path: DavPath, update: Update) -> None:
    """Makes the collection under a hidden name: if it does not get its attributes, and cannot be
    removed either, still nobody sees it. Raises Refused, StorageError."""
    staged = storage.hidden(path)
    try:
        storage.make_collection(staged)
        try:
            put_attributes(storage, staged, update.attributes)
        except StorageError as exc:
            error = from_storage(_told_of(exc, staged, path))
            raise Refused({update.origin[key]: error for key in update.attributes}) from exc
        storage.rename(staged, path)
    except BaseException as exc:
        remove_tree(storage, staged)
        if isinstance(exc, StorageError):
            raise _told_of(exc, staged, path) from exc
        raise


def _told_of(error: StorageError, staged: DavPath, path: DavPath) -> StorageError:
    """The client knows the collection by the name that it asked for."""
    return type(error)(str(error).replace(staged.name, repr(path.name)[1:-1]))


MKCOL = Method(
    "MKCOL",
    handle=handle_mkcol,
    parse=parse_body,
    from_json=mkcol_xml,
    body=BodyPolicy.XML_ALONE,
    locks=LockRule.CREATES,
    privilege=Privilege.WRITE,
    applies_to=UNMAPPED,
    creates=True,
)
METHODS = (MKCOL,)
