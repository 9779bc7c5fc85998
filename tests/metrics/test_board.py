"""The shared counters by themselves: each worker its seat, sums for whoever reads."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from davserver.metrics.board import BUCKETS, Board, GateCounts, Meter, MethodReading

METHODS = ("GET", "PUT")


@pytest.fixture
def board() -> Board:
    return Board(METHODS, 3)


def row(board: Board, method: str) -> MethodReading:
    (found,) = [each for each in board.read().methods if each.method == method]
    return found


def test_a_new_board_has_counted_nothing(board: Board) -> None:
    reading = board.read()

    assert reading.seats == {}
    assert [each.method for each in reading.methods] == ["GET", "PUT", "other"]
    assert {count for each in reading.methods for count in each.statuses + each.buckets} == {0}
    assert reading.gate == GateCounts(0, 0.0, 0)


@pytest.mark.parametrize(
    ("status", "statuses"),
    [
        (207, (0, 1, 0, 0, 0)),
        (304, (0, 0, 1, 0, 0)),
        (499, (0, 0, 0, 1, 0)),
        (507, (0, 0, 0, 0, 1)),
    ],
)
def test_a_request_is_counted_by_method_and_class(
    board: Board, status: int, statuses: tuple[int, ...]
) -> None:
    Meter(board, 1).request("GET", status, 10, 0.0)

    assert row(board, "GET").statuses == statuses
    assert row(board, "PUT").statuses == (0, 0, 0, 0, 0)
    assert board.read().sent == 10


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0.0, 0), (BUCKETS[0], 0), (BUCKETS[0] * 1.01, 1), (BUCKETS[-1], -2), (1e6, -1)],
    ids=["zero", "on the first bound", "above it", "on the last bound", "above all"],
)
def test_a_duration_is_in_the_bucket_whose_bound_it_does_not_pass(
    board: Board, seconds: float, bucket: int
) -> None:
    Meter(board, 0).request("PUT", 204, 0, seconds)
    found = row(board, "PUT")

    assert found.buckets[bucket] == 1
    assert sum(found.buckets) == 1
    assert found.seconds == seconds


def test_a_method_that_nobody_knows_makes_no_series_of_its_own(board: Board) -> None:
    meter = Meter(board, 0)
    for number in range(100):
        meter.request(f"M{number}", 501, 0, 0.0)

    assert sum(row(board, "other").statuses) == 100
    assert len(board.read().methods) == 3


def test_workers_write_apart_and_are_read_together(board: Board) -> None:
    for seat in range(3):
        meter = Meter(board, seat)
        meter.begin(10.0 + seat)
        meter.request("GET", 200, 5, 0.25)
        meter.received(7)
        meter.connected(2)
        meter.sign_in_failed()
        meter.beat(20.0 + seat, GateCounts(1, 0.5, 1))
    reading = board.read()

    assert [seat.beat for seat in reading.seats.values()] == [20.0, 21.0, 22.0]
    assert [seat.connections for seat in reading.seats.values()] == [2, 2, 2]
    assert row(board, "GET").statuses[1] == 3
    assert (reading.sent, reading.received, reading.sign_in_failures) == (15, 21, 3)
    assert reading.gate == GateCounts(3, 1.5, 3)


def test_only_an_upload_that_its_client_left_is_a_broken_one(board: Board) -> None:
    meter = Meter(board, 0)
    meter.request("PUT", 499, 0, 1.0)
    meter.request("GET", 499, 0, 1.0)
    meter.request("PUT", 412, 0, 1.0)

    assert board.read().broken == 1


def test_a_worker_in_a_dead_ones_seat_counts_on_but_has_its_own_connections(board: Board) -> None:
    dead = Meter(board, 0)
    dead.begin(1.0)
    dead.connected(5)
    dead.request("GET", 200, 0, 0.0)
    dead.beat(2.0, GateCounts(4, 2.0, 1))
    successor = Meter(board, 0)
    successor.begin(3.0)
    successor.connected(1)
    successor.request("GET", 200, 0, 0.0)
    successor.beat(4.0, GateCounts(1, 0.5, 0))
    reading = board.read()

    assert reading.seats[0].connections == 1
    assert row(board, "GET").statuses[1] == 2
    assert reading.gate == GateCounts(5, 2.5, 1)
    assert reading.starts == 2


def test_another_gate_counts_on(board: Board) -> None:
    meter = Meter(board, 0)
    meter.begin(1.0)
    meter.beat(2.0, GateCounts(4, 2.0, 1))
    meter.begin_gate()
    meter.beat(3.0, GateCounts(1, 0.5, 0))
    meter.beat(4.0, GateCounts(2, 0.5, 0))

    assert board.read().gate == GateCounts(6, 2.5, 1)


def _count(board: Board, seat: int) -> None:
    meter = Meter(board, seat)
    meter.begin(0.0)
    meter.request("PUT", 201, 3, 0.1)


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_what_a_child_counts_is_read_by_its_parent(board: Board, start: str) -> None:
    child = multiprocessing.get_context(start).Process(target=_count, args=(board, 2))
    child.start()
    child.join(15)
    reading = board.read()

    assert child.exitcode == 0
    assert reading.seats[2].pid not in (0, os.getpid())
    assert reading.sent == 3
