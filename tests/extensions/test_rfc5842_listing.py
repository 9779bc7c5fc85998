"""PROPFIND of infinite depth where collections have several bindings (RFC 5842 section 7)."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from davserver.methods import _repeats
from tests.conftest import AppDav
from tests.support.binding import HREF, RESOURCE_ID, bind, resource_id
from tests.support.dav import XML
from tests.support.multistatus import MultiStatus

MakeDav = Callable[..., AppDav]
NAME, KIND = "{DAV:}displayname", "{DAV:}resourcetype"
KNOWS = {"DAV": "bind"}


@pytest.fixture
def dav(make_dav: MakeDav) -> AppDav:
    return make_dav("filesystem")


def listed(found: MultiStatus, status: int) -> set[str]:
    """Returns what was reported with this status in a propstat."""
    return {href for href, groups in found.items() if status in groups}


def example(dav: AppDav) -> None:
    dav.mkcol("/Coll/")
    dav.proppatch("/Coll/", set={NAME: "Loop Demo"})
    dav.mkcol("/Coll/Foo/")
    dav.proppatch("/Coll/Foo/", set={NAME: "Bird Inventory"})
    assert bind(dav, "/Coll/", "Bar", "/Coll/").status == 201


@pytest.mark.rfc("BI-10")
def test_a_client_that_knows_bind_is_told_of_a_loop_with_208(dav: AppDav) -> None:
    """Section 7.1.1."""
    example(dav)
    found = dav.propfind("/Coll/", props=[NAME, RESOURCE_ID], depth="infinity", headers=KNOWS)

    assert set(found) == {"/Coll/", "/Coll/Foo/", "/Coll/Bar/"}
    assert found["/Coll/Bar/"].keys() == {208}
    assert found["/Coll/Bar/"][208][NAME].text == found.text("/Coll/", NAME) == "Loop Demo"
    assert found.text("/Coll/Foo/", NAME) == "Bird Inventory"
    loop = found["/Coll/Bar/"][208][RESOURCE_ID].findtext(HREF)
    assert loop == resource_id(dav, "/Coll/") != resource_id(dav, "/Coll/Foo/")


@pytest.mark.rfc("BI-10")
def test_another_client_gets_508_for_a_loop(dav: AppDav) -> None:
    """Section 7.1.2."""
    example(dav)
    fields = {"Depth": "infinity", "Content-Type": XML}
    reply = dav.request("PROPFIND", "/Coll/", fields)

    assert reply.status == 508
    assert dav.propfind("/Coll/", b"", depth="1").hrefs == ["/Coll/", "/Coll/Bar/", "/Coll/Foo/"]


@pytest.mark.rfc("BI-10")
def test_what_is_missing_of_a_repeated_collection_is_404_beside_208(dav: AppDav) -> None:
    example(dav)
    fields = {"props": [NAME, "{urn:x}none"], "depth": "infinity", "headers": KNOWS}
    found = dav.propfind("/", **fields)  # type: ignore[arg-type]
    nothing = dav.propfind("/", props=["{urn:x}none"], depth="infinity", headers=KNOWS)

    assert found["/Coll/Bar/"].keys() == {208, 404}
    assert nothing["/Coll/Bar/"].keys() == {208, 404}
    assert nothing["/Coll/Foo/"].keys() == {404}


@pytest.mark.rfc("BI-10")
def test_a_loop_that_is_met_when_the_answer_is_on_its_way_is_508_in_it(dav: AppDav) -> None:
    dav.mkcol("/z/")
    for number in range(400):
        dav.put(f"/z/{number}", b"")
    dav.mkcol("/z/inner/")
    bind(dav, "/z/inner/", "loop", "/z/")
    found = dav.propfind("/z/", b"", depth="infinity")

    assert len(found) == 402
    assert found.statuses == {"/z/inner/loop/": 508}


def chain(dav: AppDav, depth: int) -> None:
    """Makes /1/2/3..., each of which is bound to all that are below the root, and above it."""
    path = ""
    for number in range(1, depth + 1):
        path += f"/{number}"
        dav.mkcol(path)
        dav.put(f"{path}/f", b"")
        bind(dav, path, "loop", "/1")
        bind(dav, "/", f"short{number}", path)


@pytest.mark.rfc("BI-09", "BI-10")
def test_to_a_depth_of_five_each_collection_is_listed_once(dav: AppDav) -> None:
    """Loops from each level to the first, and double bindings of each."""
    chain(dav, 5)
    found = dav.propfind("/", b"", depth="infinity", headers=KNOWS)
    ids = dav.propfind("/", props=[RESOURCE_ID], depth="infinity", headers=KNOWS)
    named = {
        href: next(iter(groups.values()))[RESOURCE_ID].findtext(HREF)
        for href, groups in ids.items()
        if href.endswith("/")
    }
    once = [named[href] for href in listed(found, 200) if href.endswith("/")]

    # The root, five collections with five files; each again at its short name, or the other way
    # round; five loops.
    assert len(found) == 1 + 5 + 5 + 5 + 5
    assert len(listed(found, 208)) == 10
    assert len(once) == len(set(once)) == 6
    assert set(once) == set(named.values())
    assert sum(href.endswith("/f") for href in found) == 5


@pytest.mark.rfc("BI-09", "BI-10")
def test_to_a_depth_of_five_another_client_gets_508(dav: AppDav) -> None:
    chain(dav, 5)

    for target in ("/", "/1/", "/1/2/3/4/5/", "/short5/"):
        assert dav.request("PROPFIND", target, {"Depth": "infinity"}).status == 508


def doubled(dav: AppDav, depth: int) -> None:
    """Makes /a/a/a..., each of which is also bound as b beside itself: 2 ** depth ways."""
    path = ""
    for _ in range(depth):
        dav.mkcol(f"{path}/a")
        dav.put(f"{path}/a/f", b"")
        bind(dav, f"{path}/", "b", f"{path}/a")
        path += "/a"


@pytest.mark.rfc("BI-10")
def test_what_is_bound_twice_and_no_loop_is_listed_by_each_url_or_reported(dav: AppDav) -> None:
    doubled(dav, 5)
    known = dav.propfind("/", b"", depth="infinity", headers=KNOWS)
    others = dav.propfind("/", b"", depth="infinity")

    assert sum(href.endswith("/f") for href in known) == 5
    assert len(listed(known, 208)) == 5
    assert sum(href.endswith("/f") for href in others) == 2 + 4 + 8 + 16 + 32
    assert listed(others, 208) == set()
    assert others.statuses == {}


@pytest.mark.rfc("BI-10")
def test_what_is_listed_again_has_an_end(dav: AppDav, monkeypatch: pytest.MonkeyPatch) -> None:
    doubled(dav, 12)
    monkeypatch.setattr(_repeats, "_MOST", 500)
    found = dav.propfind("/", b"", depth="infinity")

    assert 12 + 500 < len(found) < 1500
    assert set(found.statuses.values()) == {508}


@pytest.mark.rfc("BI-10")
def test_at_a_finite_depth_nothing_is_208(dav: AppDav) -> None:
    example(dav)
    found = dav.propfind("/Coll/", b"", depth="1", headers=KNOWS)

    assert listed(found, 208) == set()
    assert len(found) == 3


@pytest.mark.rfc("BI-10")
def test_files_that_are_bound_twice_are_listed_twice(dav: AppDav) -> None:
    """Section 7.1: it is for members that would be enumerated again."""
    dav.put("/f", b"")
    bind(dav, "/", "g", "/f")
    found = dav.propfind("/", b"", depth="infinity", headers=KNOWS)

    assert listed(found, 200) == {"/", "/f", "/g"}


@pytest.mark.rfc("BI-10")
def test_links_of_somebody_else_are_listed_as_ever(dav: AppDav) -> None:
    assert dav.root is not None
    dav.mkcol("/c/")
    (dav.root / "c" / "loop").symlink_to(".")
    (dav.root / "again").symlink_to("c")
    others = dav.propfind("/", b"", depth="infinity")
    known = dav.propfind("/", b"", depth="infinity", headers=KNOWS)

    assert listed(others, 200) == {"/", "/c/", "/c/loop/", "/again/", "/again/loop/"}
    assert listed(known, 208) == {"/c/loop/", "/again/loop/"}
    assert set(known) == set(others)


@pytest.mark.rfc("BI-10")
@pytest.mark.parametrize(
    ("value", "knows"),
    [("bind", True), ("1, bind", True), ("1,bind", True), ("binding", False), ("BIND", False)],
)
def test_the_field_dav_of_a_request_is_a_list(dav: AppDav, value: str, knows: bool) -> None:
    """Section 8.2."""
    example(dav)
    reply = dav.request("PROPFIND", "/Coll/", {"Depth": "infinity", "DAV": value})

    assert reply.status == (207 if knows else 508)


def test_208_has_a_face_in_json(dav: AppDav) -> None:
    example(dav)
    fields = {"Depth": "infinity", "Accept": "application/json", **KNOWS}
    reply = dav.request("PROPFIND", "/Coll/", fields)

    assert reply.status == 207
    assert "208" in json.dumps(json.loads(reply.body))
