"""A PUT while it runs: bodies that break off, what others see and do meanwhile."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.asgi import drive

D = "{DAV:}"
TOPIC = "{http://example.org/ns}topic"
MakeDav = Callable[..., AppDav]
MIB = 1 << 20
LARGE = bytes(range(251)) * 12_532  # 3 MiB and a bit, of no period that buffers have


def pieces(data: bytes, sizes: tuple[int, ...] = (1, 65_536, 0, 7, 262_143)) -> list[bytes]:
    """Cuts `data` into pieces of these sizes in turn."""
    found = []
    at = 0
    while at < len(data):
        size = sizes[len(found) % len(sizes)]
        found.append(data[at : at + size])
        at += size
    return found


def stored(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    found = {}
    for parent, _, files in os.walk(folder):
        for name in files:
            path = Path(parent, name)
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def at_message(number: int, act: Callable[[], Awaitable[Any]]) -> Callable[[int], Awaitable[None]]:
    """Has `act` run before the body's message of that number is handed over."""

    async def before(current: int) -> None:
        if current == number:
            await act()

    return before


@pytest.fixture(params=["tmpfile", "hidden names"])
def disk(request: pytest.FixtureRequest, make_dav: MakeDav) -> AppDav:
    """Over a folder, with unnamed new versions and with ones under hidden names."""
    fallbacks = () if request.param == "tmpfile" else ("tmpfile",)
    return make_dav("filesystem", fallbacks=fallbacks, durability="none")


@pytest.mark.rfc("PU-01", "PU-12", "HF-05")
@pytest.mark.parametrize("durability", ["none", "file", "full"])
@pytest.mark.parametrize("length", ["Content-Length", "X-Expected-Entity-Length", None])
def test_large_bodies_in_odd_pieces_arrive_whole(
    make_dav: MakeDav, durability: str, length: str | None
) -> None:
    dav = make_dav("filesystem", durability=durability)
    assert dav.root
    dav.put("/a", b"old")
    headers = [("Transfer-Encoding", "chunked")] if length != "Content-Length" else []
    headers += [(length, str(len(LARGE)))] if length else []

    for expected, target in ((201, "/new"), (204, "/a")):
        scope = dav.scope("PUT", target, headers)
        exchange = dav.run(drive(dav.app, scope, pieces(LARGE)))

        assert exchange.reply.status == expected
        assert dav.get(target).body == LARGE
    assert stored(dav.root) == {"a": LARGE, "new": LARGE}


@pytest.mark.rfc("PU-12")
@pytest.mark.parametrize(
    "size", [MIB - 1, MIB, MIB + 1, 2 * MIB, 3 * MIB], ids=lambda size: f"{size - MIB:+}"
)
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_sizes_around_the_buffers_arrive_whole(dav: AppDav, size: int, chunked: bool) -> None:
    data = (LARGE + LARGE)[:size]

    assert dav.put("/a", pieces(data) if chunked else data).status == 201
    assert dav.get("/a").body == data


BREAKS = {
    "nothing came": [],
    "a small part": [b"part"],
    "more than a buffer": pieces(LARGE[: 2 * MIB]),
    "all but the end": pieces(LARGE),
}


@pytest.mark.rfc("PU-09")
@pytest.mark.parametrize("length", ["Content-Length", None], ids=["length", "chunked"])
@pytest.mark.parametrize("sent", BREAKS.values(), ids=BREAKS)
def test_a_client_that_leaves_changes_nothing(
    disk: AppDav, sent: list[bytes], length: str | None
) -> None:
    assert disk.root
    disk.put("/old", b"kept")
    headers = [(length, str(len(LARGE) + 1))] if length else [("Transfer-Encoding", "chunked")]

    for target in ("/old", "/new"):
        scope = disk.scope("PUT", target, headers)
        exchange = disk.run(drive(disk.app, scope, sent, leaves=True))
        assert exchange.messages == []
    assert stored(disk.root) == {"old": b"kept"}
    assert disk.members("/") == ["/old"]
    assert disk.app.services.state.has_changes() is False


