"""Several shares below one root: what the root is, what a share is, and what goes across."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davserver.methods import _tree
from tests.conftest import AppDav
from tests.support.shares import make_shares
from tests.support.trees import TOPIC, fill, hidden_names, tree

D = "{DAV:}"
MakeDav = Callable[..., AppDav]
TYPE = [f"{D}resourcetype"]
CHANGES = ("COPY", "DELETE", "LOCK", "MKCOL", "MOVE", "PROPPATCH", "PUT", "UNLOCK")


@pytest.fixture
def dav(make_dav: MakeDav, tmp_path: Path) -> AppDav:
    return make_shares(make_dav, tmp_path, "a", "b")


@pytest.fixture
def mixed(make_dav: MakeDav, tmp_path: Path) -> AppDav:
    """One share that may be written, and one that may not but has something in it."""
    made = make_shares(make_dav, tmp_path, shares={"a": {}, "ro": {"read_only": True}})
    assert made.root is not None
    (made.root / "ro/c").mkdir()
    (made.root / "ro/f").write_bytes(b"kept")
    return made


# --- the collection above them ------------------------------------------------------------------


@pytest.mark.parametrize("depth", ["0", "1", "infinity", None])
def test_propfind_of_the_root_walks_into_the_shares(dav: AppDav, depth: str | None) -> None:
    fill(dav, "/a/c/", "/a/c/f", "/b/g")

    found = sorted(dav.propfind("/", props=TYPE, depth=depth).hrefs)

    every = ["/", "/a/", "/a/c/", "/a/c/f", "/b/", "/b/g"]
    assert found == {"0": ["/"], "1": ["/", "/a/", "/b/"]}.get(depth or "", every)


def test_the_root_is_a_collection_with_its_live_properties(dav: AppDav) -> None:
    answer = dav.propfind("/", b"", depth="1")

    for href in ("/", "/a/", "/b/"):
        assert answer[href][200][f"{D}resourcetype"].find(f"{D}collection") is not None
        assert answer[href][200][f"{D}getlastmodified"].text
    assert [answer[href][200][f"{D}displayname"].text for href in ("/a/", "/b/")] == ["a", "b"]


def test_dead_properties_and_locks_of_shares_show_in_the_list(dav: AppDav) -> None:
    dav.proppatch("/a/", set={TOPIC: "mine"})
    dav.lock("/b/")

    answer = dav.propfind("/", props=[TOPIC, f"{D}lockdiscovery"], depth="1")

    assert answer["/a/"][200][TOPIC].text == "mine"
    assert TOPIC in answer["/b/"][404]
    assert len(answer["/b/"][200][f"{D}lockdiscovery"]) == 1
    assert len(answer["/a/"][200][f"{D}lockdiscovery"]) == 0


def test_the_root_answers_options_and_shows_a_page(dav: AppDav) -> None:
    reply = dav.options("/")

    assert set(reply.headers.tokens("allow")).isdisjoint(CHANGES)
    assert {"GET", "OPTIONS", "PROPFIND"} <= set(reply.headers.tokens("allow"))
    assert b'href="/a/"' in dav.get("/").body


@pytest.mark.parametrize(
    ("shares", "classes"),
    [
        pytest.param({"a": {}, "b": {"read_only": True}}, ["1", "2", "3"], id="one writable"),
        pytest.param({"a": {"read_only": True}}, ["1", "3"], id="none writable"),
    ],
)
def test_the_root_says_class_2_when_a_share_can_be_written(
    make_dav: MakeDav, tmp_path: Path, shares: dict[str, Any], classes: list[str]
) -> None:
    """Finder takes everything below for read-only otherwise."""
    dav = make_shares(make_dav, tmp_path, shares=shares)

    assert dav.options("/").headers.tokens("dav")[:3] == classes


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda dav: dav.delete("/"), id="DELETE root"),
        pytest.param(lambda dav: dav.proppatch("/", set={TOPIC: "x"}), id="PROPPATCH root"),
        pytest.param(lambda dav: dav.lock_request("/"), id="LOCK root"),
        pytest.param(lambda dav: dav.move("/", "/a/x"), id="MOVE root"),
        pytest.param(lambda dav: dav.copy("/", "/a/x"), id="COPY root into a share"),
        pytest.param(lambda dav: dav.copy("/a/f", "/"), id="COPY onto root"),
        pytest.param(lambda dav: dav.put("/new", b"x"), id="PUT beside"),
        pytest.param(lambda dav: dav.put("/new/new", b"x"), id="PUT below what is no share"),
        pytest.param(lambda dav: dav.mkcol("/new"), id="MKCOL beside"),
        pytest.param(lambda dav: dav.lock_request("/new"), id="LOCK beside"),
        pytest.param(lambda dav: dav.copy("/a/f", "/new"), id="COPY beside"),
        pytest.param(lambda dav: dav.move("/a/f", "/new"), id="MOVE beside"),
        pytest.param(lambda dav: dav.delete("/a/"), id="DELETE share"),
        pytest.param(lambda dav: dav.delete("/a"), id="DELETE share without slash"),
        pytest.param(lambda dav: dav.delete("/no"), id="DELETE what is no share"),
        pytest.param(lambda dav: dav.move("/a/", "/b/x/"), id="MOVE share into another"),
        pytest.param(lambda dav: dav.move("/a/", "/c/"), id="MOVE share to a new name"),
        pytest.param(lambda dav: dav.move("/a/", "/b/"), id="MOVE share onto share"),
        pytest.param(lambda dav: dav.copy("/a/", "/b/"), id="COPY share onto share"),
        pytest.param(lambda dav: dav.copy("/b/c/", "/a/"), id="COPY onto share"),
        pytest.param(lambda dav: dav.move("/b/c/", "/a/"), id="MOVE onto share"),
        pytest.param(lambda dav: dav.copy("/a/", "/a/x/"), id="COPY share into itself"),
    ],
)
def test_the_list_of_shares_never_changes(dav: AppDav, ask: Callable[[AppDav], Any]) -> None:
    fill(dav, "/a/f", "/b/c/", "/b/c/g")
    before = tree(dav)

    assert ask(dav).status == 403
    assert tree(dav) == before
    assert hidden_names(dav) == []


@pytest.mark.parametrize(("method", "status"), [("PUT", 405), ("MKCOL", 405)])
def test_a_share_is_a_collection(dav: AppDav, method: str, status: int) -> None:
    reply = dav.request(method, "/a/")

    assert reply.status == status
    assert method not in reply.headers.tokens("allow")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PROPFIND"])
@pytest.mark.parametrize("path", ["/c", "/c/d"])
def test_what_is_no_share_is_not_found(dav: AppDav, method: str, path: str) -> None:
    assert dav.request(method, path).status == 404


def test_the_root_alone_can_be_copied_as_an_empty_collection(dav: AppDav) -> None:
    assert dav.copy("/", "/a/x/", depth="0").status == 201
    assert tree(dav) == {"/a/": None, "/a/x/": None, "/b/": None}


# --- a share ------------------------------------------------------------------------------------


def test_a_share_takes_properties_and_a_lock_that_covers_it_alone(dav: AppDav) -> None:
    fill(dav, "/a/f", "/b/f")
    dav.proppatch("/a/", set={TOPIC: "mine"})
    token = dav.lock("/a/", depth="infinity").token

    assert dav.prop("/a/", TOPIC).text == "mine"
    assert dav.put("/a/f", b"lost").status == 423
    assert dav.put("/a/new", b"lost").status == 423
    assert dav.put("/b/f", b"other").status == 204
    assert dav.put("/a/f", b"held", {"If": f"</a/> (<{token}>)"}).status == 204
    assert dav.unlock("/a/f", token).status == 204
    assert dav.put("/a/new", b"free").status == 201


def test_equal_paths_in_two_shares_are_two_resources(dav: AppDav) -> None:
    fill(dav, "/a/f", "/b/f")
    for path in ("/a/f", "/b/f"):
        dav.proppatch(path, set={TOPIC: path})
    lock = dav.lock("/a/f")

    assert [dav.prop(path, TOPIC).text for path in ("/a/f", "/b/f")] == ["/a/f", "/b/f"]
    assert lock.activelock.findtext(f"{D}lockroot/{D}href") == "/a/f"
    assert dav.delete("/b/f").status == 204
    assert dav.delete("/a/f").condition_hrefs == ["/a/f"]
    assert dav.prop("/a/f", TOPIC).text == "/a/f"


def test_below_a_prefix_everything_is_the_same(make_dav: MakeDav, tmp_path: Path) -> None:
    dav = make_shares(make_dav, tmp_path, "a", "b", prefix="/dav")
    fill(dav, "/dav/a/f")

    assert dav.move("/dav/a/f", "/dav/b/f").headers["location"] == "/dav/b/f"
    assert dav.members("/dav/") == ["/dav/a/", "/dav/b/"]
    assert dav.members("/") == ["/dav/"]
    assert dav.put("/dav/new").status == 403


def test_links_work_inside_a_share_and_never_into_another(dav: AppDav) -> None:
    fill(dav, "/a/c/", "/a/c/f", "/b/g")
    assert dav.root is not None
    os.symlink("c", dav.root / "a/in")
    os.symlink("../b", dav.root / "a/out")

    assert dav.get("/a/in/f").body == b"/a/c/f"
    assert dav.get("/a/out/g").status == 403
    assert dav.members("/a/") == ["/a/c/", "/a/in/"]


def test_symlinks_are_as_each_share_says(make_dav: MakeDav, tmp_path: Path) -> None:
    shares = {"strict": {"symlinks": "deny"}, "free": {}}
    dav = make_shares(make_dav, tmp_path, shares=shares)
    assert dav.root is not None
    for name in shares:
        (dav.root / name / "f").write_bytes(b"x")
        os.symlink("f", dav.root / name / "link")

    assert dav.get("/free/link").status == 200
    assert dav.get("/strict/link").status == 403


def test_junk_is_as_each_share_says(make_dav: MakeDav, tmp_path: Path) -> None:
    shares = {"refuses": {"junk": "refuse"}, "hides": {"junk": "hide"}, "plain": {}}
    dav = make_shares(make_dav, tmp_path, shares=shares)

    assert [dav.put(f"/{name}/.DS_Store", b"x").status for name in shares] == [403, 201, 201]
    assert dav.copy("/plain/.DS_Store", "/refuses/.DS_Store").status == 403
    assert [dav.members(f"/{name}/") for name in shares] == [[], [], ["/plain/.DS_Store"]]


# --- from one into another ----------------------------------------------------------------------


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("old", [(), ("/b/f",), ("/b/f/", "/b/f/x")], ids=str)
def test_a_file_goes_across_with_its_properties(
    dav: AppDav, method: str, old: tuple[str, ...]
) -> None:
    fill(dav, "/a/f", *old)
    dav.proppatch("/a/f", set={TOPIC: "mine"})

    reply = dav.request(method, "/a/f", {"Destination": "/b/f"})

    left = {"/a/f": b"/a/f"} if method == "COPY" else {}
    assert reply.status == (204 if old else 201)
    assert tree(dav) == {"/a/": None, "/b/": None, "/b/f": b"/a/f"} | left
    assert dav.prop("/b/f", TOPIC).text == "mine"
    assert hidden_names(dav) == []


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("old", [(), ("/b/t/", "/b/t/x")], ids=str)
def test_a_tree_goes_across_with_its_properties(
    dav: AppDav, method: str, old: tuple[str, ...]
) -> None:
    fill(dav, "/a/t/", "/a/t/1", "/a/t/d/", "/a/t/d/2", *old)
    dav.proppatch("/a/t/d/2", set={TOPIC: "deep"})
    dav.proppatch("/a/t/1", set={f"{D}getlastmodified": "Mon, 12 Jan 1998 09:25:56 GMT"})

    reply = dav.request(method, "/a/t/", {"Destination": "/b/t/"})

    assert reply.status == (204 if old else 201)
    assert tree(dav, "/b/t/") == {"/b/t/1": b"/a/t/1", "/b/t/d/": None, "/b/t/d/2": b"/a/t/d/2"}
    assert dav.members("/a/") == (["/a/t/"] if method == "COPY" else [])
    assert dav.prop("/b/t/d/2", TOPIC).text == "deep"
    kept = dav.prop("/b/t/1", f"{D}getlastmodified").text == "Mon, 12 Jan 1998 09:25:56 GMT"
    assert kept == (method == "MOVE")
    assert hidden_names(dav) == []


def test_what_is_written_while_its_tree_goes_across_stays(
    dav: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(dav, "/a/t/", "/a/t/1", "/a/t/d/", "/a/t/d/2", "/a/t/d/3")
    assert dav.root
    written = dav.root / "a/t/d/2"
    leave = _tree.TreeDelete.run

    def write_first(self: _tree.TreeDelete, *ends: Any) -> bool:
        written.write_bytes(b"another's")
        return leave(self, *ends)

    monkeypatch.setattr(_tree.TreeDelete, "run", write_first)
    reply = dav.move("/a/t/", "/b/t/")

    assert reply.multistatus.statuses == {"/a/t/d/2": 409}
    assert tree(dav, "/a/t/") == {"/a/t/d/": None, "/a/t/d/2": b"another's"}
    assert dav.get("/b/t/d/2").body == b"/a/t/d/2"


def test_a_whole_share_can_be_copied_into_another(dav: AppDav) -> None:
    fill(dav, "/a/f", "/a/c/")

    assert dav.copy("/a/", "/b/saved/").status == 201
    assert sorted(tree(dav, "/b/")) == ["/b/saved/", "/b/saved/c/", "/b/saved/f"]


@pytest.mark.parametrize("locked", ["/a/t/1", "/b/t/x", "/b/"])
def test_a_lock_at_either_end_holds(dav: AppDav, locked: str) -> None:
    fill(dav, "/a/t/", "/a/t/1", "/b/t/", "/b/t/x")
    dav.lock(locked, depth="0")
    before = tree(dav)

    reply = dav.move("/a/t/", "/b/t/")

    assert (reply.status, reply.condition_hrefs) == (423, [locked])
    assert tree(dav) == before


def test_what_moves_across_leaves_its_locks_and_rows_behind(dav: AppDav) -> None:
    fill(dav, "/a/f")
    dav.proppatch("/a/f", set={TOPIC: "mine"})
    token = dav.lock("/a/f").token

    assert dav.move("/a/f", "/b/f", headers={"If": f"</a/f> (<{token}>)"}).status == 201
    assert dav.locks("/b/f") == []
    fill(dav, "/a/f")
    assert dav.prop("/a/f", TOPIC) is None
    assert dav.locks("/a/f") == []


# --- a share that is read-only ------------------------------------------------------------------


@pytest.mark.security("C-12")
@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda dav: dav.put("/ro/f", b"x"), id="PUT"),
        pytest.param(lambda dav: dav.put("/ro/new", b"x"), id="PUT new"),
        pytest.param(lambda dav: dav.mkcol("/ro/new"), id="MKCOL"),
        pytest.param(lambda dav: dav.mkcol("/ro/c"), id="MKCOL mapped"),
        pytest.param(lambda dav: dav.delete("/ro/f"), id="DELETE"),
        pytest.param(lambda dav: dav.delete("/ro/no"), id="DELETE unmapped"),
        pytest.param(lambda dav: dav.proppatch("/ro/f", set={TOPIC: "x"}), id="PROPPATCH"),
        pytest.param(lambda dav: dav.proppatch("/ro/", set={TOPIC: "x"}), id="PROPPATCH share"),
        pytest.param(lambda dav: dav.lock_request("/ro/f"), id="LOCK"),
        pytest.param(lambda dav: dav.lock_request("/ro/new"), id="LOCK unmapped"),
        pytest.param(lambda dav: dav.unlock("/ro/f", "urn:uuid:1"), id="UNLOCK"),
        pytest.param(lambda dav: dav.move("/ro/f", "/ro/g"), id="MOVE inside"),
        pytest.param(lambda dav: dav.move("/ro/f", "/a/f"), id="MOVE out"),
        pytest.param(lambda dav: dav.move("/a/f", "/ro/g"), id="MOVE in"),
        pytest.param(lambda dav: dav.copy("/a/f", "/ro/g"), id="COPY in"),
        pytest.param(lambda dav: dav.copy("/ro/f", "/ro/g"), id="COPY inside"),
        pytest.param(lambda dav: dav.request("PATCH", "/ro/f", body=b"x"), id="PATCH"),
        pytest.param(lambda dav: dav.request("POST", "/ro/", body=b"x"), id="POST"),
    ],
)
def test_nobody_changes_a_read_only_share(mixed: AppDav, ask: Callable[[AppDav], Any]) -> None:
    fill(mixed, "/a/f")
    before = tree(mixed)

    assert ask(mixed).status == 403
    assert tree(mixed) == before
    assert mixed.propfind("/ro/", b"", depth="1")["/ro/f"][200].get(TOPIC) is None


@pytest.mark.security("C-12")
def test_a_read_only_share_is_told_of_as_such(mixed: AppDav) -> None:
    options = {path: mixed.options(path).headers for path in ("/ro/", "/ro/f", "/ro/no", "/a/")}

    assert {path: fields.tokens("dav")[:3] for path, fields in options.items()} == {
        "/ro/": ["1", "3"],
        "/ro/f": ["1", "3"],
        "/ro/no": ["1", "3"],
        "/a/": ["1", "2", "3"],
    }
    for path in ("/ro/", "/ro/f", "/ro/no"):
        assert set(options[path].tokens("allow")).isdisjoint({*CHANGES} - {"COPY"})


@pytest.mark.parametrize("depth", ["1", "infinity"])
@pytest.mark.parametrize("more", [(), (TOPIC,)], ids=["live alone", "dead too"])
def test_a_listing_of_all_says_of_each_share_what_can_be_locked(
    mixed: AppDav, depth: str, more: tuple[str, ...]
) -> None:
    fill(mixed, "/a/f")

    answer = mixed.propfind("/", props=[f"{D}supportedlock", *more], depth=depth)

    can = {href: f"{D}supportedlock" in answer[href].get(200, {}) for href in answer.hrefs}
    expected = {"/": False, "/a/": True, "/ro/": False}
    if depth == "infinity":
        expected |= {"/a/f": True, "/ro/c/": False, "/ro/f": False}
    assert can == expected


def test_what_is_in_a_read_only_share_can_be_read_and_copied_out(mixed: AppDav) -> None:
    assert mixed.get("/ro/f").body == b"kept"
    assert mixed.copy("/ro/f", "/a/f").status == 201
    assert mixed.copy("/ro/", "/a/all/").status == 201
    assert tree(mixed, "/a/") == {
        "/a/f": b"kept",
        "/a/all/": None,
        "/a/all/c/": None,
        "/a/all/f": b"kept",
    }
