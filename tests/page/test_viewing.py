"""The page shows single files, edits text, and tells what the server knows of a resource."""

from __future__ import annotations

import io
import struct
import wave
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.page.driving import Files
from tests.support.http import Connection
from tests.support.processes import await_true

Open = Callable[..., Files]
PDF = b"%PDF-1.4\n1 0 obj<</Type/Catalog/Pages 2 0 R>>endobj\n2 0 obj<</Type/Pages/Kids[]/Count 0>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n"  # noqa: E501


def png(width: int, height: int) -> bytes:
    """Returns an image in one colour."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checked = kind + data
        return struct.pack(">I", len(data)) + checked + struct.pack(">I", zlib.crc32(checked))

    rows = (b"\0" + b"\x20\x60\xc0" * width) * height
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def wav(seconds: int) -> bytes:
    """Returns silence."""
    out = io.BytesIO()
    with wave.open(out, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(1)
        sound.setframerate(8000)
        sound.writeframes(b"\x80" * 8000 * seconds)
    return out.getvalue()


@pytest.fixture
def folder(folder: Path) -> Path:
    (folder / "image.png").write_bytes(png(64, 48))
    (folder / "note.txt").write_bytes("tëxt\r\nsecond <b>line</b>\r\n".encode())
    (folder / "paper.pdf").write_bytes(PDF)
    (folder / "read.md").write_text("# Title\n\nSome *words* and `code`.\n\n- one\n- two\n")
    (folder / "sound.wav").write_bytes(wav(60))
    (folder / "unknown.xyz").write_bytes(b"\0")
    return folder


def open_file(files: Files, name: str) -> Any:
    files.row(name).get_by_role("link").click()
    viewer = files.page.locator("dialog.viewer")
    viewer.get_by_role("heading", name=name).first.wait_for()
    return viewer


def test_images_have_thumbnails_that_load_when_they_are_in_sight(files: Files) -> None:
    picture = files.row("image.png").locator("img")
    picture.wait_for()

    assert picture.evaluate("image => image.naturalWidth") == 64


def test_an_image_is_shown_and_arrows_lead_to_the_next_file(files: Files) -> None:
    viewer = open_file(files, "image.png")
    viewer.get_by_role("img", name="image.png").wait_for()
    address = files.page.url
    files.press("ArrowRight")
    viewer.get_by_role("heading", name="note.txt").wait_for()
    files.press("ArrowLeft", "ArrowLeft")
    viewer.get_by_role("heading", name="unknown.xyz").wait_for()
    viewer.get_by_text("There is no preview").wait_for()
    files.press("Escape")
    viewer.wait_for(state="detached")

    assert address.endswith("#view=image.png")
    assert "#" not in files.page.url
    assert files.cursor() == "unknown.xyz"


def test_a_file_has_an_address_and_back_closes_it(
    files: Files, open_files: Open, folder: Path
) -> None:
    viewer = open_file(files, "note.txt")
    address = files.page.url
    files.page.go_back()
    viewer.wait_for(state="detached")
    other = open_files(folder)
    other.page.goto("about:blank")
    other.page.goto(address)

    assert files.names()[0] == "image.png"
    other.page.get_by_text("second <b>line</b>").wait_for()
    other.press("Escape")
    other.page.locator("dialog").wait_for(state="detached")
    assert other.page.url == files.url(folder)


def test_a_pdf_is_shown_by_the_browsers_own_reader(files: Files) -> None:
    viewer = open_file(files, "paper.pdf")
    frame = viewer.locator("iframe")

    assert frame.get_attribute("src").endswith("/paper.pdf")


def test_sound_plays_from_any_place(files: Files, folder: Path) -> None:
    viewer = open_file(files, "sound.wav")
    player = viewer.locator("audio")
    seek = """async (audio) => {
        await new Promise((done) => audio.readyState ? done() : audio.onloadedmetadata = done);
        audio.currentTime = 50;
        await new Promise((done) => audio.onseeked = done);
        return [Math.round(audio.duration), audio.currentTime];
    }"""

    assert player.evaluate(seek) == [60, 50]


def test_markdown_is_set(files: Files) -> None:
    paper = open_file(files, "read.md").locator("article")
    paper.locator("ul").wait_for()  # the last of it

    assert paper.get_by_role("heading", name="Title").count() == 1
    assert paper.locator("em").text_content() == "words"
    assert paper.locator("code").text_content() == "code"
    assert paper.locator("ul > li").all_text_contents() == ["one", "two"]


def test_text_is_edited_under_a_lock_and_keeps_its_line_ends(
    files: Files, folder: Path, http: Connection
) -> None:
    href = f"/{folder.name}/note.txt"
    viewer = open_file(files, "note.txt")
    viewer.get_by_role("button", name="Edit").click()
    field = viewer.get_by_role("textbox", name="note.txt")
    field.wait_for()
    locked = http.put(href, b"stolen").status
    field.fill("first\nlast\n")
    files.press("Control+s")
    viewer.get_by_text("Saved").wait_for()
    saved = (folder / "note.txt").read_bytes()
    files.press("Escape")
    viewer.wait_for(state="detached")

    assert (locked, saved) == (423, b"first\r\nlast\r\n")
    assert await_true(lambda: http.put(href, b"free again").status == 204)


def test_a_window_that_is_closed_gives_its_lock_back(
    files: Files, folder: Path, http: Connection
) -> None:
    href = f"/{folder.name}/note.txt"
    viewer = open_file(files, "note.txt")
    viewer.get_by_role("button", name="Edit").click()
    viewer.get_by_role("textbox").wait_for()
    locked = http.put(href, b"stolen").status
    files.page.goto("about:blank")

    assert locked == 423
    assert await_true(lambda: http.put(href, b"free again").status == 204)


def test_what_somebody_else_has_locked_is_not_edited(
    files: Files, folder: Path, http: Connection
) -> None:
    http.lock(f"/{folder.name}/note.txt")
    viewer = open_file(files, "note.txt")
    viewer.get_by_role("button", name="Edit").click()

    viewer.get_by_text("It is locked.").wait_for()
    assert viewer.get_by_role("textbox").count() == 0


def test_what_changed_behind_the_lock_is_not_overwritten(files: Files, folder: Path) -> None:
    viewer = open_file(files, "note.txt")
    viewer.get_by_role("button", name="Edit").click()
    field = viewer.get_by_role("textbox")
    field.fill("mine")
    (folder / "note.txt").write_text("by another program")
    viewer.get_by_role("button", name="Save").click()

    viewer.get_by_text("changed by somebody else").wait_for()
    assert (folder / "note.txt").read_text() == "by another program"
    assert field.input_value() == "mine"
    files.press("Escape")
    files.page.get_by_text("There are changes that are not saved").wait_for()
    files.page.get_by_role("button", name="Discard").click()
    viewer.wait_for(state="detached")


def test_properties_and_locks_are_told_and_ones_own_released(
    files: Files, folder: Path, http: Connection
) -> None:
    href = f"/{folder.name}/note.txt"
    http.proppatch(href, set={"{urn:x}colour": "blue & <green>"})
    lock = http.lock(href, owner="<D:owner><D:href>mailto:me@example.org</D:href></D:owner>")
    files.choose_from_menu("note.txt", "Properties")
    sheet = files.dialog
    sheet.get_by_text("blue & <green>").wait_for()

    assert sheet.get_by_text("urn:x").is_visible()
    assert sheet.get_by_text("mailto:me@example.org").is_visible()
    assert sheet.get_by_text("exclusive").is_visible()
    assert sheet.get_by_text("getetag").is_visible()
    assert lock.token
    sheet.get_by_role("button", name="Release").click()
    sheet.get_by_text("Not locked").wait_for()
    assert http.put(href, b"free").status == 204
