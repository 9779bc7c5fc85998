"""rclone against the real server, as the vendors "other", "owncloud" and "nextcloud".

As "other" it neither sets nor compares times, and knows no checksums.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mounting import await_content, await_true, why_no_mounting
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

NAMES = [
    "plain.txt",
    "with space.txt",
    " leading and trailing .txt",
    "per%cent 100%.txt",
    "hash#tag?query;semi=colon&amp.txt",
    'quote\'s "double".txt',
    "Größe ñandú.txt",
    "日本語/テスト.txt",
    "emoji 🎉/party 🥳.bin",
    "brackets [x] {y} (z).txt",
    "plus+and+more.txt",
    "colon: star* pipe| back\\slash.txt",
    "deep/er/and/deep/er/file.txt",
    "." + "x" * 100 + "/" + "y" * 200,
    ".hidden/.file",
    "tilde~/~file~",
]

OLD = 1_000_000_000

Rclone = Callable[..., str]


@pytest.fixture
def rclone(client: Callable[[str], str], tmp_path: Path) -> Rclone:
    program = client("rclone")

    def run(*arguments: str, code: int = 0) -> str:
        result = subprocess.run(
            [program, "--config", "/dev/null", "--retries", "1", *arguments],
            env=os.environ | {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=100,
            check=False,
        )
        output = result.stdout.decode(errors="replace")
        assert result.returncode == code, output
        return output

    return run


@pytest.fixture
def remote(server: Server, request: pytest.FixtureRequest) -> str:
    """A folder on the server of this test alone."""
    return f":webdav,url='{server.url}',vendor=other:{request.node.name}"


@pytest.fixture(params=["owncloud", "nextcloud"])
def keeping(server: Server, request: pytest.FixtureRequest, stored: Path) -> str:
    """The folder `stored`, by the vendors that keep times and checksums."""
    return f":webdav,url='{server.url}',vendor={request.param}:{stored.name}"


@pytest.fixture
def stored(server: Server, request: pytest.FixtureRequest) -> Path:
    """A folder on the server's disk of this test alone."""
    name = request.node.name.translate(str.maketrans("[]", "--"))
    return server.root / name


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    for number, name in enumerate(NAMES):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() * (number * 50))
    return root


def content_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.client("rclone", "read", "write", "names")
def test_awkward_names_are_copied_and_come_back(
    rclone: Rclone, remote: str, tree: Path, server: Server, tmp_path: Path
) -> None:
    rclone("copy", str(tree), remote)
    rclone("copy", remote, str(tmp_path / "back"))
    stored = server.root / "test_awkward_names_are_copied_and_come_back"

    assert content_of(stored) == content_of(tree)
    assert content_of(tmp_path / "back") == content_of(tree)


@pytest.mark.client("rclone", "list")
def test_check_finds_no_difference_until_there_is_one(
    rclone: Rclone, remote: str, tree: Path, server: Server
) -> None:
    rclone("copy", str(tree), remote)
    same = rclone("check", "--download", str(tree), remote)
    stored = server.root / "test_check_finds_no_difference_until_there_is_one"
    (stored / "plain.txt").write_bytes(b"changed behind")
    different = rclone("check", "--download", str(tree), remote, code=1)

    assert "0 differences found" in same
    assert "1 differences found" in different


def test_sync_makes_the_remote_equal(
    rclone: Rclone, remote: str, tree: Path, server: Server
) -> None:
    rclone("sync", str(tree), remote)
    (tree / "plain.txt").write_bytes(b"another and longer content")
    (tree / "with space.txt").unlink()
    (tree / "日本語" / "テスト.txt").rename(tree / "日本語" / "名前.txt")
    rclone("sync", str(tree), remote)
    again = rclone("sync", "-v", str(tree), remote)

    assert content_of(server.root / "test_sync_makes_the_remote_equal") == content_of(tree)
    assert "Copied" not in again, again


