"""What a mounted file system can do, found out by trying it under hidden names in its root."""

from __future__ import annotations

import os
import secrets

from davserver.storage import _linux


def probe_exchange(root_fd: int, owner: str) -> bool:
    """True when the root's file system swaps two names in one step."""
    ends = [f".davserver.{owner}.swap{secrets.token_hex(8)}".encode() for _ in range(2)]
    made = []
    try:
        for name in ends:
            os.mkdir(name, 0o700, dir_fd=root_fd)
            made.append(name)
        _linux.renameat2(root_fd, ends[0], root_fd, ends[1], _linux.RENAME_EXCHANGE)
    except OSError:
        return False
    else:
        return True
    finally:
        for name in made:
            os.rmdir(name, dir_fd=root_fd)


def probe_folding(root_fd: int, owner: str) -> bool:
    """True when the root's file system takes names that differ in case for one."""
    name = f".davserver.{owner}.case{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        os.close(os.open(name, flags, 0o600, dir_fd=root_fd))
    except OSError:
        return False
    try:
        os.stat(name.upper(), dir_fd=root_fd, follow_symlinks=False)
    except OSError:
        return False
    else:
        return True
    finally:
        os.unlink(name, dir_fd=root_fd)


def probe_links(root_fd: int, owner: str) -> bool:
    """True when the root's file system has symbolic links."""
    name = f".davserver.{owner}.link{secrets.token_hex(8)}"
    try:
        os.symlink(".", name, dir_fd=root_fd)
    except OSError:
        return False
    os.unlink(name, dir_fd=root_fd)
    return True
