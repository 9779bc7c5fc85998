"""Undo logs in files, one for each atomic change: a line of JSON for each step.

What is undone is cut off again, so that undoing needs no room and goes on where it ended.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from davserver.errors import StateFailure, StateFull
from davserver.state.base import Step, UndoLog
from davserver.state.journal import dump_steps, load_steps
from davserver.state.sqlfile import sync_folder


class FileUndoLog:
    """The log of one change.

    Args:
        full: each line waits for the disk.
    """

    def __init__(self, path: Path, *, full: bool) -> None:
        self._path = path
        self._full = full
        self._fd: int | None = None
        self._ends: list[int] = []  # of each line
        self._steps: list[Step] = []

    def append(self, step: Step) -> None:
        line = dump_steps((step,)).encode("ascii") + b"\n"
        with _translating():
            fd = self._open()
            begin = self._ends[-1] if self._ends else 0
            if os.pwrite(fd, line, begin) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._sync(fd)
        self._ends.append(begin + len(line))
        self._steps.append(step)

    def last(self) -> Step | None:
        if self._fd is None:
            if not self._path.exists():
                return None
            with _translating():
                self._open()
        return self._steps[-1] if self._steps else None

    def pop(self) -> None:
        with _translating():
            fd = self._open()
            self._ends.pop()
            self._steps.pop()
            os.ftruncate(fd, self._ends[-1] if self._ends else 0)
            self._sync(fd)

    def close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)
        self._ends, self._steps = [], []

    def remove(self) -> None:
        self.close()
        with contextlib.suppress(OSError):
            os.unlink(self._path)

    def _open(self) -> int:
        if self._fd is not None:
            return self._fd
        folder = self._path.parent
        folder.mkdir(mode=0o700, exist_ok=True)
        fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._read(fd)
            if self._full:
                sync_folder(folder)
                sync_folder(folder.parent)
        except BaseException:
            os.close(fd)
            raise
        self._fd = fd
        return fd

    def _read(self, fd: int) -> None:
        """A last line that is not whole is of a step that was not begun."""
        size = os.fstat(fd).st_size
        data = os.pread(fd, size, 0)
        begin = 0
        while (end := data.find(b"\n", begin) + 1) > 0:
            steps = load_steps(data[begin:end].decode("ascii", "replace"))
            if len(steps) != 1:
                raise StateFailure("an undo log is damaged")
            self._steps += steps
            self._ends.append(end)
            begin = end
        if begin < size:
            os.ftruncate(fd, begin)

    def _sync(self, fd: int) -> None:
        if self._full:
            os.fdatasync(fd) if hasattr(os, "fdatasync") else os.fsync(fd)


class UndoFolder:
    """The logs, in a folder of the state's."""

    def __init__(self, folder: Path, *, full: bool) -> None:
        self._folder = folder
        self._full = full

    def log(self, id: str) -> UndoLog:
        return FileUndoLog(self._folder / id, full=self._full)

    def keep(self, ids: Collection[str]) -> None:
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder):
                if name not in ids:
                    os.unlink(self._folder / name)


class MemoryUndoLogs:
    """For a state that is gone with its process."""

    def __init__(self) -> None:
        self._logs: dict[str, _MemoryLog] = {}

    def log(self, id: str) -> UndoLog:
        return self._logs.setdefault(id, _MemoryLog())

    def keep(self, ids: Collection[str]) -> None:
        for id in self._logs.keys() - set(ids):
            del self._logs[id]


class _MemoryLog:
    def __init__(self) -> None:
        self._steps: list[Step] = []

    def append(self, step: Step) -> None:
        self._steps.append(step)

    def last(self) -> Step | None:
        return self._steps[-1] if self._steps else None

    def pop(self) -> None:
        self._steps.pop()

    def close(self) -> None:
        """There is nothing to close."""

    def remove(self) -> None:
        self._steps.clear()


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StateFull(f"no room for the state: {exc}") from exc
        raise StateFailure(f"the state folder cannot be used: {exc}") from exc
