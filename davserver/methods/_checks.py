"""The checks between look-up and act, written once for every method.

The pipeline makes them before a method runs; a method that changes something makes them again
inside the gate (`relocate`), where nobody else can publish or lock meanwhile. Order: kind 405,
existence 404 or 409, `If` 412, locks 423, RFC 9110 conditions 304 or 412, Overwrite 412.
"""

from __future__ import annotations

from collections.abc import Sequence

from davserver.binding import locks_through
from davserver.context import RequestContext, Target
from davserver.errors import (
    BadRequest,
    Conflict,
    EscapesRoot,
    Forbidden,
    Locked,
    MethodNotAllowed,
    NotFound,
)
from davserver.methods._conditions import check_conditions, check_if
from davserver.methods._rights import check_rights, link_key
from davserver.methods.base import LockRule, Method
from davserver.protocol.headers import Depth
from davserver.protocol.junk import is_refused
from davserver.protocol.locks import Lock, blocking
from davserver.protocol.path import DavPath, Key
from davserver.protocol.preconditions import Outcome
from davserver.recovery import recover_inside
from davserver.state.base import GateView, StateReader
from davserver.storage.base import Kind, Stat

_TARGET, _SUBTREE = LockRule.TARGET.value, LockRule.SUBTREE.value
_PARENT, _CREATES = LockRule.PARENT.value, LockRule.CREATES.value
_DESTINATION = LockRule.DESTINATION.value


def locate(rc: RequestContext) -> Target:
    """Looks the Request-URI and the Destination up in the storage."""
    found = rc.services.storage.locate(rc.path)
    is_link = found.link_to is not None
    binding = binding_at(rc, rc.path) if is_link else None
    if rc.destination is None:
        return Target(rc.path, found.key, found.stat, is_link=is_link, binding=binding)
    other = _at_destination(rc, rc.destination)
    return Target(rc.path, found.key, found.stat, *other, is_link, binding)


def binding_at(rc: RequestContext, path: DavPath) -> Key | None:
    """Returns the key of a link that is a binding (RFC 5842); None for anybody else's."""
    key = link_key(rc, path)
    return None if rc.services.state.bindings.target(key) is None else key


def _at_destination(rc: RequestContext, path: DavPath) -> tuple[DavPath, Key, Stat | None]:
    found = rc.services.storage.locate(path)
    if found.link_to is None:
        return path, found.key, found.stat
    if rc.method == "MOVE" and binding_at(rc, path) is not None:
        # RFC 5842 section 2.5: what MOVE takes away is the binding, not the resource.
        named = rc.services.storage.named(path)
        return path, named.key, named.stat
    return found.link_to, found.key, found.stat


def check_kind(rc: RequestContext, method: Method, target: Target) -> None:
    """Raises 405 with Allow when the method does not exist for this kind of resource; 403 for
    what is no resource at all (a FIFO, a device, a link out of the root)."""
    kind = target.kind
    if kind in method.applies_to:
        return
    if kind is Kind.OTHER:
        raise Forbidden(f"{target.path.name!r} is no file and no collection")
    if kind is not None:
        allow = rc.services.allowed(kind, can_write=rc.can_write)
        raise MethodNotAllowed(
            f"{method.name} is not for a {kind.value}",
            headers=((b"allow", allow),),
            condition=method.condition,
        )


def check_existence(rc: RequestContext, method: Method, target: Target) -> None:
    """Raises 404 for an unmapped Request-URI, 409 for a missing parent (RFC 4918 section 9.7.1:
    "a PUT that would result in the creation of a resource without an appropriately scoped parent
    collection MUST fail with a 409"), 400 for a name that must not be made."""
    if target.stat is None:
        if None not in method.applies_to:
            detail = f"nothing is mapped to {target.path.name!r}"
            raise NotFound(detail, condition=method.condition)
        if method.creates:
            _check_parent(rc, target.path)
    if target.destination is not None:
        _check_destination(rc, method, target)


def _check_parent(rc: RequestContext, path: DavPath) -> None:
    parent = path.parent
    if parent is None:
        raise Forbidden("the root always exists")
    found = rc.services.storage.locate(parent)
    _refuse_junk(rc, found.key, path)
    if found.stat is None or found.stat.kind is not Kind.COLLECTION:
        raise Conflict(f"the parent of {path.name!r} is no collection")
    _require_creatable(path)


