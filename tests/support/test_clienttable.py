"""The table of clients: what fills a cell and what empties it; that the README has it as it is."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.clienttable import (
    ABSENT,
    COLUMNS,
    README,
    ClientTable,
    Mark,
    cells_of,
    parse,
    promised_table,
    read_table,
    render,
    write_table,
)


def mark(*arguments: str, **options: str) -> Mark:
    return Mark.read(getattr(pytest.mark.client(*arguments, **options), "mark"))  # noqa: B009


def test_the_readme_has_the_table_that_the_marks_promise() -> None:
    """To write it: sh tests/run.sh --client-table tests/clients tests/conformance"""
    assert read_table(README.read_text()) == promised_table()


def test_a_cell_without_a_test_has_a_reason() -> None:
    table = read_table(README.read_text())
    cells = [cell.strip() for line in table.splitlines() for cell in line.split("|")[1:-1]]

    assert cells.count("") == 0, "a test fills it, or ABSENT says why there is none"


def test_nothing_is_said_to_be_absent_that_is_shown() -> None:
    shown = read_table(README.read_text())

    for client, columns in ABSENT.items():
        (row,) = [line for line in shown.splitlines() if line.startswith(f"| {client} |")]
        cells = dict(zip(COLUMNS, [cell.strip() for cell in row.split("|")[2:-1]], strict=True))
        for column in " ".join(columns).split():
            assert cells[column] == "-", f"{client} {column}"


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (("Finder",), {}),
        (("Finder", "fly"), {}),
        (("Finder", "mount"), {"how": "imagined"}),
    ],
    ids=["no column", "unknown column", "unknown how"],
)
def test_a_mark_that_fills_no_cell_is_refused(
    arguments: tuple[str, ...], options: dict[str, str]
) -> None:
    with pytest.raises(pytest.UsageError, match="fills no cell"):
        mark(*arguments, **options)


def test_the_real_program_counts_before_the_recording() -> None:
    recorded, real = mark("x", "list", "read", how="recorded"), mark("x", "list")

    expected = {("x", "list"): "real", ("x", "read"): "recorded"}
    assert expected == cells_of([recorded, real]) == cells_of([real, recorded])


class Table(ClientTable):
    """The plugin, fed by hand."""

    def __init__(self, **marks: list[Mark]) -> None:
        super().__init__(SimpleNamespace(option=SimpleNamespace(client_table=False)))  # type: ignore[arg-type]
        self._marks = marks

    def report(self, node: str, when: str, outcome: str) -> None:
        failed, passed = outcome == "failed", outcome == "passed"
        report: Any = SimpleNamespace(nodeid=node, when=when, failed=failed, passed=passed)
        self.pytest_runtest_logreport(report)


def test_a_cell_needs_a_test_that_ran_and_passed() -> None:
    table = Table(one=[mark("x", "list")], two=[mark("x", "read")], three=[mark("x", "lock")])
    table.report("one", "setup", "passed")
    table.report("one", "call", "passed")
    table.report("two", "setup", "passed")
    table.report("two", "call", "skipped")

    assert table.cells == {("x", "list"): "real"}


@pytest.mark.parametrize("when", ["call", "teardown"])
def test_a_failure_empties_the_cell_whatever_else_passed(when: str) -> None:
    table = Table(one=[mark("x", "list", "read")], two=[mark("x", "list", how="recorded")])
    table.report("one", "call", "passed")
    table.report("two", "call", "passed")
    table.report("two", when, "failed")

    assert table.cells == {("x", "read"): "real"}


def test_table_has_rows_in_order_and_says_what_is_absent() -> None:
    cells = {("b", "list"): "real", ("A", "read"): "recorded"}

    lines = render(cells, {"b": {"write rename": "b only reads"}}).splitlines()

    assert lines[2] == "| A |  |  | recorded |  |  |  |  |  |  |  |"
    assert lines[3] == "| b |  | real |  | - | - |  |  |  |  |  |"
    assert lines[5] == "`-`: it has no such thing. b: b only reads."


def test_what_is_written_can_be_read() -> None:
    cells = {("b", "list"): "real", ("A", "read"): "recorded"}

    assert cells == parse(render(cells, {"b": {"write": "b only reads"}}))


def test_a_run_of_a_part_keeps_what_else_the_marks_still_promise() -> None:
    table = Table(one=[mark("x", "list", "read", how="recorded")], two=[mark("x", "lock")])
    table.report("one", "call", "passed")
    promised = cells_of([mark("x", "list", "read", how="recorded"), mark("x", "lock", "times")])
    before = cells_of([mark("x", "lock", "times", "large")])

    expected = {("x", "list"): "recorded", ("x", "read"): "recorded", ("x", "times"): "real"}
    assert expected == table.merge(promised, before)


def test_table_is_replaced_between_its_markers_alone() -> None:
    readme = "before\n<!-- clients -->\nold\n<!-- /clients -->\nafter\n"
    expected = "before\n<!-- clients -->\nnew\n<!-- /clients -->\nafter\n"

    assert expected == write_table(readme, "new\n")
