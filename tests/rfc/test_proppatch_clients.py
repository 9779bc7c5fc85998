"""PROPPATCH of the live properties that clients set, each for its own reason."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.conftest import AppDav
from tests.support.reply import Reply

MakeDav = Callable[..., AppDav]
D = "{DAV:}"
SECONDS = 1_000_000_000
DATE = "Sun, 09 Sep 2001 01:46:40 GMT"


@pytest.fixture
def file(dav: AppDav) -> AppDav:
    assert dav.put("/f", b"content").status == 201
    return dav


def value(dav: AppDav, name: str, target: str = "/f") -> str | None:
    element = dav.prop(target, name)
    return None if element is None else element.text or ""


def outcome(reply: Reply, href: str = "/f") -> dict[int, list[str]]:
    return {status: sorted(names) for status, names in reply.multistatus[href].items()}


@pytest.mark.rfc("PP-16")
@pytest.mark.parametrize(
    ("name", "text"),
    [
        (f"{D}getlastmodified", DATE),
        (f"{D}lastmodified", str(SECONDS)),
        ("{urn:schemas-microsoft-com:}Win32LastModifiedTime", DATE),
    ],
    ids=["WinSCP", "rclone", "Windows"],
)
def test_clients_set_the_time_of_a_file(make_dav: MakeDav, name: str, text: str) -> None:
    dav = make_dav("filesystem")
    dav.put("/f", b"content")
    etag = dav.head("/f").headers["etag"]

    reply = dav.proppatch("/f", set={name: text})

    assert outcome(reply) == {200: [name]}
    assert dav.root is not None
    assert os.stat(dav.root / "f").st_mtime_ns // 10**9 == SECONDS
    assert dav.head("/f").headers["last-modified"] == DATE
    assert value(dav, f"{D}getlastmodified") == DATE
    assert dav.head("/f").headers["etag"] != etag
    assert dav.get("/f").body == b"content"


@pytest.mark.rfc("PP-16")
def test_windows_gets_200_for_each_of_its_properties(file: AppDav) -> None:
    """Else Explorer says that there is no space."""
    names = {
        f"{{urn:schemas-microsoft-com:}}{local}": text
        for local, text in {
            "Win32CreationTime": "Mon, 02 Jan 2006 15:04:05 GMT",
            "Win32LastAccessTime": "Mon, 02 Jan 2006 15:04:05 GMT",
            "Win32LastModifiedTime": "Mon, 02 Jan 2006 15:04:05 GMT",
            "Win32FileAttributes": "00000020",
        }.items()
    }

    reply = file.proppatch("/f", set=names)

    assert outcome(reply) == {200: sorted(names)}
    assert {name: value(file, name) for name in names} == names


def test_the_creation_date_can_be_set_and_forgotten(file: AppDav) -> None:
    name = f"{D}creationdate"
    before = (value(file, name), file.head("/f").headers["last-modified"])

    file.proppatch("/f", set={name: "2001-09-09T03:46:40+02:00"})
    changed = (value(file, name), file.head("/f").headers["last-modified"])
    file.proppatch("/f", remove=[name])

    assert changed == ("2001-09-09T01:46:40Z", before[1])
    assert (value(file, name), file.head("/f").headers["last-modified"]) == before


def test_executable_is_read_and_set(make_dav: MakeDav) -> None:
    """davfs2 and cadaver."""
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.put("/f", b"#!/bin/sh")
    dav.mkcol("/c/")
    name = "{http://apache.org/dav/props/}executable"

    assert value(dav, name) == "F"
    assert outcome(dav.proppatch("/f", set={name: "T"})) == {200: [name]}
    assert value(dav, name) == "T"
    assert (dav.root / "f").stat().st_mode & 0o100
    assert outcome(dav.proppatch("/f", set={name: "maybe"})) == {409: [name]}
    assert outcome(dav.proppatch("/c/", set={name: "T"}), "/c/") == {409: [name]}
    assert dav.prop("/c/", name) is None
