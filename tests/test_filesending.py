"""Large files go from the page cache to the socket at once, where our own server serves."""

from __future__ import annotations

import asyncio
import errno
import mmap
import os
import re
import resource
import socket
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing, suppress
from math import inf
from pathlib import Path
from random import Random
from typing import Any

import pytest

from davserver.app import create_app
from davserver.asgi import FILE_MESSAGE, FileStretch, Message, Receive, Scope, Send
from davserver.state.memory import MemoryState
from davserver.wire.filesending import STEP, FileSender
from tests.support.asgi import AsgiDav, drive
from tests.support.http import ConnectionEnded
from tests.support.server import Server

SIZE = 24 << 20
"""Bytes: more than the sockets of both ends hold."""
RANGE = {"Range": "bytes=1000000-9999999"}


@pytest.fixture(scope="module")
def content() -> bytes:
    return Random(1).randbytes(SIZE)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Iterator[Server]:
    environment = {"DAVSERVER_WRITE_IDLE_S": "1", "DAVSERVER_ACCESS_LOG": "true"}
    with Server(tmp_path_factory.mktemp("files"), environment=environment) as server:
        (server.root / "large").write_bytes(content)
        yield server


def until(holds: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 15
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.02)
    return holds()


def descriptors(server: Server) -> int:
    return len(os.listdir(f"/proc/{server.pid}/fd"))


# -- the answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "begin", "end"),
    [({}, 0, SIZE), (RANGE, 1_000_000, 10_000_000), ({"Range": "bytes=-700001"}, -700_001, SIZE)],
    ids=["whole", "range", "end"],
)
def test_a_large_file_arrives_as_it_is(
    server: Server, content: bytes, headers: dict[str, str], begin: int, end: int
) -> None:
    with server.connect() as connection:
        reply = connection.get("/large", headers=headers)

    assert reply.body == content[begin:end]


def test_several_ranges_come_between_their_heads(server: Server, content: bytes) -> None:
    with server.connect() as connection:
        reply = connection.get("/large", headers={"Range": "bytes=5-4000004,9000000-9999999"})
    parts = reply.body.split(b"\r\n\r\n", 1)[1]
    second = parts[4_000_000:].split(b"\r\n\r\n", 1)[1]

    assert parts[:4_000_000] == content[5:4_000_005]
    assert second[:1_000_000] == content[9_000_000:10_000_000]
    assert second[1_000_000:].startswith(b"\r\n--")


def test_pipelined_requests_around_a_large_file_are_answered_in_order(
    server: Server, content: bytes
) -> None:
    with server.connect() as connection:
        for method, target in (("HEAD", "/large"), ("GET", "/large"), ("GET", "/none")):
            connection.send_head(method, target)
        head = connection.read_reply("HEAD")
        replies = [connection.read_reply("GET"), connection.read_reply("GET")]

    assert (head.status, head.body, head.headers["Content-Length"]) == (200, b"", str(SIZE))
    assert [reply.status for reply in replies] == [200, 404]
    assert replies[0].body == content


def test_a_client_that_ends_its_sending_side_gets_all_of_it(server: Server, content: bytes) -> None:
    with server.connect() as connection:
        connection.send_head("GET", "/large")
        connection.half_close()

        assert connection.read_reply().body == content


def test_the_access_log_has_the_bytes_that_were_sent(server: Server) -> None:
    with server.connect() as connection:
        connection.get("/large", headers={"Range": "bytes=0-7654320"})

    assert until(lambda: " GET /large 206 7654321 " in server.log_text())


# -- what goes wrong ---------------------------------------------------------------------------


def test_a_client_that_leaves_frees_everything(server: Server) -> None:
    before = descriptors(server)
    for _ in range(5):
        with server.connect() as connection:
            connection.send_head("GET", "/large")
            connection.socket.recv(100)

    assert until(lambda: descriptors(server) <= before)


