"""Who is alive: every worker holds an flock on a file of its own for as long as it runs.

Process ids mean nothing across containers; the kernel drops an flock however a process dies.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from davserver.errors import StateFailure

_ID = re.compile(r"[0-9a-f]{16}\Z")


class Owner:
    """One worker's mark in the folder of owners.

    Attributes:
        id: part of hidden names and of journalled changes.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self._folder = folder
        self.id = secrets.token_hex(8)
        # Locked before it gets its name: nobody may find it unlocked and take us for dead.
        unborn = folder / f"new-{self.id}"
        self._fd = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.rename(unborn, folder / self.id)

    def is_alive(self, owner: str) -> bool:
        """False once the owner's lock can be taken, or when it said goodbye."""
        if owner == self.id:
            return True
        if _ID.match(owner) is None:
            return False
        try:
            fd = os.open(self._folder / owner, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            # Not to be told: taking a living worker for dead would undo its work.
            return True
        try:
            # Shared, so that two who ask at once don't take each other for the owner.
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def forget_dead(self) -> None:
        """Removes the marks of owners that left without a goodbye: none is dead just as well."""
        for name in os.listdir(self._folder):
            if _ID.match(name) is not None and not self.is_alive(name):
                with contextlib.suppress(OSError):
                    os.unlink(self._folder / name)

    def close(self) -> None:
        """Says goodbye."""
        with contextlib.suppress(OSError):
            os.unlink(self._folder / self.id)
        os.close(self._fd)

    def abandon(self) -> None:
        """Lets go of what a fork copied; the parent still holds its own."""
        os.close(self._fd)


@contextlib.contextmanager
def another_owner(folder: Path) -> Iterator[str]:
    """Yields the id of a mark that is there as long as the block. Raises StateFailure."""
    try:
        owner = Owner(folder)
    except OSError as exc:
        raise StateFailure(f"the state folder cannot be used: {exc}") from exc
    try:
        yield owner.id
    finally:
        owner.close()
