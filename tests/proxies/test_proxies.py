"""The front-ends of config/, each run for real before a real server: TLS, below a prefix.

What a proxy can break: Destination and tagged lists that name https, names that it decodes or
normalises, bodies that it stores or limits, long header fields, early answers.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conformance.test_litmus import check_litmus
from tests.support.http import Connection, split
from tests.support.processes import await_true, below, serving
from tests.support.proxies import KINDS, Proxy
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(90)]

MIB = 1 << 20


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("behind")
    with Server(folder, workers=4, prefix="/dav") as running:
        yield running


@pytest.fixture(scope="module", params=KINDS)
def proxy(
    request: pytest.FixtureRequest, server: Server, client: Callable[[str], str]
) -> Iterator[Proxy]:
    kind = KINDS[request.param]
    with Proxy(kind, client(kind.program), server) as running:
        yield running


@pytest.fixture
def http(proxy: Proxy) -> Iterator[Connection]:
    """A connection through the proxy, to an empty collection."""
    with proxy.connect() as connection:
        for href in connection.members("/dav/"):
            assert connection.delete(href).status == 204
        yield connection


@pytest.mark.litmus
def test_litmus_passes_whole_and_without_warning(
    proxy: Proxy, client: Callable[[str], str], tmp_path: Path
) -> None:
    check_litmus([client("litmus"), "-k", proxy.url], tmp_path)


# --- what names the server in header fields -------------------------------------------------------


@pytest.mark.security("T-01")
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_destination_as_clients_send_it_is_ours(
    http: Connection, proxy: Proxy, method: str
) -> None:
    http.put("/dav/a%20b", b"x")
    destination = f"https://127.0.0.1:{proxy.port}/dav/100%25%20c"
    first = http.request(method, "/dav/a%20b", {"Destination": destination, "Overwrite": "F"})
    http.put("/dav/d", b"y")
    second = http.request(method, "/dav/d", {"Destination": destination})

    assert (first.status, second.status) == (201, 204)
    assert http.get("/dav/100%25%20c").body == b"y"
    assert first.headers["location"] == "/dav/100%25%20c"


@pytest.mark.security("T-01", "T-02")
@pytest.mark.parametrize(
    "told",
    [{}, {"X-Forwarded-Host": "evil.example"}, {"Forwarded": "host=evil.example;proto=https"}],
    ids=["", "X-Forwarded-Host", "Forwarded"],
)
def test_another_servers_destination_is_not_whatever_the_client_says(
    http: Connection, proxy: Proxy, told: dict[str, str]
) -> None:
    http.put("/dav/a", b"x")
    reply = http.move("/dav/a", "https://evil.example/dav/b", headers=told)

    assert reply.status == 502
    assert http.get("/dav/a").body == b"x"


def test_a_lock_is_used_with_its_https_url(http: Connection, proxy: Proxy) -> None:
    lock = http.lock("/dav/f")
    url = f"https://127.0.0.1:{proxy.port}/dav/f"
    # A refusal may come before its body has gone through: nginx closes the connection after it.
    with proxy.connect() as other:
        refused = other.put("/dav/f", b"x").status
    statuses = [
        http.put("/dav/f", b"x", {"If": f"<{url}> (<{lock.token}>)"}).status,
        http.move("/dav/f", f"{url}2", headers={"If": f"<{url}> (<{lock.token}>)"}).status,
    ]

    assert lock.activelock.find("{DAV:}lockroot/{DAV:}href").text == "/dav/f"
    assert [refused, *statuses] == [423, 204, 201]


def test_a_long_if_gets_through(http: Connection) -> None:
    """A client that holds many locks submits many tokens: our limit is 8 KiB."""
    value = f"({' '.join(f'Not <urn:uuid:{number:036}>' for number in range(157))})"
    assert 8000 < len(value) <= 8192

    assert http.put("/dav/f", b"x", {"If": value}).status == 201


@pytest.mark.parametrize("prefix", ["", "/dav"], ids=["root", "prefix without slash"])
def test_what_windows_asks_first_is_answered_by_davserver(proxy: Proxy, prefix: str) -> None:
    with proxy.connect() as http:
        options = http.options(prefix or "/")
        listing = http.propfind(prefix or "/", depth="0")

    assert (options.status, options.headers["dav"][:4]) == (200, "1, 2" if prefix else "1, 3")
    assert list(listing.hrefs) == [f"{prefix}/"]


# --- names ----------------------------------------------------------------------------------------

NAMES = {
    "space": "a%20b",
    "percent": "100%25",
    "percent that looks like an escape": "a%2520b",
    "semicolon": "a;b",
    "escaped semicolon": "a%3Bb",
    "plus": "a+b",
    "escaped plus": "a%2Bb",
    "hash": "a%23b",
    "question mark": "a%3Fb",
    "backslash": "a%5Cb",
    "brackets": "%5Ba%5D%7Bb%7D",
    "quotes": "%22a%27",
    "ampersand": "a%26b=c",
    "dots": "..a..",
    "colon": "C%3A",
    "umlaut": "%C3%BC",
    "decomposed umlaut": "u%CC%88",
    "emoji": "%F0%9F%93%81",
    "tilde": "~%24doc.docx",
    "long": "x" * 250,
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_odd_names_stay_what_they_are(http: Connection, proxy: Proxy, name: str) -> None:
    stored = http.put(f"/dav/{name}", b"x").status
    listed = http.members("/dav/")
    collection = f"https://127.0.0.1:{proxy.port}/dav/c/"
    http.mkcol("/dav/c")
    copied = http.copy(f"/dav/{name}", collection + name).status
    read = http.get(f"/dav/c/{name}").body

    assert (stored, copied, read) == (201, 201, b"x")
    assert [len(listed), os.listdir(proxy.server.root / "c")] == [
        1,
        [path.name for path in proxy.server.root.iterdir() if path.name != "c"],
    ]
    assert http.get(listed[0]).body == b"x"


def test_slashes_in_a_row_are_one(http: Connection) -> None:
    http.mkcol("/dav/c")
    http.put("/dav//c///f", b"x")

    assert http.get("/dav/c/f").body == b"x"
    assert http.get("/dav//c//f").body == b"x"


@pytest.mark.parametrize("path", ["/dav/../secret", "/dav/c/../../secret", "/dav/%2e%2e/secret"])
def test_dots_lead_nowhere(http: Connection, proxy: Proxy, path: str) -> None:
    """Some proxies resolve them, and find nothing there either; some hand them on."""
    (proxy.server.folder / "secret").write_text("secret")

    assert http.get(path).status in (400, 404)


# --- bodies ---------------------------------------------------------------------------------------


def arrived(server: Server) -> int:
    """Returns the bytes of the longest upload that the server is at."""
    sizes = [0]
    for pid in serving(server):
        for number in os.listdir(f"/proc/{pid}/fd"):
            path = f"/proc/{pid}/fd/{number}"
            try:
                if os.readlink(path).startswith(f"{server.root}/"):
                    sizes.append(os.stat(path).st_size)
            except FileNotFoundError:
                continue  # closed meanwhile
    return max(sizes)


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_an_upload_goes_through_as_it_comes(http: Connection, proxy: Proxy, framing: str) -> None:
    """The proxy stores nothing first: three of four MiB are there before the last is sent."""
    pieces = [os.urandom(MIB) for _ in range(4)]
    fields = {"Content-Length": str(4 * MIB)}
    send = http.send_raw
    if framing == "chunked":
        fields = {"Transfer-Encoding": "chunked"}
        send = http.send_chunk  # type: ignore[assignment]
    http.send_head("PUT", "/dav/f", fields)
    for piece in pieces[:3]:
        send(piece)
    there = await_true(lambda: arrived(proxy.server) >= 2 * MIB)
    send(pieces[3])
    if framing == "chunked":
        http.end_chunks()
    reply = http.read_reply()

    assert there
    assert reply.status == 201
    assert (proxy.server.root / "f").read_bytes() == b"".join(pieces)


def test_a_large_file_comes_back_whole_and_in_parts(http: Connection) -> None:
    content = os.urandom(MIB) * 64
    put = http.put("/dav/f", content)
    got = http.get("/dav/f")
    part = http.get("/dav/f", {"Range": f"bytes={40 * MIB}-{40 * MIB + 9}"})
    tail = http.get("/dav/f", {"Range": "bytes=-5", "If-Range": got.headers["etag"]})

    assert put.status == 201
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(content).digest()
    assert (part.status, part.body) == (206, content[:10])
    assert part.headers["content-range"] == f"bytes {40 * MIB}-{40 * MIB + 9}/{64 * MIB}"
    assert (tail.status, tail.body) == (206, content[-5:])


def test_small_chunks_without_a_length_are_an_upload(http: Connection) -> None:
    content = os.urandom(100_000)

    assert http.put("/dav/f", split(content, 777)).status == 201
    assert http.get("/dav/f").body == content


def test_an_empty_file_is_stored(http: Connection) -> None:
    put = http.put("/dav/f", b"")
    got = http.get("/dav/f")

    # (To HEAD Apache says no length of 0, and cannot be told to.)
    assert (put.status, got.status, got.headers["content-length"]) == (201, 200, "0")


def test_who_expects_100_continue_gets_it(http: Connection) -> None:
    assert http.put("/dav/f", b"x" * 70_000, {"Expect": "100-continue"}).status == 201
    assert http.get("/dav/f").body == b"x" * 70_000


@pytest.mark.security("T-09")
@pytest.mark.parametrize("size", [1000, 20 * MIB])
def test_a_refused_upload_is_told_why(http: Connection, proxy: Proxy, size: int) -> None:
    http.put("/dav/f", b"kept")
    refused = http.put("/dav/f", bytes(size), {"If-Match": '"none"'})
    with proxy.connect() as again:
        got = again.get("/dav/f").body

    assert (refused.status, got) == (412, b"kept")


def test_entity_tags_are_the_servers(http: Connection) -> None:
    """Nothing is compressed on the way, which would change them."""
    stored = http.put("/dav/f.txt", b"x" * 10_000).headers["etag"]
    got = http.get("/dav/f.txt", {"Accept-Encoding": "gzip, br"})
    again = http.get("/dav/f.txt", {"If-None-Match": stored})
    saved = http.put("/dav/f.txt", b"y", {"If-Match": got.headers["etag"]})

    assert got.headers["etag"] == stored
    assert "content-encoding" not in got.headers
    assert (again.status, saved.status) == (304, 204)


def test_every_method_gets_through(http: Connection) -> None:
    http.mkcol("/dav/c")
    http.put("/dav/c/f", b"x")
    update = http.proppatch("/dav/c", set={"{urn:x}p": "ü"})
    lock = http.lock("/dav/c", depth="infinity")
    refreshed = http.refresh("/dav/c", lock.token)
    unlocked = http.unlock("/dav/c", lock.token)
    listed = http.propfind("/dav/", depth="infinity")
    deleted = http.delete("/dav/c")

    assert [update.status, refreshed.status, unlocked.status] == [207, 200, 204]
    assert sorted(listed.hrefs) == ["/dav/", "/dav/c/", "/dav/c/f"]
    assert deleted.status == 204


def test_a_broken_upload_leaves_nothing(http: Connection, proxy: Proxy) -> None:
    http.put("/dav/f", b"kept")
    with proxy.connect() as breaking:
        breaking.send_head("PUT", "/dav/f", {"Transfer-Encoding": "chunked"})
        breaking.send_chunk(bytes(2 * MIB))
        begun = await_true(lambda: arrived(proxy.server) > 0)
    ended = await_true(
        lambda: not any(below(pid, proxy.server.root) for pid in serving(proxy.server))
    )

    assert begun
    assert ended
    assert http.get("/dav/f").body == b"kept"
    assert http.members("/dav/") == ["/dav/f"]
