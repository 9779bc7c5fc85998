"""Clocks that jump, times on disk that make no sense, versions within one tick of the clock."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.http import Connection

MakeDav = Callable[..., AppDav]
DAY_S = 86_400
MODIFIED = "{DAV:}getlastmodified"
CREATED = "{DAV:}creationdate"
IMF = re.compile(r"(Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT\Z")
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z\Z")


def remaining_s(dav: AppDav, target: str) -> int | None:
    """Seconds that the one lock has left; None when there is none."""
    locks = dav.locks(target)
    if not locks:
        return None
    (lock,) = locks
    found = re.fullmatch(r"Second-(\d+)", lock.findtext("{DAV:}timeout"))
    assert found is not None
    return int(found[1])


@pytest.mark.security("L-01")
def test_a_clock_set_back_prolongs_a_lock_by_no_more_than_that(dav: AppDav) -> None:
    dav.put("/f", b"x")
    dav.lock("/f", timeout="Second-600")
    dav.clock.pass_s(-DAY_S)
    shown = remaining_s(dav, "/f")

    assert shown is not None
    # What is shown is what a client would plan its refresh by.
    assert shown <= 600
    dav.clock.pass_s(DAY_S + 599)
    assert dav.put("/f", b"y").status == 423
    dav.clock.pass_s(2)
    assert dav.put("/f", b"y").status == 204


@pytest.mark.security("L-01")
def test_a_clock_set_forward_lets_locks_expire_and_nothing_else(dav: AppDav) -> None:
    dav.put("/f", b"x")
    granted = dav.lock("/f", timeout="Second-600")
    dav.clock.pass_s(DAY_S)

    assert remaining_s(dav, "/f") is None
    assert dav.put("/f", b"y").status == 204
    assert dav.refresh("/f", granted.token).status == 412
    assert dav.lock("/f", timeout="Second-600").token != granted.token


@pytest.mark.security("L-01")
def test_a_jump_while_the_server_is_down_is_as_one_while_it_runs(make_dav: MakeDav) -> None:
    dav = make_dav()
    dav.put("/f", b"x")
    granted = dav.lock("/f", timeout="Second-600")
    now = dav.clock.now
    dav.close()
    again = make_dav()
    again.clock.now = now - DAY_S
    assert again.put("/f", b"y").status == 423
    assert (remaining_s(again, "/f") or 0) <= 600
    assert again.refresh("/f", granted.token, timeout="Second-600").status == 200

    again.clock.pass_s(601)
    assert again.put("/f", b"y").status == 204


@pytest.mark.security("L-01")
def test_a_clock_before_1970_answers(dav: AppDav) -> None:
    dav.clock.now = -1e6

    assert dav.put("/f", b"x").status == 201
    assert dav.lock("/f").token
    assert dav.get("/f", {"If-Modified-Since": "Thu, 01 Jan 1970 00:00:00 GMT"}).status in (
        200,
        304,
    )


YEAR_S = 31_556_952
TIMES = {
    "1901": -(2**31),
    "1969": -1,
    "1970": 0,
    "2038": 2**31,
    "2106": 2**32,
    "9999": 253_402_300_799,
    "10000": 253_402_300_800,
    "year 100,000": 98_000 * YEAR_S,
    "before year 1": -2000 * YEAR_S,
    "largest": 2**63 // 10**9 - 1,
    "smallest": -(2**63 // 10**9) + 1,
}


def set_time(path: Path, seconds: int) -> int:
    """Sets a time as far as the file system can, and returns what it made of it."""
    try:
        os.utime(path, ns=(seconds * 10**9, seconds * 10**9))
    except (OSError, OverflowError):
        pytest.skip("cannot be set here")
    return path.stat().st_mtime_ns // 10**9


@pytest.mark.security("L-03")
@pytest.mark.parametrize("kind", ["file", "collection"])
@pytest.mark.parametrize("fallbacks", [(), ("statx",)], ids=["statx", "stat"])
@pytest.mark.parametrize("seconds", TIMES.values(), ids=TIMES.keys())
def test_any_time_on_disk_is_a_valid_date(
    make_dav: MakeDav, kind: str, fallbacks: tuple[str, ...], seconds: int
) -> None:
    dav = make_dav(fallbacks=fallbacks)
    assert dav.root is not None
    dav.put("/x", b"x") if kind == "file" else dav.mkcol("/x/")
    stored = set_time(dav.root / "x", seconds)
    target = "/x" if kind == "file" else "/x/"
    (groups,) = dav.propfind(target, props=[MODIFIED, CREATED]).values()
    got = dav.get(target)

    shown = groups[200][MODIFIED].text
    assert IMF.match(shown)
    if CREATED in groups[200]:
        assert ISO.match(groups[200][CREATED].text)
    if kind == "file":
        assert got.headers["last-modified"] == shown
    moment = parsedate_to_datetime(shown).timestamp()
    # RFC 9110 section 8.8.2.1: "MUST NOT generate a Last-Modified date that is later than the
    # server's time of message origination".
    assert moment <= dav.clock.now + 1
    if 0 <= stored <= dav.clock.now:
        assert int(moment) == stored


@pytest.mark.security("L-03")
@pytest.mark.parametrize("seconds", TIMES.values(), ids=TIMES.keys())
def test_no_time_on_disk_makes_a_method_fail(make_dav: MakeDav, seconds: int) -> None:
    dav = make_dav()
    assert dav.root is not None
    dav.mkcol("/c/")
    dav.put("/c/f", b"x")
    set_time(dav.root / "c" / "f", seconds)
    set_time(dav.root / "c", seconds)
    since = {"If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}
    unmodified = {"If-Unmodified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}
    ranged = {"Range": "bytes=0-", "If-Range": "Sun, 06 Nov 1994 08:49:37 GMT"}

    assert dav.get("/c/f", since).status in (200, 304)
    assert dav.get("/c/f", unmodified).status in (200, 412)
    assert dav.get("/c/f", ranged).status in (200, 206)
    assert dav.request("PROPFIND", "/", {"Depth": "infinity"}).status == 207
    assert dav.copy("/c/", "/d/").status == 201
    assert dav.move("/d/", "/e/").status == 201
    assert dav.put("/c/f", b"y").status == 204
    assert dav.delete("/c/").status == 204


TAGS = 400


@pytest.mark.security("L-04", "M-10")
def test_quick_versions_of_equal_size_have_tags_of_their_own(dav: AppDav) -> None:
    tags = [dav.put("/f", b"%03d" % number).headers["etag"] for number in range(TAGS)]

    assert len(set(tags)) == TAGS
    assert all(tag.startswith('"') for tag in tags)


@pytest.mark.security("L-04", "M-10")
@pytest.mark.parametrize("server", [{"arguments": ["--durability", "none"]}], indirect=True)
def test_quick_versions_have_tags_of_their_own_over_http(http: Connection) -> None:
    tags = {http.put("/f", b"%03d" % number).headers["etag"] for number in range(TAGS)}

    assert len(tags) == TAGS


@pytest.mark.security("L-04", "M-10")
def test_no_tag_comes_back_after_delete_and_recreate(dav: AppDav) -> None:
    """Inode numbers do come back."""
    tags = []
    for _ in range(100):
        tags.append(dav.put("/f", b"same").headers["etag"])
        dav.delete("/f")

    assert len(set(tags)) == len(tags)


@pytest.mark.security("L-04", "M-10")
@pytest.mark.parametrize("stamp", ["1577836800", "1"])
def test_no_tag_comes_back_when_clients_set_the_time(dav: AppDav, stamp: str) -> None:
    tags = [
        dav.put("/f", b"%02d" % number, {"X-OC-Mtime": stamp}).headers["etag"]
        for number in range(60)
    ]

    assert len(set(tags)) == len(tags)
    assert dav.get("/f").headers["last-modified"] == dav.prop("/f", MODIFIED).text


@pytest.mark.security("L-04", "M-10")
def test_two_files_swapped_by_moves_keep_tags_that_tell_them_apart(dav: AppDav) -> None:
    """A client that knows /a by a tag is never told that another content has it."""
    dav.put("/a", b"one")
    dav.put("/b", b"two")
    contents: dict[str, bytes] = {}
    for _ in range(20):
        dav.move("/a", "/t")
        dav.move("/b", "/a")
        dav.move("/t", "/b")
        reply = dav.get("/a")
        tag = reply.headers["etag"]
        assert contents.setdefault(tag, reply.body) == reply.body
        assert dav.head("/a").headers["etag"] == tag

    assert sorted(contents.values()) == [b"one", b"two"]


@pytest.mark.security("L-04")
def test_copies_over_each_other_have_tags_of_their_own(dav: AppDav) -> None:
    dav.put("/a", b"one")
    dav.put("/b", b"two")
    seen: dict[str, bytes] = {}
    for number in range(40):
        dav.copy("/ab"[:1] + "ab"[number % 2], "/f")
        reply = dav.get("/f")
        assert reply.headers["etag"] not in seen
        seen[reply.headers["etag"]] = reply.body

    assert len(seen) == 40


@pytest.mark.security("L-02")
@pytest.mark.parametrize("holder", ["mine", "nobody's", "another's"])
def test_a_lock_that_runs_out_during_an_upload(make_dav: MakeDav, holder: str) -> None:
    """It still counts for who held it, unless somebody else was granted one meanwhile."""
    dav = make_dav()
    dav.put("/f", b"old")
    granted = dav.lock("/f", timeout="Second-60")

    async def before(number: int) -> None:
        if number != 1:
            return
        dav.clock.pass_s(120)
        if holder == "another's":
            body = (
                b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
                b"<locktype><write/></locktype></lockinfo>"
            )
            other = await dav.request_async("LOCK", "/f", None, body)
            assert other.status == 200

    headers: Any = {"If": f"(<{granted.token}>)"} if holder != "nobody's" else {}
    exchange = dav.run(dav.send("PUT", "/f", headers, [b"n", b"ew"], before=before))

    expected = {"mine": (204, b"new"), "nobody's": (423, b"old"), "another's": (412, b"old")}
    assert (exchange.reply.status, dav.get("/f").body) == expected[holder]


@pytest.mark.security("L-01")
def test_the_clock_of_the_tests_is_the_one_that_counts(dav: AppDav) -> None:
    """Or the tests above would show nothing."""
    dav.put("/f", b"x")
    dav.lock("/f", timeout="Second-60")
    begun = time.time()
    dav.clock.pass_s(61)

    assert time.time() - begun < 50
    assert dav.locks("/f") == []
