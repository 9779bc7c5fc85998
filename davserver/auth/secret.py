"""The key that all workers share: for nonces, and for tags that say nothing of users."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from davserver.errors import StateFailure

KEY_BYTES = 32


class SharedKey:
    """The key in a file, made with mode 0600 at the first use when it is not there."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = b""

    def __call__(self) -> bytes:
        """Returns the key. Raises StateFailure."""
        if not self._key:
            try:
                self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._key = _load(self._path)
            except OSError as error:
                raise StateFailure(f"{self._path} cannot be used: {error.strerror}") from error
        return self._key


def _load(path: Path) -> bytes:
    """It appears whole: who comes second finds the one of who was first."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            key = path.read_bytes()
            if len(key) == KEY_BYTES:
                return key
            os.unlink(path)
        _make(path)


def _make(path: Path) -> None:
    beside = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, secrets.token_bytes(KEY_BYTES))
        with contextlib.suppress(FileExistsError):
            os.link(beside, path)
    finally:
        os.close(fd)
        os.unlink(beside)
