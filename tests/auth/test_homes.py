"""Homes: made at the first use, each its user's alone, with a quota of the user's."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from davserver.configtables import Share
from davserver.counting import count, present, recount
from davserver.errors import Forbidden, StateFull
from davserver.homes import make_home
from davserver.protocol.path import DavPath, Key
from davserver.quotas import Quotas
from davserver.state.base import Usage
from davserver.state.usage import _FileMarks
from davserver.storage.base import Storage
from davserver.storage.mounts import Mounts
from tests.auth.conftest import Held
from tests.conftest import AppDav
from tests.support.credentials import Basic, entry
from tests.support.multistatus import MultiStatus
from tests.support.shares import make_shares
from tests.support.storages import FoldingStorage
from tests.support.trees import TOPIC

D = "{DAV:}"
AVAILABLE, USED = f"{D}quota-available-bytes", f"{D}quota-used-bytes"
MakeHomes = Callable[..., tuple[AppDav, Basic, Basic]]


@pytest.fixture
def make_homes(make_dav: Callable[..., AppDav], tmp_path: Path, held: Held) -> MakeHomes:
    """Returns a function that makes an application with homes, alice, who has a quota of 1000
    bytes, and bob, who has none."""

    def make(home: dict[str, Any] | None = None, **settings: Any) -> tuple[AppDav, Basic, Basic]:
        shares = {"home": {"homes": True} | (home or {}), "team": {}}
        users = [entry("alice", quota=1000), entry("bob")]
        keys = {"user": users, "anonymous": None} | settings
        dav = make_shares(make_dav, tmp_path, shares=shares, **keys)
        return dav, Basic(dav, "alice"), Basic(dav, "bob")

    return make


def homes(dav: AppDav) -> set[str]:
    assert dav.root is not None
    return set(os.listdir(dav.root / "home"))


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda alice: alice.options("/"), id="OPTIONS root"),
        pytest.param(lambda alice: alice.propfind("/", depth="1"), id="PROPFIND root"),
        pytest.param(lambda alice: alice.propfind("/home/"), id="PROPFIND homes"),
        pytest.param(lambda alice: alice.propfind("/home/alice/"), id="PROPFIND home"),
        pytest.param(lambda alice: alice.put("/home/alice/f", b"x"), id="PUT"),
        pytest.param(lambda alice: alice.copy("/team/", "/home/alice/team/"), id="COPY"),
    ],
)
def test_a_home_is_there_at_its_users_first_use(
    make_homes: MakeHomes, use: Callable[[Basic], Any]
) -> None:
    dav, alice, _ = make_homes()
    before = homes(dav)

    reply = use(alice)

    assert isinstance(reply, MultiStatus) or reply.status in (200, 201)
    assert (before, homes(dav)) == (set(), {"alice"})


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda dav: dav.propfind("/team/", depth="1"), id="another share"),
        pytest.param(lambda dav: dav.get("/.davserver/health"), id="a reserved name"),
    ],
)
def test_who_does_not_come_near_needs_none(
    make_homes: MakeHomes, use: Callable[[Basic], Any]
) -> None:
    dav, alice, _ = make_homes()
    use(alice)

    assert homes(dav) == set()


@pytest.mark.parametrize("target", ["/home/", "/home/alice/", "/home/nobody/", "/"])
def test_who_has_not_signed_in_makes_none(make_homes: MakeHomes, target: str) -> None:
    dav, _, _ = make_homes()

    assert dav.get(target).status == 401
    assert dav.put("/home/alice/f", b"x").status == 401
    assert homes(dav) == set()


@pytest.mark.security("C-12")
@pytest.mark.parametrize("path", ["/home/alice/", "/home/alice/f", "/home/alice/c/new"])
def test_nobody_else_gets_in(make_homes: MakeHomes, path: str) -> None:
    dav, alice, bob = make_homes()
    alice.put("/home/alice/f", b"mine")
    alice.mkcol("/home/alice/c/")
    bob.put("/home/bob/g", b"his")

    for method in ("GET", "PROPFIND", "PUT", "DELETE", "LOCK", "MKCOL", "PROPPATCH"):
        assert bob.request(method, path).status == 403, method
    for method in ("COPY", "MOVE"):
        assert bob.request(method, path, {"Destination": "/home/bob/stolen"}).status == 403
        assert bob.request(method, "/home/bob/g", {"Destination": path}).status == 403
    found = alice.get("/home/alice/f")
    assert (found.status, found.body) == (200, b"mine")
    assert bob.members("/home/bob/") == ["/home/bob/g"]
    assert homes(dav) == {"alice", "bob"}


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda alice: alice.delete("/home/alice/"), id="DELETE"),
        pytest.param(lambda alice: alice.move("/home/alice/", "/team/x/"), id="MOVE"),
        pytest.param(lambda alice: alice.copy("/team/c/", "/home/alice/"), id="COPY onto it"),
        pytest.param(lambda alice: alice.move("/team/c/", "/home/alice/"), id="MOVE onto it"),
        pytest.param(lambda alice: alice.mkcol("/home/other/"), id="MKCOL beside"),
        pytest.param(lambda alice: alice.put("/home/file", b"x"), id="PUT beside"),
        pytest.param(lambda alice: alice.delete("/home/"), id="DELETE all"),
    ],
)
def test_a_home_stays_where_it_is(make_homes: MakeHomes, ask: Callable[[Basic], Any]) -> None:
    dav, alice, _ = make_homes()
    alice.put("/home/alice/f", b"kept")
    alice.mkcol("/team/c/")

    assert ask(alice).status == 403
    assert alice.get("/home/alice/f").body == b"kept"
    assert homes(dav) == {"alice"}


def test_a_home_takes_properties_a_lock_and_whatever_is_put_in(make_homes: MakeHomes) -> None:
    _, alice, _ = make_homes()
    alice.proppatch("/home/alice/", set={TOPIC: "mine"})
    token = alice.lock("/home/alice/").token

    assert alice.prop("/home/alice/", TOPIC).text == "mine"
    assert alice.put("/home/alice/f", b"x").status == 423
    headers = {"If": f"</home/alice/> (<{token}>)"}
    assert alice.put("/home/alice/f", b"x", headers).status == 201


def test_what_stood_there_once_leaves_nothing_to_a_new_home(make_homes: MakeHomes) -> None:
    dav, alice, _ = make_homes()
    alice.proppatch("/home/alice/", set={TOPIC: "of one who is gone"})
    assert dav.root is not None
    (dav.root / "home/alice").rmdir()
    dav.app.close()

    assert alice.prop("/home/alice/", TOPIC) is None


def test_a_home_that_somebody_removed_comes_back(
    make_homes: MakeHomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.homes._LOOK_S", 0)
    dav, alice, _ = make_homes()
    alice.options("/home/")
    assert dav.root is not None
    (dav.root / "home/alice").rmdir()

    assert alice.put("/home/alice/f", b"x").status == 201


def test_in_a_read_only_share_none_is_made(make_homes: MakeHomes) -> None:
    dav, alice, _ = make_homes({"read_only": True})

    assert alice.request("PROPFIND", "/home/alice/", {"Depth": "0"}).status == 404
    assert alice.put("/home/alice/f", b"x").status == 403
    assert homes(dav) == set()


def test_where_none_can_be_made_the_shares_are_listed_all_the_same(
    make_homes: MakeHomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, alice, _ = make_homes()

    def refuse(*arguments: object) -> None:
        raise Forbidden("no")

    monkeypatch.setattr("davserver.homes.make_home", refuse)

    assert alice.members("/") == ["/home/", "/team/"]
    assert alice.get("/home/").status == 403


# --- names --------------------------------------------------------------------------------------


@pytest.mark.security("C-12")
@pytest.mark.parametrize(
    "name",
    [
        pytest.param("..", id="parent"),
        pytest.param(".", id="itself"),
        pytest.param("a/b", id="slash"),
        pytest.param("../team", id="out of the share"),
        pytest.param(".davserver.x", id="reserved"),
        pytest.param("a\nb", id="control character"),
        pytest.param("a:b", id="colon"),
        pytest.param("e\u0301", id="not NFC"),
        pytest.param("x" * 256, id="too long"),
        pytest.param("\udcff", id="not UTF-8"),
    ],
)
def test_a_name_that_is_no_segment_has_no_home(make_homes: MakeHomes, name: str) -> None:
    """A proxy's word may be anything."""
    dav, _, _ = make_homes()
    with pytest.raises(Forbidden):
        make_home(dav.app.services, "home", name)

    assert homes(dav) == set()


