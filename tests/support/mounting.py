"""Whether this machine lets a test mount a FUSE file system, and waiting for what comes late."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

CAP_SYS_ADMIN = 21
WAIT_S = 30


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


def await_true(condition: Callable[[], bool], what: str) -> None:
    """Waits until a mount, which uploads and looks anew some time later, has done so."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"still not after {WAIT_S} s: {what}")


def await_content(path: Path, content: bytes) -> None:
    def is_there() -> bool:
        return path.exists() and path.read_bytes() == content

    await_true(is_there, f"{path} has the {len(content)} bytes written")
