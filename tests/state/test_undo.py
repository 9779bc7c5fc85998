"""Undo logs: what was appended is undone from its end, whoever died when."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import pytest

from davserver.errors import StateFailure, StateFull
from davserver.protocol.path import DavPath
from davserver.state.base import Step, StepKind, UndoLogs
from davserver.state.undo import MemoryUndoLogs, UndoFolder

STEPS = [
    Step(StepKind.RENAME, DavPath((f"{n}",)), DavPath(("\udcff", f"b{n}")), identity=(1, n, None))
    for n in range(3)
]


@pytest.fixture(params=["files", "durable files", "memory"])
def logs(request: pytest.FixtureRequest, tmp_path: Path) -> UndoLogs:
    if request.param == "memory":
        return MemoryUndoLogs()
    return UndoFolder(tmp_path / "undo", full=request.param == "durable files")


def last_of(logs: UndoLogs, id: str) -> Step | None:
    with closing(logs.log(id)) as log:
        return log.last()


def test_the_last_comes_first(logs: UndoLogs) -> None:
    log = logs.log("a")
    for step in STEPS:
        log.append(step)
    seen = []
    while (step_ := log.last()) is not None:
        seen.append(step_)
        log.pop()
    log.close()

    assert seen == STEPS[::-1]
    assert last_of(logs, "a") is None


def test_one_that_is_opened_again_goes_on(logs: UndoLogs) -> None:
    first = logs.log("a")
    first.append(STEPS[0])
    first.append(STEPS[1])
    first.pop()
    first.close()
    second = logs.log("a")
    found = second.last()
    second.append(STEPS[2])
    second.close()

    assert found == STEPS[0]
    assert last_of(logs, "a") == STEPS[2]
    assert last_of(logs, "b") is None


def test_one_that_is_removed_is_empty(logs: UndoLogs) -> None:
    log = logs.log("a")
    log.append(STEPS[0])
    log.remove()
    log.remove()

    assert last_of(logs, "a") is None


def test_others_than_those_that_are_kept_go(logs: UndoLogs) -> None:
    logs.keep(["none"])
    for id in "ab":
        log = logs.log(id)
        log.append(STEPS[0])
        log.close()
    logs.keep(["b"])

    assert last_of(logs, "a") is None
    assert last_of(logs, "b") == STEPS[0]


def test_a_line_that_is_not_whole_was_never_begun(tmp_path: Path) -> None:
    logs = UndoFolder(tmp_path / "undo", full=False)
    log = logs.log("a")
    log.append(STEPS[0])
    log.close()
    file = tmp_path / "undo" / "a"
    file.write_bytes(file.read_bytes() * 2)
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size - 3)
    again = logs.log("a")

    assert again.last() == STEPS[0]
    again.append(STEPS[1])
    again.close()
    assert last_of(logs, "a") == STEPS[1]


def test_where_no_room_is_a_step_is_refused_and_the_rest_can_be_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = UndoFolder(tmp_path / "undo", full=False)
    log = logs.log("a")
    log.append(STEPS[0])
    write = os.pwrite
    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", lambda fd, data, at: write(fd, data[:5], at))
        with pytest.raises(StateFull):
            log.append(STEPS[1])
    found = log.last()
    log.pop()
    log.close()

    assert found == STEPS[0]
    assert last_of(logs, "a") is None


def test_one_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "undo").mkdir()
    (tmp_path / "undo" / "a").write_bytes(b"{}\n")
    (tmp_path / "undo" / "b").mkdir()
    logs = UndoFolder(tmp_path / "undo", full=False)

    for id in "ab":
        with pytest.raises(StateFailure):
            logs.log(id).last()
