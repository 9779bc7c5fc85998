"""Every method, for everybody: the right status, and nothing changed where nothing may.

The expected statuses are written out. Where a request must be refused, the whole tree and the
whole state are compared with what was before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from davserver.protocol.path import DavPath
from tests.conftest import AppDav, make_app_dav
from tests.support.credentials import Basic, entry
from tests.support.dav import XML, Dav
from tests.support.every import LOCK, PATCH, PROPFIND, PROPPATCH, Ask, Snapshot, snapshot

X = {"Content-Type": XML}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

# Each request, what it gets from who may do everything, and what privilege it needs.
READ, WRITE = "read", "write"
ASKS: dict[str, tuple[Ask, int, str]] = {
    "OPTIONS": (Ask("OPTIONS", "/f"), 200, READ),
    "GET": (Ask("GET", "/f"), 200, READ),
    "GET, a listing": (Ask("GET", "/c/"), 200, READ),
    "GET, a range": (Ask("GET", "/f", {"Range": "bytes=0-1"}), 206, READ),
    "GET, not modified": (Ask("GET", "/f", {"If-None-Match": "*"}), 304, READ),
    "GET, unmapped": (Ask("GET", "/no"), 404, READ),
    "HEAD": (Ask("HEAD", "/f"), 200, READ),
    "PROPFIND 0": (Ask("PROPFIND", "/f", X | {"Depth": "0"}, PROPFIND), 207, READ),
    "PROPFIND 1": (Ask("PROPFIND", "/c/", {"Depth": "1"}), 207, READ),
    "PROPFIND infinity": (Ask("PROPFIND", "/", {"Depth": "infinity"}), 207, READ),
    "PROPPATCH": (Ask("PROPPATCH", "/f", X, PROPPATCH), 207, WRITE),
    "PROPPATCH of a collection": (Ask("PROPPATCH", "/c/", X, PROPPATCH), 207, WRITE),
    "PUT": (Ask("PUT", "/f", {}, b"written"), 204, WRITE),
    "PUT, new": (Ask("PUT", "/c/new", {}, b"written"), 201, WRITE),
    "PUT, a false condition": (Ask("PUT", "/f", {"If-Match": '"x"'}, b"written"), 412, WRITE),
    "PUT, no parent": (Ask("PUT", "/no/new", {}, b"written"), 409, WRITE),
    "MKCOL": (Ask("MKCOL", "/c/new/"), 201, WRITE),
    "MKCOL, mapped": (Ask("MKCOL", "/f"), 405, WRITE),
    "LOCK": (Ask("LOCK", "/f", X, LOCK), 200, WRITE),
    "LOCK, a tree": (Ask("LOCK", "/c/", X, LOCK), 200, WRITE),
    "LOCK, new": (Ask("LOCK", "/c/new", X, LOCK), 201, WRITE),
    "refresh": (Ask("LOCK", "/held", {"If": "(<{held}>)"}), 200, WRITE),
    "UNLOCK": (Ask("UNLOCK", "/held", {"Lock-Token": "<{held}>"}), 204, WRITE),
    "COPY": (Ask("COPY", "/f", {"Destination": "/c/new"}), 201, WRITE),
    "COPY, a tree": (Ask("COPY", "/c/", {"Destination": "/new/"}), 201, WRITE),
    "COPY, over": (Ask("COPY", "/f", {"Destination": "/c/g"}), 204, WRITE),
    "MOVE": (Ask("MOVE", "/f", {"Destination": "/c/new"}), 201, WRITE),
    "MOVE, a tree": (Ask("MOVE", "/c/", {"Destination": "/new/"}), 201, WRITE),
    "MOVE, over": (Ask("MOVE", "/f", {"Destination": "/c/g"}), 204, WRITE),
    "DELETE": (Ask("DELETE", "/f"), 204, WRITE),
    "DELETE, a tree": (Ask("DELETE", "/c/"), 204, WRITE),
    "POST": (Ask("POST", "/c/", FORM, b"a=b"), 405, WRITE),
    "PATCH": (Ask("PATCH", "/f", PATCH, b"patched"), 204, WRITE),
    "TRACE": (Ask("TRACE", "/f"), 405, READ),
}

ALICE, BOB = "alice", "bob"


@dataclass(frozen=True)
class Case:
    """Who asks, and under which settings. `read` and `write` are the statuses of requests that
    need as much; None: as who may do everything."""

    asker: str
    settings: dict[str, Any]
    read: int | None = None
    write: int | None = None


def rule(access: str, *users: str) -> dict[str, Any]:
    return {"path": "/", "access": access, "users": users}


CASES = {
    "anonymous none": Case("", {"anonymous": "none"}, 401, 401),
    "anonymous, unsaid": Case("", {}, 401, 401),
    "anonymous read": Case("", {"anonymous": "read"}, None, 401),
    "anonymous write": Case("", {"anonymous": "write"}),
    "user with read": Case(BOB, {"rule": [rule("read", BOB)]}, None, 403),
    "user with write": Case(BOB, {"rule": [rule("write", BOB), rule("none")]}),
    "user without right": Case(BOB, {"rule": [rule("none", BOB)]}, 403, 403),
    "user, read-only": Case(BOB, {"read_only": True}, None, 403),
    "anonymous, read-only": Case("", {"read_only": True, "anonymous": "write"}, None, 403),
    "anonymous none, read-only": Case("", {"read_only": True}, 401, 401),
    "rule for all, read": Case(BOB, {"rule": [rule("read")]}, None, 403),
    "anonymous, rule for all, read": Case("", {"rule": [rule("read")]}, None, 403),
    "anonymous, rule for all, none": Case("", {"rule": [rule("none")]}, 403, 403),
}

State = dict[str, Any]


def state_of(dav: AppDav) -> State:
    """Everything that the state holds."""
    services = dav.app.services
    root = services.storage.canonical(DavPath(()))
    state = services.state
    locks = state.beneath(root, now=dav.clock.now)
    return {
        "rows": {key: dict(state.properties(key)) for key in state.keys_with_rows()},
        "locks": sorted((lock.token, lock.expires_at) for lock in locks),
    }


class World:
    """A folder filled by who may do everything, and an application with the case's settings."""

    def __init__(self, folder: Path, asker: str, **settings: Any) -> None:
        common: dict[str, Any] = {
            "user": [entry(ALICE), entry(BOB)],
            "durability": "none",
            "anonymous": None,
        }
        filler = make_app_dav(folder, "filesystem", **(common | {"anonymous": "write"}))
        holder: Dav = Basic(filler, asker) if asker else filler
        for path in ("/c/", "/c/d/"):
            assert holder.mkcol(path).status == 201
        for path in ("/f", "/held", "/c/g", "/c/d/h"):
            assert holder.put(path, b"content").status == 201
        holder.proppatch("/f", set={"{x:}topic": "kept"})
        self.held = holder.lock("/held").token
        filler.close()
        self.carrier = make_app_dav(folder, "filesystem", **(common | settings))
        self.dav: Dav = Basic(self.carrier, asker) if asker else self.carrier
        _ = self.carrier.app.services  # opening it looks at what the folder can do
        self.before = self.now

    @property
    def now(self) -> tuple[Snapshot, State]:
        assert self.carrier.root is not None
        return snapshot(self.carrier.root), state_of(self.carrier)

    def ask(self, ask: Ask) -> int:
        headers = {name: value.format(held=self.held) for name, value in ask.headers.items()}
        return Ask(ask.method, ask.target, headers, ask.body).send(self.dav).status


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    def make(asker: str, **settings: Any) -> World:
        folder = tmp_path / str(len(made))
        folder.mkdir()
        made.append(World(folder, asker, **settings))
        return made[-1]

    yield make
    for world in made:
        world.carrier.close()


