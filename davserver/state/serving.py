"""Which roots the processes of this state serve: each holds a shared flock on a file a root.

By that a process that finds a root in use can tell whether it is by its own kind.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from davserver.errors import GateBusy, StateFailure
from davserver.state.gatelock import GateLock


class Serving:
    """One process's marks. They are never unlocked, only closed: a fork holds them as well."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._fds: list[int] = []

    @contextmanager
    def marking(self, root: str, *, wait_s: float) -> Iterator[bool]:
        """Marks a root, by its id in keys, when the block ends in peace. Yields True when no
        process of this state has marked it; others that start wait meanwhile.

        Raises StateFailure.
        """
        # Not the gate: a worker that stands still in there keeps nobody from starting.
        starting = GateLock(self._folder / "starting")
        try:
            starting.acquire(wait_s)
            try:
                fd = self._open(root)
                try:
                    is_first = _is_free(fd)
                    yield is_first
                    fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                except BaseException:
                    os.close(fd)
                    raise
                self._fds.append(fd)
            finally:
                starting.release()
        except GateBusy as exc:
            raise StateFailure(
                f"another process has been starting with {self._folder} for {wait_s:g} seconds"
            ) from exc
        except OSError as exc:
            raise StateFailure(f"the state folder cannot be used: {exc}") from exc
        finally:
            starting.close()

    def _open(self, root: str) -> int:
        name = hashlib.blake2b(root.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._folder / f"serving-{name}", flags, 0o600)

    def close(self) -> None:
        """Takes the marks back; harmless twice."""
        fds, self._fds = self._fds, []
        for fd in fds:
            with contextlib.suppress(OSError):
                os.close(fd)


def _is_free(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
