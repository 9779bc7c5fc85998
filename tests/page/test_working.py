"""The page changes folders: uploads, new folders, rename, move, copy, delete."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.page.driving import Files
from tests.page.wire import Wire
from tests.support.http import Connection
from tests.support.processes import await_true
from tests.support.server import Server

Open = Callable[..., Files]


def given(name: str, content: bytes = b"new") -> dict[str, Any]:
    return {"name": name, "mimeType": "application/octet-stream", "buffer": content}


def content(folder: Path) -> dict[str, bytes]:
    """Returns every file below, by its path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_files_are_uploaded_and_appear(files: Files, folder: Path) -> None:
    files.upload([given("a.txt", b"A"), given("ünï 100%#.txt", b"B"), given("empty", b"")])
    files.await_uploaded()

    files.await_names("a.txt", "empty", "ünï 100%#.txt")
    assert content(folder) == {"a.txt": b"A", "empty": b"", "ünï 100%#.txt": b"B"}


def test_a_whole_folder_is_uploaded_and_keeps_times(
    files: Files, folder: Path, tmp_path: Path
) -> None:
    tree = tmp_path / "tree"
    for name in ("one", "two/three"):
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
        os.utime(path, (10**9, 10**9))

    files.upload(tree, is_folder=True)
    files.await_uploaded()

    files.await_names("tree")
    assert content(folder) == {"tree/one": b"one", "tree/two/three": b"two/three"}
    assert int((folder / "tree" / "one").stat().st_mtime) == 10**9


DROP = """([name, content, selector]) => {
    const data = new DataTransfer();
    data.items.add(new File([content], name));
    const node = document.querySelector(selector);
    for (const type of ["dragenter", "dragover", "drop"])
        node.dispatchEvent(
            new DragEvent(type, {dataTransfer: data, bubbles: true, cancelable: true}));
}"""


def test_files_dropped_on_the_table_or_on_a_folder_are_uploaded_there(
    files: Files, folder: Path
) -> None:
    files.page.evaluate(DROP, ["here.txt", "1", ".grid"])
    files.await_names("here.txt")
    (folder / "sub").mkdir()
    files.reload()
    files.await_names("sub", "here.txt")
    files.page.evaluate(DROP, ["there.txt", "2", "#row-0"])
    files.await_uploaded()

    assert content(folder) == {"here.txt": b"1", "sub/there.txt": b"2"}


@pytest.mark.parametrize("server", [{"arguments": ["--read-only"]}], indirect=True)
@pytest.mark.parametrize(
    ("locale", "told"),
    [
        ("en-GB", "Nothing can be dropped here: you may not write to this folder."),
        ("de-DE", "Hier lässt sich nichts ablegen: In diesem Ordner dürfen Sie nicht schreiben."),
    ],
)
def test_where_one_may_not_write_a_file_that_is_dragged_there_is_refused_with_a_word(
    open_files: Open, folder: Path, tmp_path: Path, locale: str, told: str
) -> None:
    files = open_files(folder, locale=locale)
    drag(files, tmp_path / "new.txt")
    files.toast.get_by_text(told).wait_for()

    assert files.toast.count() == 1
    assert content(folder) == {}


def test_while_a_dialog_is_open_a_file_that_is_dragged_there_is_refused_with_a_word(
    files: Files, folder: Path, tmp_path: Path
) -> None:
    files.button("New folder").click()
    files.dialog.wait_for()
    drag(files, tmp_path / "new.txt")
    files.toast.get_by_text("Nothing can be dropped while this is open.").wait_for()
    refused = files.toast.count(), content(folder)
    files.press("Escape")
    files.dialog.wait_for(state="detached")
    drag(files, tmp_path / "new.txt")
    files.await_uploaded()

    assert refused == (1, {})
    assert content(folder) == {"new.txt": b"new"}


def test_what_is_told_while_a_file_is_viewed_is_before_it_and_stays_when_it_is_closed(
    files: Files, folder: Path, tmp_path: Path
) -> None:
    (folder / "a.txt").write_text("text")
    files.reload()
    files.page.get_by_role("link", name="a.txt").click()
    files.dialog.wait_for()
    drag(files, tmp_path / "new.txt")
    files.toast.wait_for()
    at_its_place = files.toast.evaluate(
        """(toast) => {
            const {x, y, width, height} = toast.getBoundingClientRect();
            return toast.contains(document.elementFromPoint(x + width / 2, y + height / 2));
        }"""
    )
    files.press("Escape")
    files.dialog.wait_for(state="detached")

    assert at_its_place
    assert files.toast.is_visible()


