"""Members that are looked at together: their columns say what their Stats say."""

from __future__ import annotations

import os
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol.path import DavPath
from davserver.storage import _linux
from davserver.storage.base import Entry, Kind, Stat
from davserver.storage.batches import (
    BATCH,
    Plain,
    StatList,
    batches_of,
    columns_of,
    filtered,
    kinds_of,
    names_of,
    picked,
)
from davserver.storage.filesystem import FilesystemStorage

seconds = st.integers(-(1 << 62), 1 << 62)
nanoseconds = st.integers(0, 999_999_999)
half, whole = st.integers(0, (1 << 32) - 1), st.integers(0, (1 << 64) - 1)
KINDS = {
    0o100644: Kind.FILE,
    0o100755: Kind.FILE,
    0o100600: Kind.FILE,
    0o040755: Kind.COLLECTION,
}
modes = st.sampled_from(sorted(KINDS))
rows = st.lists(
    st.tuples(
        *(st.sampled_from([0xFFF, 0x7FF]), half, half, modes, whole, whole),
        *(seconds, nanoseconds, seconds, nanoseconds, half, half),
    ),
    min_size=1,
    max_size=5,
)


def plain(fields: list[tuple[int, ...]]) -> Plain:
    raw = b"".join([_linux._STATX.pack(*row) for row in fields])
    names = [f"f{number}" for number in range(len(fields))]
    return Plain(names, _linux.StatxRows(raw), frozenset(KINDS.values()))


@given(rows)
@settings(max_examples=100, deadline=None)
def test_columns_are_those_of_the_stats(fields: list[tuple[int, ...]]) -> None:
    some = plain(fields)
    stats = StatList([entry.stat for entry in some])

    kinds = [KINDS[row[3]] for row in fields]
    indices = [index for index, kind in enumerate(kinds) if kind is Kind.FILE]
    of_files = picked(some, indices, Kind.FILE)

    assert kinds_of(some) == kinds == [entry.stat.kind for entry in some]
    assert list(of_files) == picked(list(some), indices, Kind.FILE)
    assert columns_of(of_files).sizes() == columns_of(list(of_files)).sizes()
    assert columns_of(of_files).tag_fields() == columns_of(list(of_files)).tag_fields()
    assert some.mtimes_s() == stats.mtimes_s()
    assert some.births_s() == stats.births_s()
    assert some.executables() == stats.executables()


@given(rows, st.integers(0, 6), st.integers(0, 6))
@settings(max_examples=50, deadline=None)
def test_a_part_has_its_entries(fields: list[tuple[int, ...]], begin: int, end: int) -> None:
    some = plain(fields)

    assert list(some[begin:end]) == list(some)[begin:end]
    assert len(some[begin:end]) == len(list(some)[begin:end])
    assert some[-1] == list(some)[-1]


@pytest.fixture
def storage(tmp_path: Path) -> FilesystemStorage:
    root = tmp_path / "root"
    root.mkdir()
    return FilesystemStorage(root, owner="me", is_alive=lambda owner: True)


@pytest.mark.skipif(not _linux.HAS_STATX, reason="a Linux system call")
@pytest.mark.parametrize(
    ("mode", "other"),
    [
        pytest.param(0o644, None, id="files that all may read"),
        pytest.param(0o600, None, id="files that the owner may read"),
        pytest.param(0o644, "collection", id="a collection among them"),
        pytest.param(0o644, "link", id="a link among them"),
    ],
)
def test_what_is_plain_comes_in_columns_and_a_link_as_an_entry(
    storage: FilesystemStorage, tmp_path: Path, mode: int, other: str | None
) -> None:
    root = tmp_path / "root"
    for number in range(BATCH + 10):
        (root / f"{number}").touch(mode)
    if other == "collection":
        (root / other).mkdir()
    elif other == "link":
        os.symlink("1", root / other)

    with storage.scan(DavPath(())) as members:
        batches = list(batches_of(members))

    assert sum(map(len, batches)) == BATCH + 10 + (other is not None)
    assert all(isinstance(batch, Plain) for batch in batches) is (other != "link")
    for batch in batches:
        for name, entry in zip(names_of(batch), batch, strict=True):
            assert storage.stat(DavPath((name,))) == entry.stat
    storage.close()


def entry(name: str) -> Entry:
    return Entry(name, Stat(Kind.FILE, 0, 0, None, 1, 1))


def test_batches_of_an_iterator_are_never_empty() -> None:
    members = [entry(str(number)) for number in range(2 * BATCH + 1)]

    batches = list(batches_of(iter(members)))
    scan = filtered(iter(members), lambda batch: [one for one in batch if int(one.name) >= BATCH])
    few = filtered(iter(members), lambda batch: batch)

    assert list(map(len, batches)) == [BATCH, BATCH, 1]
    assert list(map(len, batches_of(scan))) == [BATCH, 1]
    assert next(few) == members[0]
    assert list(few) == members[1:]
    assert list(islice(few, 1)) == []
