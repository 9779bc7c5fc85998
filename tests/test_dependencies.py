"""What is too old to be used: versions with holes or faults that would be ours."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import apsw
import pytest

from davserver.errors import StateFailure
from davserver.state.sqlfile import has_wal_fault
from davserver.state.sqlite import SqliteState

PROJECT = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())
MINIMUM = re.compile(r"([a-z0-9-]+)>=([0-9.]+)")

# From here on, and why.
NEEDED = {
    "apsw": (3, 51, 3),  # two writers could corrupt a WAL database
    "starlette": (1, 3, 1),  # Host could change the path; quadratic ranges; and others
    "lxml": (6, 1, 0),  # external entities in iterparse
    "httptools": (0, 6, 4),
    "defusedxml": (0, 7, 1),
}


def numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", text))


def minimums() -> dict[str, tuple[int, ...]]:
    project = PROJECT["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    found = [match for text in wanted if (match := MINIMUM.match(text))]
    return {match[1]: numbers(match[2]) for match in found}


@pytest.mark.security("C-21", "M-11", "Q-01")
@pytest.mark.parametrize("name", NEEDED)
def test_nothing_older_is_asked_for_or_installed(name: str) -> None:
    assert minimums()[name] >= NEEDED[name]
    assert numbers(version(name)) >= NEEDED[name]


@pytest.mark.security("C-21")
@pytest.mark.parametrize("name", minimums())
def test_what_is_installed_is_new_enough(name: str) -> None:
    assert numbers(version(name)) >= minimums()[name]


@pytest.mark.security("M-11", "Q-01")
@pytest.mark.parametrize(
    ("text", "faulty"),
    [
        ("3.40.1", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.54.1", False),
        ("4.0.0", False),
    ],
)
def test_an_sqlite_with_the_wal_fault_is_known(text: str, faulty: bool) -> None:
    assert has_wal_fault(numbers(text)) is faulty


@pytest.mark.security("M-11", "Q-01")
def test_an_sqlite_with_the_wal_fault_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.40.1")
    state = SqliteState(tmp_path / "state")

    with pytest.raises(StateFailure, match=r"SQLite 3\.40\.1 can corrupt"):
        state.has_changes()
    state.close()


@pytest.mark.security("M-11", "Q-01")
def test_the_sqlite_in_use_has_no_wal_fault() -> None:
    assert not has_wal_fault(numbers(apsw.sqlite_lib_version()))