@pytest.mark.security("C-12")
def test_where_case_is_folded_two_users_never_share_a_home(
    make_dav: Callable[..., AppDav], tmp_path: Path, held: Held
) -> None:
    """`Bob` would be let into what `bob` has put there."""
    mounts = Mounts({"home": FoldingStorage("home")}, homes=frozenset({"home"}))
    share = Share(name="home", path=tmp_path, homes=True)
    dav = make_dav(
        "memory",
        root=None,
        share=(share,),
        user=[entry("bob"), entry("Bob")],
        anonymous=None,
        overrides={"storage": mounts},
    )
    bob, other = Basic(dav, "bob"), Basic(dav, "Bob")
    bob.put("/home/bob/f", b"his")

    assert other.get("/home/Bob/f").status == 403
    assert other.put("/home/Bob/f", b"x").status == 403
    assert bob.get("/home/bob/f").body == b"his"


def test_many_first_uses_at_once_make_one_home(make_homes: MakeHomes) -> None:
    dav, _, _ = make_homes()
    services = dav.app.services
    errors: list[BaseException] = []

    def use() -> None:
        try:
            make_home(services, "home", "alice")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert homes(dav) == {"alice"}


# --- quotas -------------------------------------------------------------------------------------


def usage(dav: AppDav, key: Key) -> Usage:
    found: Usage = dav.app.services.state.numbers(key).read()
    return found


