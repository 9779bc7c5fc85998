"""Links that the file-system backend makes: relative, inside the root, in one step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver import errors
from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Capability, Kind
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.links import relative
from davserver.storage.memory import MemoryStorage


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("a/b", "c"):
        (tmp_path / "root" / name).mkdir(parents=True)
    (tmp_path / "root/a/f").write_bytes(b"x")
    return tmp_path / "root"


@pytest.fixture
def storage(root: Path) -> Iterator[FilesystemStorage]:
    storage = FilesystemStorage(root, owner="me", is_alive=lambda _: True)
    yield storage
    storage.close()


def p(path: str) -> DavPath:
    return DavPath(tuple(path.split("/")) if path else ())


@pytest.mark.parametrize(
    ("collection", "target", "text"),
    [
        ("", "a", "a"),
        ("", "", "."),
        ("a", "a", "."),
        ("a", "", ".."),
        ("a/b", "a", ".."),
        ("a", "a/b/c", "b/c"),
        ("a/b", "c/d", "../../c/d"),
        ("a/b", "a/c", "../c"),
    ],
)
def test_the_text_of_a_link_is_the_way_to_its_target(
    collection: str, target: str, text: str
) -> None:
    ways = [tuple(map(str.encode, p(way).segments)) for way in (collection, target)]

    assert relative(*ways) == text.encode()


def test_a_link_leads_to_its_target_and_has_a_key_of_its_own(storage: FilesystemStorage) -> None:
    storage.make_link(p("c/l"), p("a/f"))
    named = storage.named(p("c/l"))

    assert storage.locate(p("c/l")).key == Key("", b"a/f")
    assert (named.key, named.is_link) == (Key("", b"c/l"), True)
    assert named.stat is not None
    assert named.stat.kind is Kind.OTHER
    assert not storage.named(p("a/f")).is_link


def test_a_link_made_through_another_one_is_relative_to_where_it_is(
    storage: FilesystemStorage, root: Path
) -> None:
    (root / "way").symlink_to("a/b")
    storage.make_link(p("way/l"), p("c"))

    assert os.readlink(root / "a/b/l") == "../../c"


def test_a_link_takes_the_place_of_a_link_alone(storage: FilesystemStorage, root: Path) -> None:
    storage.make_link(p("c/l"), p("a/f"))
    storage.make_link(p("c/l"), p("a/b"), replace=True)

    assert os.readlink(root / "c/l") == "../a/b"
    for path, replace in (("c/l", False), ("a/f", True), ("a/b", True)):
        with pytest.raises(errors.ResourceExists):
            storage.make_link(p(path), p("a/f"), replace=replace)
    assert sorted(os.listdir(root / "c")) == ["l"]


def test_where_nothing_can_be_there_is_no_link(root: Path) -> None:
    fixed = FilesystemStorage(root, owner="me", is_alive=lambda _: True, read_only=True)
    none = FilesystemStorage(root, owner="me", is_alive=lambda _: True, symlinks="deny")
    try:
        with pytest.raises(errors.ReadOnlyStorage):
            fixed.make_link(p("c/l"), p("a"))
        with pytest.raises(errors.ParentMissing):
            none.make_link(p("c/none/l"), p("a"))
        assert Capability.LINKS not in none.capabilities
    finally:
        fixed.close()
        none.close()
    with pytest.raises(errors.UnsupportedKind):
        MemoryStorage().make_link(p("l"), p(""))
