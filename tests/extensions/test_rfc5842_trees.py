"""DELETE, MOVE and COPY of what has several bindings (RFC 5842 section 2)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from davserver.methods import _tree, _walking
from davserver.state.memory import MemoryState
from tests.conftest import AppDav
from tests.support.asgi import AsgiDav
from tests.support.binding import bind, parents, resource_id

MakeDav = Callable[..., AppDav]
TOPIC = "{http://example.org/ns}topic"
FALLBACKS = {"": (), "without renameat2": ("renameat2",)}


@pytest.fixture(params=["sqlite", "memory", "without renameat2"])
def dav(request: pytest.FixtureRequest, make_dav: MakeDav) -> AppDav:
    """A client of a file system with two collections."""
    overrides = {"state": MemoryState()} if request.param == "memory" else {}
    fallbacks = FALLBACKS.get(request.param, ())
    dav = make_dav("filesystem", overrides=overrides, fallbacks=fallbacks)
    for collection in ("/a/", "/b/"):
        dav.mkcol(collection)
    return dav


@pytest.fixture
def root(dav: AppDav) -> Path:
    assert dav.root is not None
    return dav.root


def make(dav: AppDav, path: str, *, collection: bool) -> None:
    """Makes a resource that has something in it, and a property."""
    if collection:
        dav.mkcol(path)
        dav.mkcol(f"{path}/d")
        dav.put(f"{path}/d/x", b"deep")
        dav.proppatch(f"{path}/d/x", set={TOPIC: "deep"})
    else:
        dav.put(path, b"content")
    dav.proppatch(path, set={TOPIC: "kept"})


def check(dav: AppDav, path: str, *, collection: bool) -> None:
    """Asserts that what `make` made is there, by this path."""
    if collection:
        assert dav.get(f"{path}/d/x").body == b"deep"
        assert dav.prop(f"{path}/d/x", TOPIC).text == "deep"
    else:
        assert dav.get(path).body == b"content"
    assert dav.prop(path, TOPIC).text == "kept"


def nothing_hidden(root: Path) -> bool:
    return not list(root.rglob(".davserver*"))


both_kinds = pytest.mark.parametrize("collection", [False, True], ids=["file", "collection"])


# --- DELETE -------------------------------------------------------------------------------------


@pytest.mark.rfc("BI-04")
@pytest.mark.parametrize("files", [1, 300], ids=["small", "long"])
@pytest.mark.parametrize(
    ("bound", "level"),
    [
        pytest.param("/a/c", 1, id="entered next"),
        pytest.param("/a/c", 2, id="entered already"),
        pytest.param("/a", 1, id="the Request-URI"),
    ],
)
def test_what_is_bound_while_the_walk_runs_stays_where_it_is_bound(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, bound: str, level: int, files: int
) -> None:
    """All of it that was not gone by then."""
    dav = make_dav("filesystem", durability="none")
    for collection in ("/a/", "/a/c/", "/a/c/d/", "/b/"):
        dav.mkcol(collection)
    for number in range(files):
        dav.put(f"/a/c/d/f{number}", b"x")
    other = AsgiDav(dav.app)
    descend = _tree.TreeDelete._descend
    told: list[int] = []

    def bind_first(self: _tree.TreeDelete, stack: list[_walking.Frame]) -> None:
        if len(stack) == level and not told:
            told.append(bind(other, "/b/", "y", bound).status)
        descend(self, stack)

    monkeypatch.setattr(_tree.TreeDelete, "_descend", bind_first)
    reply = dav.delete("/a/")
    other._runner.close()

    assert told == [201]
    assert reply.status == 204
    assert dav.get("/a/").status == 404
    assert dav.root
    kept = dav.root / "b/y"
    assert not kept.is_symlink()
    assert len([path for path in kept.rglob("*") if path.is_file()]) == files


@pytest.mark.rfc("BI-04")
@both_kinds
@pytest.mark.parametrize("gone", ["/a/x", "/b/y"], ids=["first", "second"])
def test_delete_removes_one_binding(dav: AppDav, root: Path, collection: bool, gone: str) -> None:
    """Section 2.4."""
    make(dav, "/a/x", collection=collection)
    bind(dav, "/b/", "y", "/a/x")
    before = resource_id(dav, "/a/x")
    reply = dav.delete(gone)
    rest = {"/a/x": "/b/y", "/b/y": "/a/x"}[gone]

    assert reply.status == 204
    assert dav.get(gone).status == 404
    check(dav, rest, collection=collection)
    assert resource_id(dav, rest) == before
    assert parents(dav, rest) == [(rest[:3], rest[3:])]
    assert not (root / rest[1:]).is_symlink()
    assert nothing_hidden(root)


@pytest.mark.rfc("BI-04")
def test_delete_of_the_last_binding_deletes_the_resource(dav: AppDav, root: Path) -> None:
    make(dav, "/a/x", collection=False)
    bind(dav, "/b/", "y", "/a/x")
    first, second = dav.delete("/a/x"), dav.delete("/b/y")
    dav.put("/b/y", b"another")

    assert (first.status, second.status) == (204, 204)
    assert dav.propfind("/b/y", props=[TOPIC]).status_of("/b/y", TOPIC) == 404


@pytest.mark.rfc("BI-04")
@both_kinds
def test_delete_of_a_tree_leaves_what_has_a_binding_elsewhere(
    dav: AppDav, root: Path, collection: bool
) -> None:
    dav.mkcol("/a/deep/")
    make(dav, "/a/deep/x", collection=collection)
    bind(dav, "/b/", "y", "/a/deep/x")
    bind(dav, "/a/", "z", "/a/deep/x")
    if collection:
        bind(dav, "/b/", "w", "/a/deep/x/d/x")
    reply = dav.delete("/a/")

    assert reply.status == 204
    assert dav.get("/a/").status == 404
    check(dav, "/b/y", collection=collection)
    assert parents(dav, "/b/y") == [("/b/", "y")]
    assert not collection or dav.get("/b/w").body == b"deep"
    assert nothing_hidden(root)


@pytest.mark.rfc("BI-04")
def test_delete_of_a_collection_does_not_touch_what_it_is_bound_to(dav: AppDav) -> None:
    """Section 2.4: "it MUST NOT modify the membership of any other collection"."""
    make(dav, "/b/c", collection=True)
    bind(dav, "/a/", "c", "/b/c")
    bind(dav, "/a/", "up", "/")
    reply = dav.delete("/a/")

    assert reply.status == 204
    check(dav, "/b/c", collection=True)
    assert dav.members("/") == ["/b/"]


@pytest.mark.rfc("BI-09")
def test_a_collection_that_is_only_in_itself_any_more_is_deleted(dav: AppDav, root: Path) -> None:
    make(dav, "/a/x", collection=True)
    bind(dav, "/a/x/d/", "loop", "/a/x")
    reply = dav.delete("/a/x/")

    assert reply.status == 204
    assert os.listdir(root / "a") == []


def test_the_first_of_the_other_bindings_gets_it_and_the_rest_follow(
    dav: AppDav, root: Path
) -> None:
    make(dav, "/a/x", collection=False)
    for name in ("1", "2", "3"):
        bind(dav, "/b/", name, "/a/x")
    dav.delete("/a/x")

    assert [(root / "b" / name).is_symlink() for name in "123"] == [False, True, True]
    assert parents(dav, "/b/3") == [("/b/", "1"), ("/b/", "2"), ("/b/", "3")]
    for name in "123":
        dav.put(f"/b/{name}", name.encode())
        assert {dav.get(f"/b/{each}").body for each in "123"} == {name.encode()}


def test_a_binding_whose_link_is_gone_gets_nothing(dav: AppDav, root: Path) -> None:
    make(dav, "/a/x", collection=False)
    bind(dav, "/b/", "y", "/a/x")
    (root / "b/y").unlink()
    (root / "b/y").write_bytes(b"of somebody else")
    reply = dav.delete("/a/x")

    assert reply.status == 204
    assert dav.get("/a/x").status == 404
    assert dav.get("/b/y").body == b"of somebody else"


def test_a_link_of_somebody_else_is_no_binding(dav: AppDav, root: Path) -> None:
    make(dav, "/a/x", collection=False)
    (root / "b/y").symlink_to("../a/x")
    before = parents(dav, "/b/y")
    reply = dav.delete("/a/x")

    assert before == [("/a/", "x")]
    assert reply.status == 204
    assert dav.get("/b/y").status == 403


# --- MOVE ---------------------------------------------------------------------------------------


@pytest.mark.rfc("BI-04")
@both_kinds
@pytest.mark.parametrize("moved", ["/a/x", "/b/y"], ids=["first", "second"])
def test_move_of_one_binding_leaves_the_others(
    dav: AppDav, root: Path, collection: bool, moved: str
) -> None:
    """Section 2.5."""
    make(dav, "/a/x", collection=collection)
    bind(dav, "/b/", "y", "/a/x")
    dav.mkcol("/b/deep/")
    before = resource_id(dav, "/a/x")
    reply = dav.move(moved, "/b/deep/new")
    rest = {"/a/x": "/b/y", "/b/y": "/a/x"}[moved]

    assert reply.status == 201
    assert dav.get(moved).status == 404
    for path in (rest, "/b/deep/new"):
        check(dav, path, collection=collection)
        assert resource_id(dav, path) == before
    assert set(parents(dav, rest)) == {(rest[:3], rest[3:]), ("/b/deep/", "new")}
    assert nothing_hidden(root)


@pytest.mark.rfc("BI-04")
def test_move_of_a_tree_keeps_every_binding_in_it_and_to_it(dav: AppDav, root: Path) -> None:
    make(dav, "/a/x", collection=False)
    make(dav, "/b/out", collection=False)
    dav.mkcol("/a/d/")
    bind(dav, "/a/d/", "inside", "/a/x")
    bind(dav, "/a/d/", "outward", "/b/out")
    bind(dav, "/b/", "inward", "/a/x")
    dav.mkcol("/c/")
    dav.mkcol("/c/c/")
    reply = dav.move("/a/", "/c/c/a/")

    assert reply.status == 201
    for path in ("/c/c/a/x", "/c/c/a/d/inside", "/c/c/a/d/outward", "/b/inward", "/b/out"):
        check(dav, path, collection=False)
    assert os.readlink(root / "b/inward") == "../c/c/a/x"
    assert os.readlink(root / "c/c/a/d/outward") == "../../../../b/out"
    dav.delete("/b/out")
    check(dav, "/c/c/a/d/outward", collection=False)


@pytest.mark.rfc("BI-04")
@both_kinds
def test_move_onto_a_binding_takes_that_binding_alone(dav: AppDav, collection: bool) -> None:
    """Section 2.5: "if MOVE is used with Overwrite:T to delete an existing resource, the
    constraints specified for DELETE apply"."""
    make(dav, "/a/x", collection=collection)
    bind(dav, "/b/", "y", "/a/x")
    dav.put("/new", b"new")
    onto_second = dav.move("/new", "/b/y")
    dav.put("/new", b"newer")
    bind(dav, "/b/", "z", "/a/x")
    onto_first = dav.move("/new", "/a/x")

    assert (onto_second.status, onto_first.status) == (204, 204)
    assert dav.get("/b/y").body == b"new"
    assert dav.get("/a/x").body == b"newer"
    check(dav, "/b/z", collection=collection)


