"""Messages on the wire, against the real server: what a broken, refused or delayed body leaves on
the disk, and whether the connection stays in step (RFC 9112; RFC 9110 section 10.1.1)."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.support.http import Connection, ConnectionEnded, split
from tests.support.server import Server

D = "{DAV:}"
LARGE = bytes(range(251)) * 12_532  # 3 MiB and a bit


@pytest.fixture
def root(server: Server) -> Iterator[Path]:
    """The served folder, with the file `old` alone, before and after."""
    (server.root / "old").write_bytes(b"kept")
    yield server.root
    for name in os.listdir(server.root):
        (server.root / name).unlink()


def settled(folder: Path, expected: dict[str, bytes]) -> bool:
    """Waits, for a bounded time, until the folder holds what is expected, hidden names too."""
    for _ in range(200):
        found = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
        if found == expected:
            return True
        threading.Event().wait(0.01)
    raise AssertionError({name: len(data) for name, data in found.items()})


# -- bodies that break off -------------------------------------------------------------------


@pytest.mark.rfc("PU-09", "HF-05")
@pytest.mark.parametrize("target", ["/old", "/new"])
@pytest.mark.parametrize("end", ["half-close", "close"])
@pytest.mark.parametrize(
    ("headers", "body"),
    [
        pytest.param({"Content-Length": "10"}, b"only 4", id="short"),
        pytest.param({"Content-Length": str(len(LARGE) + 1)}, LARGE, id="large and short"),
        pytest.param({"Transfer-Encoding": "chunked"}, b"4\r\nonly\r\n", id="no last chunk"),
        pytest.param({"Transfer-Encoding": "chunked"}, b"9\r\nonly", id="half a chunk"),
        pytest.param(
            {"Transfer-Encoding": "chunked"},
            b"%x\r\n%b\r\n0\r\n" % (len(LARGE), LARGE),
            id="large, the very end missing",
        ),
    ],
)
def test_a_body_that_breaks_off_changes_nothing(
    server: Server, root: Path, target: str, headers: dict[str, str], body: bytes, end: str
) -> None:
    with server.connect() as connection:
        connection.send_head("PUT", target, headers)
        connection.send_raw(body)
        if end == "half-close":
            connection.half_close()
            with suppress(ConnectionEnded):
                assert connection.read_reply().status in (400, 408)

    with server.connect() as connection:
        assert connection.members("/") == ["/old"]
    assert settled(root, {"old": b"kept"})


@pytest.mark.rfc("PU-09", "HF-01", "HF-02", "HF-03", "HF-04")
@pytest.mark.parametrize(
    ("fields", "body", "expected"),
    [
        pytest.param("Content-Length: 3\r\nContent-Length: 4", b"new!", 400, id="two lengths"),
        pytest.param("Content-Length: 3x", b"new", 400, id="no number"),
        pytest.param(
            "Content-Length: 3\r\nTransfer-Encoding: chunked",
            b"3\r\nnew\r\n0\r\n\r\n",
            400,
            id="both",
        ),
        pytest.param("Transfer-Encoding: gzip, chunked", b"3\r\nnew\r\n0\r\n\r\n", 501, id="gzip"),
        pytest.param("Transfer-Encoding: chunked, gzip", b"3\r\nnew\r\n0\r\n\r\n", 400, id="last"),
        pytest.param("Transfer-Encoding: chunked", b"zz\r\nnew\r\n0\r\n\r\n", 400, id="bad chunk"),
        pytest.param("Transfer-Encoding: chunked", b"3\r\nnew!\r\n0\r\n\r\n", 400, id="long chunk"),
        pytest.param("Host: b\r\nContent-Length: 3", b"new", 400, id="two Hosts"),
    ],
)
@pytest.mark.parametrize("target", ["old", "new"])
def test_a_body_of_no_certain_length_changes_nothing(
    http: Connection, root: Path, target: str, fields: str, body: bytes, expected: int
) -> None:
    http.send_raw(f"PUT /{target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n".encode() + body)

    reply = http.read_reply("PUT")

    assert (reply.status, reply.headers["connection"]) == (expected, "close")
    assert http.is_closed()
    assert settled(root, {"old": b"kept"})


@pytest.mark.rfc("HF-04")
def test_no_host_is_400(http: Connection) -> None:
    http.send_raw(b"GET /old HTTP/1.1\r\n\r\n")

    assert http.read_reply("GET").status == 400


@pytest.mark.rfc("PU-12", "HF-05")
@pytest.mark.parametrize("size", [1, 4096, 1 << 20])
def test_chunked_uploads_arrive_whole(http: Connection, root: Path, size: int) -> None:
    data = LARGE if size > 1 else LARGE[:2000]

    assert http.put("/new", list(split(data, size))).status == 201
    assert http.get("/new").body == data
    assert settled(root, {"old": b"kept", "new": data})


def test_an_upgrade_does_not_swallow_the_body(http: Connection, root: Path) -> None:
    headers = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAA"}

    assert http.put("/new", b"whole", headers).status == 201
    assert settled(root, {"old": b"kept", "new": b"whole"})


PUT = b"PUT /new HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        pytest.param(PUT % (5, b"whole"), [201], id="small"),
        pytest.param(PUT % (len(LARGE), LARGE), [201], id="large"),
        pytest.param(PUT % (0, b"") + PUT % (5, b"whole"), [201, 204], id="pipelined"),
        pytest.param(
            PUT % (5, b"whole") + b"GET /new HTTP/1.1\r\nHost: x\r\n\r\n", [201, 200], id="read"
        ),
    ],
)
def test_a_client_that_ends_its_side_after_a_whole_request_is_answered(
    server: Server, root: Path, sent: bytes, expected: list[int]
) -> None:
    with server.connect() as connection:
        connection.send_raw(sent)
        connection.half_close()
        found = [connection.read_reply("PUT").status for _ in expected]
        assert found == expected
        assert connection.is_closed()

    assert settled(root, {"old": b"kept", "new": LARGE if LARGE in sent else b"whole"})


# -- Expect ----------------------------------------------------------------------------------


@pytest.mark.rfc("HE-01")
@pytest.mark.parametrize("body", [b"small", LARGE, [b"in", b"chunks"]])
def test_100_comes_first_when_the_body_is_wanted(
    http: Connection, root: Path, body: bytes | list[bytes]
) -> None:
    reply = http.put("/new", body, {"Expect": "100-continue"})

    assert (reply.status, reply.interim) == (201, (100,))
    assert http.get("/new").body == (body if isinstance(body, bytes) else b"inchunks")


@pytest.mark.rfc("HE-01", "HE-03", "HC-06")
@pytest.mark.parametrize(
    ("method", "target", "headers", "expected"),
    [
        ("PUT", "/old", {"If-Match": '"other"'}, 412),
        ("PUT", "/old", {"If-None-Match": "*"}, 412),
        ("PUT", "/old", {"If": "(<urn:uuid:unknown>)"}, 412),
        ("PUT", "/no/such", {}, 409),
        ("PUT", "/", {}, 405),
        ("PUT", "/new", {"Content-Range": "bytes 0-4/5"}, 400),
        ("PUT", "/new", {"Content-Encoding": "gzip"}, 415),
        ("PUT", "/%00", {}, 400),
        ("MKCOL", "/new", {}, 415),
        ("POST", "/old", {}, 405),
        ("BREW", "/old", {}, 501),
    ],
)
def test_a_refusal_comes_instead_of_100_and_ends_the_connection(
    http: Connection,
    root: Path,
    method: str,
    target: str,
    headers: dict[str, str],
    expected: int,
) -> None:
    fields = headers | {"Expect": "100-continue", "Content-Length": "5"}
    http.send_head(method, target, fields)

    reply = http.read_reply()

    assert (reply.status, reply.interim) == (expected, ())
    assert reply.headers["connection"] == "close"
    # Nobody can tell whether this is the body or the next request: it is neither.
    with suppress(ConnectionError):
        http.send_raw(b"DELETE /old HTTP/1.1\r\nHost: x\r\n\r\n")
    assert http.is_closed()
    assert settled(root, {"old": b"kept"})


@pytest.mark.rfc("HE-01", "PU-10")
def test_a_lock_is_told_of_before_the_body(http: Connection, root: Path) -> None:
    token = http.lock("/old").token

    reply = http.put("/old", LARGE, {"Expect": "100-continue"})

    assert (reply.status, reply.interim) == (423, ())
    assert http.unlock("/old", token).status == 204
    assert settled(root, {"old": b"kept"})


@pytest.mark.rfc("HE-02")
def test_another_expectation_is_417_and_nothing_is_stored(http: Connection, root: Path) -> None:
    http.send_head("PUT", "/new", {"Expect": "wonders", "Content-Length": "3"})

    reply = http.read_reply()

    assert (reply.status, reply.headers["connection"]) == (417, "close")
    assert settled(root, {"old": b"kept"})


# -- answers before the body was read ---------------------------------------------------------


@pytest.mark.rfc("HE-03", "HC-06")
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_a_short_refused_body_leaves_the_connection_in_step(
    http: Connection, root: Path, chunked: bool
) -> None:
    body = b"DELETE /old HTTP/1.1\r\nHost: x\r\n\r\n" * 100
    http.socket  # noqa: B018 - connects
    first = http._socket

    for _ in range(3):
        content: bytes | list[bytes] = list(split(body, 100)) if chunked else body
        assert http.put("/old", content, {"If-Match": '"other"'}).status == 412
        assert http.request("SEARCH", "/old", None, content).status in (405, 501)
        assert http.get("/old").body == b"kept"
    assert http._socket is first
    assert settled(root, {"old": b"kept"})


@pytest.mark.rfc("HE-03", "HC-06")
def test_a_client_that_goes_on_sending_reads_its_early_answer(http: Connection, root: Path) -> None:
    size = 20_000_000
    http.send_head("PUT", "/old", {"If-Match": '"other"', "Content-Length": str(size)})
    for piece in split(b"x" * size, 1 << 20):
        try:
            http.send_raw(piece)
        except ConnectionError:
            break

    reply = http.read_reply()

    assert (reply.status, reply.headers["connection"]) == (412, "close")
    assert settled(root, {"old": b"kept"})


# -- the request line and what every answer has ------------------------------------------------


@pytest.mark.rfc("HF-06", "CP-16", "DN-02")
def test_the_authority_of_an_absolute_target_is_the_servers(http: Connection, root: Path) -> None:
    head = "COPY http://files.example:81/old HTTP/1.1\r\nHost: other.example\r\n"
    for destination, expected in (
        ("http://other.example/new", 502),
        ("https://FILES.example:81/new", 201),
    ):
        http.send_raw(f"{head}Destination: {destination}\r\n\r\n".encode())
        assert http.read_reply("COPY").status == expected

    assert settled(root, {"old": b"kept", "new": b"kept"})


@pytest.mark.rfc("HM-01", "HM-02", "HM-03", "HM-04", "DL-10")
def test_odd_request_lines(server: Server, root: Path) -> None:
    for line, expected in {
        "BREW /old": 501,
        "get /old": 501,
        "CONNECT old:80": 501,
        "TRACE /old": 405,
        "PATCH /old": 415,
        "PATCH /": 405,
        "OPTIONS *": 200,
        "HEAD /old": 200,
        "DELETE /old/..": 400,
        "DELETE /%2e%2e/old": 400,
    }.items():
        with server.connect() as connection:
            connection.send_raw(f"{line} HTTP/1.1\r\nHost: x\r\nX-Secret: c2\r\n\r\n".encode())
            reply = connection.read_reply(line.split()[0])
            assert (line, reply.status) == (line, expected)
            assert b"c2" not in reply.body
            assert expected not in (405, 501) or "PROPFIND" in reply.headers.tokens("allow")
    assert settled(root, {"old": b"kept"})


@pytest.mark.rfc("DL-10")
def test_a_fragment_on_the_request_line_deletes_nothing(http: Connection, root: Path) -> None:
    http.send_raw(b"DELETE /old#part HTTP/1.1\r\nHost: x\r\n\r\n")

    assert http.read_reply("DELETE").status == 400
    assert settled(root, {"old": b"kept"})


@pytest.mark.rfc("HX-02", "HX-01")
def test_no_coding_is_ever_applied(http: Connection, root: Path) -> None:
    for accepted in ("gzip", "identity;q=0", "identity;q=0, *;q=0", "gzip, br;q=1.0"):
        reply = http.get("/old", {"Accept-Encoding": accepted})
        assert (reply.status, reply.body) == (200, b"kept")
        assert "content-encoding" not in reply.headers
        part = http.get("/old", {"Accept-Encoding": accepted, "Range": "bytes=1-2"})
        assert (part.status, part.body) == (206, b"ep")


def test_every_answer_has_a_date_and_no_name_of_another_server(
    http: Connection, root: Path
) -> None:
    for method, target in [
        ("OPTIONS", "/"),
        ("GET", "/old"),
        ("HEAD", "/old"),
        ("PROPFIND", "/"),
        ("GET", "/missing"),
        ("MKCOL", "/old"),
        ("DELETE", "/no/such"),
        ("BREW", "/"),
        ("GET", "/%zz"),
    ]:
        headers = http.request(method, target, {"Depth": "0"}).headers
        sent = parsedate_to_datetime(headers["date"]).timestamp()
        assert abs(sent - (root / "old").stat().st_mtime) < 60
        assert "server" not in headers
        assert re.fullmatch(
            r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} [\d:]{8} GMT", headers["date"]
        )
