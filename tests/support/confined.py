"""Servers that run out of something, or may not do something: real limits of the system.

Each launcher is a command that becomes the server, in a mount namespace of its own where it needs
one. All need root; without, the tests that ask for them are skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.server import Server

_DISK = """
mkdir -p "$1/disk" "$1/root" "$1/state" &&
mount -t tmpfs -o "$2" none "$1/disk" &&
mkdir -p "$1/disk/root" "$1/disk/state" && chmod 700 "$1/disk/state" || exit 1
case $3 in *root*) mount --bind "$1/disk/root" "$1/root" || exit 1;; esac
case $3 in *state*) mount --bind "$1/disk/state" "$1/state" || exit 1;; esac
shift 3; exec "$@"
"""
_OWN_MOUNT = """
mount --bind "$1" "$1" || exit 1
shift; exec "$@"
"""


def require_root(*programs: str) -> None:
    """Skips the test where it cannot be run; fails it in CI."""
    missing = [name for name in programs if shutil.which(name) is None]
    if os.geteuid() == 0 and not missing:
        return
    reason = f"not installed: {missing}" if missing else "needs root"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def on_small_disk(folder: Path, options: str, *, holds: str) -> Server:
    """A server on a tmpfs.

    Args:
        options: of the mount: `size=1m,nr_inodes=50`.
        holds: "root", "state" or "root and state": what is on it.
    """
    require_root("unshare", "mount")
    launcher = ["unshare", "-m", "sh", "-c", _DISK, "sh", str(folder), options, holds]
    return Server(folder, launcher=launcher)


def without_override(folder: Path) -> Server:
    """A server that may do no more to a file than its mode says, also where root runs it."""
    if os.geteuid():
        return Server(folder)
    require_root("setpriv")
    return Server(folder, launcher=["setpriv", "--bounding-set", "-dac_override,-dac_read_search"])


def on_own_mount(folder: Path) -> Server:
    """A server whose root can be mounted otherwise while it runs."""
    require_root("unshare", "mount", "nsenter")
    launcher = ["unshare", "-m", "sh", "-c", _OWN_MOUNT, "sh", str(folder / "root")]
    return Server(folder, launcher=launcher)


def remount(server: Server, path: Path, options: str) -> None:
    """Changes a mount that only that server sees: `ro,bind`, `size=4m`."""
    command = ["nsenter", "-m", "-t", str(server.pid), "mount", "-o", f"remount,{options}", path]
    subprocess.run(command, check=True, timeout=10)


def without_privileges(folder: Path) -> Server:
    """A server to which the modes of its own files mean what they say, root though it is."""
    require_root("setpriv")
    lost = "-dac_override,-dac_read_search,-fowner"
    return Server(folder, launcher=["setpriv", f"--bounding-set={lost}", f"--inh-caps={lost}"])


def with_few_descriptors(folder: Path, number: int) -> Server:
    require_root("prlimit")
    return Server(folder, launcher=["prlimit", f"--nofile={number}:{number}"])


def seen_by(server: Server, path: Path) -> Path:
    """The path as that server sees it, whose mounts nobody else has."""
    return Path(f"/proc/{server.pid}/root{path}")
