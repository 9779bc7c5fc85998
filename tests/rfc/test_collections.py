"""GET, HEAD and POST of collections (RFC 4918 sections 9.4 and 9.5), URLs with and without a
slash (5.2), and what their members' names may be."""

from __future__ import annotations

import os
import re
import urllib.parse
from collections.abc import Callable

import pytest

from tests.conftest import AppDav

D = "{DAV:}"
MakeDav = Callable[..., AppDav]
NAMES = [
    "a b.txt",
    "100%.txt",
    "a#b",
    "a?b",
    "a;b,c",
    "a+b",
    "it's",
    'say "x"',
    "<i>&amp;",
    "ünïcödé",
    "日本",
    "😀",
    "x:y",
    "[1]",
    "~$doc.docx",
    ".~lock.a.odt#",
    "._a",
    ".DS_Store",
    "Thumbs.db",
    "desktop.ini",
    "%41",
    "a\\b",
    "...",
    "-",
    "c" * 255,
]


def quoted(name: str) -> str:
    return urllib.parse.quote(name, safe="")


@pytest.mark.rfc("G-03", "G-04", "G-21")
@pytest.mark.parametrize(
    ("method", "headers"),
    [("GET", {}), ("HEAD", {}), ("PROPFIND", {"Depth": "0"}), ("PROPFIND", {"Depth": "1"})],
)
def test_a_collection_answers_without_its_slash_and_says_where_it_is(
    dav: AppDav, method: str, headers: dict[str, str]
) -> None:
    dav.mkcol("/c/")
    dav.mkcol("/c/d e/")
    with_slash = dav.request(method, "/c/d%20e/", headers)

    without = dav.request(method, "/c/d%20e", headers)

    assert without.status == with_slash.status == (207 if method == "PROPFIND" else 200)
    assert without.headers["content-location"] == "/c/d%20e/"
    assert "location" not in without.headers
    assert "content-location" not in with_slash.headers
    assert without.body == with_slash.body
    if method == "PROPFIND":
        assert without.multistatus.hrefs == ["/c/d%20e/"]


@pytest.mark.rfc("G-03", "G-04")
def test_every_method_takes_a_collection_without_its_slash(dav: AppDav) -> None:
    assert dav.mkcol("/c").status == 201
    lock = dav.lock("/c", depth="0")
    assert lock.activelock.findtext(f"{D}lockroot/{D}href") == "/c/"
    assert dav.unlock("/c", lock.token).status == 204
    assert dav.proppatch("/c", set={"{urn:x}p": "v"}).multistatus.hrefs == ["/c/"]
    reply = dav.copy("/c", "/d")
    assert (reply.status, reply.headers["location"]) == (201, "/d/")
    reply = dav.move("/d", "/e")
    assert (reply.status, reply.headers["location"]) == (201, "/e/")
    assert dav.options("/c").status == 200
    assert dav.delete("/c").status == 204
    assert dav.members("/") == ["/e/"]


@pytest.mark.rfc("G-04")
def test_a_file_with_a_slash_is_shown_without_it(dav: AppDav) -> None:
    dav.put("/a", b"abc")

    assert dav.propfind("/a/", props=[f"{D}getetag"]).hrefs == ["/a"]
    reply = dav.get("/a/")
    assert (reply.body, reply.headers["content-location"]) == (b"abc", "/a")


@pytest.mark.rfc("GC-01", "HM-01")
def test_get_of_a_collection_is_a_listing_and_head_the_same_without_it(dav: AppDav) -> None:
    dav.mkcol("/c/")
    dav.mkcol("/c/sub/")
    etag = dav.put("/c/a", b"x" * 1234).headers["etag"]

    page, head = dav.get("/c/"), dav.head("/c/")

    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert sorted(re.findall(r'href="([^"]+)"', page.body.decode())) == ["/", "/c/a", "/c/sub/"]
    assert b"1234" in page.body
    assert (head.status, head.body) == (200, b"")
    assert sorted(head.headers) == sorted(page.headers)
    # A page changes with every member: no validator may say that it did not.
    assert not {"etag", "last-modified", "accept-ranges"} & {name for name, _ in page.headers}
    assert etag not in str(page.headers.items)
    assert dav.get("/c/", {"If-None-Match": etag}).status == 200
    assert dav.get("/c/", {"Range": "bytes=0-3"}).status == 200


