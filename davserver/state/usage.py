"""How many bytes a tree with a quota holds, known without a walk (RFC 4331).

Every worker has the numbers of a scope mapped, and changes them inside the gate alone. What is
there by our doing is never more than `used` says: growth is entered before it is made, what goes
after it is gone. Whoever changes something leaves a mark first, and takes it back with a goodbye;
a mark of the dead, or a power cut, says that the tree is to be counted again. Changes behind the
server are found by the next count.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import mmap
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from davserver.errors import StateFailure, StateFull
from davserver.protocol.path import Key
from davserver.state.base import Tally, Usage
from davserver.state.sqlfile import sync_folder

_USED, _ADDED, _REMOVED, _MOVES, _COUNTS, _COUNTED_AT, _BOOT, _COUNTING, _CELLS = range(9)
_BYTES = 8 * _CELLS
_FILE = "numbers"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_MOST = (1 << 63) - 1


def settled(used: int, total: int, *, added: int, removed: int) -> int:
    """Returns what a walk makes of the number that was kept.

    Args:
        used: the number that was kept.
        total: what the walk found, while others went on.
        added, removed: what was changed meanwhile: the walk has seen all of it, nothing or some.
    """
    lowest, highest = max(0, total - removed), total + added
    return used if lowest <= used <= highest else highest


class Cells(Protocol):
    """Eight bytes each."""

    def __getitem__(self, index: int, /) -> int: ...
    def __setitem__(self, index: int, value: int, /) -> None: ...


class Marks(Protocol):
    """Who has changed something in a scope."""

    @property
    def owner(self) -> str:
        """This worker's id, hexadecimal."""

    def leave(self) -> None:
        """Leaves this worker's mark, durably, if it has not yet. Raises StateFull,
        StateFailure."""

    def dead(self) -> frozenset[str]:
        """Returns whose marks were left behind."""

    def is_alive(self, owner: str) -> bool: ...
    def forget(self, dead: frozenset[str]) -> None:
        """Removes marks."""


class SharedNumbers:
    """Numbers in cells that all workers share. They last whatever becomes of the transaction.

    Args:
        boot: a number of the time since the power came on.
    """

    def __init__(self, cells: Cells, marks: Marks, boot: int) -> None:
        self._cells = cells
        self._marks = marks
        self._boot = boot

    def read(self) -> Usage:
        cells = self._cells
        return Usage(cells[_USED], cells[_COUNTED_AT] > 0 and cells[_BOOT] == self._boot)

    @property
    def counts(self) -> int:
        return self._cells[_COUNTS]

    def change(self, *, added: int = 0, removed: int = 0, moves: int = 0) -> None:
        self._marks.leave()
        cells = self._cells
        # First what a count compares: whoever dies in between has made it doubtful, not wrong.
        cells[_MOVES] += moves
        cells[_ADDED] += added
        cells[_REMOVED] += removed
        cells[_USED] = min(max(0, cells[_USED] + added - removed), _MOST)

    def forget(self) -> None:
        """It is not known any more."""
        self._cells[_COUNTED_AT] = 0

    def doubt(self) -> None:
        if self._cells[_COUNTED_AT]:
            self._cells[_COUNTED_AT] = 1

    def begin(self, *, before: float) -> Tally | None:
        cells = self._cells
        dead = self._marks.dead()
        if self.read().is_known and cells[_COUNTED_AT] >= before and not dead:
            return None
        counting = f"{cells[_COUNTING]:016x}"
        if cells[_COUNTING] and counting != self._marks.owner and self._marks.is_alive(counting):
            return None
        cells[_COUNTING] = int(self._marks.owner, 16)
        return Tally(cells[_ADDED], cells[_REMOVED], cells[_MOVES], dead)

    def end(self, tally: Tally, total: int, *, now: float, anyhow: bool = False) -> bool:
        cells = self._cells
        if cells[_MOVES] != tally.moves and not anyhow:
            return False
        added, removed = cells[_ADDED] - tally.added, cells[_REMOVED] - tally.removed
        used = cells[_USED] if self.read().is_known else -1
        cells[_USED] = settled(used, total, added=added, removed=removed)
        cells[_COUNTS] += 1
        cells[_BOOT] = self._boot
        cells[_COUNTED_AT] = max(1, int(now))
        cells[_COUNTING] = 0
        self._marks.forget(tally.dead)
        return True

    def give_up(self) -> None:
        self._cells[_COUNTING] = 0


class _NoMarks:
    """One process that nobody else shares a memory with."""

    owner = f"{1:016x}"

    def leave(self) -> None:
        """There is nobody to read it."""

    def dead(self) -> frozenset[str]:
        return frozenset()

    def is_alive(self, owner: str) -> bool:
        return True

    def forget(self, dead: frozenset[str]) -> None:
        """There are none."""


