"""Every method against every lock that can stand in its way (RFC 4918 sections 6, 7 and 9).

The expected statuses are written out. Alice holds the lock; Bob asks. Whatever he gets, what the
lock protects stays byte for byte; with his own lock and its token he gets what an unlocked tree
would have given him.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import pytest

from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.every import LOCK, PROPPATCH, TOKEN, Ask
from tests.support.reply import Reply
from tests.support.users import TestUsers, User

SHARED = LOCK.replace(b"exclusive", b"shared")
TREE = ("/p/", "/p/c/", "/p/c/f", "/p/c/d/", "/p/c/d/g", "/s", "/sc/", "/sc/m")
FILES = [path for path in TREE if path[-1] != "/"]

# Where Alice's lock is: (path, depth, scope).
LOCKS = {
    "none": None,
    "f": ("/p/c/f", "0", "exclusive"),
    "g": ("/p/c/d/g", "0", "exclusive"),
    "d": ("/p/c/d/", "infinity", "exclusive"),
    "c0": ("/p/c/", "0", "exclusive"),
    "c": ("/p/c/", "infinity", "exclusive"),
    "p0": ("/p/", "0", "exclusive"),
    "p": ("/p/", "infinity", "exclusive"),
    "f*": ("/p/c/f", "0", "shared"),
    "c*": ("/p/c/", "infinity", "shared"),
    "root0": ("/", "0", "exclusive"),
}
X = {"Content-Type": XML}
ASKS = {
    "GET f": Ask("GET", "/p/c/f"),
    "HEAD f": Ask("HEAD", "/p/c/f"),
    "OPTIONS f": Ask("OPTIONS", "/p/c/f"),
    "PROPFIND f": Ask("PROPFIND", "/p/c/f", {"Depth": "0"}),
    "PROPFIND c": Ask("PROPFIND", "/p/c/", {"Depth": "infinity"}),
    "COPY f out": Ask("COPY", "/p/c/f", {"Destination": "/new"}),
    "COPY c out": Ask("COPY", "/p/c/", {"Destination": "/new/"}),
    "PUT f": Ask("PUT", "/p/c/f", {}, b"of Bob"),
    "PROPPATCH f": Ask("PROPPATCH", "/p/c/f", X, PROPPATCH),
    "PROPPATCH c": Ask("PROPPATCH", "/p/c/", X, PROPPATCH),
    "DELETE f": Ask("DELETE", "/p/c/f"),
    "DELETE c": Ask("DELETE", "/p/c/"),
    "MOVE f out": Ask("MOVE", "/p/c/f", {"Destination": "/sc/new"}),
    "MOVE f aside": Ask("MOVE", "/p/c/f", {"Destination": "/p/c/new"}),
    "MOVE c out": Ask("MOVE", "/p/c/", {"Destination": "/sc/new/"}),
    "COPY s over f": Ask("COPY", "/s", {"Destination": "/p/c/f"}),
    "MOVE m over f": Ask("MOVE", "/sc/m", {"Destination": "/p/c/f"}),
    "COPY s over c": Ask("COPY", "/s", {"Destination": "/p/c"}),
    "COPY sc over c": Ask("COPY", "/sc/", {"Destination": "/p/c/"}),
    "MOVE sc over c": Ask("MOVE", "/sc/", {"Destination": "/p/c/"}),
    "COPY f over s": Ask("COPY", "/p/c/f", {"Destination": "/s"}),
    "PUT new": Ask("PUT", "/p/c/new", {}, b"of Bob"),
    "MKCOL new": Ask("MKCOL", "/p/c/new/"),
    "LOCK new": Ask("LOCK", "/p/c/new", X, LOCK),
    "COPY s to new": Ask("COPY", "/s", {"Destination": "/p/c/new"}),
    "MOVE m to new": Ask("MOVE", "/sc/m", {"Destination": "/p/c/new"}),
    "COPY sc to new": Ask("COPY", "/sc/", {"Destination": "/p/c/new/"}),
    "LOCK f": Ask("LOCK", "/p/c/f", X, LOCK),
    "LOCK f shared": Ask("LOCK", "/p/c/f", X, SHARED),
    "LOCK c": Ask("LOCK", "/p/c/", X, LOCK),
    "LOCK c shared": Ask("LOCK", "/p/c/", X, SHARED),
    "LOCK c depth 0": Ask("LOCK", "/p/c/", X | {"Depth": "0"}, LOCK),
}
# What Bob gets without a token. A number alone: whatever is locked. DELETE and LOCK of a
# collection answer for its members, so 207; what has one result for all, or none, is plain.
COLUMNS = list(LOCKS)
EXPECTED = """
                 none  f    g    d    c0   c    p0   p    f*   c*   root0
