"""Requirements against tests: which requirement has no test, and which test names none.

    python tests/support/requirements.py [rfc|security]

There are two lists: tests/requirements.toml, what the RFCs ask, and tests/security.toml, what
attacks and faults must not achieve. A test shows an entry by `@pytest.mark.rfc("PF-03")` or
`@pytest.mark.security("P-08")` (or `rfc("PF-03", "PF-06")`, `pytestmark`, or `marks=` of a
parameter). Nothing is run: the marks are read from the source.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parent.parent
LISTS = {"rfc": "requirements.toml", "security": "security.toml"}
"""The file of each list, by the name of its mark."""


@dataclass(frozen=True)
class Report:
    """The comparison.

    Attributes:
        titles: every requirement, by its ID.
        further: IDs that may be shown, and need not.
        reasons: why some need no test of ours.
        shown: ID to the places that show it, as `file:line`.
    """

    titles: dict[str, str]
    further: dict[str, str]
    reasons: dict[str, str]
    shown: dict[str, list[str]]

    @property
    def missing(self) -> list[str]:
        return [i for i in self.titles if i not in self.shown and i not in self.reasons]

    @property
    def unknown(self) -> dict[str, list[str]]:
        known = self.titles | self.further
        return {i: places for i, places in self.shown.items() if i not in known}

    @property
    def idle_reasons(self) -> list[str]:
        """Reasons that are not needed, or for what is no requirement."""
        return [i for i in self.reasons if i in self.shown or i not in self.titles]


def read_report(tests: Path = TESTS, mark: str = "rfc") -> Report:
    """Reads the list of a mark, and the marks of every test below `tests`."""
    document = tomllib.loads((tests / LISTS[mark]).read_text(encoding="utf-8"))
    titles = {
        identifier: title
        for section in document["requirements"].values()
        for identifier, title in section.items()
    }
    shown: dict[str, list[str]] = {}
    for path in sorted(tests.rglob("test_*.py")):
        for identifier, line in read_marks(path.read_text(encoding="utf-8"), mark):
            shown.setdefault(identifier, []).append(f"{path.relative_to(tests.parent)}:{line}")
    return Report(titles, document.get("further", {}), document.get("reasons", {}), shown)


def read_marks(source: str, mark: str = "rfc") -> Iterator[tuple[str, int]]:
    """Yields each (ID, line) of that mark in a test module."""
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and _is_mark(node.func, mark)):
            continue
        for argument in node.args:
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield argument.value, node.lineno


def _is_mark(function: ast.expr, mark: str) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr == mark
        and isinstance(function.value, ast.Attribute)
        and function.value.attr == "mark"
    )


def main(mark: str = "rfc") -> int:
    """Prints the IDs that no test shows: first the unexplained, then the others with reasons."""
    report = read_report(mark=mark)
    print(f"{len(report.titles)} requirements, {len(report.shown)} shown by tests")
    if report.missing:
        print(f"\nwithout a test and without a reason: {len(report.missing)}")
        for identifier in report.missing:
            print(f"  {identifier}  {report.titles[identifier]}")
    if report.reasons:
        print(f"\nwithout a test, for a reason: {len(report.reasons)}")
        for identifier, reason in report.reasons.items():
            print(f"  {identifier}  {report.titles.get(identifier, '?')}: {reason}")
    for identifier, places in report.unknown.items():
        print(f"\nunknown: {identifier} in {', '.join(places)}")
    return 1 if report.missing or report.unknown else 0


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] not in LISTS:
        sys.exit(f"usage: {sys.argv[0]} [{'|'.join(LISTS)}]")
    sys.exit(main(*sys.argv[1:2]))
