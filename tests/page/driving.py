"""What a user sees of the page and does with it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tests.support.server import Server

COMPLAINTS_OF_STATUS = "Failed to load resource"
"""How Chromium tells of any answer that is no success: the page expects some of them."""


class Files:
    """One window that shows a folder.

    Attributes:
        page: Playwright's.
        complaints: errors of scripts, and what the policy refused.
    """

    def __init__(self, page: Any, server: Server, base: str) -> None:
        self.page = page
        self.server = server
        self._base = base
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(f"{error}\n{error.stack}"))
        page.on("console", self._hear)

    def _hear(self, message: Any) -> None:
        if message.type in ("error", "warning") and COMPLAINTS_OF_STATUS not in message.text:
            self.complaints.append(message.text)

    def url(self, folder: Path) -> str:
        below = folder.relative_to(self.server.root).as_posix()
        return self._base + ("" if below == "." else quote(below) + "/")

    def go(self, folder: Path, *, wait: bool = True) -> None:
        self.page.goto(self.url(folder))
        if wait:
            self.await_listed()

    def reload(self) -> None:
        self.page.reload()
        self.await_listed()

    def await_listed(self) -> None:
        """Returns when the folder is shown whole, and what one may do in it is known."""
        self.page.locator(".grid[aria-busy=false]").wait_for()

    @property
    def grid(self) -> Any:
        return self.page.get_by_role("grid")

    @property
    def status(self) -> str:
        return str(self.page.locator(".status").text_content())

    def names(self) -> list[str]:
        """The names of the rows that are drawn, in their order on the screen."""
        return list(
            self.page.evaluate(
                "() => [...document.querySelectorAll('.body .row')]"
                ".sort((a, b) => a.dataset.index - b.dataset.index)"
                ".map((row) => row.querySelector('a').textContent)"
            )
        )

    def await_names(self, *names: str) -> None:
        """Returns when these rows, and no others, are shown in this order."""
        self.page.wait_for_function(
            "(names) => JSON.stringify([...document.querySelectorAll('.body .row')]"
            ".sort((a, b) => a.dataset.index - b.dataset.index)"
            ".map((row) => row.querySelector('a').textContent)) === JSON.stringify(names)",
            arg=list(names),
        )

    def row(self, name: str) -> Any:
        link = self.page.get_by_role("link", name=name, exact=True)
        return self.page.locator(".body .row").filter(has=link)

    def selected(self) -> list[str]:
        rows = self.page.locator(".body .row[aria-selected=true] a")
        return sorted(rows.all_text_contents())

    def cursor(self) -> str:
        """The name that the keyboard is at."""
        return str(self.page.locator(".row.cursor a").text_content())

    def select(self, *names: str) -> None:
        for name in names:
            self.row(name).get_by_role("checkbox").check()

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def button(self, name: str) -> Any:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def dialog(self) -> Any:
        return self.page.get_by_role("dialog")

    @property
    def toast(self) -> Any:
        return self.page.locator(".toast")

    def choose_from_menu(self, row: str, item: str) -> None:
        self.row(row).click(button="right")
        self.page.get_by_role("menuitem", name=item, exact=True).click()

    def upload(
        self, files: Sequence[Path | dict[str, Any]] | Path, *, is_folder: bool = False
    ) -> None:
        """Uploads by the button."""
        self.button("Upload").click()
        with self.page.expect_file_chooser() as chooser:
            item = "Folder…" if is_folder else "Files…"
            self.page.get_by_role("menuitem", name=item, exact=True).click()
        chooser.value.set_files(files)

    def await_uploaded(self) -> None:
        self.page.locator(".uploads h2").get_by_text("Uploaded").wait_for()


def put_rename_delete(files: Files, folder: Path) -> None:
    """Does a bit of everything that names the server in header fields."""
    files.upload([{"name": "a & b.txt", "mimeType": "text/plain", "buffer": b"x"}])
    files.await_uploaded()
    files.await_names("a & b.txt")
    files.button("New folder").click()
    files.page.keyboard.type("in 100%")
    files.press("Enter")
    files.await_names("in 100%", "a & b.txt")
    files.row("a & b.txt").locator(".time").click()
    files.press("F2")
    files.page.keyboard.type("c")
    files.press("Enter")
    files.await_names("in 100%", "c.txt")
    files.press("Control+x", "Home", "Enter")
    files.await_names()
    files.press("Control+v")
    files.await_names("c.txt")
    assert (folder / "in 100%" / "c.txt").read_bytes() == b"x"
    files.press("Backspace")
    files.await_names("in 100%")
    files.press("Delete")
    files.dialog.get_by_role("button", name="Delete").click()
    files.await_names()
    assert list(folder.iterdir()) == []