def test_move_onto_the_same_resource_is_refused(dav: AppDav) -> None:
    make(dav, "/a/x", collection=False)
    bind(dav, "/b/", "y", "/a/x")
    bind(dav, "/b/", "z", "/a/x")

    for source, goal in (("/a/x", "/b/y"), ("/b/y", "/a/x"), ("/b/y", "/b/z")):
        assert dav.move(source, goal).status == 403
        check(dav, source, collection=False)
        check(dav, goal, collection=False)


@pytest.mark.rfc("BI-04", "BI-06")
@pytest.mark.parametrize("method", ["MOVE", "COPY"])
def test_a_tree_that_is_replaced_leaves_what_has_a_binding_elsewhere(
    dav: AppDav, method: str
) -> None:
    make(dav, "/a/x", collection=True)
    bind(dav, "/", "kept", "/a/x")
    dav.put("/b/new", b"new")
    reply = dav.request(method, "/b/", {"Destination": "/a/"})

    assert reply.status == 204
    assert dav.members("/a/") == ["/a/new"]
    check(dav, "/kept", collection=True)
    assert parents(dav, "/kept") == [("/", "kept")]


@pytest.mark.rfc("BI-06")
def test_a_copy_over_a_bound_collection_leaves_its_bindings(dav: AppDav) -> None:
    make(dav, "/a/x", collection=True)
    bind(dav, "/", "bound", "/a/x")
    before = resource_id(dav, "/a/x")
    dav.put("/b/new", b"new")
    reply = dav.copy("/b/", "/bound/")

    assert reply.status == 204
    assert dav.members("/a/x/") == ["/a/x/new"]
    assert dav.get("/bound/new").body == b"new"
    assert resource_id(dav, "/bound/") == resource_id(dav, "/a/x/") == before