def test_a_client_that_takes_nothing_is_cut_off(server: Server) -> None:
    before = descriptors(server)
    with server.connect() as connection:
        connection.send_head("GET", "/large")

        assert until(lambda: descriptors(server) > before)
        assert until(lambda: descriptors(server) <= before)


def test_a_client_that_takes_it_slowly_is_not_cut_off(server: Server, content: bytes) -> None:
    received = bytearray()
    with server.connect() as connection:
        connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        connection.send_head("GET", "/large")
        begun = time.monotonic()
        while not received.endswith(content[-1000:]):
            chunk = connection.socket.recv(1 << 20)
            assert chunk, "cut off"
            received += chunk
            time.sleep(0.1)  # the client's pace: in all longer than the server waits for nothing

    assert time.monotonic() - begun > 2
    assert received.endswith(content)


def test_a_file_that_gets_shorter_breaks_the_connection(tmp_path: Path, content: bytes) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        file = server.root / "shrinks"
        file.write_bytes(content)
        with server.connect() as connection:
            connection.send_head("GET", "/shrinks")
            connection.await_continue()
            os.truncate(file, 1000)
            with pytest.raises((ConnectionEnded, ConnectionResetError)):
                connection.read_reply()
    finally:
        server.stop()

    assert "the file got shorter while it was sent" in server.log_text()


@pytest.mark.parametrize("end", ["shorter", "stop"])
def test_the_access_log_has_what_was_sent_of_an_answer_that_breaks_off(
    tmp_path: Path, content: bytes, end: str
) -> None:
    environment = {"DAVSERVER_ACCESS_LOG": "true", "DAVSERVER_GRACE_S": "1"}
    received = 0
    server = Server(tmp_path, environment=environment)
    server.start()
    try:
        file = server.root / "large"
        file.write_bytes(content)
        with server.connect() as connection:
            connection.send_head("GET", "/large")
            connection.await_continue()
            if end == "shorter":
                os.truncate(file, 1000)
            else:
                server.stop()
            with suppress(ConnectionResetError):
                while chunk := connection.socket.recv(1 << 20):
                    received += len(chunk)
    finally:
        server.stop()
    logged = re.search(r" GET /large 200 (\d+) ", server.log_text())

    assert logged is not None
    assert received <= int(logged[1]) < SIZE


def test_the_server_ends_while_a_client_takes_nothing(tmp_path: Path, content: bytes) -> None:
    with Server(tmp_path, environment={"DAVSERVER_GRACE_S": "1"}) as server:
        (server.root / "large").write_bytes(content)
        with server.connect() as connection:
            connection.send_head("GET", "/large")
            connection.await_continue()
            code = server.stop()

    assert code == 0


def test_a_large_file_is_read_where_no_descriptor_is_left(tmp_path: Path, content: bytes) -> None:
    """For the socket's duplicate: the file is open."""
    with Server(tmp_path) as server:
        (server.root / "large").write_bytes(content)
        with server.connect() as connection:
            connection.get("/none")
            taken = {int(name) for name in os.listdir(f"/proc/{server.pid}/fd")}
            file = min(set(range(100)) - taken)
            limits = resource.prlimit(server.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, (file + 1, limits[1]))
            reply = connection.get("/large")
            resource.prlimit(server.pid, resource.RLIMIT_NOFILE, limits)

    assert reply.body == content


# -- who sends what ----------------------------------------------------------------------------


def exchanged(
    root: Path, target: str, extensions: dict[str, object], *, taken: int = 1 << 30
) -> list[dict[str, object]]:
    """Returns the messages of the body, the stretches as (offset, end).

    Args:
        taken: bytes of a stretch that the server sends before it meets what is not cached.
    """
    client = AsgiDav(create_app(root=root, state=MemoryState(), access_log=False))
    stretches = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def take(message: Message) -> None:
            if message["type"] == FILE_MESSAGE:
                stretch = message["stretch"]
                stretches.append((stretch.offset, stretch.end))
                stretch.offset = min(stretch.offset + taken, stretch.end)
            await send(message)

        await client.app(scope, receive, take)

    try:
        scope = client.scope("GET", target) | {"extensions": extensions}
        messages = client.run(drive(app, scope, [b""])).messages[1:]
    finally:
        client.close()
    begins = iter(stretches)
    return [
        {"type": FILE_MESSAGE, "stretch": next(begins)} if "stretch" in message else message
        for message in messages
    ]


