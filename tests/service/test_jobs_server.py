"""Jobs of the real server: with workers, killed, and stopped in peace."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.aftermath import hidden
from tests.support.faces import read_json
from tests.support.processes import await_true
from tests.support.server import Server

ASYNC = {"Prefer": "respond-async"}
SIZES = (3_000, 12_000, 48_000)
"""Members of a tree: where one is copied before anything can be done meanwhile, a larger one."""

FEW = 600
MANY = (50_000,)
COUNTS = [pytest.param(SIZES, id="few"), pytest.param(MANY, id="50000", marks=pytest.mark.long)]


def grow(root: Path, members: int) -> None:
    """Makes a tree below /c, of 100 members each collection."""
    for number in range(members // 100):
        folder = root / "c" / f"{number}"
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for name in range(99):
                (folder / f"{name}").write_bytes(b"content of %d\n" % name)


def ask(server: Server, target: str, method: str = "GET", **headers: str) -> Any:
    """Asks on a connection of its own: any of the workers answers."""
    with server.connect() as http:
        return http.request(method, target, headers)


def told_of(server: Server, href: str) -> dict[str, Any]:
    told: dict[str, Any] = read_json(ask(server, href).body)
    return told


def ended(server: Server, href: str, within_s: float = 60) -> dict[str, Any]:
    deadline = time.monotonic() + within_s
    while (told := told_of(server, href))["ended"] is None:
        assert time.monotonic() < deadline, told
        time.sleep(0.02)
    return told


def start_copy(server: Server) -> str:
    reply = ask(server, "/c/", "COPY", Destination="/copy/", **ASYNC)
    assert reply.status == 202, reply
    href: str = reply.headers["location"]
    return href


def midway(server: Server, href: str) -> dict[str, Any]:
    """Returns what is told once something is done, or all of it."""
    while True:
        told = told_of(server, href)
        if told["ended"] is not None or told["progress"]["members"]:
            return told
        time.sleep(0.005)


def interrupted(
    server: Server, interrupt: Callable[[str], None], sizes: Sequence[int] = SIZES
) -> tuple[str, dict[str, Any]]:
    """Copies, and does something once the copy is under way; with larger trees until the copy has
    not ended by then. Returns the job's href and how it ended."""
    for members in sizes:
        grow(server.root, members)
        href = start_copy(server)
        before = midway(server, href)
        interrupt(href)
        told = ended(server, href)
        if told["state"] != "succeeded":
            assert before["progress"]["members"] <= told["progress"]["members"]
            return href, told
        assert ask(server, "/copy/", "DELETE").status == 204
    raise AssertionError("too quick to be interrupted")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("sizes", COUNTS)
def test_progress_rises_and_any_worker_can_cancel(tmp_path: Path, sizes: Sequence[int]) -> None:
    with Server(tmp_path, workers=2) as server:
        href, told = interrupted(server, lambda href: ask(server, href, "DELETE"), sizes)

        assert (told["state"], told["result"]["status"]) == ("cancelled", 503)
        assert 0 < told["progress"]["members"] < told["progress"]["members_total"]
        assert ask(server, "/copy/").status == 404
        assert not hidden(server.root)
        assert ask(server, f"{href}/result").status == 503


@pytest.mark.timeout(300)
@pytest.mark.security("K-02")
@pytest.mark.parametrize("sizes", COUNTS)
def test_a_job_of_a_killed_server_has_failed_and_left_nothing(
    tmp_path: Path, sizes: Sequence[int]
) -> None:
    server = Server(tmp_path, workers=2)

    def kill(href: str) -> None:
        server.kill()
        server.start()

    with server:
        _, told = interrupted(server, kill, sizes)
        listed = ask(server, "/", "PROPFIND", Depth="1")

        assert (told["state"], told["result"]["status"]) == ("failed", 503)
        assert [href for href in listed.multistatus.hrefs if "copy" in href] == []
        assert not hidden(server.root)


@pytest.mark.timeout(120)
def test_a_job_that_outlasts_the_grace_time_is_ended(tmp_path: Path) -> None:
    server = Server(tmp_path, environment={"DAVSERVER_GRACE_S": "1"})
    codes = []

    def stop(href: str) -> None:
        with server.connect() as listening:
            listening.send_head("GET", href, {"Accept": "text/event-stream"})
            codes.append(server.stop())
        server.start()

    with server:
        _, told = interrupted(server, stop)

        assert told["state"] == "failed"
        assert not hidden(server.root)
    assert set(codes) == {0}


@pytest.mark.timeout(120)
def test_a_job_within_the_grace_time_is_done_before_the_server_ends(tmp_path: Path) -> None:
    with Server(tmp_path, environment={"DAVSERVER_DURABILITY": "none"}) as server:
        grow(server.root, FEW)
        href = start_copy(server)
        assert server.stop() == 0
        server.start()
        told = told_of(server, href)

        assert (told["state"], told["result"]["status"]) == ("succeeded", 201)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "members", [SIZES[0], pytest.param(50_000, id="50000", marks=pytest.mark.long)]
)
def test_small_requests_are_answered_beside_a_job(tmp_path: Path, members: int) -> None:
    """On the same worker, whose event loop has nothing of the copy."""
    with Server(tmp_path, environment={"DAVSERVER_DURABILITY": "none"}) as server:
        grow(server.root, members)
        href = start_copy(server)
        seen, took = [], []
        with server.connect() as http:
            while (told := read_json(http.get(href).body))["ended"] is None:
                seen.append(told["progress"]["members"])
                begun = time.monotonic()
                assert http.put("/small", b"content").status in (201, 204)
                assert http.get("/small").body == b"content"
                took.append(time.monotonic() - begun)

        assert told["progress"]["members"] == told["progress"]["members_total"] == members + 1
        assert seen == sorted(seen)
        assert len(took) >= 3
        assert max(took) < 5, "as long as all of it, or a gate that is held"


@pytest.mark.timeout(120)
def test_events_are_streamed_until_the_end(tmp_path: Path) -> None:
    with Server(tmp_path, workers=2) as server:
        grow(server.root, FEW)
        href = start_copy(server)
        reply = ask(server, href, Accept="text/event-stream")
        told = [
            json.loads(line.partition("data: ")[2])
            for line in reply.body.decode().splitlines()
            if line.startswith("data: ")
        ]
        members = [one["progress"]["members"] for one in told]

        assert reply.framing == "chunked"
        assert told[-1] == told_of(server, href)
        assert told[-1]["state"] == "succeeded"
        assert members == sorted(members)
        assert await_true(lambda: "Traceback" not in server.log_text())
