"""`.davserver/zip`: a collection as one file, made while it is sent."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davserver.configtables import Rule, parse_user
from tests.conftest import AppDav
from tests.support.credentials import basic, entry
from tests.support.dav import Dav
from tests.support.reply import Reply
from tests.support.server import Server

PHOTOS = {
    "a.jpg": b"first",
    "empty": b"",
    "\u00e9t\u00e9/b c.jpg": os.urandom(700_000),
    "\u00e9t\u00e9/deep/er.txt": b"deeper",
}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def archive(reply: Reply) -> dict[str, bytes | None]:
    """What is in it: content by name, None for a collection. Sums are checked."""
    assert reply.status == 200, reply
    with zipfile.ZipFile(io.BytesIO(reply.body)) as found:
        assert found.testzip() is None
        return {
            info.filename: None if info.is_dir() else found.read(info) for info in found.infolist()
        }


def fill(dav: Dav) -> None:
    for collection in ("photos", "photos/%C3%A9t%C3%A9", "photos/%C3%A9t%C3%A9/deep", "photos/no"):
        assert dav.request("MKCOL", f"/{collection}").status == 201
    for name, content in PHOTOS.items():
        quoted = name.replace("\u00e9", "%C3%A9").replace(" ", "%20")
        assert dav.put(f"/photos/{quoted}", content).status == 201


def test_a_collection_comes_whole_with_what_is_empty(dav: AppDav) -> None:
    fill(dav)
    reply = dav.get("/.davserver/zip/photos/")

    found = archive(reply)
    assert {name: content for name, content in found.items() if content is not None} == {
        f"photos/{name}": content for name, content in PHOTOS.items()
    }
    assert {name for name, content in found.items() if content is None} == {
        *("photos/", "photos/\u00e9t\u00e9/", "photos/\u00e9t\u00e9/deep/", "photos/no/")
    }
    assert reply.headers["content-type"] == "application/zip"
    disposition = "attachment; filename=\"photos.zip\"; filename*=UTF-8''photos.zip"
    assert reply.headers["content-disposition"] == disposition


def test_members_can_be_chosen(dav: AppDav) -> None:
    fill(dav)
    by_url = archive(dav.get("/.davserver/zip/photos/?name=a.jpg&name=%C3%A9t%C3%A9"))
    by_form = archive(
        dav.request("POST", "/.davserver/zip/photos", FORM, b"name=a.jpg&name=%C3%A9t%C3%A9")
    )

    assert by_url == by_form
    assert sorted(by_url) == [
        *("a.jpg", "\u00e9t\u00e9/", "\u00e9t\u00e9/b c.jpg", "\u00e9t\u00e9/deep/"),
        "\u00e9t\u00e9/deep/er.txt",
    ]


def test_the_root_has_a_name_of_its_own_and_none_inside(dav: AppDav) -> None:
    dav.put("/f", b"x")
    reply = dav.get("/.davserver/zip/")

    assert archive(reply)["f"] == b"x"
    assert "files.zip" in reply.headers["content-disposition"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/.davserver/zip/none/", 404),
        ("/.davserver/zip/photos/a.jpg", 404),
        ("/.davserver/zip/photos/?name=none", 404),
        ("/.davserver/zip/photos/?name=..", 400),
        ("/.davserver/zip/photos/?name=a%2Fb", 400),
        ("/.davserver/zip/photos/?name=", 400),
        ("/.davserver/zip/photos/?name=a%00", 400),
        ("/.davserver/zip/photos/?other=a", 400),
        ("/.davserver/zip/photos/?name", 400),
        ("/.davserver/zip/.davserver/health", 404),
        ("/.davserver/zip/photos/?name=.davserver.x", 404),
    ],
)
def test_what_there_is_no_archive_of_is_refused(dav: AppDav, target: str, status: int) -> None:
    fill(dav)

    assert dav.get(target).status == status


def test_names_come_as_a_form_and_not_too_many(dav: AppDav) -> None:
    fill(dav)
    post = "POST", "/.davserver/zip/photos"

    assert dav.request(*post, {"Content-Type": "text/plain"}, b"name=a.jpg").status == 415
    assert dav.request(*post, FORM, b"&".join([b"name=a"] * 10_001)).status == 400
    assert dav.request("PUT", "/.davserver/zip/photos", {}, b"x").status == 404


def test_more_members_than_the_limit_are_refused_before_anything_is_sent(
    make_dav: Callable[..., AppDav],
) -> None:
    dav = make_dav(zip_members=8)
    fill(dav)
    whole = dav.get("/.davserver/zip/photos/").status
    dav.put("/photos/ninth", b"")
    reply = dav.get("/.davserver/zip/photos/")

    assert whole == 200
    assert reply.status == 403
    assert b"more than 8 members" in reply.body


def test_each_file_needs_the_right_to_it(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav(
        anonymous="none",
        user=[parse_user(entry("anna")), parse_user(entry("bob"))],
        rule=[
            Rule(path="/photos/secret", access="write", users=["bob"]),
            Rule(path="/photos/secret", access="none"),
        ],
    )
    assert dav.root is not None
    (dav.root / "photos" / "secret").mkdir(parents=True)
    (dav.root / "photos" / "secret" / "s").write_bytes(b"secret")
    (dav.root / "photos" / "open").write_bytes(b"open")

    assert dav.get("/.davserver/zip/photos/").status == 401
    annas = archive(dav.get("/.davserver/zip/photos/", basic("anna")))
    assert annas == {"photos/": None, "photos/open": b"open"}
    assert "photos/secret/s" in archive(dav.get("/.davserver/zip/photos/", basic("bob")))
    chosen = dav.get("/.davserver/zip/photos/?name=secret", basic("anna"))
    assert chosen.status == 403


def test_a_collection_that_comes_to_lead_elsewhere_tells_no_names(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    from davserver.storage.filesystem import FilesystemStorage

    dav = make_dav(
        anonymous="none",
        user=[parse_user(entry("anna"))],
        rule=[Rule(path="/secret", access="none")],
    )
    assert dav.root is not None
    root = dav.root
    for name in ("open/sub", "secret"):
        (root / name).mkdir(parents=True)
    (root / "open" / "f").write_bytes(b"open")
    (root / "secret" / "plans").write_bytes(b"secret")
    canonical = FilesystemStorage.canonical

    looks = []

    def swapping(storage: Any, path: Any) -> Any:
        if path.name == "sub":
            looks.append(path)
        if len(looks) == 2 and not (root / "open" / "sub").is_symlink():
            # The first look was to count.
            (root / "open" / "sub").rmdir()
            (root / "open" / "sub").symlink_to("../secret")
        return canonical(storage, path)

    monkeypatch.setattr(FilesystemStorage, "canonical", swapping)
    found = archive(dav.get("/.davserver/zip/open/", basic("anna")))

    assert (root / "open" / "sub").is_symlink()
    assert found["open/f"] == b"open"
    assert "plans" not in str(found)


def test_links_are_followed_inside_the_root_and_never_in_circles(
    make_dav: Callable[..., AppDav],
) -> None:
    dav = make_dav()
    assert dav.root is not None
    (dav.root / "a" / "b").mkdir(parents=True)
    (dav.root / "a" / "f").write_bytes(b"x")
    (dav.root / "a" / "b" / "up").symlink_to("..")
    (dav.root / "a" / "b" / "f2").symlink_to("../f")
    (dav.root / "a" / "out").symlink_to("/etc")
    os.mkfifo(dav.root / "a" / "fifo")

    found = archive(dav.get("/.davserver/zip/a/"))
    assert found["a/b/f2"] == b"x"
    assert all(name.count("up/") <= 1 for name in found)
    assert not any("out" in name or "fifo" in name for name in found)


def test_what_cannot_be_read_is_told_in_the_archive(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    from davserver.errors import AccessDenied
    from davserver.storage.filesystem import FilesystemStorage

    dav = make_dav()
    fill(dav)
    opened = FilesystemStorage.open

    def refusing(storage: Any, path: Any) -> Any:
        if path.name == "a.jpg":
            raise AccessDenied("no")
        return opened(storage, path)

    monkeypatch.setattr(FilesystemStorage, "open", refusing)
    found = archive(dav.get("/.davserver/zip/photos/"))

    assert "photos/a.jpg" not in found
    report = found["NOT IN THIS ARCHIVE.txt"]
    assert report is not None
    assert report.startswith(b"photos/a.jpg: 403 ")


@pytest.mark.parametrize("name", ["..\\..\\evil.exe", "C:\\x", "a\\b"])
def test_no_name_leads_out_of_where_it_is_unpacked(
    make_dav: Callable[..., AppDav], name: str
) -> None:
    dav = make_dav()
    assert dav.root is not None
    (dav.root / "c").mkdir()
    (dav.root / "c" / name).write_bytes(b"x")
    (dav.root / "c" / "not\udcffutf8").write_bytes(b"y")

    found = archive(dav.get("/.davserver/zip/c/"))
    assert len(found) == 3
    assert not any("\\" in one for one in found)


def test_head_tells_what_get_would(dav: AppDav) -> None:
    fill(dav)
    reply = dav.request("HEAD", "/.davserver/zip/photos/")

    assert reply.status == 200
    assert reply.headers["content-type"] == "application/zip"
    assert reply.body == b""


def test_a_large_archive_is_sent_as_it_is_made(server: Server) -> None:
    (server.root / "big").mkdir(exist_ok=True)
    for number in range(3):
        with (server.root / "big" / f"{number}").open("wb") as file:
            file.truncate(60 << 20)
    with server.connect() as http:
        found = zipfile.ZipFile(io.BytesIO(http.get("/.davserver/zip/big/").body))

    assert [info.file_size for info in found.infolist() if not info.is_dir()] == [60 << 20] * 3


@pytest.mark.long
def test_a_file_of_five_gib_is_whole(server: Server, tmp_path: Path) -> None:
    (server.root / "huge").mkdir(exist_ok=True)
    with (server.root / "huge" / "f").open("wb") as file:
        file.truncate(5 << 30)
        file.seek(5 << 30)
        file.write(b"end")
    got = tmp_path / "huge.zip"
    url = f"http://127.0.0.1:{server.port}/.davserver/zip/huge/"
    subprocess.run(["curl", "-sf", "-o", got, url], check=True, timeout=300)
    with zipfile.ZipFile(got) as found, found.open("huge/f") as file:
        file.seek(5 << 30)

        assert file.read() == b"end"
