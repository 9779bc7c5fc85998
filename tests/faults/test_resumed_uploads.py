"""Uploads in pieces at a real server: whatever breaks them off, they go on from where they are, and
what comes of it is what was sent, byte for byte (RU-10)."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.http import Connection, ConnectionEnded
from tests.support.processes import await_true, serving
from tests.support.reply import Reply
from tests.support.server import Server
from tests.support.uploading import append, begin, fields, offset_of, parts

CONTENT = random.Random(20_260_727).randbytes(5_000_003)


def close(connection: Connection) -> None:
    connection.close()


def half_close(connection: Connection) -> None:
    connection.half_close()


def reset(connection: Connection) -> None:
    connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


ENDS = {"closed": close, "half closed": half_close, "reset": reset}


@pytest.fixture(scope="module", params=[1, 2], ids=["1 worker", "2 workers"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), workers=request.param) as running:
        yield running


def send_some(server: Server, upload: str, offset: int, size: int, *, chunked: bool) -> Connection:
    """Sends the rest of the content, but for what comes after `size` bytes of it."""
    connection = server.connect()
    rest = CONTENT[offset:]
    framing = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(len(rest))}
    connection.send_head("PATCH", upload, fields(offset, last=True) | framing)
    some = rest[:size]
    if not chunked:
        connection.send_raw(some)
    elif some:
        connection.send_chunk(some)
    return connection


def go_on(dav: Connection, upload: str) -> Reply:
    """Completes an upload as a client does: what it sent before on another connection may come in
    after it has asked how far it is."""
    offset = offset_of(dav, upload)
    for _ in range(50):
        reply = append(dav, upload, offset, CONTENT[offset:], last=True)
        if reply.status != 409:
            return reply
        assert int(reply.headers["upload-offset"]) >= offset
        offset = int(reply.headers["upload-offset"])
    raise AssertionError("it is never done")


def part_size(server: Server) -> int:
    return sum(path.stat().st_size for path in parts(server.root))


@pytest.mark.rfc("RU-10")
@pytest.mark.security("T-08")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("end", [close, half_close], ids=["closed", "half closed"])
def test_what_came_before_the_end_of_a_connection_need_not_come_again(
    server: Server, end: Callable[[Connection], None], chunked: bool
) -> None:
    with server.connect() as dav:
        dav.delete("/a")
        upload = begin(dav, "/a")
        told = 0
        for size in (1_000_000, 700_000, 1_500_000):
            connection = send_some(server, upload, told, size, chunked=chunked)
            end(connection)
            before = told
            assert await_true(lambda before=before: offset_of(dav, upload) > before)
            connection.close()
            told = offset_of(dav, upload)
            assert told <= before + size
            assert dav.get("/a").status == 404
        reply = append(dav, upload, told, CONTENT[told:], last=True)

        assert reply.status == 201
        assert dav.get("/a").body == CONTENT
        assert dav.head("/a").headers["etag"] == reply.headers["etag"]
    assert parts(server.root) == []


@pytest.mark.rfc("RU-05", "RU-10")
@pytest.mark.security("T-08")
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_who_asks_at_once_can_go_on(server: Server, end: Callable[[Connection], None]) -> None:
    with server.connect() as dav:
        dav.delete("/a")
        upload = begin(dav, "/a")
        told = 0
        for size in (700_000, 1_000_000, 1, 2_000_000):
            connection = send_some(server, upload, told, size, chunked=False)
            end(connection)
            connection.close()
            offset = offset_of(dav, upload)
            assert offset >= told
            told = offset
        reply = go_on(dav, upload)

        assert reply.status == 201
        assert dav.get("/a").body == CONTENT
    assert parts(server.root) == []


@pytest.mark.rfc("RU-08")
@pytest.mark.security("S-11")
def test_a_connection_that_hangs_keeps_nobody_from_going_on(server: Server) -> None:
    with server.connect() as dav:
        dav.delete("/a")
        upload = begin(dav, "/a")
        hanging = send_some(server, upload, 0, 1_500_000, chunked=False)
        try:
            assert await_true(lambda: part_size(server) > 0)
            offset = offset_of(dav, upload)
            reply = append(dav, upload, offset, CONTENT[offset:], last=True)
            told = hanging.read_reply("PATCH")
        finally:
            hanging.close()

        assert 0 < offset <= 1_500_000
        assert (reply.status, told.status) == (201, 409)
        assert dav.get("/a").body == CONTENT


@pytest.mark.rfc("RU-05", "RU-10")
@pytest.mark.security("K-01")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("durability", ["none", "full"])
def test_killed_and_started_again_the_server_goes_on(tmp_path: Path, durability: str) -> None:
    server = Server(tmp_path, workers=2, environment={"DAVSERVER_DURABILITY": durability})
    with server:
        with server.connect() as dav:
            upload = begin(dav, "/a", CONTENT[:1000])
        offset = 1000
        for size in (800_000, 2_000_000, 17):
            connection = send_some(server, upload, offset, size, chunked=False)
            for pid in serving(server):
                os.kill(pid, signal.SIGKILL)
            server.kill()
            connection.close()
            server.start()
            with server.connect() as dav:
                assert dav.members("/") == []
                kept = offset_of(dav, upload)
                assert offset <= kept <= offset + size
                offset = kept
                # What was acknowledged stays, whoever dies.
                assert append(dav, upload, offset, CONTENT[offset : offset + 5000]).status == 204
                offset += 5000
        with server.connect() as dav:
            assert offset_of(dav, upload) == offset
            assert append(dav, upload, offset, CONTENT[offset:], last=True).status == 201
            assert dav.get("/a").body == CONTENT
        assert parts(server.root) == []


@pytest.mark.rfc("RU-10")
@pytest.mark.timeout(60)
def test_a_server_that_is_asked_to_end_keeps_what_came(tmp_path: Path) -> None:
    with Server(tmp_path, environment={"DAVSERVER_GRACE_S": "0.5"}) as server:
        with server.connect() as dav:
            upload = begin(dav, "/a")
        connection = send_some(server, upload, 0, 2_000_000, chunked=False)
        assert await_true(lambda: part_size(server) > 1_000_000)
        assert server.stop() == 0
        connection.close()
        server.start()
        with server.connect() as dav:
            offset = offset_of(dav, upload)
            assert append(dav, upload, offset, CONTENT[offset:], last=True).status == 201

            assert dav.get("/a").body == CONTENT
        assert 1_000_000 < offset <= 2_000_000


class Uploader(threading.Thread):
    """Uploads the content to a URL of its own over connections that break all the time."""

    def __init__(self, server: Server, number: int) -> None:
        super().__init__(daemon=True)
        self.target = f"/{number}"
        self.broken = 0
        self._server = server
        self._random = random.Random(number)

    def run(self) -> None:
        with self._server.connect() as dav:
            upload = begin(dav, self.target)
        for _ in range(200):
            try:
                with self._server.connect() as dav:
                    head = dav.head(upload)
                if head.headers["upload-complete"] == "?1":
                    return
                offset = int(head.headers["upload-offset"])
                size = self._random.randrange(1, 1_500_000)
                chunked = self._random.random() < 0.5
                connection = send_some(self._server, upload, offset, size, chunked=chunked)
                if offset + size < len(CONTENT):
                    self.broken += 1
                    self._random.choice((close, half_close, reset))(connection)
                else:
                    if chunked:
                        connection.end_chunks()
                    connection.read_reply("PATCH")
                connection.close()
            except (ConnectionEnded, OSError):
                continue


@pytest.mark.rfc("RU-10")
@pytest.mark.timeout(90)
def test_many_uploads_over_lines_that_break_all_the_time_arrive_whole(server: Server) -> None:
    uploaders = [Uploader(server, number) for number in range(4)]
    for uploader in uploaders:
        uploader.start()
    for uploader in uploaders:
        uploader.join(80)
        assert not uploader.is_alive()

    wanted = hashlib.sha256(CONTENT).digest()
    with server.connect() as dav:
        for uploader in uploaders:
            assert uploader.broken
            assert hashlib.sha256(dav.get(uploader.target).body).digest() == wanted
            dav.delete(uploader.target)
    assert parts(server.root) == []
