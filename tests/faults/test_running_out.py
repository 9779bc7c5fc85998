"""A real server that runs out of space, inodes, descriptors or rights (F-01, F-03, F-04).

The limits are the system's own: a tmpfs of a megabyte, prlimit, modes and a read-only mount. What
was there stays whole, refusals say why, and once there is room again everything works.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.confined import (
    on_small_disk,
    remount,
    require_root,
    seen_by,
    with_few_descriptors,
)
from tests.support.http import Connection, ConnectionEnded
from tests.support.processes import await_true, descriptors
from tests.support.reply import Reply
from tests.support.server import Server

TOPIC = "{http://example.org/ns}topic"
OLD = b"old content" * 1_000
SPACE = "{DAV:}sufficient-disk-space"
PIECE = bytes(range(256)) * 64
pytestmark = pytest.mark.timeout(60)
MAPPED = """
import sys
from contextlib import suppress
from pathlib import Path
from davserver.errors import StateFull
from davserver.protocol.path import Key
from davserver.state.commitcount import CommitCount
from davserver.state.usage import UsageFolder

folder = Path(sys.argv[1])
count = CommitCount(folder / "commits")
with suppress(OSError), open(folder / "fill", "wb", buffering=0) as file:
    while True:
        file.write(bytes(512))
count.begin()
count.end()
print(count.read())
try:
    UsageFolder(folder / "usage", "0" * 16, lambda owner: True).of(Key("a", b""))
except StateFull:
    print("full")
"""


def is_full(reply: Reply) -> bool:
    """True for the 507 of a full disk, which must name its condition."""
    if reply.status != 507:
        return False
    assert [child.tag for child in reply.xml] == [SPACE]
    return True


def fill(dav: Connection, size: int) -> list[str]:
    """Puts files of that size until the disk is full. Returns their names."""
    names: list[str] = []
    while True:
        name = f"/fill-{size}-{len(names)}"
        reply = dav.put(name, b"x" * size)
        if reply.status != 201:
            assert is_full(reply), reply
            return names
        names.append(name)


def hidden(server: Server) -> list[Path]:
    return list(seen_by(server, server.root).rglob(".davserver*"))


def free_blocks(server: Server) -> int:
    return os.statvfs(seen_by(server, server.root)).f_bfree


def property_of(dav: Connection, target: str) -> str | None:
    element = dav.prop(target, TOPIC)
    return None if element is None else element.text


def set_up(dav: Connection) -> str:
    """Makes a file with a property and a tree; returns the token of a lock on the file."""
    assert dav.put("/old", OLD).status == 201
    assert dav.proppatch("/old", set={TOPIC: "of the old"}).status == 207
    assert dav.mkcol("/tree/").status == 201
    for name in "ab":
        assert dav.put(f"/tree/{name}", OLD).status == 201
    return dav.lock("/old").token


def check_old(dav: Connection, token: str) -> None:
    assert dav.get("/old").body == OLD
    assert property_of(dav, "/old") == "of the old"
    assert [lock.findtext("{DAV:}locktoken/{DAV:}href") for lock in dav.locks("/old")] == [token]


@pytest.fixture(params=["root", "root and state"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A server whose folder, or that and its state, are on a disk of one megabyte."""
    with on_small_disk(tmp_path, "size=1m,nr_inodes=1k", holds=request.param) as running:
        yield running


@pytest.mark.security("F-01")
def test_a_full_disk_refuses_uploads_and_loses_nothing(small: Server) -> None:
    with small.connect() as dav:
        token = set_up(dav)
        free = free_blocks(small)
        own = {"If": f"</old> (<{token}>)"}

        for target in ("/new", "/old"):
            assert is_full(dav.put(target, [PIECE] * 100, own)), "found out while it was written"
            assert is_full(dav.put(target, PIECE * 100, own)), "told by its length"
            awaited = own | {"Expect": "100-continue"}
            reply = dav.put(target, PIECE * 100, awaited)
            assert is_full(reply), "told before it was sent"
            assert reply.interim == ()

        assert free_blocks(small) >= free - 8, "what did not fit is gone again"
        assert hidden(small) == []
        check_old(dav, token)
        assert dav.get("/new").status == 404
        assert dav.put("/old", b"shorter", own).status == 204


@pytest.mark.security("F-01")
def test_on_a_full_disk_everything_is_old_and_goes_on_once_there_is_room(small: Server) -> None:
    with small.connect() as dav:
        token = set_up(dav)
        big = fill(dav, 100_000)
        names = big + fill(dav, 4_096)
        own = {"If": f"</old> (<{token}>)"}

        for source, destination in [("/old", "/new"), ("/tree/", "/new/"), ("/tree/", "/old")]:
            assert is_full(dav.copy(source, destination, headers=own)), (source, destination)
        assert is_full(dav.put("/old", OLD + b"x" * 4_096, own))
        # What needs no room for content may find some for its own: none is ever half done.
        outcomes = {
            "MKCOL": dav.mkcol("/c/").status,
            "LOCK": dav.lock_request("/n").status,
            "MOVE": dav.move("/tree/a", "/tree/moved").status,
        }
        assert all(status in (201, 507) for status in outcomes.values()), outcomes
        check_old(dav, token)
        assert hidden(small) == []
        assert set(dav.members("/tree/")) in ({"/tree/a", "/tree/b"}, {"/tree/b", "/tree/moved"})

        for name in names:
            assert dav.delete(name).status == 204, "deleting makes room, and needs none"
        assert dav.copy("/tree/", "/new/").status == 201
        assert dav.put("/old", OLD, own).status == 204
        assert dav.proppatch("/old", set={TOPIC: "of the old"}, headers=own).status == 207
        check_old(dav, token)


