"""The gate's mutual exclusion by itself."""

from __future__ import annotations

import errno
import fcntl
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import GateBusy, StateFailure
from davserver.protocol.path import Key
from davserver.state.gatelock import GateLock, part_of
from tests.support.descriptors import open_descriptors


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


def test_what_cannot_be_unlocked_can_be_entered_again(
    pair: tuple[GateLock, GateLock],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And nobody is told that it has failed: what was done inside is done."""
    one, other = pair
    one.acquire(0)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    with monkeypatch.context() as system:
        for call in ("fcntl", "flock"):
            system.setattr(fcntl, call, fail)
        one.release()
    one.acquire(0)
    one.release()

    other.acquire(0)
    other.release()
    assert "no locks" in caplog.text


@pytest.fixture(params=["parts", "whole"])
def pair(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[GateLock, GateLock]]:
    """Those of two processes, also where a system cannot lock bytes for one."""
    if request.param == "whole":
        monkeypatch.setattr(sys, "platform", "darwin")
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    yield one, other
    one.close()
    other.close()


@pytest.mark.parametrize("parts", [(None, 3), (3, None), (3, 3)], ids=str)
def test_all_of_the_gate_and_a_part_exclude_each_other(
    pair: tuple[GateLock, GateLock], parts: tuple[int | None, int | None]
) -> None:
    one, other = pair
    one.acquire(0, parts[0])
    for wait_s in (0, 0.01):
        with pytest.raises(GateBusy, match="another process"):
            other.acquire(wait_s, parts[1])
    one.release()
    other.acquire(0, parts[1])
    other.release()


def test_two_parts_do_not_exclude_each_other(tmp_path: Path) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    one.acquire(0, 3)
    other.acquire(0, 4)
    one.release()
    other.release()
    one.close()
    other.close()

    assert (one.waits, other.waits) == (0, 0)


def test_where_bytes_cannot_be_locked_parts_are_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> bytes:
        raise OSError(errno.EINVAL, "no such lock")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    one.acquire(0, 3)
    with pytest.raises(GateBusy):
        other.acquire(0, 4)
    one.release()
    other.acquire(0, 4)
    other.release()
    one.close()
    other.close()


@pytest.mark.security("Q-03")
@pytest.mark.skipif(sys.platform != "linux", reason="no other system locks bytes for one")
@pytest.mark.parametrize("fails_at", [1, 2], ids=["locking", "unlocking"])
def test_a_gate_whose_bytes_cannot_be_locked_for_now_is_not_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    """One that took the file where others take its bytes would not meet them."""
    lock, calls = fcntl.fcntl, [0]

    def fail_once(*args: Any) -> Any:
        calls[0] += 1
        if calls[0] == fails_at:
            raise OSError(errno.ENOLCK, "no locks available")
        return lock(*args)

    before = open_descriptors()
    with monkeypatch.context() as system:
        system.setattr(fcntl, "fcntl", fail_once)
        with pytest.raises(OSError, match="no locks"):
            GateLock(tmp_path / "gate")

    assert not open_descriptors() - before


def test_who_has_a_part_can_take_all_of_it(pair: tuple[GateLock, GateLock]) -> None:
    one, other = pair
    one.acquire(0, 3)
    one.widen()
    one.widen()
    with pytest.raises(GateBusy):
        other.acquire(0, 4)
    one.release()
    other.acquire(0, 4)
    other.release()


def test_of_those_with_parts_one_changes_rows(tmp_path: Path) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    one.acquire(0, 3)
    other.acquire(0, 4)
    one.enter_rows(3)
    one.enter_rows(3)
    with pytest.raises(GateBusy, match="another process"):
        other.enter_rows(4)
    one.release()
    other.enter_rows(4)
    other.release()
    one.acquire(0)
    one.release()
    one.close()
    other.close()


def test_who_waits_to_change_rows_does_so_for_as_long_as_for_the_gate(tmp_path: Path) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    one.acquire(0, 3)
    one.enter_rows(3)
    entered = threading.Event()

    def work() -> None:
        other.acquire(10, 4)
        other.enter_rows(4)
        entered.set()
        other.release()

    thread = threading.Thread(target=work)
    thread.start()
    too_soon = entered.wait(0.05)
    one.release()
    thread.join(10)

    assert not too_soon
    assert entered.is_set()
    one.close()
    other.close()


def test_who_changes_rows_of_its_part_keeps_others_from_all_of_it(
    pair: tuple[GateLock, GateLock],
) -> None:
    one, other = pair
    one.acquire(0, 3)
    one.enter_rows(3)
    for wait_s in (0, 0.01):
        with pytest.raises(GateBusy):
            other.acquire(wait_s)
    one.release()
    other.acquire(0)
    other.release()


@pytest.mark.parametrize("part", [4, None], ids=str)
def test_rows_of_another_part_take_all_of_it(
    pair: tuple[GateLock, GateLock], part: int | None
) -> None:
    one, other = pair
    one.acquire(0, 3)
    one.enter_rows(3)
    one.enter_rows(part)
    with pytest.raises(GateBusy):
        other.acquire(0, 5)
    one.release()
    other.acquire(0, 5)
    other.release()


def test_two_that_want_all_of_it_both_keep_their_parts(tmp_path: Path) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    third = GateLock(tmp_path / "gate")
    one.acquire(0, 3)
    other.acquire(0, 4)
    for gate in (one, other):
        with pytest.raises(GateBusy):
            gate.widen()
    for part in (3, 4):
        with pytest.raises(GateBusy):
            third.acquire(0, part)
    other.release()
    one.widen()
    one.release()
    third.acquire(0)
    third.release()
    for gate in (one, other, third):
        gate.close()


def test_who_waits_for_all_of_it_is_not_passed_by_those_with_parts(tmp_path: Path) -> None:
    """Two parts in turn are never free at once: who asked for both together would wait for ever."""
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    waiting = GateLock(tmp_path / "gate")
    one.acquire(0, 3)
    thread = threading.Thread(target=waiting.acquire, args=(10,))
    thread.start()
    deadline = time.monotonic() + 10
    is_kept_out = False
    while not is_kept_out and time.monotonic() < deadline:
        try:
            other.acquire(0, 2)
            other.release()
        except GateBusy:
            is_kept_out = True
    one.release()
    thread.join(10)
    is_in = waiting.is_held
    waiting.release()
    for gate in (one, other, waiting):
        gate.close()

    assert is_kept_out
    assert is_in


def test_who_gives_up_waiting_for_all_of_it_leaves_every_part(tmp_path: Path) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    one.acquire(0, 31)
    with pytest.raises(GateBusy):
        other.acquire(0.02)
    third = GateLock(tmp_path / "gate")
    for part in range(31):
        third.acquire(0, part)
        third.release()
    one.release()
    for gate in (one, other, third):
        gate.close()

    assert third.waits == 0


def test_who_must_not_wait_waits_for_one_that_is_about_to_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    one.acquire(0)
    monkeypatch.setattr(time, "sleep", lambda _: one.release())
    other.acquire(0)
    other.release()
    one.close()
    other.close()

    assert (other.waits, other.wait_s, other.timeouts) == (1, 0.0, 0)


def test_who_must_not_wait_looks_once_while_somebody_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = GateLock(tmp_path / "gate"), GateLock(tmp_path / "gate")
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    one.acquire(0)
    for _ in range(3):
        with pytest.raises(GateBusy):
            other.acquire(0)
    first = len(pauses)
    one.release()
    other.acquire(0)
    other.release()
    one.acquire(0)
    with pytest.raises(GateBusy):
        other.acquire(0)
    one.release()
    one.close()
    other.close()

    assert 0 < sum(pauses) < 0.001
    assert len(pauses) == 2 * first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (Key("a", b"x/name"), Key("b", b"name")),
        (Key("a", b"Name.TXT"), Key("a", b"name.txt")),
    ],
    ids=["mounted twice", "case"],
)
def test_keys_that_may_be_of_one_file_have_one_part(one: Key, other: Key) -> None:
    assert part_of(one) is not None
    assert part_of(one) == part_of(other)


@pytest.mark.parametrize(
    "path",
    [b"", b"a/\xc3\xa9", b"a/LONGNA~1.TXT", b"f.", b"a/f "],
    ids=["root", "not ASCII", "short", "dot", "space"],
)
def test_what_may_have_other_spellings_takes_all_of_the_gate(path: bytes) -> None:
    assert part_of(Key("a", path)) is None


def test_different_names_mostly_have_different_parts() -> None:
    parts = {part_of(Key("a", b"file-%d" % number)) for number in range(400)}

    assert len(parts) == 32


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
