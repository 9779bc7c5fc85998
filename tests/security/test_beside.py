"""One resource under several names, and a tree that changes beside the server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import AppDav
from tests.support.confined import without_override
from tests.support.every import asks_at, asks_to
from tests.support.trees import fill

TOPIC = "{x:}topic"
NFC, NFD = "/caf%C3%A9", "/cafe%CC%81"


@pytest.fixture
def dav(make_dav: Callable[..., AppDav]) -> AppDav:
    return make_dav("filesystem", durability="none")


def root_of(dav: AppDav) -> Path:
    assert dav.root is not None
    return dav.root


@pytest.mark.security("P-05", "O-06")
@pytest.mark.parametrize(("made", "asked"), [(NFC, NFD), (NFD, NFC)])
def test_two_normalisations_are_one_resource(dav: AppDav, made: str, asked: str) -> None:
    assert dav.put(made, b"old").status == 201
    assert dav.put("/f", b"f").status == 201
    assert dav.proppatch(asked, set={TOPIC: "one"}).status == 207
    assert dav.prop(made, TOPIC).text == "one"
    lock = dav.lock(asked)

    for path in (made, asked):
        assert dav.put(path, b"x").status == 423
        assert dav.delete(path).status == 423
        assert dav.copy("/f", path).status == 423
        assert dav.move(path, "/new").status == 423
        assert dav.copy(path, made).status == 403, "onto itself"
    assert dav.put(made, b"new", {"If": f"<{asked}> (<{lock.token}>)"}).status == 204
    assert dav.get(asked).body == b"new"
    assert dav.members("/") == sorted([made, "/f"])


@pytest.mark.security("P-05", "O-06")
@pytest.mark.parametrize("alias", ["//f", "/f/", "/%66", "/link", "///f//"])
def test_an_alias_has_the_lock_of_the_resource(dav: AppDav, alias: str) -> None:
    fill(dav, "/f", "/g")
    os.symlink("f", root_of(dav) / "link")
    lock = dav.lock(alias)
    for path in ("/f", alias):
        assert dav.put(path, b"x").status == 423
        assert dav.copy("/g", "/" + path.lstrip("/")).status == 423
    assert dav.put("/f", b"x", {"If": lock.untagged}).status == 204


@pytest.mark.security("C-18")
def test_locks_go_with_what_they_were_on(dav: AppDav) -> None:
    fill(dav, "/a", "/c/", "/c/f", "/d/")
    for source, target in (("/a", "/b"), ("/c/", "/e/"), ("/c/f", "/d/f")):
        lock = dav.lock(source)
        tokens = {"If": f"<{source}> (<{lock.token}>)"}
        assert dav.copy(source, "/copy", headers=tokens).status == 201
        assert dav.locks("/copy") == []
        assert dav.move(source, target, headers=tokens).status == 201
        assert dav.locks(target) == []
        assert dav.put(target.rstrip("/") + ("/x" if target == "/e/" else ""), b"x").status < 300
        assert dav.unlock(target, lock.token).status == 409
        assert dav.delete("/copy").status == 204
        if source == "/c/":
            fill(dav, "/c/", "/c/f")
        made = dav.lock(target)
        assert dav.delete(target, {"If": f"<{target}> (<{made.token}>)"}).status == 204
        assert dav.put(target.rstrip("/"), b"new").status == 201
        assert dav.locks(target.rstrip("/")) == []
        assert dav.delete(target.rstrip("/")).status == 204


@pytest.mark.security("C-18")
def test_nothing_redirects(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/f")
    for path in ("/c", "/c/f/", "//c", "/c?x", "//evil.example/c"):
        for name, ask in (asks_at(path) | asks_to(path, "/c/f")).items():
            assert not 300 <= ask.send(dav).status < 400, (path, name)


@pytest.mark.security("P-11", "C-07")
def test_names_of_one_inode_are_resources_of_their_own(dav: AppDav) -> None:
    """A new version takes the place of one name; the other keeps what it had."""
    fill(dav, "/a")
    root = root_of(dav)
    os.link(root / "a", root / "b")
    lock = dav.lock("/a")

    assert dav.put("/a", b"x").status == 423
    assert dav.put("/b", b"new").status == 204
    assert (dav.get("/a").body, dav.get("/b").body) == (b"/a", b"new")
    assert dav.unlock("/a", lock.token).status == 204

    os.link(root / "a", root / "c")
    assert dav.copy("/a", "/c").status == 204
    assert dav.put("/a", b"other").status == 204
    assert dav.get("/c").body == b"/a"
    os.link(root / "c", root / "d")
    assert dav.move("/c", "/d").status == 204
    assert dav.get("/c").status == 404
    assert dav.get("/d").body == b"/a"
    os.link(root / "d", root / "e")
    assert dav.delete("/d").status == 204
    assert dav.get("/e").body == b"/a"


@pytest.mark.security("P-15")
@pytest.mark.parametrize("becomes", ["nothing", "a collection", "a file", "nothing above"])
@pytest.mark.parametrize("was", ["/c/f", "/c/d"])
def test_what_changed_beside_the_server_is_seen_as_it_is(
    dav: AppDav, was: str, becomes: str
) -> None:
    """Whatever the server knew of it, no request fails, and nothing new has old properties."""
    fill(dav, "/c/", "/c/f", "/c/d/", "/c/d/g", "/s")
    root = root_of(dav)
    for name in [*asks_at(was), *asks_to(was, "/s")]:
        dav.proppatch(was, set={TOPIC: "old"})
        lock = dav.lock(was)
        path = root / was[1:]
        shutil.rmtree(root / "c")
        if becomes != "nothing above":
            (root / "c").mkdir()
        if becomes == "a collection":
            path.mkdir()
            (path / "member").write_bytes(b"new")
        elif becomes == "a file":
            path.write_bytes(b"new")
        ask = (asks_at(was) | asks_to(was, "/s"))[name]
        reply = ask.send(dav)
        assert reply.status < 500, (name, reply)

        shutil.rmtree(root / "c", ignore_errors=True)
        if (root / "free").is_dir():
            shutil.rmtree(root / "free")
        dav.delete("/free")
        assert dav.mkcol("/c/").status == 201
        made = dav.put("/c/f", b"f"), dav.mkcol("/c/d/"), dav.put("/c/d/g", b"g")
        assert [one.status for one in made] == [201, 201, 201], name
        dav.put("/s", b"s")
        assert dav.prop(was, TOPIC) is None, name
        assert dav.locks(was) == [], name
        assert dav.unlock(was, lock.token).status == 409


@pytest.mark.security("P-15", "F-04")
def test_what_may_not_be_entered_is_403(tmp_path: Path) -> None:
    asks = asks_at("/c/f") | asks_to("/c/f", "/s")
    with without_override(tmp_path) as server, server.connect() as dav:
        fill(dav, "/c/", "/c/f", "/s")
        folder = server.root / "c"
        folder.chmod(0)
        try:
            statuses = {name: ask.send(dav).status for name, ask in asks.items()}
        finally:
            folder.chmod(0o755)

    statuses.pop("OPTIONS")
    assert set(statuses.values()) <= {403, 501}, statuses
    assert 403 in statuses.values()
    assert (folder / "f").read_bytes() == b"/c/f"
