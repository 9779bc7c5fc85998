"""Writes while the gate is held, and while the storage fails: all of it is done, or nothing."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import StorageFailure
from davserver.protocol.etag import ETag
from davserver.protocol.path import DavPath
from davserver.state.memory import MemoryState
from davserver.state.sqlite import SqliteState
from davserver.storage.base import Stat, Storage, Writer
from davserver.storage.faulty import FaultyStorage
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav
from tests.support.trees import fill

MakeDav = Callable[..., AppDav]
LARGE = bytes(range(251)) * 12_532  # 3 MiB and a bit
PIECES = [LARGE[:1_500_000], LARGE[1_500_000:]]


@contextmanager
def gate_held(dav: AppDav) -> Iterator[threading.Event]:
    """Another thread holds the gate until the event is set, or the block ends."""
    entered, leave = threading.Event(), threading.Event()
    state = dav.app.services.state

    def stay() -> None:
        with state.hold([], wait_s=5):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert entered.wait(5)
        yield leave
    finally:
        leave.set()
        thread.join(10)


WRITES = {
    "PUT": ("PUT", "/new", {}, b"x", 201),
    "PUT, large": ("PUT", "/new", {}, LARGE, 201),
    "MKCOL": ("MKCOL", "/new/", {}, b"", 201),
    "DELETE": ("DELETE", "/a", {}, b"", 204),
    "DELETE, tree": ("DELETE", "/c/", {}, b"", 204),
    "COPY": ("COPY", "/a", {"Destination": "/new"}, b"", 201),
    "MOVE": ("MOVE", "/a", {"Destination": "/new"}, b"", 201),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_held_gate_is_waited_for_while_others_are_served(dav: AppDav, write: Any) -> None:
    method, target, headers, body, expected = write
    dav.put("/a", b"old")
    dav.mkcol("/c/")

    async def contend(leave: threading.Event) -> tuple[int, int]:
        waiting = asyncio.create_task(dav.request_async(method, target, headers, body))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        other = await dav.request_async("GET", "/a")
        leave.set()
        return (await waiting).status, other.status

    with gate_held(dav) as leave:
        assert dav.run(contend(leave)) == (expected, 200)


@pytest.mark.security("Q-02")
def test_a_file_is_locked_while_another_worker_is_in_the_gate_for_another_file(
    make_dav: MakeDav, tmp_path: Path
) -> None:
    """What is more than one file's is not: it waits, here in vain."""
    dav = make_dav(
        "filesystem",
        overrides={"state": SqliteState(tmp_path / "state", durability="none")},
        gate_wait_s=0.05,
        durability="none",
    )
    fill(dav, "/a", "/b", "/d/", "/e/")
    token = dav.lock("/e/").token
    theirs = SqliteState(tmp_path / "state", durability="none")
    with theirs.hold([dav.app.services.storage.locate(DavPath(("b",))).key], wait_s=5, narrow=True):
        granted = dav.lock("/a")
        refreshed = dav.refresh("/a", granted.token).status
        unlocked = dav.unlock("/a", granted.token).status
        waited = [
            dav.lock_request("/b").status,
            dav.lock_request("/d/").status,
            dav.lock_request("/d").status,
            dav.lock_request("/new").status,
            dav.unlock("/e/", token).status,
            dav.unlock("/e/", token).status,
            dav.proppatch("/a", set={"{urn:t}p": "never"}).status,
        ]
    theirs.close()

    assert (refreshed, unlocked) == (503, 204)
    assert set(waited) == {503}
    assert (dav.locks("/a"), len(dav.locks("/e/")), dav.get("/new").status) == ([], 1, 404)


def test_a_storage_that_was_slow_when_the_upload_began_does_not_stall_the_others(
    make_dav: MakeDav,
) -> None:
    """The check ran in a thread, the end of the upload runs on the loop: it must not wait there."""
    dav = make_dav("memory")
    runner = dav.app.services.runner

    async def contend(leave: threading.Event) -> tuple[int, int]:
        async def recover(number: int) -> None:
            runner._slow_until = 0.0

        runner._slow_until = float("inf")
        waiting = asyncio.create_task(dav.send("PUT", "/a", None, b"new", before=recover))
        for _ in range(20):
            await asyncio.sleep(0.001)
        assert not waiting.done()
        other = await dav.request_async("OPTIONS", "/a")
        leave.set()
        return (await waiting).reply.status, other.status

    with gate_held(dav) as leave:
        begun = time.monotonic()
        assert dav.run(contend(leave)) == (201, 200)
        assert time.monotonic() - begun < 2


@pytest.mark.rfc("SE-05")
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
@pytest.mark.parametrize("storage", ["filesystem", "memory"])
def test_a_gate_that_stays_held_is_503_and_nothing_changes(
    make_dav: MakeDav, storage: str, write: Any
) -> None:
    method, target, headers, body, _ = write
    dav = make_dav(storage, gate_wait_s=0.05)
    dav.put("/a", b"old")
    dav.mkcol("/c/")
    with gate_held(dav):
        reply = dav.request(method, target, headers, body)

    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert dav.members("/") == ["/a", "/c/"]
    if dav.root:
        assert (dav.root / "a").read_bytes() == b"old"
        assert sorted(os.listdir(dav.root)) == ["a", "c"]


