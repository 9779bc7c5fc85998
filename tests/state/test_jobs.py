"""The rows of jobs: what several workers write at once, and what becomes of a damaged file."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from davserver.errors import StateError, StateFailure
from davserver.state.jobs import FILE, Ending, Job, JobState, JobStore

JOB = Job("1", "alice", "me", "COPY", "/c/", "/copy/", 1000.0)
END = Ending(JobState.SUCCEEDED, 201, ((b"location", b"/copy/"),), 1010.0)


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[JobStore]:
    made = JobStore(tmp_path if request.param == "file" else None, full=True)
    yield made
    made.close()


def test_a_job_is_found_as_it_was_entered(store: JobStore) -> None:
    assert store.add(JOB, limit=1)

    assert store.get("1") == JOB
    assert store.get("2") is None
    assert store.of("alice") == store.unfinished() == [JOB]
    assert store.of("bob") == []


def test_a_limit_is_for_each_principal_and_for_what_has_not_ended(store: JobStore) -> None:
    entered = [store.add(replace(JOB, id=str(number)), limit=2) for number in range(3)]
    others = store.add(replace(JOB, id="b", principal="bob"), limit=2)
    store.end(replace(JOB, id="0"), END)

    assert entered == [True, True, False]
    assert others
    assert store.add(replace(JOB, id="4"), limit=2)


def test_progress_is_entered_and_says_whether_to_end(store: JobStore) -> None:
    store.add(JOB, limit=1)
    far = replace(JOB, members=3, bytes=10, all_members=5)
    before = store.report(far)
    store.cancel("1")
    after = store.report(far)

    assert (before, after) == (False, True)
    assert store.get("1") == replace(far, is_cancelled=True)
    assert not store.report(replace(far, id="gone"))


def test_only_the_first_says_how_a_job_ended(store: JobStore) -> None:
    store.add(JOB, limit=1)
    store.begin("1", now=1001.0)
    first = store.end(replace(JOB, members=2), END)
    second = store.end(JOB, replace(END, state=JobState.FAILED, status=503))
    store.cancel("1")

    assert (first, second) == (True, False)
    ended = replace(JOB, state=JobState.SUCCEEDED, members=2, started=1001.0, ended=1010.0)
    assert store.get("1") == replace(ended, status=201, headers=END.headers)


def test_a_body_is_kept_in_pieces(store: JobStore) -> None:
    store.add(JOB, limit=1)
    store.keep("1", 0, b"of a dead owner")
    store.drop("1")
    store.keep("1", 0, b"one ")
    store.keep("1", 1, b"two")

    assert store.size("1") == 7
    assert [store.piece("1", number) for number in range(3)] == [b"one ", b"two", None]
    store.forget("1")
    assert (store.size("1"), store.get("1")) == (0, None)


def test_what_ended_long_ago_is_forgotten(store: JobStore) -> None:
    for number in range(3):
        store.add(replace(JOB, id=str(number)), limit=9)
    store.end(replace(JOB, id="0"), END)
    store.end(replace(JOB, id="1"), replace(END, at=1020.0))
    store.forget_ended(before=1015.0)

    assert [store.get(str(number)) is None for number in range(3)] == [True, False, False]


def test_stores_of_one_folder_share_their_jobs(tmp_path: Path) -> None:
    stores = [JobStore(tmp_path) for _ in range(8)]
    begin = threading.Barrier(8)
    failures: list[StateError] = []

    def enter(number: int) -> None:
        begin.wait(10)
        try:
            for each in range(5):
                stores[number].add(replace(JOB, id=f"{number}-{each}"), limit=100)
        except StateError as error:
            failures.append(error)

    threads = [threading.Thread(target=enter, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(15)
    found = {len(store.of("alice")) for store in stores}
    for store in stores:
        store.close()

    assert (failures, found) == ([], {40})


def test_a_failed_transaction_leaves_nothing(store: JobStore) -> None:
    store.add(JOB, limit=9)

    with pytest.raises(StateFailure):
        store.add(JOB, limit=9)
    assert store.of("alice") == [JOB]
    assert store.add(replace(JOB, id="2"), limit=9)


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all" * 100)
    store = JobStore(tmp_path)
    store.add(JOB, limit=1)
    aside = [path.name for path in tmp_path.glob(f"{FILE}.corrupt-*")]

    assert store.get("1") == JOB
    assert len(aside) == 1
    store.close()


def test_a_file_that_is_damaged_within_is_set_aside(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    for number in range(50):
        store.add(replace(JOB, id=f"{number}" * 50), limit=99)
    store.close()
    content = bytearray((tmp_path / FILE).read_bytes())
    content[8192:] = b"\xff" * (len(content) - 8192)
    (tmp_path / FILE).write_bytes(content)

    assert store.unfinished() == []
    assert len(list(tmp_path.glob(f"{FILE}.corrupt-*"))) == 1
    store.close()


def test_a_file_whose_index_tells_another_principal_than_its_table_is_set_aside(
    tmp_path: Path,
) -> None:
    store = JobStore(tmp_path)
    store.add(JOB, limit=1)
    store.close()
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content.replace(b"alice", b"alicf", 1))

    assert content.count(b"alice") == 2
    assert store.unfinished() == []
    assert len(list(tmp_path.glob(f"{FILE}.corrupt-*"))) == 1
    store.close()


def test_a_transaction_that_is_undone_already_is_left_alone(store: JobStore) -> None:
    """SQLite does so itself when the disk is full."""

    def fail() -> None:
        with store._writing() as db:
            db.query("ROLLBACK")
            raise StateFailure("no room")

    with pytest.raises(StateFailure, match="no room"):
        fail()
    assert store.add(JOB, limit=1)


def test_a_file_in_which_damage_was_met_is_looked_at_again(tmp_path: Path) -> None:
    store = JobStore(tmp_path)
    store.add(JOB, limit=1)
    first = store._db
    assert first is not None
    first.is_damaged = True

    assert store.get("1") == JOB
    assert store._db is not first
    store.close()


def test_a_file_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    connection = apsw.Connection(str(tmp_path / FILE))
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    store = JobStore(tmp_path)

    with pytest.raises(StateFailure, match="newer"):
        store.get("1")
    assert not list(tmp_path.glob("*.corrupt-*"))


def test_a_store_that_was_closed_opens_again(store: JobStore) -> None:
    store.add(JOB, limit=1)
    store.close()

    assert store.get("1") == JOB
