"""A path looked up: the directory that it leads to, open, and the name in it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from davserver.storage._stat import Seen
from davserver.storage.base import Stat


@dataclass(slots=True)
class Found:
    """Where a path leads. Closes its descriptor when left.

    Attributes:
        dir_fd: directory of the last real component; the root's own for the root.
        name: the last real component, b"" for the root.
        segments: the canonical path, as far as it exists; the rest as the client spelled it.
        seen: what is there; None: unmapped.
        missing: how many trailing components are unmapped; 1 where only the name is.
    """

    dir_fd: int
    name: bytes
    segments: tuple[bytes, ...]
    seen: Seen | None
    missing: int = 0
    owned: bool = True

    @property
    def stat(self) -> Stat | None:
        return None if self.seen is None else self.seen.stat

    def take(self) -> int:
        """Returns a descriptor of the directory that the caller closes."""
        if self.owned:
            self.owned = False
            return self.dir_fd
        return os.dup(self.dir_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.owned:
            self.owned = False
            os.close(self.dir_fd)
