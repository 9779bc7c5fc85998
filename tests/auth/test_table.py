"""The table that workers share."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path

import pytest

from davserver.auth.secret import SharedKey
from davserver.auth.table import Event, SharedTable
from davserver.errors import StateFailure


def tag(number: int) -> bytes:
    return number.to_bytes(16, "big")


def count_up(path: Path, times: int) -> None:
    table = SharedTable(path, buckets=4)
    for _ in range(times):
        table.update(tag(1), lambda event, floor: Event(1, 1 + (event.first if event else 0)))
    table.close()


def test_events_are_kept_apart_by_tag(tmp_path: Path) -> None:
    table = SharedTable(tmp_path / "t", buckets=4)
    for number in range(1, 9):
        assert table.update(tag(number), lambda *_, n=number: Event(n, n, n)) is None

    assert table.get(tag(1)) == Event(1, 1, 1)
    assert table.get(tag(8)) == Event(8, 8, 8)
    assert table.get(tag(9)) is None
    table.close()


def test_processes_lose_no_update(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=count_up, args=(tmp_path / "t", 300)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(15)

    table = SharedTable(tmp_path / "t", buckets=4)
    assert [worker.exitcode for worker in workers] == [0] * 4
    assert table.get(tag(1)) == Event(1, 1200)
    table.close()


def test_the_oldest_makes_room_and_the_floor_says_how_new_it_was(tmp_path: Path) -> None:
    table = SharedTable(tmp_path / "t", buckets=1)
    for number in range(1, 10):
        table.update(tag(number), lambda *_, n=number: Event(100 + n))
    floors: list[int] = []
    table.update(tag(20), lambda event, floor: floors.append(floor))

    assert table.get(tag(1)) is None
    assert table.get(tag(2)) == Event(102)
    assert floors == [101]
    table.close()


@pytest.mark.security("Q-05")
def test_the_files_are_for_nobody_else(tmp_path: Path) -> None:
    table = SharedTable(tmp_path / "state" / "t", buckets=1)
    table.get(tag(1))
    SharedKey(tmp_path / "state" / "k")()

    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "state").iterdir()}
    assert modes == {"k": 0o600, "t": 0o600}
    assert (tmp_path / "state").stat().st_mode & 0o077 == 0
    table.close()


def test_a_file_of_another_size_is_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes(b"x" * 1000)
    table = SharedTable(tmp_path / "t", buckets=2)

    assert table.get(tag(1)) is None
    table.update(tag(1), lambda *_: Event(1))
    assert table.get(tag(1)) == Event(1)
    table.close()
    assert table.get(tag(1)) == Event(1)
    table.close()


@pytest.mark.parametrize("what", [SharedKey, lambda path: SharedTable(path, buckets=1)])
def test_what_cannot_be_opened_is_a_failure_of_the_state(tmp_path: Path, what: object) -> None:
    (tmp_path / "file").touch()
    made = what(tmp_path / "file" / "x")  # type: ignore[operator]

    with pytest.raises(StateFailure, match="cannot be used"):
        made() if callable(made) else made.get(tag(1))


def test_all_who_ask_for_the_key_get_the_same(tmp_path: Path) -> None:
    first = SharedKey(tmp_path / "k")()

    assert SharedKey(tmp_path / "k")() == first
    assert len(first) == 32
    (tmp_path / "k").write_bytes(b"short")
    again = SharedKey(tmp_path / "k")()
    assert (len(again), again == first) == (32, False)
    assert os.listdir(tmp_path) == ["k"]