REFUSING = [name for name, case in CASES.items() if case.write is not None]
GRANTING = [name for name, case in CASES.items() if case.write is None]


@pytest.mark.security("A-06", "C-12", "O-05", "O-03")
@pytest.mark.parametrize("name", REFUSING)
def test_nothing_changes_and_each_request_has_its_status(
    make_world: Callable[..., World], name: str
) -> None:
    case = CASES[name]
    world = make_world(case.asker, **case.settings)

    statuses = {title: world.ask(ask) for title, (ask, _, _) in ASKS.items()}

    expected = {
        title: (case.read if needed == READ else case.write) or usual
        for title, (_, usual, needed) in ASKS.items()
    }
    assert statuses == expected
    assert world.now == world.before


@pytest.mark.security("A-06")
@pytest.mark.parametrize("name", GRANTING)
@pytest.mark.parametrize("title", ASKS)
def test_who_may_do_everything_gets_it(
    make_world: Callable[..., World], name: str, title: str
) -> None:
    case = CASES[name]
    world = make_world(case.asker, **case.settings)
    ask, usual, needed = ASKS[title]

    assert world.ask(ask) == usual
    has_changed = world.now != world.before
    assert has_changed == (needed == WRITE and usual < 300)


# -- another user's locks --------------------------------------------------------------------