class _FileMarks:
    """A file a worker, in the folder of the scope."""

    def __init__(self, folder: Path, owner: str, is_alive: Callable[[str], bool]) -> None:
        self.owner = owner
        self._folder = folder
        self._is_alive = is_alive
        self._is_left = False

    def leave(self) -> None:
        if self._is_left:
            return
        with _translating():
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            os.close(os.open(self._folder / self.owner, flags, 0o600))
            sync_folder(self._folder)
        self._is_left = True

    def dead(self) -> frozenset[str]:
        with _translating():
            owners = [name for name in os.listdir(self._folder) if name != _FILE]
        return frozenset(owner for owner in owners if not self._is_alive(owner))

    def is_alive(self, owner: str) -> bool:
        return self._is_alive(owner)

    def forget(self, dead: frozenset[str]) -> None:
        for owner in dead:
            with contextlib.suppress(OSError):
                os.unlink(self._folder / owner)

    def take_back(self) -> None:
        """Says goodbye: what this worker entered is what it did."""
        if self._is_left:
            self.forget(frozenset({self.owner}))
            self._is_left = False


class _Open(NamedTuple):
    numbers: SharedNumbers
    marks: _FileMarks
    map: mmap.mmap
    cells: memoryview


class UsageFolder:
    """The numbers of all scopes of a state, each in a folder of its own.

    Args:
        owner: this worker's id.
        is_alive: False for the id of a worker that is gone.
    """

    def __init__(self, folder: Path, owner: str, is_alive: Callable[[str], bool]) -> None:
        self._folder = folder
        self._owner = owner
        self._is_alive = is_alive
        self._boot = _boot(owner)
        self._open: dict[Key, _Open] = {}

    def of(self, scope: Key) -> SharedNumbers:
        """Returns the numbers of a scope. Raises StateFull, StateFailure."""
        found = self._open.get(scope)
        if found is None:
            with _translating():
                found = self._map(scope)
            # Two threads may have come here: what only one of them has mapped is dropped.
            found = self._open.setdefault(scope, found)
        return found.numbers

    def has_others(self, scopes: Collection[Key]) -> bool:
        """True when numbers of other trees are known. Raises StateFailure."""
        with _translating():
            return any(map(self._is_counted, self._others(scopes)))

    def forget_others(self, scopes: Collection[Key]) -> None:
        """Makes the numbers of all other trees unknown, for whoever has them open, too; in the
        gate. Raises StateFailure."""
        with _translating():
            for name in self._others(scopes):
                with contextlib.suppress(FileNotFoundError):
                    fd = os.open(self._folder / name / _FILE, os.O_RDWR | os.O_CLOEXEC)
                    try:
                        os.pwrite(fd, bytes(8), 8 * _COUNTED_AT)
                    finally:
                        os.close(fd)

    def _others(self, scopes: Collection[Key]) -> set[str]:
        try:
            found = set(os.listdir(self._folder))
        except FileNotFoundError:
            return set()
        except OSError as exc:
            raise StateFailure(f"the state folder cannot be used: {exc}") from exc
        return found.difference(map(_name, scopes))

    def _is_counted(self, name: str) -> bool:
        try:
            numbers = (self._folder / name / _FILE).read_bytes()
        except FileNotFoundError:
            return False
        return any(numbers[8 * _COUNTED_AT : 8 * (_COUNTED_AT + 1)])

    def _map(self, scope: Key) -> _Open:
        folder = self._folder / _name(scope)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        fd = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(fd).st_size <= _BYTES:
                os.pwrite(fd, b"\0", _BYTES)  # so that there is room, as in commitcount.py
            mapped = mmap.mmap(fd, _BYTES)
        finally:
            os.close(fd)
        marks = _FileMarks(folder, self._owner, self._is_alive)
        cells = memoryview(mapped).cast("Q")
        if not marks.dead():
            # Everybody has said goodbye, so that it is whole though the power went off since.
            cells[_BOOT] = self._boot
        return _Open(SharedNumbers(cells, marks, self._boot), marks, mapped, cells)

    def close(self, *, is_parting: bool) -> None:
        """Gives the files up, and says goodbye; not when these are a fork's copies."""
        opened, self._open = self._open, {}
        for each in opened.values():
            if is_parting:
                with contextlib.suppress(OSError):
                    each.map.flush()  # before the mark goes: then nobody doubts it
                    each.marks.take_back()
            each.cells.release()
            each.map.close()


def new_numbers() -> SharedNumbers:
    """Returns the numbers of a scope that only this process knows."""
    return SharedNumbers([0] * _CELLS, _NoMarks(), 1)


def _name(scope: Key) -> str:
    text = scope.root.encode("utf-8", "surrogateescape") + b"\0" + scope.path
    return hashlib.blake2b(text, digest_size=8).hexdigest()


@contextmanager
def _translating() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StateFull(f"no room for the state: {exc}") from exc
        raise StateFailure(f"the state folder cannot be used: {exc}") from exc


def _boot(owner: str) -> int:
    """Returns a number of the time since the power came on, in which what is mapped stays whole.
    Where that is not to be told, a number that nobody else has."""
    try:
        text = _BOOT_ID.read_bytes()
    except OSError:
        text = owner.encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") | 1
