"""The faulty wrapper with no fault in it changes nothing."""

from __future__ import annotations

from pathlib import Path

from davserver.errors import StorageFailure
from davserver.storage.base import Storage
from davserver.storage.faulty import FaultyStorage
from davserver.storage.memory import MemoryStorage


def make(tmp_path: Path) -> Storage:
    return FaultyStorage(MemoryStorage("r", "me"), fail_at=0, error=StorageFailure)
