"""The setting `junk`: files that Finder and Explorer leave in every folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.shares import make_shares

MakeDav = Callable[..., AppDav]
JUNK = ("/.DS_Store", "/c/._f", "/c/Thumbs.db")
PLAIN = ("/c/", "/c/f")


def fill(dav: AppDav) -> dict[str, int]:
    """Creates what is plain and what is junk. Returns the statuses of the junk."""
    for path in PLAIN:
        assert (dav.mkcol(path) if path.endswith("/") else dav.put(path, b"f")).status == 201
    return {path: dav.put(path, b"junk").status for path in JUNK}


def listed(dav: AppDav) -> set[str]:
    """Returns what a PROPFIND of depth infinity shows, which depth 1 and the page must agree
    with."""
    everything = set(dav.propfind("/", depth="infinity")) - {"/"}
    by_level = set(dav.propfind("/", depth="1")) | set(dav.propfind("/c/", depth="1"))
    page = (
        dav.get("/?plain", {"Accept": "text/html"}).body.replace(b"?plain", b"")
        + dav.get("/c/").body
    )
    assert by_level - {"/"} == everything
    assert {path for path in (*JUNK, *PLAIN) if f'"{path}"'.encode() in page} == everything
    return everything


@pytest.fixture(params=["filesystem", "memory"])
def storage(request: pytest.FixtureRequest) -> str:
    return request.param


def test_by_default_they_are_files_like_any_other(make_dav: MakeDav, storage: str) -> None:
    dav = make_dav(storage)

    assert set(fill(dav).values()) == {201}
    assert listed(dav) == {*JUNK, *PLAIN}


def test_hidden_they_are_stored_and_served_by_name(make_dav: MakeDav, storage: str) -> None:
    dav = make_dav(storage, junk="hide")

    assert set(fill(dav).values()) == {201}
    assert listed(dav) == set(PLAIN)
    for path in JUNK:
        assert dav.get(path).body == b"junk"
        assert list(dav.propfind(path)) == [path]
        granted = dav.lock(path)
        assert dav.put(path, b"new", {"If": granted.untagged}).status == 204
        assert dav.delete(path, {"If": granted.untagged}).status == 204
        assert dav.get(path).status == 404


def test_a_hidden_file_goes_with_its_collection(make_dav: MakeDav, storage: str) -> None:
    """Clients take a folder for empty that lists nothing, and delete it."""
    dav = make_dav(storage, junk="hide")
    fill(dav)

    assert dav.copy("/c/", "/d/").status == 201
    assert dav.get("/d/._f").body == b"junk"
    assert dav.move("/c/", "/e/").status == 201
    assert dav.get("/e/._f").body == b"junk"
    assert dav.delete("/e/").status == 204
    assert dav.mkcol("/e/").status == 201
    assert dav.get("/e/._f").status == 404


@pytest.mark.parametrize(
    "ask",
    [
        pytest.param(lambda dav: dav.run(dav.send("PUT", "/c/._f", body=b"x")), id="PUT"),
        pytest.param(
            lambda dav: dav.run(dav.send("PUT", "/.Trashes/f", body=b"x")), id="PUT below"
        ),
        pytest.param(lambda dav: dav.run(dav.send("MKCOL", "/.Spotlight-V100/")), id="MKCOL"),
        pytest.param(
            lambda dav: dav.run(dav.send("COPY", "/c/f", {"Destination": "/c/._f"})), id="COPY"
        ),
        pytest.param(
            lambda dav: dav.run(dav.send("MOVE", "/c/f", {"Destination": "/desktop.ini"})),
            id="MOVE",
        ),
        pytest.param(lambda dav: (dav.lock_request("/c/._f"), dav.last)[1], id="LOCK"),
    ],
)
def test_refused_they_cannot_be_created(
    make_dav: MakeDav, storage: str, ask: Callable[[AppDav], Any]
) -> None:
    dav = make_dav(storage, junk="refuse")
    assert set(fill(dav).values()) == {403}

    exchange = ask(dav)

    assert exchange.reply.status == 403
    assert b"is junk" in exchange.reply.body
    assert listed(dav) == set(PLAIN)


def test_a_refused_upload_is_never_asked_for_its_body(make_dav: MakeDav) -> None:
    dav = make_dav("memory", junk="refuse")

    exchange = dav.run(dav.send("PUT", "/._f", body=b"x" * 4096))

    assert (exchange.reply.status, exchange.received) == (403, 0)


def test_those_that_were_there_are_hidden_and_can_be_deleted(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", junk="refuse")
    fill(dav)
    assert dav.root is not None
    for path in JUNK:
        (dav.root / path[1:]).write_bytes(b"junk")

    assert listed(dav) == set(PLAIN)
    assert dav.get("/c/._f").body == b"junk"
    assert dav.move("/c/._f", "/c/g").status == 201
    for path in ("/.DS_Store", "/c/Thumbs.db"):
        assert dav.delete(path).status == 204


@pytest.mark.parametrize("policy", ["store", "hide", "refuse"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PROPFIND", "DELETE"])
def test_a_probe_for_one_that_is_not_there_is_a_small_404(
    make_dav: MakeDav, policy: str, method: str
) -> None:
    dav = make_dav("filesystem", junk=policy)

    for path in ("/._.", "/._f", "/.DS_Store", "/.Spotlight-V100"):
        reply = dav.request(method, path, {"Depth": "0"} if method == "PROPFIND" else {})
        assert reply.status == 404
        assert len(reply.body) < 100


def test_each_share_has_its_own_policy(make_dav: MakeDav, tmp_path: Path) -> None:
    shares = {name: {"junk": name} for name in ("store", "hide", "refuse")}
    dav = make_shares(make_dav, tmp_path, "default", shares=shares, junk="refuse")

    statuses = {name: dav.put(f"/{name}/._f", b"x").status for name in (*shares, "default")}

    assert statuses == {"store": 201, "hide": 201, "refuse": 403, "default": 403}
    assert [path for path in dav.propfind("/", depth="infinity") if path.endswith("f")] == [
        "/store/._f"
    ]
    across = dav.copy("/store/._f", "/refuse/._f")
    assert across.status == 403
