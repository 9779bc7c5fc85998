"""No spelling of a path leads out of the served folder, wherever in a request it stands.

Beside the root lie a folder whose files have a canary in them, and one whose name begins as the
root's own. After the requests both are what they were, and no answer holds the canary.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import AppDav
from tests.support.every import Ask, asks_at, asks_if, asks_to, snapshot
from tests.support.outside import build

TRAVERSALS = [
    "/../outside/secret",
    "/c/../../outside/secret",
    "/..",
    "/../",
    "/./../outside/secret",
    "/%2e%2e/outside/secret",
    "/%2E%2e/outside/secret",
    "/.%2e/outside/secret",
    "/%252e%252e/outside/secret",
    "/..%2foutside%2fsecret",
    "/..%2Foutside%2Fsecret",
    "/..%252foutside%252fsecret",
    "/%2e%2e%2foutside%2fsecret",
    "/..%5coutside%5csecret",
    "/..\\outside\\secret",
    "/..;/outside/secret",
    "/..%00/outside/secret",
    "/..%0a/outside/secret",
    "/%c0%ae%c0%ae/outside/secret",
    "/%c0%ae%c0%ae%c0%afoutside%c0%afsecret",
    "/%e0%80%ae%e0%80%ae/outside/secret",
    "/%uff0e%uff0e/outside/secret",
    "/%ef%bc%8e%ef%bc%8e/outside/secret",
    "/%e2%80%a5/outside/secret",
    "/....//outside/secret",
    "/.../outside/secret",
    "/..../outside/secret",
    "/../root_evil/secret",
    "/%2e%2e/root_evil/secret",
    "/_evil/secret",
    "//outside/secret",
    "///etc/passwd",
    "/C:/outside/secret",
    "/c:secret",
    "/\\\\host\\share\\secret",
    "/%5c%5chost%5cshare",
    "/f/../../outside/secret",
    "/%ff%ff/../../outside/secret",
    "/%ed%a0%80/secret",
    "/proc/self/root/etc/passwd",
    "/c/%2e/%2e%2e/%2e%2e/outside/secret",
]


def has_dot_segment(path: str) -> bool:
    segments = unquote_to_bytes(path).split(b"/")
    return b".." in segments or b"." in segments


@pytest.mark.security("P-01", "P-02", "P-03", "C-08", "C-16", "A-07", "M-08")
@pytest.mark.parametrize("path", TRAVERSALS)
def test_no_spelling_of_a_path_leads_out(
    make_dav: Callable[..., AppDav], tmp_path: Path, path: str
) -> None:
    world = build(make_dav, tmp_path)
    asks = asks_at(path) | asks_to(path, "/f", "/c/") | asks_if(path, "/f")

    statuses = world.send_all(asks)

    # A name that is only odd may be created, here inside.
    assert statuses["GET"] in (400, 404)


@pytest.mark.security("P-01", "P-03")
@pytest.mark.parametrize("path", [path for path in TRAVERSALS if has_dot_segment(path)])
def test_dot_segments_are_refused_everywhere(
    make_dav: Callable[..., AppDav], tmp_path: Path, path: str
) -> None:
    world = build(make_dav, tmp_path)
    before = snapshot(world.root)
    asks = asks_at(path) | asks_to(path, "/f", "/c/") | asks_if(path, "/f")

    statuses = world.refuse(asks, before)

    assert statuses == dict.fromkeys(asks, 400) | {"POST": statuses["POST"]}


@pytest.mark.security("P-02")
@pytest.mark.parametrize("path", ["/%00", "/a%00b", "/%zz", "/%", "/%4", "/a%2Fb", "/a%2fb"])
def test_what_no_path_can_hold_is_400(make_dav: Callable[..., AppDav], path: str) -> None:
    dav = make_dav("filesystem")
    dav.put("/f", b"f")
    asks = asks_at(path) | asks_to(path, "/f") | asks_if(path, "/f")

    statuses = {name: ask.send(dav).status for name, ask in asks.items()}

    assert statuses == dict.fromkeys(asks, 400) | {"POST": statuses["POST"]}


PIECES = ["..", ".", "%2e", "%2E%2e", "%2f", "/", "//", "%5c", "\\", "%00", "%c0%af", "%c0%ae", ";"]
PIECES += ["outside", "root_evil", "secret", "c", "out", "%252e", "%ef%bc%8f", "root", "%ff"]


@pytest.mark.security("P-01", "P-08")
def test_composed_spellings_do_not_lead_out(
    make_dav: Callable[..., AppDav], tmp_path: Path
) -> None:
    world = build(make_dav, tmp_path)
    os.symlink("../outside", world.root / "out")

    @settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=8).map("".join))
    def check(path: str) -> None:
        world.send_all(
            {
                "GET": Ask("GET", "/" + path),
                "PROPFIND": Ask("PROPFIND", "/" + path, {"Depth": "1"}),
                "PUT": Ask("PUT", "/" + path, {}, b"new"),
                "COPY": Ask("COPY", "/c/f", {"Destination": "/" + path}),
                "MOVE": Ask("MOVE", "/c/d/g", {"Destination": "/" + path}),
                "DELETE": Ask("DELETE", "/" + path),
            }
        )
        world.dav.put("/c/d/g", b"g")
        if not (world.root / "out").is_symlink():
            os.symlink("../outside", world.root / "out")

    check()


PREFIX_DESTINATIONS = {
    "the prefix itself": ("/dav", {403}),
    "the prefix with a slash": ("/dav/", {403}),
    "its name goes on": ("/davx", {502}),
    "its name goes on, a member": ("/davx/f", {502}),
    "shorter": ("/da", {502}),
    "the root": ("/", {502}),
    "empty": ("", {400}),
    "a host alone": ("http://127.0.0.1:8080", {400, 502}),
    "a host and a slash": ("http://127.0.0.1:8080/", {502}),
    "up and out": ("/dav/../x", {400}),
    "the prefix, encoded": ("/%64av", {403}),
    "the prefix in capitals": ("/DAV/x", {502}),
    "two prefixes": ("//dav/x", {400}),
}


@pytest.mark.security("C-06", "C-16")
@pytest.mark.parametrize("name", PREFIX_DESTINATIONS)
@pytest.mark.parametrize("how", ["prefix", "root_path"])
def test_a_destination_is_below_the_mount(
    make_dav: Callable[..., AppDav], tmp_path: Path, name: str, how: str
) -> None:
    mount = {"prefix": "/dav"} if how == "prefix" else {"root_path": "/dav"}
    world = build(make_dav, tmp_path, **mount)
    before = snapshot(world.root)
    destination, expected = PREFIX_DESTINATIONS[name]

    statuses = world.refuse(asks_to(destination, "/dav/f", "/dav/c/"), before)

    assert set(statuses.values()) <= expected


SELF = {
    "itself": ("/c", "/c"),
    "itself with a slash": ("/c", "/c/"),
    "itself, slashes doubled": ("/c/d", "/c//d//"),
    "itself, encoded": ("/c", "/%63"),
    "a member": ("/c/", "/c/new"),
    "a member that is there": ("/c/", "/c/d/"),
    "deeper": ("/c/", "/c/d/new/"),
    "deeper, encoded": ("/c/", "/%63/%64/new"),
    "its parent": ("/c/d/", "/c/"),
    "a file over its parent": ("/c/f", "/c/"),
    "the root": ("/c/", "/"),
    "a link to itself": ("/c/", "/link"),
    "below a link to itself": ("/c/", "/link/new"),
    "from a link": ("/link/", "/c/new"),
    "over the parent, by a link": ("/c/d/", "/link"),
    "a file by a link to it": ("/f", "/file-link"),
    "the same file with a slash": ("/f", "/f/"),
}


@pytest.mark.security("P-13", "C-07")
@pytest.mark.parametrize("name", SELF)
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_nothing_goes_into_or_over_itself(
    make_dav: Callable[..., AppDav], tmp_path: Path, name: str, method: str
) -> None:
    source, destination = SELF[name]
    world = build(make_dav, tmp_path)
    os.symlink("c", world.root / "link")
    os.symlink("f", world.root / "file-link")
    before = snapshot(world.root)
    asks = {
        overwrite: Ask(method, source, {"Destination": destination, "Overwrite": overwrite})
        for overwrite in "TF"
    }
    assert world.refuse(asks, before) in ({"T": 403, "F": 403}, {"T": 403, "F": 412})