def _refuse_junk(rc: RequestContext, parent: Key, path: DavPath) -> None:
    if is_refused(rc.services.settings.junk_of(parent.root), path.segments):
        raise Forbidden(f"{path.name!r} is junk, which this server is set to refuse")


def _require_creatable(path: DavPath) -> None:
    if not path.is_creatable:
        raise BadRequest(
            f"{path.name!r} is no name to create: it has control characters or is not UTF-8"
        )


def _check_destination(rc: RequestContext, method: Method, target: Target) -> None:
    """RFC 4918 section 9.8.5: 403 onto itself, 409 without a parent; and never into or over
    one's own tree, which would lose it."""
    is_binding = method.name == "MOVE" and target.binding is not None
    source, goal = target.binding if is_binding else target.key, target.destination_key
    assert source is not None
    assert goal is not None
    assert target.destination is not None
    bound = rc.services.state.bindings.target(goal)
    is_fixed = rc.services.storage.is_fixed
    if is_fixed(goal):
        raise Forbidden("a root cannot be replaced")
    if method.name == "MOVE" and is_fixed(source) and not target.is_link:
        raise Forbidden("a root cannot be moved")
    is_same = source == goal or (is_binding and target.key == goal) or target.key == bound
    if is_same and not (method.name == "MOVE" and _is_case_rename(target)):
        raise Forbidden("source and destination are the same resource")
    is_inside = source.covers(goal) or target.path.is_root
    if source != goal and is_inside and rc.depth is not Depth.ZERO:
        raise Forbidden("the destination is inside the source")
    if source != goal and (goal.covers(source) or goal.covers(target.key)):
        raise Forbidden("the source is inside the destination")
    if target.destination_stat is None:
        _check_parent(rc, target.destination)
    elif target.destination_stat.kind is Kind.OTHER and bound is None:
        raise Forbidden(f"{target.destination.name!r} is no file and no collection")


def _is_case_rename(target: Target) -> bool:
    """On a file system that folds case, `MOVE /a /A` renames a resource onto its own key."""
    assert target.destination is not None
    names = target.path.name, target.destination.name
    return names[0] != names[1] and names[0].casefold() == names[1].casefold()


def check_locks(rc: RequestContext, method: Method, target: Target, reader: StateReader) -> None:
    """Raises 423 naming the lock roots whose tokens were not submitted (RFC 4918 section 7)."""
    rule = method.lock_bits
    if not rule:
        return
    found: list[Lock] = []
    if target.stat is not None and rule & _TARGET:
        found += _on_target(rc, rule, target, reader)
    creates = target.stat is None and rule & _CREATES
    if rule & _PARENT or creates:
        key = link_key(rc, target.path) if target.is_link else target.key
        found += _on_parent(rc, key, reader)
    if target.destination is not None and rule & _DESTINATION:
        found += _on_destination(rc, target, reader)
    if found:
        raise locked_error(rc, found)


def _on_target(rc: RequestContext, rule: int, target: Target, reader: StateReader) -> list[Lock]:
    is_ours = target.binding is not None or not target.is_link
    if rule & _PARENT and reader.bindings and is_ours:
        tree = target.binding is not None or bool(rule & _SUBTREE)
        return on_binding(rc, target.binding or target.key, reader, tree=tree)
    found = unsubmitted(rc, reader.covering(target.key, now=rc.now))
    if rule & _SUBTREE:
        found += _unsubmitted_beneath(rc, target.key, reader)
    return found


def on_binding(
    rc: RequestContext, binding: Key, reader: StateReader, *, tree: bool = True
) -> list[Lock]:
    """Returns the locks that keep a binding from being removed: RFC 5842 section 9."""
    locks = locks_through(rc.services, reader, binding, tree=tree)
    return standing(rc, unsubmitted(rc, (), locks))


def locked_error(rc: RequestContext, locks: Sequence[Lock]) -> Locked:
    """The 423 for these locks: it names their roots, never their tokens."""
    roots = dict.fromkeys(rc.base + lock.href for lock in locks)
    return Locked("a lock token was not submitted", hrefs=tuple(roots))


def unsubmitted(
    rc: RequestContext, covering: Sequence[Lock], beneath: Sequence[Lock] = ()
) -> list[Lock]:
    if not covering and not beneath:
        return []
    return blocking(covering, beneath, rc.submitted, rc.principal.name)


