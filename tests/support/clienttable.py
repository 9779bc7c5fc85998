"""The README's table of clients: what each was seen to do, by the tests that carry its mark.

    python -m tests.support.clienttable            prints the table that the marks promise
    sh tests/run.sh --long --client-table tests/clients tests/conformance
                                                   runs them and writes the table into README.md
                                                   (of a part: what else it has, stays)

A test fills cells by `@pytest.mark.client("Finder", "mount", "list", how="recorded")`, a recorded
conversation by its line `client:`. A cell is written when a test of it ran and passed and none
failed; a test compares the README with the marks, so that a removed, skipped or failed one shows.
"""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PLACES = ("tests/clients", "tests/conformance")
"""Where tests of clients stand, relative to the repository."""

COLUMNS = (
    *("mount", "list", "read", "write", "rename", "delete", "lock", "times", "names", "large"),
)
HOW = ("real", "recorded")
"""The program itself ran, or its requests were replayed. The first of both counts."""

BEGIN, END = "<!-- clients -->\n", "<!-- /clients -->\n"

ABSENT: Mapping[str, Mapping[str, str]] = {
    "aiowebdav2 (Python)": {"mount": "a library"},
    "curl": {"mount": "one request at a time"},
    "DAVx5": {"lock times": "takes no locks and sets no times"},
    "Finder": {"times": "sets none"},
    "gvfs (GNOME Files)": {"lock": "takes no locks"},
    "Infuse (iOS)": {"write rename delete lock times": "only plays"},
    "iOS file providers": {"lock times": "take no locks and set no times"},
    "Joplin": {"mount lock times names": "keeps files of its own, under names of digits"},
    "KDE (KIO)": {"lock times": "takes no locks and sets no times"},
    "KeePass": {"mount list lock times large": "opens one small file by its URL"},
    "Keepass2Android": {"mount lock times large": "opens one small file by its URL"},
    "Kodi": {"write rename delete lock times": "only plays"},
    "Material Files": {"lock times": "takes no locks and sets no times"},
    "Microsoft Office": {"times": "sets none"},
    "Obsidian Remotely Save": {"times": "sets none"},
    "OmniFocus": {"mount times": "keeps files of its own"},
    "rclone": {"lock": "takes no locks"},
    "restic (through rclone)": {"mount rename lock times names large": "keeps packs of its own"},
    "Seedvault": {"mount rename lock times names": "keeps files of its own, under names of digits"},
    "sitecopy": {"mount lock times": "takes no locks and sets no times"},
    "VLC, mpv": {"mount list write rename delete lock times names": "play a URL"},
    "webdav (npm)": {"mount": "a library"},
    "webdav4 (Python)": {"mount": "a library", "lock": "takes no locks"},
    "webdavclient3 (Python)": {"mount": "a library"},
    "Zotero": {"rename lock times names": "keeps files of its own, under names of letters"},
}
"""By client: columns (with blanks between them) that it has nothing for, and why."""

Cells = dict[tuple[str, str], str]
"""How each (client, column) was shown."""


@dataclass(frozen=True)
class Mark:
    """What one mark says."""

    client: str
    columns: tuple[str, ...]
    how: str

    @classmethod
    def read(cls, mark: pytest.Mark) -> Mark:
        """Raises pytest.UsageError for a mark that fills no cell."""
        client, *columns = mark.args
        how = mark.kwargs.get("how", "real")
        if how not in HOW or not columns or not set(columns) <= set(COLUMNS):
            raise pytest.UsageError(f"client mark {mark.args} {mark.kwargs} fills no cell")
        return cls(client, tuple(columns), how)


def marks_of(item: pytest.Item) -> list[Mark]:
    return [Mark.read(mark) for mark in item.iter_markers("client")]


def cells_of(marks: Iterable[Mark]) -> Cells:
    cells: Cells = {}
    for mark in marks:
        for column in mark.columns:
            known = cells.get((mark.client, column), HOW[-1])
            cells[mark.client, column] = min(known, mark.how, key=HOW.index)
    return cells


