"""Every requirement has a test, or a reason why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.requirements import LISTS, read_marks, read_report

each_list = pytest.mark.parametrize("mark", LISTS)


@each_list
def test_every_requirement_has_a_test_or_a_reason(mark: str) -> None:
    report = read_report(mark=mark)
    missing = {identifier: report.titles[identifier] for identifier in report.missing}

    assert missing == {}


@each_list
def test_no_test_names_an_unknown_requirement(mark: str) -> None:
    assert read_report(mark=mark).unknown == {}


@each_list
def test_no_reason_is_idle(mark: str) -> None:
    """A reason goes when its test comes."""
    assert read_report(mark=mark).idle_reasons == []


def test_reasons_of_security_are_sorted() -> None:
    """So that two who add one rarely meet in one line."""
    reasons = list(read_report(mark="security").reasons)

    assert reasons == sorted(reasons)


def test_marks_are_found_in_decorators_modules_and_parameters() -> None:
    source = """
pytestmark = pytest.mark.rfc("A-01")
@pytest.mark.rfc("A-02", "A-03")
def test(): ...
CASES = [pytest.param(1, marks=pytest.mark.rfc("A-04"))]
@pytest.mark.security("P-01")
def other(): ...
"""
    expected = [("A-01", 2), ("A-02", 3), ("A-03", 3), ("A-04", 5)]

    assert expected == sorted(read_marks(source))
    assert list(read_marks(source, "security")) == [("P-01", 6)]


def test_missing_unknown_and_idle_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "requirements.toml").write_text(
        '[requirements.a]\nA-01 = "one"\nA-02 = "two"\nA-03 = "three"\n'
        '[further]\nC-01 = "may"\n[reasons]\nA-02 = "why"\nA-01 = "idle"\n'
    )
    (tmp_path / "test_a.py").write_text(
        '@pytest.mark.rfc("A-01", "B-01", "C-01")\ndef test_a(): ...\n'
    )
    report = read_report(tmp_path)

    assert report.missing == ["A-03"]
    assert report.idle_reasons == ["A-01"]
    assert list(report.unknown) == ["B-01"]
