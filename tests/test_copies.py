"""Whether what stands somewhere is still what was copied."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.copies import is_copied, kept_time_ns, new_nonce
from davserver.storage.base import Kind, Stat

NS = 1_000_000_000
FILE = Stat(Kind.FILE, 5, 1_700_000_000 * NS + 123_456_789, None, 1, 2)
NONCE = 4711
TIMES = st.integers(-2 * 10**9 * NS, 10**10 * NS)


def changed(stat: Stat, **values: Any) -> Stat:
    return stat._replace(**values)


def copy_of(stat: Stat, *, unit_ns: int = 1, nonce: int = NONCE) -> Stat:
    """As a file system that keeps times in such units has it."""
    kept_ns = kept_time_ns(stat, nonce)
    return changed(stat, inode=99, mtime_ns=kept_ns - kept_ns % unit_ns)


@given(TIMES, st.integers(0, 2**56))
def test_a_copy_has_the_second_of_its_source_and_nanoseconds_of_its_own(
    mtime_ns: int, nonce: int
) -> None:
    kept_ns = kept_time_ns(changed(FILE, mtime_ns=mtime_ns), nonce)

    assert kept_ns // NS == mtime_ns // NS
    assert kept_ns % NS


def test_no_two_moves_give_one_time() -> None:
    assert len({kept_time_ns(FILE, new_nonce()) for _ in range(200)}) == 200


@pytest.mark.parametrize("unit_ns", [1, 100, 1_000, 1_000_000, 10_000_000, NS, 2 * NS])
def test_the_version_that_was_copied_is_known_again(unit_ns: int) -> None:
    assert is_copied(FILE, copy_of(FILE, unit_ns=unit_ns), NONCE)


@pytest.mark.parametrize("unit_ns", [1, 100, 1_000])
@pytest.mark.parametrize(
    "since",
    [{"mtime_ns": FILE.mtime_ns + 1}, {"inode": 3}, {"size": 6}, {"kind": Kind.COLLECTION}],
    ids=str,
)
def test_another_version_is_not(since: dict[str, Any], unit_ns: int) -> None:
    assert not is_copied(changed(FILE, **since), copy_of(FILE, unit_ns=unit_ns), NONCE)


def test_a_copy_that_was_written_or_made_by_somebody_else_proves_nothing() -> None:
    copy = copy_of(FILE)

    assert not is_copied(FILE, changed(copy, mtime_ns=copy.mtime_ns + 1), NONCE)
    assert not is_copied(FILE, changed(copy, size=6), NONCE)
    assert not is_copied(FILE, copy_of(FILE, nonce=NONCE + 1), NONCE)


def test_what_is_neither_file_nor_collection_is_never_copied() -> None:
    other = changed(FILE, kind=Kind.OTHER)

    assert not is_copied(other, other, NONCE)
