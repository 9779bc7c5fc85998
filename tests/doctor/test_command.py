"""check-url as a command: its exit codes, what it shows, and that it cleans up whatever happens."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from davserver.doctor.command import BROKEN, INTERRUPTED, NO_WAY_IN, WELL, parse_size
from davserver.doctor.findings import Cause
from davserver.doctor.proxies import CLOUDFLARE, DAVSERVER, PROXIES
from davserver.doctor.remedies import ADVICE, REMEDIES
from tests.support.brokenproxy import Faults, Proxy
from tests.support.examining import SIZE, examine, remains
from tests.support.processes import await_true
from tests.support.server import Server

pytestmark = pytest.mark.timeout(90)
COMMAND = [sys.executable, "-m", "davserver", "check-url"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("examined")) as running:
        yield running


@pytest.fixture(scope="module")
def below(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("below"), prefix="/dav") as running:
        yield running


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_all_well_is_0(server: Server) -> None:
    done = run(server.url)

    assert (done.returncode, done.stderr) == (WELL, "")
    assert "ok       PUT, 16 MiB        201 Created" in done.stdout
    assert done.stdout.endswith("All is well.\n")
    assert remains(server) == ([], 0)


def test_something_broken_is_1_with_what_mends_it(server: Server) -> None:
    with Proxy(server.port, Faults(limit=1 << 20, name="nginx/1.22.1")) as proxy:
        done = run(proxy.url, "--size", "2MiB")

    assert (done.returncode, done.stderr) == (BROKEN, "")
    assert "BROKEN   PUT, 2 MiB         PUT: 413 Request Entity Too Large\n" in done.stdout
    remedy = done.stdout.partition("What to do:")[2]
    assert "1. Uploads are limited (PUT, 2 MiB, limit)\n     nginx      client_max_body" in remedy
    for other in ("Apache", "Caddy", "Traefik"):
        assert other not in remedy, "nginx was recognised"


def test_a_full_quota_is_told_as_one(tmp_path: Path) -> None:
    with Server(tmp_path, shares={"small": "quota = 40_000"}) as server:
        told = examine(f"{server.url}small/")

    assert told.code == BROKEN
    assert set(told.checks("BROKEN")) == {"PUT, chunked", "PUT, 2 MiB", "length"}
    assert "1. There is no room for what was uploaded" in told.text
    assert "\n2. " not in told.text


@pytest.mark.parametrize(
    "arguments",
    [["http://127.0.0.1:1/"], ["http://localhost/", "--size", "x"], ["nothing"]],
    ids=["nobody listens", "no size", "no URL"],
)
def test_no_way_in_is_2_with_one_line(arguments: list[str]) -> None:
    done = run(*arguments)

    assert (done.returncode, done.stdout) == (NO_WAY_IN, "")
    assert done.stderr.startswith("davserver: ")
    assert done.stderr.count("\n") == 1


def test_a_file_of_certificates_that_is_none_is_told() -> None:
    done = run("https://localhost/", "--ca", __file__)

    assert done.returncode == NO_WAY_IN
    assert done.stderr.startswith(f"davserver: --ca {__file__}: ")


def begin(server: Server, tmp_path: Path) -> subprocess.Popen[str]:
    """Starts an examination, and returns it in the middle of an upload that stands still."""
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            [*COMMAND, server.url, "--size", "1KiB", "--pause", "60"],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
    if not await_true(lambda: "//  " in (tmp_path / "said").read_text()):
        process.kill()
        raise AssertionError((tmp_path / "said").read_text())
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_nothing_is_left(
    server: Server, tmp_path: Path, number: signal.Signals
) -> None:
    process = begin(server, tmp_path)
    assert remains(server)[0] != []
    process.send_signal(number)

    assert process.wait(20) == INTERRUPTED
    assert "interrupted" in (tmp_path / "said").read_text()
    assert remains(server) == ([], 0)


def test_an_output_that_closes_ends_it_and_nothing_is_left(server: Server) -> None:
    process = subprocess.Popen(
        [*COMMAND, server.url, "--size", "1KiB"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    process.stderr.read()
    process.stderr.close()
    process.wait(30)

    assert remains(server) == ([], 0)


def test_what_cannot_be_removed_is_told(server: Server) -> None:
    with Proxy(server.port, Faults(blocks=("DELETE",))) as proxy:
        told = examine(proxy.url)

    assert told.code == BROKEN
    (name,), locks = remains(server)
    assert told.complaints == [f"left behind, please delete it: {proxy.url}{name}/"]
    assert locks == 0
    with server.connect() as http:
        assert http.delete(f"/{name}").status == 204


@pytest.mark.long
def test_a_lock_that_cannot_be_given_back_is_waited_for(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither UNLOCK nor If gets through: the lock ends by itself."""
    monkeypatch.setattr("davserver.doctor.checks.locking.LOCK_S", 3)
    with Proxy(server.port, Faults(drops=("lock-token", "if"))) as proxy:
        told = examine(proxy.url)

    assert (told.code, told.complaints) == (BROKEN, [])
    assert remains(server)[0] == []


def test_a_path_that_is_taken_away_is_found_by_the_hrefs(server: Server) -> None:
    with Proxy(server.port, Faults(strips="/dav")) as proxy:
        told = examine(proxy.url + "dav/")

    assert told.code == BROKEN
    assert told.checks("BROKEN")[:2] == ["PROPFIND", "PROPFIND 0"]
    assert 'davserver  prefix = "/dav"   (davserver.toml)' in told.text
    assert "Apache     ProxyPass /dav/ http://127.0.0.1:8080/dav/" in told.text
    assert remains(server) == ([], 0)


