"""Preferences (RFC 7240, RFC 8144): what the client would rather have."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.reply import Reply

ALL = '<D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/><D:none/></D:prop></D:propfind>'
PATCH = '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>{}</D:prop></D:set></D:propertyupdate>'


@pytest.fixture
def tree(dav: AppDav) -> AppDav:
    """/c/ with f and the collection d, which holds g."""
    dav.mkcol("/c/")
    dav.put("/c/f", b"content")
    dav.mkcol("/c/d/")
    dav.put("/c/d/g", b"x")
    return dav


def list_with(dav: AppDav, depth: str, prefer: str, target: str = "/c/") -> Reply:
    fields = {"Depth": depth, "Prefer": prefer, "Content-Type": XML}
    return dav.request("PROPFIND", target, fields, ALL.encode())


def applied(reply: Reply) -> list[str]:
    """Returns what Preference-Applied says; where it does, Vary says so, too."""
    found = reply.headers.tokens("preference-applied")
    assert bool(found) is ("Prefer" in reply.headers.tokens("vary"))
    return found


@pytest.mark.rfc("PR-06")
@pytest.mark.parametrize(
    ("depth", "target", "hrefs"),
    [
        ("0", "/c/", ["/c/"]),
        ("1", "/c/", ["/c/d/", "/c/f"]),
        ("infinity", "/c/", ["/c/d/", "/c/d/g", "/c/f"]),
        ("1", "/c/f", ["/c/f"]),
    ],
)
def test_depth_noroot_leaves_the_target_out_of_a_listing(
    tree: AppDav, depth: str, target: str, hrefs: list[str]
) -> None:
    reply = list_with(tree, depth, "depth-noroot", target)

    assert sorted(reply.multistatus.hrefs) == hrefs
    assert applied(reply) == (["depth-noroot"] if target not in hrefs else [])


@pytest.mark.rfc("PR-06")
def test_a_collection_without_members_has_nothing_to_list(dav: AppDav) -> None:
    dav.mkcol("/c/")
    reply = list_with(dav, "1", "depth-noroot")

    assert (reply.status, reply.multistatus.hrefs) == (207, [])


@pytest.mark.rfc("PR-06")
def test_depth_noroot_of_what_is_not_there_is_404(dav: AppDav) -> None:
    assert list_with(dav, "1", "depth-noroot", "/none/").status == 404


def test_depth_noroot_above_the_mount(make_dav: Any) -> None:
    dav = make_dav("memory", prefix="/files")
    reply = list_with(dav, "1", "depth-noroot", "/")

    assert reply.multistatus.hrefs == ["/files/"]


@pytest.mark.rfc("PR-02", "PR-08")
def test_a_minimal_listing_without_its_root(tree: AppDav) -> None:
    reply = list_with(tree, "1", "return=minimal, depth-noroot")

    assert sorted(reply.multistatus.hrefs) == ["/c/d/", "/c/f"]
    assert all(list(groups) == [200] for groups in reply.multistatus.values())
    assert applied(reply) == ["return=minimal", "depth-noroot"]


@pytest.mark.rfc("PR-02")
def test_a_response_that_is_left_empty_has_an_empty_prop(tree: AppDav) -> None:
    body = b'<D:propfind xmlns:D="DAV:"><D:prop><D:none/></D:prop></D:propfind>'
    fields = {"Depth": "0", "Prefer": "return=minimal", "Content-Type": XML}
    reply = tree.request("PROPFIND", "/c/f", fields, body)

    assert reply.multistatus["/c/f"] == {200: {}}


@pytest.mark.rfc("PR-03", "PR-08")
def test_a_minimal_proppatch_that_succeeds_says_nothing(tree: AppDav) -> None:
    body = PATCH.format("<a xmlns='u'>1</a>").encode()
    fields = {"Prefer": "return=minimal", "Content-Type": XML}
    reply = tree.request("PROPPATCH", "/c/f", fields, body)

    assert (reply.status, reply.body) == (204, b"")
    assert applied(reply) == ["return=minimal"]
    assert reply.headers["cache-control"] == "no-store"
    assert tree.prop("/c/f", "{u}a").text == "1"


@pytest.mark.rfc("PR-03")
def test_a_minimal_proppatch_that_fails_says_why(tree: AppDav) -> None:
    body = PATCH.format("<a xmlns='u'>1</a><D:getetag>x</D:getetag>").encode()
    fields = {"Prefer": "return=minimal", "Content-Type": XML}
    reply = tree.request("PROPPATCH", "/c/f", fields, body)

    assert sorted(reply.multistatus["/c/f"]) == [403, 424]
    assert applied(reply) == []


@pytest.mark.rfc("PR-05", "PR-08")
@pytest.mark.parametrize("target", ["/c/f", "/c/new.txt"])
def test_put_gives_back_what_is_stored(tree: AppDav, target: str) -> None:
    reply = tree.put(target, b"written", {"Prefer": "return=representation"})
    got = tree.get(target)

    assert (reply.status, reply.body) == (200 if target == "/c/f" else 201, b"written")
    assert reply.headers["content-location"] == target
    assert applied(reply) == ["return=representation"]
    for name in ("content-type", "etag", "last-modified", "x-content-type-options"):
        assert reply.headers[name] == got.headers[name], name


@pytest.mark.rfc("PR-05")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
@pytest.mark.parametrize(("onto", "status"), [("/c/d/g", 200), ("/c/d/h", 201)])
def test_copy_and_move_give_back_what_is_at_the_destination(
    tree: AppDav, method: str, onto: str, status: int
) -> None:
    fields = {"Destination": onto, "Prefer": "return=representation"}
    reply = tree.request(method, "/c/f", fields)

    assert (reply.status, reply.body) == (status, b"content")
    assert reply.headers["content-location"] == onto
    assert reply.headers.get("location") == (onto if status == 201 else None)
    assert reply.headers["etag"] == tree.get(onto).headers["etag"]
    assert applied(reply) == ["return=representation"]


@pytest.mark.rfc("PR-01")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_collection_has_no_representation(tree: AppDav, method: str) -> None:
    fields = {"Destination": "/c2/", "Prefer": "return=representation"}
    reply = tree.request(method, "/c/", fields)

    assert (reply.status, reply.body, applied(reply)) == (201, b"", [])


@pytest.mark.rfc("PR-05")
def test_a_condition_that_is_false_shows_what_is_there(tree: AppDav) -> None:
    """RFC 8144 section 3.2: nobody has to ask again to see who was first."""
    fields = {"If-Match": '"other"', "Prefer": "return=representation"}
    reply = tree.put("/c/f", b"mine", fields)

    assert (reply.status, reply.body) == (412, b"content")
    assert reply.headers["content-location"] == "/c/f"
    assert reply.headers["etag"] == tree.get("/c/f").headers["etag"]
    assert tree.get("/c/f").body == b"content"


@pytest.mark.rfc("PR-05")
@pytest.mark.parametrize(("headers", "status"), [({}, 200), ({"If-Match": '"other"'}, 412)])
def test_a_patch_gives_back_the_whole_file(
    tree: AppDav, headers: dict[str, str], status: int
) -> None:
    fields = {
        "Content-Type": "application/x-sabredav-partialupdate",
        "X-Update-Range": "bytes=0-2",
        "Prefer": "return=representation",
    }
    reply = tree.request("PATCH", "/c/f", fields | headers, b"CON")

    assert (reply.status, reply.body) == (status, tree.get("/c/f").body)
    assert reply.body == (b"CONtent" if status == 200 else b"content")
    assert applied(reply) == ["return=representation"]


@pytest.mark.rfc("PR-05")
def test_a_false_condition_on_nothing_has_nothing_to_show(dav: AppDav) -> None:
    fields = {"If-Match": '"other"', "Prefer": "return=representation"}
    reply = dav.put("/none", b"mine", fields)

    assert reply.status == 412
    assert reply.headers["content-type"].startswith("text/plain")
    assert applied(reply) == []


@pytest.mark.parametrize("prefer", ["return=minimal", "return=representation, return=minimal", "x"])
def test_other_preferences_leave_put_as_it_is(dav: AppDav, prefer: str) -> None:
    reply = dav.put("/f", b"x", {"Prefer": prefer})

    assert (reply.status, reply.body, applied(reply)) == (201, b"", [])


def test_a_long_file_comes_back_in_pieces(dav: AppDav) -> None:
    content = bytes(range(256)) * 8192
    reply = dav.put("/f", content, {"Prefer": "return=representation"})

    assert (reply.status, reply.body == content) == (201, True)
