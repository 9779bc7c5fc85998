"""A link that leads out of the served folder is neither followed nor listed, by any method."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import AppDav
from tests.support.every import Ask, asks_at, asks_if, asks_to, snapshot
from tests.support.outside import CANARY, World, build

OUTWARD = {
    "file-out": "../outside/secret",
    "dir-out": "../outside",
    "dir-out-deep": "../outside/dir",
    "absolute-file": "{base}/outside/secret",
    "absolute-dir": "{base}/outside",
    "absolute-inside": "{base}/root/c",
    "up": "..",
    "around": "../root/c",
    "sibling": "../root_evil",
    "chain": "file-out",
    "chain-dir": "dir-out",
    "through-file": "c/../../outside/secret",
    "through-link": "dir-in/../../outside",
    "loop": "loop",
    "ping": "pong",
    "pong": "ping",
    "dangling": "nowhere",
    "dangling-below": "nowhere/at/all",
    "dangling-out": "../outside/new",
    "dangling-out-absolute": "{base}/outside/new",
    "proc-root": "/proc/self/root",
    "proc-cwd": "/proc/self/cwd",
    "proc-fd": "/proc/self/fd",
    "slash": "/",
    "etc": "/etc",
    "null": "/dev/null",
    "zero": "/dev/zero",
}
MODES = [
    pytest.param({"symlinks": mode, "fallbacks": back}, id=f"{mode}, without {' '.join(back)}")
    for mode, back in (
        ("within", ()),
        ("within", ("openat2", "statx", "tmpfile", "renameat2")),
        ("deny", ()),
        ("deny", ("openat2",)),
    )
]


def link_world(make_dav: Callable[..., AppDav], tmp_path: Path, keys: dict[str, object]) -> World:
    world = build(make_dav, tmp_path, **keys)
    os.symlink("c", world.root / "dir-in")
    for name, text in OUTWARD.items():
        os.symlink(text.format(base=tmp_path), world.root / name)
        os.symlink(
            text.format(base=tmp_path) if text[0] == "/" else f"../{text}",
            world.root / "c" / name,
        )
    return world


BEYOND = ("", "/", "/secret", "/new", "/new/deep", "/etc/passwd")


@pytest.mark.security("P-08", "C-09", "C-13")
@pytest.mark.parametrize("rest", BEYOND)
@pytest.mark.parametrize("keys", MODES)
def test_a_link_out_of_the_root_leads_nowhere(
    make_dav: Callable[..., AppDav], tmp_path: Path, keys: dict[str, object], rest: str
) -> None:
    world = link_world(make_dav, tmp_path, keys)
    before = snapshot(world.root)

    for name in OUTWARD:
        path = f"/{name}{rest}"
        at = asks_at(path)
        options = at.pop("OPTIONS")
        if rest in ("", "/"):
            del at["DELETE"]  # which removes the link, and has its own test
        statuses = world.refuse(at | asks_to(path, "/f", "/c/d/"), before)
        assert {k: status for k, status in statuses.items() if status < 400} == {}, path
        assert world.send(options).status in (200, 403, 404)
        assert set(world.refuse(asks_if(path, "/f"), before).values()) == {412}, path
    assert not os.path.lexists("/new")


@pytest.mark.security("P-08", "P-01")
@pytest.mark.parametrize("keys", MODES)
def test_a_link_out_of_the_root_is_not_listed(
    make_dav: Callable[..., AppDav], tmp_path: Path, keys: dict[str, object]
) -> None:
    world = link_world(make_dav, tmp_path, keys)
    inward = {"/dir-in/"} if keys["symlinks"] == "within" else set()

    assert set(world.dav.members("/")) == {"/c/", "/f"} | inward
    everything = world.dav.propfind("/", depth="infinity").hrefs
    assert {href for href in everything if not href.startswith("/dir-in/")} == {
        "/",
        "/c/",
        "/c/d/",
        "/c/d/g",
        "/c/f",
        "/f",
    }
    page = world.dav.get("/").body
    assert not [name for name in OUTWARD if name.encode() in page]


@pytest.mark.security("P-08")
@pytest.mark.parametrize("keys", MODES)
def test_delete_removes_a_link_and_never_what_it_names(
    make_dav: Callable[..., AppDav], tmp_path: Path, keys: dict[str, object]
) -> None:
    world = link_world(make_dav, tmp_path, keys)

    statuses = world.send_all({name: Ask("DELETE", f"/{name}") for name in OUTWARD})

    assert statuses == dict.fromkeys(OUTWARD, 204)
    assert not [name for name in OUTWARD if os.path.lexists(world.root / name)]
    assert world.send_all({"tree": Ask("DELETE", "/c/")}) == {"tree": 204}
    assert sorted(os.listdir(world.root)) == ["dir-in", "f"]


@pytest.mark.security("P-08", "P-13")
@pytest.mark.parametrize("keys", MODES)
def test_trees_with_outward_links_are_copied_without_them(
    make_dav: Callable[..., AppDav], tmp_path: Path, keys: dict[str, object]
) -> None:
    world = link_world(make_dav, tmp_path, keys)

    copy = Ask("COPY", "/c/", {"Destination": "/copy/"})
    assert world.send_all({"new": copy}) == {"new": 201}
    copied = snapshot(world.root / "copy")
    move = Ask("MOVE", "/c/", {"Destination": "/moved/"})
    assert world.send_all({"over": copy, "away": move}) == {"over": 204, "away": 201}

    assert sorted(path for path in copied if not path.endswith(".")) == ["d", "d/g", "f"]
    # A rename takes the links along as they are; they lead out of the root as before.
    assert world.send(Ask("GET", "/moved/dir-out/secret")).status in (403, 404)
    assert world.send_all({"tree": Ask("DELETE", "/moved/")}) == {"tree": 204}


@pytest.mark.security("P-08", "O-06")
@pytest.mark.parametrize("back", [(), ("openat2",)])
def test_links_inside_are_one_resource_with_what_they_name(
    make_dav: Callable[..., AppDav], tmp_path: Path, back: tuple[str, ...]
) -> None:
    world = build(make_dav, tmp_path, fallbacks=back)
    os.symlink("c/d", world.root / "dir")
    os.symlink("f", world.root / "file")
    dav = world.dav

    assert dav.put("/dir/g", b"new").status == 204
    assert dav.put("/file", b"through").status == 204
    assert (world.root / "c/d/g").read_bytes() == b"new"
    assert (world.root / "f").read_bytes() == b"through"
    assert (world.root / "file").is_symlink()

    lock = dav.lock("/f")
    assert dav.put("/file", b"x").status == 423
    assert dav.proppatch("/file", set={"{x:}y": "1"}).status == 423
    assert dav.copy("/c/f", "/file").status == 423
    assert dav.put("/file", b"x", {"If": f"</f> ({lock.untagged[1:-1]})"}).status == 204
    deep = dav.lock("/dir/")
    assert dav.put("/c/d/g", b"x").status == 423
    assert dav.mkcol("/c/d/new").status == 423
    assert dav.delete("/c/d/").status == 423
    assert dav.unlock("/c/d/", deep.token).status == 204


@pytest.mark.security("P-08")
def test_deny_follows_no_link_at_all(make_dav: Callable[..., AppDav], tmp_path: Path) -> None:
    world = build(make_dav, tmp_path, symlinks="deny")
    os.symlink("c", world.root / "dir")
    os.symlink("f", world.root / "file")
    before = snapshot(world.root)
    for path in ("/dir/", "/file", "/dir/f", "/dir/new"):
        asks = asks_at(path) | asks_to(path, "/f")
        kept = {k: a for k, a in asks.items() if k not in ("OPTIONS", "DELETE")}
        statuses = world.refuse(kept, before)
        assert not [status for status in statuses.values() if status < 400], (path, statuses)


@pytest.mark.security("P-08", "P-01")
def test_follow_serves_what_links_name_and_no_more(
    make_dav: Callable[..., AppDav], tmp_path: Path
) -> None:
    world = build(make_dav, tmp_path, symlinks="follow")
    os.symlink("../outside", world.root / "out")

    assert world.dav.get("/out/secret").body == CANARY
    for path in ("/out/../root_evil/secret", "/out/%2e%2e/root_evil/secret", "/../outside/secret"):
        assert world.dav.get(path).status == 400
    assert world.dav.delete("/out").status == 204
    assert (tmp_path / "outside/secret").read_bytes() == CANARY