def drag(files: Files, path: Path) -> None:
    """Drags a file from outside over the table and lets it fall, as a hand does: what is refused
    comes to no drop."""
    path.write_bytes(b"new")
    box = files.page.locator(".grid").bounding_box()
    network = files.page.context.new_cdp_session(files.page)
    held = {"items": [], "files": [str(path)], "dragOperationsMask": 1}
    for kind, x in (("dragEnter", 50), ("dragOver", 50), ("dragOver", 60), ("drop", 60)):
        place = {"x": box["x"] + x, "y": box["y"] + 60}
        network.send("Input.dispatchDragEvent", {"type": kind, "data": held} | place)


@contextmanager
def reloaded_but_for_rights(files: Files, folder: Path) -> Iterator[None]:
    """What one may do in the folder is told when the block ends."""
    held: list[Any] = []
    about_the_folder = re.compile(f"/{folder.name}/$")
    files.page.route(
        about_the_folder,
        lambda route: (
            held.append(route) if route.request.headers.get("depth") == "0" else route.continue_()
        ),
    )
    files.page.reload()
    yield
    for route in held:
        route.continue_()
    files.page.unroute(about_the_folder)
    files.await_listed()


def test_what_is_dropped_before_the_folder_is_known_is_refused_with_a_word(
    files: Files, folder: Path, tmp_path: Path
) -> None:
    told = "This folder is still loading: drop it again in a moment."
    with reloaded_but_for_rights(files, folder):
        files.page.locator(".grid").wait_for()
        drag(files, tmp_path / "new.txt")
        files.toast.get_by_text(told).wait_for()

    assert content(folder) == {}


def test_a_folder_is_busy_until_it_is_known_what_one_may_do(files: Files, folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"a")
    with reloaded_but_for_rights(files, folder):
        files.await_names("a.txt")
        is_busy = files.grid.get_attribute("aria-busy")
    files.page.evaluate(DROP, ["b.txt", "b", ".grid"])
    files.await_uploaded()

    assert is_busy == "true"
    assert content(folder) == {"a.txt": b"a", "b.txt": b"b"}


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("Skip", {"a.txt": b"old", "b.txt": b"old"}),
        ("Replace", {"a.txt": b"new", "b.txt": b"new"}),
        (
            "Keep both",
            {"a.txt": b"old", "a (2).txt": b"new", "b.txt": b"old", "b (2).txt": b"new"},
        ),
    ],
)
def test_before_something_is_overwritten_one_is_asked(
    files: Files, folder: Path, choice: str, expected: dict[str, bytes]
) -> None:
    for name in ("a.txt", "b.txt"):
        (folder / name).write_bytes(b"old")

    files.upload([given("a.txt"), given("b.txt")])
    files.dialog.wait_for()
    before = content(folder)
    files.dialog.get_by_label("Do the same for all others").check()
    files.dialog.get_by_role("button", name=choice).click()
    files.await_uploaded()

    assert set(before.values()) == {b"old"}
    assert content(folder) == expected


def test_what_changed_while_one_thought_is_not_overwritten(files: Files, folder: Path) -> None:
    (folder / "a.txt").write_bytes(b"old")
    files.upload([given("a.txt")])
    files.dialog.wait_for()
    (folder / "a.txt").write_bytes(b"somebody else's")
    files.dialog.get_by_role("button", name="Replace").click()

    files.dialog.get_by_text("Here: 15 B").wait_for()
    assert content(folder) == {"a.txt": b"somebody else's"}
    files.dialog.get_by_role("button", name="Skip").click()
    files.await_uploaded()
    assert content(folder) == {"a.txt": b"somebody else's"}


def test_progress_is_shown_and_an_upload_can_be_cancelled_and_retried(
    files: Files, folder: Path
) -> None:
    network = files.page.context.new_cdp_session(files.page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 300_000}
    network.send("Network.emulateNetworkConditions", slow)
    files.upload([given("big.bin", bytes(900_000)), given("small.bin", b"1")])
    panel = files.page.get_by_role("region", name="Uploading")
    panel.get_by_text("/s · ").wait_for()
    panel.get_by_text("left").wait_for()
    row = panel.get_by_role("listitem").filter(has_text="big.bin")
    row.get_by_role("progressbar").wait_for()
    row.get_by_role("button", name="Cancel").click()

    files.await_uploaded()
    assert content(folder) == {"small.bin": b"1"}
    network.send("Network.emulateNetworkConditions", slow | {"uploadThroughput": -1})
    files.page.get_by_role("listitem").get_by_role("button", name="Retry").click()
    assert await_true(lambda: set(content(folder)) == {"big.bin", "small.bin"})


def test_an_upload_goes_on_after_the_connection_was_lost(files: Files, folder: Path) -> None:
    network = files.page.context
    network.set_offline(True)
    files.upload([given("a.txt", b"kept")])
    files.page.get_by_text("Connection lost").wait_for()
    network.set_offline(False)
    files.await_uploaded()

    assert content(folder) == {"a.txt": b"kept"}