def test_a_server_that_takes_files_gets_all_of_a_cached_one_at_once(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(5 << 20))
    messages = exchanged(tmp_path, "/large", {FILE_MESSAGE: {}})

    assert messages == [
        {"type": FILE_MESSAGE, "stretch": (0, 5 << 20)},
        {"type": "http.response.body", "body": b""},
    ]


def test_where_a_server_that_takes_files_stops_the_next_is_asked_for_anew(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(5 << 20))
    *messages, last = exchanged(tmp_path, "/large", {FILE_MESSAGE: {}}, taken=2 << 20)

    assert [message["stretch"] for message in messages] == [
        (0, 5 << 20),
        (2 << 20, 5 << 20),
        (4 << 20, 5 << 20),
    ]
    assert last == {"type": "http.response.body", "body": b""}


def test_what_a_server_that_takes_files_does_not_send_is_read(tmp_path: Path) -> None:
    content = Random(3).randbytes(600_000)
    (tmp_path / "large").write_bytes(content)
    messages = exchanged(tmp_path, "/large", {FILE_MESSAGE: {}}, taken=0)

    assert b"".join(message.get("body", b"") for message in messages) == content  # type: ignore[misc]


def test_no_more_is_passed_on_once_the_disk_is_slow(tmp_path: Path) -> None:
    """Whatever the file system says of what it has cached: not each can tell."""
    (tmp_path / "large").write_bytes(bytes(5 << 20))
    told = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def take(message: Message) -> None:
            if message["type"] == FILE_MESSAGE and not told:
                stretch = message["stretch"]
                told.append(stretch.is_cached(0, 1000))
                client.app.services.runner._slow_until = inf
                told.append(stretch.is_cached(0, 1000))
            await send(message)

        await client.app(scope, receive, take)

    client = AsgiDav(create_app(root=tmp_path, state=MemoryState(), access_log=False))
    try:
        scope = client.scope("GET", "/large") | {"extensions": {FILE_MESSAGE: {}}}
        client.run(drive(app, scope, [b""]))
    finally:
        client.close()

    assert told == [True, False]


@pytest.mark.parametrize(
    ("size", "extensions"),
    [(5 << 20, {}), (1 << 18, {FILE_MESSAGE: {}})],
    ids=["another server", "a small file"],
)
def test_otherwise_the_bytes_themselves_are_sent(
    tmp_path: Path, size: int, extensions: dict[str, object]
) -> None:
    (tmp_path / "file").write_bytes(bytes(size))
    messages = exchanged(tmp_path, "/file", extensions)

    assert {message["type"] for message in messages} == {"http.response.body"}


# -- the sender --------------------------------------------------------------------------------


class Transport(asyncio.Transport):
    """What a FileSender asks of one."""

    def __init__(self, own: socket.socket) -> None:
        super().__init__({"socket": own})


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    one.setblocking(False)
    other.settimeout(10)
    with closing(one), closing(other):
        yield one, other


def run_sender(own: socket.socket, path: Path, work: Callable[[FileSender, int], object]) -> None:
    async def run() -> None:
        sender = FileSender(Transport(own), asyncio.get_running_loop())
        fd = os.open(path, os.O_RDONLY)
        try:
            await work(sender, fd)  # type: ignore[misc]
        finally:
            sender.close()
            sender.close()
            os.close(fd)

    asyncio.run(run())


def send(
    sender: FileSender,
    fd: int,
    offset: int,
    count: int,
    *,
    is_cached: Callable[[int, int], bool] = lambda offset, size: True,
    is_last: bool = True,
) -> Coroutine[Any, Any, None]:
    return sender.send(FileStretch(fd, offset, offset + count, is_cached), is_last=is_last)


