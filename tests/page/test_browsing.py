"""The page shows folders: rows, order, filter, where one is, the keyboard."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.page.driving import Files
from tests.support.http import Connection

Open = Callable[..., Files]


@pytest.fixture
def folder(folder: Path) -> Path:
    """With two folders and three files."""
    (folder / "beta").mkdir()
    (folder / "Alpha").mkdir()
    (folder / "Alpha" / "inner.txt").write_text("inner")
    (folder / "file10.txt").write_bytes(b"x" * 10)
    (folder / "file9.txt").write_bytes(b"x" * 2000)
    (folder / "zebra.bin").write_bytes(b"x")
    return folder


def test_folders_come_first_and_names_are_sorted_as_people_do(files: Files) -> None:
    assert files.names() == ["Alpha", "beta", "file9.txt", "file10.txt", "zebra.bin"]
    assert files.status.startswith("5 items")


def test_a_click_on_a_column_sorts_by_it_and_another_turns_it_round(files: Files) -> None:
    files.button("Size").click()
    up = files.names()
    files.button("Size").click()

    assert up == ["Alpha", "beta", "zebra.bin", "file10.txt", "file9.txt"]
    files.await_names("beta", "Alpha", "file9.txt", "file10.txt", "zebra.bin")
    column = files.page.get_by_role("columnheader", name="Size")
    assert column.get_attribute("aria-sort") == "descending"


def test_the_filter_narrows_while_one_types_and_escape_ends_it(files: Files) -> None:
    files.press("/")
    files.page.keyboard.type("FILE1")
    files.await_names("file10.txt")
    told = files.status
    files.press("Escape")

    assert told == "1 of 5 matches · " + files.status.partition(" · ")[2]
    files.await_names("Alpha", "beta", "file9.txt", "file10.txt", "zebra.bin")


def test_folders_are_entered_and_left_and_back_returns_to_the_place(
    files: Files, folder: Path
) -> None:
    files.row("Alpha").get_by_role("link").click()
    files.await_names("inner.txt")
    entered = files.page.url
    files.page.go_back()
    files.await_names("Alpha", "beta", "file9.txt", "file10.txt", "zebra.bin")

    assert entered == files.url(folder / "Alpha")
    assert files.page.url == files.url(folder)
    assert files.cursor() == "Alpha"
    files.page.go_forward()
    files.await_names("inner.txt")


def test_breadcrumbs_lead_upward(open_files: Open, folder: Path) -> None:
    files = open_files(folder / "Alpha")

    assert files.names() == ["inner.txt"], "a deep link"
    path = files.page.get_by_role("navigation", name="Path")
    assert path.get_by_role("link").all_text_contents()[1:] == [folder.name, "Alpha"]
    path.get_by_role("link", name=folder.name).click()
    files.await_names("Alpha", "beta", "file9.txt", "file10.txt", "zebra.bin")
    assert files.cursor() == "Alpha"


def test_the_keyboard_does_everything(files: Files, folder: Path) -> None:
    assert files.page.evaluate("document.activeElement.id") == "files"

    files.press("ArrowDown", "ArrowDown")
    assert files.selected() == ["file9.txt"]
    files.press("Shift+ArrowDown", "Shift+ArrowDown")
    assert files.selected() == ["file10.txt", "file9.txt", "zebra.bin"]
    files.press("Control+ArrowUp", "Control+ArrowUp", "Control+ArrowUp", "Space")
    assert files.selected() == ["beta", "file10.txt", "file9.txt", "zebra.bin"]
    files.press("Control+a")
    assert len(files.selected()) == 5
    files.press("Escape")
    assert files.selected() == []
    files.page.keyboard.type("file1")
    assert files.cursor() == "file10.txt"
    files.press("Home", "Enter")
    files.await_names("inner.txt")
    files.press("Backspace")
    files.await_names("Alpha", "beta", "file9.txt", "file10.txt", "zebra.bin")
    assert files.cursor() == "Alpha"
    files.press("End")
    assert files.cursor() == "zebra.bin"


def test_the_mouse_selects_one_some_and_a_range(files: Files) -> None:
    def click(name: str, *modifiers: str) -> list[str]:
        files.row(name).locator(".time").click(modifiers=list(modifiers))
        return files.selected()

    assert click("beta") == ["beta"]
    assert click("file10.txt", "Shift") == ["beta", "file10.txt", "file9.txt"]
    assert click("file9.txt", "Control") == ["beta", "file10.txt"]
    assert click("Alpha") == ["Alpha"]


def test_ten_thousand_rows_are_few_elements_and_all_within_reach(
    open_files: Open, folder: Path
) -> None:
    many = folder / "many"
    many.mkdir()
    for number in range(10_000):
        (many / f"f{number}").touch()

    files = open_files(many)

    assert files.status.startswith("10,000 items")
    assert files.grid.get_attribute("aria-rowcount") == "10001"
    assert len(files.names()) < 60
    files.press("End")
    files.row("f9999").wait_for()
    assert files.cursor() == "f9999"
    files.page.evaluate("document.querySelector('.grid').scrollTop = 44 * 5000")
    files.row("f5005").wait_for()
    assert len(files.names()) < 60


def test_it_speaks_german_to_a_german_browser_and_can_be_told_otherwise(
    open_files: Open, folder: Path
) -> None:
    files = open_files(folder, locale="de-DE")
    files.page.get_by_role("button", name="Neuer Ordner").wait_for()
    assert files.status.startswith("5 Einträge")

    files.page.get_by_label("Sprache").select_option("en")
    files.button("New folder").wait_for()
    assert files.status.startswith("5 items")
    files.page.reload()
    files.button("New folder").wait_for()
    assert files.page.locator("html").get_attribute("lang") == "en"


def test_it_is_dark_where_the_system_is_and_can_be_told_otherwise(
    open_files: Open, folder: Path
) -> None:
    def ground(files: Files) -> str:
        script = "getComputedStyle(document.body).backgroundColor"
        return str(files.page.evaluate(script))

    files = open_files(folder, color_scheme="dark")
    dark = ground(files)
    files.button("Dark or light").click()
    light = ground(files)

    assert (dark, light) == ("rgb(18, 21, 26)", "rgb(245, 246, 248)")
    files.page.reload()
    assert ground(files) == light


def test_a_phone_has_it_all_in_one_column(open_files: Open, folder: Path) -> None:
    files = open_files(folder, viewport={"width": 360, "height": 640}, has_touch=True)

    width = files.page.evaluate("document.documentElement.scrollWidth")
    assert width == 360
    assert files.row("file9.txt").locator(".details").is_visible()
    assert not files.row("file9.txt").locator(".cell.size").is_visible()
    files.row("Alpha").get_by_role("link").tap()
    files.await_names("inner.txt")


def test_a_folder_that_is_gone_is_left(files: Files, folder: Path) -> None:
    (folder / "beta").rmdir()
    files.row("beta").get_by_role("link").click()

    files.page.locator(".toast").get_by_text("It is not there any more.").wait_for()
    files.await_names("Alpha", "file9.txt", "file10.txt", "zebra.bin")


def test_without_scripts_the_plain_listing_is_used(open_files: Open, folder: Path) -> None:
    files = open_files(folder, wait=False, java_script_enabled=False)
    files.page.wait_for_url("**/?plain")

    files.page.get_by_role("link", name="Alpha/").click()
    files.page.get_by_role("link", name="inner.txt").wait_for()
    files.page.get_by_role("link", name="../").click()
    assert files.page.get_by_role("link", name="file9.txt").is_visible()


@pytest.mark.parametrize("accept", [None, "*/*", "application/xml", "text/html;q=0", "text/*"])
def test_who_does_not_ask_for_html_gets_what_was_there_before(
    http: Connection, accept: str | None
) -> None:
    reply = http.get("/", {} if accept is None else {"Accept": accept})

    assert b"<table>" in reply.body
    assert b"<script" not in reply.body
