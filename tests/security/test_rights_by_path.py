"""Rules by path hold for every name of a resource, for members of trees, for every header that
names a path; what may not be read is not even listed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davserver.state.memory import MemoryState
from davserver.storage.filesystem import FilesystemStorage
from tests.conftest import AppDav
from tests.support.credentials import Basic, entry
from tests.support.dav import XML
from tests.support.every import LOCK, PROPPATCH, Ask, asks_at, asks_to, snapshot
from tests.support.reply import Reply
from tests.support.shares import make_shares
from tests.support.storages import FoldingStorage
from tests.support.trees import tree

MakeDav = Callable[..., AppDav]
USERS = [entry("alice", groups=("family",)), entry("bob")]
READS = ("OPTIONS", "GET", "HEAD", "PROPFIND")
X = {"Content-Type": XML}


def rule(path: str, access: str, *users: str) -> dict[str, Any]:
    return {"path": path, "access": access, "users": users}


class World:
    """An application with alice, whom no rule of the test concerns, and bob."""

    def __init__(self, carrier: AppDav) -> None:
        self.carrier = carrier
        self.alice = Basic(carrier, "alice")
        self.bob = Basic(carrier, "bob")
        assert carrier.root is not None
        self.root = carrier.root

    def fill(self, *paths: str) -> None:
        for path in paths:
            made = self.alice.mkcol(path) if path[-1] == "/" else self.alice.put(path, b"content")
            assert made.status == 201, path

    @property
    def now(self) -> Any:
        return snapshot(self.root)


Make = Callable[..., World]


@pytest.fixture
def make(make_dav: MakeDav) -> Make:
    def made(*rules: dict[str, Any], **settings: Any) -> World:
        keys = {"user": USERS, "anonymous": None, "durability": "none", "rule": rules} | settings
        return World(make_dav("filesystem", **keys))

    return made


def statuses_of(reply: Reply) -> dict[str, int]:
    """Returns the status of each resource that a multistatus names."""
    return {
        response.find("{DAV:}href").text: int(response.find("{DAV:}status").text.split()[1])
        for response in reply.xml.findall("{DAV:}response")
    }


# -- one resource, many names ----------------------------------------------------------------


@pytest.fixture
def private(make: Make) -> World:
    """bob has no right to /private and /café, and may only read /fixed."""
    world = make(
        rule("/private", "none", "bob"),
        rule("/caf\u00e9", "none", "bob"),
        rule("/fixed", "read", "bob"),
    )
    world.fill("/private/", "/private/f", "/private/d/", "/private/d/g", "/open/", "/open/f")
    world.fill("/caf%C3%A9/", "/caf%C3%A9/f", "/fixed/", "/fixed/f")
    os.symlink("../private", world.root / "open/link")
    os.symlink("../private/f", world.root / "open/file")
    os.symlink("private/d", world.root / "deep")
    os.symlink("../fixed", world.root / "open/fixed")
    return world


SPELLINGS = (
    *("/private/f", "/private/", "/private", "/private/d/g", "//private//f", "/%70rivate/f"),
    *("/private/f/", "/private/new", "/private/d", "/open/link/f", "/open/link/d/g"),
    *("/open/link/new", "/open/file", "/deep/g", "/deep/", "/deep/new", "/caf%C3%A9/f"),
    *("/cafe%CC%81/f", "/cafe%CC%81/", "/caf%C3%A9/new", "/cafe%CC%81/new"),
)


@pytest.mark.security("A-06", "P-05")
@pytest.mark.parametrize("path", SPELLINGS)
def test_no_name_leads_around_a_rule(private: World, path: str) -> None:
    before = private.now
    statuses = {}
    destination = path.replace("//", "/")  # there two slashes would begin another server's name
    asks = asks_at(path) | asks_to(destination, "/open/f", "/open/")
    for name, ask in asks.items():
        if path in ("/open/file", "/deep/") and ask.method in ("DELETE", "MOVE"):
            continue  # a link is removed where it stands: see below
        statuses[name] = ask.send(private.bob).status

    assert statuses == dict.fromkeys(statuses, 403)
    assert private.now == before


@pytest.mark.security("A-06")
@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/private%2ff", 400),
        ("/open/..%2fprivate/f", 400),
        ("/open/../private/f", 400),
        ("/open/%2e%2e/private/f", 400),
        ("/./private/f", 400),
        ("/private;x/f", 404),
        ("/PRIVATE/f", 404),
        ("/private%00", 400),
        ("/private%20/f", 404),
        ("/privatex", 404),
    ],
)
def test_what_only_looks_like_it_is_another_path_or_none(
    private: World, path: str, status: int
) -> None:
    assert private.bob.get(path).status == status


@pytest.mark.security("A-06", "C-21")
@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "other.example"},
        {"Host": "127.0.0.1:8080/private"},
        {"X-Forwarded-Host": "x/private", "X-Original-URL": "/open/f", "X-Rewrite-URL": "/open/f"},
        {"X-HTTP-Method-Override": "OPTIONS"},
        {"X-Forwarded-User": "alice", "Remote-User": "alice", "X-Remote-User": "alice"},
    ],
)
def test_no_header_leads_around_a_rule(private: World, headers: dict[str, str]) -> None:
    private.carrier.scheme = "https"

    assert private.bob.get("/private/f", headers).status == 403
    assert private.carrier.get("/private/f", headers).status == 401


@pytest.mark.security("A-06")
def test_a_link_is_removed_by_who_may_write_where_it_stands(private: World) -> None:
    assert private.bob.move("/open/file", "/open/other").status == 201
    assert private.bob.delete("/open/other").status == 204
    assert private.bob.delete("/open/link").status == 204
    assert private.alice.get("/private/f").body == b"content"


@pytest.mark.security("A-06")
@pytest.mark.parametrize("path", ["/fixed/f", "/open/fixed/f", "/open/fixed/new"])
def test_what_may_only_be_read_is_not_written_by_another_name(private: World, path: str) -> None:
    statuses = {
        name: ask.send(private.bob).status
        for name, ask in (asks_at(path) | asks_to(path, "/open/f")).items()
        if ask.method not in READS and ask.headers.get("Destination") != "/free"
    }

    assert statuses == dict.fromkeys(statuses, 403)
    options = private.bob.options(path)
    assert "2" not in options.headers.tokens("dav")
    assert "PUT" not in options.headers.tokens("allow")
    assert private.bob.get("/open/fixed/f").status == 200


@pytest.mark.security("A-06", "O-06")
@pytest.mark.parametrize("path", ["/Private/f", "/PRIVATE/F", "/private/new", "/PRIVATE"])
def test_no_case_leads_around_a_rule_where_it_is_folded(make_dav: MakeDav, path: str) -> None:
    dav = make_dav(
        "memory",
        user=USERS,
        rule=[rule("/Private", "none", "bob")],
        overrides={"storage": FoldingStorage(), "state": MemoryState()},
    )
    alice, bob = Basic(dav, "alice"), Basic(dav, "bob")
    assert alice.mkcol("/private/").status == 201
    assert alice.put("/private/f", b"x").status == 201

    for ask in (asks_at(path) | asks_to(path, "/o")).values():
        assert ask.send(bob).status == 403, ask


# -- listings --------------------------------------------------------------------------------


@pytest.fixture
def listed(make: Make) -> World:
    world = make(
        rule("/a/secret", "none", "bob"),
        rule("/a/b/hidden", "none", "bob"),
        rule("/a/fixed", "read", "bob"),
    )
    world.fill("/a/", "/a/f", "/a/secret/", "/a/secret/f", "/a/b/", "/a/b/hidden", "/a/b/f")
    world.fill("/a/fixed/", "/a/fixed/f", "/z/")
    os.symlink("../a/secret", world.root / "z/link")
    os.symlink("../a/b", world.root / "z/b")
    return world


SEEN = {
    "0": ["/a/"],
    "1": ["/a/", "/a/b/", "/a/f", "/a/fixed/"],
    "infinity": ["/a/", "/a/b/", "/a/b/f", "/a/f", "/a/fixed/", "/a/fixed/f"],
}


@pytest.mark.rfc("PF-05")
@pytest.mark.security("A-07", "A-06")
@pytest.mark.parametrize("depth", SEEN)
@pytest.mark.parametrize("props", [None, ["{DAV:}getetag"]], ids=["allprop", "one property"])
def test_what_may_not_be_read_is_not_listed(
    listed: World, depth: str, props: list[str] | None
) -> None:
    found = listed.bob.propfind("/a/", b"", props=props, depth=depth)
    whole = listed.alice.propfind("/a/", b"", props=props, depth=depth)

    assert sorted(found.hrefs) == SEEN[depth]
    assert len(whole.hrefs) == {"0": 1, "1": 5, "infinity": 9}[depth]


@pytest.mark.security("A-07", "A-06")
def test_nor_by_a_link_or_in_the_page_for_browsers(listed: World) -> None:
    assert listed.bob.members("/z/") == ["/z/b/"]
    assert listed.bob.members("/z/b/") == ["/z/b/f"]
    for path in ("/a/", "/a/b/", "/z/", "/z/b/"):
        page = listed.bob.get(path).body
        assert not [word for word in (b"secret", b"hidden", b"link") if word in page], path
    assert b"secret" in listed.alice.get("/a/").body


@pytest.mark.rfc("LM-09")
def test_each_member_says_whether_it_can_be_locked(listed: World) -> None:
    answer = listed.bob.propfind("/a/", props=["{DAV:}supportedlock"], depth="1")

    can = {href: "{DAV:}supportedlock" in groups.get(200, {}) for href, groups in answer.items()}
    assert can == {"/a/": True, "/a/b/": True, "/a/f": True, "/a/fixed/": False}


def test_where_no_rule_lies_below_no_member_is_asked_for(
    listed: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed.fill("/plain/", *(f"/plain/{n}" for n in range(20)))
    rights = listed.carrier.app.services.path_rights
    assert rights is not None
    asked: list[int] = []
    permits_real = type(rights).permits_real

    def count(self: Any, *arguments: Any) -> bool:
        asked.append(1)
        return permits_real(self, *arguments)

    monkeypatch.setattr(type(rights), "permits_real", count)
    assert len(listed.bob.members("/plain/")) == 20

    assert len(asked) < 5


# -- trees -----------------------------------------------------------------------------------


@pytest.mark.security("A-08")
def test_a_copy_leaves_out_what_may_not_be_read_and_says_so(listed: World) -> None:
    reply = listed.bob.copy("/a/", "/copy/")

    assert (reply.status, statuses_of(reply)) == (207, {"/a/": 403, "/a/b/": 403})
    assert b"secret" not in reply.body
    copied = tree(listed.alice, "/copy/")
    assert sorted(copied) == ["/copy/b/", "/copy/b/f", "/copy/f", "/copy/fixed/", "/copy/fixed/f"]


@pytest.mark.security("A-08")
def test_a_copy_that_is_not_whole_replaces_nothing(listed: World) -> None:
    listed.fill("/there/", "/there/kept")

    assert listed.bob.copy("/a/", "/there/").status == 207

    assert sorted(tree(listed.alice, "/there/")) == ["/there/kept"]


@pytest.mark.security("A-08")
def test_a_copy_follows_no_link_to_what_may_not_be_read(listed: World) -> None:
    reply = listed.bob.copy("/z/", "/copy/")

    assert reply.status == 207
    assert sorted(tree(listed.alice, "/copy/")) == ["/copy/b/", "/copy/b/f"]


@pytest.mark.security("A-08")
def test_dead_properties_of_what_is_left_out_are_not_copied(listed: World) -> None:
    listed.alice.proppatch("/a/secret/f", set={"{x:}topic": "hush"})
    listed.bob.copy("/a/", "/copy/")
    listed.fill("/copy/secret/", "/copy/secret/f")

    assert listed.alice.prop("/copy/secret/f", "{x:}topic") is None


def test_links_that_lead_nowhere_or_out_are_no_members_that_a_rule_keeps(listed: World) -> None:
    listed.fill("/plain/", "/plain/f")
    os.symlink("missing", listed.root / "plain/dangling")
    os.symlink("/etc", listed.root / "plain/out")

    assert listed.bob.members("/plain/") == ["/plain/f"]
    assert listed.bob.copy("/plain/", "/copy/").status == 201
    assert sorted(tree(listed.alice, "/copy/")) == ["/copy/f"]


CHANGES = [
    pytest.param("MOVE", "/a/", "/new/", id="out of it"),
    pytest.param("MOVE", "/a/b/", "/new/", id="a part of it"),
    pytest.param("MOVE", "/other/", "/a/", id="over it"),
    pytest.param("COPY", "/other/", "/a/", id="a copy over it"),
    pytest.param("COPY", "/plain", "/a/b/", id="a file over it"),
    pytest.param("COPY", "/plain", "/z/b/", id="a file over it, by a link"),
    pytest.param("MOVE", "/other/", "/a/fixed/", id="over what is read-only"),
    pytest.param("MOVE", "/a/fixed/", "/new/", id="what is read-only"),
]


@pytest.mark.security("A-08", "A-06")
@pytest.mark.parametrize(("method", "source", "destination"), CHANGES)
def test_a_tree_with_a_member_that_may_not_be_written_stays(
    listed: World, method: str, source: str, destination: str
) -> None:
    listed.fill("/other/", "/other/f", "/plain")
    before = listed.now

    reply = listed.bob.request(method, source, {"Destination": destination})

    assert reply.status == 403
    assert listed.now == before


@pytest.mark.security("A-08")
def test_a_rule_for_what_is_not_there_keeps_nothing_where_it_is(make: Make) -> None:
    world = make(rule("/a/secret", "none", "bob"))
    world.fill("/a/", "/a/f", "/b/", "/b/secret/", "/b/secret/f")

    assert world.bob.move("/a/", "/c/").status == 201
    # What comes to the name of the rule would be where bob may not write.
    assert world.bob.move("/b/", "/a/").status == 403
    assert world.bob.copy("/b/", "/a/").status == 207
    found = sorted(tree(world.alice, "/"))
    assert found == ["/a/", "/b/", "/b/secret/", "/b/secret/f", "/c/", "/c/f"]


@pytest.mark.security("A-08")
def test_delete_keeps_what_may_not_be_written_and_what_it_is_in(listed: World) -> None:
    reply = listed.bob.delete("/a/")

    expected = {"/a/": 403, "/a/b/": 403, "/a/fixed/": 403}
    assert (reply.status, statuses_of(reply)) == (207, expected)
    assert b"secret" not in reply.body
    assert sorted(tree(listed.alice, "/a/")) == [
        *("/a/b/", "/a/b/hidden", "/a/fixed/", "/a/fixed/f", "/a/secret/", "/a/secret/f"),
    ]


@pytest.mark.security("O-03", "A-08")
def test_a_lock_of_a_tree_needs_the_right_to_all_of_it(listed: World) -> None:
    asked = ("/", "/a/", "/a/b/", "/z/b/")
    refused = {path: listed.bob.lock_request(path).status for path in asked}

    assert refused == dict.fromkeys(asked, 403)
    assert listed.bob.lock_request("/a/", depth="0").status == 200
    assert listed.bob.lock_request("/z/").status == 200
    assert listed.alice.lock_request("/a/b/").status == 200


# -- names that change hands meanwhile ---------------------------------------------------------


def swap_before(
    monkeypatch: pytest.MonkeyPatch, world: World, call: str, path: str, to: str, name: str = ""
) -> None:
    """Puts a link to `to` in the place of `path`, or of its member, right before the storage's
    `call` for `path`."""
    plain = getattr(FilesystemStorage, call)
    place = world.root / path.strip("/") / name
    swapped: list[str] = []

    def swapping(self: FilesystemStorage, at: Any, *rest: Any, **keys: Any) -> Any:
        if not swapped and "/" + "/".join(at.segments) == path:
            swapped.append(call)
            place.rename(world.root / "aside")
            os.symlink(os.path.relpath(world.root / to, place.parent), place)
        return plain(self, at, *rest, **keys)

    monkeypatch.setattr(FilesystemStorage, call, swapping)


@pytest.mark.security("A-06", "P-09")
def test_a_file_that_becomes_a_link_is_not_read_through_it(
    private: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    swap_before(monkeypatch, private, "open", "/open/f", "private/f")

    assert private.bob.get("/open/f").status == 403


@pytest.mark.security("A-06", "P-09")
def test_nor_is_it_copied_with_its_collection(
    private: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    private.fill("/plain/", "/plain/f")
    private.alice.put("/private/f", b"hush")
    swap_before(monkeypatch, private, "members", "/plain", "private/f", name="f")

    reply = private.bob.copy("/plain/", "/copy/")

    assert (reply.status, statuses_of(reply)) == (207, {"/plain/": 403})
    assert sorted(tree(private.alice, "/copy/")) == []


@pytest.mark.security("A-06", "P-09")
def test_nor_is_what_a_collection_became_listed(
    private: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    private.fill("/plain/", "/plain/c/")
    swap_before(monkeypatch, private, "canonical", "/plain/c", "private")

    found = private.bob.propfind("/plain/", props=["{DAV:}getetag"], depth="infinity")

    assert found.hrefs == ["/plain/"]


def test_a_file_that_is_replaced_meanwhile_is_read_all_the_same(
    private: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (private.root / "other").write_bytes(b"newer")
    plain = FilesystemStorage.open

    def replacing(self: FilesystemStorage, at: Any) -> Any:
        if (private.root / "other").exists():
            os.replace(private.root / "other", private.root / "open/f")
        return plain(self, at)

    monkeypatch.setattr(FilesystemStorage, "open", replacing)

    assert private.bob.get("/open/f").body == b"newer"


# -- headers that name paths -----------------------------------------------------------------


@pytest.mark.security("A-08")
@pytest.mark.parametrize("destination", ["/private/new", "/private/f", "/open/link/new", "/deep/g"])
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_the_destination_is_authorised(private: World, method: str, destination: str) -> None:
    before = private.now

    for source in ("/open/f", "/open/", "/no"):
        reply = private.bob.request(method, source, {"Destination": destination})
        assert reply.status == 403, source
    assert private.now == before


@pytest.mark.rfc("G-06")
@pytest.mark.security("A-08")
@pytest.mark.parametrize("tagged", ["/private/f", "/open/link/f", "/open/file"])
def test_if_tells_nothing_of_what_may_not_be_read(private: World, tagged: str) -> None:
    etag = private.alice.get("/private/f").headers["etag"]
    token = private.alice.lock("/private/f").token

    for condition in (f"[{etag}]", f"<{token}>"):
        headers = {"If": f"<{tagged}> ({condition})"}
        assert private.alice.put("/open/f", b"x", headers).status == 204
        assert private.bob.put("/open/f", b"x", headers).status == 412


# -- collections whose membership changes ----------------------------------------------------


@pytest.fixture
def inbox(make: Make) -> World:
    """bob may write /in and a file of /in2, whose collections he may only read."""
    world = make(
        rule("/in", "write", "bob"),
        rule("/in2/file", "write", "bob"),
        rule("/in2/new", "write", "bob"),
        rule("/", "read", "bob"),
    )
    world.fill("/in/", "/in/f", "/in2/", "/in2/file", "/f")
    return world


@pytest.mark.security("A-06")
def test_to_add_or_remove_a_member_needs_the_right_to_its_collection(inbox: World) -> None:
    asks = [
        Ask("DELETE", "/in/"),
        Ask("MOVE", "/in/", {"Destination": "/in2/new"}),
        Ask("DELETE", "/in2/file"),
        Ask("MOVE", "/in2/file", {"Destination": "/in/x"}),
        Ask("MOVE", "/in/f", {"Destination": "/in2/file"}),
        Ask("PUT", "/in2/new", {}, b"x"),
        Ask("MKCOL", "/in2/new"),
        Ask("LOCK", "/in2/new", X, LOCK),
        Ask("COPY", "/f", {"Destination": "/in2/new"}),
        Ask("COPY", "/in/", {"Destination": "/in2/file"}),
    ]
    before = inbox.now

    statuses = [ask.send(inbox.bob).status for ask in asks]

    assert statuses == [403] * len(asks)
    assert inbox.now == before


@pytest.mark.security("A-06")
def test_to_change_what_a_member_holds_needs_the_right_to_it_alone(inbox: World) -> None:
    bob = inbox.bob

    assert bob.put("/in2/file", b"x").status == 204
    assert bob.copy("/f", "/in2/file").status == 204
    assert Ask("PROPPATCH", "/in2/file", X, PROPPATCH).send(bob).status == 207
    assert bob.unlock("/in2/file", bob.lock("/in2/file").token).status == 204
    assert bob.put("/in/new", b"x").status == 201
    assert bob.move("/in/f", "/in/g").status == 201
    assert bob.delete("/in/g").status == 204


# -- shares and homes ------------------------------------------------------------------------


@pytest.fixture
def homes(make_dav: MakeDav, tmp_path: Path) -> AppDav:
    return make_shares(
        make_dav,
        tmp_path,
        shares={"home": {"homes": True}, "pub": {"anonymous": "read"}, "staff": {}},
        user=USERS,
        anonymous=None,
        rule=[rule("/staff", "none", "bob"), rule("/home/alice/shared", "read", "bob")],
    )


@pytest.mark.security("A-06", "A-07", "C-20")
def test_each_user_sees_and_has_the_own_home(homes: AppDav) -> None:
    alice, bob = Basic(homes, "alice"), Basic(homes, "bob")
    assert alice.put("/home/alice/f", b"mine").status == 201
    assert alice.mkcol("/home/alice/shared/").status == 201
    assert alice.put("/home/alice/shared/f", b"ours").status == 201

    assert bob.members("/home/") == ["/home/bob/"]
    assert alice.members("/home/") == ["/home/alice/"]
    assert b"alice" not in bob.get("/home/").body
    for ask in (asks_at("/home/alice/f") | asks_to("/home/alice/f", "/home/bob/")).values():
        assert ask.send(bob).status == 403, ask
    assert bob.get("/home/alice/shared/f").body == b"ours"
    assert bob.put("/home/alice/shared/f", b"").status == 403
    assert bob.put("/home/carol/f", b"").status == 403
    assert homes.get("/home/").status == 401
    assert homes.get("/home/alice/f").status == 401


@pytest.mark.security("A-06")
def test_nobody_gives_up_the_own_home_or_makes_another(homes: AppDav) -> None:
    bob = Basic(homes, "bob")

    for ask in (
        Ask("DELETE", "/home/bob/"),
        Ask("MOVE", "/home/bob/", {"Destination": "/pub/bob/"}),
        Ask("MKCOL", "/home/other/"),
        Ask("MOVE", "/home/bob/", {"Destination": "/home/other/"}),
        Ask("DELETE", "/home/"),
        Ask("LOCK", "/home/", X, LOCK),
    ):
        assert ask.send(bob).status == 403, ask


@pytest.mark.security("A-06", "A-07")
def test_the_list_of_shares_shows_what_one_may_read(homes: AppDav) -> None:
    assert Basic(homes, "alice").members("/") == ["/home/", "/pub/", "/staff/"]
    assert Basic(homes, "bob").members("/") == ["/home/", "/pub/"]
    assert homes.members("/") == ["/pub/"]
    assert homes.get("/pub/").status == 200
    assert homes.get("/staff/").status == 401
    assert homes.get("/no-such-share/").status == 404