GET f            200
HEAD f           200
OPTIONS f        200
PROPFIND f       207
PROPFIND c       207
COPY f out       201  201  201  201  201  201  201  201  201  201  423
COPY c out       201  201  201  201  201  201  201  201  201  201  423
PUT f            204  423  204  204  204  423  204  423  423  423  204
PROPPATCH f      207  423  207  207  207  423  207  423  423  423  207
PROPPATCH c      207  207  207  207  423  423  207  423  207  423  207
DELETE f         204  423  204  204  423  423  204  423  423  423  204
DELETE c         204  207  207  207  423  423  423  423  207  423  204
MOVE f out       201  423  201  201  423  423  201  423  423  423  201
MOVE f aside     201  423  201  201  423  423  201  423  423  423  201
MOVE c out       201  423  423  423  423  423  423  423  423  423  201
COPY s over f    204  423  204  204  204  423  204  423  423  423  204
MOVE m over f    204  423  204  204  423  423  204  423  423  423  204
COPY s over c    204  423  423  423  423  423  423  423  423  423  204
COPY sc over c   204  423  423  423  423  423  423  423  423  423  204
MOVE sc over c   204  423  423  423  423  423  423  423  423  423  423
COPY f over s    204
PUT new          201  201  201  201  423  423  201  423  201  423  201
MKCOL new        201  201  201  201  423  423  201  423  201  423  201
LOCK new         201  201  201  201  423  423  201  423  201  423  201
COPY s to new    201  201  201  201  423  423  201  423  201  423  201
MOVE m to new    201  201  201  201  423  423  201  423  201  423  201
COPY sc to new   201  201  201  201  423  423  201  423  201  423  201
LOCK f           200  423  200  200  200  423  200  423  423  423  200
LOCK f shared    200  423  200  200  200  423  200  423  200  200  200
LOCK c           200  207  207  207  423  423  200  423  207  423  200
LOCK c shared    200  207  207  207  423  423  200  423  200  200  200
LOCK c depth 0   200  200  200  200  423  423  200  423  200  423  200
"""
# A new lock conflicts with one's own as well (section 6.1 (3)), and a token is no help: only
# for the collection that a new resource is made in.
ALSO_WITH_TOKEN = {"LOCK f", "LOCK f shared", "LOCK c", "LOCK c shared", "LOCK c depth 0"}
OWN_WITH_TOKEN = {("LOCK new", column): 423 for column in ("c", "p", "c*")}


def rows() -> Iterator[tuple[str, dict[str, int]]]:
    for line in EXPECTED.strip("\n").splitlines()[1:]:
        name, statuses = line[:17].strip(), [int(word) for word in line[17:].split()]
        if len(statuses) == 1:
            statuses *= len(COLUMNS)
        yield name, dict(zip(COLUMNS, statuses, strict=True))


ROWS = dict(rows())


@dataclass
class World:
    """Fresh trees, one below the other's side, so that one application serves a whole row."""

    carrier: AppDav
    counter: Iterator[int]

    def tree(self) -> str:
        base = f"/w{next(self.counter)}"
        maker = User(self.carrier, "maker")
        assert maker.mkcol(base).status == 201
        for path in TREE:
            made = (
                maker.mkcol(base + path) if path[-1] == "/" else maker.put(base + path, b"of Alice")
            )
            assert made.status == 201
        return base

    def user(self, name: str) -> User:
        return User(self.carrier, name)


@pytest.fixture(params=["filesystem", "memory"])
def world(request: pytest.FixtureRequest, make_dav: Callable[..., AppDav]) -> World:
    users = {"authenticator": TestUsers()}
    return World(make_dav(request.param, overrides=users, durability="none"), itertools.count())


def below(ask: Ask, base: str, more: Mapping[str, str] | None = None) -> Ask:
    headers = dict(ask.headers) | dict(more or {})
    if "Destination" in headers:
        headers["Destination"] = base + headers["Destination"]
    return replace(ask, target=base + ask.target, headers=headers)


def take(user: User, base: str, column: str) -> tuple[str, str] | None:
    """Takes the column's lock; returns its root and token."""
    where = LOCKS[column]
    if where is None:
        return None
    path, depth, scope = where
    return base + path, user.lock(base + path, depth=depth, scope=scope).token


def contents(user: User, base: str) -> dict[str, tuple[bytes, str]]:
    found = {}
    for path in FILES:
        reply = user.get(base + path)
        assert reply.status == 200, reply
        found[path] = (reply.body, reply.headers["etag"])
    return found


