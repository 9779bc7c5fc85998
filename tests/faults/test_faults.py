"""The nth call below a request fails, for every n until none does (F-05, F-07, F-08).

Each operation, with each layer's faults, once and from then on: the answer is the fault's own, or
a success that is whole; old content, properties and locks are intact or wholly new; nothing hidden,
nothing journalled, no descriptor is left; the next requests work.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.aftermath import World
from tests.support.crashplans import FILE, SCENARIOS, TREE, Scenario
from tests.support.faults import FAULTS, Fault, Fuse, Run, Stage, check_refusal

READING = {
    "GET file": Scenario(200, "GET", "/a", {"/a": bytes(range(256)) * 2_000}),
    "GET range": Scenario(206, "GET", "/a", FILE, (), {"Range": "bytes=1-1"}),
    "GET collection": Scenario(200, "GET", "/a/", TREE),
    "PROPFIND": Scenario(207, "PROPFIND", "/", TREE, (), {"Depth": "infinity"}),
}
WRITING = {
    name: scenario
    for name, scenario in SCENARIOS.items()
    if "durable" not in name and "across" not in name and "without renameat2" not in name
}
WRITING["COPY tree onto tree, without renameat2"] = SCENARIOS[
    "COPY tree onto tree, without renameat2"
]
WRITING["MOVE tree onto tree, without renameat2"] = SCENARIOS[
    "MOVE tree onto tree, without renameat2"
]
LAYERS = ("storage", "system", "state")
_OTHER_WAYS = ("hidden name", "without renameat2", "long")
CASES = [
    pytest.param(
        name,
        layer,
        id=f"{name}-{layer}",
        marks=[pytest.mark.long] if layer != "storage" and name.endswith(_OTHER_WAYS) else [],
    )
    for name in WRITING
    for layer in LAYERS
]
ROUNDS = 400


def is_legal(stage: Stage, scenario: Scenario, run: Run) -> bool:
    """Old or new; what a 207 of COPY leaves is as its members were, or are."""
    before, after, found = stage.before, stage.after, run.found
    if scenario.legal(before, after, found):
        return True
    if run.blown > 1 and scenario.method in _CANNOT_UNDO:
        return found == _CANNOT_UNDO[scenario.method](before, after)
    if run.reply is None or run.reply.status != 207 or scenario.method != "COPY":
        return False
    is_new = all(path in before or after.get(path) == what for path, what in found.items())
    return is_new and all(found.get(path) == what for path, what in before.items())


# Where one step is done, the next fails, and so does the way back.
_CANNOT_UNDO: dict[str, Callable[[World, World], World]] = {
    # The empty file stays, without a lock.
    "LOCK": lambda before, after: after | {"/n": after["/n"].relocked(())},
    # The mode stays changed.
    "PROPPATCH": lambda before, after: (
        before | {"/a": replace(before["/a"], executable=after["/a"].executable)}
    ),
}


def check(stage: Stage, scenario: Scenario, fault: Fault, run: Run) -> None:
    assert is_legal(stage, scenario, run), (run.where, run.reply, difference(stage, run))
    if run.reply is None:
        return
    status = run.reply.status
    if status == scenario.status and status != 207:
        assert run.found == stage.after, (run.where, difference(stage, run))
    elif status != 207 or run.found != stage.after:
        assert run.blown, (run.where, run.reply)
        check_refusal(run.reply, fault, run.where)


def difference(stage: Stage, run: Run) -> list[tuple[str, object, object, object]]:
    worlds: tuple[World, ...] = (stage.before, stage.after, run.found)
    paths = sorted(set().union(*worlds))
    rows = [(path, *(world.get(path) for world in worlds)) for path in paths]
    return [row for row in rows if len({repr(item) for item in row[1:]}) > 1]


def rounds(stage: Stage, scenario: Scenario, faults: list[Fault], modes: list[bool]) -> int:
    """Fails the first call, the second ... until a run meets no fault. The faults and modes take
    turns. Returns the number of runs."""
    for number in range(1, ROUNDS):
        fault = faults[number % len(faults)]
        run = stage.run(Fuse(fault, number, modes[number // len(faults) % len(modes)]))
        check(stage, scenario, fault, run)
        if not run.blown:
            return number
    raise AssertionError("it never came to its end")


def of_layer(layer: str) -> list[Fault]:
    return [fault for fault in FAULTS if fault.layer == layer]


@pytest.mark.security("F-01", "F-02", "F-04", "F-05", "F-07", "F-08")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("name", "layer"), CASES)
def test_whatever_call_fails_everything_is_old_or_new(
    tmp_path: Path, name: str, layer: str
) -> None:
    stage = Stage(tmp_path, WRITING[name])
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))

    rounds(stage, WRITING[name], of_layer(layer), [False, True])

    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.mark.security("F-05", "F-08")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("name", READING)
def test_a_read_that_fails_never_looks_whole(tmp_path: Path, name: str, layer: str) -> None:
    stage = Stage(tmp_path, READING[name])
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    for number in range(1, ROUNDS):
        fault = of_layer(layer)[number % len(of_layer(layer))]
        run = stage.run(Fuse(fault, number, number % 2 == 0))
        assert run.found == stage.before, run.where
        if not run.blown:
            break
        if run.reply is not None and run.reply.status not in (200, 206, 207):
            check_refusal(run.reply, fault, run.where)
        elif run.reply is not None and run.reply.status in (200, 206):
            assert len(run.reply.body) == len(stage.whole), run.where
    assert not run.blown, "it never came to its end"
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= descriptors


@pytest.mark.long
@pytest.mark.security("F-01", "F-02", "F-04", "F-05", "F-08")
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("permanent", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.layer}-{fault.name}")
def test_every_fault_at_every_call_of_every_operation(
    tmp_path: Path, fault: Fault, permanent: bool
) -> None:
    for number, (name, scenario) in enumerate(SCENARIOS.items()):
        if "across" in name:
            continue
        folder = tmp_path / str(number)
        folder.mkdir()
        rounds(Stage(folder, scenario), scenario, [fault], [permanent])