def test_below_a_prefix_the_root_is_looked_at_too(below: Server) -> None:
    with Proxy(below.port, Faults(name="Apache/2.4.66 (Debian)")) as proxy:
        told = examine(proxy.url + "dav")

    assert told.code == WELL, told.text
    assert "OPTIONS /" in told.checks("ok")
    assert "Apache (Server: Apache/2.4.66 (Debian))" in told.text


@pytest.mark.parametrize(
    ("faults", "bare"),
    [
        (Faults(redirects_slash=True), "301 Moved Permanently"),
        (Faults(blocks_paths=("/dav",)), "405 Not Allowed"),
    ],
    ids=["redirected", "not passed on"],
)
def test_a_prefix_that_needs_its_slash_is_found(below: Server, faults: Faults, bare: str) -> None:
    with Proxy(below.port, faults) as proxy:
        told = examine(proxy.url + "dav/")

    assert told.code == BROKEN
    assert f"BROKEN   no slash           PROPFIND of /dav: {bare}" in told.lines
    assert "Apache     ProxyPass /dav http://127.0.0.1:8080/dav   (in place of" in told.text
    assert remains(below) == ([], 0)


# What is no failure, but worth a word: the check, its verdict, and a part of what is said.
WORDS: dict[str, tuple[Faults, str, str, str]] = {
    "uploads are gathered": (Faults(gathers=True), "buffering", "warning", "gathers it first"),
    "answers after the body": (
        Faults(gathers=True, name="Apache/2.4.66"),
        "buffering",
        "note",
        "Apache passes no answer on",
    ),
    "a limit above the size": (
        Faults(limit=4 << 20),
        "limit",
        "warning",
        "a PUT of 100 MiB is refused (413)",
    ),
    "a clock behind": (Faults(days=1), "clock", "warning", "s behind this machine's"),
    "Expect lost": (Faults(drops=("expect",)), "Expect", "warning", "no 100 Continue"),
    "no tag from PUT": (Faults(hides_from_put=("etag",)), "ETag", "note", "PUT does not tell it"),
    "a tag that is taken back": (
        Faults(compresses=True, tag='{}-gzip"'),
        "compression",
        "warning",
        "GET is encoded with gzip; Content-Length is lost",
    ),
}


SLOW = ("Expect lost", "answers after the body", "uploads are gathered")
"""What is found by waiting: seconds each."""


@pytest.mark.parametrize(
    ("faults", "check", "verdict", "words"),
    [
        pytest.param(*case, id=id, marks=[pytest.mark.long] if id in SLOW else [])
        for id, case in WORDS.items()
    ],
)
def test_what_is_no_failure_is_told_and_counts_not(
    server: Server, faults: Faults, check: str, verdict: str, words: str
) -> None:
    with Proxy(server.port, faults) as proxy:
        told = examine(proxy.url)
    found = [line for line in told.lines if line.startswith(f"{verdict:<8} {check:<18} ")]

    assert told.code == WELL, told.text
    assert len(found) == 1, told.text
    assert words in found[0]
    assert remains(server) == ([], 0)


def test_who_may_only_read_is_told_that_writing_was_not_looked_at(tmp_path: Path) -> None:
    with Server(tmp_path, arguments=["--read-only"]) as server:
        told = examine(server.url)

    assert told.code == BROKEN
    assert told.checks("BROKEN") == ["MKCOL"]
    assert "what needs writing was not looked at" in told.text
    assert "Give a URL where the user may write, or another user." in told.text


def test_locks_that_are_not_offered_are_not_tried(server: Server) -> None:
    with Proxy(server.port, Faults(replaces_head=("dav", "1"))) as proxy:
        told = examine(proxy.url)

    assert told.code == WELL, told.text
    assert "DAV: 1: no locks" in told.text
    assert not any(head.startswith("lock ") for head in proxy.heads)


def test_an_upload_that_stands_still(server: Server) -> None:
    told = examine(server.url, pause_s=0.5)

    assert told.code == WELL
    assert "pause of 0.5 s" in told.checks("ok")


@pytest.mark.long
def test_an_upload_that_is_cut_off_for_standing_still(tmp_path: Path) -> None:
    with Server(tmp_path, environment={"DAVSERVER_BODY_IDLE_S": "1"}) as hasty:
        begun = time.monotonic()
        told = examine(hasty.url, pause_s=4)

        assert told.code == BROKEN, told.text
        assert told.checks("BROKEN") == ["pause of 4 s"]
        assert "1. Long requests are cut off (pause of 4 s)" in told.text
        assert time.monotonic() - begun < 60
        assert remains(hasty) == ([], 0)


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_remedy(cause: Cause) -> None:
    assert (cause in REMEDIES) != (cause in ADVICE)


@pytest.mark.parametrize("cause", REMEDIES)
def test_a_remedy_names_every_proxy_and_only_facts_that_there_are(cause: Cause) -> None:
    facts = dict.fromkeys(
        ("path", "url", "bare", "prefix", "header", "method", "names", "location"), "x"
    )
    lines = REMEDIES[cause]

    assert set(PROXIES) <= set(lines) <= {*PROXIES, CLOUDFLARE, DAVSERVER}
    for line in lines.values():
        assert line.format_map(facts)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1000", 1000), ("16MiB", 16 << 20), ("1 GiB", 1 << 30), ("64k", 65_536), ("2MB", 2 << 20)],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5GiB", "16TiB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no size"):
        parse_size(text)


def test_the_large_upload_has_the_size_that_was_asked_for(server: Server) -> None:
    told = examine(server.url, size=SIZE + 1)

    assert f"ok       PUT, {SIZE + 1} bytes 201 Created" in told.text
