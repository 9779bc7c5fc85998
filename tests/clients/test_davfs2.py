"""A davfs2 mount of the real server (davfs2 1.6.1). Needs root and /dev/fuse."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.server import Server

CAP_SYS_ADMIN = 21


def why_no_mounting() -> str | None:
    """Returns why this machine lets us mount nothing; None when it does."""
    if os.geteuid() != 0:
        return "mounting needs root"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        return f"/dev/fuse: {error.strerror}"
    effective = re.search(r"CapEff:\s*([0-9a-f]+)", Path("/proc/self/status").read_text())
    if effective is not None and not int(effective[1], 16) >> CAP_SYS_ADMIN & 1:
        return "root here lacks CAP_SYS_ADMIN"
    return None


REASON = why_no_mounting()
pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(180),
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]

# buf_size 64: without it recent kernels get EINVAL when they list a directory.
CONFIGURATION = """\
ask_auth 0
use_locks 1
delay_upload 0
gui_optimize 0
buf_size 64
dir_refresh 1
file_refresh 1
cache_dir /var/cache/davfs2
secrets {secrets}
"""


class Mount:
    """A mounted share; `umount` waits until every upload is done."""

    def __init__(self, program: str, url: str, folder: Path) -> None:
        self.path = folder
        self._mounts = 0
        self._program = program
        self._url = url
        self._folder = folder

    def mount(self) -> None:
        # A mount point of its own has a cache of its own: what is read comes from the server.
        self._mounts += 1
        self.path = self._folder / f"mnt-{self._mounts}"
        self.path.mkdir()
        secrets = self._folder / "secrets"
        secrets.touch(0o600)
        conf = self._folder / "davfs2.conf"
        conf.write_text(CONFIGURATION.format(secrets=secrets))
        conf.chmod(0o600)
        options = f"conf={conf},uid=0,gid=0,rw"
        command = [self._program, self._url, str(self.path), "-o", options]
        result = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
        assert result.returncode == 0, result.stdout.decode(errors="replace")

    def umount(self) -> None:
        if os.path.ismount(self.path):
            subprocess.run(["umount", str(self.path)], check=True, timeout=60)


@pytest.fixture
def mount(client: Callable[[str], str], server: Server, tmp_path: Path) -> Iterator[Mount]:
    mounted = Mount(client("mount.davfs"), server.url, tmp_path)
    mounted.mount()
    try:
        yield mounted
    finally:
        mounted.umount()
        for cache in Path("/var/cache/davfs2").glob(f"*-{tmp_path.name}-mnt-*"):
            shutil.rmtree(cache)


def await_stored(path: Path, content: bytes) -> None:
    """Waits until an upload, which davfs2 begins some time after close, has arrived."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        if path.exists() and path.read_bytes() == content:
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} never had the {len(content)} bytes written")


def test_written_file_is_stored_and_read_back(mount: Mount, server: Server) -> None:
    content = os.urandom(1_234_567)
    (mount.path / "data.bin").write_bytes(content)
    await_stored(server.root / "data.bin", content)
    mount.umount()
    mount.mount()

    assert (mount.path / "data.bin").read_bytes() == content


def test_renamed_file_keeps_its_content(mount: Mount, server: Server) -> None:
    (mount.path / "old name ä.txt").write_bytes(b"content")
    await_stored(server.root / "old name ä.txt", b"content")
    (mount.path / "old name ä.txt").rename(mount.path / "new name ü.txt")

    await_stored(server.root / "new name ü.txt", b"content")
    assert not (server.root / "old name ä.txt").exists()
    assert (mount.path / "new name ü.txt").read_bytes() == b"content"


def test_directories_are_made_renamed_listed_and_removed(mount: Mount, server: Server) -> None:
    (mount.path / "one").mkdir()
    for number in range(5):
        (mount.path / "one" / f"file {number}").write_bytes(b"%d" % number)
    await_stored(server.root / "one" / "file 4", b"4")
    (mount.path / "one").rename(mount.path / "two")

    assert sorted(os.listdir(mount.path / "two")) == [f"file {n}" for n in range(5)]
    for number in range(5):
        (mount.path / "two" / f"file {number}").unlink()
    (mount.path / "two").rmdir()
    assert not (server.root / "two").exists()


def test_overwritten_and_appended_file_is_stored(mount: Mount, server: Server) -> None:
    path = mount.path / "notes.txt"
    path.write_bytes(b"first\n")
    await_stored(server.root / "notes.txt", b"first\n")
    path.write_bytes(b"second\n")
    await_stored(server.root / "notes.txt", b"second\n")
    with path.open("ab") as file:
        file.write(b"third\n")

    await_stored(server.root / "notes.txt", b"second\nthird\n")


def test_executable_bit_is_changed(mount: Mount, server: Server) -> None:
    (mount.path / "run.sh").write_bytes(b"#!/bin/sh\n")
    await_stored(server.root / "run.sh", b"#!/bin/sh\n")
    (mount.path / "run.sh").chmod(0o755)
    mount.umount()

    assert (server.root / "run.sh").stat().st_mode & 0o100


def test_umount_leaves_nothing_locked(mount: Mount, server: Server) -> None:
    (mount.path / "unlocked.txt").write_bytes(b"text")
    await_stored(server.root / "unlocked.txt", b"text")
    mount.umount()

    with server.connect() as connection:
        assert connection.locks("/unlocked.txt") == []
        assert connection.put("/unlocked.txt", b"other").status == 204