def test_a_sender_that_is_closed_stops_waiting(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(8 << 20))
    waited = []

    async def work(sender: FileSender, fd: int) -> None:
        task = asyncio.ensure_future(send(sender, fd, 0, 8 << 20))
        while not sender.is_waiting:
            await asyncio.sleep(0)
        waited.append(sender.sent)
        sender.close()
        await task

    run_sender(ends[0], tmp_path / "file", work)

    assert 0 < waited[0] < 8 << 20


def test_a_client_that_is_gone_is_an_error(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(8 << 20))

    async def work(sender: FileSender, fd: int) -> None:
        ends[1].close()
        await send(sender, fd, 0, 8 << 20)

    with pytest.raises(BrokenPipeError):
        run_sender(ends[0], tmp_path / "file", work)


def test_a_file_that_ends_early_is_an_error(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"short")

    async def work(sender: FileSender, fd: int) -> None:
        await send(sender, fd, 0, 10)

    with pytest.raises(RuntimeError, match="got shorter"):
        run_sender(ends[0], tmp_path / "file", work)


@pytest.mark.parametrize("call", ["preadv", "fstat"])
def test_a_disk_that_fails_is_not_taken_for_a_client_that_is_gone(
    ends: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
) -> None:
    """Of whom nothing is logged."""
    (tmp_path / "file").write_bytes(bytes(1 << 20))

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async def work(sender: FileSender, fd: int) -> None:
        with monkeypatch.context() as patched:
            patched.setattr(os, call, fail)
            await send(sender, fd, 0, 100 if call == "preadv" else 1 << 20)

    with pytest.raises(RuntimeError, match="cannot be read"):
        run_sender(ends[0], tmp_path / "file", work)


