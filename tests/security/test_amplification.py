"""Small requests for much work: what is sent and held stays in proportion."""

from __future__ import annotations

import asyncio
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import BadRequest
from davserver.protocol.ifheader import parse_if
from tests.conftest import AppDav
from tests.support.http import ConnectionEnded
from tests.support.server import Server

MIB = 1 << 20
SIZE = 100_000


@pytest.mark.security("S-03", "C-21")
@pytest.mark.parametrize(
    "ranges",
    [
        pytest.param(",".join(["0-"] * 500), id="0- 500 times"),
        pytest.param(",".join(["0-0"] * 10_000), id="10,000 times the first byte"),
        pytest.param(",".join(f"{n * 8}-{n * 8 + 1}" for n in range(10_000)), id="10,000 small"),
        pytest.param(",".join(f"{n}-" for n in range(40)), id="40 overlapping"),
        pytest.param("0-99999,0-99999,0-99999", id="three times the whole"),
        pytest.param(",".join(["-100000"] * 49), id="suffixes"),
        pytest.param("," * 60_000 + "0-1", id="commas"),
        pytest.param("0-" + "9" * 60_000, id="a long number"),
        pytest.param(" " * 60_000 + "0-1", id="blanks"),
    ],
)
def test_ranges_never_send_more_than_twice_the_file(dav: AppDav, ranges: str) -> None:
    dav.put("/f", b"x" * SIZE)
    reply = dav.get("/f", {"Range": f"bytes={ranges}"})

    assert reply.status in (200, 206)
    assert len(reply.body) <= 2 * SIZE + 10_000


class Swallower:
    """Drives the application and keeps nothing of the answer but its size."""

    def __init__(self, dav: AppDav) -> None:
        self.dav = dav
        self.sent = 0
        self.largest = 0
        self.status = 0

    def request(self, method: str, target: str, headers: Any, body: bytes) -> None:
        self.dav.run(self._request(method, target, headers, body))

    async def _request(self, method: str, target: str, headers: Any, body: bytes) -> None:
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not messages:
                await asyncio.Event().wait()  # the client stays
            return messages.pop()

        async def send(message: dict[str, Any]) -> None:
            self.status = message.get("status", self.status)
            size = len(message.get("body", b""))
            self.sent += size
            self.largest = max(self.largest, size)

        fields = [*headers, ("Content-Length", str(len(body)))]
        await self.dav.app(self.dav.scope(method, target, fields), receive, send)


