"""What is asked of the properties of one resource, all or nothing: PROPPATCH, extended MKCOL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from davserver.context import RequestContext
from davserver.errors import DavError, StateFull, from_storage
from davserver.properties.base import Resource
from davserver.protocol.deadprops import name_only
from davserver.protocol.multistatus import PropStat
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import DavPath, Key
from davserver.state.base import GateView
from davserver.storage.base import Kind, Stat

Failures = dict[QName, DavError]


class Refused(Exception):
    """Some properties cannot be set, so none is: leaving the gate with it undoes everything."""

    def __init__(self, failures: Failures) -> None:
        super().__init__(failures)
        self.failures = failures


@dataclass(frozen=True, slots=True)
class Update:
    """What the instructions come to.

    Attributes:
        attributes: live values for the storage.
        origin: which property a row or an attribute is of.
    """

    rows: list[PropertyChange] = field(default_factory=list)
    attributes: dict[str, int] = field(default_factory=dict)
    origin: dict[str, QName] = field(default_factory=dict)


def prepare(
    rc: RequestContext,
    path: DavPath,
    stat: Stat,
    changes: Sequence[PropertyChange],
    dead: Mapping[QName, bytes],
    failures: Failures | None = None,
) -> Update:
    """Validates every instruction. Raises Refused.

    Args:
        dead: what is stored of the resource.
        failures: those that are known already.
    """
    resource = Resource(
        href=rc.href(path, collection=stat.kind is Kind.COLLECTION),
        name=path.name,
        stat=stat,
        principal=rc.principal.name,
        base=rc.base,
        now=rc.now,
        can_write=rc.can_write,
        dead=dead,
    )
    update = Update()
    failed: Failures = dict(failures or {})
    for change in changes:
        try:
            prepared = rc.services.live.prepare(resource, change)
        except DavError as error:
            failed.setdefault(change.name, error)
            continue
        update.rows.extend(prepared.rows)
        update.attributes.update(prepared.attributes)
        update.origin.update({row.name: change.name for row in prepared.rows})
        update.origin.update({key: change.name for key, _ in prepared.attributes})
    if failed:
        raise Refused(failed)
    return update


def store(key: Key, update: Update, view: GateView) -> None:
    """Writes the rows into the transaction. Raises Refused."""
    try:
        view.patch(key, update.rows)
        return
    except StateFull:
        view.rollback()
    # One by one it is seen which of them is too much.
    for change in update.rows:
        try:
            view.patch(key, [change])
        except StateFull as exc:
            raise Refused({update.origin[change.name]: from_storage(exc)}) from exc


def propstats(changes: Sequence[PropertyChange], failures: Failures) -> list[PropStat]:
    """Returns 200 for all, or each failure with its own status and 424 for the rest."""
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
    return [
        PropStat(
            status,
            b"".join([name_only(name) for name in names]),
            condition,
            "; ".join([failures[name].detail for name in names if name in failures]),
        )
        for (status, condition), names in groups.items()
    ]
