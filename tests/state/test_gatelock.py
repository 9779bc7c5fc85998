"""The gate's mutual exclusion by itself."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from davserver.errors import GateBusy, StateFailure
from davserver.state.gatelock import GateLock


@pytest.fixture(params=["thread", "file"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "gate" if request.param == "file" else None


def test_gate_is_free_after_release(path: Path | None) -> None:
    gate = GateLock(path)
    for _ in range(2):
        gate.acquire(0)
        assert gate.is_held
        gate.release()
    gate.close()
    gate.close()

    assert not gate.is_held


def test_waiting_thread_enters_when_the_other_leaves(path: Path | None) -> None:
    gate = GateLock(path)
    gate.acquire(0)
    entered: list[bool] = []

    def enter() -> None:
        gate.acquire(10)
        entered.append(True)
        gate.release()

    thread = threading.Thread(target=enter)
    thread.start()
    assert entered == []
    gate.release()
    thread.join(10)
    gate.close()

    assert entered == [True]


def test_two_files_of_one_path_exclude_each_other(tmp_path: Path) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    one.acquire(0)
    for wait_s in (0, 0.01):
        with pytest.raises(GateBusy, match="another process"):
            other.acquire(wait_s)
    assert not other.is_held
    one.release()
    other.acquire(0)
    other.release()
    one.close()
    other.close()


def test_file_that_cannot_be_locked_is_a_failure(tmp_path: Path) -> None:
    gate = GateLock(tmp_path / "gate")
    fd = gate._fd
    gate._fd = 1_000_000
    with pytest.raises(StateFailure, match="cannot be locked"):
        gate.acquire(0)
    gate._fd = fd
    gate.acquire(0)
    gate.release()
    gate.close()


def test_waits_are_counted_and_free_entries_are_not(path: Path | None) -> None:
    gate = GateLock(path)
    gate.acquire(1)
    gate.release()
    assert (gate.waits, gate.wait_s, gate.timeouts) == (0, 0.0, 0)
    gate.acquire(0)
    refused: list[bool] = []

    def enter() -> None:
        for wait_s in (0, 0.05):
            with pytest.raises(GateBusy):
                gate.acquire(wait_s)
            refused.append(True)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join(10)
    gate.release()
    gate.close()

    assert refused == [True, True]
    assert (gate.waits, gate.timeouts) == (2, 1)
    assert gate.wait_s >= 0.05


def test_a_wait_for_another_process_is_counted(tmp_path: Path) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    one.acquire(0)
    thread = threading.Timer(0.05, one.release)
    thread.start()
    other.acquire(10)
    other.release()
    thread.join(10)
    one.close()
    other.close()

    assert (other.waits, other.timeouts) == (1, 0)
    assert other.wait_s > 0
