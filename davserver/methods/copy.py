"""COPY (RFC 4918 section 9.8)."""

from __future__ import annotations

from dataclasses import dataclass

from davserver.auth.base import Privilege
from davserver.changes import discard, make_durable, publish
from davserver.context import RequestContext, Response, Target
from davserver.digests import carry_digests
from davserver.errors import (
    BadRequest,
    IsACollection,
    NotACollection,
    ParentChanged,
    ParentMissing,
    ResourceNotFound,
    ServiceUnavailable,
)
from davserver.handover import release
from davserver.methods._checks import relocate
from davserver.methods._failures import Failures
from davserver.methods._times import creation_change, read_times, set_modified
from davserver.methods._tree import prove
from davserver.methods._treecopy import Staged, stage_copy
from davserver.methods._walking import refuse_cancelled
from davserver.methods.base import LockRule, Method
from davserver.properties.bindings import IDENTITY
from davserver.protocol.headers import Depth
from davserver.protocol.names import PropertyChange
from davserver.protocol.path import DavPath, Key
from davserver.recovery import identity, remove_tree
from davserver.state.base import GateView
from davserver.storage.base import Kind, Stat
from davserver.usage import Aside, size_of

_ATTEMPTS = 4
_IN_GATE_LIMIT = 1 << 20
"""Bytes: a source up to this, which never stood still, is at last copied inside the gate."""
_MOVED = (ResourceNotFound, ParentMissing, ParentChanged, NotACollection, IsACollection)


class _SourceChanged(Exception):
    """What was staged is not what stands at the source now."""

    def __init__(self, target: Target) -> None:
        super().__init__(target)
        self.target = target


@dataclass(frozen=True, slots=True)
class _Copy:
    """What was staged of what `begun` was then."""

    begun: Target
    path: DavPath
    staged: Staged


def handle_copy(rc: RequestContext, target: Target) -> Response:
    """Builds the copy under a hidden name, then publishes it whole: 201, or 204 in the place of
    what was there. Members that cannot be read are a 207: to an unmapped Destination the rest is
    published; an existing one is kept as it was, all of it.

    When the source itself is replaced in between, the copy is begun again: content and dead
    properties are of one version."""
    for attempt in range(1, _ATTEMPTS + 1):
        if target.is_collection and rc.depth is Depth.ONE:
            raise BadRequest("COPY of a collection has Depth 0 or infinity")
        try:
            return _copy(rc, target, is_last=attempt == _ATTEMPTS)
        except _SourceChanged as changed:
            target = changed.target
        except _MOVED:
            # Something was moved or deleted meanwhile: what is missing decides the status.
            with rc.hold([]) as view:
                target = relocate(rc, COPY, view)
    raise ServiceUnavailable("the source keeps changing", headers=((b"retry-after", b"1"),))


def _copy(rc: RequestContext, target: Target, *, is_last: bool) -> Response:
    assert target.destination is not None
    storage = rc.services.storage
    staged = storage.hidden(target.destination)
    failures = Failures(rc)
    with storage.following(staged):
        try:
            made = _stage(rc, target, staged, failures)
            if failures.count and target.destination_stat is not None:
                remove_tree(storage, staged)
                return failures.response()
            has_failed = bool(failures.count)
            copy = _Copy(target, staged, made)
            replaced, aside = _publish(rc, copy, is_last=is_last, is_part=has_failed)
        except BaseException:
            failures.close()
            remove_tree(storage, staged)
            raise
        discard(rc.services, aside)
    make_durable(storage, target.destination.parent)
    return failures.response() if failures.count else created(rc, target, replaced=replaced)


def created(rc: RequestContext, target: Target, *, replaced: bool) -> Response:
    """201 with Location as an absolute path, or 204."""
    assert target.destination is not None
    if replaced:
        return Response(204, rc.times.accepted())
    href = rc.href(target.destination, collection=target.is_collection)
    return Response(201, ((b"location", href), *rc.times.accepted()))


def _stage(rc: RequestContext, target: Target, staged: DavPath, failures: Failures) -> Staged:
    if target.is_collection and rc.depth is Depth.ZERO:
        rc.services.storage.make_collection(staged)
        rc.progress.expect(1, 0)
        rc.progress.did()
        return Staged(0)
    return stage_copy(rc, target, staged, failures, mtime_ns=rc.times.modified_ns)


