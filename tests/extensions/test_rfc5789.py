"""PATCH of files (RFC 5789) with SabreDAV's `X-Update-Range`."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import NoSpace
from davserver.storage.faulty import FaultyStorage
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav
from tests.support.asgi import drive
from tests.support.dav import XML
from tests.support.reply import Reply

MakeDav = Callable[..., AppDav]
TYPE = "application/x-sabredav-partialupdate"
MIB = 1 << 20
LARGE = bytes(range(251)) * 12_532  # 3 MiB and a bit, of no period that buffers have
LOCKINFO = (
    b'<D:lockinfo xmlns:D="DAV:"><D:lockscope><D:exclusive/></D:lockscope>'
    b"<D:locktype><D:write/></D:locktype></D:lockinfo>"
)
TOPIC = "{http://example.org/ns}topic"


def patch(dav: AppDav, target: str, range_: str, body: bytes = b"----", **more: str) -> Reply:
    return dav.request("PATCH", target, fields(range_, **more), body)


def fields(range_: str, **more: str) -> dict[str, str]:
    headers = {"Content-Type": TYPE, "X-Update-Range": range_}
    return headers | {name.replace("_", "-"): value for name, value in more.items()}


# From the table of the documentation.
RANGES = {
    "bytes=0-3": b"----567890",
    "bytes=1-4": b"1----67890",
    "bytes=0-": b"----567890",
    "bytes=-4": b"123456----",
    "bytes=-2": b"12345678----",
    "bytes=2-": b"12----7890",
    "bytes=12-": b"1234567890\0\0----",
    "append": b"1234567890----",
    "Bytes = 0-3": b"----567890",
    "bytes=8-11": b"12345678----",
    "bytes=-99": b"----567890",
}


@pytest.mark.rfc("PA-05", "PA-06")
@pytest.mark.parametrize(("range_", "expected"), RANGES.items(), ids=RANGES)
def test_a_range_is_written(dav: AppDav, range_: str, expected: bytes) -> None:
    before = dav.put("/a", b"1234567890").headers["etag"]
    reply = patch(dav, "/a", range_)

    assert (reply.status, reply.body) == (204, b"")
    assert dav.get("/a").body == expected
    assert reply.headers["etag"] == dav.head("/a").headers["etag"] != before


@pytest.mark.rfc("PA-05")
def test_nothing_is_written_by_an_empty_body(dav: AppDav) -> None:
    dav.put("/a", b"1234567890")

    assert patch(dav, "/a", "append", b"", Content_Length="0").status == 204
    assert dav.get("/a").body == b"1234567890"


@pytest.mark.rfc("PA-02", "PA-05")
def test_options_tells_of_it(dav: AppDav) -> None:
    dav.put("/a")
    dav.mkcol("/c/")
    reply = dav.options("/a")

    assert "sabredav-partialupdate" in reply.headers["dav"]
    assert "PATCH" in reply.headers["allow"].split(", ")
    assert TYPE in reply.headers["accept-patch"].split(", ")
    assert "PATCH" not in dav.options("/c/").headers["allow"].split(", ")
    assert TYPE not in dav.options("/new").headers["accept-patch"]


BAD = {
    "no type": ({"X-Update-Range": "append"}, 415),
    "another type": ({"Content-Type": "text/plain", "X-Update-Range": "append"}, 415),
    "a coding": (fields("append", Content_Encoding="gzip"), 415),
    "no range": ({"Content-Type": TYPE}, 400),
    "no number": (fields("bytes=a-b"), 400),
    "two ranges": (fields("bytes=0-1,3-4"), 400),
    "another unit": (fields("lines=0-3"), 400),
    "nothing": (fields("bytes=-"), 400),
    "the end before the beginning": (fields("bytes=3-0"), 416),
    "shorter than the body": (fields("bytes=0-2"), 416),
    "longer than the body": (fields("bytes=0-4"), 416),
    "the last none": (fields("bytes=-0"), 416),
    "far behind the end": (fields(f"bytes={1 << 59}-"), 416),
}


@pytest.mark.rfc("PA-03", "PA-06", "PA-08")
@pytest.mark.parametrize(("headers", "status"), BAD.values(), ids=BAD)
def test_what_is_no_patch_is_refused(dav: AppDav, headers: dict[str, str], status: int) -> None:
    etag = dav.put("/a", b"1234567890").headers["etag"]
    reply = dav.request("PATCH", "/a", headers, b"----")

    assert reply.status == status
    assert dav.head("/a").headers["etag"] == etag


@pytest.mark.rfc("PA-02")
def test_another_type_is_told_which_one_it_should_be(dav: AppDav) -> None:
    dav.put("/a")

    assert dav.request("PATCH", "/a", None, b"x").headers["accept-patch"] == TYPE


@pytest.mark.rfc("PA-06")
def test_a_body_of_unknown_length_is_411(dav: AppDav) -> None:
    dav.put("/a", b"1234567890")

    assert dav.request("PATCH", "/a", fields("append"), [b"--", b"--"]).status == 411
    assert dav.get("/a").body == b"1234567890"


@pytest.mark.rfc("PA-03")
def test_only_files_are_patched(dav: AppDav) -> None:
    dav.mkcol("/c/")

    assert patch(dav, "/missing", "append").status == 404
    reply = patch(dav, "/c/", "append")
    assert reply.status == 405
    assert "PATCH" not in reply.headers["allow"].split(", ")


@pytest.mark.rfc("PA-03")
def test_conditions_hold(dav: AppDav) -> None:
    etag = dav.put("/a", b"1234567890").headers["etag"]

    assert patch(dav, "/a", "append", If_Match='"other"').status == 412
    assert patch(dav, "/a", "append", If_None_Match="*").status == 412
    assert patch(dav, "/a", "append", If='(["other"])').status == 412
    assert dav.get("/a").body == b"1234567890"
    assert patch(dav, "/a", "append", If_Match=etag).status == 204


@pytest.mark.rfc("PA-04")
def test_what_belongs_to_the_file_stays(dav: AppDav) -> None:
    dav.put("/a.txt", b"1234567890")
    dav.proppatch("/a.txt", set={TOPIC: "kept"})
    kind, created = (
        dav.head("/a.txt").headers["content-type"],
        dav.prop("/a.txt", "{DAV:}creationdate").text,
    )
    patch(dav, "/a.txt", "append", Content_Language="de")

    assert dav.head("/a.txt").headers["content-type"] == kind
    assert "content-language" not in dav.head("/a.txt").headers
    assert dav.prop("/a.txt", TOPIC).text == "kept"
    assert dav.prop("/a.txt", "{DAV:}creationdate").text == created


@pytest.mark.rfc("PA-07")
def test_a_lock_needs_its_token(dav: AppDav) -> None:
    dav.put("/a", b"1234567890")
    lock = dav.lock("/a")

    assert patch(dav, "/a", "append").status == 423
    assert dav.get("/a").body == b"1234567890"
    assert patch(dav, "/a", "append", If=lock.untagged).status == 204


@pytest.mark.rfc("PA-08")
def test_limits_are_those_of_a_put(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", put_limit=12)
    dav.put("/a", b"1234567890")

    assert patch(dav, "/a", "append").status == 413
    assert patch(dav, "/a", "bytes=8-").status == 204
    assert patch(dav, "/a", "append").status == 413
    assert dav.get("/a").body == b"12345678----"


@pytest.mark.rfc("PA-01")
@pytest.mark.parametrize("durability", ["none", "full"])
@pytest.mark.parametrize("at", [0, 1, 4096, MIB + 7, len(LARGE)])
@pytest.mark.parametrize("fallbacks", [(), ("copy_file_range",)], ids=["kernel", "by hand"])
def test_long_bodies_go_where_they_should(
    make_dav: MakeDav, durability: str, at: int, fallbacks: tuple[str, ...]
) -> None:
    dav = make_dav("filesystem", durability=durability, fallbacks=fallbacks)
    dav.put("/a", LARGE)
    body = bytes(reversed(LARGE))[: 2 * MIB + 1]
    reply = patch(dav, "/a", f"bytes={at}-", body)

    assert reply.status == 204
    assert dav.get("/a").body == LARGE[:at] + body + LARGE[at + len(body) :]
    assert os.listdir(dav.root or "") == ["a"]


@pytest.mark.rfc("PA-01")
@pytest.mark.parametrize("size", [4, 2 * MIB])
def test_a_client_that_leaves_changes_nothing(make_dav: MakeDav, size: int) -> None:
    dav = make_dav("filesystem")
    etag = dav.put("/a", b"1234567890").headers["etag"]
    scope = dav.scope("PATCH", "/a", fields("append") | {"Content-Length": str(size)})
    exchange = dav.run(drive(dav.app, scope, [bytes(size // 2)], leaves=True))

    assert exchange.messages == []
    assert dav.head("/a").headers["etag"] == etag
    assert os.listdir(dav.root or "") == ["a"]


@pytest.mark.rfc("PA-01")
def test_of_many_that_append_at_once_each_is_done(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", durability="none")
    dav.put("/log")
    lines = [b"%03d\n" % number for number in range(12)]

    async def all_at_once() -> list[Any]:
        sent = [dav.send("PATCH", "/log", fields("append"), line) for line in lines]
        return await asyncio.gather(*sent)

    statuses = {exchange.reply.status for exchange in dav.run(all_at_once())}

    assert statuses == {204}
    assert sorted(dav.get("/log").body.splitlines(keepends=True)) == lines


@pytest.mark.rfc("PA-01", "PA-03")
def test_a_long_body_that_meets_another_writer_is_409(dav: AppDav) -> None:
    dav.put("/a", b"1234567890")

    async def change(number: int) -> None:
        if number == 1:
            await dav.send("PUT", "/a", None, b"another")

    body = bytes(2 * MIB)
    scope = dav.scope("PATCH", "/a", fields("append") | {"Content-Length": str(len(body))})
    exchange = dav.run(drive(dav.app, scope, [body[:MIB], body[MIB:]], before=change))

    assert exchange.reply.status == 409
    assert dav.get("/a").body == b"another"


@pytest.mark.rfc("PA-01", "PA-07")
def test_a_lock_that_came_while_the_body_did_keeps_the_file(dav: AppDav) -> None:
    dav.put("/a", b"1234567890")

    async def lock(number: int) -> None:
        if number == 1:
            await dav.send("LOCK", "/a", {"Content-Type": XML}, LOCKINFO)

    scope = dav.scope("PATCH", "/a", fields("append") | {"Content-Length": "4"})
    exchange = dav.run(drive(dav.app, scope, [b"--", b"--"], before=lock))

    assert exchange.reply.status == 423
    assert dav.get("/a").body == b"1234567890"


def test_a_digest_of_the_body_is_checked(dav: AppDav) -> None:
    dav.put("/a", b"1234567890")
    good = f"sha-256=:{base64.b64encode(hashlib.sha256(b'----').digest()).decode()}:"

    assert patch(dav, "/a", "append", b"++++", Content_Digest=good).status == 400
    assert dav.get("/a").body == b"1234567890"
    assert patch(dav, "/a", "append", Content_Digest=good).status == 204


def test_what_was_made_comes_back_when_it_is_preferred(dav: AppDav) -> None:
    dav.put("/a", b"1234567890")
    reply = patch(dav, "/a", "append", Prefer="return=representation")

    assert (reply.status, reply.body) == (200, b"1234567890----")


@pytest.mark.rfc("PA-01")
def test_whatever_fails_one_version_is_there_whole(make_dav: MakeDav) -> None:
    inner = MemoryStorage()
    number, done = 0, False
    while not done:
        number += 1
        storage = FaultyStorage(inner, fail_at=0, error=NoSpace("full"))
        dav = make_dav("memory", overrides={"storage": storage})
        dav.put("/a", b"1234567890")
        storage.fuse._fail_at = storage.fuse.calls + number
        status = patch(dav, "/a", "bytes=2-5").status
        done, storage.fuse._fail_at = storage.fuse.blown == 0, 0

        assert status == (204 if done else 507)
        kept = () if done else (b"1234567890",)
        # What fails after the publication, waiting for the disk, takes nothing back.
        assert dav.get("/a").body in (b"12----7890", *kept)
    assert number > 5


@pytest.mark.rfc("PA-01")
def test_the_file_is_never_written_in_place(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    dav.put("/a", LARGE)
    with Path(dav.root, "a").open("rb") as reader:
        patch(dav, "/a", "bytes=0-3")

        assert reader.read() == LARGE


def test_what_a_link_leads_to_is_patched_and_the_link_stays(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    dav.mkcol("/c")
    dav.put("/c/a", b"1234567890")
    root = Path(dav.root or "")
    (root / "link").symlink_to("c/a")

    assert patch(dav, "/link", "append").status == 204
    assert (root / "link").is_symlink()
    assert (root / "c" / "a").read_bytes() == b"1234567890----"