@pytest.mark.rfc("QU-01", "QU-04")
def test_a_users_quota_is_that_of_the_home(make_homes: MakeHomes) -> None:
    dav, alice, bob = make_homes()

    assert alice.put("/home/alice/f", b"x" * 600).status == 201
    refused = alice.put("/home/alice/g", b"x" * 401)
    assert (refused.status, refused.conditions) == (507, [f"{D}quota-not-exceeded"])
    assert alice.put("/team/g", b"x" * 5000).status == 201
    assert bob.put("/home/bob/g", b"x" * 5000).status == 201
    told = alice.propfind("/home/alice/", props=[AVAILABLE, USED])["/home/alice/"][200]
    assert (told[AVAILABLE].text, told[USED].text) == ("400", "600")
    assert usage(dav, Key("home", b"alice")) == Usage(600, True)


def test_a_share_of_homes_may_have_a_quota_of_its_own(make_homes: MakeHomes) -> None:
    dav, alice, bob = make_homes({"quota": 1200})

    assert bob.put("/home/bob/f", b"x" * 900).status == 201
    assert alice.put("/home/alice/f", b"x" * 301).status == 507
    assert alice.put("/home/alice/f", b"x" * 300).status == 201
    assert usage(dav, Key("home", b"")) == Usage(1200, True)
    assert usage(dav, Key("home", b"alice")) == Usage(300, True)
    told = alice.propfind("/home/alice/", props=[AVAILABLE, USED])["/home/alice/"][200]
    assert (told[AVAILABLE].text, told[USED].text) == ("0", "1200")


QUOTA_ACTS = {
    "PUT new": lambda alice: alice.put("/home/alice/new", b"x" * 50),
    "PUT larger": lambda alice: alice.put("/home/alice/f", b"x" * 250),
    "PUT smaller": lambda alice: alice.put("/home/alice/f", b"x" * 50),
    "DELETE": lambda alice: alice.delete("/home/alice/f"),
    "DELETE tree": lambda alice: alice.delete("/home/alice/c/"),
    "COPY": lambda alice: alice.copy("/home/alice/f", "/home/alice/new"),
    "MOVE onto": lambda alice: alice.move("/home/alice/f", "/home/alice/c/g"),
    "MOVE onto tree": lambda alice: alice.move("/home/alice/f", "/home/alice/c/"),
}