LARGE = os.urandom(16_000_000)
SLOW = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 4_000_000}
FAST = SLOW | {"uploadThroughput": -1}


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file that is worth resuming."""
    path = tmp_path / "large.bin"
    path.write_bytes(LARGE)
    return path


def percent(row: Any) -> int:
    found = re.search(r"(\d+) %", row.text_content())
    return int(found[1]) if found else 0


def sent_bytes(files: Files) -> list[int]:
    """Returns a list to which the length of each PATCH is added."""
    lengths: list[int] = []

    def note(request: Any) -> None:
        if request.method == "PATCH":
            offset = int(request.headers["upload-offset"])
            lengths.append(len(LARGE) - offset)

    files.page.on("request", note)
    return lengths


def test_a_large_upload_is_paused_and_goes_on_where_it_was(
    files: Files, folder: Path, large: Path
) -> None:
    lengths = sent_bytes(files)
    network = files.page.context.new_cdp_session(files.page)
    network.send("Network.emulateNetworkConditions", SLOW)
    files.upload([large])
    row = files.page.locator(".uploads li")
    assert await_true(lambda: percent(row) > 25)
    row.get_by_role("button", name="Pause").click()
    row.get_by_text("Paused").wait_for()
    network.send("Network.emulateNetworkConditions", FAST)
    row.get_by_role("button", name="Resume").click()
    files.await_uploaded()

    assert content(folder) == {"large.bin": LARGE}
    assert len(lengths) == 2
    assert lengths[1] < 0.9 * len(LARGE), "what had come was not sent again"


def test_a_large_upload_goes_on_after_the_connection_was_cut_twice(
    open_files: Open, server: Server, folder: Path, large: Path
) -> None:
    with Wire(server.port) as wire:
        files = open_files(folder, base=f"http://127.0.0.1:{wire.port}/")
        lengths = sent_bytes(files)
        row = files.page.locator(".uploads li")
        wire.mend(limit=len(LARGE) // 3)
        files.upload([large])
        row.get_by_text("Connection lost").wait_for()
        wire.mend(limit=len(LARGE) // 3)
        assert await_true(lambda: wire.is_cut)
        row.get_by_text("Connection lost").wait_for()
        wire.mend()
        files.await_uploaded()

    assert content(folder) == {"large.bin": LARGE}
    assert len(lengths) >= 3
    assert lengths[-1] < 0.7 * len(LARGE)


def test_a_large_upload_goes_on_when_the_file_is_given_again_after_a_reload(
    files: Files, folder: Path, large: Path
) -> None:
    lengths = sent_bytes(files)
    network = files.page.context.new_cdp_session(files.page)
    network.send("Network.emulateNetworkConditions", SLOW)
    files.upload([large])
    row = files.page.locator(".uploads li")
    assert await_true(lambda: percent(row) > 25)
    files.page.on("dialog", lambda dialog: dialog.accept())
    files.reload()
    network.send("Network.emulateNetworkConditions", FAST)
    files.upload([large])
    files.await_uploaded()

    assert content(folder) == {"large.bin": LARGE}
    assert lengths[-1] < 0.9 * len(LARGE)


def test_a_large_upload_asks_before_it_overwrites_and_replaces_what_was_seen(
    files: Files, folder: Path, large: Path
) -> None:
    (folder / "large.bin").write_bytes(b"old")
    files.upload([large])
    files.dialog.get_by_text("Here: 3 B").wait_for()
    files.dialog.get_by_role("button", name="Replace").click()
    files.await_uploaded()

    assert content(folder) == {"large.bin": LARGE}


def test_a_new_folder_is_made_and_its_name_looked_at(files: Files, folder: Path) -> None:
    (folder / "taken").mkdir()
    files.reload()
    files.await_names("taken")
    files.button("New folder").click()
    name = files.dialog.get_by_label("Name of the new folder")
    for wrong, told in [("a/b", "cannot contain"), ("taken", "is taken"), ("..", "no names")]:
        name.fill(wrong)
        files.press("Enter")
        files.dialog.get_by_text(told).wait_for()
    name.fill("made")
    files.press("Enter")

    files.await_names("made", "taken")
    assert (folder / "made").is_dir()
    assert files.selected() == ["made"]


def test_one_is_renamed_and_never_over_another(files: Files, folder: Path) -> None:
    (folder / "old.txt").write_bytes(b"1")
    files.reload()
    files.await_names("old.txt")
    files.press("ArrowDown", "F2")
    (folder / "new.txt").write_bytes(b"2")
    files.page.keyboard.type("new")
    files.press("Enter")

    files.dialog.get_by_text("It is there already").wait_for()
    assert content(folder) == {"new.txt": b"2", "old.txt": b"1"}
    files.press("Escape")
    files.await_names("new.txt", "old.txt")
    files.row("old.txt").locator(".time").click()
    files.press("F2")
    files.page.keyboard.type("other")
    files.press("Enter")
    files.await_names("new.txt", "other.txt")


@pytest.fixture
def two(files: Files, folder: Path) -> Files:
    """The page with a folder `sub` and files a, b."""
    (folder / "sub").mkdir()
    for name in "ab":
        (folder / name).write_text(name)
    files.reload()
    files.await_names("sub", "a", "b")
    return files


def test_several_are_moved_by_the_dialog(two: Files, folder: Path) -> None:
    two.select("a", "b")
    two.button("Move to…").click()
    two.dialog.get_by_role("button", name="sub").click()
    two.dialog.get_by_role("button", name="Move here").click()

    two.await_names("sub")
    assert content(folder) == {"sub/a": b"a", "sub/b": b"b"}


def test_they_are_copied_and_pasted_by_the_keyboard(two: Files, folder: Path) -> None:
    two.select("a", "b")
    two.grid.focus()
    two.press("Control+c", "Home", "Enter")
    two.await_names()
    two.press("Control+v")

    two.await_names("a", "b")
    assert content(folder) == {"a": b"a", "b": b"b", "sub/a": b"a", "sub/b": b"b"}


def test_a_copy_beside_the_original_has_a_name_of_its_own(two: Files, folder: Path) -> None:
    two.select("a")
    two.grid.focus()
    two.press("Control+c", "Control+v")

    two.await_names("sub", "a", "a (2)", "b")
    assert content(folder) == {"a": b"a", "a (2)": b"a", "b": b"b"}


def test_they_are_dragged_into_a_folder(two: Files, folder: Path) -> None:
    two.select("a", "b")
    two.row("a").drag_to(two.row("sub"))

    two.await_names("sub")
    assert content(folder) == {"sub/a": b"a", "sub/b": b"b"}


def test_a_move_onto_another_of_the_name_asks(two: Files, folder: Path) -> None:
    (folder / "sub" / "a").write_text("other")
    two.select("a")
    two.button("Move to…").click()
    two.dialog.get_by_role("button", name="sub").click()
    two.dialog.get_by_role("button", name="Move here").click()
    two.dialog.get_by_text("“a” is here already").wait_for()
    before = content(folder)
    two.dialog.get_by_role("button", name="Replace").click()

    two.await_names("sub", "b")
    assert before == {"a": b"a", "b": b"b", "sub/a": b"other"}
    assert content(folder) == {"b": b"b", "sub/a": b"a"}


def test_what_is_deleted_is_asked_about_and_gone(two: Files, folder: Path) -> None:
    two.select("a", "sub")
    two.button("Delete").click()
    two.dialog.get_by_text("Delete 2 items?").wait_for()
    assert two.page.evaluate("document.activeElement.textContent") == "Cancel"
    before = content(folder)
    two.dialog.get_by_role("button", name="Delete").click()

    two.await_names("b")
    assert set(before) == {"a", "b"}
    assert content(folder) == {"b": b"b"}


def test_a_deletion_tells_what_stayed_and_why(two: Files, folder: Path, http: Connection) -> None:
    for name in ("kept", "gone"):
        (folder / "sub" / name).write_text(name)
    http.lock(f"/{folder.name}/sub/kept")
    two.select("sub", "a")
    two.button("Delete").click()
    two.dialog.get_by_role("button", name="Delete").click()

    two.dialog.get_by_text("1 item failed:").wait_for()
    (failed,) = two.dialog.get_by_role("listitem").all_text_contents()
    assert failed == f"{folder.name}/sub/keptIt is locked."
    two.press("Escape")
    two.await_names("sub", "b")
    assert content(folder) == {"b": b"b", "sub/kept": b"kept"}


def test_a_file_is_downloaded_under_its_name(two: Files) -> None:
    two.select("a")
    with two.page.expect_download() as download:
        two.button("Download").click()

    assert download.value.suggested_filename == "a"
    assert download.value.path().read_bytes() == b"a"


@pytest.mark.parametrize("server", [{"arguments": ["--read-only"]}], indirect=True)
def test_who_may_only_read_is_offered_nothing_else(open_files: Open, folder: Path) -> None:
    (folder / "a").write_text("a")
    files = open_files(folder)
    files.page.get_by_text("Read-only").wait_for()
    files.select("a")

    offered = files.page.locator(".bar .tools:not(.end) button").all_inner_texts()
    assert offered == ["", "Download", "Copy to…", "Properties"]
    files.press("Delete", "F2")
    assert files.dialog.count() == 0
