"""COPY of trees: members that fail, or go, while the walk runs."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import AccessDenied, NoSpace, QuotaExceeded, StorageFailure
from davserver.protocol.path import DavPath
from davserver.storage.bymember import OpenMembers
from davserver.storage.listed import FEW
from tests.conftest import AppDav
from tests.support.storages import HookedStorage

D = "{DAV:}"
MakeDav = Callable[..., AppDav]


@pytest.fixture
def storage() -> HookedStorage:
    return HookedStorage()


@pytest.fixture
def hooked(make_dav: MakeDav, storage: HookedStorage) -> AppDav:
    return make_dav("memory", overrides={"storage": storage})


def fill(dav: AppDav, *paths: str) -> None:
    for path in paths:
        reply = dav.mkcol(path) if path.endswith("/") else dav.put(path, path.encode())
        assert reply.status == 201, reply


def at(path: str) -> DavPath:
    return DavPath(tuple(path.strip("/").split("/")))


def names(dav: AppDav, target: str) -> list[str]:
    return [href.removeprefix(target) for href in dav.members(target)]


@pytest.mark.rfc("CP-12", "CP-13", "CP-14", "CP-18")
@pytest.mark.parametrize("call", ["scan_all", "stat", "make_collection"])
def test_a_collection_that_cannot_be_copied_is_skipped_and_the_rest_goes_on(
    hooked: AppDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    fill(hooked, "/c/", "/c/a", "/c/d/", "/c/d/e/", "/c/d/e/f", "/c/g/", "/c/g/h", "/c/x")
    monkeypatch.setattr(storage, "hidden", lambda path: DavPath((".davserver.memory.s",)))
    target = "/.davserver.memory.s/d" if call == "make_collection" else "/c/d"
    storage.refuse(call, target, AccessDenied("not yours"))
    storage.refuse("copy", "/c/x", StorageFailure("a broken disk"))

    assert hooked.copy("/c/", "/copy/").multistatus.statuses == {"/c/d/": 403, "/c/x": 500}
    assert names(hooked, "/copy/") == ["a", "g/"]
    assert hooked.get("/copy/g/h").body == b"/c/g/h"
    assert names(hooked, "/c/") == ["a", "d/", "g/", "x"]


@pytest.mark.rfc("CP-18")
def test_a_failed_member_keeps_an_existing_destination_as_it_was(
    hooked: AppDav, storage: HookedStorage
) -> None:
    fill(hooked, "/c/", "/c/a", "/c/x", "/copy/", "/copy/old")
    storage.refuse("copy", "/c/x", AccessDenied("not yours"))

    assert hooked.copy("/c/", "/copy/").multistatus.statuses == {"/c/x": 403}
    assert hooked.members("/copy/") == ["/copy/old"]
    assert hooked.members("/") == ["/c/", "/copy/"]
    assert list(storage._root.members or ()) == [b"c", b"copy"]


@pytest.mark.rfc("CP-17", "CP-18")
@pytest.mark.parametrize(
    ("call", "target"),
    [("copy", "/c/d/f"), ("make_collection", "/.davserver.memory.s/d")],
)
@pytest.mark.parametrize(
    ("error", "condition"),
    [(NoSpace, "sufficient-disk-space"), (QuotaExceeded, "quota-not-exceeded")],
)
@pytest.mark.parametrize("destination", ["/copy/", "/there/"])
def test_no_space_is_507_and_nothing_new(
    hooked: AppDav,
    storage: HookedStorage,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    target: str,
    error: type[NoSpace] | type[QuotaExceeded],
    condition: str,
    destination: str,
) -> None:
    fill(hooked, "/c/", "/c/a", "/c/d/", "/c/d/f", "/there/", "/there/old")
    monkeypatch.setattr(storage, "hidden", lambda path: DavPath((".davserver.memory.s",)))
    storage.refuse(call, target, error("full"))

    reply = hooked.copy("/c/", destination)

    assert (reply.status, reply.conditions) == (507, [f"{D}{condition}"])
    assert list(storage._root.members or ()) == [b"c", b"there"]
    assert hooked.members("/there/") == ["/there/old"]


@pytest.mark.rfc("CP-12")
def test_members_that_go_while_the_copy_runs_are_no_failure(
    hooked: AppDav, storage: HookedStorage
) -> None:
    fill(hooked, "/c/", "/c/a", "/c/b", "/c/d/")
    storage.once("copy", "/c/a", lambda: storage.delete(at("/c/a")))
    storage.once("stat", "/c/d", lambda: storage.delete(at("/c/d")))

    assert hooked.copy("/c/", "/copy/").status == 201
    assert hooked.members("/copy/") == ["/copy/b"]


@pytest.mark.rfc("CP-02")
def test_a_source_that_goes_while_the_copy_begins_is_404(
    hooked: AppDav, storage: HookedStorage
) -> None:
    fill(hooked, "/c/")
    storage.once("stat", "/c", lambda: storage.delete(at("/c")))

    assert hooked.copy("/c/", "/copy/").status == 404
    assert hooked.members("/") == []


@pytest.mark.rfc("CP-15")
def test_a_link_to_a_collection_above_is_not_copied_without_end(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    fill(dav, "/c/", "/c/d/", "/c/d/f", "/beside/", "/beside/g")
    os.symlink("..", dav.root / "c/d/up")
    os.symlink("../../beside", dav.root / "c/d/across")

    assert dav.copy("/c/", "/copy/").status == 201
    assert names(dav, "/copy/d/") == ["across/", "f"]
    assert dav.get("/copy/d/across/g").body == b"/beside/g"


@pytest.mark.rfc("CP-12", "CP-13", "CP-18")
def test_a_member_of_a_small_collection_that_cannot_be_copied_is_told_of_and_the_rest_is_there(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav("filesystem", durability="none")
    fill(dav, "/c/", "/c/d/", "/c/d/f", "/c/d/g", "/c/d/h", "/c/e/", "/c/e/i", "/c/n/")
    copy = OpenMembers.copy

    def refuse(self: OpenMembers, name: str, **options: Any) -> int:
        if name == "g":
            raise AccessDenied("not yours")
        return copy(self, name, **options)

    monkeypatch.setattr(OpenMembers, "copy", refuse)

    assert dav.copy("/c/", "/copy/").multistatus.statuses == {"/c/d/g": 403}
    assert names(dav, "/copy/") == ["d/", "e/", "n/"]
    assert names(dav, "/copy/d/") == ["f", "h"]
    assert dav.get("/copy/e/i").body == b"/c/e/i"


@pytest.mark.rfc("CP-12")
@pytest.mark.parametrize("files", [1, FEW, FEW + 1])
def test_many_collections_are_copied_whatever_their_size(make_dav: MakeDav, files: int) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    for number in range(2 * FEW if files == 1 else 5):
        collection = dav.root / f"c/d{number}"
        collection.mkdir(parents=True)
        for member in range(files):
            (collection / f"f{member}").write_bytes(b"%d of %d" % (member, number))
        if number % 2:
            (collection / "inner/empty").mkdir(parents=True)

    assert dav.copy("/c/", "/copy/").status == 201
    assert contents(dav.root / "copy") == contents(dav.root / "c")


def contents(folder: Path) -> dict[str, bytes | None]:
    """Returns what each path in a folder holds; None for a folder."""
    return {
        str(path.relative_to(folder)): None if path.is_dir() else path.read_bytes()
        for path in folder.rglob("*")
    }


@pytest.mark.rfc("CP-15")
def test_a_small_collection_is_copied_by_each_link_to_it(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    fill(dav, "/c/", "/c/d/", "/c/d/f", "/beside/", "/beside/g")
    os.symlink("d", dav.root / "c/again")
    os.symlink("../beside", dav.root / "c/across")

    assert dav.copy("/c/", "/copy/").status == 201
    assert names(dav, "/copy/") == ["across/", "again/", "d/"]
    assert names(dav, "/copy/again/") == names(dav, "/copy/d/") == ["f"]
    assert names(dav, "/copy/across/") == ["g"]
    assert not any(path.is_symlink() for path in (dav.root / "copy").rglob("*"))
