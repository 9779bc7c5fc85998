"""Where nobody may write, no method of any kind changes anything: not the tree, not the state.

Locks and properties were there before: they are neither ended nor renewed, and nothing new
comes. LOCK of an unmapped URL would make a file (RFC 4918 section 7.3), so it is refused too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davserver.protocol.path import DavPath
from tests.conftest import AppDav, make_app_dav
from tests.support.dav import XML, Dav
from tests.support.every import LOCK, PATCH, Ask, Snapshot, asks_at, asks_to, snapshot
from tests.support.users import TestUsers, User

PATHS = ("/", "/f", "/f/", "/locked", "/c/", "/c", "/c/g", "/new", "/c/new", "/new/deep", "/c/d/")
READS = {"OPTIONS", "GET", "HEAD", "PROPFIND"}
WAYS: dict[str, dict[str, Any]] = {
    "read_only": {"read_only": True},
    "a rule": {"rule": [{"path": "/", "access": "read"}]},
    "both": {"read_only": True, "rule": [{"path": "/", "access": "read"}]},
}
State = dict[str, Any]


def seen(dav: AppDav) -> State:
    """Everything that the state holds."""
    services = dav.app.services
    root = services.storage.canonical(DavPath(()))
    keys = list(services.state.keys_with_rows())
    return {
        "rows": {key: dict(services.state.properties(key)) for key in keys},
        "locks": sorted(
            (lock.token, lock.expires_at)
            for lock in services.state.beneath(root, now=dav.clock.now)
        ),
    }


class World:
    """A folder that was filled by a server that may write, and one that may not."""

    def __init__(self, tmp_path: Path, **keys: Any) -> None:
        with_users = {"authenticator": TestUsers()}
        writer = make_app_dav(tmp_path, "filesystem", durability="none", overrides=with_users)
        alice = User(writer, "alice")
        alice.mkcol("/c/")
        alice.mkcol("/c/d/")
        for path in ("/f", "/locked", "/c/g"):
            alice.put(path, b"content")
        alice.proppatch("/f", set={"{x:}topic": "kept"})
        self.token = alice.lock("/locked").token
        self.deep = alice.lock("/c/").token
        writer.close()
        self.dav = make_app_dav(
            tmp_path, "filesystem", durability="none", overrides=with_users, **keys
        )
        self.alice = User(self.dav, "alice")
        assert self.dav.root is not None
        self.root = self.dav.root
        self.state = seen(self.dav)
        self.before = snapshot(self.root)

    def close(self) -> None:
        self.dav.close()

    @property
    def now(self) -> tuple[Snapshot, State]:
        return snapshot(self.root), seen(self.dav)


@pytest.fixture(params=WAYS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made = World(tmp_path, **WAYS[request.param])
    yield made
    made.close()


def writes(world: World) -> dict[str, Ask]:
    """Every request that would change something, with and without the token of its lock."""
    found = {}
    for path in PATHS:
        for name, ask in (asks_at(path) | asks_to(path, "/f", "/c/", "/locked")).items():
            if ask.method in READS:
                continue
            found[f"{name} {path}"] = ask
            tokens = f"</locked> (<{world.token}>) </c/> (<{world.deep}>)"
            headers = dict(ask.headers) | {"If": tokens}
            found[f"{name} {path} with tokens"] = Ask(ask.method, ask.target, headers, ask.body)
    for path, token in (("/locked", world.token), ("/c/", world.deep)):
        found[f"UNLOCK {path}"] = Ask("UNLOCK", path, {"Lock-Token": f"<{token}>"})
        found[f"refresh {path}"] = Ask("LOCK", path, {"If": f"(<{token}>)"})
        for other in ("/locked", "/c/d/"):
            found[f"MOVE {path} {other}"] = Ask("MOVE", path, {"Destination": other})
    return found


@pytest.mark.security("C-12", "O-05")
def test_no_method_changes_anything(world: World) -> None:
    asks = writes(world)

    statuses = {name: ask.send(world.alice).status for name, ask in asks.items()}

    allowed = {"POST": (403, 501)}
    wrong = {
        name: status
        for name, status in statuses.items()
        if status not in allowed.get(asks[name].method, (403,))
    }
    assert wrong == {}
    assert world.now == (world.before, world.state)


@pytest.mark.security("C-12", "O-05", "C-16")
def test_conditions_and_bodies_make_no_difference(world: World) -> None:
    for path in ("/f", "/new", "/c/new"):
        for ask in (
            Ask("PUT", path, {"If-None-Match": "*"}, b"new"),
            Ask("PUT", path, {"If-Match": "*"}, b"new"),
            Ask("PUT", path, {"X-OC-Mtime": "1000000000"}, b"new"),
            Ask("PUT", path, {"Expect": "100-continue"}, b"new"),
            Ask("LOCK", path, {"Content-Type": XML, "Timeout": "Infinite"}, LOCK),
            Ask("LOCK", path, {"Content-Type": XML, "If-None-Match": "*"}, LOCK),
            Ask("PUT", path, {"X-HTTP-Method-Override": "DELETE"}, b"new"),
            Ask("GET", path, {"X-HTTP-Method-Override": "DELETE"}),
            Ask("PATCH", path, {}, b"new"),
            Ask("PATCH", path, PATCH, b"patched"),
            Ask("PUT", path, {"Upload-Complete": "?0"}, b"new"),
            Ask("BIND", path, {}, b""),
            Ask("MKCALENDAR", path, {}, b""),
            Ask("put", path, {}, b"new"),
        ):
            status = ask.send(world.alice).status
            expected = {"PUT": {403}, "LOCK": {403}, "GET": {200, 404}}.get(ask.method)
            assert status in (expected or {403, 501}), ask
    assert world.now == (world.before, world.state)


@pytest.mark.security("C-12")
def test_reading_works_and_says_what_there_is(world: World) -> None:
    alice: Dav = world.alice
    assert alice.get("/f").body == b"content"
    assert alice.prop("/f", "{x:}topic").text == "kept"
    assert sorted(alice.members("/c/")) == ["/c/d/", "/c/g"]
    for path in PATHS:
        allow = set(alice.options(path).headers.tokens("allow"))
        assert allow <= READS, path
        assert "2" not in alice.options(path).headers.tokens("dav"), path
    assert world.now == (world.before, world.state)


@pytest.mark.security("C-12", "C-14")
def test_a_read_only_storage_refuses_by_itself(make_dav: Callable[..., AppDav]) -> None:
    """Whoever has the right to write and a storage that is read-only changes nothing either."""

    class Everybody:
        def permits(self, principal: object, privilege: object, path: object) -> bool:
            return True

    root = make_dav("filesystem").app.services.settings.root
    (root / "c").mkdir()
    for name in ("f", "c/g"):
        (root / name).write_bytes(b"content")
    before = snapshot(root)
    dav = make_dav("filesystem", read_only=True, overrides={"authorizer": Everybody()})

    for path in ("/f", "/c/", "/c/new", "/new", "/c/g"):
        for name, ask in (asks_at(path) | asks_to(path, "/f", "/c/")).items():
            status = ask.send(dav).status
            assert status < 500 or status in (501, 503), (path, name)
    assert snapshot(root) == before
