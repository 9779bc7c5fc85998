"""Sign-in with the form, and sign-out; search below a folder; downloads of more than a file."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.page.driving import Files
from tests.support.credentials import add_users
from tests.support.server import Server

Open = Callable[..., Files]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Nobody may do anything but anna."""
    place = tmp_path_factory.mktemp("signing")
    add_users(place / "state", "anna")
    with Server(place, arguments=["--anonymous", "none"]) as running:
        yield running


def sign_in(files: Files, password: str) -> None:
    files.dialog.get_by_label("Name").fill("anna")
    files.dialog.get_by_label("Password").fill(password)
    files.dialog.get_by_role("button", name="Sign in").click()


def test_who_signs_in_sees_the_folder_and_who_signs_out_does_not(
    open_files: Open, folder: Path
) -> None:
    (folder / "secret plans.txt").write_text("x")
    files = open_files(folder, wait=False)
    files.dialog.wait_for()
    before = files.names()
    sign_in(files, "guess")
    files.page.get_by_text("Name or password is wrong.").wait_for()
    sign_in(files, "secret")
    files.await_names("secret plans.txt")

    assert before == []
    assert files.page.locator(".user").text_content() == "anna"
    assert files.page.evaluate("document.cookie") == ""

    files.button("Sign out").click()
    files.dialog.wait_for()
    assert files.names() == []


def test_the_session_outlives_a_reload_and_uploads_go_through_it(
    open_files: Open, folder: Path
) -> None:
    files = open_files(folder, wait=False)
    sign_in(files, "secret")
    files.await_listed()
    files.reload()
    files.upload([{"name": "new.txt", "mimeType": "text/plain", "buffer": b"content"}])
    files.await_names("new.txt")

    assert (folder / "new.txt").read_bytes() == b"content"


def test_a_session_that_ends_meanwhile_is_asked_for_again(open_files: Open, folder: Path) -> None:
    (folder / "sub").mkdir()
    files = open_files(folder, wait=False)
    sign_in(files, "secret")
    files.await_names("sub")
    files.page.context.clear_cookies()
    files.row("sub").get_by_role("link").click()
    sign_in(files, "secret")
    files.await_names()

    assert files.page.url.endswith("/sub/")


def test_the_browsers_own_prompt_works_too(open_files: Open, server: Server, folder: Path) -> None:
    (folder / "f").write_text("x")
    credentials = {"username": "anna", "password": "secret"}
    files = open_files(folder, wait=False, http_credentials=credentials)
    files.dialog.get_by_role("link", name="Use the browser's own prompt").click()
    files.await_listed()
    files.go(folder)

    assert files.names() == ["f"]
    assert files.button("Sign out").count() == 0


@pytest.mark.security("W-02")
def test_another_sites_page_can_do_nothing_with_the_session(
    open_files: Open, server: Server, folder: Path
) -> None:
    (folder / "f").write_text("x")
    files = open_files(folder, wait=False)
    sign_in(files, "secret")
    files.await_listed()
    target = files.url(folder)
    # Another origin: the same machine by another name.
    files.page.goto(f"http://localhost:{server.port}/.davserver/health")
    outcome = files.page.evaluate(
        """async (target) => {
          const tried = {};
          for (const [method, name] of [["DELETE", "f"], ["PUT", "g"], ["POST", "h"]]) {
            const how = { method, credentials: "include" };
            if (method === "POST") how.mode = "no-cors";
            tried[method] = await fetch(target + name, how).then(() => "answered", () => "refused");
          }
          return tried;
        }""",
        target,
    )

    files.complaints.clear()  # the browser's own, of what it refused
    assert outcome == {"DELETE": "refused", "PUT": "refused", "POST": "answered"}
    assert [path.name for path in folder.iterdir()] == ["f"]
    assert (folder / "f").read_text() == "x"


@pytest.fixture
def signed(open_files: Open, folder: Path) -> Files:
    (folder / "a" / "b").mkdir(parents=True)
    (folder / "report.txt").write_text("top")
    (folder / "a" / "b" / "Report 2.txt").write_text("deep")
    (folder / "a" / "other.txt").write_text("no")
    files = open_files(folder, wait=False)
    sign_in(files, "secret")
    files.await_listed()
    return files


def test_a_search_finds_names_in_subfolders_and_ends(signed: Files) -> None:
    signed.page.get_by_role("searchbox").fill("REPORT")
    signed.button("Search subfolders, too").click()
    signed.await_names("Report 2.txt", "report.txt")

    assert signed.page.locator(".where").all_text_contents() == ["a/b"]
    assert signed.status.startswith("2 found")

    signed.row("Report 2.txt").get_by_role("link").click()
    signed.page.locator("dialog").get_by_text("deep").wait_for()
    assert "/a/b/#view=Report%202.txt" in signed.page.url


def test_the_folder_comes_back_when_a_search_ends(signed: Files) -> None:
    signed.page.get_by_role("searchbox").fill("other")
    signed.button("Search subfolders, too").click()
    signed.await_names("other.txt")
    signed.button("End the search").click()

    signed.await_names("a", "report.txt")


def test_what_is_selected_comes_as_one_archive(signed: Files, tmp_path: Path) -> None:
    signed.select("a", "report.txt")
    archive = save(signed, tmp_path)

    assert set(archive.namelist()) == {
        *("a/", "a/b/", "a/b/Report 2.txt", "a/other.txt", "report.txt")
    }
    assert archive.read("a/b/Report 2.txt") == b"deep"


def save(files: Files, tmp_path: Path) -> zipfile.ZipFile:
    with files.page.expect_download() as download:
        files.button("Download").click()
    place = tmp_path / "saved.zip"
    download.value.save_as(place)
    return zipfile.ZipFile(place)


def test_an_archive_that_is_refused_says_why(
    open_files: Open, folder: Path, monkeypatch: pytest.MonkeyPatch, signed: Files
) -> None:
    (folder / "report.txt").unlink()
    signed.select("a", "report.txt")
    signed.button("Download").click()

    signed.page.locator(".toast.error").get_by_text("report.txt").wait_for()
