"""The page is for everybody: axe-core (WCAG 2.2 A and AA) finds nothing in the main views."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import lack
from tests.page.driving import Files

Open = Callable[..., Files]
AXE = Path(__file__).resolve().parents[2] / ".clients/npm/node_modules/axe-core/axe.min.js"
RUN = """async () => {
    const found = await axe.run(document, {
        runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]});
    return found.violations.map((one) => [one.id, one.nodes.map((node) => node.html).slice(0, 3)]);
}"""


@pytest.fixture
def audit() -> Callable[[Files], list[Any]]:
    """Returns a function that gives the violations in what a window shows."""
    if not AXE.is_file():
        lack(f"axe-core is not at {AXE} (sh tests/run.sh installs it)")

    def run(files: Files) -> list[Any]:
        files.page.evaluate(AXE.read_text("utf-8"))  # by the debugger: the policy does not hold it
        return list(files.page.evaluate(RUN))

    return run


@pytest.fixture
def folder(folder: Path) -> Path:
    (folder / "sub").mkdir()
    (folder / "a.txt").write_text("text")
    (folder / "read.md").write_text("# Title\n\n[link](a.txt)\n\n| a | b |\n|--|--|\n| 1 | 2 |")
    return folder


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_main_views_have_no_violation(
    open_files: Open, folder: Path, audit: Callable[[Files], list[Any]], scheme: str
) -> None:
    files = open_files(folder, color_scheme=scheme)
    found = {"the table": audit(files)}

    files.select("a.txt", "sub")
    found["a selection"] = audit(files)
    files.button("Delete").click()
    found["a question"] = audit(files)
    files.press("Escape")
    files.button("Move to…").click()
    files.dialog.get_by_role("button", name="Move here").wait_for()
    found["folders to choose"] = audit(files)
    files.press("Escape")
    files.button("Clear selection").click()
    files.row("a.txt").click(button="right")
    found["a menu"] = audit(files)
    files.press("Escape")
    files.choose_from_menu("a.txt", "Properties")
    files.dialog.get_by_text("getetag").wait_for()
    found["properties"] = audit(files)
    files.press("Escape")
    files.button("Connect").click()
    files.dialog.get_by_role("img").wait_for()
    found["addresses"] = audit(files)
    files.press("Escape")
    files.row("read.md").get_by_role("link").click()
    files.page.locator("article").wait_for()
    found["Markdown"] = audit(files)
    files.press("Escape")
    files.button("Clear selection").click()
    files.upload([{"name": "up.txt", "mimeType": "text/plain", "buffer": b"x"}])
    files.await_uploaded()
    found["uploads"] = audit(files)

    assert {view: said for view, said in found.items() if said} == {}


def test_a_phone_has_no_violation(
    open_files: Open, folder: Path, audit: Callable[[Files], list[Any]]
) -> None:
    phone = {"width": 360, "height": 640}
    files = open_files(folder, viewport=phone, has_touch=True, is_mobile=True)
    files.select("a.txt")

    assert audit(files) == []