def _publish(
    rc: RequestContext, copy: _Copy, *, is_last: bool, is_part: bool
) -> tuple[bool, Aside | None]:
    """Returns whether something was replaced, and where its old tree waits to be removed."""
    refuse_cancelled(rc)
    storage = rc.services.storage
    begun, staged = copy.begun, copy.path
    key = storage.canonical(staged)
    with rc.hold([key]) as view:
        target = relocate(rc, COPY, view)
        goal_key = target.destination_key
        if goal_key and release(rc.services, view, goal_key, goal_key, itself=False):
            target = relocate(rc, COPY, view)
        if not _is_same(begun.stat, target.stat):
            if not is_last or target.kind is not begun.kind:
                raise _SourceChanged(target)
            _stage_again(rc, target, staged)
        goal, goal_key = target.destination, target.destination_key
        assert goal is not None
        assert goal_key is not None
        _stage_rows(rc, view, target, key)
        if copy.staged.bound is not None:
            copy.staged.bound.store(view)
        _keep_identity(view, target, key)
        if is_part:
            _drop_rows_of_missing(rc, view, staged, key)
        old = target.destination_stat
        source = staged, key, _dated(rc, view, staged, key)
        # The lock on a Destination that is mapped stays (its token was submitted); what was in
        # the collection that is replaced is gone, and so are the locks there.
        keeps_lock = old is not None
        size = size_of(source[2]) or copy.staged.size
        if rc.progress.is_watched and not is_part:
            prove(rc, goal, source[2], created(rc, target, replaced=old is not None))
        ends = source, (goal, goal_key, old)
        aside = publish(rc.services, view, *ends, size=size, keeps_lock=keeps_lock)
        carry_digests(view, goal_key, view.properties(target.key), (begun.stat, source[2]))
    return old is not None, aside


def _dated(rc: RequestContext, view: GateView, staged: DavPath, key: Key) -> Stat:
    """Gives what is staged the times that the client asks for, as far as it has not them yet."""
    stat = rc.services.storage.stat(staged)
    if rc.times.created_ns is not None:
        view.patch(key, [creation_change(rc.times.created_ns)])
    return stat if stat.kind is Kind.FILE else set_modified(rc, staged, stat)


def _is_same(then: Stat | None, now: Stat | None) -> bool:
    """True when a file is the version that it was, a collection the same one: its members are
    copied one by one, each at a time of its own."""
    if then is None or now is None or then.kind is not now.kind:
        return False
    if then.kind is Kind.FILE:
        return then.etag == now.etag
    return identity(then) == identity(now)


def _stage_again(rc: RequestContext, target: Target, staged: DavPath) -> None:
    if target.stat is not None and target.kind is Kind.FILE and target.stat.size <= _IN_GATE_LIMIT:
        rc.services.storage.delete(staged)
        rc.services.storage.copy(target.path, staged, mtime_ns=rc.times.modified_ns)


def _stage_rows(rc: RequestContext, view: GateView, target: Target, key: Key) -> None:
    # Section 9.8.2: dead properties are duplicated. They wait under the hidden name until the
    # publication moves them along.
    if view.has_rows(target.key):
        view.copy_properties(target.key, key, tree=rc.depth is not Depth.ZERO)


def _keep_identity(view: GateView, target: Target, key: Key) -> None:
    """RFC 5842 section 2.3: what is at the Destination is updated, and stays the resource that it
    is."""
    if target.destination_stat is not None and target.destination_key is not None:
        row = view.properties(target.destination_key).get(IDENTITY)
        if row is not None:
            view.patch(key, [PropertyChange(IDENTITY, row)])


def _drop_rows_of_missing(rc: RequestContext, view: GateView, staged: DavPath, key: Key) -> None:
    """Members that could not be copied leave no properties to who comes to stand there."""
    for each in view.keys_with_rows(key):
        path = staged
        for name in each.path[len(key.path) :].split(b"/")[1:]:
            path = path.child(name.decode("utf-8", "surrogateescape"))
        if rc.services.storage.locate(path).stat is None:
            view.clear(each)


COPY = Method(
    "COPY",
    handle=handle_copy,
    validate=read_times,
    locks=LockRule.DESTINATION,
    privilege=Privilege.READ,
    destination=Privilege.WRITE,
    unbounded=True,
)
METHODS = (COPY,)