@pytest.mark.client("rclone", "rename", "delete")
def test_move_delete_and_purge(rclone: Rclone, remote: str, tree: Path, server: Server) -> None:
    stored = server.root / "test_move_delete_and_purge"
    rclone("copy", str(tree), remote)
    rclone("moveto", f"{remote}/plain.txt", f"{remote}/new place/plain two.txt")
    rclone("copyto", f"{remote}/tilde~/~file~", f"{remote}/new place/copied")
    rclone("deletefile", f"{remote}/plus+and+more.txt")
    rclone("purge", f"{remote}/deep")

    assert (stored / "new place" / "plain two.txt").is_file()
    assert (stored / "new place" / "copied").is_file()
    assert not (stored / "plain.txt").exists()
    assert not (stored / "plus+and+more.txt").exists()
    assert not (stored / "deep").exists()


def test_part_of_a_file_is_read(rclone: Rclone, remote: str, tree: Path) -> None:
    (tree / "digits").write_bytes(b"0123456789")
    rclone("copy", str(tree / "digits"), remote)

    assert rclone("cat", "--offset", "3", "--count", "4", f"{remote}/digits") == "3456"


def test_streamed_upload_of_unknown_length(
    client: Callable[[str], str], remote: str, server: Server
) -> None:
    content = os.urandom(700_000)
    subprocess.run(
        [client("rclone"), "--config", "/dev/null", "rcat", f"{remote}/stream.bin"],
        input=content,
        check=True,
        timeout=60,
    )
    stored = server.root / "test_streamed_upload_of_unknown_length" / "stream.bin"

    assert stored.read_bytes() == content


@pytest.mark.client("rclone", "large")
def test_large_file_is_copied_and_comes_back(
    rclone: Rclone, remote: str, stored: Path, tmp_path: Path
) -> None:
    content = os.urandom(1 << 20) * 100
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "large").write_bytes(content)
    rclone("copy", str(tmp_path / "up"), remote)
    rclone("copy", remote, str(tmp_path / "down"))

    assert (stored / "large").read_bytes() == content
    assert (tmp_path / "down" / "large").read_bytes() == content


def test_about_tells_the_free_space(rclone: Rclone, remote: str, server: Server) -> None:
    disk = os.statvfs(server.root)
    shown = dict(line.split(":") for line in rclone("about", "--full", remote).splitlines())

    assert int(shown["Free"]) == pytest.approx(disk.f_bavail * disk.f_frsize, rel=0.05)


@pytest.mark.client("rclone", "times")
def test_times_are_kept_and_nothing_is_copied_twice(
    rclone: Rclone, keeping: str, tree: Path, stored: Path
) -> None:
    os.utime(tree / "plain.txt", (OLD, OLD))
    rclone("copy", str(tree), keeping)
    listed = rclone("lsl", "--max-depth", "1", keeping)
    again = rclone("copy", "-v", str(tree), keeping)

    assert int((stored / "plain.txt").stat().st_mtime) == OLD
    assert "2001-09-09" in next(line for line in listed.splitlines() if "plain.txt" in line)
    assert "Copied" not in again, again


@pytest.mark.client("rclone", "times")
def test_moved_and_copied_file_keeps_its_time(
    rclone: Rclone, keeping: str, tree: Path, stored: Path
) -> None:
    os.utime(tree / "plain.txt", (OLD, OLD))
    rclone("copy", str(tree / "plain.txt"), keeping)
    rclone("copyto", f"{keeping}/plain.txt", f"{keeping}/copied.txt")
    rclone("moveto", f"{keeping}/plain.txt", f"{keeping}/moved.txt")

    assert {path.name: int(path.stat().st_mtime) for path in stored.iterdir()} == {
        "copied.txt": OLD,
        "moved.txt": OLD,
    }


