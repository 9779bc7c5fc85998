"""What holds for every method: validators, error bodies, header fields (RFC 4918 sections 5, 8, 12
and 16; RFC 9110 sections 8.8 and 9.1)."""

from __future__ import annotations

import os
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest

from tests.conftest import AppDav
from tests.support.dav import LOCKINFO, XML

D = "{DAV:}"
TOPIC = "{http://example.org/ns}topic"
MakeDav = Callable[..., AppDav]


@pytest.fixture
def tree(make_dav: MakeDav) -> AppDav:
    """`/c/` with the file `/c/f`, and the file `/a`."""
    dav = make_dav("memory")
    assert dav.mkcol("/c/").status == 201
    for name in ("/c/f", "/a"):
        assert dav.put(name, b"kept").status == 201
    return dav


def assert_untouched(dav: AppDav) -> None:
    assert dav.members("/") == ["/a", "/c/"]
    assert dav.members("/c/") == ["/c/f"]
    assert dav.get("/a").body == b"kept"
    assert dav.prop("/a", TOPIC) is None
    assert dav.locks("/a") == []


@pytest.mark.rfc("G-15")
def test_what_changes_no_content_changes_no_validator(dav: AppDav) -> None:
    def validators() -> tuple[str, str]:
        headers = dav.head("/a").headers
        return headers["etag"], headers["last-modified"]

    # Ahead of the disk's clock, so that none of its seconds is cut off.
    dav.clock.pass_s(60)
    dav.put("/a", b"kept")

    before = validators()
    dav.clock.pass_s(10)

    assert dav.proppatch("/a", set={TOPIC: "new", f"{D}displayname": "A"}).status == 207
    lock = dav.lock("/a")
    assert dav.refresh("/a", lock.token).status == 200
    assert dav.unlock("/a", lock.token).status == 204
    assert dav.copy("/a", "/copy").status == 201
    dav.propfind("/a", b"")
    assert dav.proppatch("/a", set={f"{D}getetag": '"mine"'}).multistatus["/a"].keys() == {403}

    assert before == validators()


@pytest.mark.rfc("G-16", "HV-02")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_last_modified_rises_when_an_older_file_takes_the_place(
    make_dav: MakeDav, method: str
) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    dav.put("/older", b"older")
    dav.put("/newer", b"newer")
    now = int(dav.clock.now)
    os.utime(dav.root / "older", (now - 5000, now - 5000))
    os.utime(dav.root / "newer", (now - 1000, now - 1000))
    before = dav.head("/newer").headers["last-modified"]

    assert dav.request(method, "/older", {"Destination": "/newer"}).status == 204

    reply = dav.get("/newer", {"If-Modified-Since": before})
    assert (reply.status, reply.body) == (200, b"older")


@pytest.mark.rfc("G-17")
def test_an_entity_tag_never_comes_back_for_other_content(dav: AppDav) -> None:
    seen = [dav.put("/u", b"%04d" % number).headers["etag"] for number in range(40)]
    for number in range(10):
        dav.delete("/u")
        seen.append(dav.put("/u", b"%04d" % (100 + number)).headers["etag"])
    for number in range(10):
        dav.put("/x", b"%04d" % (200 + number))
        dav.move("/x", "/u")
        seen.append(dav.head("/u").headers["etag"])
    for number in range(10):
        dav.put("/x", b"%04d" % (300 + number))
        dav.copy("/x", "/u")
        seen.append(dav.head("/u").headers["etag"])

    assert len(set(seen)) == len(seen)


@pytest.mark.rfc("HV-02")
def test_a_future_time_on_disk_is_told_as_now(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    dav.put("/a", b"x")
    os.utime(dav.root / "a", (dav.clock.now + 10**6,) * 2)

    for _ in range(2):
        shown = dav.head("/a").headers["last-modified"]
        assert parsedate_to_datetime(shown).timestamp() == int(dav.clock.now)
        assert dav.prop("/a", f"{D}getlastmodified").text == shown
        dav.clock.pass_s(60)


# -- error bodies and statuses ----------------------------------------------------------------


@pytest.mark.rfc("G-18", "PC-02", "PC-03", "PC-06", "PC-01")
def test_violated_conditions_are_named(make_dav: MakeDav) -> None:
    dav = make_dav("memory", propfind_infinity="refuse")
    dav.put("/a", b"kept")
    lock = dav.lock("/a")
    unlock = {"Lock-Token": "<urn:uuid:unknown>"}
    found = {
        "lock-token-submitted": dav.put("/a", b"lost"),
        "no-conflicting-lock": dav.lock_request("/a"),
        "propfind-finite-depth": dav.request("PROPFIND", "/", {"Depth": "infinity"}),
        "lock-token-matches-request-uri": dav.request("UNLOCK", "/a", unlock),
    }

    for condition, reply in found.items():
        assert reply.conditions == [f"{D}{condition}"]
        assert reply.headers["content-type"] == 'application/xml; charset="utf-8"'
        assert not (reply.xml.text or "").strip()
        assert lock.token.encode() not in reply.body


@pytest.mark.rfc("G-19")
@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/missing", {}),
        ("PUT", "/no/such", {}),
        ("MKCOL", "/c/", {}),
        ("DELETE", "/missing", {}),
        ("COPY", "/a", {"Destination": "/c/"}),
        ("MOVE", "/a", {"Destination": "/c/", "Overwrite": "T"}),
        ("PROPPATCH", "/missing", {"Content-Type": XML}),
        ("UNLOCK", "/a", {"Lock-Token": "<urn:uuid:x>"}),
        ("LOCK", "/a", {}),
    ],
)
def test_412_is_for_conditions_that_the_client_sent(
    tree: AppDav, method: str, target: str, headers: dict[str, str]
) -> None:
    body = LOCKINFO.format(scope="exclusive", owner="").encode() if method == "LOCK" else b""
    plain = tree.request(method, target, headers, body).status

    assert plain != 412