def render(cells: Cells, absent: Mapping[str, Mapping[str, str]] = ABSENT) -> str:
    """Returns the table as it stands in the README, with its footnote."""
    rows = [("client", *COLUMNS), ("---",) * (len(COLUMNS) + 1)]
    for client in sorted({client for client, _ in cells}, key=str.casefold):
        nothing = {column for columns in absent.get(client, {}) for column in columns.split()}
        filled = [cells.get((client, column)) for column in COLUMNS]
        gaps = ["-" if column in nothing else "" for column in COLUMNS]
        rows.append((client, *(how or gap for how, gap in zip(filled, gaps, strict=True))))
    notes = [
        f"{client}: {'; '.join(absent[client].values())}."
        for client in sorted(absent, key=str.casefold)
        if any(client == shown for shown, _ in cells)
    ]
    table = "".join(f"| {' | '.join(row)} |\n" for row in rows)
    return table + ("\n`-`: it has no such thing. " + " ".join(notes) + "\n" if notes else "")


def parse(table: str) -> Cells:
    """Returns what `render` wrote."""
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    return {
        (row[0], column): how
        for row in rows
        if len(row) == len(COLUMNS) + 1
        for column, how in zip(COLUMNS, row[1:], strict=True)
        if how in HOW
    }


def read_table(readme: str) -> str:
    """Returns what stands between the markers of the README."""
    return readme.split(BEGIN, 1)[1].split(END, 1)[0]


def write_table(readme: str, table: str) -> str:
    head, rest = readme.split(BEGIN, 1)
    return head + BEGIN + table + END + rest.split(END, 1)[1]


class ClientTable:
    """The plugin: notes what becomes of each test with a mark, and writes the table when asked."""

    def __init__(self, config: pytest.Config) -> None:
        self._writes = config.option.client_table
        if self._writes and hasattr(config, "workerinput"):
            raise pytest.UsageError("--client-table sees all tests of a run: -n 0")
        self._marks: dict[str, list[Mark]] = {}
        self._passed: set[str] = set()
        self._failed: set[str] = set()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        for item in session.items:
            marks = marks_of(item)
            if marks and not str(item.path.relative_to(ROOT)).startswith(PLACES):
                raise pytest.UsageError(f"{item.nodeid}: client marks stand in {PLACES}")
            self._marks[item.nodeid] = marks

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self._passed.add(report.nodeid)

    @property
    def cells(self) -> Cells:
        """Of what passed, less what anything that failed would have filled."""
        failed = cells_of(mark for node in self._failed for mark in self._marks.get(node, []))
        passed = cells_of(
            mark for node in self._passed - self._failed for mark in self._marks.get(node, [])
        )
        return {cell: how for cell, how in passed.items() if cell not in failed}

    def merge(self, promised: Cells, before: Cells) -> Cells:
        """Returns what the table is to have: of what the marks promise, what passed in this run,
        and what had passed before and was not in this run."""
        here = cells_of(mark for marks in self._marks.values() for mark in marks)
        passed = self.cells
        return {
            cell: how
            for cell, how in promised.items()
            if how == (passed if here.get(cell) == how else before).get(cell)
        }

    def pytest_sessionfinish(self) -> None:
        if self._writes:
            readme = README.read_text()
            cells = self.merge(parse(promised_table()), parse(read_table(readme)))
            README.write_text(write_table(readme, render(cells)))


def promised_table() -> str:
    """Returns the table that the marks promise, whatever runs here."""
    command = [sys.executable, "-m", "tests.support.clienttable"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


class _Collected:
    """Takes the marks of a run that only collects."""

    def __init__(self) -> None:
        self.marks: list[Mark] = []

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.marks = [mark for item in session.items for mark in marks_of(item)]


def main() -> int:
    """Prints the table that the marks promise."""
    collected = _Collected()
    places = [str(ROOT / place) for place in PLACES]
    with contextlib.redirect_stdout(io.StringIO()) as said:
        status = pytest.main(
            ["--collect-only", "--long", "-qq", f"--rootdir={ROOT}", *places], plugins=[collected]
        )
    print(said.getvalue() if status else render(cells_of(collected.marks)), end="")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