@pytest.mark.rfc("PU-09")
@pytest.mark.parametrize("target", ["/old", "/new"])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({"Content-Length": "5"}, b"four", id="shorter than Content-Length"),
        pytest.param({"Content-Length": "3"}, b"four", id="longer than Content-Length"),
        pytest.param({"Content-Length": "4000000"}, LARGE, id="large and shorter"),
        pytest.param({"Content-Length": "3000000"}, LARGE, id="large and longer"),
        pytest.param({"X-Expected-Entity-Length": "5"}, [b"fo", b"ur"], id="shorter than Finder's"),
        pytest.param({"X-Expected-Entity-Length": "3"}, [b"fo", b"ur"], id="longer than Finder's"),
        pytest.param({"Content-Length": "5"}, b"", id="nothing"),
    ],
)
def test_a_body_of_another_length_than_announced_is_400_and_changes_nothing(
    disk: AppDav, target: str, headers: dict[str, str], body: bytes | list[bytes]
) -> None:
    assert disk.root
    disk.put("/old", b"kept")

    assert disk.put(target, body, headers).status == 400
    assert stored(disk.root) == {"old": b"kept"}


@pytest.mark.rfc("PU-12", "MV-02")
def test_readers_see_the_old_version_whole_and_then_the_new_one(disk: AppDav) -> None:
    disk.put("/a", b"old" * 100_000)
    seen: list[bytes] = []
    names: list[list[str]] = []

    async def look(number: int) -> None:
        if number % 10 == 0:
            reply = await disk.request_async("GET", "/a")
            seen.append(reply.body)
            listing = await disk.request_async("PROPFIND", "/", {"Depth": "1"})
            names.append(sorted(listing.multistatus.hrefs))

    exchange = disk.run(disk.send("PUT", "/a", None, pieces(LARGE), before=look))

    assert exchange.reply.status == 204
    assert len(seen) > 3
    assert set(seen) == {b"old" * 100_000}
    assert all(listed == ["/", "/a"] for listed in names)
    assert disk.get("/a").body == LARGE


def test_a_reader_that_began_before_keeps_the_version_it_began_with(disk: AppDav) -> None:
    old = LARGE[::-1]
    disk.put("/a", old)
    scope = disk.scope("GET", "/a")
    parts: list[bytes] = []

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            if len(parts) == 2:
                assert (await disk.request_async("PUT", "/a", None, LARGE)).status == 204
            parts.append(bytes(message.get("body", b"")))

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    disk.run(disk.app(scope, receive, send))

    assert b"".join(parts) == old
    assert disk.get("/a").body == LARGE


@pytest.mark.rfc("PU-10", "CL-07")
@pytest.mark.parametrize("mapped", [True, False])
@pytest.mark.parametrize("where", ["/a", "/"])
def test_a_lock_taken_during_the_upload_makes_it_fail(
    dav: AppDav, mapped: bool, where: str
) -> None:
    if mapped:
        dav.put("/a", b"old")

    async def lock() -> None:
        body = (
            b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
            b"<locktype><write/></locktype></lockinfo>"
        )
        assert (await dav.request_async("LOCK", where, None, body)).status in (200, 201)

    exchange = dav.run(dav.send("PUT", "/a", None, pieces(LARGE), before=at_message(9, lock)))

    assert exchange.reply.status == 423
    assert exchange.reply.condition_hrefs == [where]
    empty_by_lock = b"" if where == "/a" else None
    expected = b"old" if mapped else empty_by_lock
    reply = dav.get("/a")
    assert (reply.body if reply.status == 200 else None) == expected
    if dav.root:
        assert set(stored(dav.root)) == ({"a"} if expected is not None else set())


