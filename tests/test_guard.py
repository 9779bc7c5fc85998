"""The HTTP edge, over real sockets, in front of a small application."""

from __future__ import annotations

import asyncio
import io
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httptools
import pytest
import uvicorn

from davserver.accesslog import AccessLog
from davserver.config import Settings
from davserver.wire.edge import Edge
from davserver.wire.guard import METHODS, Guard
from tests.support.edge import EdgeInProcess

MIB = 1 << 20


@dataclass
class Echo:
    """Answers what it got; some paths answer before they have read the body."""

    requests: list[tuple[str, bytes, list[tuple[bytes, bytes]], bytes, bool]] = field(
        default_factory=list
    )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        path = scope["raw_path"]
        if path == b"/raises":
            raise LookupError("on purpose")
        if path.startswith(b"/early/"):
            self.requests.append((scope["method"], path, scope["headers"], b"", False))
            await self._reply(send, int(path.rpartition(b"/")[2]), b"early\n")
            return
        body = bytearray()
        whole = False
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message["body"]
            if not message["more_body"]:
                whole = True
                break
        self.requests.append((scope["method"], path, scope["headers"], bytes(body), whole))
        if path == b"/stream":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await send({"type": "http.response.body", "body": b"two", "more_body": False})
            return
        if path == b"/injects":
            await self._reply(send, 200, b"", (b"x", b"a\r\nb: c"))
            return
        await self._reply(send, 200, b"%d bytes\n" % len(body))

    async def _reply(
        self, send: Any, status: int, body: bytes, *headers: tuple[bytes, bytes]
    ) -> None:
        fields = [(b"content-length", b"%d" % len(body)), *headers]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})


@dataclass
class Running:
    port: int
    app: Echo
    log: io.BytesIO
    flush: Callable[[], None]

    def connect(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.settimeout(10)
        return connection

    def exchange(self, data: bytes) -> bytes:
        """Sends bytes, and returns all that comes until the server closes."""
        with closing(self.connect()) as connection:
            connection.sendall(data)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    received = bytearray()
    while chunk := connection.recv(65_536):
        received += chunk
    return bytes(received)


def read_answer(connection: socket.socket) -> tuple[int, dict[bytes, bytes], bytes]:
    """Reads one answer with Content-Length."""
    received = bytearray()
    while b"\r\n\r\n" not in received:
        chunk = connection.recv(65_536)
        assert chunk, bytes(received)
        received += chunk
    head, _, body = bytes(received).partition(b"\r\n\r\n")
    status, headers = parse_head(head)
    while len(body) < int(headers.get(b"content-length", b"0")):
        body += connection.recv(65_536)
    return status, headers, body


def parse_head(head: bytes) -> tuple[int, dict[bytes, bytes]]:
    lines = head.split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines[1:])
    return int(lines[0].split(b" ")[1]), fields


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d\d\d) ", received)]


