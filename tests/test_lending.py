"""A long body is read from its connection by the thread that writes it, where our own server
serves; the connection is none the worse for it."""

from __future__ import annotations

import asyncio
import base64
import errno
import gc
import hashlib
import os
import socket
import struct
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop

from davserver.aio import Rooms
from davserver.app import create_app
from davserver.asgi import BODY_LOAN, Message
from davserver.state.memory import MemoryState
from davserver.wire.guard import Guard
from davserver.wire.lending import LEAST, SocketLoan
from tests.support.edge import EdgeInProcess
from tests.support.processes import await_true, serving
from tests.support.server import Server

SIZE = 24 << 20
"""Bytes: more than the sockets of both ends hold."""
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="module")
def content() -> bytes:
    return Random(2).randbytes(SIZE)


# -- the loan ------------------------------------------------------------------------------------


class Lent:
    """A loan of one end of a connection, and what it hands on."""

    def __init__(self, left: int) -> None:
        self.client, self.server = socket.socketpair()
        self.server.setblocking(False)
        self.told: list[int] = []
        self.loan = SocketLoan(os.dup(self.server.fileno()), left, [b"here"], self.told.append)
        self.passed: list[bytes] = []

    def pass_on(self, room: int = 1 << 20) -> bytes:
        self.loan.pass_on(
            lambda piece: self.passed.append(bytes(piece)), memoryview(bytearray(room))
        )
        return b"".join(self.passed)

    def close(self) -> None:
        self.loan.end()
        self.client.close()
        self.server.close()


@pytest.fixture
def lend() -> Iterator[Callable[[int], Lent]]:
    made: list[Lent] = []

    def lend(left: int) -> Lent:
        made.append(Lent(left))
        return made[-1]

    yield lend
    for each in made:
        each.close()


Lend = Callable[[int], Lent]


def test_no_more_is_read_than_the_body_has(lend: Lend) -> None:
    lent = lend(10)
    lent.client.sendall(b"0123456789GET / HTTP/1.1\r\n")

    assert lent.pass_on() == b"0123456789"
    assert lent.server.recv(100) == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize("room", [2, 1000, 1 << 20])
def test_what_comes_fast_is_handed_on_in_order(lend: Lend, content: bytes, room: int) -> None:
    part = content[: room * 100]
    lent = lend(len(part))
    sender = threading.Thread(target=lent.client.sendall, args=(part,), daemon=True)
    sender.start()
    # A thread that is not scheduled for long looks slow.
    for _ in range(1000):
        if not lent.loan.left:
            break
        lent.pass_on(room)
    sender.join(10)

    assert b"".join(lent.passed) == part
    assert max(map(len, lent.passed)) <= room


def test_a_client_that_sends_nothing_is_left_to_the_loop(lend: Lend) -> None:
    lent = lend(1000)
    lent.client.sendall(b"begun")

    assert lent.pass_on() == b"begun"
    assert (lent.loan.left, lent.loan.size) == (995, len(b"herebegun"))


def test_who_sends_byte_by_byte_is_left_to_the_loop(lend: Lend) -> None:
    lent = lend(1 << 20)
    ended = threading.Event()

    def trickle() -> None:
        while not ended.wait(0.0005):
            lent.client.send(b"x")

    sender = threading.Thread(target=trickle, daemon=True)
    sender.start()
    lent.pass_on()
    ended.set()
    sender.join(10)

    assert lent.loan.left > 1 << 19


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_a_client_that_left_is_found_out_by_the_transport(reset: bool) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    loan = SocketLoan(os.dup(server.fileno()), 1000, [], lambda _: None)
    if reset:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    loan.pass_on(lambda _: None, memoryview(bytearray(100)))
    loan.end()

    with suppress(ConnectionResetError):
        assert server.recv(1) == b""
    server.close()
    assert (loan.left, loan.size) == (1000, 0)


def test_what_is_stopped_reads_no_more(lend: Lend, content: bytes) -> None:
    lent = lend(SIZE)
    lent.client.setblocking(False)
    lent.client.send(content)
    lent.loan.stop()

    assert lent.pass_on() == b""


def test_a_failed_write_counts_what_was_read(lend: Lend) -> None:
    lent = lend(10)
    lent.client.sendall(b"01234")

    def fail(_: memoryview) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        lent.loan.pass_on(fail, memoryview(bytearray(100)))
    lent.loan.end()
    lent.loan.end()

    assert lent.told == [5]
    assert lent.loan.left == 5


def test_rooms_are_as_many_as_there_are() -> None:
    rooms = Rooms(2)
    first, second = rooms.take(), rooms.take()

    assert first is not None
    assert second is not None
    assert rooms.take() is None
    rooms.give(second)
    assert rooms.take() is second


# -- the connection ------------------------------------------------------------------------------