@pytest.mark.security("X-07", "S-02")
@pytest.mark.parametrize("length", [10, 240], ids=["short names", "long names"])
def test_names_times_members_are_streamed_in_small_pieces(dav: AppDav, length: int) -> None:
    for number in range(200):
        dav.put(f"/f{number}", b"")
    names = b"".join(b"<p%d%b/>" % (n, b"x" * length) for n in range(900))
    body = b'<D:propfind xmlns:D="DAV:"><D:prop>%b</D:prop></D:propfind>' % names
    client = Swallower(dav)
    tracemalloc.start()
    try:
        client.request("PROPFIND", "/", [("Depth", "1")], body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert client.status == 207
    assert client.sent > 200 * 900 * length
    assert client.largest < 3 * MIB
    assert peak < 10 * MIB


@pytest.mark.security("X-07", "X-03")
def test_more_names_than_anybody_asks_for_are_413(dav: AppDav) -> None:
    names = b"".join(b"<p%d/>" % n for n in range(10_000))
    body = b'<D:propfind xmlns:D="DAV:"><D:prop>%b</D:prop></D:propfind>' % names

    assert dav.request("PROPFIND", "/", {"Depth": "0"}, body).status == 413


@pytest.mark.security("S-02", "S-06")
def test_a_large_listing_with_a_lock_on_every_member_is_streamed(dav: AppDav) -> None:
    count = 300
    for number in range(count):
        dav.put(f"/f{number}", b"")
        dav.lock(f"/f{number}")
    client = Swallower(dav)
    body = b'<D:propfind xmlns:D="DAV:"><D:prop><D:lockdiscovery/></D:prop></D:propfind>'
    tracemalloc.start()
    try:
        client.request("PROPFIND", "/", [("Depth", "1")], body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert client.status == 207
    assert client.largest < MIB
    assert peak < 10 * MIB


LOCKED = "urn:uuid:00000000-0000-0000-0000-000000000000"
IF_ATTACKS = {
    "lists": "(<a:b>)" * 9000,
    "conditions": "(" + "<a:b>" * 12_000 + ")",
    "Not": "(" + "Not " * 15_000,
    "parentheses": "(" * 60_000,
    "an unfinished token": "(<" + "a" * 60_000,
    "an unfinished tag": '(["' + "a" * 60_000,
    "unfinished tags": '(["' * 20_000,
    "blanks": " " * 60_000 + "(",
    "resources": "".join(f'</{n}> (["x"])' for n in range(3000)),
    "slashes": f"<{'/' * 60_000}> (<{LOCKED}>)",
    "dots": f"</{'a/../' * 10_000}> (<{LOCKED}>)",
    "escapes": f"</{'%41' * 20_000}> (<{LOCKED}>)",
}


@pytest.mark.security("S-07", "C-01", "C-17", "M-02")
@pytest.mark.parametrize("name", IF_ATTACKS)
def test_a_huge_if_is_400(dav: AppDav, name: str) -> None:
    dav.put("/f", b"x")

    assert dav.request("PROPFIND", "/f", {"If": IF_ATTACKS[name], "Depth": "0"}).status == 400
    assert dav.delete("/f", {"If": IF_ATTACKS[name]}).status == 400
    assert dav.get("/f").status == 200


@pytest.mark.security("S-07", "C-01")
def test_every_cut_of_an_if_is_refused_or_fails() -> None:
    value = f'<http://h/a> (<{LOCKED}> ["x" ]) (Not <DAV:no-lock> [W/"y"]) </b> (["z"])'.encode()
    taken = set()
    for cut in range(len(value)):
        try:
            parse_if([value[:cut]], authorities=[b"h"])
        except BadRequest:
            continue
        taken.add(value[:cut].rstrip()[-1:])

    assert taken == {b")"}


@pytest.mark.security("S-07", "C-01", "C-17", "M-02", "T-06")
@pytest.mark.parametrize(
    ("field", "expected"),
    [
        pytest.param(("If", "(<a:b>)" * 150_000), {431}, id="If of 1 MB"),
        pytest.param(("If", "(<a:b>)" * 5000), {400}, id="If of 35 KB"),
        pytest.param(("Destination", "/" + "a" * 100_000), {431}, id="Destination of 100 KB"),
        pytest.param(("Destination", "/" + "a/" * 20_000), {400}, id="Destination of 40 KB"),
        pytest.param(("Cookie", "a" * MIB), {431}, id="cookie of 1 MB"),
        pytest.param(("X-A", "b\r\nX: y" * 20_000), {431}, id="20,000 fields"),
    ],
)
def test_huge_fields_are_refused_by_the_server(
    server: Server, field: tuple[str, str], expected: set[int]
) -> None:
    (server.root / "f").write_bytes(b"x")
    with server.connect() as client:
        try:
            reply = client.request("MOVE", "/f", [("Destination", "/g"), field][-2:])
        except (ConnectionEnded, ConnectionError) as broken:
            pytest.fail(f"the answer did not get through: {broken}")

    assert reply.status in expected
    assert (server.root / "f").exists()


@pytest.mark.security("S-08")
@pytest.mark.parametrize("method", ["PROPFIND", "LOCK", "COPY", "MOVE", "PUT", "GET", "DELETE"])
@pytest.mark.parametrize(
    "field",
    ["Depth", "Timeout", "Overwrite", "Range", "Prefer", "Accept", "If-None-Match", "If-Range"],
)
def test_senseless_fields_never_give_500(dav: AppDav, method: str, field: str) -> None:
    for value in ("", ",", "a" * 60_000, "\xff\xfe", '"', "0" * 60_000, ", " * 30_000):
        dav.put("/f", b"x")
        reply = dav.request(method, "/f", {field: value, "Destination": "/g"})

        assert reply.status < 500, (value[:20], reply)


@pytest.mark.security("S-07", "S-08")
def test_long_header_values_take_linear_time(dav: AppDav) -> None:
    """64 KiB of anything: quadratic work would take minutes, and run into the time limit."""
    dav.put("/f", b"x")
    begun = time.perf_counter()
    for field in ("If-None-Match", "If-Match", "If-Range", "Range", "Prefer", "Content-Type"):
        for unit in (" ", ",", '"', "a", "W/", '"a",', "a ", "\t", ";", "=", "charset="):
            dav.request("GET", "/f", {field: unit * (60_000 // len(unit)), "Range": "bytes=0-1"})

    assert time.perf_counter() - begun < 10


@pytest.mark.security("S-01")
def test_an_endless_listing_stops_when_its_client_leaves(server: Server) -> None:
    for number in range(60):
        folder = Path(server.root / f"d{number}")
        folder.mkdir(exist_ok=True)
        for file in range(60):
            (folder / f"f{file}").touch()
    with server.connect() as other:
        for _ in range(10):
            with server.connect() as leaving:
                leaving.send_head("PROPFIND", "/", {"Depth": "infinity"})
                leaving.socket.recv(100)
        assert other.propfind("/d0", depth="1").hrefs
