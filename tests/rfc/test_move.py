"""MOVE (RFC 4918 section 9.9) within one file system: one step, all or nothing.

The forms of Destination are in test_headers.py, onto itself and into its own tree in
test_copy.py, across file systems in test_move_across.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from davserver.errors import AccessDenied
from davserver.protocol.path import DavPath
from tests.conftest import AppDav
from tests.support.storages import FoldingStorage, HookedStorage
from tests.support.trees import TOPIC, fill, hidden_names, locked_roots, tree

D = "{DAV:}"
MakeDav = Callable[..., AppDav]
OLD = {"nothing": (), "file": ("/b",), "collection": ("/b/", "/b/f", "/b/x")}


@pytest.mark.rfc("MV-01", "MV-04", "MV-09", "D-4")
@pytest.mark.parametrize("fallbacks", [(), ("renameat2",)], ids=["exchange", "two renames"])
@pytest.mark.parametrize("old", OLD.values(), ids=OLD.keys())
@pytest.mark.parametrize("source", [("/a",), ("/a/", "/a/f", "/a/d/", "/a/d/g")], ids=str)
def test_the_source_takes_the_place_of_the_destination(
    make_dav: MakeDav, source: tuple[str, ...], old: tuple[str, ...], fallbacks: tuple[str, ...]
) -> None:
    """Section 9.9.3: "the server MUST perform a DELETE with Depth: infinity on the destination":
    its dead properties and locks go, and nothing is merged."""
    dav = make_dav(fallbacks=fallbacks)
    fill(dav, *source, *old)
    for path in source:
        dav.proppatch(path, set={TOPIC: path})
    for path in old:
        dav.proppatch(path, set={TOPIC: "old", "{x:}other": "old"})
    lock = dav.lock(old[-1]) if old else None
    headers = {"If": f"<{old[-1]}> (<{lock.token}>)"} if lock else None
    slash = "/" if source[0].endswith("/") else ""

    reply = dav.move(source[0], f"/b{slash}", headers=headers)

    assert reply.status == (204 if old else 201)
    assert reply.headers.get("location") == (None if old else f"/b{slash}")
    expected = {"/b" + path[2:]: None if path[-1] == "/" else path.encode() for path in source}
    assert tree(dav) == expected
    for path in source:
        assert dav.prop("/b" + path[2:], TOPIC).text == path
        assert dav.prop("/b" + path[2:], "{x:}other") is None
    assert locked_roots(dav) == set()
    assert hidden_names(dav) == []
    # The old place is free, and nothing of what was there comes back.
    fill(dav, *source)
    assert [dav.prop(path, TOPIC) for path in source] == [None] * len(source)


@pytest.mark.rfc("MV-01")
def test_refusals_leave_everything(dav: AppDav) -> None:
    fill(dav, "/a", "/c/", "/c/f")
    before = tree(dav)

    assert dav.request("MOVE", "/a").status == 400
    assert dav.move("/none", "/b").status == 404
    assert dav.move("/a", "/none/b").status == 409
    assert dav.move("/c/", "/none/b/").status == 409
    assert dav.move("/a", "/c/", overwrite="F").status == 412
    assert dav.move("/c/", "/a", overwrite="F").status == 412
    assert dav.move("/a", "/").status == 403
    assert tree(dav) == before


@pytest.mark.rfc("MV-12", "MV-09")
def test_the_root_stays(dav: AppDav) -> None:
    fill(dav, "/a")

    assert dav.move("/", "/b/").status == 403
    assert dav.move("/a", "/").status == 403
    assert tree(dav) == {"/a": b"/a"}


@pytest.mark.rfc("MV-03", "D-6")
@pytest.mark.parametrize(
    ("depth", "status"), [(None, 201), ("infinity", 201), ("0", 400), ("1", 400)]
)
def test_a_collection_moves_whole(dav: AppDav, depth: str | None, status: int) -> None:
    fill(dav, "/a/", "/a/f")
    place = "/b/" if status == 201 else "/a/"

    assert dav.move("/a/", "/b/", depth=depth).status == status
    assert tree(dav) == {place: None, f"{place}f": b"/a/f"}


@pytest.mark.rfc("MV-05", "LP-01", "LP-02", "DP-10")
def test_it_stays_the_same_resource(dav: AppDav) -> None:
    fill(dav, "/a/", "/a/f")
    dav.proppatch("/a/f", set={TOPIC: "dead", f"{D}displayname": "Name"})
    dav.proppatch("/a/", set={TOPIC: "collection's"})
    names = [f"{D}creationdate", f"{D}getetag", f"{D}getlastmodified", f"{D}getcontentlength"]
    before = [dav.prop("/a/f", name).text for name in names]

    assert dav.move("/a/", "/b/").status == 201

    assert [dav.prop("/b/f", name).text for name in names] == before
    assert dav.prop("/b/f", TOPIC).text == "dead"
    assert dav.prop("/b/f", f"{D}displayname").text == "Name"
    assert dav.prop("/b/", TOPIC).text == "collection's"
    assert dav.prop("/b/", f"{D}displayname").text == "b"


@pytest.mark.rfc("MV-06", "LM-02", "CL-05")
@pytest.mark.parametrize("locked", ["/a/", "/a/f", "/a/d/"])
def test_locks_stay_behind(dav: AppDav, locked: str) -> None:
    fill(dav, "/a/", "/a/f", "/a/d/")
    lock = dav.lock(locked)

    assert dav.move("/a/", "/b/", headers={"If": f"<{locked}> (<{lock.token}>)"}).status == 201

    assert locked_roots(dav) == set()
    assert dav.locks("/b" + locked[2:]) == []
    assert dav.put("/b/f", b"free").status == 204
    fill(dav, "/a/", "/a/f", "/a/d/")
    assert dav.locks(locked) == []
    assert dav.unlock(locked, lock.token).status == 409


@pytest.mark.rfc("MV-06", "CL-05", "MV-07")
def test_it_joins_the_lock_of_its_new_place(dav: AppDav) -> None:
    fill(dav, "/a", "/c/")
    lock = dav.lock("/c/", depth="infinity")

    refused = dav.move("/a", "/c/a")
    assert (refused.status, refused.condition_hrefs) == (423, ["/c/"])
    assert tree(dav) == {"/a": b"/a", "/c/": None}
    assert dav.move("/a", "/c/a", headers={"If": f"</c/> (<{lock.token}>)"}).status == 201
    assert dav.put("/c/a", b"new").status == 423
    assert dav.put("/c/a", b"new", {"If": lock.untagged}).status == 204


# What is locked, and what the MOVE of /p/a/ to /q/b/ then has to submit.
PLACES = {
    "source": ("/p/a/", "0"),
    "source's member": ("/p/a/d/f", "0"),
    "source's parent": ("/p/", "0"),
    "source's ancestor": ("/", "infinity"),
    "destination": ("/q/b/", "0"),
    "destination's member": ("/q/b/old", "0"),
    "destination's parent": ("/q/", "0"),
    "destination's parent, depth infinity": ("/q/", "infinity"),
}


@pytest.mark.rfc("MV-07", "MV-02", "CL-07", "CL-08")
@pytest.mark.parametrize(
    ("locked", "depth", "old"),
    [
        pytest.param(*place, old, id=f"{name}, {'mapped' if old else 'unmapped'}")
        for name, place in PLACES.items()
        for old in (True, False)
        if old or not place[0].startswith("/q/b/")
    ],
)
def test_every_lock_in_the_way_needs_its_token(
    dav: AppDav, locked: str, depth: str, old: bool
) -> None:
    """A locked member is a plain 423 that names it, and nothing is moved: one rename is all or
    nothing. Locks on an unmapped Destination there are none."""
    fill(dav, "/p/", "/p/a/", "/p/a/d/", "/p/a/d/f", "/p/a/e", "/q/")
    fill(dav, *(("/q/b/", "/q/b/old") if old else ()))
    lock = dav.lock(locked, depth=depth)
    before = tree(dav)

    reply = dav.move("/p/a/", "/q/b/")

    assert reply.status == 423
    assert reply.conditions == [f"{D}lock-token-submitted"]
    assert reply.condition_hrefs == [locked]
    assert lock.token.encode() not in reply.body
    assert tree(dav) == before
    assert locked_roots(dav) | {"/"} == {locked.rstrip("/") or "/", "/"}
    tagged = {"If": f"<{locked}> (<{lock.token}>)"}
    assert dav.move("/p/a/", "/q/b/", headers=tagged).status == (204 if old else 201)
    assert set(tree(dav, "/q/b/")) == {"/q/b/d/", "/q/b/d/f", "/q/b/e"}


@pytest.mark.rfc("MV-07")
@pytest.mark.parametrize("locked", ["/p/x", "/q/x", "/p/a2/"])
def test_locks_beside_do_not_hinder(dav: AppDav, locked: str) -> None:
    fill(dav, "/p/", "/p/a/", "/p/a/f", "/p/a2/", "/p/x", "/q/", "/q/x")
    dav.lock(locked)

    assert dav.move("/p/a/", "/q/b/").status == 201
    assert len(dav.locks(locked)) == 1


@pytest.mark.rfc("MV-02", "MV-10")
def test_a_rename_that_fails_moves_nothing(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/a/", "/a/f", "/b/", "/b/x")
    lock = dav.lock("/b/x")
    dav.proppatch("/a/f", set={TOPIC: "mine"})
    before = tree(dav)
    storage.refuse("exchange", "/a", AccessDenied("no"))
    storage.refuse("rename", "/a", AccessDenied("no"))

    for destination in ("/b/", "/c/"):
        headers = {"If": f"</b/x> (<{lock.token}>)"}
        assert dav.move("/a/", destination, headers=headers).status == 403

    assert tree(dav) == before
    assert dav.prop("/a/f", TOPIC).text == "mine"
    assert locked_roots(dav) == {"/b/x"}
    assert hidden_names(dav) == []


@pytest.fixture
def folding(make_dav: MakeDav) -> AppDav:
    return make_dav("memory", overrides={"storage": FoldingStorage()})


@pytest.mark.rfc("MV-11")
@pytest.mark.parametrize("source", [("/name",), ("/name/", "/name/f", "/name/d/")], ids=str)
def test_a_rename_that_changes_the_case_alone(folding: AppDav, source: tuple[str, ...]) -> None:
    fill(folding, *source)
    for path in source:
        folding.proppatch(path, set={TOPIC: path})
    content = tree(folding)
    new = source[0].replace("name", "NAME")

    reply = folding.move(source[0], new, overwrite="F")

    assert (reply.status, reply.headers["location"]) == (201, new)
    assert tree(folding) == {path.replace("name", "NAME"): body for path, body in content.items()}
    for path in source:
        assert folding.prop(path.replace("name", "NAME"), TOPIC).text == path
    assert hidden_names(folding) == []


@pytest.mark.rfc("MV-11", "MV-10")
@pytest.mark.parametrize("source", [("/name",), ("/name/", "/name/f")], ids=str)
def test_a_change_of_case_that_fails_loses_nothing(
    folding: AppDav, monkeypatch: pytest.MonkeyPatch, source: tuple[str, ...]
) -> None:
    fill(folding, *source)
    folding.proppatch(source[0], set={TOPIC: "mine"})
    before = tree(folding)
    storage = folding.app.services.storage
    rename = storage.rename

    def fail(path: DavPath, goal: DavPath, **options: Any) -> None:
        if goal.name == "NAME":
            raise AccessDenied("no")
        rename(path, goal, **options)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "rename", fail)
        assert folding.move(source[0], source[0].replace("name", "NAME")).status == 403

    assert tree(folding) == before
    assert folding.prop(source[0], TOPIC).text == "mine"
    assert hidden_names(folding) == []


@pytest.mark.rfc("MV-11", "CP-05")
def test_a_copy_to_another_case_is_onto_itself(folding: AppDav) -> None:
    fill(folding, "/name")

    assert folding.copy("/name", "/NAME").status == 403
    assert tree(folding) == {"/name": b"/name"}


@pytest.mark.rfc("MV-11")
def test_where_case_counts_it_is_another_name(dav: AppDav) -> None:
    fill(dav, "/name", "/NAME")

    assert dav.move("/name", "/NAME", overwrite="F").status == 412
    assert dav.move("/name", "/NAME").status == 204
    assert tree(dav) == {"/NAME": b"/name"}


@pytest.mark.rfc("MV-02")
def test_a_link_is_renamed_within_its_collection(make_dav: MakeDav) -> None:
    """What it leads to stays; elsewhere its text would lead elsewhere, so that is 403."""
    dav = make_dav(symlinks="within")
    assert dav.root
    fill(dav, "/c/", "/c/f")
    os.symlink("c", dav.root / "link")

    assert dav.move("/link/", "/c/link/").status == 403
    assert dav.move("/link", "/other").status == 201
    assert os.readlink(dav.root / "other") == "c"
    assert tree(dav)["/c/f"] == b"/c/f"


@pytest.mark.rfc("G-16", "MV-10")
@pytest.mark.parametrize("asked", [{}, {"X-OC-Mtime": "1000000000"}], ids=["", "X-OC-Mtime"])
def test_a_move_that_fails_leaves_the_source_its_time(
    make_dav: MakeDav, asked: dict[str, str]
) -> None:
    """Though it would have got a new one in the place of a file as new as itself."""
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/a", "/b")
    before = [dav.head(path).headers["etag"] for path in ("/a", "/b")]
    storage.refuse("rename", "/a", AccessDenied("no"))

    assert dav.move("/a", "/b", headers=asked).status == 403
    assert [dav.head(path).headers["etag"] for path in ("/a", "/b")] == before


@pytest.mark.rfc("G-16")
def test_a_file_whose_time_cannot_be_set_is_moved_with_its_own(make_dav: MakeDav) -> None:
    """Who may write to the collections may rename it; only its owner sets its time. Section 8.8
    says "where possible"."""
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/a", "/b")
    before = dav.head("/a").headers["etag"]
    storage.refuse("set_attributes", "/b", AccessDenied("no"))

    assert dav.move("/a", "/b").status == 204
    assert tree(dav) == {"/b": b"/a"}
    assert dav.head("/b").headers["etag"] == before
