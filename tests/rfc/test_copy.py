"""COPY (RFC 4918 section 9.8): what stands at the Destination, and what is told when it does not.

The forms of Destination are in test_headers.py.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from davserver.protocol.path import DavPath
from tests.conftest import AppDav
from tests.support.storages import HookedStorage
from tests.support.trees import TOPIC, fill, hidden_names, tree

D = "{DAV:}"
MakeDav = Callable[..., AppDav]


@pytest.fixture
def storage() -> HookedStorage:
    return HookedStorage()


@pytest.fixture
def hooked(make_dav: MakeDav, storage: HookedStorage) -> AppDav:
    return make_dav("memory", overrides={"storage": storage})


@pytest.mark.rfc("CP-03", "CP-19")
@pytest.mark.parametrize(
    ("old", "status"), [((), 201), (("/b",), 204), (("/b/", "/b/x"), 204)], ids=str
)
def test_a_file_is_copied(dav: AppDav, old: tuple[str, ...], status: int) -> None:
    """Decided (erratum 4440): the Destination is always the exact URL; a collection there is
    replaced, never copied into."""
    fill(dav, "/a", *old)

    reply = dav.copy("/a", "/b")

    assert reply.status == status
    assert reply.headers.get("location") == ("/b" if status == 201 else None)
    assert "cache-control" not in reply.headers
    assert "etag" not in reply.headers
    assert tree(dav) == {"/a": b"/a", "/b": b"/a"}
    # They are two resources from now on.
    assert dav.put("/a", b"changed").status == 204
    assert dav.get("/b").body == b"/a"


@pytest.mark.rfc("CP-03", "CP-06", "CP-08", "D-4")
@pytest.mark.parametrize("depth", [None, "infinity"])
@pytest.mark.parametrize(
    ("old", "status"), [((), 201), (("/b",), 204), (("/b/", "/b/f", "/b/x"), 204)], ids=str
)
def test_a_collection_replaces_and_never_merges(
    dav: AppDav, old: tuple[str, ...], status: int, depth: str | None
) -> None:
    """Section 9.8.4: "the membership of the destination collection after the COPY ... MUST be the
    same as the membership of the source"."""
    fill(dav, "/a/", "/a/f", "/a/d/", "/a/d/g", "/a/e/", *old)

    reply = dav.copy("/a/", "/b/", depth=depth)

    assert reply.status == status
    assert reply.headers.get("location") == ("/b/" if status == 201 else None)
    source = {"/a/": None, "/a/f": b"/a/f", "/a/d/": None, "/a/d/g": b"/a/d/g", "/a/e/": None}
    assert tree(dav) == source | {"/b" + path[2:]: body for path, body in source.items()}
    assert hidden_names(dav) == []


@pytest.mark.rfc("CP-06")
@pytest.mark.parametrize("old", [(), ("/b/", "/b/x")], ids=str)
def test_depth_0_copies_the_collection_and_its_properties_alone(
    dav: AppDav, old: tuple[str, ...]
) -> None:
    fill(dav, "/a/", "/a/f", *old)
    dav.proppatch("/a/", set={TOPIC: "mine"})
    dav.proppatch("/a/f", set={TOPIC: "member's"})

    assert dav.copy("/a/", "/b/", depth="0").status == (204 if old else 201)

    assert tree(dav) == {"/a/": None, "/a/f": b"/a/f", "/b/": None}
    assert dav.prop("/b/", TOPIC).text == "mine"
    fill(dav, "/b/f")
    assert dav.prop("/b/f", TOPIC) is None


@pytest.mark.rfc("CP-06", "DE-01")
def test_depth_1_of_a_collection_is_400(dav: AppDav) -> None:
    fill(dav, "/a/", "/a/f")

    assert dav.copy("/a/", "/b/", depth="1").status == 400
    assert tree(dav) == {"/a/": None, "/a/f": b"/a/f"}


@pytest.mark.rfc("CP-01", "CP-02", "CP-04")
def test_refusals_leave_everything(dav: AppDav) -> None:
    fill(dav, "/a", "/c/", "/c/f")
    before = tree(dav)

    assert dav.request("COPY", "/a").status == 400
    assert dav.copy("/a", "not a url").status == 400
    assert dav.copy("/none", "/b").status == 404
    assert dav.copy("/none", "/a").status == 404
    assert dav.copy("/a", "/none/b").status == 409
    assert dav.copy("/c/", "/none/b/").status == 409
    assert dav.copy("/a", "/a/b").status == 403
    assert dav.copy("/a", "/").status == 403
    assert tree(dav) == before


