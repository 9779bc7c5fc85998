"""A worker that dies at its nth step: from then on it changes nothing more, whatever it tries.

A step is a call that changes the disk, or that changes, journals or commits what the state holds.
What the worker had not committed is lost with it, and its owner's lock is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from davserver.protocol.path import Key
from davserver.state.sqlite import SqliteState
from davserver.storage.filesystem import FilesystemStorage

_DISK = {"rename", "exchange", "delete", "make_collection", "copy", "set_attributes"}
_ROWS = {"clear", "commit", "copy_properties", "move_rows", "patch", "record", "remove_locks"}
_ROWS |= {"settle"}
_NUMBERS = {"change", "doubt", "begin", "end"}


class Death(BaseException):
    """Raised in the dead worker; no handler may be able to do anything about it."""


class DyingWorker:
    """The storage and the state of one worker, over folders that outlive it.

    Attributes:
        steps: what it did so far.
    """

    def __init__(
        self,
        root: Path,
        folder: Path,
        *,
        dies_at: int,
        fallbacks: Sequence[str] = (),
        root_id: str = "",
    ) -> None:
        self.steps: list[str] = []
        self._dies_at = dies_at
        self._state = SqliteState(folder, durability="none")
        disk = FilesystemStorage(
            root,
            owner=self._state.owner,
            root_id=root_id,
            is_alive=self._state.is_alive,
            durability="none",
            fallbacks=frozenset(fallbacks),
        )
        # Any: they stand for a Storage and a State.
        self.storage: Any = _Mortal(self, disk, _DISK)
        self.state: Any = _MortalState(self, self._state, set())

    @property
    def is_dead(self) -> bool:
        return 0 < self._dies_at <= len(self.steps)

    def step(self, name: str) -> None:
        if self.is_dead:
            raise Death(name)
        self.steps.append(name)
        if self.is_dead:
            raise Death(name)


class _Mortal:
    """Passes calls on while the worker lives, and counts those in `steps`."""

    def __init__(self, worker: DyingWorker, inner: Any, steps: set[str]) -> None:
        self._worker = worker
        self._inner = inner
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        def call(*args: Any, **options: Any) -> Any:
            if name in self._steps:
                self._worker.step(name)
            elif self._worker.is_dead and name != "close":
                raise Death(name)
            made = found(*args, **options)
            return _Mortal(self._worker, made, _NUMBERS) if name == "numbers" else made

        return call


class _MortalState(_Mortal):
    @contextmanager
    def hold(
        self,
        exclusive: Sequence[Key],
        shared: Sequence[Key] = (),
        *,
        wait_s: float,
        narrow: bool = False,
    ) -> Iterator[Any]:
        with self._inner.hold(exclusive, shared, wait_s=wait_s, narrow=narrow) as view:
            yield _Mortal(self._worker, view, _ROWS)
            self._worker.step("leave the gate")

    def close(self) -> None:
        """The dead say no goodbye."""
        if self._worker.is_dead:
            self._inner.session().usage.close(is_parting=False)
        self._inner.close()
