"""A checker that cannot fail is worthless: histories that happened, and some that cannot have."""

from __future__ import annotations

import pytest

from tests.support.linear import Op, explain


def op(
    begun: float, ended: float, method: str, status: int, path: str = "/a", **rest: object
) -> Op:
    return Op(begun, ended, method, path, status, **rest)  # type: ignore[arg-type]


def put(begun: float, ended: float, value: bytes, status: int = 204, **rest: object) -> Op:
    rest.setdefault("etag", f'"{value.decode()}"' if status < 300 else None)
    return op(begun, ended, "PUT", status, value=value, **rest)


def get(begun: float, ended: float, value: bytes, **rest: object) -> Op:
    rest.setdefault("etag", f'"{value.decode()}"')
    return op(begun, ended, "GET", 200, value=value, **rest)


FIRST = put(0, 1, b"1", 201)

HAPPENED = {
    "one after the other": [FIRST, get(2, 3, b"1"), put(4, 5, b"2"), get(6, 7, b"2")],
    "a read during a write sees the old version": [FIRST, put(2, 9, b"2"), get(3, 4, b"1")],
    "a read during a write sees the new version": [FIRST, put(2, 9, b"2"), get(3, 4, b"2")],
    "two writes at once, the later in time last": [
        FIRST,
        put(2, 9, b"2"),
        put(3, 8, b"3"),
        get(10, 11, b"2"),
    ],
    "of two swaps one fails": [
        FIRST,
        put(2, 9, b"2", expects='"1"'),
        put(2, 9, b"3", 412, expects='"1"'),
        get(10, 11, b"2"),
    ],
    "of two creations one fails": [
        put(0, 3, b"1", 412, expects="absent"),
        put(0, 3, b"2", 201, expects="absent"),
    ],
    "a lock keeps others out until it is given up": [
        FIRST,
        op(2, 3, "LOCK", 200, token="t"),
        put(4, 5, b"2", 423),
        put(4, 5, b"3", token="t"),
        op(6, 9, "UNLOCK", 204, token="t"),
        put(7, 8, b"4"),
        put(10, 11, b"5", 412, token="t"),
    ],
    "a copy's entity-tag is known once it is read": [
        FIRST,
        op(2, 3, "COPY", 201, target="/b"),
        get(4, 5, b"1", path="/b", etag='"new"'),
        put(6, 7, b"2", 204, path="/b", expects='"new"'),
    ],
    "a move takes the file along": [
        FIRST,
        op(2, 5, "MOVE", 201, target="/b"),
        op(3, 4, "GET", 404),
        get(6, 7, b"1", path="/b"),
    ],
    "a file that is moved over another one gets a later time": [
        FIRST,
        put(0, 1, b"old", 201, path="/b"),
        op(2, 9, "MOVE", 204, target="/b"),
        get(3, 4, b"1", path="/b"),
        get(5, 6, b"1", path="/b", etag='"other"'),
        get(10, 11, b"1", path="/b", etag='"other"'),
    ],
    "a file that is moved over an older one keeps its entity-tag": [
        FIRST,
        put(0, 1, b"old", 201, path="/b"),
        op(2, 9, "MOVE", 204, target="/b"),
        get(10, 11, b"1", path="/b"),
    ],
    "a lock does not move": [
        FIRST,
        op(2, 3, "LOCK", 200, token="t"),
        op(4, 5, "MOVE", 201, target="/b", token="t"),
        put(6, 7, b"2", 204, path="/b"),
    ],
}

IMPOSSIBLE = {
    "a refusal by a lock that is being granted, before one without it": [
        FIRST,
        op(2, 9, "LOCK", 200, token="t"),
        put(3, 4, b"2", 423),
        put(5, 6, b"3", 412, expects="absent"),
    ],
    "a read of what was never written": [FIRST, get(2, 3, b"9")],
    "a read that goes back": [FIRST, put(2, 3, b"2"), get(4, 5, b"1")],
    "a lost write": [FIRST, put(2, 3, b"2"), get(4, 5, b"1"), get(6, 7, b"2")],
    "two reads in the wrong order": [
        FIRST,
        put(2, 9, b"2"),
        get(3, 4, b"2"),
        get(5, 6, b"1"),
    ],
    "two swaps of one version": [
        FIRST,
        put(2, 9, b"2", expects='"1"'),
        put(2, 9, b"3", expects='"1"'),
    ],
    "two creations": [
        put(0, 3, b"1", 201, expects="absent"),
        put(0, 3, b"2", 201, expects="absent"),
    ],
    "a creation that fails though nothing was there": [put(0, 1, b"1", 412, expects="absent")],
    "two exclusive locks": [
        FIRST,
        op(2, 5, "LOCK", 200, token="t"),
        op(2, 5, "LOCK", 200, token="u"),
    ],
    "a write without the token": [FIRST, op(2, 3, "LOCK", 200, token="t"), put(4, 5, b"2")],
    "a success after a lock was granted": [
        FIRST,
        op(2, 3, "LOCK", 200, token="t"),
        put(4, 5, b"2", 412, expects="absent"),
    ],
    "a refusal though nobody holds a lock": [FIRST, put(2, 3, b"2", 423)],
    "a file that a move left behind": [
        FIRST,
        op(2, 3, "MOVE", 201, target="/b"),
        get(4, 5, b"1"),
    ],
    "a copy of an old version": [
        FIRST,
        put(2, 3, b"2"),
        op(4, 5, "COPY", 201, target="/b"),
        get(6, 7, b"1", path="/b"),
    ],
    "a copy that came too late": [
        FIRST,
        op(2, 9, "COPY", 201, target="/b"),
        put(3, 4, b"2"),
        op(5, 6, "GET", 404, path="/b"),
        get(10, 11, b"1", path="/b"),
    ],
    "an unlock of nothing": [FIRST, op(2, 3, "UNLOCK", 204, token="t")],
    "a deletion that came back": [FIRST, op(2, 3, "DELETE", 204), get(4, 5, b"1")],
    "a source with another entity-tag before it is moved": [
        FIRST,
        put(0, 1, b"old", 201, path="/b"),
        op(2, 9, "MOVE", 204, target="/b"),
        get(3, 4, b"1", etag='"other"'),
    ],
    "an entity-tag that changes twice by a move": [
        FIRST,
        put(0, 1, b"old", 201, path="/b"),
        op(2, 9, "MOVE", 204, target="/b"),
        get(3, 4, b"1", path="/b", etag='"other"'),
        get(5, 6, b"1", path="/b", etag='"third"'),
    ],
    "an entity-tag that changes after a move": [
        FIRST,
        put(0, 1, b"old", 201, path="/b"),
        op(2, 3, "MOVE", 204, target="/b"),
        get(4, 5, b"1", path="/b"),
        get(6, 7, b"1", path="/b", etag='"other"'),
    ],
    "an entity-tag that changed by itself": [FIRST, get(2, 3, b"1", etag='"other"')],
}


@pytest.mark.parametrize("name", HAPPENED)
def test_what_happened_is_explained(name: str) -> None:
    history = HAPPENED[name]

    order = explain(history)

    assert order is not None
    assert sorted(order, key=id) == sorted(history, key=id)


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_cannot_have_happened_is_not(name: str) -> None:
    assert explain(IMPOSSIBLE[name]) is None
