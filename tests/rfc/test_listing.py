"""PROPFIND: what a listing holds, whatever names and members there are (RFC 4918 section 9.1)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from davserver.errors import StorageFailure
from tests.conftest import AppDav
from tests.support.storages import HookedStorage

MakeDav = Callable[..., AppDav]
TYPE = "{DAV:}resourcetype"


def tree(dav: AppDav) -> list[str]:
    """Makes a small tree and returns the hrefs of everything in it, sorted."""
    for target in ("/c/", "/c/d/", "/c/d/e/"):
        assert dav.mkcol(target).status == 201
    for target in ("/c/1", "/c/d/2", "/c/d/e/3"):
        assert dav.put(target, b"x").status == 201
    return ["/c/", "/c/1", "/c/d/", "/c/d/2", "/c/d/e/", "/c/d/e/3"]


@pytest.mark.rfc("PF-04", "MS-06")
@pytest.mark.parametrize(("depth", "below"), [("0", 0), ("1", 1), ("infinity", 9), (None, 9)])
def test_a_listing_has_each_resource_to_the_depth_once(
    dav: AppDav, depth: str | None, below: int
) -> None:
    hrefs = tree(dav)
    expected = [href for href in hrefs if href.rstrip("/").count("/") <= 1 + below]
    headers = {} if depth is None else {"Depth": depth}

    reply = dav.request("PROPFIND", "/c/", headers)

    assert sorted(reply.multistatus.hrefs) == expected
    assert reply.headers.get("location") is None


@pytest.mark.rfc("PF-16")
@pytest.mark.parametrize("target", ["/no", "/no/", "/c/no", "/c/1/no"])
@pytest.mark.parametrize("depth", ["0", "1", "infinity"])
def test_an_unmapped_url_is_a_plain_404(dav: AppDav, target: str, depth: str) -> None:
    tree(dav)

    reply = dav.request("PROPFIND", target, {"Depth": depth})

    assert reply.status == 404
    assert b"multistatus" not in reply.body


@pytest.mark.rfc("PF-05")
def test_hidden_names_and_links_outward_are_not_listed(make_dav: MakeDav, tmp_path: Path) -> None:
    dav = make_dav("filesystem")
    hrefs = tree(dav)
    assert dav.root is not None
    owner = dav.app.services.state.owner
    (dav.root / "c" / f".davserver.{owner}.0123456789abcdef").write_text("half an upload")
    (dav.root / "c" / ".DAVSERVER").write_text("reserved")
    (tmp_path / "outside").write_text("secret")
    os.symlink(tmp_path / "outside", dav.root / "c" / "absolute")
    os.symlink("../../outside", dav.root / "c" / "relative")
    os.symlink("nowhere", dav.root / "c" / "dangling")

    answer = dav.propfind("/c/", props=[TYPE], depth="infinity")

    assert sorted(answer.hrefs) == hrefs


@pytest.mark.rfc("PF-15")
def test_a_property_that_may_not_be_seen_is_left_out(make_dav: MakeDav) -> None:
    """Who cannot lock is not shown how: allprop leaves both out, by name they are 404."""
    dav = make_dav("filesystem", read_only=True)
    names = ["{DAV:}lockdiscovery", "{DAV:}supportedlock"]

    by_name = dav.propfind("/", props=names)["/"]
    everything = dav.propfind("/")["/"]

    assert sorted(by_name[404]) == names
    assert 200 not in by_name
    assert not set(names) & set(everything[200])


NAMES = [
    pytest.param(b"latin-\xe9", "/c/latin-%E9", id="latin-1"),
    pytest.param(b"\xff\xfe", "/c/%FF%FE", id="no text at all"),
    pytest.param(b"over-\xc0\xae", "/c/over-%C0%AE", id="overlong dot"),
    pytest.param(b"\xed\xa0\x80", "/c/%ED%A0%80", id="surrogate"),
    pytest.param(b"new\nline", "/c/new%0Aline", id="newline"),
    pytest.param(b"bell\x07 and \x7f", "/c/bell%07%20and%20%7F", id="control characters"),
    pytest.param(b"]]><a&b>\"'", "/c/%5D%5D%3E%3Ca%26b%3E%22%27", id="markup"),
    pytest.param("\ufffe\uffff".encode(), "/c/%EF%BF%BE%EF%BF%BF", id="no characters of XML"),
    pytest.param("\U0001f600".encode(), "/c/%F0%9F%98%80", id="beyond the plane"),
    pytest.param(b"a%20b", "/c/a%2520b", id="percent"),
]


@pytest.mark.rfc("PF-19", "PF-20", "DP-09")
@pytest.mark.security("P-07", "X-09")
@pytest.mark.parametrize(("name", "href"), NAMES)
def test_a_strange_name_is_listed_read_and_deleted(
    make_dav: MakeDav, name: bytes, href: str
) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.mkcol("/c/")
    dav.put("/c/plain", b"beside")
    (Path(os.fsdecode(os.fsencode(dav.root) + b"/c/" + name))).write_bytes(b"strange")

    listed = dav.propfind("/c/", depth="1")  # allprop: the displayname is in it
    content = dav.get(href)
    deleted = dav.delete(href)

    assert sorted(listed.hrefs) == sorted(["/c/", "/c/plain", href])
    assert "{DAV:}displayname" in listed[href][200]
    assert content.body == b"strange"
    assert deleted.status == 204
    assert dav.members("/c/") == ["/c/plain"]


@pytest.mark.rfc("MS-11")
def test_a_stream_that_fails_is_cut_and_never_ends_as_if_complete(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    dav.mkcol("/c/")
    for number in range(600):
        dav.put(f"/c/{number:03}")

    def fail() -> None:
        raise StorageFailure("the disk is gone")

    storage.on("entry", "/c/550", fail)
    body = b""
    with pytest.raises(Exception) as caught:
        body = dav.request("PROPFIND", "/c/", {"Depth": "1"}).body

    assert "the disk is gone" in repr(caught.value) + repr(caught.value.__cause__)
    assert b"</D:multistatus>" not in body


@pytest.mark.spelling
@pytest.mark.rfc("PF-04", "PF-07", "LP-08")
def test_a_member_has_the_same_response_as_by_itself(dav: AppDav) -> None:
    """Members of which nothing is stored are rendered together, the others one by one."""
    tree(dav)
    for number in range(40):
        dav.put(f"/c/f{number:02} x", b"x" * number)
        dav.mkcol(f"/c/g{number:02}/")
    dav.proppatch("/c/f03%20x", set={"{u}x": "1", "{DAV:}displayname": "name"})
    dav.proppatch("/c/g04/", set={"{u}x": "2"})
    dav.lock("/c/f05%20x", owner="me")
    dav.lock("/c/d/e/3")
    asked = "<x xmlns='u'/><getetag/><creationdate/><lockdiscovery/><resourcetype/>"
    body = f'<propfind xmlns="DAV:"><prop>{asked}</prop></propfind>'.encode()

    for content in (b"", body):
        listed = dav.request("PROPFIND", "/c/", {"Depth": "1"}, content)
        hrefs = listed.multistatus.hrefs
        each = [dav.request("PROPFIND", href, {"Depth": "0"}, content).body for href in hrefs]

        assert len(hrefs) == 83
        assert listed.body.split(b"<D:response>")[1:-1] == [
            one.split(b"<D:response>")[1].removesuffix(b"</D:multistatus>") for one in each[:-1]
        ]
