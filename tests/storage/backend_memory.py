"""The memory backend."""

from __future__ import annotations

from pathlib import Path

from davserver.storage.base import Storage
from davserver.storage.memory import MemoryStorage


def make(tmp_path: Path) -> Storage:
    return MemoryStorage("r", "me")