@pytest.mark.rfc("GC-01")
def test_a_listing_of_many_members_is_whole(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    for number in range(700):
        (dav.root / f"f{number:03}").touch()

    found = re.findall(rb'href="/(f\d+)"', dav.get("/").body)

    assert sorted(found) == [b"f%03d" % number for number in range(700)]


@pytest.mark.rfc("GC-02", "HM-02")
@pytest.mark.parametrize(
    ("method", "target"),
    [*(("POST", each) for each in ("/c/", "/c", "/", "/c/a")), ("PATCH", "/c/"), ("PATCH", "/")],
)
def test_post_is_405_with_allow(dav: AppDav, method: str, target: str) -> None:
    dav.mkcol("/c/")
    dav.put("/c/a", b"kept")

    reply = dav.request(method, target, {"Content-Type": "text/plain"}, b"a=b")

    assert reply.status == 405
    assert method not in reply.headers.tokens("allow")
    assert "PROPFIND" in reply.headers.tokens("allow")
    assert dav.get("/c/a").body == b"kept"


@pytest.mark.rfc("G-01", "G-13", "PU-01")
@pytest.mark.parametrize("name", NAMES)
def test_names_round_trip(dav: AppDav, name: str) -> None:
    file, collection = f"/{quoted(name)}", f"/c/{quoted(name)}/"
    dav.mkcol("/c/")

    assert dav.put(file, b"content").status == 201
    assert dav.mkcol(collection).status == 201

    (shown,) = [href for href in dav.members("/") if href != "/c/"]
    assert urllib.parse.unquote(shown) == f"/{name}"
    assert re.fullmatch(r"/(?:[A-Za-z0-9._~-]|%[0-9A-F]{2})+", shown)
    (inner,) = dav.members("/c/")
    assert urllib.parse.unquote(inner) == f"/c/{name}/"
    assert dav.get(shown).body == b"content"
    assert f'href="{shown}"'.encode() in dav.get("/").body
    assert dav.prop(shown, f"{D}displayname").text == name
    if dav.root:
        assert sorted(os.listdir(dav.root)) == sorted(["c", name])
    # Put, read, moved and deleted by the href that the server gave.
    moved = dav.move(inner, f"{collection[:-1]}.2/")
    assert moved.status == (201 if len(name) < 250 else 400), moved
    assert dav.delete(shown).status == 204
    assert dav.members("/") == ["/c/"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        pytest.param("/a%00b", 400, id="NUL"),
        pytest.param("/a%2fb", 400, id="encoded slash"),
        pytest.param("/a%2Fb", 400, id="encoded slash, upper case"),
        pytest.param("/a%zzb", 400, id="no escape"),
        pytest.param("/a%4", 400, id="half an escape"),
        pytest.param("/./a", 400, id="dot segment"),
        pytest.param("/c/../a", 400, id="dot dot segment"),
        pytest.param("/c/%2e%2e/a", 400, id="encoded dot segment"),
        pytest.param("/%2e", 400, id="encoded dot"),
        pytest.param("/a#b", 400, id="fragment"),
        pytest.param("a", 400, id="no slash"),
        pytest.param("/bad%ff", 400, id="not UTF-8"),
        pytest.param("/bad%01", 400, id="control character"),
        pytest.param("/bad%7f", 400, id="DEL"),
        pytest.param("/" + "n" * 256, 414, id="a name too long"),
        pytest.param("/" + "n" * 8192, 414, id="a URL too long"),
        pytest.param("/.davserver/x", 404, id="reserved"),
        pytest.param("/.DAVSERVER/x", 404, id="reserved in another case"),
        pytest.param("/c/.davserver.x.y", 404, id="a hidden name"),
        pytest.param("/c/.DavServer.x/y", 404, id="below a hidden name"),
    ],
)
@pytest.mark.rfc("G-12", "G-20")
@pytest.mark.parametrize("method", ["PUT", "MKCOL", "LOCK"])
def test_names_that_are_not_made(dav: AppDav, method: str, target: str, expected: int) -> None:
    dav.mkcol("/c/")

    reply = dav.lock_request(target) if method == "LOCK" else dav.request(method, target)

    assert reply.status == expected
    assert dav.members("/") == ["/c/"]
    assert dav.members("/c/") == []


@pytest.mark.rfc("G-02", "G-01")
@pytest.mark.parametrize(
    ("stored", "asked"),
    [("caf\u00e9", "cafe\u0301"), ("cafe\u0301", "caf\u00e9")],
    ids=["NFC stored", "NFD stored"],
)
def test_equivalent_spellings_meet_one_resource(dav: AppDav, stored: str, asked: str) -> None:
    dav.put(f"/{quoted(stored)}", b"one")

    assert dav.get(f"/{quoted(asked)}").body == b"one"
    assert dav.put(f"/{quoted(asked)}", b"two").status == 204
    assert dav.mkcol(f"/{quoted(asked)}").status == 405
    assert dav.members("/") == [f"/{quoted(stored)}"]
    assert dav.lock(f"/{quoted(asked)}").reply.status == 200
    assert dav.put(f"/{quoted(stored)}", b"lost").status == 423


@pytest.mark.parametrize("change", ["create", "replace", "delete", "move out", "make"])
def test_getlastmodified_of_the_parent_changes_with_its_members(
    make_dav: MakeDav, change: str
) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    dav.mkcol("/c/")
    dav.put("/c/a", b"old")
    os.utime(dav.root / "c", (10**9, 10**9))
    old = dav.prop("/c/", f"{D}getlastmodified").text
    assert old == "Sun, 09 Sep 2001 01:46:40 GMT"

    status = {
        "create": lambda: dav.put("/c/new", b""),
        "replace": lambda: dav.put("/c/a", b"new"),
        "delete": lambda: dav.delete("/c/a"),
        "move out": lambda: dav.move("/c/a", "/a"),
        "make": lambda: dav.mkcol("/c/d/"),
    }[change]().status

    assert status in (201, 204)
    assert dav.prop("/c/", f"{D}getlastmodified").text != old
