"""PROPPATCH (RFC 4918 section 9.2): sets and removes properties, in order, all or none.

Every instruction is validated before anything is stored. The rows and a journalled change with the
live values are one transaction; the values are put on the resource after it, and recovery does so
when the server died in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from davserver.auth.base import Privilege
from davserver.changes import apply_attributes
from davserver.context import RequestContext, Response, Target
from davserver.digests import carry_digests
from davserver.errors import StorageError, from_storage
from davserver.methods._checks import locked_error, relocate, unsubmitted
from davserver.methods._updates import Failures, Refused, prepare, propstats, store
from davserver.methods.base import BodyPolicy, Method
from davserver.properties.digests import DIGESTS
from davserver.protocol.jsonbody import proppatch_xml
from davserver.protocol.multistatus import MultiStatusWriter
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.prefer import MINIMAL, Preferences, Return, applied
from davserver.protocol.quirks import is_windows_proppatch_exempt
from davserver.protocol.xmlread import parse_proppatch
from davserver.state.base import GateView

XML = (b"content-type", b'application/xml; charset="utf-8"')
NO_STORE = (b"cache-control", b"no-store")


def parse_update(rc: RequestContext) -> list[PropertyChange]:
    return parse_proppatch(rc.body, charset=rc.charset)


def handle_proppatch(rc: RequestContext, target: Target) -> Response:
    """207 always, once the instructions were tried: 200 for all, or each failure with its own
    status and 424 for the rest. 204 for all, if the client prefers that (RFC 8144 section 2.2)."""
    changes: list[PropertyChange] = rc.document
    failures: Failures = {}
    try:
        with rc.hold([target.key]) as view:
            target = relocate(rc, PROPPATCH, view)
            _check_locks(rc, target, changes, view)
            _update(rc, target, changes, view)
    except Refused as refused:
        failures = refused.failures
    if not failures and rc.headers.recall(Preferences.from_headers).returns is Return.MINIMAL:
        return Response(204, (NO_STORE, *applied(MINIMAL)))
    return _answer(rc, target, changes, failures)


def _check_locks(
    rc: RequestContext, target: Target, changes: Sequence[PropertyChange], view: GateView
) -> None:
    covering = view.covering(target.key, now=rc.now)
    found = unsubmitted(rc, covering)
    if not found:
        return
    creators = [lock.principal for lock in covering]
    if not is_windows_proppatch_exempt(
        changes, principal=rc.principal.name, lock_creators=creators
    ):
        raise locked_error(rc, found)


def _update(
    rc: RequestContext, target: Target, changes: Sequence[PropertyChange], view: GateView
) -> None:
    """Raises Refused."""
    assert target.stat is not None
    before = dict(view.properties(target.key))
    update = prepare(rc, target.path, target.stat, changes, before)
    store(target.key, update, view)
    if not update.attributes:
        view.commit()
        return
    try:
        apply_attributes(rc.services, view, target.path, target.key, update.attributes)
    except StorageError as exc:
        _undo(target, update.rows, before, view)
        error = from_storage(exc)
        raise Refused({update.origin[key]: error for key in update.attributes}) from exc
    if DIGESTS in before:
        with suppress(StorageError):
            stat = rc.services.storage.stat(target.path)
            carry_digests(view, target.key, before, (target.stat, stat))


def _undo(
    target: Target,
    rows: Sequence[PropertyChange],
    before: Mapping[QName, bytes],
    view: GateView,
) -> None:
    """The storage refused the live values: the rows go back."""
    names = dict.fromkeys(row.name for row in rows)
    view.patch(target.key, [PropertyChange(name, before.get(name)) for name in names])
    view.commit()


def _answer(
    rc: RequestContext,
    target: Target,
    changes: Sequence[PropertyChange],
    failures: Failures,
) -> Response:
    writer = MultiStatusWriter()
    href = rc.href(target.path, collection=target.is_collection)
    writer.propstats(href, propstats(changes, failures))
    return Response(207, (XML, NO_STORE), writer.finish())


PROPPATCH = Method(
    "PROPPATCH",
    handle=handle_proppatch,
    parse=parse_update,
    from_json=proppatch_xml,
    body=BodyPolicy.XML,
    # Locks are checked by the handler, which knows the names that Windows may set without.
    privilege=Privilege.WRITE,
)
METHODS = (PROPPATCH,)
