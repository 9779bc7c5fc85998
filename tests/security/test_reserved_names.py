"""Hidden names and the state are out of reach: by every method, in every place of a request.

On disk there are hidden files of a live upload and a state folder inside of the served one; no
spelling of their names finds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from davserver import create_app
from davserver.config import SettingsError
from davserver.protocol.path import DavPath
from tests.conftest import AppDav
from tests.support.every import asks_at, asks_if, asks_to, snapshot

SECRET = b"secret-b44c"
SPELLINGS = {
    "as it is": ".davserver",
    "capitals": ".DAVSERVER",
    "mixed": ".DavServer",
    "encoded": "%2edavserver",
    "encoded letters": ".%64%61vserver",
    "full width": "%EF%BC%8Edavserver",
    "full width letters": ".%EF%BD%84avserver",
    "long s": ".dav%C5%BFerver",
    "ligature": ".davserver%E2%80%8B",
    "zero width inside": ".dav%E2%80%8Bserver",
    "soft hyphen": ".dav%C2%ADserver",
    "one dot leader": "%E2%80%A4davserver",
    "with an owner": ".davserver.x.0123456789abcdef",
    "with an owner, capitals": ".DAVSERVER.X.0123456789ABCDEF",
    "an extension": ".davserver.sqlite",
    "variation selector": ".davserver%EF%B8%8F",
}
INSIDE = ("", "/", "/state.sqlite", "/a/b")


def build(make_dav: Callable[..., AppDav], **keys: object) -> AppDav:
    dav = make_dav("filesystem", durability="none", **keys)
    assert dav.root is not None
    owner = dav.app.services.storage.hidden(DavPath(("x",))).name
    (dav.root / "c/sub").mkdir(parents=True)
    (dav.root / "c/f").write_bytes(b"file")
    (dav.root / "f").write_bytes(b"file")
    for folder in (dav.root, dav.root / "c", dav.root / "c/sub"):
        (folder / ".davserver").mkdir()
        (folder / ".davserver/state.sqlite").write_bytes(SECRET)
        (folder / owner).write_bytes(SECRET)
    return dav


@pytest.mark.security("C-04", "P-14", "O-06")
@pytest.mark.parametrize("where", ["/", "/c/", "/c/sub/", "/new/"])
@pytest.mark.parametrize("name", SPELLINGS)
def test_no_method_reaches_a_reserved_name(
    make_dav: Callable[..., AppDav], name: str, where: str
) -> None:
    dav = build(make_dav)
    assert dav.root is not None
    before = snapshot(dav.root)
    for rest in INSIDE:
        path = f"{where}{SPELLINGS[name]}{rest}"
        asks = asks_at(path) | asks_to(path, "/f", "/c/")
        replies = {key: ask.send(dav) for key, ask in asks.items()}

        statuses = {key: reply.status for key, reply in replies.items()}
        assert statuses == dict.fromkeys(asks, 404) | {"POST": statuses["POST"]}, path
        assert statuses["POST"] in (404, 501)
        for reply in replies.values():
            assert SECRET not in reply.body
        unmapped = {key: ask.send(dav).status for key, ask in asks_if(path, "/f").items()}
        assert unmapped == dict.fromkeys(unmapped, 412), path
    assert snapshot(dav.root) == before


@pytest.mark.security("C-04", "P-14")
def test_names_that_only_look_alike_are_free(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem")
    for name in ("/davserver", "/.davserverx", "/x.davserver", "/.davserve", "/..davserver"):
        assert dav.put(name, b"mine").status == 201
        assert dav.get(name).body == b"mine"


@pytest.mark.security("C-04", "P-14")
def test_hidden_names_are_never_members(make_dav: Callable[..., AppDav]) -> None:
    dav = build(make_dav)
    hrefs = dav.propfind("/", depth="infinity").hrefs
    assert sorted(hrefs) == ["/", "/c/", "/c/f", "/c/sub/", "/f"]
    assert b".davserver" not in dav.get("/").body
    assert b".davserver" not in dav.get("/c/").body

    assert dav.copy("/c/", "/copy/").status == 201
    copied = dav.app.services.settings.root / "copy"
    assert sorted(os.listdir(copied)) == ["f", "sub"]
    assert os.listdir(copied / "sub") == []


@pytest.mark.security("C-04", "P-14")
@pytest.mark.parametrize("symlinks", ["within", "follow"])
def test_links_to_hidden_names_lead_nowhere(make_dav: Callable[..., AppDav], symlinks: str) -> None:
    dav = build(make_dav, symlinks=symlinks)
    assert dav.root is not None
    os.symlink(".davserver", dav.root / "folder")
    os.symlink("c/.davserver/state.sqlite", dav.root / "file")
    os.symlink("folder/state.sqlite", dav.root / "chain")
    before = snapshot(dav.root)

    for path in ("/folder/", "/folder/state.sqlite", "/folder/new", "/file", "/chain"):
        asks = asks_at(path) | asks_to(path, "/f", "/c/")
        replies = [ask.send(dav) for key, ask in asks.items() if key not in ("DELETE", "OPTIONS")]
        assert not [reply for reply in replies if reply.status < 400 or SECRET in reply.body]
    assert snapshot(dav.root) == before
    assert sorted(dav.members("/")) == ["/c/", "/f"]


@pytest.mark.security("C-04", "P-14", "K-05")
def test_a_tree_with_hidden_names_in_it(make_dav: Callable[..., AppDav]) -> None:
    """DELETE does not remove the upload of somebody else with the tree; MOVE takes it along."""
    dav = build(make_dav)
    assert dav.move("/c/", "/moved/").status == 201
    assert dav.get("/moved/f").body == b"file"
    assert dav.get("/moved/.davserver/state.sqlite").status == 404
    reply = dav.delete("/moved/")
    assert reply.status in (207, 409)
    assert dav.get("/moved/").status == 200


@pytest.mark.security("P-14", "C-16")
def test_a_hidden_name_cannot_be_guessed(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem")
    storage = dav.app.services.storage
    names = {storage.hidden(DavPath(("x",))).name for _ in range(1000)}
    assert len(names) == 1000
    assert {len(name.rpartition(".")[2]) for name in names} == {16}


@pytest.mark.security("C-04", "Q-05")
@pytest.mark.parametrize("place", ["root/state", "root/c/.state", "root", ".", "link/state"])
def test_a_state_folder_that_would_be_served_is_refused(tmp_path: Path, place: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    os.symlink("root", tmp_path / "link")

    with pytest.raises(SettingsError, match="must not lie within each other"):
        create_app(root=root, state=tmp_path / place)
