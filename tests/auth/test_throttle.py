"""Wrong passwords come slowly, and lock out one address from one name."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.auth.secret import SharedKey
from davserver.auth.table import SharedTable
from davserver.auth.throttle import Throttle, shown
from davserver.errors import TooManyRequests

NOW = 1_800_000_000.0
LOCKOUT_S = 60.0
LIMIT = 4


class Workers:
    """Throttles of several workers over one table."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.tables: list[SharedTable] = []

    def add(self) -> Throttle:
        self.tables.append(SharedTable(self._folder / "failures", buckets=64))
        key = SharedKey(self._folder / "key")
        return Throttle(self.tables[-1], key, limit=LIMIT, lockout_s=LOCKOUT_S)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path)
    yield made
    for table in made.tables:
        table.close()


@pytest.fixture
def throttle(workers: Workers) -> Throttle:
    return workers.add()


def is_locked(throttle: Throttle, address: str, name: str, now: float = NOW) -> bool:
    try:
        throttle.check(address, name, now)
    except TooManyRequests:
        return True
    return False


@pytest.mark.security("A-03")
def test_each_failure_makes_the_next_answer_later(throttle: Throttle) -> None:
    delays = [throttle.failed("192.0.2.1", "alice", NOW) for _ in range(7)]

    assert delays == [0.25, 0.5, 1.0, 2.0, 4.0, 4.0, 4.0]


@pytest.mark.security("A-03")
def test_one_address_is_locked_out_of_one_name(throttle: Throttle) -> None:
    for number in range(LIMIT):
        assert not is_locked(throttle, "192.0.2.1", "alice"), number
        throttle.failed("192.0.2.1", "alice", NOW)

    assert is_locked(throttle, "192.0.2.1", "alice")
    assert not is_locked(throttle, "192.0.2.1", "bob")
    assert not is_locked(throttle, "192.0.2.2", "alice")


@pytest.mark.security("A-03")
def test_it_ends_after_its_time_and_is_told(throttle: Throttle) -> None:
    for _ in range(LIMIT):
        throttle.failed("192.0.2.1", "alice", NOW)

    with pytest.raises(TooManyRequests) as refused:
        throttle.check("192.0.2.1", "alice", NOW + 10.5)

    assert refused.value.headers == ((b"retry-after", b"50"),)
    assert refused.value.delay_s > 0
    assert not is_locked(throttle, "192.0.2.1", "alice", NOW + LOCKOUT_S)
    assert throttle.failed("192.0.2.1", "alice", NOW + LOCKOUT_S) == 0.25


@pytest.mark.security("A-03")
def test_workers_count_together(workers: Workers) -> None:
    every = [workers.add() for _ in range(LIMIT)]
    for throttle in every:
        throttle.failed("192.0.2.1", "alice", NOW)

    assert [is_locked(throttle, "192.0.2.1", "alice") for throttle in every] == [True] * LIMIT


def test_a_success_forgets_the_failures(throttle: Throttle) -> None:
    for _ in range(LIMIT - 1):
        throttle.failed("192.0.2.1", "alice", NOW)

    throttle.succeeded("192.0.2.1", "alice", NOW)

    assert throttle.failed("192.0.2.1", "alice", NOW) == 0.25


def test_a_clock_that_goes_back_locks_nobody_out_for_longer(throttle: Throttle) -> None:
    for _ in range(LIMIT):
        throttle.failed("192.0.2.1", "alice", NOW)

    assert not is_locked(throttle, "192.0.2.1", "alice", NOW - 3600)


@pytest.mark.security("A-03")
@pytest.mark.parametrize(
    ("address", "same"),
    [
        ("2001:db8:0:1::2", True),
        ("2001:db8:0:1:ffff::", True),
        ("2001:db8:0:2::1", False),
        ("fe80::1%eth0", False),
    ],
)
def test_a_network_of_ipv6_is_one_address(throttle: Throttle, address: str, same: bool) -> None:
    for _ in range(LIMIT):
        throttle.failed("2001:db8:0:1::1", "alice", NOW)

    assert is_locked(throttle, address, "alice") is same


def test_an_ipv4_address_is_the_same_in_the_clothes_of_ipv6(throttle: Throttle) -> None:
    for _ in range(LIMIT):
        throttle.failed("::ffff:192.0.2.1", "alice", NOW)

    assert is_locked(throttle, "192.0.2.1", "alice")
    assert not is_locked(throttle, "::ffff:192.0.2.2", "alice")
    assert not is_locked(throttle, "no:address", "alice")


def test_the_lock_out_is_logged_once(throttle: Throttle, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(LIMIT + 2):
            throttle.failed("192.0.2.1", "a b", NOW)

    assert [record.getMessage() for record in caplog.records] == [
        'sign-in of 192.0.2.1 as "a\\u0020b" is locked for 60 s'
    ]


@pytest.mark.security("T-13")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("alice", '"alice"'),
        ('a"b\\c', '"a\\u0022b\\u005cc"'),
        ("a\nsign-in failed from 192.0.2.9", None),
        ("é\u202e\udcff", '"\\u00e9\\u202e\\udcff"'),
        ("x" * 100, '"' + "x" * 64 + '"'),
    ],
)
def test_a_name_in_the_log_is_one_word(name: str, expected: str | None) -> None:
    text = shown(name)

    assert text.isascii()
    assert not set(text) & set(" \n\r\t")
    assert expected in (None, text)
