"""The page where there are users, shares and homes: what one may not do is not offered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.page.driving import Files, put_rename_delete
from tests.support.server import Server

Open = Callable[..., Files]
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Three shares, and alice."""
    place = tmp_path_factory.mktemp("shared")
    users = place / "users.toml"
    command = [sys.executable, "-m", "davserver", "user", "add", "alice", "--users", str(users)]
    subprocess.run(command, input=f"{PASSWORD}\n", text=True, check=True, timeout=20)
    rule = "[[rule]]\npath = '/docs/kept.md'\naccess = 'read'"
    shares = {"docs": rule, "fixed": "read_only = true", "home": "homes = true"}
    environment = {"DAVSERVER_USERS": str(users)}
    with Server(place, shares=shares, environment=environment) as running:
        yield running


def open_for_alice(open_files: Open, server: Server, folder: Path) -> Files:
    """By the browser's own prompt."""
    credentials = {"username": "alice", "password": PASSWORD}
    files = open_files(folder, wait=False, http_credentials=credentials)
    files.page.goto(f"{server.url}?basic")
    files.await_listed()
    files.go(folder)
    return files


def test_shares_and_homes_offer_what_one_may_do(open_files: Open, server: Server) -> None:
    files = open_for_alice(open_files, server, server.root)
    assert files.names() == ["docs", "fixed", "home"]
    files.page.get_by_text("Read-only").wait_for()
    assert files.page.locator(".user").text_content() == "alice"
    assert files.button("Upload").count() == 0

    files.row("fixed").get_by_role("link").click()
    files.await_names()
    files.page.get_by_text("Read-only").wait_for()
    files.press("Backspace")
    files.row("home").get_by_role("link").click()
    files.row("alice").get_by_role("link").click()
    files.button("Upload").wait_for()
    put_rename_delete(files, server.root / "home" / "alice")


def test_what_one_may_not_do_to_a_member_is_not_offered(open_files: Open, server: Server) -> None:
    docs = server.root / "docs"
    for name in ("kept.md", "mine.md"):
        (docs / name).write_text("text")
    files = open_for_alice(open_files, server, docs)
    files.select("kept.md")
    files.button("Delete").wait_for(state="detached")
    offered = files.page.locator(".bar .tools:not(.end) button").all_inner_texts()
    files.press("Delete", "F2")
    assert files.dialog.count() == 0
    files.row("kept.md").get_by_role("link").click()
    viewer = files.page.locator("dialog.viewer")
    viewer.locator("article").wait_for()
    viewer.get_by_role("button", name="Edit").wait_for(state="detached")
    files.press("ArrowRight")

    viewer.get_by_role("heading", name="mine.md").wait_for()
    viewer.get_by_role("button", name="Edit").wait_for()
    assert offered == ["", "Download", "Copy to…", "Properties"]
