"""Whatever is stored in the server runs nothing in the page's origin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.page.driving import Files
from tests.support.http import Connection

pytestmark = pytest.mark.security("W-01")

Open = Callable[..., Files]
ATTACKS = [
    "<img src=x onerror=alert(1)>",
    "<script>alert(1)<\u2215script>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "javascript:alert(1)",
    "{{constructor.constructor('alert(1)')()}}",
    "&lt;img src=x onerror=alert(1)&gt;",
    "\u202egnp.<b onclick=alert(1)>",
    "%3Cimg src=x onerror=alert(1)%3E",
]
MARKDOWN = """
# <img src=x onerror=alert(1)>

<script>alert(1)</script> [a](javascript:alert(1)) [b](  JaVaScRiPt:alert(1)) <javascript:alert(1)>
[c](data:text/html,<script>alert(1)</script>) ![d](javascript:alert(1)) ![e](//evil.example/x.png)
[f](java&#x0A;script:alert(1)) [g](vbscript:x) `<b onclick=alert(1)>`

> <iframe srcdoc="<script>alert(1)</script>"></iframe>

| <svg onload=alert(1)> | b |
|---|---|
| <a href="javascript:alert(1)">x</a> | y |
"""
SVG = """<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" onload="alert(1)">
<script>alert(1)</script><foreignObject><body xmlns="http://www.w3.org/1999/xhtml">
<iframe src="javascript:alert(1)"/></body></foreignObject></svg>"""


@pytest.fixture
def watched(open_files: Open) -> Callable[[Path], Files]:
    """Opens a folder in a window where each alert is a complaint, and no element may appear that
    names bring along."""

    def open_(folder: Path) -> Files:
        files = open_files(folder)

        def hear(dialog: Any) -> None:
            files.complaints.append(f"it ran: {dialog.message}")
            dialog.dismiss()

        files.page.on("dialog", hear)
        return files

    return open_


def strange_elements(files: Files) -> int:
    script = (
        "document.querySelectorAll('[onerror], [onload], [onclick], [onmouseover], body script,"
        " main svg:not(.icon), dialog svg:not(.icon):not(.qr), b').length"
    )
    return int(files.page.evaluate(script))


def test_names_are_text_wherever_they_appear(watched: Callable[..., Files], folder: Path) -> None:
    for name in ATTACKS:
        (folder / name).mkdir()
        (folder / name / "inner").touch()
    files = watched(folder)
    shown = files.names()
    assert sorted(shown) == sorted(ATTACKS)

    for name in ATTACKS:
        files.row(name).get_by_role("link").click()
        files.await_names("inner")
        crumbs = files.page.get_by_role("navigation", name="Path")
        assert crumbs.get_by_role("link").last.text_content() == name
        files.choose_from_menu("inner", "Move to…")
        files.dialog.locator(".path").get_by_text(name, exact=False).wait_for()
        assert strange_elements(files) == 0
        files.press("Escape")
        files.page.go_back()
        files.await_listed()
        files.row(name).wait_for()
    files.select(ATTACKS[0])
    files.button("Delete").click()
    files.dialog.get_by_text(f"Delete “{ATTACKS[0]}”?").wait_for()
    assert strange_elements(files) == 0


def test_names_in_failures_and_uploads_are_text(
    watched: Callable[..., Files], folder: Path, http: Connection
) -> None:
    (folder / "c").mkdir()
    for name in ATTACKS:
        (folder / "c" / name).touch()
        http.lock(f"/{folder.name}/c/{quote(name, safe='')}")
    files = watched(folder)
    files.select("c")
    files.button("Delete").click()
    files.dialog.get_by_role("button", name="Delete").click()
    files.dialog.get_by_text(f"{len(ATTACKS)} items failed:").wait_for()
    told = files.dialog.locator("li .name").all_text_contents()
    assert strange_elements(files) == 0
    files.press("Escape")

    files.button("Clear selection").click()
    assert sorted(told) == sorted(f"{folder.name}/c/{name}" for name in ATTACKS)
    given = [{"name": name, "mimeType": "text/html", "buffer": b"x"} for name in ATTACKS]
    files.upload(given)
    files.await_uploaded()
    assert strange_elements(files) == 0


def test_properties_and_lock_owners_are_text(
    watched: Callable[..., Files], folder: Path, http: Connection
) -> None:
    (folder / "f").touch()
    href = f"/{folder.name}/f"
    html = '<x xmlns="http://www.w3.org/1999/xhtml"><img src="x" onerror="alert(1)"/></x>'
    http.proppatch(href, set={"{javascript:alert(1)}p": "<img src=x onerror=alert(1)>"})
    body = (
        '<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><p xmlns="http://www.w3.org/1999/xhtml">'
        f"{html}<script>alert(1)</script></p></D:prop></D:set></D:propertyupdate>"
    )
    assert http.request("PROPPATCH", href, {}, body.encode()).status == 207
    http.lock(href, owner=f"<D:owner>{html}</D:owner>")
    files = watched(folder)
    files.choose_from_menu("f", "Properties")

    files.dialog.get_by_text("<img src=x onerror=alert(1)>").wait_for()
    assert files.dialog.get_by_text("Owner", exact=True).is_visible()
    assert strange_elements(files) == 0


def test_markdown_is_harmless(watched: Callable[..., Files], folder: Path) -> None:
    (folder / "evil.md").write_text(MARKDOWN)
    files = watched(folder)
    files.row("evil.md").get_by_role("link").click()
    article = files.page.locator("article")
    article.get_by_role("heading", name="<img src=x onerror=alert(1)>").wait_for()

    assert strange_elements(files) == 0
    assert article.locator("img, iframe, script").count() == 0
    links = article.locator("a").evaluate_all("links => links.map((one) => one.protocol)")
    assert set(links) <= {"http:"}
    assert article.get_by_text("<script>alert(1)</script>").first.is_visible()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("evil.html", "<!doctype html><script>alert(document.domain)</script>"),
        ("evil.svg", SVG),
        ("evil.xhtml", f'<html xmlns="http://www.w3.org/1999/xhtml"><body>{SVG}</body></html>'),
    ],
)
def test_active_files_run_nothing_shown_or_opened(
    watched: Callable[..., Files], folder: Path, name: str, content: str
) -> None:
    (folder / name).write_text(content)
    files = watched(folder)
    files.row(name).get_by_role("link").click()
    files.page.locator("dialog.viewer .stage > *").wait_for()
    assert strange_elements(files) == 0
    files.complaints.clear()
    opened = files.page.context.new_page()
    opened.on("dialog", lambda dialog: files.complaints.append(f"it ran: {dialog.message}"))
    opened.goto(files.url(folder) + name)

    assert opened.evaluate("self.origin") == "null", "an origin of its own"
    assert files.complaints == []


def test_a_module_that_was_uploaded_is_not_run_by_the_page(
    watched: Callable[..., Files], folder: Path
) -> None:
    """Text cannot become a script element, and none becomes one by itself: Trusted Types."""
    (folder / "evil.js").write_text("alert(1)")
    files = watched(folder)
    tried = files.page.evaluate(
        """() => { try { document.body.innerHTML = '<script src="evil.js">'; return 'set'; }
                   catch (error) { return error.name; } }"""
    )

    assert tried == "TypeError"
    assert any("TrustedHTML" in one for one in files.complaints)
    files.complaints.clear()