@pytest.mark.parametrize("permanent", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("act", QUOTA_ACTS.values(), ids=QUOTA_ACTS)
def test_what_one_of_two_quotas_cannot_enter_is_in_none_or_is_counted_again(
    make_homes: MakeHomes,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[[Basic], Any],
    permanent: bool,
) -> None:
    monkeypatch.setattr("davserver.app.keep_counted", lambda services: None)
    dav, alice, _ = make_homes({"quota": 5000})
    services = dav.app.services
    scopes = Key("home", b""), Key("home", b"alice")
    leave = _FileMarks.leave
    calls = fail_at = 0

    def leaving(marks: _FileMarks) -> None:
        nonlocal calls
        calls += 1
        if calls == fail_at or (permanent and 0 < fail_at < calls):
            raise StateFull("no room for the mark")
        leave(marks)

    monkeypatch.setattr("davserver.state.usage._FileMarks.leave", leaving)
    for number in range(1, 60):
        fail_at = 0
        alice.delete("/home/alice/f")
        alice.delete("/home/alice/new")
        alice.delete("/home/alice/c/")
        alice.mkcol("/home/alice/c/")
        alice.put("/home/alice/f", b"x" * 150)
        alice.put("/home/alice/c/g", b"x" * 70)
        calls, fail_at = 0, number
        act(alice)
        has_failed = calls >= fail_at
        fail_at = 0

        there = home_size(dav)
        for scope in scopes:
            with services.state.hold((), wait_s=1) as view:
                numbers = view.numbers(scope)
                is_doubted = numbers.begin(before=2) is not None
                numbers.give_up()
            used = usage(dav, scope).used
            assert used >= there, f"{scope}, failed at call {number}"
            assert used == there or is_doubted, f"{scope}, failed at call {number}"
            if is_doubted:
                count(services.storage, services.state, scope, lambda: None, now=9, before=2)
        if not has_failed:
            return
    pytest.fail("it never came to its end")


def home_size(dav: AppDav) -> int:
    assert dav.root is not None
    files = (path for path in (dav.root / "home").rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files)


def test_what_was_in_a_home_before_counts(make_homes: MakeHomes) -> None:
    dav, alice, _ = make_homes()
    assert dav.root is not None
    (dav.root / "home/alice").mkdir()
    (dav.root / "home/alice/f").write_bytes(b"x" * 900)

    assert alice.put("/home/alice/g", b"x" * 101).status == 507
    assert alice.put("/home/alice/g", b"x" * 100).status == 201


def test_a_home_that_was_removed_takes_its_number_along(
    make_homes: MakeHomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.homes._LOOK_S", 0)
    dav, alice, _ = make_homes()
    alice.put("/home/alice/f", b"x" * 1000)
    assert dav.root is not None
    (dav.root / "home/alice/f").unlink()
    (dav.root / "home/alice").rmdir()

    assert alice.put("/home/alice/f", b"x" * 1000).status == 201


def test_a_home_that_comes_while_the_others_are_listed_stays_known(
    make_homes: MakeHomes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else nothing could be put into it until the next count, a minute later."""
    monkeypatch.setattr("davserver.app.keep_counted", lambda services: None)
    dav, _, _ = make_homes()
    services = dav.app.services

    def listed(storage: Storage, quotas: Quotas) -> Iterator[Key]:
        yield from list(present(storage, quotas))
        if not homes(dav):
            make_home(services, "home", "alice")

    monkeypatch.setattr("davserver.counting.present", listed)
    monkeypatch.setattr("davserver.counting.count_all", lambda *given, **named: None)
    recount(services, lambda: False)

    assert homes(dav) == {"alice"}
    assert usage(dav, Key("home", b"alice")) == Usage(0, True)


@pytest.mark.parametrize("kind", ["file", "tree"])
def test_what_goes_from_one_home_to_another_changes_both_numbers(
    make_homes: MakeHomes, kind: str
) -> None:
    """Somebody may, by a rule. A rename would take it out of one quota into another."""
    rules = [{"path": "/home", "access": "write", "users": ("bob",)}]
    users = [entry("alice", quota=1000), entry("carol", quota=2000), entry("bob")]
    dav, alice, bob = make_homes(rule=rules, user=users)
    carol = Basic(dav, "carol")
    alice.options("/home/alice/")
    source = "/home/carol/f" if kind == "file" else "/home/carol/t/"
    if kind == "tree":
        carol.mkcol("/home/carol/t/")
    carol.put("/home/carol/f" if kind == "file" else "/home/carol/t/f", b"x" * 700)

    assert bob.move(source, "/home/alice/moved").status == 201
    assert usage(dav, Key("home", b"alice")) == Usage(700, True)
    assert usage(dav, Key("home", b"carol")) == Usage(0, True)
    carol.put("/home/carol/g", b"x" * 301)
    assert bob.move("/home/carol/g", "/home/alice/g").status == 507
    assert carol.get("/home/carol/g").status == 200


def test_a_home_is_where_it_says(make_homes: MakeHomes) -> None:
    dav, alice, _ = make_homes()
    alice.put("/home/alice/f", b"x")

    assert dav.app.services.storage.path_of(Key("home", b"alice")) == DavPath(("home", "alice"))
    assert dav.root is not None
    assert (dav.root / "home/alice/f").read_bytes() == b"x"


def test_a_home_that_a_batch_used_first_stays_when_that_is_undone(make_homes: MakeHomes) -> None:
    dav, alice, _ = make_homes()
    body = {
        "atomic": True,
        "operations": [
            {"op": "put", "href": "/home/alice/f", "content": "x"},
            {"op": "mkcol", "href": "/home/alice/none/c"},
        ],
    }
    headers = {"Content-Type": "application/json"}
    reply = alice.request("POST", "/.davserver/batch", headers, json.dumps(body).encode())

    assert reply.status == 207
    assert homes(dav) == {"alice"}
    assert alice.put("/home/alice/g", b"y").status == 201
    assert alice.members("/home/alice") == ["/home/alice/g"]
