"""A long file that is deleted or replaced is freed outside of the gate, where nobody waits."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest

from davserver.errors import AccessDenied
from davserver.methods import _freeing
from davserver.state.gatelock import GateLock
from davserver.storage.filesystem import FilesystemStorage
from davserver.storage.reader import FileReader
from tests.conftest import AppDav

MakeDav = Callable[..., AppDav]


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What happens to readers of files, and to the gate."""
    events: list[str] = []

    def note(owner: type, name: str, event: str) -> None:
        function = getattr(owner, name)

        def noting(*args: object, **options: object) -> object:
            events.append(event)
            return function(*args, **options)

        monkeypatch.setattr(owner, name, noting)

    note(FileReader, "__init__", "open")
    note(FileReader, "close", "close")
    note(GateLock, "acquire", "enter")
    note(GateLock, "release", "leave")
    monkeypatch.setattr(_freeing, "LONG", 1000)
    return events


@pytest.mark.parametrize("method", ["DELETE", "PUT"])
def test_a_long_file_is_kept_until_the_gate_is_left(
    make_dav: MakeDav, events: list[str], method: str
) -> None:
    dav = make_dav("filesystem", durability="none")
    dav.put("/f", bytes(2000))
    events.clear()
    reply = dav.delete("/f") if method == "DELETE" else dav.put("/f", bytes(3000))

    assert reply.status == 204
    assert events[-4:] == ["open", "enter", "leave", "close"]


@pytest.mark.parametrize("method", ["DELETE", "PUT"])
def test_a_short_one_is_not(make_dav: MakeDav, events: list[str], method: str) -> None:
    dav = make_dav("filesystem", durability="none")
    dav.put("/f", bytes(999))
    events.clear()
    reply = dav.delete("/f") if method == "DELETE" else dav.put("/f", b"x")

    assert reply.status == 204
    assert "open" not in events


def test_what_cannot_be_read_goes_all_the_same(
    make_dav: MakeDav, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav("filesystem", durability="none")
    dav.put("/f", bytes(2000))

    def refuse(*_: object) -> None:
        raise AccessDenied("not yours")

    monkeypatch.setattr(FilesystemStorage, "open", refuse)
    events.clear()

    assert dav.delete("/f").status == 204
    assert "leave" in events


def test_a_short_one_in_its_place_is_written_in_a_thread(
    make_dav: MakeDav, events: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav("filesystem", durability="none")
    dav.put("/f", bytes(2000))
    threads: list[int] = []
    rename = os.rename

    def noting(*args: Any, **options: Any) -> None:
        threads.append(threading.get_ident())
        rename(*args, **options)

    monkeypatch.setattr(os, "rename", noting)

    assert dav.put("/f", b"x").status == 204
    assert threads
    assert threading.get_ident() not in threads