@pytest.mark.security("F-01")
def test_what_is_mapped_has_its_room_or_is_refused(tmp_path: Path) -> None:
    """Who writes to a hole of a mapped file when the disk is full is killed by the system."""
    require_root("unshare", "mount")
    mount = 'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$1"'
    command = ["unshare", "-m", "sh", "-c", mount, "sh", str(tmp_path), sys.executable, MAPPED]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    assert (done.stdout, done.returncode) == ("2\nfull\n", 0), done.stderr


@pytest.mark.security("F-01", "X-06")
@pytest.mark.parametrize("holds", ["state", "root and state"])
def test_a_full_state_refuses_properties_and_locks_whole(tmp_path: Path, holds: str) -> None:
    with on_small_disk(tmp_path, "size=8m", holds=holds) as server, server.connect() as dav:
        token = set_up(dav)
        own = {"If": f"</old> (<{token}>)"}
        assert dav.put("/large", b"x" * 5_000_000).status == 201
        assert dav.proppatch("/large", set={TOPIC: "large"}).status == 207
        stored = []
        for number in range(1_000):
            target = f"/p{number}"
            if dav.put(target, b"").status == 507:
                break
            reply = dav.proppatch(target, set={TOPIC: "x" * 60_000})
            if reply.status == 507 or "507" in reply.body.decode():
                assert property_of(dav, target) is None
                break
            stored.append(target)
        assert len(stored) > 5
        while dav.lock_request("/tree/a", scope="shared").status == 200:
            pass
        replies = [dav.lock_request("/unmapped"), dav.lock_request("/old", headers=own)]

        check_old(dav, token)
        assert dav.get("/tree/a").body == OLD
        assert replies[1].status in (423, 507)
        if replies[0].status == 507:
            assert dav.get("/unmapped").status == 404
        assert all(property_of(dav, target) == "x" * 60_000 for target in stored)
        assert dav.delete("/large").status == 204, "deleting makes room, and needs none"
        if holds == "state":
            remount(server, tmp_path / "disk", "size=16m")
        for target in stored:
            assert dav.delete(target).status == 204
        assert dav.put("/large", b"again").status == 201
        assert property_of(dav, "/large") is None
        assert dav.proppatch("/tree/b", set={TOPIC: "x" * 10_000}).status == 207
        assert property_of(dav, "/tree/b") == "x" * 10_000
        assert dav.lock("/tree/b").reply.status == 200
        assert dav.unlock("/old", token).status == 204


@pytest.mark.security("F-01")
def test_without_inodes_nothing_new_is_made(tmp_path: Path) -> None:
    disk = on_small_disk(tmp_path, "size=8m,nr_inodes=50", holds="root")
    with disk as server, server.connect() as dav:
        token = set_up(dav)
        names = fill(dav, 10)
        own = {"If": f"</old> (<{token}>)"}

        assert is_full(dav.mkcol("/c/"))
        assert is_full(dav.lock_request("/n"))
        assert is_full(dav.put("/old", b"needs a second file for a moment", own))
        assert is_full(dav.copy("/old", "/n"))
        assert is_full(dav.copy("/tree/", "/n/"))
        assert dav.move("/tree/a", "/tree/moved").status == 201
        assert dav.proppatch("/tree/b", set={TOPIC: "x"}).status == 207
        assert dav.lock("/tree/b").reply.status == 200
        check_old(dav, token)
        assert hidden(server) == []

        assert dav.delete(names[0]).status == 204
        assert dav.mkcol("/c/").status == 201


def occupy(server: Server, stack: ExitStack, number: int) -> None:
    """Holds connections that were answered, until the server has no more."""
    for _ in range(number):
        connection = stack.enter_context(server.connect(timeout_s=1))
        try:
            connection.options("/")
        except (ConnectionEnded, OSError):
            return
    raise AssertionError("it never ran out")


@pytest.mark.security("F-03")
def test_without_descriptors_it_answers_503_and_recovers(tmp_path: Path) -> None:
    operations: list[Callable[[Connection], Reply]] = [
        lambda dav: dav.get("/old"),
        lambda dav: dav.put("/new", b"x"),
        lambda dav: dav.copy("/old", "/new"),
        lambda dav: dav.request("PROPFIND", "/", {"Depth": "1"}),
        lambda dav: dav.mkcol("/c/"),
        lambda dav: dav.delete("/tree/"),
    ]
    with with_few_descriptors(tmp_path, 48) as server, server.connect() as dav:
        token = set_up(dav)
        baseline = len(descriptors(server.pid))
        with ExitStack() as stack:
            occupy(server, stack, 60)
            statuses = []
            for number in range(2_000):
                reply = operations[number % len(operations)](dav)
                statuses.append(reply.status)
                if reply.status == 503:
                    assert reply.headers["retry-after"]
            assert set(statuses) <= {200, 201, 204, 207, 404, 405, 409, 503}, set(statuses)
            assert statuses.count(503) > 100, "it was not short of descriptors"
        assert await_true(lambda: len(descriptors(server.pid)) <= baseline + 1)
        check_old(dav, token)
        assert dav.put("/after", b"x").status == 201
        with server.connect() as other:
            assert other.get("/after").body == b"x"
