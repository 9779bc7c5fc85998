"""A server killed at every step of a job: it ends defined, and tells the truth.

A job that is said to have succeeded has done all of it, one that failed nothing; of a DELETE some
members may be gone, but not the collection.
"""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from davserver.state.jobs import Job, JobStore
from tests.conftest import make_app_dav
from tests.support.aftermath import World, look
from tests.support.crashing import Crasher, Plan, Running
from tests.support.crashplans import SCENARIOS, Scenario, Template, fill, request_of, some_are_gone

SOME = [
    "COPY tree onto nothing",
    "COPY tree onto tree",
    "MOVE tree onto nothing",
    "MOVE file onto file across file systems",
    "DELETE tree",
    "BATCH of two",
]
LONG = [
    "BATCH",
    "COPY file onto file",
    "MOVE tree onto tree",
    "MOVE tree onto tree, without renameat2",
    "MOVE tree onto tree across file systems",
    "DELETE file",
]


class Stage:
    """A scenario that is set up once and copied for each run."""

    def __init__(self, folder: Path, scenario: Scenario, crasher: Crasher) -> None:
        self.scenario = scenario
        self._crasher = crasher
        template = Template(folder)
        with template.filling() as dav:
            self.tokens = fill(dav, scenario)
        self.fresh = template.fresh
        request = request_of(scenario, self.tokens)
        self._request = replace(request, headers=request.headers | {"Prefer": "respond-async"})
        self.before = self.look(self.fresh())
        base = self.fresh()
        assert not self.run(base, 0)
        self.after = self.look(base)
        assert self.before != self.after

    def run(self, base: Path, ends_at: int) -> bool:
        """Returns whether the server was killed at that step, before the job had ended."""
        scenario = self.scenario
        plan = Plan(str(base), ends_at, across=scenario.across, fallbacks=scenario.fallbacks)
        running = self._crasher.start(plan)
        reply = running.ask(self._request)
        if reply is None:
            assert running.wait() == signal.SIGKILL
            return True
        assert reply.status == 202, reply
        died = is_dead_before_the_end(running, base)
        assert (running.wait() if died else running.kill()) == signal.SIGKILL
        assert "Traceback" not in (base / "log").read_text()
        return died

    def look(self, base: Path) -> World:
        return look(base, self.tokens, fallbacks=self.scenario.fallbacks)


def jobs_of(base: Path) -> list[Job]:
    store = JobStore(base / "state")
    try:
        return store.of("")
    finally:
        store.close()


def is_dead_before_the_end(running: Running, base: Path) -> bool:
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        is_dead = Path(f"/proc/{running.pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        if is_dead or any(job.state.is_ended for job in jobs_of(base)):
            return is_dead
        time.sleep(0.005)
    raise AssertionError("neither the job nor the server ended")


def told_of(base: Path, job: Job) -> tuple[dict[str, Any], int]:
    """Returns what the next server tells of a job, and the status of its result."""
    dav = make_app_dav(base, "filesystem", durability="none")
    try:
        href = f"/.davserver/jobs/{job.id}"
        told: dict[str, Any] = json.loads(dav.get(href).body)
        return told, dav.get(f"{href}/result").status
    finally:
        dav.close()


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as running:
        yield running


@pytest.mark.security("K-01")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "name", [*SOME, *(pytest.param(name, marks=pytest.mark.long) for name in LONG)]
)
def test_a_job_whose_server_is_killed_at_any_step_ends_as_it_says(
    tmp_path: Path, crasher: Crasher, name: str
) -> None:
    stage = Stage(tmp_path, SCENARIOS[name], crasher)
    ends = set()
    for number in range(1, 200):
        base = stage.fresh()
        died = stage.run(base, number)
        jobs = jobs_of(base)
        told = [told_of(base, job) for job in jobs]
        found = stage.look(base)
        where = f"killed before step {number}: {told}"
        if not jobs:
            assert found == stage.before, where
            continue
        ((job, status),) = told
        check(stage, found, (job["state"], status), where)
        ends.add(job["state"])
        if not died:
            break

    assert number > 3
    assert ends == {"succeeded", "failed"}


def check(stage: Stage, found: World, end: tuple[str, int], where: str) -> None:
    if end == ("succeeded", stage.scenario.status):
        assert found == stage.after, where
        return
    assert end == ("failed", 503), where
    if stage.scenario.legal is some_are_gone:
        assert some_are_gone(stage.before, stage.after, found), where
        assert any(path.rstrip("/") == stage.scenario.target for path in found), where
    else:
        assert found == stage.before, where