@pytest.mark.rfc("CP-07", "OV-01")
@pytest.mark.parametrize("source", ["/a", "/c/"])
@pytest.mark.parametrize("destination", ["/b", "/d/"])
def test_overwrite_f(dav: AppDav, source: str, destination: str) -> None:
    fill(dav, "/a", "/b", "/c/", "/c/f", "/d/", "/d/g")
    dav.proppatch(destination, set={TOPIC: "old"})
    before = tree(dav)

    reply = dav.copy(source, destination, overwrite="F")

    assert reply.status == 412
    assert tree(dav) == before
    assert dav.prop(destination, TOPIC).text == "old"
    assert dav.copy(source, "/new", overwrite="F").status == 201


SPELLINGS = {
    "itself": "/c/a",
    "slash at the end": "/c/a/",
    "runs of slashes": "/c//a",
    "escaped": "/%63/%61",
    "URL": "http://127.0.0.1:8080/c/a",
    "other scheme": "https://127.0.0.1:8080/c/a",
    "query": "/c/a?x",
}


@pytest.mark.rfc("CP-05", "MV-09")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize("overwrite", ["T", "F"])
@pytest.mark.parametrize("destination", SPELLINGS.values(), ids=SPELLINGS.keys())
def test_onto_itself_is_403(dav: AppDav, method: str, destination: str, overwrite: str) -> None:
    fill(dav, "/c/", "/c/a")

    reply = dav.request(method, "/c/a", {"Destination": destination, "Overwrite": overwrite})

    assert reply.status == 403
    assert tree(dav) == {"/c/": None, "/c/a": b"/c/a"}


@pytest.mark.rfc("CP-05", "G-02", "MV-09")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_onto_itself_in_another_normalisation_is_403(dav: AppDav, method: str) -> None:
    fill(dav, "/%C3%A9/", "/%C3%A9/a")

    assert dav.request(method, "/%C3%A9/a", {"Destination": "/e%CC%81/a"}).status == 403
    assert dav.request(method, "/e%CC%81", {"Destination": "/%C3%A9/"}).status == 403
    assert dav.get("/%C3%A9/a").body == b"/%C3%A9/a"


@pytest.mark.rfc("CP-05", "MV-09")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_onto_itself_through_a_link_is_403(make_dav: MakeDav, method: str) -> None:
    dav = make_dav(symlinks="within")
    assert dav.root
    fill(dav, "/c/", "/c/a")
    os.symlink("c", dav.root / "link")

    assert dav.request(method, "/c/a", {"Destination": "/link/a"}).status == 403
    assert dav.request(method, "/c/", {"Destination": "/link/"}).status == 403
    assert dav.request(method, "/c/", {"Destination": "/link/b/"}).status == 403
    assert dav.get("/c/a").body == b"/c/a"


@pytest.mark.rfc("CP-05", "CP-03")
def test_a_hard_link_is_another_resource(make_dav: MakeDav) -> None:
    """Two names of one file: a copy onto the other leaves both names with the content."""
    dav = make_dav()
    assert dav.root
    fill(dav, "/a")
    os.link(dav.root / "a", dav.root / "b")

    assert dav.copy("/a", "/b").status == 204
    assert tree(dav) == {"/a": b"/a", "/b": b"/a"}


@pytest.mark.rfc("CP-15", "MV-09")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(
    ("source", "destination"),
    [
        ("/c/", "/c/d/"),
        ("/c/", "/c/new/"),
        ("/c/", "/c/d/new"),
        ("/c", "/%63/new"),
        ("/c/d/", "/c/"),
        ("/c/d/f", "/c/"),
        ("/c/d/f", "/c/d"),
    ],
)
def test_into_its_own_tree_or_onto_an_ancestor_is_403(
    dav: AppDav, method: str, source: str, destination: str
) -> None:
    fill(dav, "/c/", "/c/d/", "/c/d/f")
    before = tree(dav)

    assert dav.request(method, source, {"Destination": destination}).status == 403
    assert tree(dav) == before
    assert hidden_names(dav) == []


