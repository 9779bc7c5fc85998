"""Several storages as one: what is above them, between them, and how they are told apart."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from davserver.errors import (
    AccessDenied,
    CrossDevice,
    IsACollection,
    ReadOnlyStorage,
    ResourceExists,
    ResourceNotFound,
    StorageError,
)
from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Capability, Kind, LinkedEntry, Located, Storage
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.memory import MemoryStorage
from davserver.storage.mounts import Mounts
from tests.storage.test_contract import get, members, put
from tests.support.storages import HookedStorage

P = Callable[[str], DavPath]
NFC = unicodedata.normalize("NFC", "bücher")
SECOND = 1_000_000_000


def folder(path: Path, name: str, **options: object) -> FilesystemStorage:
    path.mkdir(exist_ok=True)
    return FilesystemStorage(
        path,
        owner="me",
        root_id=name,
        is_alive=lambda owner: True,
        **options,  # type: ignore[arg-type]
    )


MAKES: dict[str, Callable[[Path], tuple[Storage, Storage]]] = {
    "folders": lambda path: (folder(path / "a", "a"), folder(path / "b", "b")),
    "memory": lambda path: (MemoryStorage("a", "me"), MemoryStorage("b", "me")),
    "memory and folder": lambda path: (MemoryStorage("a", "me"), folder(path / "b", "b")),
    "folder and memory": lambda path: (folder(path / "a", "a"), MemoryStorage("b", "me")),
}


@pytest.fixture(params=MAKES)
def mounts(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Mounts]:
    a, b = MAKES[request.param](tmp_path)
    made = Mounts({"a": a, "b": b})
    yield made
    made.close()


def test_the_shares_are_listed_in_their_order(p: P) -> None:
    names = ("z", "a", "m")
    mounts = Mounts({name: MemoryStorage(name) for name in names})

    with mounts.scan(p("")) as entries:
        found = list(entries)

    assert [entry.name for entry in found] == list(names)
    assert {type(entry) for entry in found} == {LinkedEntry}, "each has a key of its own"
    assert {entry.stat.kind for entry in found} == {Kind.COLLECTION}


def test_a_share_that_cannot_be_looked_at_is_left_out(p: P) -> None:
    broken = HookedStorage()
    broken.refuse("stat", "/", AccessDenied("no"))
    mounts = Mounts({"a": MemoryStorage("a"), "b": broken})

    assert members(mounts, p("")) == {"a": Kind.COLLECTION}
    assert mounts.stat(p("")).kind is Kind.COLLECTION


def test_the_top_is_as_new_as_the_newest_share(mounts: Mounts, p: P) -> None:
    mounts.set_attributes(p("a"), mtime_ns=1_000 * SECOND)
    newest = mounts.set_attributes(p("b"), mtime_ns=2_000_000_000 * SECOND)

    assert mounts.stat(p("")).mtime_ns == newest.mtime_ns
    assert mounts.locate(p("")) == Located(Key("", b""), mounts.stat(p("")))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("", Key("", b""), id="top"),
        pytest.param("a", Key("a", b""), id="share"),
        pytest.param("a/f", Key("a", b"f"), id="file"),
        pytest.param("b/no/such", Key("b", b"no/such"), id="unmapped"),
        pytest.param("c", Key("", b"c"), id="no share"),
        pytest.param("c/d", Key("", b"c/d"), id="below no share"),
    ],
)
def test_keys_tell_shares_apart_and_lead_back(mounts: Mounts, p: P, text: str, key: Key) -> None:
    put(mounts, p("a/f"), b"x")

    assert mounts.canonical(p(text)) == key
    assert mounts.path_of(key) == p(text)


def test_a_member_of_the_top_is_a_share(mounts: Mounts) -> None:
    assert mounts.child_key(Key("", b""), b"a") == Key("a", b"")
    assert mounts.child_key(Key("", b""), b"c") == Key("", b"c")
    assert mounts.child_key(Key("a", b"a"), b"a") == Key("a", b"a/a")


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_the_name_of_a_share_is_found_in_either_spelling(p: P, form: str) -> None:
    mounts = Mounts({NFC: MemoryStorage(NFC)})
    asked = p(unicodedata.normalize(form, NFC) + "/f")  # type: ignore[arg-type]

    put(mounts, asked, b"x")

    assert mounts.canonical(asked) == Key(NFC, b"f")
    assert mounts.is_writable(asked)


def test_a_link_is_told_of_by_its_path_from_the_top(tmp_path: Path, p: P) -> None:
    mounts = Mounts({"a": folder(tmp_path / "a", "a")})
    put(mounts, p("a/f"), b"x")
    os.symlink("f", tmp_path / "a/link")

    located = mounts.locate(p("a/link"))
    mounts.close()

    assert (located.key, located.link_to) == (Key("a", b"f"), p("a/f"))


def test_what_changes_where_is_known_without_looking(tmp_path: Path, p: P) -> None:
    mounts = Mounts(
        {"a": folder(tmp_path / "a", "a"), "b": folder(tmp_path / "b", "b", read_only=True)}
    )
    writable = {text: mounts.is_writable(p(text)) for text in ("", "c", "c/d", "a", "a/x", "b")}
    keys = (Key("", b""), Key("a", b""), Key("b", b""), Key("a", b"a"), Key("", b"a"))
    fixed = [mounts.is_fixed(key) for key in keys]
    mounts.close()

    assert writable == {"": False, "c": False, "c/d": False, "a": True, "a/x": True, "b": False}
    assert fixed == [True, True, True, False, False]


def test_they_can_together_what_each_can() -> None:
    class Less(MemoryStorage):
        inline = False
        durable = True
        capabilities = frozenset({Capability.EXECUTABLE})

    both = Mounts({"a": MemoryStorage("a"), "b": Less("b")})
    one = Mounts({"a": MemoryStorage("a")})

    assert (both.inline, both.durable) == (False, True)
    assert both.capabilities == {Capability.EXECUTABLE}
    assert (one.inline, one.durable) == (True, False)
    assert one.capabilities == MemoryStorage().capabilities


Act = Callable[[Storage, P], object]
REFUSALS: list[tuple[str, Act, type[StorageError]]] = [
    ("stat: no share", lambda s, p: s.stat(p("c")), ResourceNotFound),
    ("scan: no share", lambda s, p: s.scan(p("c")).__enter__(), ResourceNotFound),
    ("open: top", lambda s, p: s.open(p("")), IsACollection),
    ("open: share", lambda s, p: s.open(p("a")), IsACollection),
    ("open: no share", lambda s, p: s.open(p("c/f")), ResourceNotFound),
    ("create: top", lambda s, p: s.create(p("")), IsACollection),
    ("create: beside a share", lambda s, p: s.create(p("c")), ReadOnlyStorage),
    ("create: share", lambda s, p: s.create(p("a")), IsACollection),
    ("mkcol: top", lambda s, p: s.make_collection(p("")), ResourceExists),
    ("mkcol: share", lambda s, p: s.make_collection(p("a")), ResourceExists),
    ("mkcol: beside a share", lambda s, p: s.make_collection(p("c")), ReadOnlyStorage),
    ("delete: top", lambda s, p: s.delete(p("")), AccessDenied),
    ("delete: share", lambda s, p: s.delete(p("b")), AccessDenied),
    ("delete: no share", lambda s, p: s.delete(p("c")), ResourceNotFound),
    ("copy: top", lambda s, p: s.copy(p(""), p("a/x")), IsACollection),
    ("copy: to top", lambda s, p: s.copy(p("a/f"), p("")), IsACollection),
    ("copy: share", lambda s, p: s.copy(p("b"), p("a/x")), IsACollection),
    ("copy: to share", lambda s, p: s.copy(p("a/f"), p("b")), IsACollection),
    ("copy: beside a share", lambda s, p: s.copy(p("a/f"), p("c")), ReadOnlyStorage),
    ("copy: onto a file across", lambda s, p: s.copy(p("a/f"), p("b/g")), ResourceExists),
    ("copy: unmapped across", lambda s, p: s.copy(p("a/no"), p("b/x")), ResourceNotFound),
    ("rename: share", lambda s, p: s.rename(p("a"), p("b/x")), CrossDevice),
    ("rename: share inside", lambda s, p: s.rename(p("a"), p("a/x")), StorageError),
    ("rename: top", lambda s, p: s.rename(p(""), p("a/x")), AccessDenied),
    ("rename: to top", lambda s, p: s.rename(p("a/f"), p("")), ResourceExists),
    ("rename: beside a share", lambda s, p: s.rename(p("a/f"), p("c")), ReadOnlyStorage),
    ("rename: across", lambda s, p: s.rename(p("a/f"), p("b/x")), CrossDevice),
    ("exchange: across", lambda s, p: s.exchange(p("a/f"), p("b/g")), CrossDevice),
    ("exchange: shares", lambda s, p: s.exchange(p("a"), p("b")), CrossDevice),
    ("exchange: top", lambda s, p: s.exchange(p(""), p("b")), AccessDenied),
    ("attributes: top", lambda s, p: s.set_attributes(p(""), mtime_ns=1), ReadOnlyStorage),
    ("hidden: top", lambda s, p: s.hidden(p("")), AccessDenied),
    ("hidden: share", lambda s, p: s.hidden(p("a")), AccessDenied),
    ("hidden: beside a share", lambda s, p: s.hidden(p("c")), AccessDenied),
    ("sync: no share", lambda s, p: s.sync(p("c")), ResourceNotFound),
]


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize(
    ("act", "error"), [pytest.param(act, error, id=name) for name, act, error in REFUSALS]
)
def test_refusals_change_nothing(mounts: Mounts, p: P, act: Act, error: type[StorageError]) -> None:
    put(mounts, p("a/f"), b"one")
    put(mounts, p("b/g"), b"other")

    with pytest.raises(error):
        act(mounts, p)

    assert members(mounts, p("")) == {"a": Kind.COLLECTION, "b": Kind.COLLECTION}
    assert members(mounts, p("a")) == {"f": Kind.FILE}
    assert members(mounts, p("b")) == {"g": Kind.FILE}
    assert (get(mounts, p("a/f")), get(mounts, p("b/g"))) == (b"one", b"other")


@pytest.mark.parametrize("size", [0, 5, 3_000_000])
def test_a_file_is_copied_across(mounts: Mounts, p: P, size: int) -> None:
    data = os.urandom(size)
    put(mounts, p("a/f"), data)
    mounts.set_attributes(p("a/f"), executable=True)

    stat = mounts.copy(p("a/f"), p("b/g"), mtime_ns=1_500_000_000 * SECOND)

    assert get(mounts, p("b/g")) == data
    assert stat == mounts.stat(p("b/g"))
    assert stat.executable
    assert stat.mtime_ns // SECOND == 1_500_000_000
    assert get(mounts, p("a/f")) == data


def test_hidden_names_are_in_the_share_and_followed_there(mounts: Mounts, p: P) -> None:
    mounts.make_collection(p("a/c"))
    hidden = mounts.hidden(p("a/c/f"))
    with mounts.following(hidden):
        mounts.make_collection(hidden)
        put(mounts, hidden.child("x"), b"x")
        mounts.rename(p("a/c"), p("a/d"))

    assert hidden.parent == p("a/c")
    assert mounts.locate(p("a/d").child(hidden.name)).stat is None


def test_the_top_has_no_space_of_its_own(mounts: Mounts, p: P) -> None:
    assert mounts.quota(p("")) is None
    assert mounts.quota(p("c/d")) is None
    mounts.sync(p(""))
    mounts.sync(p("a"))


def test_members_are_copied_within_a_share_and_across_shares(mounts: Mounts, p: P) -> None:
    put(mounts, p("a/f"), b"data")
    for into in ("a/to", "b/to"):
        mounts.make_collection(p(into))
        with closing(mounts.members(p("a"), copy_to=p(into))) as found:
            found.copy("f")
    with closing(mounts.members(p("a"))) as found:
        assert found.delete_each(["f"]) == (1, [])

    assert get(mounts, p("a/to/f")) == get(mounts, p("b/to/f")) == b"data"
    assert members(mounts, p("a")) == {"to": Kind.COLLECTION}


def test_a_share_is_no_member_that_can_be_deleted(mounts: Mounts, p: P) -> None:
    with closing(mounts.members(p(""))) as found:
        failures = [name for name, _ in found.delete_each(["a"]).failures]

    assert failures == ["a"]
