"""FIFOs, sockets and devices in the served folder: shown, never opened, and out of the way.

A FIFO that is opened blocks, a device does what its driver does: so every descriptor that the
server gets is looked at.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from davserver.storage import _linux
from tests.conftest import AppDav
from tests.support.dav import XML
from tests.support.every import LOCK, PROPPATCH, Ask, asks_at, asks_to, snapshot

D = "{DAV:}"
KINDS = ("fifo", "socket", "device")
MODES = [
    pytest.param({"fallbacks": back}, id=f"without {' '.join(back)}")
    for back in ((), ("openat2", "statx", "tmpfile"))
]


@dataclass
class World:
    """`/c/` with a file and one of each special file."""

    dav: AppDav
    root: Path


@pytest.fixture(params=MODES)
def world(
    request: pytest.FixtureRequest, make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch
) -> Iterator[World]:
    dav = make_dav("filesystem", durability="none", **request.param)
    assert dav.root is not None
    assert dav.app.services.storage.capabilities
    folder = dav.root / "c"
    folder.mkdir()
    (folder / "f").write_bytes(b"file")
    os.mkfifo(folder / "fifo")
    monkeypatch.chdir(folder)  # the path of a socket has 107 bytes at most
    listener = socket.socket(socket.AF_UNIX)
    listener.bind("socket")
    monkeypatch.undo()
    try:
        os.mknod(folder / "device", 0o666 | stat.S_IFCHR, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(folder / "device")  # who is not root can make none
    opened: list[str] = []
    watch(monkeypatch, os, "open", opened)
    watch(monkeypatch, _linux, "openat2", opened)
    yield World(dav, dav.root)
    listener.close()
    assert opened == []


def watch(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, opened: list[str]) -> None:
    """Notes every special file that a call opens to read or write."""
    real = getattr(module, name)

    def call(*arguments: Any, **more: Any) -> int:
        fd: int = real(*arguments, **more)
        mode = os.fstat(fd).st_mode
        # O_PATH is no opening: it leads to directories, and stops at anything else
        is_path = fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_PATH
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or is_path):
            opened.append(repr(arguments))
        return fd

    monkeypatch.setattr(module, name, call)


@pytest.mark.security("P-10")
@pytest.mark.rfc("PF-05")
@pytest.mark.parametrize("depth", ["1", "infinity"])
def test_special_files_are_listed_without_content(world: World, depth: str) -> None:
    answer = world.dav.propfind("/c/", depth=depth)

    assert sorted(answer.hrefs) == ["/c/", "/c/device", "/c/f", "/c/fifo", "/c/socket"]
    for name in KINDS:
        properties = answer.ok(f"/c/{name}")
        assert len(properties[f"{D}resourcetype"]) == 0
        assert properties[f"{D}displayname"].text == name
        absent = ("getcontentlength", "getetag", "getcontenttype", "supportedlock")
        assert not {f"{D}{one}" for one in absent} & set(properties)
    asked = world.dav.propfind("/c/", props=[f"{D}getetag", f"{D}resourcetype"], depth="1")
    assert asked.status_of("/c/fifo", f"{D}getetag") == 404
    names = world.dav.propfind(
        "/c/", b'<D:propfind xmlns:D="DAV:"><D:propname/></D:propfind>', depth="1"
    )
    assert f"{D}getcontentlength" not in names.ok("/c/fifo")
    assert b'<a href="/c/fifo">fifo</a>' in world.dav.get("/c/").body


@pytest.mark.security("P-10")
@pytest.mark.parametrize("name", KINDS)
def test_special_files_are_refused(world: World, name: str) -> None:
    path = f"/c/{name}"
    before = snapshot(world.root)
    at = asks_at(path)
    for left_out in ("OPTIONS", "DELETE", "POST"):
        del at[left_out]
    asks = at | asks_to(path, "/c/f")
    beyond = {name: ask for name, ask in asks_at(f"{path}/x").items() if name != "OPTIONS"}

    statuses = {name: ask.send(world.dav).status for name, ask in asks.items()}
    below = {name: ask.send(world.dav).status for name, ask in beyond.items()}

    assert statuses == dict.fromkeys(asks, 403)
    assert set(below.values()) <= {404, 405, 409, 501}
    assert snapshot(world.root) == before
    assert world.dav.delete(path).status == 204
    assert not os.path.lexists(world.root / "c" / name)


@pytest.mark.security("P-10")
def test_a_copied_tree_tells_of_what_it_left_out(world: World) -> None:
    reply = world.dav.copy("/c/", "/copy/")

    assert reply.status == 207
    assert reply.multistatus.statuses == {f"/c/{name}": 403 for name in KINDS}
    assert sorted(os.listdir(world.root / "copy")) == ["f"]

    (world.root / "copy/old").write_bytes(b"old")
    before = snapshot(world.root)
    over = world.dav.copy("/c/", "/copy/")
    assert over.multistatus.statuses == {f"/c/{name}": 403 for name in KINDS}
    assert {k: v for k, v in snapshot(world.root).items() if k != "."} == {
        k: v for k, v in before.items() if k != "."
    }


@pytest.mark.security("P-10")
def test_trees_with_special_files_move_and_go(world: World) -> None:
    assert world.dav.move("/c/", "/moved/").status == 201
    assert sorted(os.listdir(world.root / "moved")) == ["device", "f", "fifo", "socket"]
    assert world.dav.delete("/moved/").status == 204
    assert os.listdir(world.root) == []


@pytest.mark.security("P-10")
@pytest.mark.parametrize("name", KINDS)
def test_a_file_that_turns_into_a_special_one_is_not_opened(world: World, name: str) -> None:
    """It was a file when the requests before this one looked at it."""
    path = world.root / "c/g"
    for ask in (
        Ask("GET", "/c/g"),
        Ask("PUT", "/c/g", {}, b"new"),
        Ask("PROPPATCH", "/c/g", {"Content-Type": XML}, PROPPATCH),
        Ask("LOCK", "/c/g", {"Content-Type": XML}, LOCK),
        Ask("COPY", "/c/g", {"Destination": "/c/copy"}),
    ):
        path.write_bytes(b"file")
        assert world.dav.get("/c/g").status == 200
        path.unlink()
        os.rename(world.root / "c" / name, path)
        assert ask.send(world.dav).status == 403
        os.rename(path, world.root / "c" / name)


@pytest.mark.security("P-10", "P-08")
@pytest.mark.parametrize("name", KINDS)
def test_a_link_to_a_special_file_is_neither_listed_nor_opened(world: World, name: str) -> None:
    os.symlink(f"c/{name}", world.root / "link")
    assert world.dav.members("/") == ["/c/"]
    for method in ("GET", "PUT", "PROPFIND"):
        assert world.dav.request(method, "/link").status == 403
    assert world.dav.delete("/link").status == 204
    assert os.path.lexists(world.root / "c" / name)
