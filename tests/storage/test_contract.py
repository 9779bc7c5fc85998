"""What every Storage promises. A new backend gets all of it by a `backend_x.py` beside this."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable

import pytest

from davserver.errors import (
    AccessDenied,
    CollectionNotEmpty,
    EtagMismatch,
    InvalidName,
    IsACollection,
    NotACollection,
    ParentChanged,
    ParentMissing,
    ResourceExists,
    ResourceNotFound,
    StorageError,
    StorageFailure,
)
from davserver.protocol.etag import ETag
from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Kind, Located, Part, Stat, Storage

P = Callable[[str], DavPath]
NFC = unicodedata.normalize("NFC", "käse")
NFD = unicodedata.normalize("NFD", "käse")
SECOND = 1_000_000_000


def put(storage: Storage, path: DavPath, data: bytes, *, replace: bool = False) -> Stat:
    writer = storage.create(path)
    try:
        writer.write(data)
        writer.seal()
        stat = writer.commit(replace=replace)
        writer.settle()
    finally:
        writer.discard()
    return stat


def get(storage: Storage, path: DavPath) -> bytes:
    reader = storage.open(path)
    try:
        return reader.read_at(0, reader.stat.size + 1)
    finally:
        reader.close()


def members(storage: Storage, path: DavPath) -> dict[str, Kind]:
    with storage.scan(path) as entries:
        return {entry.name: entry.stat.kind for entry in entries}


def test_a_new_storage_is_an_empty_collection(storage: Storage, p: P) -> None:
    assert members(storage, p("")) == {}
    assert storage.stat(p("")).kind is Kind.COLLECTION
    assert storage.locate(p("")).key == Key("r", b"")


def test_what_was_published_can_be_read(storage: Storage, p: P) -> None:
    stat = put(storage, p("f"), b"hello")

    assert get(storage, p("f")) == b"hello"
    assert storage.stat(p("f")) == stat
    assert (stat.kind, stat.size, stat.executable) == (Kind.FILE, 5, False)
    assert members(storage, p("")) == {"f": Kind.FILE}


@pytest.mark.parametrize(
    ("offset", "size", "expected"),
    [
        pytest.param(0, 3, b"012", id="start"),
        pytest.param(7, 100, b"789", id="past the end"),
        pytest.param(10, 5, b"", id="at the end"),
        pytest.param(50, 5, b"", id="behind the end"),
        pytest.param(4, 0, b"", id="nothing"),
    ],
)
def test_reads_are_short_only_at_the_end(
    storage: Storage, p: P, offset: int, size: int, expected: bytes
) -> None:
    put(storage, p("f"), b"0123456789")
    reader = storage.open(p("f"))
    try:
        actual = reader.read_at(offset, size)
        tried = reader.try_read_at(offset, size)
    finally:
        reader.close()

    assert expected == actual
    assert tried in (expected, None)


@pytest.mark.usefixtures("no_leak")
def test_an_unpublished_version_is_invisible_and_leaves_nothing(storage: Storage, p: P) -> None:
    writer = storage.create(p("f"))
    writer.write(b"half")
    seen = members(storage, p(""))
    writer.discard()
    writer.discard()

    assert seen == {}
    assert storage.locate(p("f")).stat is None
    with storage.scan_all(p("")) as entries:
        assert list(entries) == []


def test_a_writer_counts_its_bytes(storage: Storage, p: P) -> None:
    writer = storage.create(p("f"), size_hint=2_000_000)
    writer.write(b"abc")
    writer.write(memoryview(b"defgh")[1:])
    size = writer.size
    writer.discard()

    assert size == 7


@pytest.mark.usefixtures("no_leak")
def test_publishing_twice_without_replace_is_refused(storage: Storage, p: P) -> None:
    first, second = storage.create(p("f")), storage.create(p("f"))
    for writer, data in ((first, b"first"), (second, b"second")):
        writer.write(data)
        writer.seal()
    first.commit(replace=False)
    with pytest.raises(ResourceExists):
        second.commit(replace=False)
    first.settle()
    second.discard()

    assert get(storage, p("f")) == b"first"


def test_a_replacement_is_another_version(storage: Storage, p: P) -> None:
    before = put(storage, p("f"), b"aaaa")
    reader = storage.open(p("f"))
    after = put(storage, p("f"), b"bbbb", replace=True)
    old = reader.read_at(0, 10)
    reader.close()

    assert old == b"aaaa"
    assert get(storage, p("f")) == b"bbbb"
    assert before.etag != after.etag


def test_commit_compares_the_expected_entity_tag(storage: Storage, p: P) -> None:
    current = put(storage, p("f"), b"one")
    writer = storage.create(p("f"))
    writer.write(b"two")
    writer.seal()
    with pytest.raises(EtagMismatch):
        writer.commit(replace=True, expect=ETag("other"))
    writer.commit(replace=True, expect=current.etag)
    writer.settle()

    assert get(storage, p("f")) == b"two"


def test_an_expected_entity_tag_never_matches_what_is_gone(storage: Storage, p: P) -> None:
    current = put(storage, p("f"), b"one")
    writer = storage.create(p("f"))
    writer.seal()
    storage.delete(p("f"))
    with pytest.raises(EtagMismatch):
        writer.commit(replace=True, expect=current.etag)
    writer.discard()


@pytest.mark.usefixtures("no_leak")
def test_an_upload_whose_parent_was_replaced_is_not_published(storage: Storage, p: P) -> None:
    storage.make_collection(p("a"))
    writer = storage.create(p("a/f"))
    writer.write(b"x")
    writer.seal()
    storage.rename(p("a"), p("b"))
    with pytest.raises(ParentChanged):
        writer.commit(replace=False)
    storage.make_collection(p("a"))
    with pytest.raises(ParentChanged):
        writer.commit(replace=False)
    writer.discard()

    assert members(storage, p("a")) == {}
    assert members(storage, p("b")) == {}


def test_an_upload_onto_what_became_a_collection_is_refused(storage: Storage, p: P) -> None:
    writer = storage.create(p("f"))
    writer.seal()
    storage.make_collection(p("f"))
    with pytest.raises(IsACollection):
        writer.commit(replace=True)
    writer.discard()


def test_a_given_time_keeps_its_second_and_never_repeats_a_tag(storage: Storage, p: P) -> None:
    given = 1_700_000_000 * SECOND
    tags = set()
    for _ in range(20):
        writer = storage.create(p("f"))
        writer.write(b"same")
        writer.seal(mtime_ns=given)
        stat = writer.commit(replace=True)
        writer.settle()
        tags.add(stat.etag)

    assert stat.mtime_ns // SECOND == 1_700_000_000
    assert len(tags) == 20


def test_set_attributes_changes_time_and_tag(storage: Storage, p: P) -> None:
    before = put(storage, p("f"), b"x")
    after = storage.set_attributes(p("f"), mtime_ns=1_600_000_000 * SECOND)

    assert after.mtime_ns // SECOND == 1_600_000_000
    assert before.etag != after.etag
    assert storage.stat(p("f")) == after


def test_set_attributes_sets_and_clears_executable(storage: Storage, p: P) -> None:
    put(storage, p("f"), b"x")
    on = storage.set_attributes(p("f"), executable=True)
    replaced = put(storage, p("f"), b"y", replace=True)
    off = storage.set_attributes(p("f"), executable=False)

    assert (on.executable, replaced.executable, off.executable) == (True, True, False)


def test_set_attributes_dates_a_collection_but_never_makes_it_executable(
    storage: Storage, p: P
) -> None:
    storage.make_collection(p("c"))
    stat = storage.set_attributes(p("c"), mtime_ns=1_600_000_000 * SECOND)
    with pytest.raises(IsACollection):
        storage.set_attributes(p("c"), executable=True)

    assert stat.mtime_ns // SECOND == 1_600_000_000
    assert stat.etag is None


Act = Callable[[Storage, P], object]
REFUSALS: list[tuple[str, Act, type[StorageError]]] = [
    ("stat: unmapped", lambda s, p: s.stat(p("no")), ResourceNotFound),
    ("stat: below a file", lambda s, p: s.stat(p("f/x")), ResourceNotFound),
    ("open: unmapped", lambda s, p: s.open(p("no")), ResourceNotFound),
    ("open: unmapped parent", lambda s, p: s.open(p("no/x")), ResourceNotFound),
    ("open: below a file", lambda s, p: s.open(p("f/x")), ResourceNotFound),
    ("open: collection", lambda s, p: s.open(p("c")), IsACollection),
    ("open: root", lambda s, p: s.open(p("")), IsACollection),
    ("scan: unmapped", lambda s, p: s.scan(p("no")).__enter__(), ResourceNotFound),
    ("scan: file", lambda s, p: s.scan(p("f")).__enter__(), NotACollection),
    ("create: root", lambda s, p: s.create(p("")), IsACollection),
    ("create: collection", lambda s, p: s.create(p("c")), IsACollection),
    ("create: no parent", lambda s, p: s.create(p("no/x")), ParentMissing),
    ("create: no grandparent", lambda s, p: s.create(p("no/no/x")), ParentMissing),
    ("create: below a file", lambda s, p: s.create(p("f/x")), ParentMissing),
    ("create: control character", lambda s, p: s.create(p("a\nb")), InvalidName),
    ("create: not UTF-8", lambda s, p: s.create(p("a\udcff")), InvalidName),
    ("mkcol: root", lambda s, p: s.make_collection(p("")), ResourceExists),
    ("mkcol: collection", lambda s, p: s.make_collection(p("c")), ResourceExists),
    ("mkcol: file", lambda s, p: s.make_collection(p("f")), ResourceExists),
    ("mkcol: no parent", lambda s, p: s.make_collection(p("no/x")), ParentMissing),
    ("mkcol: below a file", lambda s, p: s.make_collection(p("f/x")), ParentMissing),
    ("mkcol: name too long", lambda s, p: s.make_collection(p("x" * 256)), InvalidName),
    ("mkcol: control character", lambda s, p: s.make_collection(p("a\x7f")), InvalidName),
    ("delete: unmapped", lambda s, p: s.delete(p("no")), ResourceNotFound),
    ("delete: below a file", lambda s, p: s.delete(p("f/x")), ResourceNotFound),
    ("delete: root", lambda s, p: s.delete(p("")), AccessDenied),
    ("delete: with members", lambda s, p: s.delete(p("c")), CollectionNotEmpty),
    ("copy: unmapped", lambda s, p: s.copy(p("no"), p("x")), ResourceNotFound),
    ("copy: collection", lambda s, p: s.copy(p("c"), p("x")), IsACollection),
    ("copy: target exists", lambda s, p: s.copy(p("f"), p("c/g")), ResourceExists),
    ("copy: target is a collection", lambda s, p: s.copy(p("f"), p("c")), IsACollection),
    ("copy: no parent", lambda s, p: s.copy(p("f"), p("no/x")), ParentMissing),
    ("rename: unmapped", lambda s, p: s.rename(p("no"), p("x")), ResourceNotFound),
    ("rename: root", lambda s, p: s.rename(p(""), p("x")), AccessDenied),
    ("rename: to root", lambda s, p: s.rename(p("f"), p(""), replace=True), ResourceExists),
    ("rename: no parent", lambda s, p: s.rename(p("f"), p("no/x")), ParentMissing),
    ("rename: target exists", lambda s, p: s.rename(p("f"), p("c/g")), ResourceExists),
    ("rename: into itself", lambda s, p: s.rename(p("c"), p("c/d")), InvalidName),
    ("rename: file on collection", lambda s, p: s.rename(p("f"), p("e"), replace=True), None),
    ("rename: collection on file", lambda s, p: s.rename(p("c"), p("f"), replace=True), None),
    ("rename: on empty one", lambda s, p: s.rename(p("c"), p("e"), replace=True), None),
    ("exchange: unmapped", lambda s, p: s.exchange(p("f"), p("no")), ResourceNotFound),
    ("exchange: with itself", lambda s, p: s.exchange(p("c"), p("c")) or s.stat(p("no")), None),
    ("exchange: with a member", lambda s, p: s.exchange(p("c"), p("c/g")), InvalidName),
    ("exchange: root", lambda s, p: s.exchange(p("f"), p("")), AccessDenied),
    ("attributes: unmapped", lambda s, p: s.set_attributes(p("no")), ResourceNotFound),
    ("sync: unmapped", lambda s, p: s.sync(p("no")), ResourceNotFound),
    ("hidden: root", lambda s, p: s.hidden(p("")), AccessDenied),
]


@pytest.mark.usefixtures("no_leak")
@pytest.mark.parametrize(
    ("act", "error"),
    [pytest.param(act, error or StorageError, id=name) for name, act, error in REFUSALS],
)
def test_refusals_change_nothing(
    storage: Storage, p: P, act: Act, error: type[StorageError]
) -> None:
    put(storage, p("f"), b"file")
    storage.make_collection(p("e"))
    storage.make_collection(p("c"))
    put(storage, p("c/g"), b"member")

    with pytest.raises(error):
        act(storage, p)

    root = {"f": Kind.FILE, "c": Kind.COLLECTION, "e": Kind.COLLECTION}
    assert members(storage, p("")) == root
    assert members(storage, p("c")) == {"g": Kind.FILE}
    assert (get(storage, p("f")), get(storage, p("c/g"))) == (b"file", b"member")


@pytest.mark.parametrize(
    ("text", "key"),
    [
        pytest.param("no", b"no", id="unmapped"),
        pytest.param("no/such/x", b"no/such/x", id="unmapped parent"),
        pytest.param("f/x", b"f/x", id="below a file"),
        pytest.param("x" * 300, b"x" * 300, id="a name that is too long"),
        pytest.param("/".join(["y"] * 4000), b"/".join([b"y"] * 4000), id="a path too long"),
        pytest.param("a\udcff\n", b"a\xff\n", id="a name that cannot be created"),
    ],
)
def test_locate_is_defined_for_what_is_not_there(
    storage: Storage, p: P, text: str, key: bytes
) -> None:
    put(storage, p("f"), b"file")

    located = storage.locate(p(text))

    assert located == Located(Key("r", key), None)
    assert storage.canonical(p(text)) == Key("r", key)


@pytest.mark.parametrize(
    ("stored", "asked"), [pytest.param(NFC, NFD, id="NFC"), pytest.param(NFD, NFC, id="NFD")]
)
def test_equivalent_spellings_meet_in_one_resource(
    storage: Storage, p: P, stored: str, asked: str
) -> None:
    storage.make_collection(p(stored))
    put(storage, p(f"{asked}/{stored}"), b"one")
    put(storage, p(f"{stored}/{asked}"), b"two", replace=True)

    assert members(storage, p("")) == {stored: Kind.COLLECTION}
    assert members(storage, p(asked)) == {stored: Kind.FILE}
    assert get(storage, p(f"{asked}/{asked}")) == b"two"
    assert storage.canonical(p(f"{asked}/{asked}")) == storage.canonical(p(f"{stored}/{stored}"))
    with pytest.raises(ResourceExists):
        storage.make_collection(p(asked))
    storage.delete(p(f"{asked}/{asked}"))
    assert members(storage, p(stored)) == {}


def test_delete_removes_files_and_empty_collections(storage: Storage, p: P) -> None:
    put(storage, p("f"), b"x")
    storage.make_collection(p("c"))
    storage.delete(p("f"))
    storage.delete(p("c"))

    assert members(storage, p("")) == {}


def test_copy_is_whole_and_independent(storage: Storage, p: P) -> None:
    data = bytes(range(256)) * 8192
    source = put(storage, p("f"), data)
    storage.set_attributes(p("f"), executable=True)
    stat = storage.copy(p("f"), p("g"))
    put(storage, p("f"), b"other", replace=True)

    assert get(storage, p("g")) == data
    assert stat == storage.stat(p("g"))
    assert stat.executable
    assert stat.inode != source.inode


def test_copy_takes_a_time(storage: Storage, p: P) -> None:
    put(storage, p("f"), b"x")
    stat = storage.copy(p("f"), p("g"), mtime_ns=1_500_000_000 * SECOND)

    assert stat.mtime_ns // SECOND == 1_500_000_000


def test_rename_moves_a_tree(storage: Storage, p: P) -> None:
    storage.make_collection(p("a"))
    storage.make_collection(p("b"))
    put(storage, p("a/f"), b"x")
    storage.rename(p("a"), p("b/a"))

    assert members(storage, p("")) == {"b": Kind.COLLECTION}
    assert get(storage, p("b/a/f")) == b"x"


def test_rename_with_replace_takes_the_place_of_a_file(storage: Storage, p: P) -> None:
    put(storage, p("f"), b"new")
    put(storage, p("g"), b"old")
    storage.rename(p("f"), p("g"), replace=True)

    assert members(storage, p("")) == {"g": Kind.FILE}
    assert get(storage, p("g")) == b"new"


def test_exchange_swaps_kinds(storage: Storage, p: P) -> None:
    storage.make_collection(p("c"))
    put(storage, p("c/x"), b"x")
    put(storage, p("f"), b"f")
    storage.exchange(p("c"), p("f"))

    assert members(storage, p("")) == {"c": Kind.FILE, "f": Kind.COLLECTION}
    assert get(storage, p("f/x")) == b"x"


def test_hidden_names_are_fresh_usable_and_never_listed(storage: Storage, p: P) -> None:
    storage.make_collection(p("c"))
    one, other = storage.hidden(p("c/f")), storage.hidden(p("c/f"))
    storage.make_collection(one)
    put(storage, one.child("x"), b"x")
    put(storage, p("f"), b"y")
    storage.copy(p("f"), other)
    seen = members(storage, p("c"))
    storage.rename(one, p("c/shown"))

    assert one != other
    assert one.parent == p("c")
    assert one.is_reserved
    assert seen == {}
    assert get(storage, p("c/shown/x")) == b"x"
    assert get(storage, other) == b"y"


@pytest.mark.parametrize("name", [".davserver", ".DAVserver.x.y", ".davſerver.a.b", "．davserver"])
def test_reserved_names_are_listed_by_nobody(storage: Storage, p: P, name: str) -> None:
    storage.make_collection(p(name))

    assert members(storage, p("")) == {}


@pytest.mark.usefixtures("no_leak")
def test_a_scan_may_be_left_early(storage: Storage, p: P) -> None:
    for number in range(20):
        storage.make_collection(p(f"c{number}"))
    with storage.scan(p("")) as entries:
        first = next(entries)

    assert first.stat.kind is Kind.COLLECTION


def test_quota_counts_bytes_or_says_nothing(storage: Storage, p: P) -> None:
    quota = storage.quota(p("no/such"))

    assert quota is None or (quota.available >= 0 and quota.used > 0)


# -- parts -----------------------------------------------------------------------------------


def held(storage: Storage, path: DavPath, *, create: bool = False) -> Part:
    part = storage.open_part(path, create=create)
    assert part is not None
    return part


@pytest.mark.rfc("RU-08")
def test_a_part_is_held_by_one_and_outlives_them(storage: Storage, p: P) -> None:
    hidden = storage.hidden(p("a"))
    part = held(storage, hidden, create=True)
    part.write(b"one", b"", bytearray(b"two"))
    assert storage.open_part(hidden) is None
    part.sync()
    part.close()
    part.close()
    part = held(storage, hidden)
    part.write(b"three")

    assert part.size == 11
    assert part.read_at(3, 5) == b"twoth"
    assert part.read_at(9, 5) == b"ee"
    assert members(storage, p("")) == {}
    with pytest.raises(ResourceExists):
        storage.open_part(hidden, create=True)
    part.close()


def test_a_part_can_be_cut_and_removed(storage: Storage, p: P) -> None:
    hidden = storage.hidden(p("a"))
    part = held(storage, hidden, create=True)
    part.write(b"onetwo")
    part.cut(3)
    part.write(b"!")

    assert part.read_at(0, 9) == b"one!"
    with pytest.raises(StorageFailure):
        part.cut(5)
    part.remove()
    part.remove()
    part.close()
    with pytest.raises(ResourceNotFound):
        storage.open_part(hidden)


@pytest.mark.parametrize("copies", [False, True], ids=["renamed", "copied"])
@pytest.mark.parametrize("replace", [False, True], ids=["new", "over"])
def test_a_part_becomes_a_file_in_another_collection(
    storage: Storage, p: P, replace: bool, copies: bool
) -> None:
    storage.make_collection(p("c"))
    if replace:
        put(storage, p("c/a"), b"old")
    part = held(storage, storage.hidden(p("a")), create=True)
    part.write(b"content")
    writer = storage.take_up(part, p("c/a"), copies=copies)
    writer.seal()
    if replace:
        with pytest.raises(ResourceExists):
            writer.commit(replace=False)
    stat = writer.commit(replace=replace)
    writer.settle()
    part.remove()
    part.close()

    assert get(storage, p("c/a")) == b"content"
    assert storage.stat(p("c/a")) == stat
    assert members(storage, p("c")) == {"a": Kind.FILE}


def test_a_part_stays_when_it_is_not_published(storage: Storage, p: P) -> None:
    hidden = storage.hidden(p("a"))
    part = held(storage, hidden, create=True)
    part.write(b"content")
    writer = storage.take_up(part, p("a"))
    writer.seal()
    writer.discard()
    assert part.stands_for(None) is False
    part.write(b", more")
    part.close()
    again = held(storage, hidden)

    assert again.read_at(0, 99) == b"content, more"
    assert members(storage, p("")) == {}
    again.close()


@pytest.mark.rfc("PA-05")
@pytest.mark.parametrize("offset", [0, 1, 4095, 4096, 4097, 9999])
def test_a_stretch_of_another_file_is_copied(storage: Storage, p: P, offset: int) -> None:
    data = bytes(range(251)) * 40
    put(storage, p("a"), data)
    reader = storage.open(p("a"))
    writer = storage.create(p("b"))
    writer.write(b"before ")
    writer.copy(reader, offset, len(data) - offset)
    writer.copy(reader, 5, 0)
    writer.write(b" after")
    writer.seal()
    writer.commit(replace=False)
    writer.settle()
    reader.close()

    assert get(storage, p("b")) == b"before " + data[offset:] + b" after"
