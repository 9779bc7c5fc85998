"""Was it as if one request had come after the other? A history of requests that overlapped is
linearizable when each can be given a moment between its beginning and its end so that a
sequential model answers each as the server did (Herlihy and Wing; the search is Wing and Gong's,
with Lowe's memory of what was tried).

The model here is a few URLs, each a file with a content, an entity-tag and perhaps an exclusive
lock. An entity-tag that no answer has told yet is unknown: it is bound by the first that does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Op:
    """One request and its answer.

    Attributes:
        begun, ended: moments on one clock.
        value: the content that was sent (PUT), or read (GET).
        expects: the entity-tag in If-Match; "*" in If-None-Match is "absent".
        token: the lock token that was submitted, or granted (LOCK).
        etag: the entity-tag in the answer.
    """

    begun: float
    ended: float
    method: str
    path: str
    status: int
    value: bytes | None = None
    expects: str | None = None
    token: str | None = None
    etag: str | None = None
    target: str | None = None


@dataclass(frozen=True)
class File:
    """One mapped URL; `etag` None while nobody has told. `moved`: it has just come there, in the
    place of a file, and may get a later time."""

    value: bytes
    etag: str | None
    token: str | None = None
    moved: bool = False


State = tuple[tuple[str, File], ...]
"""Sorted by path, so that equal states are equal."""


def with_file(state: State, path: str, file: File | None) -> State:
    files = dict(state)
    files.pop(path, None)
    if file is not None:
        files[path] = file
    return tuple(sorted(files.items()))


def apply(state: State, op: Op) -> State | None:
    """Returns the state after `op`, or None when the model would have answered otherwise."""
    file = dict(state).get(op.path)
    return _STEPS[op.method](state, op, file)


def _get(state: State, op: Op, file: File | None) -> State | None:
    if file is None:
        return state if op.status == 404 else None
    if op.status != 200 or op.value != file.value or file.etag not in (None, op.etag):
        return None
    return with_file(state, op.path, File(file.value, op.etag, file.token, moved=file.moved))


def _is_refused(op: Op, file: File | None) -> bool:
    return file is not None and file.token is not None and file.token != op.token


def _put(state: State, op: Op, file: File | None) -> State | None:
    if op.status == 412:
        # RFC 4918 section 10.4.3 and 7: `If` goes first, then locks, then the RFC 9110 fields.
        false_if = op.token is not None and (file is None or file.token != op.token)
        return state if false_if or (not _is_refused(op, file) and _may_fail(op, file)) else None
    if op.token is not None and (file is None or file.token != op.token):
        return None
    if op.status == 423:
        return state if _is_refused(op, file) else None
    if _is_refused(op, file) or not _may_hold(op, file):
        return None
    if op.status != (201 if file is None else 204):
        return None
    assert op.value is not None
    return with_file(state, op.path, File(op.value, op.etag, file.token if file else None))


def _may_fail(op: Op, file: File | None) -> bool:
    if op.expects == "absent":
        return file is not None
    return op.expects is not None and (file is None or file.etag != op.expects)


def _may_hold(op: Op, file: File | None) -> bool:
    if op.expects == "absent":
        return file is None
    return op.expects is None or (file is not None and file.etag in (None, op.expects))


def _delete(state: State, op: Op, file: File | None) -> State | None:
    if op.status == 423:
        return state if _is_refused(op, file) else None
    if file is None:
        return state if op.status == 404 else None
    if op.status != 204 or _is_refused(op, file):
        return None
    return with_file(state, op.path, None)


def _lock(state: State, op: Op, file: File | None) -> State | None:
    if op.status == 423:
        return state if file is not None and file.token is not None else None
    if file is not None and file.token is not None:
        return None
    if op.status != (201 if file is None else 200):
        return None
    file = File(b"", None) if file is None else file
    return with_file(state, op.path, File(file.value, file.etag, op.token))


def _unlock(state: State, op: Op, file: File | None) -> State | None:
    is_held = file is not None and file.token == op.token
    if op.status == 409:
        return state if not is_held else None
    if op.status != 204 or file is None or not is_held:
        return None
    return with_file(state, op.path, File(file.value, file.etag))


def _copy(state: State, op: Op, file: File | None) -> State | None:
    return _transfer(state, op, file, is_move=False)


def _move(state: State, op: Op, file: File | None) -> State | None:
    return _transfer(state, op, file, is_move=True)


def _transfer(state: State, op: Op, file: File | None, *, is_move: bool) -> State | None:
    assert op.target is not None
    goal = dict(state).get(op.target)
    if file is None:
        return state if op.status == 404 else None
    if op.status == 423:
        may_be = _is_refused(op, goal) or (is_move and _is_refused(op, file))
        return state if may_be else None
    if _is_refused(op, goal) or (is_move and _is_refused(op, file)):
        return None
    if op.status != (201 if goal is None else 204):
        return None
    # The copy is a new version.
    kept = None if is_move or goal is None else goal.token
    etag = file.etag if is_move else None
    file = File(file.value, etag, kept, moved=is_move and goal is not None)
    state = with_file(state, op.target, file)
    return with_file(state, op.path, None) if is_move else state


def _touch(state: State, op: Op, file: File | None) -> State | None:
    if file is None or not file.moved:
        return state
    return with_file(state, op.path, File(file.value, None, file.token))


def _touches(history: Sequence[Op]) -> list[Op]:
    """A file that is moved over one as new as itself gets a later time (RFC 4918 section 8.8),
    and with it another entity-tag. It is one file all along, renamed in one step and stamped in
    the next: no system does both at once, and who reads waits for nobody."""
    return [
        Op(op.begun, op.ended, "touch", op.target, op.status)
        for op in history
        if op.method == "MOVE" and op.status == 204 and op.target is not None
    ]


_STEPS = {
    "touch": _touch,
    "GET": _get,
    "PUT": _put,
    "DELETE": _delete,
    "LOCK": _lock,
    "UNLOCK": _unlock,
    "COPY": _copy,
    "MOVE": _move,
}
_REAL = frozenset(_STEPS) - {"touch"}


def explain(history: Sequence[Op], state: State = ()) -> list[Op] | None:
    """Returns an order in which the history can have happened, None when there is none."""
    ops = sorted([*history, *_touches(history)], key=lambda op: op.begun)
    tried: set[tuple[int, State]] = set()
    order: list[Op] = []

    def search(done: int, state: State) -> bool:
        if done == (1 << len(ops)) - 1:
            return True
        if (done, state) in tried:
            return False
        tried.add((done, state))
        for number in _next(ops, done):
            after = apply(state, ops[number])
            if after is None:
                continue
            order.append(ops[number])
            if search(done | 1 << number, after):
                return True
            order.pop()
        return False

    if not search(0, state):
        return None
    return [op for op in order if op.method in _REAL]


def _next(ops: Sequence[Op], done: int) -> list[int]:
    """Returns the requests that may come next: none that is left ended before they began."""
    left = [number for number in range(len(ops)) if not done >> number & 1]
    first_end = min(ops[number].ended for number in left)
    return [number for number in left if ops[number].begun <= first_end]