def test_what_is_moved_into_a_loop_stays(dav: AppDav) -> None:
    """Section 2.5.2: the one binding of a collection does not go inside of it."""
    make(dav, "/a/x", collection=True)
    bind(dav, "/b/", "y", "/a/x")
    reply = dav.move("/a/x/", "/b/y/z/")

    assert reply.status == 403
    check(dav, "/a/x", collection=True)


def test_a_binding_can_be_moved_into_a_loop(dav: AppDav) -> None:
    make(dav, "/a/x", collection=True)
    bind(dav, "/b/", "y", "/a/x")
    reply = dav.move("/b/y/", "/a/x/d/loop/")

    assert reply.status == 201
    check(dav, "/a/x/d/loop/d/loop", collection=True)


def test_a_replaced_tree_that_has_the_resource_of_a_moved_binding_is_kept(dav: AppDav) -> None:
    make(dav, "/a/x", collection=False)
    bind(dav, "/b/", "y", "/a/x")
    reply = dav.move("/b/y", "/a/")

    assert reply.status == 403
    check(dav, "/b/y", collection=False)


def test_overwrite_f_keeps_a_binding(dav: AppDav) -> None:
    make(dav, "/a/x", collection=False)
    bind(dav, "/b/", "y", "/a/x")
    dav.put("/new", b"new")

    assert dav.move("/new", "/b/y", overwrite="F").status == 412
    assert dav.get("/b/y").body == b"content"