class Borrower(EdgeInProcess):
    """An edge on a real socket, whose application borrows the bodies it gets."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.bodies: list[bytes] = []
        self.ends: list[str] = []
        self.loans = 0
        self.refused = 0

    async def _application(self, scope: Any, receive: Any, send: Any) -> None:
        body = bytearray()
        room = memoryview(bytearray(1 << 20))
        loop = asyncio.get_running_loop()
        more = True
        while more:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                self.ends.append("gone")
                return
            body += message["body"]
            more = message["more_body"]
            loan = scope["extensions"][BODY_LOAN]["borrow"]() if more else None
            if loan is None:
                self.refused += more
                continue
            self.loans += 1
            for piece in loan.here:
                body += piece
            before = len(body) - sum(map(len, loan.here))
            await loop.run_in_executor(None, loan.pass_on, body.extend, room)
            assert len(body) - before == loan.size
            loan.end()
        self.bodies.append(bytes(body))
        self.ends.append("whole")
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"2")],
            }
        )
        await send({"type": "http.response.body", "body": b"ok"})

    def serve(self, work: Callable[[socket.socket], None]) -> None:
        """Runs `work` in a thread, with a connection to this edge."""
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            client = socket.create_connection(listener.getsockname(), 20)
            server, _ = listener.accept()
        self.run(self._serve(client, server, work))

    async def _serve(
        self, client: socket.socket, server: socket.socket, work: Callable[[socket.socket], None]
    ) -> None:
        loop = asyncio.get_running_loop()

        def make() -> Guard:
            return Guard(self._config, self._state, {}, loop, edge=self._edge)

        await loop.connect_accepted_socket(make, server)
        with closing(client):
            await loop.run_in_executor(None, work, client)
        async with asyncio.timeout(20):
            while self._state.connections or self._state.tasks:
                await asyncio.sleep(0.001)


@pytest.fixture(params=LOOPS.values(), ids=LOOPS)
def edge(request: pytest.FixtureRequest) -> Iterator[Borrower]:
    edge = Borrower()
    edge._runner.close()
    edge._runner = asyncio.Runner(loop_factory=request.param)
    yield edge
    edge.close()


def head(size: int, *fields: bytes) -> bytes:
    lines = [b"PUT /x HTTP/1.1", b"Host: x", b"Content-Length: %d" % size, *fields, b"", b""]
    return b"\r\n".join(lines)


def answers(client: socket.socket, count: int) -> None:
    """Reads that many."""
    data = b""
    while data.count(b"\r\n\r\nok") < count:
        piece = client.recv(65536)
        assert piece, data
        data += piece
    assert data.count(b"HTTP/1.1 200 ") == count


def test_a_body_and_the_request_after_it_arrive_as_they_are(edge: Borrower, content: bytes) -> None:
    def work(client: socket.socket) -> None:
        client.sendall(head(SIZE) + content + head(3) + b"end")
        answers(client, 2)
        client.sendall(head(SIZE) + content)
        answers(client, 1)

    edge.serve(work)

    assert edge.bodies == [content, b"end", content]
    assert edge.loans >= 2


def test_a_body_that_comes_in_bursts_arrives_as_it_is(edge: Borrower, content: bytes) -> None:
    part = content[: 4 << 20]

    def work(client: socket.socket) -> None:
        client.sendall(head(len(part)))
        for begin in range(0, len(part), 300_001):
            client.sendall(part[begin : begin + 300_001])
            time.sleep(0.004)  # longer than the thread waits
        answers(client, 1)

    edge.serve(work)

    assert edge.bodies == [part]
    assert edge.loans


def test_what_was_fed_before_comes_first(edge: Borrower, content: bytes) -> None:
    """As much as comes with the head and after it, before the application asks."""
    part = content[: 2 << 20]

    def work(client: socket.socket) -> None:
        client.sendall(head(len(part), b"Expect: 100-continue") + part)
        client.settimeout(5)
        assert client.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        answers(client, 1)

    edge.serve(work)

    assert edge.bodies == [part]


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
def test_an_application_hears_of_a_client_that_left(
    edge: Borrower, content: bytes, reset: bool
) -> None:
    def work(client: socket.socket) -> None:
        client.sendall(head(SIZE) + content[: SIZE // 2])
        if reset:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    edge.serve(work)

    assert edge.ends == ["gone"]
    assert edge.loans


@pytest.mark.parametrize("size", [LEAST - 1, SIZE], ids=["little left", "chunks"])
def test_what_is_short_or_of_no_known_length_is_not_lent(
    edge: Borrower, content: bytes, size: int
) -> None:
    part = content[:size]

    def work(client: socket.socket) -> None:
        if size < LEAST:
            client.sendall(head(size) + part[:10])
            assert await_true(lambda: edge.refused == 1)
            client.sendall(part[10:])
        else:
            chunked = b"PUT /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            client.sendall(b"%b%x\r\n%b\r\n0\r\n\r\n" % (chunked, size, part))
        answers(client, 1)

    edge.serve(work)

    assert edge.bodies == [part]
    assert edge.refused
    assert not edge.loans


def test_a_body_comes_by_the_loop_where_no_descriptor_is_left(
    edge: Borrower, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = content[: 4 << 20]

    def fail(_: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def work(client: socket.socket) -> None:
        client.sendall(head(len(part)) + part)
        answers(client, 1)

    monkeypatch.setattr(os, "dup", fail)
    edge.serve(work)

    assert edge.bodies == [part]
    assert edge.refused
    assert not edge.loans


def test_what_could_lend_is_gone_with_its_connection(edge: Borrower) -> None:
    """Not only when the garbage is collected: connections are many."""
    made: list[weakref.ref[object]] = []

    def work(client: socket.socket) -> None:
        (connection,) = edge._state.connections
        made.append(weakref.ref(connection))

    gc.disable()
    try:
        for _ in range(3):
            edge.serve(work)
        left = [each() for each in made[:-1]]  # the loop may still hold the last one
    finally:
        gc.enable()

    assert left == [None, None]


# -- the server ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("lending")) as server:
        yield server


def test_an_upload_is_stored_as_it_was_sent(server: Server, content: bytes) -> None:
    digest = base64.b64encode(hashlib.sha256(content).digest()).decode()
    with server.connect() as dav:
        reply = dav.put("/stored", content, headers={"Repr-Digest": f"sha-256=:{digest}:"})
        replaced = dav.put("/stored", content[::-1])

    assert (reply.status, replaced.status) == (201, 204)
    assert (server.root / "stored").read_bytes() == content[::-1]


def test_a_digest_that_is_wrong_keeps_what_was_there(server: Server, content: bytes) -> None:
    digest = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    (server.root / "kept").write_bytes(b"old")
    with server.connect() as dav:
        reply = dav.put("/kept", content, headers={"Repr-Digest": f"sha-256=:{digest}:"})

    assert reply.status == 400
    assert (server.root / "kept").read_bytes() == b"old"


def test_more_uploads_than_threads_may_read_are_all_stored(server: Server, content: bytes) -> None:
    part = content[: 5 << 20]

    def upload(number: int) -> int:
        with server.connect() as dav:
            return dav.put(f"/many{number}", part).status

    with ThreadPoolExecutor(12) as pool:
        statuses = list(pool.map(upload, range(12)))

    assert statuses == [201] * 12
    assert all((server.root / f"many{n}").read_bytes() == part for n in range(12))


def test_put_reads_a_long_body_in_a_thread(
    edge: Borrower, tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: set[int] = set()
    read: list[int] = []
    pass_on, end = SocketLoan.pass_on, SocketLoan.end

    def noting(loan: SocketLoan, *args: Any) -> None:
        threads.add(threading.get_ident())
        pass_on(loan, *args)

    def counting(loan: SocketLoan) -> None:
        read.append(loan.size)
        end(loan)

    monkeypatch.setattr(SocketLoan, "pass_on", noting)
    monkeypatch.setattr(SocketLoan, "end", counting)
    app = create_app(root=tmp_path, state=MemoryState(), access_log=False, anonymous="write")
    edge._config.loaded_app = app

    def work(client: socket.socket) -> None:
        client.sendall(head(SIZE) + content)
        assert client.recv(65536).startswith(b"HTTP/1.1 201 ")

    edge.serve(work)

    assert (tmp_path / "x").read_bytes() == content
    assert threads
    assert threading.get_ident() not in threads
    assert sum(read) > 0


def test_a_client_that_leaves_frees_everything(server: Server, content: bytes) -> None:
    (pid,) = serving(server)

    def descriptors() -> int:
        return len(os.listdir(f"/proc/{pid}/fd"))

    with server.connect() as dav:
        dav.put("/left", b"old")
    before = descriptors()
    for _ in range(6):  # more than may read at once
        with server.connect() as connection:
            connection.send_head("PUT", "/left", {"Content-Length": str(SIZE)})
            connection.send_raw(content[: SIZE // 2])

    assert await_true(lambda: descriptors() <= before)
    assert (server.root / "left").read_bytes() == b"old"
    with server.connect() as dav:
        assert dav.put("/left", content).status == 204


def test_the_server_ends_in_the_middle_of_an_upload(tmp_path: Path, content: bytes) -> None:
    with Server(tmp_path, environment={"DAVSERVER_GRACE_S": "1"}) as server:
        (server.root / "kept").write_bytes(b"old")
        with server.connect() as connection:
            connection.send_head("PUT", "/kept", {"Content-Length": str(SIZE)})
            connection.send_raw(content[: SIZE // 2])
            code = server.stop()

    assert code == 0
    assert (server.root / "kept").read_bytes() == b"old"
    assert [path.name for path in server.root.iterdir()] == ["kept"]