@pytest.mark.rfc("HC-10", "PU-13")
@pytest.mark.parametrize(
    ("before", "condition", "meanwhile", "expected"),
    [
        pytest.param(b"old", "If-Match", ("PUT", b"theirs"), 412, id="changed, If-Match"),
        pytest.param(b"old", "If", ("PUT", b"theirs"), 412, id="changed, If"),
        pytest.param(b"old", "If-Match", ("DELETE", b""), 412, id="deleted, If-Match"),
        pytest.param(None, "If-None-Match", ("PUT", b"theirs"), 412, id="created, If-None-Match *"),
        pytest.param(b"old", None, ("PUT", b"theirs"), 204, id="changed, no condition"),
        pytest.param(None, None, ("PUT", b"theirs"), 204, id="created, no condition"),
        pytest.param(b"old", None, ("DELETE", b""), 201, id="deleted, no condition"),
        pytest.param(None, None, ("MKCOL", b""), 405, id="a collection came"),
    ],
)
def test_what_changes_during_the_upload_is_seen_at_its_end(
    dav: AppDav,
    before: bytes | None,
    condition: str | None,
    meanwhile: tuple[str, bytes],
    expected: int,
) -> None:
    headers: dict[str, str] = {}
    if before is not None:
        tag = dav.put("/a", before).headers["etag"]
        headers = {"If-Match": tag} if condition == "If-Match" else {"If": f"([{tag}])"}
    if condition is None:
        headers = {}
    elif condition == "If-None-Match":
        headers = {"If-None-Match": "*"}

    async def change() -> None:
        method, content = meanwhile
        assert (await dav.request_async(method, "/a", None, content)).status in (201, 204)

    exchange = dav.run(dav.send("PUT", "/a", headers, pieces(LARGE), before=at_message(9, change)))

    assert exchange.reply.status == expected
    reply = dav.get("/a")
    if expected < 300:
        assert reply.body == LARGE
    elif meanwhile[0] == "PUT":
        assert reply.body == b"theirs"
    else:
        assert reply.status == (404 if meanwhile[0] == "DELETE" else 200)


@pytest.mark.rfc("PU-02")
@pytest.mark.parametrize("instead", [None, "MKCOL", "PUT"])
@pytest.mark.parametrize("content", [b"small", LARGE], ids=["small", "large"])
def test_a_parent_moved_away_during_the_upload_is_409(
    dav: AppDav, instead: str | None, content: bytes
) -> None:
    """A small body is written at its end: then a new collection of that name takes it."""
    dav.mkcol("/c/")

    async def move() -> None:
        reply = await dav.request_async("MOVE", "/c/", {"Destination": "/moved/"})
        assert reply.status == 201
        if instead:
            assert (await dav.request_async(instead, "/c")).status == 201

    body = [content[:3], *pieces(content[3:])]
    number = len(body) - 1
    exchange = dav.run(dav.send("PUT", "/c/a", None, body, before=at_message(number, move)))

    fits = instead == "MKCOL" and content == b"small"
    assert exchange.reply.status == (201 if fits else 409)
    assert dav.members("/moved/") == []
    if instead == "MKCOL":
        assert dav.members("/c/") == (["/c/a"] if fits else [])
    if dav.root:
        assert set(stored(dav.root)) == ({"c/a"} if fits else {"c"} if instead == "PUT" else set())


@pytest.mark.rfc("HF-01", "HF-02", "HF-03")
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([("Transfer-Encoding", "chunked"), ("Content-Length", "3")], 400),
        ([("Transfer-Encoding", "gzip, chunked")], 501),
        ([("Transfer-Encoding", "gzip"), ("Transfer-Encoding", "chunked")], 501),
        ([("Content-Length", "3"), ("Content-Length", "4")], 400),
        ([("Content-Length", "3, 4")], 400),
        ([("Content-Length", "-3")], 400),
        ([("Content-Length", "three")], 400),
    ],
)
def test_inside_another_http_server_the_framing_is_checked_too(
    dav: AppDav, headers: list[tuple[str, str]], expected: int
) -> None:
    """Some hand over what is coded, or has two lengths, as if it were the content."""
    dav.put("/old", b"kept")

    for target in ("/old", "/new"):
        exchange = dav.run(drive(dav.app, dav.scope("PUT", target, headers), [b"new"]))
        assert exchange.reply.status == expected
        assert exchange.received == 0
        if headers[0][0] == "Transfer-Encoding":
            assert exchange.reply.headers["connection"] == "close"
    assert dav.members("/") == ["/old"]
    assert dav.get("/old").body == b"kept"
