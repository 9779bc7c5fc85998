"""How soon a browser shows a large folder: from the navigation to the first rows, and to the last.

    .venv/bin/python -m tests.bench.page

Chromium and server share the machine. "again" is with the page's files in the browser's cache.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import sync_playwright

from tests.support.server import Server

COUNTS = (1_000, 10_000, 100_000)
ROUNDS = 5
FIRST = "() => document.querySelector('.body .row') && performance.now()"
WHOLE = "() => document.querySelector('.grid')?.ariaBusy === 'false' && performance.now()"


def fill(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"picture {number}.txt").touch()


def visit(page: Any, url: str) -> tuple[float, float]:
    page.goto(url, wait_until="commit")
    first = page.wait_for_function(FIRST).json_value()
    whole = page.wait_for_function(WHOLE).json_value()
    return first, whole


def measure(browser: Any, url: str) -> None:
    cold, warm = [], []
    for _ in range(ROUNDS):
        context = browser.new_context()
        page = context.new_page()
        cold.append(visit(page, url))
        page.goto("about:blank")
        warm.append(visit(page, url))
        context.close()
    for name, found in (("first visit", cold), ("again", warm)):
        first, whole = (min(times) for times in zip(*found, strict=True))
        print(f"  {name:12} first rows {first:6.0f} ms   whole {whole:6.0f} ms")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path="/usr/bin/chromium", args=["--no-sandbox"]
            )
            for count in COUNTS:
                fill(server.root / str(count), count)
                print(f"{count} files")
                measure(browser, f"{server.url}{count}/")
            browser.close()


if __name__ == "__main__":
    main()