def protected(column: str) -> list[str]:
    """The files that a lock keeps as they are."""
    where = LOCKS[column]
    if where is None:
        return []
    path, depth, _ = where
    covered = [file for file in FILES if file == path]
    if depth == "infinity":
        covered = [file for file in FILES if file.startswith(path)]
    return covered


def watch(world: World, column: str, name: str, ask: Ask, base: str) -> tuple[int, Reply]:
    """Sends what is refused or does not touch what is locked, and looks."""
    alice = world.user("alice")
    before = contents(alice, base)
    reply = ask.send(world.user("bob"))
    for path in protected(column):
        after = alice.get(base + path)
        assert (after.body, after.headers["etag"]) == before[path], (name, column, path)
    if reply.status == 423:
        assert contents(alice, base) == before, (name, column)
        assert world.user("bob").request("GET", base + "/p/c/new").status == 404
        assert world.user("bob").request("GET", base + "/sc/new").status == 404
    return reply.status, reply


@pytest.mark.security("O-02", "C-14", "P-05")
@pytest.mark.rfc("LM-04", "D-3")
@pytest.mark.parametrize("name", ROWS)
def test_what_others_have_locked(world: World, name: str) -> None:
    actual, stolen, unknown = {}, {}, {}
    for column in COLUMNS:
        base = world.tree()
        lock = take(world.user("alice"), base, column)
        ask = below(ASKS[name], base)
        actual[column], reply = watch(world, column, name, ask, base)
        if lock is None:
            continue
        raw = reply.body + repr(reply.headers.items).encode()
        assert lock[1].encode() not in raw, "the token of another was told"
        if reply.status != 423:
            base = world.tree()
            lock = take(world.user("alice"), base, column)
            assert lock is not None
        root, token = lock
        forged = below(ASKS[name], base, {"If": f"<{root}> (<{token}>)"})
        stolen[column], _ = watch(world, column, name, forged, base)
        if actual[column] == 423:
            guess = below(ASKS[name], base, {"If": f"<{root}> (<{TOKEN}>) (Not <DAV:no-lock>)"})
            unknown[column], _ = watch(world, column, name, guess, base)

    assert actual == ROWS[name]
    assert stolen == {column: ROWS[name][column] for column in COLUMNS if column != "none"}
    assert unknown == dict.fromkeys(unknown, 423)


@pytest.mark.security("O-02")
@pytest.mark.rfc("LM-05", "CL-08")
@pytest.mark.parametrize("name", ROWS)
def test_what_one_has_locked_oneself(world: World, name: str) -> None:
    """Without the token one is a stranger; with it the lock is as if it were not."""
    without, with_token, expected = {}, {}, {}
    bob = world.user("bob")
    for column in COLUMNS[1:]:
        base = world.tree()
        lock = take(bob, base, column)
        assert lock is not None
        without[column] = below(ASKS[name], base).send(bob).status
        base = world.tree()
        lock = take(bob, base, column)
        assert lock is not None
        ask = below(ASKS[name], base, {"If": f"<{lock[0]}> (<{lock[1]}>)"})
        with_token[column] = ask.send(bob).status
        unlocked = ROWS[name]["none"]
        if name in ALSO_WITH_TOKEN:
            unlocked = ROWS[name][column]
        expected[column] = OWN_WITH_TOKEN.get((name, column), unlocked)

    assert without == {column: ROWS[name][column] for column in COLUMNS[1:]}
    assert with_token == expected


@pytest.mark.rfc("LM-04")
@pytest.mark.parametrize("name", [name for name in ROWS if not name.startswith("LOCK")])
@pytest.mark.parametrize("column", ["f*", "c*"])
def test_shared_locks_of_two(world: World, name: str, column: str) -> None:
    """The holder of either may write with the own token; a third, or the other's token, not."""
    statuses = {}
    for who in ("of Carol", "own", "none"):
        base = world.tree()
        take(world.user("alice"), base, column)
        tokens = {"of Carol": take(world.user("carol"), base, column)}
        if who == "own":
            tokens["own"] = take(world.user("bob"), base, column)
        lock = tokens.get(who)
        more = {"If": f"<{lock[0]}> (<{lock[1]}>)"} if lock else {}
        ask = below(ASKS[name], base, more)
        if who == "own":
            statuses[who] = ask.send(world.user("bob")).status
        else:
            statuses[who], _ = watch(world, column, name, ask, base)

    row = ROWS[name]
    assert statuses == {"of Carol": row[column], "own": row["none"], "none": row[column]}


