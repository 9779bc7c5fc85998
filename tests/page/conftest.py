"""One browser a module; for each test a context of its own, and a folder to work in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.page.driving import Files
from tests.support.server import Server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.clients)
            item.add_marker(pytest.mark.timeout(60))


@pytest.fixture(scope="module")
def browser(client: Callable[[str], str], library: Callable[[str], Any]) -> Iterator[Any]:
    """Debian's Chromium: Playwright brings none of its own. Not for the session: as long as it
    lives there is a running event loop, where other tests have their own."""
    program = client("chromium")
    with library("playwright.sync_api").sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield running
        running.close()


@pytest.fixture
def folder(server: Server, request: pytest.FixtureRequest) -> Path:
    """A new folder below the served one, for this test alone."""
    name = re.sub(r"\W+", "-", request.node.name)[:100]
    path = server.root / name
    path.mkdir()
    return path


@pytest.fixture
def open_files(browser: Any, server: Server) -> Iterator[Callable[..., Files]]:
    """Returns a function that opens a folder of the server in a new window, at another address of
    the server where one is given; further arguments are those of Playwright's `new_context`. At the
    end it fails for what the page complained of."""
    opened: list[Files] = []

    def open_(folder: Path, *, wait: bool = True, base: str = "", **options: Any) -> Files:
        context = browser.new_context(**{"locale": "en-GB", "viewport": SIZE} | options)
        context.set_default_timeout(10_000)
        files = Files(context.new_page(), server, base or server.url)
        opened.append(files)
        files.go(folder, wait=wait)
        return files

    yield open_
    complaints = [line for files in opened for line in files.complaints]
    for files in opened:
        files.page.context.close()
    assert complaints == []


SIZE = {"width": 1100, "height": 680}


@pytest.fixture
def files(open_files: Callable[..., Files], folder: Path) -> Files:
    """The test's folder, opened in a window."""
    return open_files(folder)
