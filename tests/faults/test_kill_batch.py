"""Atomic batches of a thousand operations, their server killed at random (K-01, K-02): all or
nothing after the restart, with content, properties and locks, and nothing hidden left."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aftermath import TOPIC, World, look
from tests.support.crashing import Crasher, Plan, Request, Running
from tests.support.crashplans import PATCH, Template

OPERATIONS = 1_000
KINDS = 8
PATCHED = PATCH.format(live="")


def operations() -> list[dict[str, Any]]:
    """A thousand, of every kind, each group on files of its own."""
    found: list[dict[str, Any]] = []
    for number in range(OPERATIONS // KINDS):
        old, new = f"/old/{number}", f"/new/{number}"
        found += [
            {"op": "mkcol", "href": new},
            {"op": "put", "href": f"{new}/f", "content": f"new {number}"},
            {"op": "put", "href": f"{old}a", "content": f"over {number}"},
            {"op": "proppatch", "href": f"{old}a", "xml": PATCHED},
            {"op": "move", "href": f"{old}a", "destination": f"{new}/a"},
            {"op": "copy", "href": new, "destination": f"{old}t"},
            {"op": "delete", "href": f"{old}b"},
            {"op": "lock", "href": f"{new}/f"},
        ]
    return found


class Field:
    """What is there before, set up once.

    Attributes:
        before, after: what is found when nothing and when everything was done.
        duration_s: of the batch.
    """

    def __init__(self, folder: Path, crasher: Crasher) -> None:
        self._crasher = crasher
        self._template = Template(folder)
        with self._template.filling() as dav:
            assert dav.mkcol("/old").status == dav.mkcol("/new").status == 201
            for number in range(OPERATIONS // KINDS):
                dav.mkcol(f"/old/{number}t")
                for name in "ab":
                    dav.put(f"/old/{number}{name}", b"old")
                    dav.proppatch(f"/old/{number}{name}", set={TOPIC: "old"})
        body = json.dumps({"atomic": True, "operations": operations()}).encode()
        headers = {"Content-Type": "application/json"}
        self.request = Request("POST", "/.davserver/batch", headers, body)
        self.before = look(self._template.fresh(), {})
        base = self._template.fresh()
        begun = time.perf_counter()
        running = self.start(base)
        reply = running.ask(self.request)
        self.duration_s = time.perf_counter() - begun
        running.kill()
        assert reply is not None
        assert reply.status == 200, reply
        self.after = look(base, {})
        assert self.before != self.after

    def start(self, base: Path) -> Running:
        running = self._crasher.start(Plan(str(base)))
        with running.connect() as connection:
            assert connection.get("/.davserver/health").status == 200
        return running

    def killed(self, delay_s: float) -> tuple[bool, World]:
        """Kills the server so long after it was asked. Returns whether it had answered, and what
        is found then."""
        base = self._template.fresh()
        running = self.start(base)
        replies: list[object] = []
        client = threading.Thread(target=lambda: replies.append(running.ask(self.request)))
        client.start()
        time.sleep(delay_s)
        running.kill()
        client.join()
        return replies != [None], look(base, {})


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as running:
        yield running


@pytest.mark.security("K-01", "K-02")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("kills", [4, pytest.param(100, marks=pytest.mark.long)])
def test_killed_at_random_all_or_nothing(tmp_path: Path, crasher: Crasher, kills: int) -> None:
    field = Field(tmp_path, crasher)
    chance = random.Random(kills)
    undone = 0
    for number in range(kills):
        answered, found = field.killed(chance.random() * field.duration_s)
        where = f"kill {number}, answered: {answered}"
        if answered:
            assert found == field.after, where
        assert found in (field.before, field.after), where
        undone += found == field.before

    assert undone, "it was never killed before its end"
