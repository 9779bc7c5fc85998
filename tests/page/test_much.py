"""Much of everything: a long copy, a GiB, thousands of files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.page.driving import Files
from tests.page.wire import Wire
from tests.support.http import Connection
from tests.support.processes import await_true
from tests.support.server import Server

Open = Callable[..., Files]
GIB = 1 << 30


def fill(folder: Path, count: int) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"f{number:05}").touch()


def without_patience(route: Any) -> None:
    headers = route.request.headers
    if "prefer" in headers:
        headers = {**headers, "prefer": headers["prefer"].partition(",")[0]}
    route.continue_(headers=headers)


def test_a_long_copy_is_told_of_after_a_reload_and_can_be_cancelled(
    files: Files, folder: Path
) -> None:
    fill(folder / "tree", 40_000)
    # Else a quick machine would have done it before it is a job.
    files.page.route("**/*", without_patience)
    files.reload()
    files.await_names("tree")
    files.select("tree")
    files.grid.focus()
    files.press("Control+c", "Control+v")
    progress = files.page.locator(".toast").filter(has_text="40,001")
    progress.wait_for()
    files.page.reload()
    progress.get_by_text("tree: Working…").wait_for()
    progress.get_by_role("button", name="Cancel").click()

    progress.wait_for(state="detached", timeout=30_000)
    files.await_names("tree")
    assert sorted(path.name for path in folder.iterdir()) == ["tree"]


def test_what_a_job_could_not_do_is_told_as_without_one(
    files: Files, folder: Path, http: Connection
) -> None:
    fill(folder / "tree", 3)
    http.lock(f"/{folder.name}/tree/f00001")
    answers: list[int] = []
    files.page.on("response", lambda response: answers.append(response.status))
    # In place of `wait=2`: the smallest deletion is a job.
    files.page.route(
        "**/tree/",
        lambda route: route.continue_(headers=route.request.headers | {"prefer": "respond-async"}),
    )
    files.reload()
    files.await_names("tree")
    files.select("tree")
    files.button("Delete").click()
    files.dialog.get_by_role("button", name="Delete").click()
    files.dialog.get_by_text("1 item failed:").wait_for()
    (failed,) = files.dialog.get_by_role("listitem").all_text_contents()

    assert 202 in answers
    assert failed == f"{folder.name}/tree/f00001It is locked."
    assert [path.name for path in (folder / "tree").iterdir()] == ["f00001"]


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_gib_arrives_though_the_connection_is_cut_twice(
    open_files: Open, server: Server, folder: Path, tmp_path: Path
) -> None:
    large = tmp_path / "large.bin"
    with large.open("wb") as file:
        file.write(b"begin")
        file.truncate(GIB)
    with Wire(server.port) as wire:
        files = open_files(folder, base=f"http://127.0.0.1:{wire.port}/")
        wire.mend(limit=GIB // 3)
        files.upload([large])
        for _ in range(2):
            assert any(await_true(lambda: wire.is_cut) for _ in range(6))
            files.page.locator(".uploads").get_by_text("Connection lost").wait_for()
            wire.mend(limit=GIB // 3)
        wire.mend()
        files.page.locator(".uploads h2").get_by_text("Uploaded").wait_for(timeout=120_000)

    assert (folder / "large.bin").stat().st_size == GIB
    assert wire.carried < 1.2 * GIB
    with (folder / "large.bin").open("rb") as file:
        assert file.read(5) == b"begin"


@pytest.mark.long
@pytest.mark.timeout(300)
def test_five_thousand_files_are_uploaded_and_deleted_but_for_the_one_that_is_locked(
    files: Files, folder: Path, tmp_path: Path, http: Connection
) -> None:
    fill(tmp_path / "many", 5000)
    files.page.context.set_default_timeout(120_000)
    files.upload(tmp_path / "many", is_folder=True)
    files.page.locator(".uploads h2").get_by_text("Uploaded 5,000").wait_for()
    files.await_names("many")
    uploaded = len(list((folder / "many").iterdir()))
    http.lock(f"/{folder.name}/many/f01234")
    files.select("many")
    files.button("Delete").click()
    files.dialog.get_by_role("button", name="Delete").click()
    files.dialog.get_by_text("1 item failed:").wait_for()
    (failed,) = files.dialog.get_by_role("listitem").all_text_contents()

    assert uploaded == 5000
    assert failed == f"{folder.name}/many/f01234It is locked."
    assert [path.name for path in (folder / "many").iterdir()] == ["f01234"]
