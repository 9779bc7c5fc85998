"""PROPFIND of large collections: streamed, limited, stopped when nobody listens (RFC 4918 section
9.1.1)."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from davserver.errors import AccessDenied
from tests.conftest import AppDav
from tests.support.asgi import Exchange
from tests.support.server import Server
from tests.support.storages import HookedStorage
from tests.support.trees import at

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
TYPE = b'<D:propfind xmlns:D="DAV:"><D:prop><D:resourcetype/></D:prop></D:propfind>'


class Listener:
    """A client that notes each message as it comes, and may leave: from then on what is sent is
    dropped without a word, as uvicorn does.

    Attributes:
        exchange: what came.
        leaves_after: pieces of the body; None: it stays.
    """

    def __init__(self, leaves_after: int | None = None) -> None:
        self.exchange = Exchange()
        self.leaves_after = leaves_after

    @property
    def pieces(self) -> list[bytes]:
        return [message["body"] for message in self.exchange.messages[1:]]

    async def request(self, dav: AppDav, method: str, target: str, body: bytes = b"") -> None:
        has_left = asyncio.Event()

        async def receive() -> dict[str, Any]:
            self.exchange.received += 1
            if self.exchange.received == 1:
                return {"type": "http.request", "body": body, "more_body": False}
            await has_left.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            self.exchange.messages.append(message)
            if len(self.pieces) == self.leaves_after:
                has_left.set()

        headers = {"Depth": "infinity"} | ({"Content-Length": str(len(body))} if body else {})
        await dav.app(dav.scope(method, target, headers), receive, send)


def files(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        os.close(os.open(folder / f"{number:05}", os.O_CREAT | os.O_WRONLY))


def open_files(pid: int | str, below: Path) -> list[str]:
    """What a process has open below a folder."""
    found = []
    for name in os.listdir(f"/proc/{pid}/fd"):
        try:
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
        except FileNotFoundError:
            continue
    return [path for path in found if path.startswith(f"{below}/")]


@pytest.mark.rfc("PF-04", "MS-11")
def test_a_large_listing_goes_out_before_its_last_member_is_looked_at(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    dav.mkcol("/c/")
    for number in range(10_000):
        storage.create(at(f"/c/{number:05}")).commit(replace=False)
    listener = Listener()
    sent_before: list[int] = []
    storage.on("entry", "/c/09999", lambda: sent_before.append(len(listener.pieces)))

    dav.run(listener.request(dav, "PROPFIND", "/c/", TYPE))

    reply = listener.exchange.reply
    assert sent_before[0] > 10
    assert "content-length" not in reply.headers
    assert len(reply.multistatus.hrefs) == 10_001
    assert max(map(len, listener.pieces)) < 256 * 1024


@pytest.mark.rfc("MS-11")
def test_a_client_that_leaves_stops_the_walk_and_leaks_nothing(
    make_dav: MakeDav, tmp_path: Path
) -> None:
    dav = make_dav("filesystem")
    folder = tmp_path / "root" / "c"
    files(folder, 3000)
    for level in range(10):
        folder /= f"d{level}"
        files(folder, 20)
    whole, part = Listener(), Listener(leaves_after=2)
    dav.run(whole.request(dav, "PROPFIND", "/", b""))

    dav.run(part.request(dav, "PROPFIND", "/", b""))

    assert len(whole.exchange.reply.multistatus.hrefs) == 3000 + 11 + 200 + 1
    assert len(whole.pieces) > 8
    # One more may have been on its way.
    assert len(part.pieces) <= 3
    assert b"</D:multistatus>" not in b"".join(part.pieces)
    assert open_files("self", tmp_path / "root") == []
    # The next one gets all of it.
    assert dav.members("/") == ["/c/"]


def test_a_client_that_leaves_stops_the_reading_of_a_file(
    make_dav: MakeDav, tmp_path: Path
) -> None:
    """Else each request for a large file that is given up costs the disk all of it."""
    dav = make_dav("filesystem")
    with (tmp_path / "root" / "large").open("wb") as file:
        file.truncate(64 << 20)
    listener = Listener(leaves_after=2)

    dav.run(listener.request(dav, "GET", "/large"))

    assert sum(map(len, listener.pieces)) < 1 << 20
    assert open_files("self", tmp_path / "root") == []


@pytest.mark.parametrize("server", [{}], indirect=True, ids=["one worker"])
def test_the_real_server_stops_too(server: Server) -> None:
    files(server.root / "c", 10_000)
    with server.connect() as other:
        other.send_head("PROPFIND", "/c/", {"Depth": "1"})
        whole = len(other.read_reply().body)
        with server.connect() as connection:
            connection.send_head("PROPFIND", "/c/", {"Depth": "1"})
            assert connection.socket.recv(12) == b"HTTP/1.1 207"
        deadline = time.monotonic() + 10
        while len(lines := _access_lines(server)) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert other.get("/c/00001").status == 200

    sizes = [int(line.split(" 207 ")[1].split()[0]) for line in lines]
    assert sizes[0] == whole
    assert sizes[1] < whole
    # A client has its last byte a moment before the server closes the file it came from.
    deadline = time.monotonic() + 5
    while (left := open_files(server.pid, server.root)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert left == []


def _access_lines(server: Server) -> list[str]:
    return [line for line in server.log_text().splitlines() if " 207 " in line]


# -- propfind_limit -----------------------------------------------------------------------------


@pytest.fixture
def limited(make_dav: MakeDav) -> AppDav:
    """Two collections of ten members, each with a collection of its own; at most 8 resources."""
    dav = make_dav("memory", propfind_limit=8)
    for name in ("/a/", "/b/"):
        dav.mkcol(name)
        dav.mkcol(f"{name}inner/")
        dav.put(f"{name}inner/deep")
        for number in range(9):
            dav.put(f"{name}{number}")
    return dav


def test_once_the_limit_is_spent_collections_are_named_and_not_entered(limited: AppDav) -> None:
    answer = limited.propfind("/", depth="infinity")

    refused = answer.statuses
    assert set(refused.values()) == {507}
    assert all(href.endswith("/") for href in refused)
    conditions = {condition for href in refused for condition in answer.conditions[href]}
    assert conditions == {f"{D}number-of-matches-within-limits"}
    listed = set(answer)
    for href in refused:
        assert not [other for other in listed if other.startswith(href)]
    # What was entered is there as a whole: members are never left out in silence.
    entered = [href for href in ("/a/", "/b/") if href in listed]
    assert entered
    for href in entered:
        assert {f"{href}{number}" for number in range(9)} <= listed
        assert f"{href}inner/" in listed | set(refused)


def test_a_collection_is_always_listed_whole(limited: AppDav) -> None:
    answer = limited.propfind("/a/", depth="1")

    assert len(answer) == 11
    assert answer.statuses == {}


def test_without_a_limit_nothing_is_refused(make_dav: MakeDav) -> None:
    dav = make_dav("memory")
    for depth in range(1, 80):
        dav.mkcol("/d" * depth)

    answer = dav.propfind("/", props=[f"{D}resourcetype"], depth="infinity")

    assert len(answer) == 80
    assert answer.statuses == {}


# -- members that change while they are listed --------------------------------------------------


@pytest.mark.rfc("MS-02")
def test_a_collection_that_vanishes_meanwhile_is_left_out(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    for name in ("/a/", "/a/x/", "/b/"):
        dav.mkcol(name)
    dav.put("/b/f")
    storage.once("scan", "/a", lambda: storage.rename(at("/a"), at("/gone")))

    hrefs = dav.propfind("/", props=[f"{D}resourcetype"], depth="infinity").hrefs

    assert "/a/" not in hrefs
    assert "/a/x/" not in hrefs
    assert {"/", "/b/", "/b/f"} <= set(hrefs)


def test_a_collection_that_cannot_be_listed_has_its_status(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    for name in ("/a/", "/b/", "/c/"):
        dav.mkcol(name)
        dav.put(f"{name}f")
    storage.refuse("scan", "/b", AccessDenied("no"))

    answer = dav.propfind("/", props=[f"{D}resourcetype"], depth="infinity")

    assert answer.statuses == {"/b/": 403}
    assert sorted(answer) == ["/", "/a/", "/a/f", "/c/", "/c/f"]


def test_the_document_is_well_formed_however_it_is_cut(make_dav: MakeDav) -> None:
    """The pieces of every size are one document, with each href once."""
    dav = make_dav("memory")
    for outer in range(6):
        dav.mkcol(f"/{outer}/")
        for number in range(outer * 40):
            dav.put(f"/{outer}/{number:03}")
    listener = Listener()

    dav.run(listener.request(dav, "PROPFIND", "/", b""))

    root = etree.fromstring(b"".join(listener.pieces))
    hrefs = [element.text for element in root.iterfind(f"{D}response/{D}href")]
    assert len(hrefs) == len(set(hrefs)) == 1 + 6 + 40 * 15
