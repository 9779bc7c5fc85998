"""A served folder with folders beside it, of which nothing may be read, written or deleted.

Their files have a canary in them, and one has a canary for its name: no answer may hold either.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import AppDav
from tests.support.every import Ask, Snapshot, snapshot
from tests.support.reply import Reply

CANARY = b"canary-5d1f"
NAME = "canary-name-77aa"


@dataclass
class World:
    """The application, and what lies around its root."""

    dav: AppDav
    root: Path
    around: tuple[Path, ...]
    before: dict[Path, Snapshot]

    def send(self, ask: Ask) -> Reply:
        """Sends a request and looks whether its answer came out of the root."""
        reply = ask.send(self.dav)
        shown = repr((ask, reply))
        raw = reply.body + repr(reply.headers.items).encode()
        assert CANARY not in raw, shown
        assert NAME.encode() not in raw, shown
        assert os.fsencode(self.root.parent) not in raw, shown
        assert b"Traceback" not in raw, shown
        assert reply.status < 500 or reply.status in (501, 502, 507), shown
        return reply

    def send_all(self, asks: dict[str, Ask]) -> dict[str, int]:
        """Sends requests, looks that all around is as it was, and returns the statuses."""
        statuses = {name: self.send(ask).status for name, ask in asks.items()}
        for folder in self.around:
            assert snapshot(folder) == self.before[folder], asks
        return statuses

    def refuse(self, asks: dict[str, Ask], inside: Snapshot) -> dict[str, int]:
        """Sends requests of which none may change anything inside either."""
        statuses = self.send_all(asks)
        assert snapshot(self.root) == inside, asks
        return statuses


def build(make_dav: Callable[..., AppDav], tmp_path: Path, **keys: object) -> World:
    outside, evil = tmp_path / "outside", tmp_path / "root_evil"
    for folder in (outside, evil):
        (folder / "dir").mkdir(parents=True)
        (folder / "secret").write_bytes(CANARY)
        (folder / "dir/inner").write_bytes(CANARY)
        (folder / NAME).write_bytes(CANARY)
    dav = make_dav("filesystem", durability="none", **keys)
    assert dav.root is not None
    assert dav.app.services.storage.capabilities, "opened: what the system can do was tried out"
    (dav.root / "c/d").mkdir(parents=True)
    for name in ("f", "c/f", "c/d/g"):
        (dav.root / name).write_bytes(name.encode())
    around = (outside, evil)
    return World(dav, dav.root, around, {folder: snapshot(folder) for folder in around})