class Racing(MemoryStorage):
    """Somebody beside the server creates each new file just before it is published."""

    def create(self, path: DavPath, *, size_hint: int | None = None) -> Writer:
        writer = super().create(path, size_hint=size_hint)
        publish = writer.commit

        def commit(*, replace: bool, expect: ETag | None = None) -> Stat:
            if not replace:
                beside = super(Racing, self).create(path)
                beside.write(b"theirs")
                beside.seal()
                beside.commit(replace=False)
            return publish(replace=replace, expect=expect)

        writer.commit = commit  # type: ignore[method-assign]
        return writer


@pytest.mark.rfc("PU-13", "HC-10")
@pytest.mark.parametrize(
    ("headers", "expected", "content"),
    [({}, 204, b"ours"), ({"If-None-Match": "*"}, 412, b"theirs")],
    ids=["no condition", "If-None-Match *"],
)
def test_a_file_that_comes_from_beside_the_server_is_looked_at_again(
    make_dav: MakeDav, headers: dict[str, str], expected: int, content: bytes
) -> None:
    dav = make_dav("memory", overrides={"storage": Racing()})

    assert dav.put("/a", b"ours", headers).status == expected
    assert dav.get("/a").body == content


# -- faults ----------------------------------------------------------------------------------


def faulty_storages(folder: Path) -> Iterator[tuple[str, Callable[[], Storage]]]:
    yield "memory", MemoryStorage
    for fallbacks in ((), ("tmpfile",)):
        yield (
            f"filesystem {fallbacks}",
            lambda fallbacks=fallbacks: FilesystemStorage(
                folder, owner="o", is_alive=lambda _: True, fallbacks=frozenset(fallbacks)
            ),
        )


@pytest.mark.rfc("PU-09", "PU-12")
@pytest.mark.parametrize("body", [b"new", PIECES], ids=["small", "large"])
def test_whatever_fails_there_is_the_old_version_or_the_new_one(
    make_dav: MakeDav, tmp_path: Path, body: bytes | list[bytes]
) -> None:
    """One fault at each call of the storage in turn."""
    new = body if isinstance(body, bytes) else LARGE
    folder = tmp_path / "root"
    folder.mkdir()
    for name, make in faulty_storages(folder):
        outcomes = set()
        for target in ("/old", "/new"):
            for fail_at in range(1, 100):
                inner = make()
                plain = make_dav("memory", overrides={"storage": inner})
                plain.delete("/new")
                plain.put("/old", b"old")
                faulty = FaultyStorage(inner, fail_at=fail_at, error=StorageFailure)
                dav = make_dav("memory", overrides={"storage": faulty})
                status = dav.put(target, body).status
                found = plain.get(target)
                outcome = found.body if found.status == 200 else None
                assert outcome in ((b"old" if target == "/old" else None), new), (name, fail_at)
                assert status == 500 or outcome == new
                assert set(plain.members("/")) <= {"/old", "/new"}
                outcomes.add((status, outcome == new))
                if not faulty.blown:
                    break
            else:
                raise AssertionError("the faults never end")
        assert {(500, False), (201, True), (204, True)} <= outcomes, name
        assert all(not entry.startswith(".davserver") for entry in os.listdir(folder))


TREE = ("/c/", "/c/a", "/c/d/", "/c/d/e/", "/c/d/e/f", "/c/d/g")


@pytest.mark.rfc("DL-01", "DL-03", "DL-04", "DL-07")
@pytest.mark.parametrize("durable", [False, True], ids=["nothing is waited for", "durable"])
@pytest.mark.parametrize("permanent", [False, True])
def test_whatever_fails_in_a_delete_rows_go_with_their_resources_and_only_with_them(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, permanent: bool, durable: bool
) -> None:
    monkeypatch.setattr(MemoryStorage, "durable", durable)
    outcomes = set()
    for fail_at in range(1, 200):
        inner, state = MemoryStorage(), MemoryState()
        plain = make_dav("memory", overrides={"storage": inner, "state": state})
        for path in TREE:
            assert (plain.mkcol(path) if path[-1] == "/" else plain.put(path)).status == 201
            assert plain.proppatch(path, set={"{urn:x}p": "v"}).status == 207
        faulty = FaultyStorage(inner, fail_at=fail_at, error=StorageFailure, permanent=permanent)
        dav = make_dav("memory", overrides={"storage": faulty, "state": state})

        reply = dav.delete("/c/")

        left = {path for path in TREE if plain.head(path).status == 200}
        assert {key.path.decode() for key in state.keys_with_rows()} == {
            path.strip("/") for path in left
        }
        assert state.has_changes() is False
        if reply.status == 204:
            assert left == set()
        elif reply.status == 207:
            assert set(reply.multistatus.statuses) <= left
            assert set(reply.multistatus.statuses.values()) == {500}
        else:
            assert reply.status == 500
        outcomes.add(reply.status)
        if not faulty.blown:
            break
    else:
        raise AssertionError("the faults never end")
    # A storage that is broken for good cannot make even what went durable: that is said first.
    assert outcomes == {204, 500} | (set() if permanent and durable else {207})
