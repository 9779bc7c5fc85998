"""A server killed at every step of every method that changes something (K-01 to K-04, K-06).

After each death a fresh worker finds the state before or the state after, with content, dead
properties, creation dates and locks; nothing hidden and nothing journalled is left. What "after"
is, a run that nobody kills tells. A DELETE of a collection goes member by member: each is there
whole or gone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.path import Key
from davserver.state.sqlite import SqliteState
from tests.support.aftermath import World, look
from tests.support.crashing import Crasher, Outcome, Plan, Request
from tests.support.crashplans import SCENARIOS, STRAIGHT, Scenario, Template, fill, request_of

_LONG = {name for name in SCENARIOS if "without renameat2" in name} | {
    "BATCH, durable",
    "BATCH across file systems",
}
_LONG -= {
    "COPY tree onto tree, without renameat2",
    "MOVE tree onto tree, without renameat2",
    "MOVE file onto file, without renameat2",
    "MOVE file onto tree, without renameat2",
    "MOVE file without properties, without renameat2",
}
SOME = [
    pytest.param(scenario, id=name, marks=[pytest.mark.long] if name in _LONG else [])
    for name, scenario in (SCENARIOS | STRAIGHT).items()
]


class Stage:
    """A scenario that is set up once and copied for each run.

    Attributes:
        tokens: of the locks, by the path of their root.
        before, after: what a fresh worker finds when nothing and when everything was done.
        steps: of a run that nobody kills.
    """

    def __init__(self, folder: Path, scenario: Scenario, crasher: Crasher) -> None:
        self._scenario = scenario
        self._crasher = crasher
        template = Template(folder)
        with template.filling() as dav:
            self.tokens = fill(dav, scenario)
        self.fresh = template.fresh
        self.request = request_of(scenario, self.tokens)
        self.before = self.look(self.fresh())
        base = self.fresh()
        outcome = self.run(base)
        assert outcome.reply is not None
        assert outcome.reply.status == scenario.status, outcome.reply
        assert outcome.steps[-1] == ("answer at once" if scenario.straight else "answer")
        self.after = self.look(base)
        self.steps = outcome.steps
        assert self.before != self.after

    def run(self, base: Path, ends_at: int = 0) -> Outcome:
        scenario = self._scenario
        plan = Plan(
            str(base),
            ends_at,
            across=scenario.across,
            straight=scenario.straight,
            durability=scenario.durability,
            fallbacks=scenario.fallbacks,
        )
        return self._crasher.run(plan, self.request)

    def recover(self, base: Path, ends_at: int) -> Outcome:
        """Starts a server on what another left, and lists everything; it dies, too."""
        plan = Plan(str(base), ends_at, from_start=True, fallbacks=self._scenario.fallbacks)
        return self._crasher.run(plan, Request("PROPFIND", "/", {"Depth": "infinity"}))

    def look(self, base: Path) -> World:
        return look(base, self.tokens, fallbacks=self._scenario.fallbacks)

    def check(self, base: Path, where: str) -> World:
        try:
            found = self.look(base)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        assert self._scenario.legal(self.before, self.after, found), f"{where}: {found}"
        return found


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as running:
        yield running


@pytest.mark.security("K-01", "K-02", "P-14", "Q-09")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("scenario", SOME)
def test_killed_at_any_step_everything_is_old_or_new(
    tmp_path: Path, crasher: Crasher, scenario: Scenario
) -> None:
    stage = Stage(tmp_path, scenario, crasher)
    found = stage.before
    for number in range(1, 200):
        base = stage.fresh()
        outcome = stage.run(base, number)
        where = f"killed before step {number} of {outcome.steps}"
        found = stage.check(base, where)
        if not outcome.died:
            break
        if outcome.steps[-1].startswith("answer"):
            assert found == stage.after, where

    assert number == len(stage.steps) + 1
    assert found == stage.after


@pytest.mark.security("K-03")
@pytest.mark.parametrize(
    ("name", "publishes"), [("PUT new, durable", "try_linkat"), ("PUT over, durable", "rename")]
)
def test_the_disk_is_waited_for_before_publishing_and_before_the_answer(
    tmp_path: Path, crasher: Crasher, name: str, publishes: str
) -> None:
    """The content first, so that no name ever leads to half of it; then the name; then 2xx."""
    steps = Stage(tmp_path, SCENARIOS[name], crasher).steps
    waits = [number for number, step in enumerate(steps) if step in ("fsync", "fdatasync")]
    content, directory = waits[0], waits[-1]

    assert content < steps.index(publishes) < directory < steps.index("answer")
    assert "write" not in steps[content:]


@pytest.mark.long
@pytest.mark.security("K-06")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("scenario", SCENARIOS.values(), ids=SCENARIOS.keys())
def test_killed_in_recovery_a_second_one_succeeds(
    tmp_path: Path, crasher: Crasher, scenario: Scenario
) -> None:
    stage = Stage(tmp_path, scenario, crasher)
    for number in range(1, len(stage.steps) + 1):
        _kill_twice(stage, number)


@pytest.mark.security("K-06")
@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "name",
    [
        "PROPPATCH live",
        "COPY tree onto tree",
        "MOVE tree onto tree, without renameat2",
        "DELETE tree",
        "LOCK unmapped",
        "MOVE file onto file across file systems",
        "BATCH of two",
    ],
)
def test_killed_in_recovery_near_the_end_a_second_one_succeeds(
    tmp_path: Path, crasher: Crasher, name: str
) -> None:
    """The step that leaves most to do: the last before the journal is settled."""
    stage = Stage(tmp_path, SCENARIOS[name], crasher)
    for number in _last_commits(stage.steps)[:1]:
        _kill_twice(stage, number)


def _last_commits(steps: list[str]) -> list[int]:
    """Numbers of the commits, the last one first."""
    return [number for number, step in enumerate(steps, 1) if step == "COMMIT"][::-1]


def _kill_twice(stage: Stage, number: int) -> None:
    for second in range(1, 400):
        base = stage.fresh()
        first = stage.run(base, number)
        outcome = stage.recover(base, second)
        stage.check(base, f"killed before {first.steps[-1]}, then before {outcome.steps[-1]}")
        if not outcome.died:
            return
    raise AssertionError("it never came to its end")


ACROSS = "MOVE tree onto tree across file systems"


def _published(stage: Stage) -> int:
    """Number of the first step after a copy was put in place and that was committed: everything
    is still to be removed."""
    exchanged = stage.steps.index("renameat2")
    return exchanged + 1 + stage.steps[exchanged:].index("COMMIT") + 1


@pytest.mark.security("K-06")
@pytest.mark.timeout(60)
def test_killed_while_recovery_removes_what_was_moved_a_second_one_goes_on(
    tmp_path: Path, crasher: Crasher
) -> None:
    stage = Stage(tmp_path, SCENARIOS[ACROSS], crasher)
    _kill_twice(stage, _published(stage))


@pytest.mark.security("K-04", "P-12")
def test_what_is_written_before_recovery_comes_stays(tmp_path: Path, crasher: Crasher) -> None:
    """A MOVE across file systems has put its copy in place, and nobody has removed the source:
    what is provably what was copied goes, the rest is at both places."""
    stage = Stage(tmp_path, SCENARIOS[ACROSS], crasher)
    base = stage.fresh()
    assert stage.run(base, _published(stage)).died
    written = base / "root" / "a" / "d" / "g"
    old = written.stat()
    written.write_bytes(b"DEEP")
    os.utime(written, ns=(old.st_atime_ns, old.st_mtime_ns + 1))
    (base / "root" / "a" / "empty").mkdir()
    found = stage.look(base)
    stayed = {path: what for path, what in found.items() if path.startswith("/a")}

    assert {path: what.content for path, what in stayed.items()} == {
        "/a/": None,
        "/a/d/": None,
        "/a/d/g": b"DEEP",
        "/a/empty/": None,
    }
    assert stayed["/a/d/g"].topic == "of /a/d/g"
    assert found == stage.after | stayed


@pytest.mark.security("K-04", "P-12")
@pytest.mark.parametrize("kind", ["file", "tree"])
def test_what_is_locked_before_recovery_comes_stays(
    tmp_path: Path, crasher: Crasher, kind: str
) -> None:
    """Another worker has granted a lock on what is about to be removed."""
    stage = Stage(tmp_path, SCENARIOS[f"MOVE {kind} onto nothing across file systems"], crasher)
    base = stage.fresh()
    # A file is removed before the commit that would forget its locks.
    published = stage.steps.index("renameat2") + 2 if kind == "file" else _published(stage)
    assert stage.run(base, published).died
    path = "a/d/g" if kind == "tree" else "a"
    state = SqliteState(base / "state", durability="none")
    with state.hold((), wait_s=1) as view:
        view.add_lock(foreign_lock(path))
    state.close()
    found = stage.look(base)
    stayed = {path: what for path, what in found.items() if path.startswith("/a")}

    assert "new" in stayed[f"/{path}"].locks
    assert stayed.keys() == ({"/a/", "/a/d/", "/a/d/g"} if kind == "tree" else {"/a"})
    assert found == stage.after | stayed


def foreign_lock(path: str) -> Lock:
    return Lock(
        token="urn:uuid:foreign",
        key=Key("", path.encode()),
        href=f"/{path}".encode(),
        scope=LockScope.SHARED,
        depth=Depth.ZERO,
        owner_xml=b"",
        principal="anonymous",
        timeout_s=600,
        expires_at=time.time() + 600,
    )


@pytest.mark.security("K-04")
@pytest.mark.parametrize("taken", ["source", "target"])
def test_a_foreign_file_at_either_end_of_a_broken_move_inherits_nothing(
    tmp_path: Path, crasher: Crasher, taken: str
) -> None:
    """Renamed, and killed before the rows followed; then somebody beside the server creates a
    file at the old name, or replaces what is at the new one."""
    stage = Stage(tmp_path, SCENARIOS["MOVE file onto nothing"], crasher)
    renamed = stage.steps.index("renameat2") + 1
    base = stage.fresh()
    assert stage.run(base, renamed + 1).died
    foreign = base / "root" / ("a" if taken == "source" else "b")
    foreign.unlink(missing_ok=True)
    foreign.write_bytes(b"foreign")
    found = stage.look(base)

    alien = found.pop("/a" if taken == "source" else "/b")
    assert (alien.content, alien.topic, alien.created, alien.locks) == (b"foreign", None, None, ())
    assert found == (stage.after if taken == "source" else {"/c": stage.after["/c"]})