@pytest.mark.rfc("CP-15", "CP-06")
def test_depth_0_into_itself_is_a_new_member(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/f")

    assert dav.copy("/c/", "/c/d/", depth="0").status == 201
    assert tree(dav) == {"/c/": None, "/c/d/": None, "/c/f": b"/c/f"}


@pytest.mark.rfc("CP-16", "ST-05")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(
    "destination",
    ["http://other.example/dav/b", "http://127.0.0.1:1/dav/b", "/b", "/davb", "/"],
)
def test_what_is_not_served_here_is_502(make_dav: MakeDav, method: str, destination: str) -> None:
    """Section 9.8.5: 502 also for "the same server but in another URL namespace"."""
    dav = make_dav("memory", prefix="/dav")
    fill(dav, "/dav/a")

    assert dav.request(method, "/dav/a", {"Destination": destination}).status == 502
    assert dav.members("/dav/") == ["/dav/a"]


@pytest.mark.rfc("CP-09", "LP-02", "LP-12", "DP-10")
def test_properties_go_along(dav: AppDav) -> None:
    fill(dav, "/a/", "/a/f", "/b/", "/b/f", "/b/x")
    dav.proppatch(
        "/a/f", set={TOPIC: "dead", f"{D}displayname": "Name", f"{D}getcontentlanguage": "de"}
    )
    dav.proppatch("/a/", set={TOPIC: "collection's"})
    dav.proppatch("/b/f", set={"{http://example.org/ns}old": "x", TOPIC: "old"})
    dav.proppatch("/b/x", set={TOPIC: "old"})

    assert dav.copy("/a/", "/b/").status == 204

    assert dav.prop("/b/", TOPIC).text == "collection's"
    assert dav.prop("/b/f", TOPIC).text == "dead"
    assert dav.prop("/b/f", f"{D}displayname").text == "Name"
    assert dav.prop("/b/f", "{http://example.org/ns}old") is None
    assert dav.prop("/a/f", TOPIC).text == "dead"
    # Live properties stay live: they follow the copy's content.
    dav.put("/b/f", b"longer than it was before")
    assert dav.prop("/b/f", f"{D}getcontentlength").text == "25"
    assert dav.prop("/a/f", f"{D}getcontentlength").text == "4"
    # What was replaced leaves nothing for those who come after it.
    fill(dav, "/b/x")
    assert dav.prop("/b/x", TOPIC) is None
    dav.proppatch("/b/f", set={TOPIC: "changed"})
    assert dav.prop("/a/f", TOPIC).text == "dead"


@pytest.mark.rfc("CP-09", "LP-01")
def test_a_copy_is_new(hooked: AppDav, storage: HookedStorage) -> None:
    fill(hooked, "/a")
    storage.find(DavPath(("a",))).require().birth_ns = 10**18

    assert hooked.copy("/a", "/b").status == 201

    assert hooked.prop("/a", f"{D}creationdate").text == "2001-09-09T01:46:40Z"
    assert hooked.prop("/b", f"{D}creationdate").text > "2020"


@pytest.mark.rfc("CP-10", "CP-11")
@pytest.mark.parametrize("depth", ["0", "infinity"])
def test_locks_stay_with_the_source_and_do_not_hinder(dav: AppDav, depth: str) -> None:
    fill(dav, "/a/", "/a/f")
    lock = dav.lock("/a/", depth=depth)
    member = dav.lock("/a/f") if depth == "0" else None

    assert dav.copy("/a/", "/b/").status == 201

    assert dav.locks("/b/") == []
    assert dav.locks("/b/f") == []
    assert dav.put("/b/f", b"free").status == 204
    assert dav.put("/a/f", b"held").status == 423
    assert len(dav.locks("/a/f")) == 1
    assert dav.locks("/a/")[0].findtext(f"{D}locktoken/{D}href") == lock.token
    assert member is None or member.token != lock.token


@pytest.mark.rfc("CP-10", "LM-02", "CP-17")
def test_the_copy_joins_the_lock_of_its_new_place(dav: AppDav) -> None:
    fill(dav, "/a", "/c/")
    lock = dav.lock("/c/", depth="infinity")

    refused = dav.copy("/a", "/c/a")
    assert refused.status == 423
    assert refused.conditions == [f"{D}lock-token-submitted"]
    assert refused.condition_hrefs == ["/c/"]
    assert dav.get("/c/a").status == 404

    tagged = {"If": f"</c/> (<{lock.token}>)"}
    assert dav.copy("/a", "/c/a", headers=tagged).status == 201
    assert dav.put("/c/a", b"new").status == 423
    assert dav.locks("/c/a")[0].findtext(f"{D}lockroot/{D}href") == "/c/"


@pytest.mark.rfc("CP-17", "CP-10", "CL-08")
@pytest.mark.parametrize("locked", ["/b/", "/b/d/f", "/b/d/"])
def test_a_locked_destination_needs_the_token(dav: AppDav, locked: str) -> None:
    """Its own lock stays with the URL; locks of members go with the members."""
    fill(dav, "/a/", "/a/n", "/b/", "/b/d/", "/b/d/f")
    lock = dav.lock(locked)
    before = tree(dav)

    reply = dav.copy("/a/", "/b/")
    assert reply.status == 423
    assert reply.condition_hrefs == [locked]
    assert lock.token.encode() not in reply.body
    assert tree(dav) == before

    tagged = {"If": f"<{locked}> (<{lock.token}>)"}
    assert dav.copy("/a/", "/b/", headers=tagged).status == 204
    assert dav.members("/b/") == ["/b/n"]
    assert len(dav.locks("/b/")) == (1 if locked == "/b/" else 0)
    if locked != "/b/":
        fill(dav, "/b/d/", "/b/d/f")
        assert dav.locks(locked) == []
