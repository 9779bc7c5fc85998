"""rclone against the real server, as "other" vendor."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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


def test_awkward_names_are_copied_and_come_back(
    rclone: Rclone, remote: str, tree: Path, server: Server, tmp_path: Path
) -> None:
    rclone("copy", str(tree), remote)
    rclone("copy", remote, str(tmp_path / "back"))
    stored = server.root / "test_awkward_names_are_copied_and_come_back"

    assert content_of(stored) == content_of(tree)
    assert content_of(tmp_path / "back") == content_of(tree)


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
