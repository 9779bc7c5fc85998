"""The file-system backend, as it is and with each feature of the system switched off."""

from __future__ import annotations

from pathlib import Path

from davserver.storage.base import Storage
from davserver.storage.filesystem import FALLBACKS, FilesystemStorage


def make(tmp_path: Path, fallbacks: frozenset[str] = frozenset()) -> Storage:
    root = tmp_path / "root"
    root.mkdir()
    return FilesystemStorage(
        root, owner="me", root_id="r", is_alive=lambda owner: True, fallbacks=fallbacks
    )


VARIANTS = {
    **{f"without {name}": {"fallbacks": frozenset({name})} for name in sorted(FALLBACKS)},
    "with no feature": {"fallbacks": FALLBACKS},
}
