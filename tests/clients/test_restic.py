"""restic keeps a repository on the real server, through rclone (restic 0.14)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

Restic = Callable[..., str]


@pytest.fixture
def restic(client: Callable[[str], str], server: Server, tmp_path: Path) -> Restic:
    """Returns a function that runs restic on the repository `backup` of the server."""
    program = client("restic")
    client("rclone")
    environment = {
        "HOME": str(tmp_path),
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_DAV_TYPE": "webdav",
        "RCLONE_CONFIG_DAV_VENDOR": "other",
        "RCLONE_CONFIG_DAV_URL": server.url,
        "RESTIC_PASSWORD": "secret",
        "RESTIC_REPOSITORY": "rclone:dav:backup",
    }

    def run(*arguments: str) -> str:
        result = subprocess.run(
            [program, "--quiet", *arguments],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=100,
            check=False,
        )
        output = result.stdout.decode(errors="replace")
        assert result.returncode == 0, output
        return output

    return run


def write_tree(root: Path) -> dict[str, bytes]:
    content = {f"dir-{n % 4}/file {n} ä.bin": os.urandom(n * 10_000) for n in range(40)}
    for name, data in content.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)
    return content


@pytest.mark.client("restic (through rclone)", "list", "read", "write", "delete")
def test_backup_is_whole_restored_and_forgotten(
    restic: Restic, server: Server, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    content = write_tree(source)
    restic("init")
    restic("backup", str(source))
    (source / "dir-0" / "file 0 ä.bin").write_bytes(b"changed")
    restic("backup", str(source))
    restic("forget", "--keep-last", "1", "--prune")
    restic("check", "--read-data")
    restic("restore", "latest", "--target", str(tmp_path / "restored"))

    restored = tmp_path / "restored" / source.relative_to("/")
    assert {str(p.relative_to(restored)): p.read_bytes() for p in restored.rglob("*.bin")} == (
        content | {"dir-0/file 0 ä.bin": b"changed"}
    )
    assert len(os.listdir(server.root / "backup" / "snapshots")) == 1
    assert os.listdir(server.root / "backup" / "locks") == []