def test_checksums_are_kept_and_follow_a_move(
    rclone: Rclone, keeping: str, stored: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_bytes(b"content")
    sha1 = hashlib.sha1(b"content").hexdigest()
    rclone("copy", str(tmp_path / "file"), keeping)
    rclone("copyto", f"{keeping}/file", f"{keeping}/copied")
    rclone("moveto", f"{keeping}/file", f"{keeping}/moved")
    shown = rclone("hashsum", "SHA1", keeping)
    (stored / "moved").write_bytes(b"changed")
    after = rclone("hashsum", "SHA1", keeping)

    assert sorted(shown.splitlines()) == [f"{sha1}  copied", f"{sha1}  moved"]
    assert f"{sha1}  moved" not in after


def test_check_sees_another_content_of_one_size_by_its_checksum(
    rclone: Rclone, keeping: str, tree: Path
) -> None:
    rclone("copy", str(tree), keeping)
    same = rclone("check", str(tree), keeping)
    (tree / "with space.txt").write_bytes(b"?" * (tree / "with space.txt").stat().st_size)
    different = rclone("check", str(tree), keeping, code=1)

    assert f"{len(NAMES)} matching files" in same
    assert "could not be checked" not in same
    assert "1 differences found" in different


def test_newer_file_alone_is_copied_with_update(
    rclone: Rclone, keeping: str, tree: Path, stored: Path
) -> None:
    rclone("copy", str(tree), keeping)
    (tree / "plain.txt").write_bytes(b"older")
    os.utime(tree / "plain.txt", (OLD, OLD))
    (tree / "with space.txt").write_bytes(b"newer")
    os.utime(tree / "with space.txt", (OLD + 2_000_000_000, OLD + 2_000_000_000))
    rclone("copy", "--update", str(tree), keeping)

    assert (stored / "plain.txt").read_bytes() == b""
    assert (stored / "with space.txt").read_bytes() == b"newer"


def test_bisync_carries_changes_both_ways(
    rclone: Rclone, keeping: str, stored: Path, tmp_path: Path
) -> None:
    local = tmp_path / "local"
    local.mkdir()
    for name in ("kept", "changed here", "changed there", "gone here"):
        (local / name).write_bytes(b"old")
    bisync = ("bisync", "--workdir", str(tmp_path / "work"), str(local), keeping)
    rclone("mkdir", keeping)
    rclone(*bisync, "--resync")
    (local / "changed here").write_bytes(b"new here")
    (local / "gone here").unlink()
    (stored / "changed there").write_bytes(b"new there")
    (stored / "made there").write_bytes(b"made")
    # It sees a change by the time, in whole seconds.
    for path in (local / "changed here", stored / "changed there"):
        os.utime(path, (OLD, OLD + 60))
    rclone(*bisync)

    assert content_of(stored) == content_of(local)
    assert content_of(local) == {
        "kept": b"old",
        "changed here": b"new here",
        "changed there": b"new there",
        "made there": b"made",
    }


@pytest.mark.client("rclone", "mount")
@pytest.mark.skipif(why_no_mounting() is not None, reason=why_no_mounting() or "")
def test_mount_reads_writes_renames_and_deletes(
    client: Callable[[str], str], remote: str, stored: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mount"
    path.mkdir()
    stored.mkdir()
    (stored / "there.txt").write_bytes(b"from the server")
    command = [client("rclone"), "--config", "/dev/null", "mount", remote, path]
    options = ["--vfs-cache-mode", "writes", "--vfs-write-back", "100ms", "--dir-cache-time", "0"]
    process = subprocess.Popen(
        [*command, *options], env=os.environ | {"HOME": str(tmp_path)}, stderr=subprocess.DEVNULL
    )
    try:
        await_true(lambda: os.path.ismount(path), "it is mounted")
        await_content(path / "there.txt", b"from the server")
        (path / "folder").mkdir()
        (path / "folder" / "new.txt").write_bytes(b"written")
        await_content(stored / "folder" / "new.txt", b"written")
        (path / "folder" / "new.txt").rename(path / "renamed ä.txt")
        await_content(stored / "renamed ä.txt", b"written")
        (path / "there.txt").unlink()
        (path / "folder").rmdir()

        assert os.listdir(path) == ["renamed ä.txt"]
        assert os.listdir(stored) == ["renamed ä.txt"]
    finally:
        # It unmounts when asked to end.
        process.send_signal(signal.SIGINT)
        process.wait(20)
