"""BIND, UNBIND, REBIND and the properties of bindings (RFC 5842)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davserver.state.memory import MemoryState
from tests.conftest import AppDav
from tests.support.binding import (
    PARENT_SET,
    RESOURCE_ID,
    ask,
    bind,
    conditions,
    parents,
    rebind,
    resource_id,
    unbind,
)
from tests.support.shares import make_shares

MakeDav = Callable[..., AppDav]
TOPIC = "{http://example.org/ns}topic"


@pytest.fixture(params=["sqlite", "memory"])
def dav(request: pytest.FixtureRequest, make_dav: MakeDav) -> AppDav:
    """A client of a file system, with either kind of state."""
    overrides = {"state": MemoryState()} if request.param == "memory" else {}
    dav = make_dav("filesystem", overrides=overrides)
    for collection in ("/CollX/", "/CollY/"):
        dav.mkcol(collection)
    dav.put("/CollX/foo.html", b"foo")
    return dav


@pytest.fixture
def root(dav: AppDav) -> Path:
    assert dav.root is not None
    return dav.root


# --- BIND ---------------------------------------------------------------------------------------


@pytest.mark.rfc("BI-03")
def test_bind_makes_a_second_name_of_a_file(dav: AppDav) -> None:
    """The example of section 4.1."""
    reply = bind(dav, "/CollY", "bar.html", f"http://{dav.authority}/CollX/foo.html")

    assert reply.status == 201
    assert reply.headers["location"] == "/CollY/bar.html"
    assert dav.get("/CollY/bar.html").body == b"foo"
    assert resource_id(dav, "/CollX/foo.html") == resource_id(dav, "/CollY/bar.html")


@pytest.mark.rfc("BI-03")
def test_bind_makes_a_second_name_of_a_collection(dav: AppDav) -> None:
    reply = bind(dav, "/CollY/", "c", "/CollX/")

    assert reply.status == 201
    assert reply.headers["location"] == "/CollY/c/"
    assert dav.get("/CollY/c/foo.html").body == b"foo"


@pytest.mark.rfc("BI-03")
@pytest.mark.parametrize("old", ["file", "collection", "binding"])
def test_bind_replaces_what_has_the_name_unless_overwrite_is_f(dav: AppDav, old: str) -> None:
    if old == "file":
        dav.put("/CollY/bar.html", b"old")
    elif old == "collection":
        dav.mkcol("/CollY/bar.html/")
        dav.put("/CollY/bar.html/deep", b"old")
    else:
        dav.put("/other", b"old")
        bind(dav, "/CollY/", "bar.html", "/other")
    kept = bind(dav, "/CollY/", "bar.html", "/CollX/foo.html", Overwrite="F")
    replaced = bind(dav, "/CollY/", "bar.html", "/CollX/foo.html")

    assert (kept.status, conditions(kept)) == (412, ["can-overwrite"])
    assert replaced.status == 204
    assert dav.get("/CollY/bar.html").body == b"foo"
    assert old != "binding" or dav.get("/other").body == b"old"


def test_bind_again_changes_nothing(dav: AppDav) -> None:
    first = bind(dav, "/CollY/", "bar.html", "/CollX/foo.html")
    again = bind(dav, "/CollY/", "bar.html", "/CollX/foo.html")
    itself = bind(dav, "/CollX/", "foo.html", "/CollY/bar.html")

    assert (first.status, again.status, itself.status) == (201, 204, 204)
    assert dav.get("/CollX/foo.html").body == b"foo"


@pytest.mark.rfc("BI-03", "PC-14")
@pytest.mark.parametrize(
    ("collection", "segment", "href", "status", "condition"),
    [
        ("/CollX/foo.html", "x", "/CollX/foo.html", 405, "bind-into-collection"),
        ("/none/", "x", "/CollX/foo.html", 404, "bind-into-collection"),
        ("/CollY/", "x", "/CollX/none", 409, "bind-source-exists"),
        ("/CollY/", "x", "/.davserver/x", 409, "bind-source-exists"),
        ("/CollY/", "x", "http://elsewhere.example/a", 403, "cross-server-binding"),
        ("/CollY/", "a%2Fb", "/CollX/foo.html", 403, "name-allowed"),
        ("/CollY/", "a/b", "/CollX/foo.html", 403, "name-allowed"),
        ("/CollY/", "..", "/CollX/foo.html", 403, "name-allowed"),
        ("/CollY/", "", "/CollX/foo.html", 403, "name-allowed"),
        ("/CollY/", ".davserver.x.y", "/CollX/foo.html", 403, "name-allowed"),
        ("/CollY/", "%01", "/CollX/foo.html", 403, "name-allowed"),
        ("/", "CollX", "/CollX/foo.html", 403, "binding-allowed"),
    ],
)
def test_bind_that_is_refused_names_its_condition(
    dav: AppDav, collection: str, segment: str, href: str, status: int, condition: str
) -> None:
    before = dav.propfind("/", b"", depth="infinity").hrefs
    reply = bind(dav, collection, segment, href)

    assert (reply.status, conditions(reply)) == (status, [condition])
    assert dav.propfind("/", b"", depth="infinity").hrefs == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<bind/>",
        b'<D:bind xmlns:D="DAV:"><D:segment>a</D:segment></D:bind>',
        b'<D:bind xmlns:D="DAV:"><D:href>/CollX</D:href></D:bind>',
        b'<D:bind xmlns:D="DAV:"><D:segment>a</D:segment><D:segment>b</D:segment>'
        b"<D:href>/CollX</D:href></D:bind>",
        b'<D:unbind xmlns:D="DAV:"><D:segment>a</D:segment></D:unbind>',
        b"<D:bind",
    ],
    ids=["empty", "no namespace", "no href", "no segment", "two segments", "another", "cut off"],
)
def test_bodies_that_say_nothing_are_400(dav: AppDav, body: bytes) -> None:
    assert dav.request("BIND", "/CollY/", {}, body).status == 400


@pytest.mark.rfc("BI-05")
def test_every_binding_has_the_same_content_and_properties(dav: AppDav) -> None:
    bind(dav, "/CollY/", "bar.html", "/CollX/foo.html")
    dav.proppatch("/CollY/bar.html", set={TOPIC: "bound"})
    dav.put("/CollY/bar.html", b"new")
    before = resource_id(dav, "/CollX/foo.html")
    dav.put("/CollX/foo.html", b"newer")

    assert dav.get("/CollY/bar.html").body == b"newer"
    assert dav.prop("/CollX/foo.html", TOPIC).text == "bound"
    assert resource_id(dav, "/CollY/bar.html") == before


# --- UNBIND -------------------------------------------------------------------------------------


@pytest.mark.rfc("BI-08")
def test_unbind_removes_the_last_binding(dav: AppDav) -> None:
    """The example of section 5.1."""
    reply = unbind(dav, "/CollX", "foo.html")

    assert reply.status == 204
    assert dav.get("/CollX/foo.html").status == 404


@pytest.mark.rfc("BI-08", "BI-04")
@pytest.mark.parametrize("kind", ["file", "collection"])
@pytest.mark.parametrize("gone", ["first", "second"])
def test_unbind_leaves_the_other_bindings(dav: AppDav, kind: str, gone: str) -> None:
    source = "/CollX/foo.html" if kind == "file" else "/c/"
    if kind == "collection":
        dav.mkcol("/c/")
        dav.put("/c/deep", b"foo")
    bind(dav, "/CollY/", "bar", source)
    before = resource_id(dav, source)
    where = ("/CollX/", "foo.html") if kind == "file" else ("/", "c")
    reply = unbind(dav, *where) if gone == "first" else unbind(dav, "/CollY/", "bar")
    rest = "/CollY/bar" if gone == "first" else source.rstrip("/")

    assert reply.status == 204
    assert dav.get(rest if kind == "file" else rest + "/deep").body == b"foo"
    assert resource_id(dav, rest) == before
    assert len(parents(dav, rest)) == 1


def test_unbind_of_a_collection_takes_all_of_it(dav: AppDav, root: Path) -> None:
    dav.put("/CollX/other", b"")
    reply = unbind(dav, "/", "CollX")

    assert reply.status == 204
    assert os.listdir(root) == ["CollY"]


@pytest.mark.rfc("BI-08")
@pytest.mark.parametrize(
    ("collection", "segment", "status", "condition"),
    [
        ("/CollX/foo.html", "x", 405, "unbind-from-collection"),
        ("/none/", "x", 404, "unbind-from-collection"),
        ("/CollX/", "x", 409, "unbind-source-exists"),
        ("/CollX/", "a/b", 403, "name-allowed"),
    ],
)
def test_unbind_that_is_refused_names_its_condition(
    dav: AppDav, collection: str, segment: str, status: int, condition: str
) -> None:
    reply = unbind(dav, collection, segment)

    assert (reply.status, conditions(reply)) == (status, [condition])


# --- REBIND -------------------------------------------------------------------------------------


@pytest.mark.rfc("BI-08")
def test_rebind_moves_a_resource(dav: AppDav) -> None:
    """The example of section 6.1."""
    before = resource_id(dav, "/CollX/foo.html")
    reply = rebind(dav, "/CollY", "bar.html", f"http://{dav.authority}/CollX/foo.html")

    assert reply.status == 201
    assert reply.headers["location"] == "/CollY/bar.html"
    assert dav.get("/CollX/foo.html").status == 404
    assert dav.get("/CollY/bar.html").body == b"foo"
    assert resource_id(dav, "/CollY/bar.html") == before


@pytest.mark.rfc("BI-08", "BI-04")
@pytest.mark.parametrize("moved", ["first", "second"])
def test_rebind_leaves_the_other_bindings(dav: AppDav, moved: str) -> None:
    bind(dav, "/CollY/", "bar", "/CollX/foo.html")
    dav.mkcol("/z/")
    source, rest = "/CollX/foo.html", "/CollY/bar"
    if moved == "second":
        source, rest = rest, source
    reply = rebind(dav, "/z/", "new", source)

    assert reply.status == 201
    assert dav.get(source).status == 404
    assert dav.get(rest).body == dav.get("/z/new").body == b"foo"
    assert resource_id(dav, rest) == resource_id(dav, "/z/new")
    assert ("/z/", "new") in parents(dav, rest)


@pytest.mark.rfc("BI-08")
@pytest.mark.parametrize(
    ("collection", "segment", "href", "status", "condition"),
    [
        ("/CollX/foo.html", "x", "/CollY/", 405, "rebind-into-collection"),
        ("/CollY/", "x", "/none", 409, "rebind-source-exists"),
        ("/CollY/", "x", "http://elsewhere.example/a", 403, "cross-server-binding"),
        ("/CollY/", "", "/CollX/foo.html", 403, "name-allowed"),
        ("/CollX/", "x", "/CollX/", 403, "cycle-allowed"),
    ],
)
def test_rebind_that_is_refused_names_its_condition(
    dav: AppDav, collection: str, segment: str, href: str, status: int, condition: str
) -> None:
    reply = rebind(dav, collection, segment, href)

    assert (reply.status, conditions(reply)) == (status, [condition])


def test_rebind_replaces_what_has_the_name_unless_overwrite_is_f(dav: AppDav) -> None:
    dav.put("/CollY/bar", b"old")
    kept = rebind(dav, "/CollY/", "bar", "/CollX/foo.html", Overwrite="F")
    replaced = rebind(dav, "/CollY/", "bar", "/CollX/foo.html")

    assert (kept.status, conditions(kept)) == (412, ["can-overwrite"])
    assert replaced.status == 204
    assert dav.get("/CollY/bar").body == b"foo"


# --- properties ---------------------------------------------------------------------------------


@pytest.mark.rfc("BI-02")
def test_a_new_resource_at_an_old_name_has_a_new_identity(dav: AppDav) -> None:
    seen = {resource_id(dav, "/CollX/foo.html")}
    for _ in range(5):
        dav.delete("/CollX/foo.html")
        dav.put("/CollX/foo.html", b"")
        seen.add(resource_id(dav, "/CollX/foo.html"))

    assert len(seen) == 6


@pytest.mark.rfc("BI-02")
def test_identity_is_kept_over_put_and_move_and_new_for_a_copy(dav: AppDav) -> None:
    before = resource_id(dav, "/CollX/foo.html")
    dav.put("/CollX/foo.html", b"new")
    dav.copy("/CollX/foo.html", "/copy")
    dav.move("/CollX/", "/moved/")

    assert resource_id(dav, "/moved/foo.html") == before
    assert resource_id(dav, "/copy") != before


@pytest.mark.rfc("BI-02", "BI-06")
def test_a_copy_over_a_resource_leaves_its_identity_and_bindings(dav: AppDav) -> None:
    bind(dav, "/CollY/", "bar", "/CollX/foo.html")
    before = resource_id(dav, "/CollY/bar")
    dav.put("/new", b"copied")
    first = dav.copy("/new", "/CollX/foo.html")
    second = dav.copy("/new", "/CollY/bar")

    assert (first.status, second.status) == (204, 204)
    for target in ("/CollX/foo.html", "/CollY/bar"):
        assert dav.get(target).body == b"copied"
        assert resource_id(dav, target) == before


@pytest.mark.rfc("BI-12")
def test_they_are_named_and_not_in_allprop(dav: AppDav) -> None:
    names = dav.propfind("/", '<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>', depth="1")
    values = dav.propfind("/", b"", depth="1")

    for href in ("/", "/CollX/"):
        assert {RESOURCE_ID, PARENT_SET} <= names[href][200].keys()
        assert not {RESOURCE_ID, PARENT_SET} & values[href][200].keys()


def test_they_are_protected(dav: AppDav) -> None:
    reply = dav.proppatch("/CollX/", set={RESOURCE_ID: "urn:x"})

    assert reply.multistatus.status_of("/CollX/", RESOURCE_ID) == 403


@pytest.mark.rfc("BI-11")
def test_parent_set_names_every_binding_once(dav: AppDav) -> None:
    """Section 3.2.1: C1 is mapped to /CollX and /C, and holds the resource by two names."""
    bind(dav, "/", "C", "/CollX/")
    bind(dav, "/C/", "y.gif", "/CollX/foo.html")
    bind(dav, "/CollY/", "a%20b", "/C/foo.html")

    assert parents(dav, "/C/y.gif") == [
        ("/CollX/", "foo.html"),
        ("/CollX/", "y.gif"),
        ("/CollY/", "a%20b"),
    ]
    assert parents(dav, "/CollX/") == [("/", "CollX"), ("/", "C")]
    assert parents(dav, "/") == []


def test_a_listing_gives_every_member_its_identity(dav: AppDav) -> None:
    bind(dav, "/CollX/", "b", "/CollX/foo.html")
    for number in range(40):
        dav.put(f"/CollX/{number}", b"")
    found = dav.propfind("/CollX/", props=[RESOURCE_ID, PARENT_SET], depth="1")
    ids = {href: found.ok(href)[RESOURCE_ID].findtext("{DAV:}href") for href in found}

    assert len(ids) == 43
    assert len(set(ids.values())) == 42
    assert ids["/CollX/b"] == ids["/CollX/foo.html"] == resource_id(dav, "/CollX/foo.html")


# --- where it works -----------------------------------------------------------------------------


@pytest.mark.rfc("BI-01")
def test_bind_is_announced(dav: AppDav) -> None:
    found = dav.options("/CollX/")

    assert "bind" in found.headers.tokens("dav")
    assert {"BIND", "UNBIND", "REBIND"} <= set(found.headers["allow"].split(", "))
    assert "BIND" not in dav.options("/CollX/foo.html").headers["allow"].split(", ")


@pytest.mark.rfc("BI-01")
@pytest.mark.parametrize(
    ("storage", "settings"), [("memory", {}), ("filesystem", {"symlinks": "deny"})]
)
def test_where_there_are_no_links_it_is_neither_announced_nor_done(
    make_dav: MakeDav, storage: str, settings: dict[str, Any]
) -> None:
    dav = make_dav(storage, **settings)
    dav.put("/a", b"")
    found = dav.options("/")

    assert "bind" not in found.headers.tokens("dav")
    assert "BIND" not in found.headers["allow"]
    assert bind(dav, "/", "b", "/a").status == 501


def test_shares_are_not_bound_to_each_other(make_dav: MakeDav, tmp_path: Path) -> None:
    dav = make_shares(make_dav, tmp_path, "one", "two")
    dav.put("/one/a", b"x")
    across = bind(dav, "/two/", "b", "/one/a")
    inside = bind(dav, "/one/", "b", "/one/a")
    moved = rebind(dav, "/two/", "b", "/one/b")
    away = dav.move("/one/a", "/two/a")

    assert (across.status, conditions(across)) == (403, ["cross-server-binding"])
    assert inside.status == 201
    assert parents(dav, "/one/b") == [("/one/", "a"), ("/one/", "b")]
    assert (moved.status, conditions(moved)) == (403, ["cross-server-binding"])
    assert (away.status, conditions(away)) == (403, ["cross-server-binding"])
    assert dav.get("/one/b").body == b"x"


def test_the_links_are_relative(dav: AppDav, root: Path) -> None:
    dav.mkcol("/CollY/d/")
    bind(dav, "/CollY/d/", "x", "/CollX/foo.html")
    bind(dav, "/CollX/", "loop", "/CollX/")

    assert os.readlink(root / "CollY/d/x") == "../../CollX/foo.html"
    assert os.readlink(root / "CollX/loop") == "."


def test_unknown_elements_are_passed_over(dav: AppDav) -> None:
    reply = ask(dav, "BIND", "/CollY/", segment="x", other="y", href="/CollX/foo.html")

    assert reply.status == 201
