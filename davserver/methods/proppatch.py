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
from davserver.errors import DavError, StateFull, StorageError, from_storage
from davserver.methods._checks import locked_error, relocate, unsubmitted
from davserver.methods.base import BodyPolicy, Method
from davserver.properties.base import Resource
from davserver.properties.digests import DIGESTS
from davserver.protocol.deadprops import name_only
from davserver.protocol.jsonbody import proppatch_xml
from davserver.protocol.multistatus import MultiStatusWriter, PropStat
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.protocol.prefer import MINIMAL, Preferences, Return, applied
from davserver.protocol.quirks import is_windows_proppatch_exempt
from davserver.protocol.xmlread import parse_proppatch
from davserver.state.base import GateView

XML = (b"content-type", b'application/xml; charset="utf-8"')
NO_STORE = (b"cache-control", b"no-store")
Failures = dict[QName, DavError]


class _Refused(Exception):
    """Some properties cannot be set, so none is: leaving the gate with it undoes everything."""

    def __init__(self, failures: Failures) -> None:
        super().__init__(failures)
        self.failures = failures


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
    except _Refused as refused:
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
    """Raises _Refused."""
    before = dict(view.properties(target.key))
    rows, attributes, origin = _prepare(rc, target, changes, before)
    _store(target.key, rows, origin, view)
    if not attributes:
        view.commit()
        return
    try:
        apply_attributes(rc.services, view, target.path, target.key, attributes)
    except StorageError as exc:
        _undo(rc, target, rows, before, view)
        error = from_storage(exc)
        raise _Refused({origin[key]: error for key in attributes}) from exc
    if DIGESTS in before:
        with suppress(StorageError):
            stat = rc.services.storage.stat(target.path)
            carry_digests(view, target.key, before, (target.stat, stat))


def _store(
    key: Key, rows: Sequence[PropertyChange], origin: Mapping[str, QName], view: GateView
) -> None:
    """Raises _Refused."""
    try:
        view.patch(key, rows)
        return
    except StateFull:
        view.rollback()
    # One by one it is seen which of them is too much.
    for change in rows:
        try:
            view.patch(key, [change])
        except StateFull as exc:
            raise _Refused({origin[change.name]: from_storage(exc)}) from exc


def _prepare(
    rc: RequestContext,
    target: Target,
    changes: Sequence[PropertyChange],
    dead: Mapping[QName, bytes],
) -> tuple[list[PropertyChange], dict[str, int], dict[str, QName]]:
    """Validates every instruction. Returns rows, attributes, and which property each is of.
    Raises _Refused."""
    assert target.stat is not None
    resource = Resource(
        href=rc.href(target.path, collection=target.is_collection),
        name=target.path.name,
        stat=target.stat,
        principal=rc.principal.name,
        base=rc.base,
        now=rc.now,
        can_write=rc.can_write,
        dead=dead,
    )
    rows: list[PropertyChange] = []
    attributes: dict[str, int] = {}
    origin: dict[str, QName] = {}
    failures: Failures = {}
    for change in changes:
        try:
            prepared = rc.services.live.prepare(resource, change)
        except DavError as error:
            failures.setdefault(change.name, error)
            continue
        rows += prepared.rows
        attributes.update(prepared.attributes)
        origin.update({row.name: change.name for row in prepared.rows})
        origin.update({key: change.name for key, _ in prepared.attributes})
    if failures:
        raise _Refused(failures)
    return rows, attributes, origin


def _undo(
    rc: RequestContext,
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
    groups: dict[tuple[int, bytes | None], list[QName]] = {}
    for name in dict.fromkeys(change.name for change in changes):
        error = failures.get(name)
        if error is not None:
            group = (error.status, error.condition)
        else:
            group = (424, None) if failures else (200, None)
        groups.setdefault(group, []).append(name)
    if not groups:
        groups[200, None] = []
    propstats = [
        PropStat(
            status,
            b"".join([name_only(name) for name in names]),
            condition,
            "; ".join([failures[name].detail for name in names if name in failures]),
        )
        for (status, condition), names in groups.items()
    ]
    writer = MultiStatusWriter()
    writer.propstats(rc.href(target.path, collection=target.is_collection), propstats)
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