def test_what_is_not_cached_is_not_waited_for(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    content = Random(4).randbytes(200_000)
    (tmp_path / "file").write_bytes(content)
    stretches, asked = [], []

    def is_cached(offset: int, size: int) -> bool:
        asked.append((offset, size))
        return len(asked) < 2

    async def work(sender: FileSender, fd: int) -> None:
        stretch = FileStretch(fd, 10, 200_000, is_cached)
        await sender.send(stretch, is_last=True)
        stretches.append(stretch)

    ends[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(iter_all(ends[1])))
    reader.start()
    run_sender(ends[0], tmp_path / "file", work)
    ends[0].close()
    reader.join(10)
    end = stretches[0].offset

    assert asked[1][0] == end
    assert 10 < end < 200_000
    assert received == content[10:end]


def test_after_a_client_took_its_time_it_is_asked_again_what_is_cached(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(bytes(8 << 20))
    asked = []
    is_gone = False

    def is_cached(offset: int, size: int) -> bool:
        asked.append(offset)
        return not is_gone

    async def work(sender: FileSender, fd: int) -> None:
        nonlocal is_gone
        task = asyncio.ensure_future(send(sender, fd, 0, 8 << 20, is_cached=is_cached))
        while not sender.is_waiting:
            await asyncio.sleep(0)
        is_gone = True
        ends[1].setblocking(False)
        while not task.done():
            with suppress(BlockingIOError):
                ends[1].recv(1 << 20)
            await asyncio.sleep(0)
        await task
        assert asked[-1] == sender.sent

    run_sender(ends[0], tmp_path / "file", work)

    assert 1 < len(asked) < 8


def test_others_have_their_turn_between_two_steps(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the socket takes all of each."""
    (tmp_path / "file").write_bytes(bytes(4 * STEP))
    write = os.write
    seen = []

    async def work(sender: FileSender, fd: int) -> None:
        own = sender._fd

        def take(to: int, data: memoryview) -> int:
            return len(data) if to == own else write(to, data)

        monkeypatch.setattr(os, "write", take)
        task = asyncio.ensure_future(send(sender, fd, 0, 4 * STEP))
        while not task.done():
            seen.append(sender.sent)
            await asyncio.sleep(0)
        await task

    run_sender(ends[0], tmp_path / "file", work)

    assert [*dict.fromkeys(seen)][1:4] == [STEP, 2 * STEP, 3 * STEP]


@pytest.mark.parametrize("missing", [1, 5000, 70_000, 100_000])
def test_a_part_that_gets_shorter_is_not_taken_for_whole_though_more_comes(
    ends: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: int,
) -> None:
    """Of several ranges, say. What was made up then is in an answer that breaks off."""
    send_while_it_gets_shorter(ends[0], tmp_path, monkeypatch, missing, is_last=False)


def send_while_it_gets_shorter(
    own: socket.socket,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: int,
    *,
    is_last: bool,
) -> None:
    """Has a file sent of which some is missing when the first byte of it is written."""
    path = folder / "file"
    path.write_bytes(b"x" * 100_000)
    write = os.write

    def shorten(fd: int, data: memoryview) -> int:
        if fd == sending:
            os.truncate(path, 100_000 - missing)
        return write(fd, data)

    async def work(sender: FileSender, fd: int) -> None:
        nonlocal sending
        sending = sender._fd
        monkeypatch.setattr(os, "write", shorten)
        await send(sender, fd, 0, 100_000, is_last=is_last)

    sending = -1
    with pytest.raises(RuntimeError, match="got shorter"):
        run_sender(own, path, work)


@pytest.mark.parametrize("missing", [1, 4000, 5000, 70_000, 100_000])
def test_of_a_file_that_gets_shorter_nothing_is_made_up(
    ends: tuple[socket.socket, socket.socket],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    missing: int,
) -> None:
    """A mapping shows zeros up to the end of the page in which a file ends."""
    send_while_it_gets_shorter(ends[0], tmp_path, monkeypatch, missing, is_last=True)
    ends[0].close()
    received = b""
    while piece := ends[1].recv(1 << 20):
        received += piece

    assert len(received) < 100_000


def test_a_file_that_gets_shorter_and_grows_again_is_not_mended_with_zeros(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a client takes its time somebody may write the rest once more."""
    path = tmp_path / "file"
    path.write_bytes(b"x" * 200_000)
    write, lengths = os.write, [65_500]

    def shorten(fd: int, data: memoryview) -> int:
        if fd == own and lengths:
            os.truncate(path, lengths.pop())
        return write(fd, data)

    async def work(sender: FileSender, fd: int) -> None:
        nonlocal own
        own = sender._fd
        monkeypatch.setattr(os, "write", shorten)
        sending = asyncio.ensure_future(send(sender, fd, 0, 200_000))
        while not sending.done():
            await asyncio.sleep(0)
            if not lengths:
                with path.open("r+b") as file:
                    file.write(b"x" * 200_000)
        await sending

    with socket.create_server(("127.0.0.1", 0)) as listening:
        client = socket.create_connection(listening.getsockname())
        server, _ = listening.accept()
    server.setblocking(False)
    own = -1
    received = bytearray()
    reader = threading.Thread(target=lambda: received.extend(iter_all(client)))
    reader.start()
    with suppress(RuntimeError):
        run_sender(server, path, work)
    server.close()
    reader.join(10)
    client.close()

    assert len(received) < 200_000 or 0 not in received


def test_where_nothing_can_be_mapped_it_is_read(
    ends: tuple[socket.socket, socket.socket], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = Random(2).randbytes(150_001)
    (tmp_path / "file").write_bytes(content)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))

    monkeypatch.setattr(mmap, "mmap", refuse)
    received = bytearray()

    async def work(sender: FileSender, fd: int) -> None:
        await send(sender, fd, 1, 150_000)

    reader = threading.Thread(target=lambda: received.extend(iter_all(ends[1])))
    reader.start()
    run_sender(ends[0], tmp_path / "file", work)
    ends[0].close()
    reader.join(10)

    assert received == content[1:]


def iter_all(end: socket.socket) -> Iterator[int]:
    while piece := end.recv(1 << 16):
        yield from piece
