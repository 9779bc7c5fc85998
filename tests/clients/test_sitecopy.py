"""sitecopy keeps a copy of a folder on the real server (sitecopy 0.16.6, neon 0.32)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.clients.names import NAMES
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(60)]

CONFIGURATION = """\
site test
  server 127.0.0.1
  port {port}
  protocol webdav
  local {local}
  remote /{remote}/
  permissions exec
  state checksum
  checkmoved renames
"""
Sitecopy = Callable[..., str]


@pytest.fixture
def local(tmp_path: Path) -> Path:
    path = tmp_path / "local"
    path.mkdir()
    return path


@pytest.fixture
def remote(server: Server, request: pytest.FixtureRequest) -> Path:
    """The folder of this test on the server's disk."""
    path = server.root / request.node.name
    path.mkdir()
    return path


@pytest.fixture
def sitecopy(
    client: Callable[[str], str], server: Server, tmp_path: Path, local: Path, remote: Path
) -> Sitecopy:
    """Returns a function that does something with the site, `--init` done."""
    program = client("sitecopy")
    (tmp_path / ".sitecopy").mkdir(mode=0o700)
    configuration = tmp_path / ".sitecopyrc"
    configuration.touch(0o600)
    configuration.write_text(
        CONFIGURATION.format(port=server.port, local=local, remote=remote.name)
    )

    def run(action: str) -> str:
        result = subprocess.run(
            [program, action, "test"],
            env=os.environ | {"HOME": str(tmp_path), "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=50,
            check=False,
        )
        output = result.stdout.decode(errors="replace")
        assert result.returncode == 0, output
        return output

    run("--init")
    return run


def content_of(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


@pytest.mark.client("sitecopy", "read", "write", "list")
def test_site_is_put_up_listed_and_brought_back(
    sitecopy: Sitecopy, local: Path, remote: Path
) -> None:
    (local / "sub").mkdir()
    (local / "sub" / "page.html").write_bytes(b"<p>page</p>")
    (local / "index.html").write_bytes(b"<p>index</p>")
    sitecopy("--update")
    put_up = content_of(remote)
    fetched = sitecopy("--fetch")
    (local / "index.html").unlink()
    sitecopy("--synch")

    assert put_up == {"index.html": b"<p>index</p>", "sub/page.html": b"<p>page</p>"}
    assert "File: sub/page.html - size 11" in fetched
    assert content_of(local) == put_up


@pytest.mark.client("sitecopy", "rename", "delete")
def test_changes_are_carried_over(sitecopy: Sitecopy, local: Path, remote: Path) -> None:
    for name in ("changed.txt", "renamed.txt", "gone.txt"):
        (local / name).write_bytes(name.encode())
    sitecopy("--update")
    (local / "changed.txt").write_bytes(b"now longer than it was")
    (local / "renamed.txt").rename(local / "new name.txt")
    (local / "gone.txt").unlink()
    output = sitecopy("--update")

    assert "Moving renamed.txt->new name.txt: done." in output
    assert content_of(remote) == content_of(local)


def test_executable_bit_is_carried_over(sitecopy: Sitecopy, local: Path, remote: Path) -> None:
    (local / "run.sh").write_bytes(b"#!/bin/sh\n")
    (local / "run.sh").chmod(0o755)
    (local / "text.txt").write_bytes(b"text")
    sitecopy("--update")

    assert (remote / "run.sh").stat().st_mode & 0o111
    assert not (remote / "text.txt").stat().st_mode & 0o111


@pytest.mark.client("sitecopy", "names")
def test_odd_names_are_put_up(sitecopy: Sitecopy, local: Path, remote: Path) -> None:
    for name in NAMES:
        (local / name).write_bytes(name.encode())
    sitecopy("--update")
    fetched = sitecopy("--fetch")

    assert content_of(remote) == {name: name.encode() for name in NAMES}
    assert [name for name in NAMES if f"File: {name} - size" not in fetched] == []


@pytest.mark.client("sitecopy", "large")
def test_large_file_is_put_up(sitecopy: Sitecopy, local: Path, remote: Path) -> None:
    content = os.urandom(1 << 20) * 50
    (local / "large.bin").write_bytes(content)
    sitecopy("--update")

    assert (remote / "large.bin").read_bytes() == content
