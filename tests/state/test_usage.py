"""The numbers of a tree with a quota: exact between workers, doubted after a death, never less
than what is there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from davserver.errors import StateFailure, StateFull
from davserver.protocol.path import Key
from davserver.state import usage
from davserver.state.base import Numbers, State, Usage
from davserver.state.memory import MemoryState
from davserver.state.sqlite import SqliteState
from davserver.state.usage import UsageFolder, settled

SCOPE = Key("a", b"")
ALWAYS = float("inf")
Worker = Callable[..., UsageFolder]


@pytest.fixture(params=["memory", "sqlite"])
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    made: State = MemoryState() if request.param == "memory" else SqliteState(tmp_path / "state")
    yield made
    made.close()


def count(numbers: Numbers, total: int, *, now: float = 100) -> bool:
    tally = numbers.begin(before=ALWAYS)
    assert tally is not None
    return numbers.end(tally, total, now=now)


def test_nothing_is_known_before_the_first_count(state: State) -> None:
    with state.hold((), wait_s=1) as view:
        numbers = view.numbers(SCOPE)
        numbers.change(added=10)
        before = numbers.read()
        count(numbers, 25)

    assert before == Usage(10, False)
    assert state.numbers(SCOPE).read() == Usage(25, True)


def test_changes_are_entered_at_once_and_stay(state: State) -> None:
    """They are of what is on the disk, which no rollback undoes."""
    with state.hold((), wait_s=1) as view:
        count(view.numbers(SCOPE), 100)
    with suppress(ZeroDivisionError), state.hold((), wait_s=1) as view:
        view.numbers(SCOPE).change(added=30, removed=10)
        raise ZeroDivisionError

    assert state.numbers(SCOPE).read().used == 120


def test_scopes_are_apart(state: State) -> None:
    with state.hold((), wait_s=1) as view:
        view.numbers(SCOPE).change(added=1)
        view.numbers(Key("a", b"alice")).change(added=2)
        view.numbers(Key("b", b"")).change(added=4)

    scopes = (SCOPE, Key("a", b"alice"), Key("b", b""), Key("a", b"bob"))
    assert [state.numbers(scope).read().used for scope in scopes] == [1, 2, 4, 0]


def test_never_less_than_nothing(state: State) -> None:
    """What somebody put there beside the server goes without ever having been entered."""
    with state.hold((), wait_s=1) as view:
        numbers = view.numbers(SCOPE)
        count(numbers, 5)
        numbers.change(removed=1000)

    assert state.numbers(SCOPE).read().used == 0


def test_a_count_is_due_when_it_is_old_or_in_doubt(state: State) -> None:
    with state.hold((), wait_s=1) as view:
        numbers = view.numbers(SCOPE)
        never = numbers.begin(before=0)
        assert never is not None
        numbers.end(never, 7, now=100)
        young, old = numbers.begin(before=100), numbers.begin(before=101)
        assert old is not None
        numbers.end(old, 7, now=200)
        numbers.doubt()
        doubtful = numbers.begin(before=200)

    assert young is None
    assert doubtful is not None
    assert state.numbers(SCOPE).read() == Usage(7, True), "meanwhile it is the best there is"


def test_a_tree_that_was_moved_meanwhile_voids_the_count(state: State) -> None:
    with state.hold((), wait_s=1) as view:
        numbers = view.numbers(SCOPE)
        count(numbers, 100)
        tally = numbers.begin(before=ALWAYS)
        assert tally is not None
        numbers.change(moves=1)
        was_taken = numbers.end(tally, 50, now=1)
        used = numbers.read().used
        was_taken_anyhow = numbers.end(tally, 50, now=1, anyhow=True)

    assert (was_taken, used) == (False, 100)
    assert was_taken_anyhow
    assert state.numbers(SCOPE).read().used == 50


def test_counts_are_numbered(state: State) -> None:
    with state.hold((), wait_s=1) as view:
        numbers = view.numbers(SCOPE)
        before = numbers.counts
        count(numbers, 1)

        assert numbers.counts == before + 1


def test_what_has_no_quota_any_more_is_not_known_when_it_has_one_again(state: State) -> None:
    """Nobody has entered what was changed meanwhile."""
    other = Key("b", b"")
    with state.hold((), wait_s=1) as view:
        for scope in (SCOPE, other):
            count(view.numbers(scope), 10)
    state.keep_numbers(lambda: [SCOPE])

    assert state.numbers(SCOPE).read() == Usage(10, True)
    assert not state.numbers(other).read().is_known


# --- what a walk makes of the number that was kept ----------------------------------------------

SIZES = some.integers(min_value=0, max_value=100)


@given(
    start=SIZES,
    error=some.integers(min_value=-50, max_value=50),
    changes=some.lists(some.tuples(some.booleans(), SIZES, some.booleans()), max_size=8),
)
def test_a_count_never_makes_it_less_than_what_is_there(
    start: int, error: int, changes: list[tuple[bool, int, bool]]
) -> None:
    """Files come and go while the walk is under way, before or behind it."""
    there, kept = start, max(0, start + error)
    seen = start
    added = removed = 0
    for comes, size, is_ahead in changes:
        size = size if comes else min(size, there)
        there += size if comes else -size
        kept = max(0, kept + (size if comes else -size))
        added += size if comes else 0
        removed += 0 if comes else size
        if is_ahead:
            seen += size if comes else -size
    after = settled(kept, max(0, seen), added=added, removed=removed)

    if error == 0:
        assert after == there, "what was right stays"
    if not changes:
        assert after == there, "nobody disturbed the walk"
    assert after >= min(there, kept)
    assert after <= max(kept, there + added + removed)


def test_a_number_that_was_too_low_comes_up_and_too_high_down() -> None:
    assert settled(10, 100, added=0, removed=0) == 100
    assert settled(200, 100, added=0, removed=0) == 100
    assert settled(200, 100, added=30, removed=0) == 130
    assert settled(10, 100, added=30, removed=20) == 130
    assert settled(85, 100, added=30, removed=20) == 85


# --- workers ------------------------------------------------------------------------------------


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    """Makes workers of one state; `is_alive` of each is asked of the set `living`."""
    living: set[str] = set()
    opened: list[UsageFolder] = []

    def make(number: int) -> UsageFolder:
        owner = f"{number:016x}"
        living.add(owner)
        opened.append(UsageFolder(tmp_path / "usage", owner, living.__contains__))
        return opened[-1]

    make.living = living  # type: ignore[attr-defined]
    yield make
    for each in opened:
        each.close(is_parting=False)


def die(worker: Worker, folder: UsageFolder, number: int) -> None:
    folder.close(is_parting=False)
    worker.living.discard(f"{number:016x}")  # type: ignore[attr-defined]


def test_all_workers_have_the_same_numbers(worker: Worker) -> None:
    one, other = worker(1).of(SCOPE), worker(2).of(SCOPE)
    count(one, 100)
    other.change(added=5)
    one.change(removed=1)

    assert one.read() == other.read() == Usage(104, True)


def test_numbers_outlive_their_workers(worker: Worker) -> None:
    first = worker(1)
    count(first.of(SCOPE), 100)
    first.of(SCOPE).change(added=5)
    first.close(is_parting=True)

    again = worker(2).of(SCOPE)
    assert again.read() == Usage(105, True)
    assert again.begin(before=0) is None, "whoever said goodbye left no doubt"


def test_a_dead_workers_mark_has_it_counted_again(worker: Worker) -> None:
    first, second = worker(1), worker(2)
    count(first.of(SCOPE), 100)
    first.of(SCOPE).change(added=900)
    die(worker, first, 1)
    numbers = second.of(SCOPE)
    before = numbers.read()
    assert count(numbers, 100)

    assert before == Usage(1000, True), "it stays the best there is, and rather too much"
    assert numbers.read() == Usage(100, True)
    assert numbers.begin(before=0) is None


def test_the_mark_of_one_who_dies_during_the_count_stays(worker: Worker) -> None:
    first, second, third = worker(1), worker(2), worker(3)
    numbers = third.of(SCOPE)
    count(numbers, 0)
    first.of(SCOPE).change(added=1)
    second.of(SCOPE).change(added=1)
    die(worker, first, 1)
    tally = numbers.begin(before=0)
    assert tally is not None
    die(worker, second, 2)
    numbers.end(tally, 2, now=1)

    assert numbers.begin(before=0) is not None


def test_one_worker_counts_at_a_time_while_it_lives(worker: Worker) -> None:
    first, second = worker(1), worker(2)
    begun = first.of(SCOPE).begin(before=ALWAYS)
    while_it_counts = second.of(SCOPE).begin(before=ALWAYS)
    again_by_itself = first.of(SCOPE).begin(before=ALWAYS)
    die(worker, first, 1)
    after_its_death = second.of(SCOPE).begin(before=ALWAYS)
    second.of(SCOPE).give_up()

    assert begun is not None
    assert while_it_counts is None
    assert again_by_itself is not None
    assert after_its_death is not None
    assert worker(3).of(SCOPE).begin(before=ALWAYS) is not None


def test_a_power_cut_leaves_nothing_known(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was mapped may not have come to the disk, though its mark has."""
    first = worker(1)
    count(first.of(SCOPE), 100)
    first.of(SCOPE).change(added=5)
    die(worker, first, 1)
    monkeypatch.setattr(usage, "_boot", lambda owner: 12345)
    numbers = worker(2).of(SCOPE)

    assert not numbers.read().is_known
    count(numbers, 99)
    assert numbers.read() == Usage(99, True)