SOURCE = """
                 none  s    m    sc0  sc   new
COPY s out       201   201  201  201  201  201
MOVE s out       201   423  201  201  201  201
COPY sc out      201   201  201  201  201  201
MOVE sc out      201   201  423  423  423  201
COPY m out       201   201  201  201  201  201
MOVE m out       201   201  423  423  423  201
MOVE m inside    201   201  423  423  423  201
COPY m inside    201   201  201  423  423  201
COPY s over new  204   204  204  204  204  423
MOVE s over new  204   423  204  204  204  423
"""
SOURCE_LOCKS = {
    "s": ("/s", "0"),
    "m": ("/sc/m", "0"),
    "sc0": ("/sc/", "0"),
    "sc": ("/sc/", "infinity"),
    "new": ("/p/c/f", "0"),
}
SOURCE_ASKS = {
    "COPY s out": Ask("COPY", "/s", {"Destination": "/p/c/x"}),
    "MOVE s out": Ask("MOVE", "/s", {"Destination": "/p/c/x"}),
    "COPY sc out": Ask("COPY", "/sc/", {"Destination": "/p/c/x/"}),
    "MOVE sc out": Ask("MOVE", "/sc/", {"Destination": "/p/c/x/"}),
    "COPY m out": Ask("COPY", "/sc/m", {"Destination": "/p/c/x"}),
    "MOVE m out": Ask("MOVE", "/sc/m", {"Destination": "/p/c/x"}),
    "MOVE m inside": Ask("MOVE", "/sc/m", {"Destination": "/sc/x"}),
    "COPY m inside": Ask("COPY", "/sc/m", {"Destination": "/sc/x"}),
    "COPY s over new": Ask("COPY", "/s", {"Destination": "/p/c/f"}),
    "MOVE s over new": Ask("MOVE", "/s", {"Destination": "/p/c/f"}),
}


@pytest.mark.security("O-02")
@pytest.mark.parametrize("line", SOURCE.strip("\n").splitlines()[1:])
def test_locks_on_the_source_and_on_the_destination(world: World, line: str) -> None:
    name, expected = line[:17].strip(), [int(word) for word in line[17:].split()]
    actual = []
    for column in ("none", *SOURCE_LOCKS):
        base = world.tree()
        alice = world.user("alice")
        if column != "none":
            path, depth = SOURCE_LOCKS[column]
            alice.lock(base + path, depth=depth)
        before = contents(alice, base)
        reply = below(SOURCE_ASKS[name], base).send(world.user("bob"))
        actual.append(reply.status)
        if reply.status == 423:
            assert contents(alice, base) == before
            roots = {href.removeprefix(base) for href in reply.condition_hrefs}
            assert roots == {SOURCE_LOCKS[column][0]}

    assert actual == expected


@pytest.mark.security("O-01", "O-02", "O-07", "C-14", "C-05")
@pytest.mark.parametrize("column", [column for column in LOCKS if column != "none"])
def test_nobody_ends_or_renews_the_lock_of_another(world: World, column: str) -> None:
    alice, bob = world.user("alice"), world.user("bob")
    base = world.tree()
    lock = take(alice, base, column)
    assert lock is not None
    root, token = lock
    covered = [root, *(base + path for path in protected(column))]

    for path in covered:
        replies = [
            bob.unlock(path, token),
            bob.refresh(path, token),
            bob.unlock(path, TOKEN),
            bob.refresh(path, TOKEN),
            bob.request("PROPFIND", path, {"Depth": "infinity"}),
        ]
        assert [reply.status for reply in replies] == [403, 403, 409, 412, 207], path
        for reply in replies:
            assert token.encode() not in reply.body + repr(reply.headers.items).encode()
        assert token in [
            element.findtext("{DAV:}locktoken/{DAV:}href") for element in alice.locks(path)
        ]
    assert alice.unlock(covered[-1], token).status == 204
    assert alice.unlock(covered[-1], token).status == 409, "a second UNLOCK finds no lock"


FALSE = ('(["other"])', "(<urn:x>)", "(Not <DAV:no-lock> <urn:x>)")


@pytest.mark.security("C-16")
@pytest.mark.parametrize("name", [name for name in ROWS if not name.startswith("OPTIONS")])
def test_a_false_condition_changes_nothing(world: World, name: str) -> None:
    base = world.tree()
    bob = world.user("bob")
    before = contents(bob, base)
    for condition in FALSE:
        ask = below(ASKS[name], base, {"If": f"<{base}/p/c/f> {condition}"})
        reply = ask.send(bob)

        ignored = "[" not in condition and ask.method in ("GET", "HEAD")
        assert reply.status == (200 if ignored else 412)
        assert contents(bob, base) == before
        assert bob.get(base + "/p/c/new").status == 404
