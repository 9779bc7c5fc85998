"""Messages that two parsers could read differently: one answer at most, and nothing of the body
is ever taken for a request. The table of tests/test_guard.py has the plain cases; here are the
disguised ones, against the whole server, with a DELETE to smuggle."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable

import pytest

from tests.support.http import Connection
from tests.support.server import Server

MIB = 1 << 20
VICTIM = b"must stay"
SMUGGLED = b"DELETE /victim HTTP/1.1\r\nHost: x\r\n\r\n"
PUT = b"PUT /new HTTP/1.1\r\nHost: x\r\n"
CHUNKS = b"3\r\nabc\r\n0\r\n\r\n"
TE = b"Transfer-Encoding: chunked\r\n"


def te(line: bytes) -> bytes:
    return PUT + line + b"\r\n\r\n" + CHUNKS


def length(line: bytes) -> bytes:
    return PUT + line + b"\r\n\r\nabc"


def chunk(wire: bytes) -> bytes:
    return PUT + TE + b"\r\n" + wire


HOSTILE = {
    # Transfer-Encoding in disguise
    "TE behind a tab": te(b"Transfer-Encoding:\tchunked, \tchunked"),
    "TE with a vertical tab": te(b"Transfer-Encoding: \x0bchunked"),
    "TE in quotes": te(b'Transfer-Encoding: "chunked"'),
    "TE with a parameter": te(b"Transfer-Encoding: chunked;a=b"),
    "TE with a comma behind": te(b"Transfer-Encoding: chunked,"),
    "TE with a comma before": te(b"Transfer-Encoding: ,chunked"),
    "TE empty, then chunked": te(b"Transfer-Encoding:\r\nTransfer-Encoding: chunked"),
    "TE chunked, then identity": te(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
    "TE twice": te(b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
    "TE folded": te(b"Transfer-Encoding:\r\n chunked"),
    "TE behind a folded line": te(b"X: y\r\n Transfer-Encoding: chunked"),
    "TE behind a bare CR": te(b"X: y\rTransfer-Encoding: chunked"),
    "TE behind a bare LF": te(b"X: y\nTransfer-Encoding: chunked"),
    "TE with NUL": te(b"Transfer-Encoding: chunked\0"),
    "TE with NUL in its name": te(b"Transfer\0-Encoding: chunked"),
    "TE with a tab before the colon": te(b"Transfer-Encoding\t: chunked"),
    "TE with a blank before its name": te(b" Transfer-Encoding: chunked"),
    "TE with the Kelvin sign": te("Transfer-Encoding: chun\u212aed".encode()),
    "TE with CL": te(b"Content-Length: 3\r\nTransfer-Encoding: chunked"),
    "TE with CL 0": te(b"Transfer-Encoding: chunked\r\nContent-Length: 0"),
    "TE with CL of another case": te(b"transfer-encoding: chunked\r\ncOnTeNt-LeNgTh: 5"),
    "TE, to HTTP/1.0": te(b"Transfer-Encoding: chunked").replace(b"HTTP/1.1", b"HTTP/1.0"),
    # Content-Length in disguise
    "CL, two equal": length(b"Content-Length: 3\r\nContent-Length: 3"),
    "CL, two, of different case": length(b"Content-Length: 3\r\ncontent-length: 30"),
    "CL with a comma": length(b"Content-Length: 3,"),
    "CL with an underscore": length(b"Content-Length: 3_0"),
    "CL as a fraction": length(b"Content-Length: 3.0"),
    "CL with an exponent": length(b"Content-Length: 3e0"),
    "CL with words": length(b"Content-Length: 3 3"),
    "CL with a blank before the colon": length(b"Content-Length : 3"),
    "CL with other digits": length("Content-Length: ٣".encode()),
    "CL folded": length(b"Content-Length:\r\n 3"),
    "CL of 2^64": length(b"Content-Length: 18446744073709551616"),
    "CL of 2^64 + 3": length(b"Content-Length: 18446744073709551619"),
    # chunks in disguise
    "a chunk with a sign": chunk(b"+3\r\nabc\r\n0\r\n\r\n"),
    "a chunk with 0x": chunk(b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a chunk with an underscore": chunk(b"0_3\r\nabc\r\n0\r\n\r\n"),
    "a chunk with a blank before": chunk(b" 3\r\nabc\r\n0\r\n\r\n"),
    "a chunk with a blank behind": chunk(b"3 \r\nabc\r\n0\r\n\r\n"),
    "a chunk of 2^64 + 3": chunk(b"10000000000000003\r\nabc\r\n0\r\n\r\n"),
    "a chunk without a size": chunk(b"\r\nabc\r\n0\r\n\r\n"),
    "a chunk with a bare LF in its extension": chunk(b"3;a\nb\r\nabc\r\n0\r\n\r\n"),
    "a chunk with a bare CR in its extension": chunk(b"3;a\rb\r\nabc\r\n0\r\n\r\n"),
    "a chunk that ends with a bare CR": chunk(b"3\rabc\r\n0\r\n\r\n"),
    "a chunk longer than its size": chunk(b"2\r\nabc\r\n0\r\n\r\n"),
    "a chunk with other bytes behind": chunk(b"3\r\nabcXY0\r\n\r\n"),
    "a trailer with a bare LF": chunk(b"3\r\nabc\r\n0\r\nX: y\n\r\n"),
    "a trailer without a colon": chunk(b"3\r\nabc\r\n0\r\nX\r\n\r\n"),
    "a trailer with a blank before the colon": chunk(b"3\r\nabc\r\n0\r\nX : y\r\n\r\n"),
    "a trailer that is folded": chunk(b"3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"),
    # request lines and heads in disguise
    "a tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a blank in the target": b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a third digit in the version": b"GET / HTTP/1.10\r\nHost: x\r\n\r\n",
    "a version in lower case": b"GET / http/1.1\r\nHost: x\r\n\r\n",
    "a blank before the first field": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "a bare CR after the request line": b"GET / HTTP/1.1\rHost: x\r\n\r\n",
    "a bare CR in front": b"\rGET / HTTP/1.1\r\nHost: x\r\nX: y\rZ: z\r\n\r\n",
    "a field without a name": b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "Host with a second one in it": b"GET / HTTP/1.1\r\nHost: x, y\r\nHost: z\r\n\r\n",
    "Host beside an absolute target without one": b"GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target that is an authority": b"GET x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.fixture
def victim(server: Server) -> Callable[[], bytes]:
    """Makes the file; returns a function that reads it."""
    path = server.root / "victim"
    path.write_bytes(VICTIM)
    (server.root / "new").unlink(missing_ok=True)
    return lambda: path.read_bytes() if path.exists() else b""


def exchange(server: Server, *pieces: bytes) -> bytes:
    """Sends bytes and ends the sending side; returns all that comes."""
    received = bytearray()
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            for piece in pieces:
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)
            while data := connection.recv(65_536):
                received += data
        except ConnectionError:
            pass
    return bytes(received)


def statuses(received: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"^HTTP/1\.1 (\d{3})", received, re.MULTILINE)]


@pytest.mark.security("T-04", "M-03", "M-04", "M-05", "C-17")
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_message_gets_one_refusal_and_smuggles_nothing(
    server: Server, victim: Callable[[], bytes], name: str
) -> None:
    received = exchange(server, HOSTILE[name] + SMUGGLED)

    assert len(statuses(received)) == 1, received
    assert 400 <= statuses(received)[0] < 600, received
    assert victim() == VICTIM
    assert not (server.root / "new").exists()


@pytest.mark.security("T-04", "T-09", "M-07", "C-17")
@pytest.mark.parametrize(
    ("head", "expected"),
    [
        pytest.param(b'If-Match: "no"\r\nContent-Length: %d\r\n', [412], id="early, sized"),
        pytest.param(
            b'If-Match: "no"\r\nExpect: 100-continue\r\nContent-Length: %d\r\n',
            [412],
            id="0.CL by Expect",
        ),
        pytest.param(b"Content-Range: bytes 0-1/2\r\nContent-Length: %d\r\n", [400], id="400"),
        pytest.param(b"Destination: x\r\nContent-Length: %d\r\n", [201], id="stored"),
        pytest.param(b"Content-Length: 000%d\r\n", [201], id="leading zeros"),
        pytest.param(b"Content-Length:\t%d \t\r\n", [201], id="blanks around the length"),
        pytest.param(b"X: Transfer-Encoding: chunked\r\nContent-Length: %d\r\n", [201], id="value"),
        pytest.param(b"Transfer_Encoding: chunked\r\nContent-Length: %d\r\n", [201], id="CGI name"),
        pytest.param(b"TE: chunked\r\nContent-Length: %d\r\n", [201], id="TE field"),
        pytest.param(b"Connection: Content-Length\r\nContent-Length: %d\r\n", [201], id="hop"),
        pytest.param(b"Upgrade: h2c\r\nConnection: upgrade\r\nContent-Length: %d\r\n", [201]),
    ],
)
def test_a_body_that_looks_like_a_request_is_a_body(
    server: Server, victim: Callable[[], bytes], head: bytes, expected: list[int]
) -> None:
    request = PUT + head % len(SMUGGLED) + b"\r\n"
    received = exchange(server, request, SMUGGLED)

    assert expected == statuses(received)
    assert victim() == VICTIM
    if expected == [201]:
        assert (server.root / "new").read_bytes() == SMUGGLED


@pytest.mark.security("T-04")
@pytest.mark.parametrize(
    ("wire", "body"),
    [
        pytest.param(b'3;a="b;c"\r\nabc\r\n0\r\n\r\n', b"abc", id="extension"),
        pytest.param(b"00000003\r\nabc\r\n0000\r\n\r\n", b"abc", id="leading zeros"),
        pytest.param(b"A\r\n0123456789\r\n0;x\r\n\r\n", b"0123456789", id="extension at the end"),
        pytest.param(
            b"3\r\nabc\r\n0\r\nContent-Length: 99\r\nTransfer-Encoding: x\r\n\r\n",
            b"abc",
            id="framing in trailers",
        ),
    ],
)
def test_unusual_chunks_are_decoded_and_the_next_request_follows(
    server: Server, victim: Callable[[], bytes], wire: bytes, body: bytes
) -> None:
    following = b"GET /victim HTTP/1.1\r\nHost: x\r\n\r\n"
    received = exchange(server, chunk(wire) + following)

    assert statuses(received) == [201, 200]
    assert received.endswith(VICTIM)
    assert body == (server.root / "new").read_bytes()


@pytest.mark.security("M-04", "T-04")
@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.0, HTTP/1.1"])
def test_a_put_that_asks_for_an_upgrade_is_stored(
    server: Server, http: Connection, protocol: str, framing: str
) -> None:
    body = bytes(range(256)) * 1200
    fields = {"Upgrade": protocol, "Connection": "Upgrade, HTTP2-Settings", "HTTP2-Settings": "AA"}
    content = body if framing == "sized" else [body[:1000], body[1000:]]
    reply = http.put("/upgraded", content, fields)
    stored = (server.root / "upgraded").read_bytes()
    http.delete("/upgraded")

    assert reply.status == 201
    assert body == stored


@pytest.mark.security("M-07", "T-09")
@pytest.mark.parametrize("framing", ["sized", "chunked"])
@pytest.mark.parametrize("status", [412, 423, 403, 409, 400])
def test_a_client_still_sending_20_mb_reads_its_refusal(
    server: Server, victim: Callable[[], bytes], status: int, framing: str
) -> None:
    target, fields = "/victim", {}
    if status == 412:
        fields = {"If-None-Match": "*"}
    elif status == 403:
        target = "/dangling"
        (server.root / "dangling").symlink_to("/nowhere/at/all")
    elif status == 409:
        target = "/no/such/parent"
    elif status == 400:
        fields = {"Content-Range": "bytes 0-1/2"}
    piece = b"x" * MIB
    with server.connect() as owner, server.connect() as sender:
        token = owner.lock("/victim").token if status == 423 else ""
        content = piece * 20 if framing == "sized" else (piece for _ in range(20))
        reply = sender.put(target, content, fields)
        if token:
            owner.unlock("/victim", token)
    (server.root / "dangling").unlink(missing_ok=True)

    assert status == reply.status
    assert victim() == VICTIM


@pytest.mark.security("T-07")
@pytest.mark.parametrize("size", [2**62, 2**63 - 1, 2**64 - 1])
def test_an_absurd_length_is_refused_before_the_body(server: Server, size: int) -> None:
    received = exchange(server, PUT + b"Content-Length: %d\r\n\r\n" % size, b"abc")

    assert statuses(received)[0] in (400, 413, 507)
    assert sorted(path.name for path in server.root.iterdir() if path.name != "victim") == []
