"""DELETE (RFC 4918 section 9.6): what goes, what stays, and what is told about it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from davserver.errors import AccessDenied, ResourceNotFound
from davserver.protocol.path import DavPath
from tests.conftest import AppDav
from tests.support.storages import HookedStorage

D = "{DAV:}"
TOPIC = "{http://example.org/ns}topic"


def fill(dav: AppDav, *paths: str) -> None:
    """Creates each path: a collection when it ends in a slash, else a file that holds its name."""
    for path in paths:
        reply = dav.mkcol(path) if path.endswith("/") else dav.put(path, path.encode())
        assert reply.status == 201, reply


def rows(dav: AppDav) -> set[bytes]:
    """What the state knows of: paths with properties or locks, mapped or not."""
    return {key.path for key in dav.app.services.state.keys_with_rows()}


def names(dav: AppDav, target: str) -> list[str]:
    return [href.removeprefix(target) for href in dav.members(target)]


@pytest.mark.rfc("DL-01", "DL-07")
def test_a_deleted_file_is_gone_with_its_lock_and_properties(dav: AppDav) -> None:
    fill(dav, "/a")
    dav.proppatch("/a", set={TOPIC: "old"})
    lock = dav.lock("/a")
    assert rows(dav) == {b"a"}

    assert dav.delete("/a", {"If": lock.untagged}).status == 204

    for method in ("GET", "HEAD", "PROPFIND", "DELETE"):
        assert dav.request(method, "/a").status == 404
    assert rows(dav) == set()
    # A new resource at the same URL inherits nothing.
    assert dav.put("/a", b"new").status == 201
    assert dav.locks("/a") == []
    assert dav.prop("/a", TOPIC) is None
    if dav.root:
        assert os.listdir(dav.root) == ["a"]


@pytest.mark.rfc("DL-01", "DL-02", "DL-07", "DL-08", "DL-11")
@pytest.mark.parametrize("depth", [None, "infinity", "Infinity"])
@pytest.mark.parametrize("target", ["/c/", "/c"])
def test_a_collection_goes_with_everything_below(
    dav: AppDav, target: str, depth: str | None
) -> None:
    """Section 9.6.1: header fields are applied to every resource deleted: both tokens count."""
    fill(dav, "/c/", "/c/a", "/c/d/", "/c/d/e/", "/c/d/e/f", "/c/z/", "/beside")
    dav.proppatch("/c/d/e/f", set={TOPIC: "old"})
    file, collection = dav.lock("/c/d/e/f"), dav.lock("/c/z/", depth="infinity")
    headers = {"If": f"<{'/c/d/e/f'}> (<{file.token}>) </c/z/> (<{collection.token}>)"}

    reply = dav.delete(target, headers | ({"Depth": depth} if depth else {}))

    assert (reply.status, reply.body) == (204, b"")
    assert dav.members("/") == ["/beside"]
    assert rows(dav) == set()
    if dav.root:
        assert os.listdir(dav.root) == ["beside"]
    fill(dav, "/c/", "/c/d/", "/c/d/e/", "/c/d/e/f")
    assert dav.prop("/c/d/e/f", TOPIC) is None


@pytest.mark.rfc("DL-02")
@pytest.mark.parametrize("depth", ["0", "1", "2", ""])
def test_another_depth_on_a_collection_is_400(dav: AppDav, depth: str) -> None:
    fill(dav, "/c/", "/c/a")

    assert dav.delete("/c/", {"Depth": depth}).status == 400
    assert dav.get("/c/a").body == b"/c/a"


@pytest.mark.rfc("DL-02", "DE-01")
def test_depth_does_not_matter_to_a_file(dav: AppDav) -> None:
    fill(dav, "/a")

    assert dav.delete("/a", {"Depth": "0"}).status == 204


@pytest.mark.rfc("DL-03", "DL-04", "DL-05", "DL-06")
def test_a_locked_grandchild_stays_with_its_ancestors_and_is_the_only_one_told_of(
    dav: AppDav,
) -> None:
    fill(dav, "/c/", "/c/a", "/c/d/", "/c/d/e/", "/c/d/e/f", "/c/d/e/g", "/c/d/h", "/c/z/")
    lock = dav.lock("/c/d/e/f")

    reply = dav.delete("/c/")

    assert reply.status == 207
    assert reply.multistatus.statuses == {"/c/d/e/f": 423}
    assert reply.multistatus.conditions == {"/c/d/e/f": [f"{D}lock-token-submitted"]}
    assert lock.token.encode() not in reply.body
    assert dav.get("/c/d/e/f").body == b"/c/d/e/f"
    assert [dav.members(path) for path in ("/c/", "/c/d/", "/c/d/e/")] == [
        ["/c/d/"],
        ["/c/d/e/"],
        ["/c/d/e/f"],
    ]
    assert len(dav.locks("/c/d/e/f")) == 1
    if dav.root:
        assert (dav.root / "c/d/e/f").read_bytes() == b"/c/d/e/f"
    assert dav.delete("/c/", {"If": f"</c/d/e/f> (<{lock.token}>)"}).status == 204
    assert dav.members("/") == []


@pytest.mark.rfc("DL-03", "DL-04", "DL-06")
@pytest.mark.parametrize("depth", ["0", "infinity"])
def test_a_locked_inner_collection_is_told_of_once_and_stays_whole(dav: AppDav, depth: str) -> None:
    fill(dav, "/c/", "/c/d/", "/c/d/e/", "/c/d/e/f", "/c/d/g", "/c/z")
    dav.lock("/c/d/", depth=depth)

    assert dav.delete("/c/").multistatus.statuses == {"/c/d/": 423}
    assert names(dav, "/c/") == ["d/"]
    assert names(dav, "/c/d/") == ["e/", "g"]
    assert dav.get("/c/d/e/f").body == b"/c/d/e/f"


@pytest.mark.rfc("DL-06")
@pytest.mark.parametrize("depth", ["0", "infinity"])
@pytest.mark.parametrize("member", ["/c/a", "/c/d/"])
def test_a_member_of_a_locked_collection_needs_the_collections_token(
    dav: AppDav, depth: str, member: str
) -> None:
    fill(dav, "/c/", "/c/a", "/c/d/", "/c/d/e")
    lock = dav.lock("/c/", depth=depth)

    reply = dav.delete(member)

    assert reply.status == 423
    assert reply.conditions == [f"{D}lock-token-submitted"]
    assert reply.condition_hrefs == ["/c/"]
    assert names(dav, "/c/") == ["a", "d/"]
    assert names(dav, "/c/d/") == ["e"]
    assert dav.delete(member, {"If": f"</c/> (<{lock.token}>)"}).status == 204
    assert len(dav.locks("/c/")) == 1


@pytest.mark.rfc("DL-06", "DL-04")
def test_a_lock_on_the_target_itself_is_a_plain_423(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a")
    dav.lock("/c/", depth="0")

    reply = dav.delete("/c/")

    assert (reply.status, reply.condition_hrefs) == (423, ["/c/"])
    assert names(dav, "/c/") == ["a"]


@pytest.mark.rfc("DL-08")
def test_a_false_if_deletes_nothing(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a")

    assert dav.delete("/c/", {"If": '(["no-such-tag"])'}).status == 412
    assert names(dav, "/c/") == ["a"]


@pytest.mark.rfc("DL-09")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("/nothing", 404, id="unmapped"),
        pytest.param("/c/nothing", 404, id="unmapped member"),
        pytest.param("/a/nothing", 404, id="below a file"),
        pytest.param("/._a", 404, id="a probe of Finder"),
        pytest.param("/", 403, id="root"),
    ],
)
def test_what_cannot_be_deleted(dav: AppDav, target: str, expected: int) -> None:
    fill(dav, "/a", "/c/", "/c/b")

    assert dav.delete(target).status == expected
    assert dav.members("/") == ["/a", "/c/"]
    assert dav.members("/c/") == ["/c/b"]


@pytest.mark.rfc("DL-10")
def test_a_fragment_deletes_nothing(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a")

    assert dav.delete("/c/#frag").status == 400
    assert dav.get("/c/a").status == 200


@pytest.mark.rfc("DL-03", "DL-04")
def test_a_member_that_the_storage_refuses_is_told_of_and_the_rest_goes(
    make_dav: Callable[..., AppDav],
) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/c/", "/c/a", "/c/d/", "/c/d/f", "/c/d/g", "/c/e/", "/c/e/h", "/c/x/", "/c/x/y")
    storage.refuse("delete", "/c/d/f", AccessDenied("not yours"))
    storage.refuse("delete", "/c/e", AccessDenied("not yours"))
    storage.refuse("scan_all", "/c/x", AccessDenied("not yours"))

    assert dav.delete("/c/").multistatus.statuses == {"/c/d/f": 403, "/c/e/": 403, "/c/x/": 403}
    assert [names(dav, path) for path in ("/c/", "/c/d/", "/c/e/")] == [
        ["d/", "e/", "x/"],
        ["f"],
        [],
    ]


@pytest.mark.rfc("DL-04")
@pytest.mark.parametrize("call", ["delete", "scan_all"])
def test_a_refusal_of_the_target_itself_is_a_plain_status(
    make_dav: Callable[..., AppDav], call: str
) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/c/", "/c/d/")
    storage.refuse(call, "/c", AccessDenied("not yours"))

    assert dav.delete("/c/").status == 403
    assert dav.members("/") == ["/c/"]


@pytest.mark.rfc("DL-11")
def test_what_goes_meanwhile_is_no_failure(make_dav: Callable[..., AppDav]) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/c/", "/c/a", "/c/d/", "/c/e/")
    for call, path in [("delete", "/c/a"), ("scan_all", "/c/d"), ("delete", "/c/e")]:
        target = DavPath(tuple(path.strip("/").split("/")))
        storage.once(call, path, lambda target=target: storage.delete(target))

    assert dav.delete("/c/").status == 204
    assert dav.members("/") == []


def test_the_target_gone_between_look_up_and_act_is_404(make_dav: Callable[..., AppDav]) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/c/")
    storage.refuse("scan_all", "/c", ResourceNotFound("gone"))

    assert dav.delete("/c/").status == 404


@pytest.mark.rfc("DL-01")
def test_a_link_goes_and_what_it_leads_to_stays(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    fill(dav, "/c/", "/c/d/", "/c/d/f", "/kept/", "/kept/f", "/file")
    for path in ("/kept/f", "/c/d/f"):
        dav.proppatch(path, set={TOPIC: "kept"})
    os.symlink("../kept", dav.root / "c/to-collection")
    os.symlink("../file", dav.root / "c/to-file")
    os.symlink("nowhere", dav.root / "c/dangling")
    os.symlink("/etc", dav.root / "c/outward")
    os.mkfifo(dav.root / "c/fifo")

    assert dav.delete("/c/to-file").status == 204
    assert dav.delete("/c/to-collection/").status == 204
    assert dav.get("/file").body == b"/file"
    assert dav.get("/kept/f").body == b"/kept/f"
    os.symlink("../kept", dav.root / "c/to-collection")
    os.symlink("../file", dav.root / "c/to-file")

    assert dav.delete("/c/").status == 204
    assert sorted(os.listdir(dav.root)) == ["file", "kept"]
    assert dav.get("/kept/f").body == b"/kept/f"
    assert dav.prop("/kept/f", TOPIC).text == "kept"
    assert rows(dav) == {b"kept/f"}
    assert os.path.isdir("/etc")


@pytest.mark.rfc("DL-06", "DL-07")
def test_a_locked_target_of_a_link_does_not_hold_the_link(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    fill(dav, "/c/", "/file")
    os.symlink("../file", dav.root / "c/link")
    lock = dav.lock("/file")

    reply = dav.delete("/c/")

    assert reply.status == 204
    assert [element.findtext(f"{D}locktoken/{D}href") for element in dav.locks("/file")] == [
        lock.token
    ]
    assert dav.get("/file").body == b"/file"