def _unsubmitted_beneath(rc: RequestContext, key: Key, reader: StateReader) -> list[Lock]:
    return standing(rc, unsubmitted(rc, (), reader.beneath(key, now=rc.now)))


def standing(rc: RequestContext, locks: Sequence[Lock]) -> list[Lock]:
    """Returns the locks whose root is still there: one that was deleted behind this server's
    back hinders nobody."""
    return [
        lock for lock in locks if any(_leads_to(rc, path, lock.key) for path in _ways_to(rc, lock))
    ]


def _ways_to(rc: RequestContext, lock: Lock) -> tuple[DavPath, DavPath]:
    return rc.services.storage.path_of(lock.key), DavPath.from_raw(lock.href)


def _leads_to(rc: RequestContext, path: DavPath, key: Key) -> bool:
    try:
        found = rc.services.storage.locate(path)
    except EscapesRoot:
        return False
    return found.stat is not None and found.key == key


def _on_parent(rc: RequestContext, key: Key, reader: StateReader) -> list[Lock]:
    # RFC 4918 section 7.4: a lock on a collection, of whatever depth, protects its membership.
    parent = key.parent
    return [] if parent is None else unsubmitted(rc, reader.covering(parent, now=rc.now))


def _on_destination(rc: RequestContext, target: Target, reader: StateReader) -> list[Lock]:
    key, stat = target.destination_key, target.destination_stat
    assert key is not None
    if stat is None:
        return _on_parent(rc, key, reader)
    if rc.method == "MOVE" and reader.bindings:
        return on_binding(rc, key, reader) + _on_parent(rc, key, reader)
    found = unsubmitted(rc, reader.covering(key, now=rc.now))
    found += _unsubmitted_beneath(rc, key, reader)
    # Section 7: a lock protects the collection from a member URL that comes to identify another
    # resource. A file copied over a file only changes that file's content.
    is_update = rc.method == "COPY" and stat.kind is Kind.FILE and target.kind is Kind.FILE
    return found if is_update else found + _on_parent(rc, key, reader)


def check(
    rc: RequestContext,
    method: Method,
    target: Target,
    reader: StateReader,
    held: Sequence[Lock] = (),
) -> Outcome:
    """Everything from existence on; see the module's order."""
    check_existence(rc, method, target)
    return _check_state(rc, method, target, reader, held)


def check_direct(rc: RequestContext, method: Method, target: Target, reader: StateReader) -> None:
    """Every check of a method that creates, for who has looked the target up in the gate and found
    its parent: as `relocate` makes them, where rights are the same everywhere."""
    if target.stat is not None:
        check_kind(rc, method, target)
    else:
        _refuse_junk(rc, target.key, target.path)
        _require_creatable(target.path)
    _check_state(rc, method, target, reader)


def _check_state(
    rc: RequestContext,
    method: Method,
    target: Target,
    reader: StateReader,
    held: Sequence[Lock] = (),
) -> Outcome:
    if rc.if_header is not None:
        check_if(rc, target, reader, held)
    check_locks(rc, method, target, reader)
    return check_conditions(rc, method, target, reader)


def _look_direct(rc: RequestContext) -> Target | None:
    """Looks the Request-URI up where the key that is expected has it; None where another key may
    be the right one, or nothing is there."""
    if rc.direct is None or rc.expected is None or rc.destination is not None:
        return None
    stat = rc.direct.look_direct(rc.expected)
    return None if stat is None else Target(rc.path, rc.expected, stat)


def relocate(
    rc: RequestContext, method: Method, view: GateView, held: Sequence[Lock] = ()
) -> Target:
    """Inside the gate: looks everything up again and makes every check again, by the time that
    it is now: the body may have taken hours."""
    rc.now = rc.services.clock()
    if rc.direct is None:
        recover_inside(rc.services, view, (rc.path, rc.destination))
    elif view.changes():
        raise Conflict("a change may have to be recovered first")
    if rc.in_gate is not None:
        rc.in_gate(view)
    target = _look_direct(rc) or locate(rc)
    if rc.expected is not None:
        is_odd = rc.path.slash is not target.is_collection and not rc.path.is_root
        # A collection that is to be made may be named with its slash, or without.
        is_odd &= target.stat is not None or rc.method != "MKCOL"
        if is_odd or target.is_link or target.key != rc.expected:
            raise Conflict("it is not where its path says")
    check_rights(rc, method, target)
    check_kind(rc, method, target)
    check(rc, method, target, view, held)
    return target
