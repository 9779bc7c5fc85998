"""curl against the real server."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.support.dav import LOCKINFO
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(60)]

Curl = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def curl(client: Callable[[str], str], tmp_path: Path) -> Curl:
    """Returns a function that runs curl and gives its result; headers go to standard error."""
    program = client("curl")

    def run(*arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [program, "--silent", "--show-error", "--max-time", "40"]
        return subprocess.run(
            [*command, *arguments], input=data, cwd=tmp_path, capture_output=True, check=True
        )

    return run


def status_of(curl: Curl, *arguments: str, data: bytes = b"") -> int:
    result = curl("--output", "body", "--write-out", "%{http_code}", *arguments, data=data)
    return int(result.stdout)


@pytest.mark.client("curl", "write")
@pytest.mark.rfc("HF-05")
def test_upload_from_a_pipe_is_chunked_and_stored_whole(curl: Curl, server: Server) -> None:
    content = os.urandom(3_000_001)
    status = status_of(curl, "--upload-file", "-", server.url + "piped.bin", data=content)

    assert status == 201
    assert (server.root / "piped.bin").read_bytes() == content


@pytest.mark.rfc("HE-01")
def test_expect_100_continue_is_answered_with_100_before_the_body(
    curl: Curl, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "big").write_bytes(bytes(2_500_000))
    result = curl("-v", "-H", "Expect: 100-continue", "-T", "big", server.url + "expect.bin")

    assert b"< HTTP/1.1 100 Continue" in result.stderr
    assert b"< HTTP/1.1 201 Created" in result.stderr
    assert (server.root / "expect.bin").stat().st_size == 2_500_000


@pytest.mark.rfc("HE-01", "HC-06")
def test_expect_with_a_failing_condition_gets_412_without_100(
    curl: Curl, server: Server, tmp_path: Path
) -> None:
    (server.root / "taken.bin").write_bytes(b"old")
    (tmp_path / "big").write_bytes(bytes(2_500_000))
    result = curl(
        *("-v", "-H", "Expect: 100-continue", "-H", "If-None-Match: *", "-T", "big"),
        server.url + "taken.bin",
    )

    assert b"100 Continue" not in result.stderr
    assert b"< HTTP/1.1 412 " in result.stderr
    assert (server.root / "taken.bin").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("0-9", (0, 10)), ("990-", (990, 1000)), ("-5", (995, 1000)), ("995-2000", (995, 1000))],
    ids=["first ten", "to the end", "suffix", "past the end"],
)
@pytest.mark.rfc("HR-01")
def test_range_gives_that_part(
    curl: Curl, server: Server, tmp_path: Path, asked: str, expected: tuple[int, int]
) -> None:
    content = bytes(range(250)) * 4
    (server.root / "range.bin").write_bytes(content)
    status = status_of(curl, "--range", asked, server.url + "range.bin")

    assert status == 206
    assert (tmp_path / "body").read_bytes() == content[slice(*expected)]


@pytest.mark.client("curl", "read")
@pytest.mark.rfc("HR-01")
def test_interrupted_download_is_continued(curl: Curl, server: Server, tmp_path: Path) -> None:
    content = os.urandom(500_000)
    (server.root / "resume.bin").write_bytes(content)
    (tmp_path / "part").write_bytes(content[:123_456])
    curl("--continue-at", "-", "--output", "part", server.url + "resume.bin")

    assert (tmp_path / "part").read_bytes() == content


@pytest.mark.rfc("PU-07")
def test_continued_upload_is_refused_and_changes_nothing(
    curl: Curl, server: Server, tmp_path: Path
) -> None:
    (server.root / "partial.bin").write_bytes(b"0123456789")
    (tmp_path / "new").write_bytes(b"abcdefghijklmnop")
    status = status_of(curl, "-C", "10", "-T", "new", server.url + "partial.bin")

    assert status == 400
    assert (server.root / "partial.bin").read_bytes() == b"0123456789"


@pytest.mark.client("curl", "large")
def test_large_file_comes_back_the_same(curl: Curl, server: Server, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 30
    (tmp_path / "large").write_bytes(content)

    assert status_of(curl, "-T", "large", server.url + "large.bin") == 201
    assert status_of(curl, server.url + "large.bin") == 200
    received = (tmp_path / "body").read_bytes()
    assert hashlib.sha256(content).digest() == hashlib.sha256(received).digest()


@pytest.mark.client("curl", "list")
def test_propfind_lists_the_members(curl: Curl, server: Server) -> None:
    (server.root / "listed").mkdir()
    (server.root / "listed" / "a b.txt").write_bytes(b"x")
    output = curl("-X", "PROPFIND", "-H", "Depth: 1", server.url + "listed").stdout

    assert re.findall(rb"<D:href>(.*?)</D:href>", output) == [b"/listed/", b"/listed/a%20b.txt"]


@pytest.mark.client("curl", "rename", "delete")
def test_collection_is_made_renamed_and_deleted(curl: Curl, server: Server) -> None:
    made = status_of(curl, "-X", "MKCOL", server.url + "made/")
    destination = f"Destination: {server.url}renamed"
    moved = status_of(curl, "-X", "MOVE", "-H", destination, server.url + "made")
    is_there = (server.root / "renamed").is_dir()
    deleted = status_of(curl, "-X", "DELETE", server.url + "renamed")

    assert (made, moved, deleted) == (201, 201, 204)
    assert is_there
    assert not (server.root / "renamed").exists()


@pytest.mark.client("curl", "lock")
def test_upload_with_the_token_of_a_lock(curl: Curl, server: Server, tmp_path: Path) -> None:
    (server.root / "locked.txt").write_bytes(b"old")
    (tmp_path / "new").write_bytes(b"new")
    url = server.url + "locked.txt"
    lockinfo = LOCKINFO.format(scope="exclusive", owner="")
    head = curl("-D", "-", "-o", "body", "-X", "LOCK", "-d", lockinfo, url).stdout.decode()
    token = next(line for line in head.splitlines() if line.lower().startswith("lock-token:"))
    refused = status_of(curl, "-T", "new", url)
    stored = status_of(curl, "-T", "new", "-H", f"If: ({token.split()[1]})", url)
    freed = status_of(curl, "-X", "UNLOCK", "-H", token, url)

    assert (refused, stored, freed) == (423, 204, 204)
    assert (server.root / "locked.txt").read_bytes() == b"new"


@pytest.mark.client("curl", "times")
def test_times_are_kept_both_ways(curl: Curl, server: Server, tmp_path: Path) -> None:
    (tmp_path / "up").write_bytes(b"x")
    curl("-T", "up", "-H", "X-OC-Mtime: 1000000000", server.url + "dated.txt")
    curl("--remote-time", "--output", "down", server.url + "dated.txt")

    assert (server.root / "dated.txt").stat().st_mtime // 1 == 1_000_000_000
    assert (tmp_path / "down").stat().st_mtime == 1_000_000_000


@pytest.mark.client("curl", "names")
@pytest.mark.parametrize(
    "name", ["with space.txt", "100%25#?&+;=,@!'()[].txt", "Größe 日本語 🥳.txt", "a\\b:*|<>~.txt"]
)
def test_odd_name_goes_up_and_comes_back(
    curl: Curl, server: Server, tmp_path: Path, name: str
) -> None:
    (tmp_path / "up").write_bytes(b"content")
    stored = status_of(curl, "-T", "up", server.url + quote(name))
    read = status_of(curl, "--globoff", server.url + quote(name))

    assert (stored, read) == (201, 200)
    assert (server.root / name).read_bytes() == b"content"
    assert (tmp_path / "body").read_bytes() == b"content"


@pytest.mark.rfc("HC-03", "HC-09")
def test_time_condition_saves_the_transfer(curl: Curl, server: Server, tmp_path: Path) -> None:
    (server.root / "timed.txt").write_bytes(b"text")
    curl("--etag-save", "tag", "--output", "first", server.url + "timed.txt")
    status = status_of(curl, "--etag-compare", "tag", server.url + "timed.txt")

    assert status == 304


def test_many_requests_share_one_connection(curl: Curl, server: Server) -> None:
    for number in range(5):
        (server.root / f"many-{number}.txt").write_bytes(b"x" * number)
    result = curl("-v", server.url + "many-[0-4].txt")

    assert result.stdout == b"x" * 10
    assert result.stderr.count(b"Re-using existing connection") == 4