def test_after_a_goodbye_a_power_cut_takes_nothing(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = worker(1)
    count(first.of(SCOPE), 100)
    first.of(SCOPE).change(added=5)
    first.close(is_parting=True)
    monkeypatch.setattr(usage, "_boot", lambda owner: 12345)

    assert worker(2).of(SCOPE).read() == Usage(105, True)


def test_without_a_boot_id_every_death_is_as_a_power_cut(
    worker: Worker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(usage, "_BOOT_ID", tmp_path / "none")
    first = worker(1)
    count(first.of(SCOPE), 100)
    first.of(SCOPE).change(added=5)
    die(worker, first, 1)

    assert not worker(2).of(SCOPE).read().is_known


def test_what_one_worker_makes_unknown_is_so_for_all(worker: Worker) -> None:
    first, second = worker(1), worker(2)
    numbers = second.of(SCOPE)
    count(numbers, 10)
    was_there = first.has_others([])
    first.forget_others([])

    assert was_there
    assert not numbers.read().is_known
    count(numbers, 20)
    assert first.of(SCOPE).read() == Usage(20, True)


def test_a_fork_says_no_goodbye_for_its_parent(tmp_path: Path) -> None:
    state = SqliteState(tmp_path / "state")
    with state.hold((), wait_s=1) as view:
        count(view.numbers(SCOPE), 1)
        view.numbers(SCOPE).change(added=1)
    marks = [*(tmp_path / "state/usage").glob("*/[0-9a-f]*")]
    pid = os.fork()
    if not pid:
        try:
            state.close()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    left = [*(tmp_path / "state/usage").glob("*/[0-9a-f]*")]
    state.close()

    assert len(marks) == 1
    assert left == marks
    assert [*(tmp_path / "state/usage").glob("*/[0-9a-f]*")] == []


def test_a_folder_that_cannot_be_written_is_an_error_of_the_state(tmp_path: Path) -> None:
    (tmp_path / "usage").touch()
    folder = UsageFolder(tmp_path / "usage", "1" * 16, lambda owner: True)

    with pytest.raises(StateFailure):
        folder.of(SCOPE)


def test_a_mark_that_finds_no_room_is_a_full_state(
    worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = worker(1).of(SCOPE)

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(usage, "sync_folder", full)
    with pytest.raises(StateFull):
        numbers.change(added=1)

    assert numbers.read().used == 0
