"""Quotas of shares (RFC 4331): what does not fit is refused before it is sent, what is used is
known to the byte, and both properties tell of it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from davserver.protocol.path import Key
from davserver.state.base import Usage
from davserver.storage.bymember import MembersByPath
from tests.conftest import AppDav
from tests.support.shares import make_shares
from tests.support.trees import fill, hidden_names, tree

D = "{DAV:}"
AVAILABLE, USED = f"{D}quota-available-bytes", f"{D}quota-used-bytes"
LIMIT = 1000
MakeDav = Callable[..., AppDav]


@pytest.fixture
def dav(make_dav: MakeDav, tmp_path: Path) -> AppDav:
    """Two shares, of which `a` has a quota of 1000 bytes."""
    return make_shares(make_dav, tmp_path, shares={"a": {"quota": LIMIT}, "b": {}})


def usage(dav: AppDav, share: str = "a") -> Usage:
    found: Usage = dav.app.services.state.numbers(Key(share, b"")).read()
    return found


def on_disk(dav: AppDav, share: str = "a") -> int:
    assert dav.root is not None
    return sum(path.stat().st_size for path in (dav.root / share).rglob("*") if path.is_file())


def is_refused(reply: Any) -> bool:
    return reply.status == 507 and reply.conditions == ["{DAV:}quota-not-exceeded"]


# --- what does not fit --------------------------------------------------------------------------


@pytest.mark.rfc("QU-04", "PC-08")
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"Content-Length": "1001"}, id="Content-Length"),
        pytest.param({"X-Expected-Entity-Length": "1001"}, id="Finder's chunked body"),
    ],
)
def test_a_body_that_cannot_fit_is_not_asked_for(dav: AppDav, headers: dict[str, str]) -> None:
    body = b"x" * 1001 if "Content-Length" in headers else [b"x" * 1001]
    exchange = dav.run(dav.send("PUT", "/a/f", headers | {"Expect": "100-continue"}, body))

    assert is_refused(exchange.reply)
    assert exchange.received == 0
    assert tree(dav, "/a/") == {}
    assert usage(dav) == Usage(0, True)


@pytest.mark.rfc("QU-04")
@pytest.mark.security("T-07")
@pytest.mark.parametrize(
    "size",
    [pytest.param(LIMIT + 1, id="one byte too many"), pytest.param(5 << 20, id="far too many")],
)
def test_a_body_of_unknown_length_is_not_published(dav: AppDav, size: int) -> None:
    pieces = [b"x" * min(65_536, size - done) for done in range(0, size, 65_536)]
    exchange = dav.run(dav.send("PUT", "/a/f", body=pieces))

    assert is_refused(exchange.reply)
    assert exchange.received <= 1 + (1 << 20) // 65_536, "it ends where it does not fit any more"
    assert on_disk(dav) == 0
    assert usage(dav).used == 0
    assert hidden_names(dav) == []


def test_what_fits_to_the_byte_is_stored_and_then_nothing_more(dav: AppDav) -> None:
    assert dav.put("/a/f", b"x" * LIMIT).status == 201
    assert is_refused(dav.put("/a/g", b"y"))
    assert is_refused(dav.put("/a/g", b""))
    assert is_refused(dav.mkcol("/a/c"))
    assert is_refused(dav.lock_request("/a/g"))
    assert is_refused(dav.copy("/a/f", "/a/g"))
    assert is_refused(dav.copy("/b/", "/a/c/", depth="0"))
    assert tree(dav, "/a/") == {"/a/f": b"x" * LIMIT}
    assert usage(dav).used == LIMIT
    assert hidden_names(dav) == []


@pytest.mark.rfc("QU-06")
@pytest.mark.parametrize("size", [0, 1, LIMIT])
def test_what_is_no_larger_may_always_take_its_place(dav: AppDav, size: int) -> None:
    dav.put("/a/f", b"x" * LIMIT)

    assert dav.put("/a/f", b"y" * size).status == 204
    assert usage(dav).used == size
    assert on_disk(dav) == size


def test_over_the_limit_nothing_grows_and_all_can_shrink(make_dav: MakeDav, tmp_path: Path) -> None:
    """The limit was lowered, or somebody wrote beside the server."""
    folder = tmp_path / "shares/a"
    folder.mkdir(parents=True)
    (folder / "f").write_bytes(b"x" * 3 * LIMIT)
    (folder / "g").write_bytes(b"x" * LIMIT)
    dav = make_shares(make_dav, tmp_path, shares={"a": {"quota": LIMIT}})

    assert usage(dav) == Usage(4 * LIMIT, True)
    assert is_refused(dav.put("/a/f", b"x" * (3 * LIMIT + 1)))
    assert is_refused(dav.put("/a/new", b"x"))
    assert is_refused(dav.copy("/a/g", "/a/h"))
    assert dav.copy("/a/g", "/a/f").status == 204
    assert dav.move("/a/f", "/a/moved").status == 201
    assert dav.put("/a/moved", b"").status == 204
    assert dav.delete("/a/g").status == 204
    assert dav.put("/a/new", b"x" * LIMIT).status == 201


def test_a_deleted_tree_makes_room_for_as_much(dav: AppDav) -> None:
    fill(dav, "/a/c/", "/a/c/d/", "/a/c/e/")
    for path in ("/a/c/f", "/a/c/d/g", "/a/c/d/h"):
        dav.put(path, b"x" * 300)

    assert usage(dav).used == 900
    assert dav.delete("/a/c/").status == 204
    assert usage(dav) == Usage(0, True)


def test_a_copy_ends_with_the_first_member_that_does_not_fit(
    dav: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(dav, "/b/c/", "/b/c/d/")
    for name in "fgh":
        dav.put(f"/b/c/d/{name}", b"x" * 600)
    copied: list[str] = []
    copy = MembersByPath.copy

    def note(self: MembersByPath, name: str, **options: Any) -> int:
        copied.append(name)
        return copy(self, name, **options)

    monkeypatch.setattr(MembersByPath, "copy", note)

    assert is_refused(dav.copy("/b/c/", "/a/c/"))
    assert len(copied) == 1
    assert on_disk(dav) == usage(dav).used == 0


def test_properties_and_locks_do_not_count(dav: AppDav) -> None:
    dav.put("/a/f", b"x" * LIMIT)

    assert dav.proppatch("/a/f", set={"{x:}p": "v" * 5000}).multistatus
    assert dav.prop("/a/f", "{x:}p").text == "v" * 5000
    assert dav.lock("/a/f").reply.status == 200
    assert usage(dav).used == LIMIT


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_comes_from_another_share_must_fit(dav: AppDav, method: str) -> None:
    dav.put("/a/have", b"x" * 400)
    dav.put("/b/fits", b"y" * 600)
    dav.put("/b/not", b"y" * 601)
    dav.mkcol("/b/t/")
    dav.put("/b/t/1", b"1" * 300)
    dav.put("/b/t/2", b"2" * 301)
    before = tree(dav)

    for path in ("/b/not", "/b/t/"):
        assert is_refused(dav.request(method, path, {"Destination": f"/a/{path[3:]}"}))
    assert tree(dav) == before
    assert usage(dav).used == 400
    assert hidden_names(dav) == []
    assert dav.request(method, "/b/fits", {"Destination": "/a/fits"}).status == 201
    assert usage(dav).used == 1000


def test_what_moves_to_another_share_makes_room(dav: AppDav) -> None:
    fill(dav, "/a/t/", "/a/t/d/")
    dav.put("/a/f", b"x" * 300)
    dav.put("/a/t/1", b"x" * 300)
    dav.put("/a/t/d/2", b"x" * 400)

    assert dav.move("/a/f", "/b/f").status == 201
    assert usage(dav).used == 700
    assert dav.move("/a/t/", "/b/t/").status == 201
    assert usage(dav).used == 0


def test_to_put_a_collection_in_the_place_of_another_needs_room_for_both(dav: AppDav) -> None:
    """The old one stands until the new one is complete."""
    fill(dav, "/a/t/", "/b/t/")
    dav.put("/a/t/old", b"x" * 600)
    dav.put("/b/t/new", b"y" * 401)

    assert is_refused(dav.copy("/b/t/", "/a/t/"))
    assert dav.get("/a/t/old").status == 200
    dav.put("/b/t/new", b"y" * 400)
    assert dav.copy("/b/t/", "/a/t/").status == 204
    assert usage(dav).used == 400
    assert tree(dav, "/a/") == {"/a/t/": None, "/a/t/new": b"y" * 400}


def test_a_move_inside_is_free(dav: AppDav) -> None:
    fill(dav, "/a/t/")
    dav.put("/a/t/f", b"x" * 600)
    dav.put("/a/g", b"y" * 400)

    assert dav.move("/a/t/", "/a/u/").status == 201
    assert usage(dav).used == 1000
    assert dav.move("/a/g", "/a/u/f").status == 204
    assert usage(dav).used == 400


def test_a_failed_upload_gives_back_what_it_took(dav: AppDav) -> None:
    headers = {"Content-Length": "1000"}
    exchange = dav.run(dav.send("PUT", "/a/f", headers, b"x" * 500, leaves=True))

    assert exchange.messages == []
    assert dav.put("/a/f", b"x", {"If-Match": '"none"'}).status == 412
    assert usage(dav).used == 0
    assert dav.put("/a/f", b"x" * LIMIT).status == 201


# --- what is told -------------------------------------------------------------------------------


@pytest.mark.rfc("QU-01", "QU-05")
def test_the_properties_tell_of_the_share(dav: AppDav) -> None:
    fill(dav, "/a/c/")
    dav.put("/a/c/f", b"x" * 300)

    for path in ("/a/", "/a/c/"):
        found = dav.propfind(path, props=[AVAILABLE, USED])[path][200]
        assert (found[AVAILABLE].text, found[USED].text) == ("700", "300")
    listed = dav.propfind("/", props=[AVAILABLE, USED], depth="1")
    assert listed["/a/"][200][AVAILABLE].text == "700"
    assert int(listed["/b/"][200][AVAILABLE].text) > 1_000_000
    assert listed["/"][404].keys() == {AVAILABLE, USED}
    assert dav.propfind("/a/", props=[AVAILABLE], depth="1")["/a/c/"][200][AVAILABLE].text == "700"


@pytest.mark.rfc("QU-01")
def test_what_is_over_the_limit_has_nothing_left(make_dav: MakeDav, tmp_path: Path) -> None:
    folder = tmp_path / "shares/a"
    folder.mkdir(parents=True)
    (folder / "f").write_bytes(b"x" * 3 * LIMIT)
    dav = make_shares(make_dav, tmp_path, shares={"a": {"quota": LIMIT}})

    found = dav.propfind("/a/", props=[AVAILABLE, USED])["/a/"][200]

    assert (found[AVAILABLE].text, found[USED].text) == ("0", "3000")


@pytest.mark.rfc("QU-01")
def test_a_quota_larger_than_the_disk_leaves_what_the_disk_leaves(
    make_dav: MakeDav, tmp_path: Path
) -> None:
    dav = make_shares(make_dav, tmp_path, shares={"a": {"quota": 1 << 62}, "b": {}})

    told = {path: int(dav.prop(path, AVAILABLE).text) for path in ("/a/", "/b/")}

    assert abs(told["/a/"] - told["/b/"]) < 1 << 30, "both on one disk, which others write to"


@pytest.mark.rfc("QU-01")
def test_the_properties_are_protected(dav: AppDav) -> None:
    reply = dav.proppatch("/a/", set={AVAILABLE: "1"})

    assert reply.multistatus["/a/"].keys() == {403}


# --- to the byte --------------------------------------------------------------------------------


def act(dav: AppDav, chance: random.Random, paths: Iterable[str]) -> None:
    """Sends one request of any kind; most succeed, some are refused."""
    paths = list(paths)
    path, other = chance.choice(paths), chance.choice(paths)
    headers = {"Overwrite": chance.choice("TTF")}
    kind = chance.randrange(8)
    if kind < 3:
        dav.put(path, b"x" * chance.choice([0, 1, 50, 200, 600]))
    elif kind == 3:
        dav.mkcol(path)
    elif kind == 4:
        dav.delete(path)
    elif kind == 5:
        dav.copy(path, other, depth=chance.choice(["0", "infinity"]), headers=headers)
    else:
        dav.move(path, other, headers=headers)


@pytest.mark.parametrize("seed", range(12))
def test_what_is_used_is_known_whatever_is_done(
    make_dav: MakeDav, tmp_path: Path, seed: int
) -> None:
    shares = {"a": {"quota": 1500}, "b": {"quota": 4000}}
    dav = make_shares(make_dav, tmp_path, shares=shares, durability="none")
    names = [f"/{share}/{name}" for share in "ab" for name in ("f", "g", "c", "d")]
    paths = [*names, *(f"{name}/{inner}" for name in names for inner in ("f", "c", "c/f"))]
    chance = random.Random(seed)
    for _ in range(60):
        act(dav, chance, paths)
        for share, keys in shares.items():
            used = usage(dav, share).used
            assert used == on_disk(dav, share)
            assert used <= keys["quota"]
    assert hidden_names(dav) == []
