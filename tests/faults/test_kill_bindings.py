"""A server killed at every step of what makes, moves and removes bindings (RFC 5842).

After each death a fresh worker finds every binding as it was or as it is to be: nothing dangles,
nothing is lost that had another name, nothing hidden and nothing journalled is left. That a
resource and a link to it have changed places shows nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.bindingplans import SCENARIOS, Scenario, World, fill, look
from tests.support.crashing import Crasher, Outcome, Plan, Request
from tests.support.crashplans import BOTH, Template

SOME_WITHOUT = (
    "BIND over a tree",
    "UNBIND the first",
    "REBIND the second over a file",
    "DELETE the first, a file",
    "DELETE the first, a tree",
    "MOVE over the first",
)
CASES = [
    *(pytest.param(one, (), id=name) for name, one in SCENARIOS.items()),
    *(
        pytest.param(
            one,
            BOTH,
            id=f"{name}, without renameat2",
            marks=[] if name in SOME_WITHOUT else [pytest.mark.long],
        )
        for name, one in SCENARIOS.items()
    ),
]


class Stage:
    """A scenario that is set up once and copied for each run."""

    def __init__(
        self, folder: Path, scenario: Scenario, fallbacks: tuple[str, ...], crasher: Crasher
    ) -> None:
        self._scenario, self._fallbacks, self._crasher = scenario, fallbacks, crasher
        template = Template(folder)
        with template.filling() as dav:
            fill(dav, scenario)
        self.fresh = template.fresh
        self.before = look(self.fresh(), fallbacks)
        base = self.fresh()
        outcome = self.run(base)
        assert outcome.reply is not None
        assert outcome.reply.status == scenario.status, outcome.reply
        self.after = look(base, fallbacks)
        self.steps = outcome.steps
        assert self.before != self.after

    def run(self, base: Path, ends_at: int = 0) -> Outcome:
        one = self._scenario
        plan = Plan(str(base), ends_at, fallbacks=self._fallbacks)
        request = Request(one.method, one.target, one.headers, one.body)
        return self._crasher.run(plan, request)

    def recover(self, base: Path, ends_at: int) -> Outcome:
        plan = Plan(str(base), ends_at, from_start=True, fallbacks=self._fallbacks)
        return self._crasher.run(plan, Request("PROPFIND", "/", {"Depth": "infinity"}))

    def check(self, base: Path, where: str) -> World:
        try:
            found = look(base, self._fallbacks)
        except AssertionError as error:
            raise AssertionError(f"{where}: {error}") from error
        assert self._scenario.legal(self.before, self.after, found), f"{where}: {found}"
        return found


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as running:
        yield running


@pytest.mark.rfc("BI-07")
@pytest.mark.security("K-01", "K-02")
@pytest.mark.timeout(90)
@pytest.mark.parametrize(("scenario", "fallbacks"), CASES)
def test_killed_at_any_step_every_binding_is_old_or_new(
    tmp_path: Path, crasher: Crasher, scenario: Scenario, fallbacks: tuple[str, ...]
) -> None:
    stage = Stage(tmp_path, scenario, fallbacks, crasher)
    for number in range(1, 200):
        base = stage.fresh()
        outcome = stage.run(base, number)
        found = stage.check(base, f"killed before step {number} of {outcome.steps}")
        if not outcome.died:
            break

    assert number == len(stage.steps) + 1
    assert found == stage.after


@pytest.mark.security("K-06")
@pytest.mark.timeout(90)
@pytest.mark.parametrize(
    ("name", "fallbacks"),
    [
        ("DELETE the first, a tree", ()),
        ("DELETE the first, a tree", BOTH),
        ("REBIND the second over a file", ()),
        ("MOVE what is around the first", ()),
    ],
    ids=str,
)
def test_killed_in_recovery_a_second_one_succeeds(
    tmp_path: Path, crasher: Crasher, name: str, fallbacks: tuple[str, ...]
) -> None:
    """At the last commit before the answer, and at the one before: where most is left to do."""
    stage = Stage(tmp_path, SCENARIOS[name], fallbacks, crasher)
    commits = [number for number, step in enumerate(stage.steps, 1) if step == "COMMIT"]
    for number in commits[-2:]:
        for second in range(1, 100):
            base = stage.fresh()
            stage.run(base, number)
            outcome = stage.recover(base, second)
            stage.check(base, f"killed before step {number}, then before {outcome.steps}")
            if not outcome.died:
                break

        assert not outcome.died