def test_a_put_where_a_binding_was_is_no_binding(dav: AppDav) -> None:
    make(dav, "/a/x", collection=False)
    bind(dav, "/b/", "y", "/a/x")
    dav.delete("/b/y")
    dav.put("/b/y", b"new")
    dav.delete("/a/x")

    assert dav.get("/b/y").body == b"new"
    assert parents(dav, "/b/y") == [("/b/", "y")]


# --- COPY ---------------------------------------------------------------------------------------


def test_a_copy_has_the_loops_of_what_it_is_a_copy_of(dav: AppDav) -> None:
    """Section 2.3.1."""
    for path in ("/CollX/", "/CollX/CollY/"):
        dav.mkcol(path)
    dav.put("/CollX/x.gif", b"R1")
    dav.put("/CollX/CollY/y.gif", b"R2")
    bind(dav, "/CollX/CollY/", "CollZ", "/CollX/")
    reply = dav.copy("/CollX/", "/CollA/", depth="infinity")

    assert reply.status == 201
    assert dav.get("/CollA/CollY/CollZ/CollY/CollZ/x.gif").body == b"R1"
    assert resource_id(dav, "/CollA/CollY/CollZ/") == resource_id(dav, "/CollA/")
    assert resource_id(dav, "/CollA/") != resource_id(dav, "/CollX/")
    assert parents(dav, "/CollA/") == [("/", "CollA"), ("/CollA/CollY/", "CollZ")]
    assert parents(dav, "/CollX/") == [("/", "CollX"), ("/CollX/CollY/", "CollZ")]


@pytest.mark.rfc("BI-06")
@pytest.mark.parametrize("stands", ["/CollX/x.gif", "/CollX/y.gif", "/b/out"])
def test_a_copy_has_one_copy_of_what_is_bound_twice(dav: AppDav, stands: str) -> None:
    """Section 2.3.3."""
    dav.mkcol("/CollX/")
    make(dav, stands, collection=False)
    for name in ("x.gif", "y.gif"):
        bind(dav, "/CollX/", name, stands)
    reply = dav.copy("/CollX/", "/CollA/")

    assert reply.status == 201
    for name in ("x.gif", "y.gif"):
        check(dav, f"/CollA/{name}", collection=False)
    assert parents(dav, "/CollA/x.gif") == parents(dav, "/CollA/y.gif")
    assert set(parents(dav, "/CollA/x.gif")) == {("/CollA/", "x.gif"), ("/CollA/", "y.gif")}
    dav.put("/CollA/x.gif", b"changed")
    assert dav.get("/CollA/y.gif").body == b"changed"
    assert dav.get(stands).body == b"content"
    dav.delete("/CollA/x.gif")
    assert dav.get("/CollA/y.gif").body == b"changed"


def test_a_copy_of_collections_that_stand_elsewhere_is_whole(dav: AppDav, root: Path) -> None:
    make(dav, "/b/out", collection=True)
    dav.proppatch("/b/out/d", set={TOPIC: "d"})
    bind(dav, "/b/out/d/", "up", "/b/out")
    dav.mkcol("/a/s/")
    bind(dav, "/a/s/", "one", "/b/out")
    bind(dav, "/a/s/", "two", "/b/out/d")
    reply = dav.copy("/a/s/", "/copy/")

    assert reply.status == 201
    check(dav, "/copy/one", collection=True)
    assert dav.prop("/copy/two", TOPIC).text == "d"
    assert resource_id(dav, "/copy/two") == resource_id(dav, "/copy/one/d")
    assert resource_id(dav, "/copy/one/d/up") == resource_id(dav, "/copy/one")
    assert nothing_hidden(root)
    dav.delete("/b/")
    check(dav, "/a/s/one", collection=True)
    check(dav, "/copy/one", collection=True)


def test_a_copy_of_depth_0_has_no_bindings(dav: AppDav) -> None:
    """Section 2.3: "it does not duplicate the bindings contained by the collection"."""
    bind(dav, "/a/", "loop", "/a/")
    reply = dav.copy("/a/", "/new/", depth="0")

    assert reply.status == 201
    assert dav.members("/new/") == []
