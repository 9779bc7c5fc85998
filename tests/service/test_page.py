"""How the page and its files are served, without a browser: to whom, with what fields."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from urllib.parse import quote

import pytest

from davserver.web.assets import assets, document
from tests.conftest import AppDav

MakeDav = Callable[..., AppDav]
BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FILES = sorted(Path(str(files("davserver.web").joinpath("page"))).iterdir())
MODULES = [path for path in FILES if path.suffix == ".js"]
LIMIT = 150 * 1024


@pytest.mark.security("W-01")
def test_the_page_runs_its_own_files_alone_and_is_in_no_frame(dav: AppDav) -> None:
    dav.mkcol("/c/")

    reply = dav.get("/c/", BROWSER)

    policy = reply.headers["content-security-policy"].split("; ")
    assert (reply.status, reply.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "require-trusted-types-for 'script'" in policy
    assert "unsafe" not in str(policy)
    assert not re.search(rb"<script(?![^>]* src=)|<style| on\w+=| style=", reply.body)
    assert (reply.headers["vary"], reply.headers["cache-control"]) == ("accept", "no-cache")
    assert dav.head("/c/", BROWSER).headers["content-length"] == str(len(reply.body))


@pytest.mark.parametrize("root_path", ["", "/outer"], ids=["by itself", "mounted"])
@pytest.mark.parametrize("prefix", ["", "/dav", "/a b/ü"], ids=["root", "prefix", "odd prefix"])
def test_every_file_that_the_page_names_is_there_below_any_prefix(
    make_dav: MakeDav, prefix: str, root_path: str
) -> None:
    dav = make_dav("memory", prefix=prefix, root_path=root_path)
    page = dav.get(quote(root_path + prefix) + "/", BROWSER).body.decode()
    named = re.findall(r'(?:href|src)="(/[^"]+)"', page)

    assert len(named) == 3
    found = [dav.get(href) for href in named]
    assert [reply.status for reply in found] == [200] * 3
    kinds = [reply.headers["content-type"].partition(";")[0] for reply in found]
    assert kinds == ["image/svg+xml", "text/css", "text/javascript"]


def test_a_file_that_the_browser_has_is_not_sent_again(dav: AppDav) -> None:
    first = dav.get("/.davserver/page/main.js")
    etag = first.headers["etag"]

    again = dav.get("/.davserver/page/main.js", {"If-None-Match": etag})
    compressed = dav.get("/.davserver/page/main.js", {"If-None-Match": f"W/{etag}"})
    other = dav.get("/.davserver/page/main.js", {"If-None-Match": '"other"'})

    assert (first.status, first.headers["cache-control"]) == (200, "no-cache")
    assert first.headers["x-content-type-options"] == "nosniff"
    assert [again.status, compressed.status, other.status] == [304, 304, 200]
    assert (again.body, again.headers["etag"]) == (b"", etag)


@pytest.mark.parametrize(
    "name", ["", "nothing.js", "index.html", "main.js/x", "sub/main.js", "..%5Cassets.py"]
)
def test_nothing_else_is_served_there(dav: AppDav, name: str) -> None:
    assert dav.get(f"/.davserver/page/{name}").status == 404


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PROPFIND", "LOCK", "MKCOL"])
def test_its_files_are_no_resources(dav: AppDav, method: str) -> None:
    assert dav.request(method, "/.davserver/page/main.js").status == 404
    assert dav.request("POST", "/.davserver/page/main.js").status == 405


def test_switched_off_there_is_the_plain_listing_alone(make_dav: MakeDav) -> None:
    dav = make_dav("memory", page=False)
    dav.put("/a", b"")

    assert b'<a href="/a">' in dav.get("/", BROWSER).body
    assert dav.get("/.davserver/page/main.js").status == 404


def test_who_may_not_read_a_folder_gets_no_page(make_dav: MakeDav) -> None:
    dav = make_dav("memory", anonymous="none")

    assert dav.get("/", BROWSER).status == 403
    assert dav.get("/missing/", BROWSER).status == 403
    assert dav.get("/.davserver/page/main.js").status == 200, "the same for everybody"


def test_a_folder_that_is_not_there_is_404(dav: AppDav) -> None:
    assert dav.get("/missing/", BROWSER).status == 404


def test_the_plain_listing_leads_to_plain_listings(dav: AppDav) -> None:
    dav.mkcol("/c/")
    dav.mkcol("/c/d/")
    dav.put("/c/f", b"")

    page = dav.get("/c/?plain", BROWSER).body.decode()

    assert sorted(re.findall(r'href="([^"]+)"', page)) == ["/?plain", "/c/d/?plain", "/c/f"]


def loaded(name: str, found: set[str]) -> set[str]:
    """Returns a module with those that it cannot do without."""
    if name not in found:
        found.add(name)
        text = next(path for path in MODULES if path.name == name).read_text("utf-8")
        for other in re.findall(r'^import .* from "\./([\w.]+)";$', text, re.MULTILINE):
            loaded(other, found)
    return found


def test_the_whole_page_is_light_and_what_shows_no_folder_comes_when_it_is_asked_for() -> None:
    names = {*loaded("main.js", set()), "style.css", "icon.svg"}
    whole = sum(len(asset.body) for asset in assets().values()) + len(document(b""))
    first = sum(len(asset.body) for name, asset in assets().items() if name in names)

    assert whole < LIMIT
    assert first < 120 * 1024
    assert not {"viewer.js", "markdown.js", "qr.js", "searching.js", "archives.js"} & names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_is_sent_without_its_comments_and_otherwise_as_it_is(path: Path) -> None:
    source = path.read_text("utf-8").splitlines()
    sent = assets()[path.name].body.decode().splitlines()
    rest = iter(source)

    assert all(line in rest for line in sent), "lines are left out, none is changed or moved"
    assert all(is_comment(line) for line in without(source, sent))


def without(lines: list[str], others: list[str]) -> list[str]:
    """The lines that are not among the others, which come in the same order."""
    waiting = list(others)
    found = []
    for line in lines:
        if waiting and line == waiting[0]:
            waiting.pop(0)
        else:
            found.append(line)
    return found


def is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith(("/*", "*", "//"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_a_module_is_short_says_what_it_is_for_and_makes_no_html_of_text(path: Path) -> None:
    text = path.read_text("utf-8")

    assert len(text.splitlines()) <= 400 or path.name == "catalogue.js"
    assert text.startswith("/**")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", text)


COMPILE = """
import { readFileSync } from "node:fs";
import { SourceTextModule } from "node:vm";
for (const file of JSON.parse(readFileSync(0))) {
  new SourceTextModule(readFileSync(file, "utf-8"), { identifier: file });
}
"""


@pytest.mark.clients
def test_every_module_is_well_formed(client: Callable[[str], str]) -> None:
    done = subprocess.run(
        [client("node"), "--experimental-vm-modules", "--input-type=module", "-e", COMPILE],
        input=json.dumps([str(path) for path in MODULES]),
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_both_languages_say_everything() -> None:
    text = next(path for path in MODULES if path.name == "catalogue.js").read_text("utf-8")
    english, german = (
        set(re.findall(r'^  "?([\w.]+)"?: "', part, re.MULTILINE))
        for part in text.partition("export const CATALOGUE")[0].split("const DE")
    )

    assert english == german
    used = set()
    for path in MODULES:
        used |= set(re.findall(r'\bt\("([\w.]+)"', path.read_text("utf-8")))
    known = english | {key.partition(".")[0] for key in english}
    assert used <= known