@contextmanager
def serving(*headers: tuple[str, str], **keys: Any) -> Iterator[Running]:
    app = Echo()
    stream = io.BytesIO()
    log = AccessLog(stream)
    settings = Settings(root="/", **keys)
    edge = Edge(settings, log, lambda: ["GET", "PUT"])
    config = uvicorn.Config(
        app,
        http=partial(Guard, edge=edge),  # type: ignore[arg-type]
        ws="none",
        interface="asgi3",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=not headers,
        headers=list(headers),
        proxy_headers=False,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    deadline = time.monotonic() + 10
    while not server.started and time.monotonic() < deadline:
        time.sleep(0.005)
    try:
        yield Running(listener.getsockname()[1], app, stream, log.flush)
    finally:
        server.should_exit = True
        thread.join(10)


@pytest.fixture(scope="module")
def shared() -> Iterator[Running]:
    with serving() as running:
        yield running


@pytest.fixture
def running(shared: Running) -> Running:
    shared.app.requests.clear()
    shared.flush()
    shared.log.seek(0)
    shared.log.truncate()
    return shared


GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
LAST = b"GET /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


def test_a_plain_request_is_answered_with_date_and_length(running: Running) -> None:
    with closing(running.connect()) as connection:
        connection.sendall(GET)
        status, headers, body = read_answer(connection)

    assert (status, body) == (200, b"0 bytes\n")
    assert b"date" in headers
    assert b"server" not in headers


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_answer_has_the_headers_that_the_server_was_given(count: int) -> None:
    fields = [(f"x-{number}", "y") for number in range(count)]
    with serving(*fields) as running:
        _, headers = parse_head(running.exchange(LAST).partition(b"\r\n\r\n")[0])

    assert {name.encode() for name, _ in fields} <= set(headers)


def test_the_connection_lives_for_many_requests(running: Running) -> None:
    with closing(running.connect()) as connection:
        for _ in range(3):
            connection.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
            assert read_answer(connection)[::2] == (200, b"3 bytes\n")


def test_a_request_may_come_byte_by_byte(running: Running) -> None:
    request = b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"
    with closing(running.connect()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request:
            connection.sendall(bytes([byte]))
        assert read_answer(connection)[::2] == (200, b"3 bytes\n")


def test_pipelined_requests_are_answered_in_order(running: Running) -> None:
    put = b"PUT /b HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
    received = running.exchange(GET + put + GET + put + LAST)

    assert statuses(received) == [200] * 5
    assert [request[1] for request in running.app.requests] == [b"/a", b"/b", b"/a", b"/b", b"/a"]


def test_large_bodies_arrive_whole_and_the_connection_lives_on(running: Running) -> None:
    body = bytes(range(256)) * 8192
    with closing(running.connect()) as connection:
        for _ in range(2):
            connection.sendall(
                b"PUT /a HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            assert b"%d bytes\n" % len(body) == read_answer(connection)[2]

    assert body == running.app.requests[0][3]


# --- framing ------------------------------------------------------------------------------------


@pytest.mark.rfc("HM-02", "HM-04", "HF-01", "HF-02", "HF-03", "HF-04")
@pytest.mark.security("M-03", "M-04", "M-05", "T-03", "T-04")
@pytest.mark.parametrize(
    ("expected", "request_bytes"),
    [
        pytest.param(400, b"GET / HTTP/1.1\r\n\r\n", id="no Host"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", id="two Hosts"),
        pytest.param(400, b"GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", id="two Hosts, 1.0"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", id="a space in Host"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", id="a slash in Host"),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n",
            id="CL.TE",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n"
            b"3\r\nabc\r\n0\r\n\r\n",
            id="TE.CL",
        ),
        pytest.param(
            501,
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            id="gzip, chunked",
        ),
        pytest.param(
            501,
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="gzip, chunked in two lines",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            id="chunked, gzip",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: identity\r\n\r\n",
            id="identity",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            id="chunked twice",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            id="xchunked",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            id="a space before the colon",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            id="chunked in HTTP/1.0",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            id="two lengths",
        ),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
            id="a list of lengths",
        ),
        pytest.param(400, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc", id="+3"),
        pytest.param(400, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: -3\r\n\r\nabc", id="-3"),
        pytest.param(400, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x3\r\n\r\nabc", id="0x3"),
        pytest.param(
            400,
            b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\nabc",
            id="a length past 64 bits",
        ),
        pytest.param(
            400, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nabc", id="no length at all"
        ),
        pytest.param(400, b"GET / HTTP/1.1\nHost: x\n\n", id="bare LF"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: x\nA: b\r\n\r\n", id="one bare LF"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", id="folded line"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n", id="NUL in a field"),
        pytest.param(400, b"GET / HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", id="no colon"),
        pytest.param(400, b"GET / HTTP/9.9\r\nHost: x\r\n\r\n", id="HTTP/9.9"),
        pytest.param(505, b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", id="HTTP/2.0"),
        pytest.param(505, b"GET /\r\n\r\n", id="HTTP/0.9"),
        pytest.param(400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", id="TLS on plain HTTP"),
        pytest.param(400, b"GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n", id="another scheme"),
        pytest.param(501, b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", id="CONNECT"),
        pytest.param(501, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", id="HTTP/2 preface"),
        pytest.param(501, b"get / HTTP/1.1\r\nHost: x\r\n\r\n", id="lower case"),
        pytest.param(501, b"ORDERPATCH / HTTP/1.1\r\nHost: x\r\n\r\n", id="a method unknown here"),
        pytest.param(
            417, b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n", id="other expectation"
        ),
    ],
)
def test_a_bad_request_gets_one_answer_and_the_connection_ends(
    running: Running, expected: int, request_bytes: bytes
) -> None:
    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    received = running.exchange(request_bytes + smuggled)
    head, _, body = received.partition(b"\r\n\r\n")
    running.flush()

    assert [expected] == statuses(received)
    assert parse_head(head)[1][b"connection"] == b"close"
    assert body.endswith(b"\n")
    assert running.app.requests == []
    assert [b"%d" % expected] == [line.split()[5] for line in running.log.getvalue().splitlines()]


@pytest.mark.rfc("HM-02")
def test_an_unknown_method_is_501_with_allow(running: Running) -> None:
    received = running.exchange(b"ORDERPATCH / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert parse_head(received.partition(b"\r\n\r\n")[0])[1][b"allow"] == b"GET, PUT"


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_that_we_let_through_is_one_the_parser_knows(method: bytes) -> None:
    parser = httptools.HttpRequestParser(object())
    parser.feed_data(method + b" / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert method == parser.get_method()


@pytest.mark.security("M-06")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"5\r\nabc", id="the client leaves within a chunk"),
        pytest.param(b"3\r\nabc\r\n", id="the client leaves before the last chunk"),
    ],
)
def test_a_body_that_breaks_off_never_looks_whole(running: Running, body: bytes) -> None:
    with closing(running.connect()) as connection:
        connection.sendall(b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        connection.sendall(body)
    wait_for(lambda: running.app.requests)

    assert [request[4] for request in running.app.requests] == [False]


@pytest.mark.security("M-05", "T-04")
@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"3\nabc\r\n0\r\n\r\n", id="bare LF"),
        pytest.param(b"x\r\nabc\r\n0\r\n\r\n", id="no hexadecimal size"),
        pytest.param(b"-3\r\nabc\r\n0\r\n\r\n", id="negative size"),
        pytest.param(b"fffffffffffffffff\r\nabc", id="size past 64 bits"),
        pytest.param(b"3\r\nabcd\r\n0\r\n\r\n", id="longer than its size"),
    ],
)
def test_a_malformed_chunk_is_400_and_the_body_never_looks_whole(
    running: Running, body: bytes
) -> None:
    head = b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    received = running.exchange(head + body)
    wait_for(lambda: running.app.requests)

    assert statuses(received) == [400]
    assert [request[4] for request in running.app.requests] == [False]


def test_endless_chunk_extensions_and_trailers_are_refused(running: Running) -> None:
    head = b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
    with closing(running.connect()) as connection:
        connection.sendall(head)
        for _ in range(40):
            try:
                connection.sendall(b"A: " + b"b" * 4000 + b"\r\n")
            except OSError:
                break
        assert read_answer(connection)[0] == 400


def test_trailer_fields_are_not_taken_for_header_fields(running: Running) -> None:
    received = running.exchange(
        b"PUT /a HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n0\r\nIf: (<x>)\r\n\r\n"
    )

    assert statuses(received) == [200]
    assert b"if" not in dict(running.app.requests[0][2])


@pytest.mark.security("T-04", "T-09")
def test_a_request_in_one_piece_with_the_chunked_body_before_it_is_answered(
    running: Running,
) -> None:
    received = running.exchange(
        b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n"
        + LAST
    )

    assert statuses(received) == [200, 200]
    assert [request[3] for request in running.app.requests] == [b"abc", b""]


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        pytest.param(b"Content-Length: 5", b"hello", id="sized"),
        pytest.param(b"Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", id="chunked"),
    ],
)
@pytest.mark.parametrize(
    "upgrade",
    [
        b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n",
        b"UPGRADE: websocket\r\nConnection: upgrade\r\n",
    ],
    ids=["h2c", "websocket"],
)
def test_upgrade_is_ignored_and_the_body_arrives(
    running: Running, upgrade: bytes, framing: bytes, body: bytes
) -> None:
    with closing(running.connect()) as connection:
        for _ in range(2):
            connection.sendall(
                b"PUT /a HTTP/1.1\r\nHost: x\r\n" + upgrade + framing + b"\r\n\r\n" + body
            )
            assert read_answer(connection)[::2] == (200, b"5 bytes\n")

    assert [request[3] for request in running.app.requests] == [b"hello", b"hello"]


@pytest.mark.rfc("HF-06")
@pytest.mark.parametrize(
    ("target", "path", "host"),
    [
        pytest.param(b"http://other:81/a%20b?q", b"/a%20b", b"other:81", id="with path"),
        pytest.param(b"HTTPS://u:p@other", b"/", b"other", id="without path, with userinfo"),
        pytest.param(b"http://other?q", b"/", b"other", id="with query only"),
    ],
)
def test_the_authority_of_an_absolute_target_replaces_host(
    running: Running, target: bytes, path: bytes, host: bytes
) -> None:
    running.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: this\r\nConnection: close\r\n\r\n")
    _, raw_path, headers, _, _ = running.app.requests[0]

    assert path == raw_path
    assert [host] == [value for name, value in headers if name == b"host"]


def test_the_asterisk_target_and_http_1_0_without_host_are_served(running: Running) -> None:
    running.exchange(b"OPTIONS * HTTP/1.0\r\n\r\n")

    assert [request[:2] for request in running.app.requests] == [("OPTIONS", b"*")]


def test_an_http_1_0_client_gets_no_chunks(running: Running) -> None:
    received = running.exchange(b"GET /stream HTTP/1.0\r\n\r\n")

    assert received.endswith(b"\r\n\r\nonetwo")
    assert b"transfer-encoding" not in received


def test_a_stream_is_chunked(running: Running) -> None:
    received = running.exchange(b"GET /stream HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")

    assert received.endswith(b"\r\n\r\n3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n")


# --- limits -------------------------------------------------------------------------------------


@pytest.mark.rfc("ST-06")
@pytest.mark.security("M-02", "T-06")
@pytest.mark.parametrize(
    ("expected", "head"),
    [
        pytest.param(414, b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n" % (b"a" * 8192), id="long URL"),
        pytest.param(414, b"GET /" + b"a" * 100_000, id="very long URL, unfinished"),
        pytest.param(
            431, b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 100 + b"\r\n", id="many fields"
        ),
        pytest.param(
            431, b"GET / HTTP/1.1\r\nHost: x\r\nA: %b\r\n\r\n" % (b"b" * 70_000), id="long field"
        ),
        pytest.param(431, b"GET / HTTP/1.1\r\nA: " + b"b" * 2 * MIB, id="unfinished, 2 MiB"),
    ],
)
def test_heads_past_the_limits_are_refused(running: Running, expected: int, head: bytes) -> None:
    assert [expected] == statuses(running.exchange(head))


@pytest.mark.security("M-01", "T-05")
@pytest.mark.parametrize(
    ("begun", "expected"),
    [
        pytest.param(b"", [], id="silence"),
        pytest.param(b"GET / HT", [408], id="half a request line"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: x\r\n", [408], id="half a head"),
        pytest.param(
            b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc", [408], id="half a body"
        ),
        pytest.param(GET, [200], id="idle after an answer"),
    ],
)
def test_deadlines_hold(begun: bytes, expected: list[int]) -> None:
    with serving(head_timeout_s=0.2, body_idle_s=0.2, keep_alive_s=0.2) as running:
        begin = time.monotonic()
        received = running.exchange(begun)

        assert expected == statuses(received)
        assert time.monotonic() - begin < 3


@pytest.mark.security("M-01", "T-05")
def test_a_head_that_trickles_in_is_ended() -> None:
    with serving(head_timeout_s=0.3) as running, closing(running.connect()) as connection:
        connection.settimeout(0.05)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        received = trickle(connection, b"A: b\r\n")

    assert statuses(received) == [408]


@pytest.mark.security("T-05")
def test_a_body_that_trickles_in_is_ended_and_never_looks_whole() -> None:
    with serving(body_idle_s=0.3, min_rate=10_000) as running:
        with closing(running.connect()) as connection:
            connection.settimeout(0.05)
            connection.sendall(b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n")
            received = trickle(connection, b"abc")
        wait_for(lambda: running.app.requests)

        assert statuses(received) == [408]
        assert [request[4] for request in running.app.requests] == [False]


def trickle(connection: socket.socket, piece: bytes) -> bytes:
    """Sends a piece at a time until the server answers; returns the answer."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            connection.sendall(piece)
            received = connection.recv(65_536)
        except TimeoutError:
            continue
        return received
    return b""


@pytest.mark.security("T-05")
def test_connections_past_the_limit_are_turned_away() -> None:
    with serving(connections=2) as running:
        with closing(running.connect()) as one, closing(running.connect()) as two:
            for connection in (one, two):
                connection.sendall(GET)
                assert read_answer(connection)[0] == 200
            assert statuses(running.exchange(GET)) == [503]

        wait_for(lambda: statuses(running.exchange(LAST)) == [200])


@pytest.mark.security("T-05")
@pytest.mark.parametrize(
    ("trusted", "expected"), [((), [503]), (("127.0.0.1",), [200])], ids=["others", "a proxy"]
)
def test_connections_of_one_address_are_limited_but_not_those_of_a_trusted_proxy(
    trusted: tuple[str, ...], expected: list[int]
) -> None:
    with serving(connections_per_address=1, trusted_proxies=trusted) as running:
        with closing(running.connect()) as connection:
            connection.sendall(GET)
            read_answer(connection)

            assert expected == statuses(running.exchange(LAST))


# --- early answers ------------------------------------------------------------------------------


@pytest.mark.rfc("HE-01")
def test_100_continue_is_sent_when_the_application_asks_for_the_body(running: Running) -> None:
    with closing(running.connect()) as connection:
        connection.sendall(
            b"PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
        assert connection.recv(65_536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        status, headers, body = read_answer(connection)

    assert (status, body) == (200, b"3 bytes\n")
    assert b"connection" not in headers


def test_nobody_is_told_to_continue_with_a_body_that_broke_off(
    caplog: pytest.LogCaptureFixture,
) -> None:
    head = b"PUT /a HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n"
    edge = EdgeInProcess()
    try:
        seen, written = edge.exchange([head + b"\r\nno chunk\r\n"])
    finally:
        edge.close()

    assert seen == [("PUT", b"/a", b"", False)]
    assert written.startswith(b"HTTP/1.1 400 ")
    assert not caplog.records


@pytest.mark.rfc("HE-01", "HE-03")
@pytest.mark.security("M-07", "T-09")
def test_a_refusal_before_100_continue_closes_so_that_nothing_is_taken_for_the_body(
    running: Running,
) -> None:
    with closing(running.connect()) as connection:
        connection.sendall(
            b"PUT /early/423 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
            b"Content-Length: 9\r\n\r\n"
        )
        status, headers, _ = read_answer(connection)
        connection.sendall(GET)

        assert (status, headers[b"connection"]) == (423, b"close")
        assert read_all(connection) == b""
    assert [request[1] for request in running.app.requests] == [b"/early/423"]


@pytest.mark.rfc("HE-03")
@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"Content-Length: 500000\r\n\r\n" + b"x" * 500_000, id="sized"),
        pytest.param(
            b"Transfer-Encoding: chunked\r\n\r\n" + (b"1000\r\n%b\r\n" % (b"x" * 4096)) * 100,
            id="chunked",
        ),
    ],
)
def test_a_short_rest_of_a_refused_body_is_skipped_and_the_connection_lives(
    running: Running, request_bytes: bytes
) -> None:
    with closing(running.connect()) as connection:
        connection.sendall(b"PUT /early/412 HTTP/1.1\r\nHost: x\r\n" + request_bytes)
        if b"chunked" in request_bytes:
            connection.sendall(b"0\r\n\r\n")
        status, headers, _ = read_answer(connection)
        connection.sendall(GET)

        assert (status, headers.get(b"connection")) == (412, None)
        assert read_answer(connection)[0] == 200


@pytest.mark.rfc("HE-03", "HC-06")
@pytest.mark.security("M-07")
@pytest.mark.parametrize("status", [401, 412, 423])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_a_client_that_goes_on_sending_20_mb_reads_its_early_answer(
    running: Running, status: int, framing: str
) -> None:
    body = b"x" * 20 * MIB
    if framing == "sized":
        head = b"Content-Length: %d\r\n\r\n" % len(body)
    else:
        head, body = b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%b\r\n" % (len(body), body)
    with closing(running.connect()) as connection:
        connection.sendall(b"PUT /early/%d HTTP/1.1\r\nHost: x\r\n" % status + head)
        connection.sendall(body)
        received = read_all(connection)

    assert [status] == statuses(received)
    assert received.endswith(b"early\n")


def test_an_application_that_fails_before_the_head_gives_500(running: Running) -> None:
    assert statuses(running.exchange(b"GET /raises HTTP/1.1\r\nHost: x\r\n\r\n")) == [500]


@pytest.mark.security("M-09", "T-12")
def test_a_line_break_in_a_header_of_the_answer_never_leaves(running: Running) -> None:
    received = running.exchange(b"GET /injects HTTP/1.1\r\nHost: x\r\n\r\n")

    assert statuses(received) == [500]
    assert b"b: c" not in received


@pytest.mark.security("T-04")
def test_any_cut_of_a_request_gives_the_same_answer(running: Running) -> None:
    request = (
        b"PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    )
    with closing(running.connect()) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for cut in range(1, len(request)):
            connection.sendall(request[:cut])
            connection.sendall(request[cut:])
            assert read_answer(connection)[::2] == (200, b"3 bytes\n")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 5
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert condition()


@pytest.mark.rfc("HV-02")
def test_date_is_the_moment_of_the_answer_and_not_that_of_the_last_tick() -> None:
    edge = Edge(Settings(root="/"), None, lambda: [])
    ticked = [(b"date", b"Thu, 01 Jan 1970 00:00:00 GMT"), (b"x", b"y")]

    for now, second in ((0.9, b"00"), (1.1, b"01"), (1.9, b"01"), (2.0, b"02")):
        date = b"Thu, 01 Jan 1970 00:00:%b GMT" % second
        assert edge.default_lines(ticked, now) == b"date: %b\r\nx: y\r\n" % date


def test_long_pieces_of_a_body_are_handed_on_one_by_one_and_short_ones_joined() -> None:
    pieces = [b"a" * 70_000, b"b" * 70_000, b"c", b"d"]
    got: list[bytes] = []

    async def take(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0)  # all of it is here before anybody asks
        more = True
        while more:
            message = await receive()
            got.append(message["body"])
            more = message["more_body"]
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    edge = EdgeInProcess()
    edge._config.loaded_app = take
    head = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    try:
        edge.exchange([head + chunks + b"0\r\n\r\n"])
    finally:
        edge.close()

    assert got == [pieces[0], pieces[1], b"cd"]