@pytest.mark.rfc("G-20")
def test_414_is_for_the_request_uri_alone(tree: AppDav) -> None:
    long = "/" + "x/" * 4200

    assert tree.get(long).status == 414
    assert tree.copy("/a", long).status == 400
    assert tree.move("/a", f"http://127.0.0.1:8080{long}").status == 400
    # One name that no file system holds: macOS says so for 414 alone.
    assert tree.put("/" + "n" * 256, b"x").status == 414
    assert tree.move("/a", "/" + "n" * 256).status == 400
    assert tree.copy("/a", "/" + "n" * 256).status == 400
    assert_untouched(tree)


@pytest.mark.rfc("HM-01")
@pytest.mark.parametrize("headers", [{}, {"Range": "bytes=0-1"}, {"If-Match": "*"}])
@pytest.mark.parametrize("target", ["/a", "/a.html", "/c/", "/empty"])
def test_head_has_the_fields_of_get_and_no_content(
    tree: AppDav, target: str, headers: dict[str, str]
) -> None:
    tree.put("/a.html", b"<p>")
    tree.put("/empty", b"")
    plain = {"If-Match": "*"} if "If-Match" in headers else {}

    head, get = tree.head(target, headers), tree.get(target, plain)

    assert (head.status, head.body) == (get.status, b"")
    assert sorted(head.headers) == sorted(get.headers)
    if not target.endswith("/"):
        assert int(head.headers["content-length"]) == len(get.body)
        assert head.headers["accept-ranges"] == "bytes"
        assert "etag" in head.headers


@pytest.mark.rfc("HM-02", "HM-03")
@pytest.mark.parametrize("target", ["/a", "/c/", "/missing"])
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("SEARCH", 501),
        ("REPORT", 501),
        ("ORDERPATCH", 501),
        ("VERSION-CONTROL", 501),
        ("BREW", 501),
        ("get", 501),
        ("TRACE", 405),
        ("POST", 405),
    ],
)
def test_unknown_methods_are_501_and_known_ones_405(
    tree: AppDav, method: str, target: str, expected: int
) -> None:
    headers = {"Authorization": "Basic c2VjcmV0", "Max-Forwards": "0", "Content-Type": XML}

    reply = tree.request(method, target, headers, b"<x/>")

    if expected == 405 and target == "/missing":
        assert reply.status == 404
    else:
        assert reply.status == expected
        allow = reply.headers.tokens("allow")
        assert {"OPTIONS", "PROPFIND"} <= set(allow)
        assert method not in allow or expected == 501
    assert b"c2VjcmV0" not in reply.body
    assert_untouched(tree)


@pytest.mark.parametrize("target", ["/a", "/c/", "/missing", "/", "/.davserver/health"])
def test_no_answer_names_another_server_or_leaves_ascii(tree: AppDav, target: str) -> None:
    tree.put("/%C3%BC", b"")
    for method in ("OPTIONS", "GET", "HEAD", "PROPFIND", "PUT", "LOCK"):
        reply = tree.request(method, target, {"Depth": "0"})
        assert not {"server", "x-msdavext", "set-cookie"} & {name for name, _ in reply.headers}
        assert all(value.isascii() for _, value in reply.headers)
    moved = tree.move("/%C3%BC", "/%E2%82%AC")
    assert moved.headers["location"] == "/%E2%82%AC"


@pytest.mark.rfc("G-11", "G-12", "G-13", "G-01")
def test_hrefs_have_one_form_and_no_dots(tree: AppDav) -> None:
    tree.mkcol("/c/a%20b%26c/")
    tree.put("/c/a%20b%26c/x%3By%23z", b"")

    reply = tree.request("PROPFIND", "/c", {"Depth": "infinity"})

    assert sorted(reply.multistatus.hrefs) == [
        "/c/",
        "/c/a%20b%26c/",
        "/c/a%20b%26c/x%3By%23z",
        "/c/f",
    ]