# What Bob gets, who may write everywhere, while Alice has locked /f, /held and the tree /c/.
LOCKED = {title: usual for title, (_, usual, needed) in ASKS.items() if needed == READ} | {
    "PROPPATCH": 423,
    "PROPPATCH of a collection": 423,
    "PUT": 423,
    "PUT, new": 423,
    "PUT, a false condition": 423,
    "PUT, no parent": 409,
    "MKCOL": 423,
    "MKCOL, mapped": 405,
    "LOCK": 423,
    "LOCK, a tree": 423,
    "LOCK, new": 423,
    "refresh": 403,
    "UNLOCK": 403,
    "COPY": 423,
    "COPY, a tree": 201,
    "COPY, over": 423,
    "MOVE": 423,
    "MOVE, a tree": 423,
    "MOVE, over": 423,
    "DELETE": 423,
    "DELETE, a tree": 423,
    "POST": 405,
    "PATCH": 423,
}


@pytest.mark.rfc("LM-04", "LR-06", "UL-04")
@pytest.mark.security("O-02", "C-14")
@pytest.mark.parametrize("tokens", [False, True], ids=["no tokens", "stolen tokens"])
def test_another_users_locks_hold_against_who_may_write(
    make_world: Callable[..., World], tokens: bool
) -> None:
    world = make_world(ALICE)
    held = {"/f": world.dav.lock("/f").token, "/c/": world.dav.lock("/c/").token}
    held["/held"] = world.held
    stolen = " ".join(f"<{path}> (<{token}>)" for path, token in held.items())
    before = world.now
    world.dav = Basic(world.carrier, BOB)

    statuses = {}
    for title, (ask, _, _) in ASKS.items():
        headers = dict(ask.headers)
        if tokens and "Lock-Token" not in headers:
            headers["If"] = stolen
        statuses[title] = world.ask(Ask(ask.method, ask.target, headers, ask.body))
        if title == "COPY, a tree":
            world.dav.delete("/new/")

    # With a stolen token the condition is true, and the token counts as not submitted. Three are
    # too many for a refresh.
    expected = LOCKED | ({"refresh": 400} if tokens else {})
    assert statuses == expected
    assert all_but_the_root(world.now) == all_but_the_root(before)


def all_but_the_root(seen: tuple[Snapshot, State]) -> Any:
    """The root is newer after a copy came and went."""
    tree, state = seen
    return {name: values for name, values in tree.items() if name != "."}, state


@pytest.mark.security("C-14", "O-01")
def test_no_answer_tells_another_user_a_token(make_world: Callable[..., World]) -> None:
    world = make_world(ALICE)
    tokens = [world.held, world.dav.lock("/f").token, world.dav.lock("/c/").token]
    bob = Basic(world.carrier, BOB)

    for ask, _, _ in ASKS.values():
        headers = {name: value.format(held="urn:x:none") for name, value in ask.headers.items()}
        reply = Ask(ask.method, ask.target, headers, ask.body).send(bob)
        told = reply.body + repr(reply.headers.items).encode()
        assert [token for token in tokens if token.encode() in told] == [], ask
