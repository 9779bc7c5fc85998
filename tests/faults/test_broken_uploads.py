"""Uploads that break off, at a real server: nothing of them is ever seen (T-08).

The old content stays with its properties and its lock, nothing new appears, and nothing is left on
disk or open once the server has noticed.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.http import Connection
from tests.support.multistatus import MultiStatus
from tests.support.processes import await_true, below, serving
from tests.support.server import Server

TOPIC = "{http://example.org/ns}topic"
OLD = b"the old content\n" * 100
PART = bytes(range(256)) * 256
LONG = 40  # parts: more than the server gathers in memory


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
    folder = tmp_path_factory.mktemp("server")
    with Server(folder, workers=request.param) as running:
        yield running


def on_disk(root: Path) -> dict[str, bytes]:
    """Returns every file below the root, hidden ones too."""
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def begin(server: Server, target: str, headers: dict[str, str], parts: int) -> Connection:
    """Sends the head and some of the body: chunks, or bytes where the length was told."""
    connection = server.connect()
    connection.send_head("PUT", target, headers)
    for _ in range(parts):
        if "Content-Length" in headers:
            connection.send_raw(PART)
        else:
            connection.send_chunk(PART)
    return connection


def properties(server: Server, target: str) -> MultiStatus:
    names = [TOPIC, "{DAV:}getetag", "{DAV:}getlastmodified", "{DAV:}lockdiscovery"]
    with server.connect() as dav:
        return dav.propfind(target, props=names)


@pytest.mark.security("T-08", "M-06")
@pytest.mark.parametrize("parts", [0, 1, LONG], ids=["nothing", "little", "much"])
@pytest.mark.parametrize("framing", ["Content-Length", "Transfer-Encoding"])
@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
def test_an_upload_that_breaks_off_changes_nothing(
    server: Server, end: Callable[[Connection], None], framing: str, parts: int
) -> None:
    with server.connect() as dav:
        dav.delete("/old")
        assert dav.put("/old", OLD).status == 201
        dav.proppatch("/old", set={TOPIC: "of the old"})
        token = dav.lock("/old").token
        before = properties(server, "/old")
        length = str(len(PART) * parts + 1)
        value = length if framing == "Content-Length" else "chunked"

        for target in ("/old", "/new"):
            headers = {framing: value} | ({"If": f"(<{token}>)"} if target == "/old" else {})
            connection = begin(server, target, headers, parts)
            end(connection)
            connection.close()

        for pid in serving(server):
            assert await_true(lambda pid=pid: not below(pid, server.root)), below(pid, server.root)
        assert on_disk(server.root) == {"old": OLD}
        assert dav.get("/old").body == OLD
        assert dav.get("/new").status == 404
        after = properties(server, "/old")
        assert dav.members("/") == ["/old"]
        assert dav.unlock("/old", token).status == 204
    assert texts(after) == texts(before)


def texts(answer: MultiStatus) -> dict[str, str]:
    # The seconds that a lock still has differ.
    values = {name: "".join(element.itertext()) for name, element in answer.ok("/old").items()}
    values["{DAV:}lockdiscovery"] = values["{DAV:}lockdiscovery"].partition("Second-")[0]
    return values


@pytest.mark.security("T-08", "K-01")
@pytest.mark.parametrize("framing", ["Content-Length", "Transfer-Encoding"])
def test_a_worker_that_is_killed_during_uploads_leaves_nothing_of_them(
    tmp_path: Path, framing: str
) -> None:
    """Whoever takes its place serves what was there, on the same port."""
    value = str(len(PART) * LONG * 2) if framing == "Content-Length" else "chunked"
    with Server(tmp_path, workers=2) as server:
        with server.connect() as dav:
            dav.put("/old", OLD)
        uploads = [begin(server, f"/{name}", {framing: value}, LONG) for name in ("old", "new")]
        killed = serving(server)
        assert await_true(lambda: sum(len(below(pid, server.root)) for pid in killed) == 2)

        for pid in killed:
            os.kill(pid, signal.SIGKILL)

        for connection in uploads:
            assert connection.is_closed()
            connection.close()
        assert await_true(lambda: len(set(serving(server)) - set(killed)) == 2)
        with server.connect() as dav:
            assert dav.get("/old").body == OLD
            assert dav.members("/") == ["/old"]
            assert dav.put("/new", b"whole").status == 201
        assert on_disk(server.root) == {"old": OLD, "new": b"whole"}


@pytest.mark.security("T-08")
def test_a_server_that_is_killed_during_uploads_leaves_nothing_of_them(tmp_path: Path) -> None:
    """Also where an upload has a name on disk, because the system knows none without."""
    environment = {"DAVSERVER_FALLBACKS": "tmpfile"}
    server = Server(tmp_path, environment=environment)
    with server:
        with server.connect() as dav:
            dav.put("/old", OLD)
        uploads = [begin(server, f"/{name}", {"Content-Length": "99999999"}, LONG) for name in "ab"]
        assert await_true(lambda: len(on_disk(server.root)) == 3)
        server.kill()
        for connection in uploads:
            connection.close()
        server.start()
        with server.connect() as dav:
            assert dav.members("/") == ["/old"]
        assert on_disk(server.root) == {"old": OLD}
