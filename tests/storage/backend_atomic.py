"""A storage on which everything can be undone promises what the one inside does."""

from __future__ import annotations

from pathlib import Path

from davserver.atomic.storage import UndoableStorage
from davserver.state.undo import MemoryUndoLogs
from davserver.storage.base import Storage
from davserver.storage.memory import MemoryStorage


def make(tmp_path: Path) -> Storage:
    return UndoableStorage(MemoryStorage("r", "me"), MemoryUndoLogs().log("change"))
