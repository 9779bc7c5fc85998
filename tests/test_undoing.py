"""Undoing goes on where it ended, from whatever state the disk is in."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from davserver.atomic.storage import UndoableStorage
from davserver.errors import StorageError, StorageFailure
from davserver.protocol.path import DavPath
from davserver.recovery import undo_all
from davserver.state.undo import MemoryUndoLogs
from davserver.storage.base import Storage
from davserver.storage.faulty import FaultyStorage
from davserver.storage.memory import MemoryStorage
from tests.storage.test_contract import get, put

Work = Callable[[Storage], None]


def p(text: str) -> DavPath:
    return DavPath(tuple(segment for segment in text.split("/") if segment))


ROOT = DavPath(())


def tree(storage: Storage, path: DavPath = ROOT) -> dict[str, object]:
    """Returns every path with its content, and its identity and time."""
    found: dict[str, object] = {}
    with storage.scan(path) as members:
        for entry in list(members):
            child = path.child(entry.name)
            name = "/".join(child.segments)
            if entry.stat.size or entry.stat.etag:
                found[name] = (get(storage, child), entry.stat)
            else:
                found[name] = entry.stat.identity
                found |= tree(storage, child)
    return found


def fill(storage: Storage) -> None:
    for name in ("a", "b", "c"):
        put(storage, p(name), name.encode())
    storage.make_collection(p("d"))
    put(storage, p("d/e"), b"e")


def back_and_forth(disk: Storage) -> None:
    """Everything comes to where something else was, and to where it was itself."""
    disk.delete(p("b"))
    disk.rename(p("a"), p("b"))
    disk.rename(p("b"), p("x"))
    disk.rename(p("x"), p("a"))
    disk.exchange(p("a"), p("c"))
    disk.rename(p("a"), p("c"), replace=True)
    disk.make_collection(p("a"))
    disk.rename(p("d"), p("a/d"))
    put(disk, p("a/d/e"), b"over", replace=True)
    disk.set_attributes(p("a/d/e"), mtime_ns=5_000_000_000)
    disk.rename(p("a"), p("d"))
    disk.copy(p("c"), p("a"))
    disk.delete(p("d/d/e"))
    disk.delete(p("d/d"))
    disk.delete(p("d"))


@pytest.mark.parametrize("can_exchange", [True, False], ids=["exchange", "renames"])
@pytest.mark.parametrize("done", range(0, 80, 3))
def test_whatever_was_done_and_wherever_undoing_ended_all_is_as_it_was(
    done: int, can_exchange: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ends after so many calls, is undone until the disk fails, and then to the end."""
    if not can_exchange:
        monkeypatch.setattr(MemoryStorage, "capabilities", frozenset())
    for ends_at in range(1, 60, 2):
        storage, logs = MemoryStorage(), MemoryUndoLogs()
        fill(storage)
        before = tree(storage)
        log = logs.log("change")
        failing = FaultyStorage(storage, fail_at=done, error=StorageFailure, permanent=True)
        try:
            back_and_forth(UndoableStorage(failing, log))
        except StorageError:
            assert done
        broken = FaultyStorage(storage, fail_at=ends_at, error=StorageFailure, permanent=True)
        try:
            undo_all(broken, log)
            has_ended = True
        except StorageError:
            has_ended = False
        undo_all(storage, log)

        assert tree(storage) == before, (done, ends_at)
        assert log.last() is None
        if has_ended:
            break


def test_what_somebody_put_there_since_stays() -> None:
    storage, logs = MemoryStorage(), MemoryUndoLogs()
    fill(storage)
    log = logs.log("change")
    disk = UndoableStorage(storage, log)
    disk.delete(p("a"))
    put(disk, p("new"), b"new")
    storage.delete(p("new"))
    put(storage, p("new"), b"foreign")
    put(storage, p("a"), b"foreign")
    undo_all(storage, log)

    assert get(storage, p("a")) == get(storage, p("new")) == b"foreign"
    assert get(storage, p("b")) == b"b"
