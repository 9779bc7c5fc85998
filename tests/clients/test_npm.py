"""webdav, the npm package that Obsidian's Remotely Save and others use (webdav 5.11).

Its getQuota finds nothing: it looks among all properties, where RFC 4331 section 3 wants none.
The steps are JavaScript: tests/clients/npm/drive.mjs runs them. Where the package lies:
tests/run.sh installs it.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.clients.names import NAMES
from tests.conftest import lack
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(60)]

DRIVE = Path(__file__).with_name("npm") / "drive.mjs"
INSTALLED = Path(__file__).resolve().parents[2] / ".clients" / "npm"
LARGE = 50 << 20

Drive = Callable[..., Any]


@pytest.fixture
def drive(client: Callable[[str], str], server: Server, tmp_path: Path) -> Drive:
    """Returns a function that runs steps and gives what they return. `$NAME` in them stands for
    the argument of this name, as JSON."""
    node = client("node")
    if not (INSTALLED / "node_modules" / "webdav").is_dir():
        lack(f"npm's webdav is not in {INSTALLED} (sh tests/run.sh installs it)")

    def run(steps: str, **values: Any) -> Any:
        for name, value in values.items():
            steps = steps.replace(f"${name}", json.dumps(value))
        result = subprocess.run(
            [node, DRIVE, INSTALLED, server.url],
            input=steps.encode(),
            cwd=tmp_path,
            capture_output=True,
            timeout=50,
            check=False,
        )
        assert result.returncode == 0, result.stderr.decode(errors="replace")
        return json.loads(result.stdout)

    return run


@pytest.mark.client("webdav (npm)", "read", "write")
def test_file_is_put_replaced_and_read(drive: Drive, server: Server) -> None:
    read = drive("""
        await dav.putFileContents("/file.txt", "old");
        const created = await dav.putFileContents("/file.txt", "new", {overwrite: false});
        await dav.putFileContents("/file.txt", "Größe 🥳");
        return [created, await dav.getFileContents("/file.txt", {format: "text"})];
    """)

    assert read == [False, "Größe 🥳"]
    assert (server.root / "file.txt").read_text() == "Größe 🥳"


def test_part_of_a_file_is_read(drive: Drive, server: Server) -> None:
    (server.root / "digits").write_bytes(b"0123456789")
    read = drive("""
        let text = "";
        for await (const piece of dav.createReadStream("/digits", {range: {start: 3, end: 6}}))
            text += piece;
        return text;
    """)

    assert read == "3456"


@pytest.mark.client("webdav (npm)", "list", "times")
def test_what_is_told_of_resources_is_true(drive: Drive, server: Server) -> None:
    (server.root / "told" / "sub").mkdir(parents=True)
    (server.root / "told" / "file.txt").write_bytes(b"12345")
    os.utime(server.root / "told" / "file.txt", (1_000_000_000, 1_000_000_000))
    told = drive("""
        const short = (entries) => entries.map((one) => [one.filename, one.type, one.size]).sort();
        return {
            shallow: short(await dav.getDirectoryContents("/told")),
            deep: short(await dav.getDirectoryContents("/", {deep: true}))
                .filter(([name]) => name.startsWith("/told")),
            stat: await dav.stat("/told/file.txt"),
            exists: [await dav.exists("/told"), await dav.exists("/no")],
            compliance: (await dav.getDAVCompliance("/")).compliance,
        };
    """)

    assert told["shallow"] == [["/told/file.txt", "file", 5], ["/told/sub", "directory", 0]]
    assert told["deep"] == [["/told", "directory", 0], *told["shallow"]]
    assert told["stat"]["lastmod"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert told["stat"]["mime"] == "text/plain"
    with server.connect() as connection:
        etag = connection.head("/told/file.txt").headers["etag"]
    assert told["stat"]["etag"] == etag.strip('"')
    assert told["exists"] == [True, False]
    assert told["compliance"][:2] == ["1", "2"]


@pytest.mark.client("webdav (npm)", "rename", "delete")
def test_resources_are_made_moved_copied_and_deleted(drive: Drive, server: Server) -> None:
    refused = drive("""
        await dav.createDirectory("/from/a/b", {recursive: true});
        await dav.putFileContents("/from/a/file.txt", "x");
        await dav.copyFile("/from", "/copied");
        await dav.moveFile("/from", "/moved");
        await dav.moveFile("/moved/a/file.txt", "/moved/renamed.txt");
        const status = await refused(dav.moveFile("/moved", "/copied", {overwrite: false}));
        await dav.deleteFile("/copied");
        return status;
    """)

    assert refused == 412
    assert sorted(os.listdir(server.root / "moved")) == ["a", "renamed.txt"]
    assert os.listdir(server.root / "moved" / "a") == ["b"]
    assert not (server.root / "copied").exists()


@pytest.mark.client("webdav (npm)", "lock")
def test_locked_file_takes_only_its_holders_changes(drive: Drive, server: Server) -> None:
    (server.root / "guarded.txt").write_bytes(b"old")
    told = drive("""
        const {token, serverTimeout} = await dav.lock("/guarded.txt");
        const again = await refused(connect().lock("/guarded.txt"));
        const put = await refused(connect().putFileContents("/guarded.txt", "theirs"));
        const headers = {If: `(<${token}>)`};
        await dav.putFileContents("/guarded.txt", "mine", {headers});
        const renewed = await dav.lock("/guarded.txt", {refreshToken: token});
        await dav.unlock("/guarded.txt", token);
        return {again, put, serverTimeout, same: renewed.token === token};
    """)

    assert told == {"again": 423, "put": 423, "serverTimeout": "Second-86400", "same": True}
    assert (server.root / "guarded.txt").read_bytes() == b"mine"
    with server.connect() as connection:
        assert connection.locks("/guarded.txt") == []


@pytest.mark.client("webdav (npm)", "names")
def test_odd_names_are_stored_listed_renamed_and_read(drive: Drive, server: Server) -> None:
    told = drive(
        """
        await dav.createDirectory("/odd");
        const read = {};
        for (const name of $names) {
            await dav.putFileContents(`/odd/${name}`, name);
            await dav.moveFile(`/odd/${name}`, `/odd/new ${name}`);
            read[name] = await dav.getFileContents(`/odd/new ${name}`, {format: "text"});
        }
        const listed = await dav.getDirectoryContents("/odd");
        return {read, listed: listed.map((one) => one.basename)};
        """,
        names=NAMES,
    )

    renamed = sorted(f"new {name}" for name in NAMES)
    assert told["read"] == {name: name for name in NAMES}
    assert sorted(told["listed"]) == renamed
    assert sorted(os.listdir(server.root / "odd")) == renamed


@pytest.mark.client("webdav (npm)", "large")
def test_large_file_goes_up_and_down_in_streams(
    drive: Drive, server: Server, tmp_path: Path
) -> None:
    content = os.urandom(1 << 20) * (LARGE >> 20)
    (tmp_path / "up").write_bytes(content)
    drive("""
        const {pipeline} = await import("node:stream/promises");
        await dav.putFileContents("/large.bin", fs.createReadStream("up"));
        await pipeline(dav.createReadStream("/large.bin"), fs.createWriteStream("down"));
    """)

    assert (server.root / "large.bin").read_bytes() == content
    assert (tmp_path / "down").read_bytes() == content


def test_what_is_not_offered_is_refused_clearly(drive: Drive, server: Server) -> None:
    (server.root / "kept.txt").write_bytes(b"0123456789")
    search = drive("""return await refused(dav.search("/", {data: "<x/>"}))""")

    assert search in (405, 501)
    assert (server.root / "kept.txt").read_bytes() == b"0123456789"
