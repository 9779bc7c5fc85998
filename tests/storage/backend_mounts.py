"""One share of several: over a folder, and in memory."""

from __future__ import annotations

from pathlib import Path

from davserver.storage.base import Storage
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.memory import MemoryStorage
from tests.support.mounted import one_of_two


def make(tmp_path: Path, *, in_memory: bool = False) -> Storage:
    if in_memory:
        return one_of_two("r", MemoryStorage("r", "me"), MemoryStorage("other", "me"))
    root = tmp_path / "root"
    root.mkdir()
    share = FilesystemStorage(root, owner="me", root_id="r", is_alive=lambda owner: True)
    return one_of_two("r", share, MemoryStorage("other", "me"))


VARIANTS = {"in memory": {"in_memory": True}}
