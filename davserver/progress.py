"""What long work tells of itself while it is done, and what shows that it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from davserver.protocol.path import DavPath


@dataclass(frozen=True, slots=True)
class Proof:
    """What shows that work was done, once nobody is left who did it, and how it was answered.

    Attributes:
        stands: a path, and the identity of what stands there then.
        gone: a path where nothing is then.
        answer: principal and key of the answer that is kept then (state/base.py), whose body this
            one has.
        status, headers: of the answer.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]] = ()
    stands: tuple[DavPath, tuple[int, int, int | None]] | None = None
    gone: DavPath | None = None
    answer: tuple[str, str] | None = None


@dataclass(slots=True)
class Progress:
    """What long work tells of itself; `cancelled` is looked at between members.

    Attributes:
        members, bytes: done so far.
        all_members, all_bytes: to be done, as far as it is known; counted only where somebody
            watches.
        prove: takes what will show that it was done, just before it is; inside the gate. None:
            nobody asks.
    """

    members: int = 0
    bytes: int = 0
    cancelled: bool = False
    all_members: int | None = None
    all_bytes: int | None = None
    prove: Callable[[Proof], None] | None = None

    @property
    def is_watched(self) -> bool:
        """True when somebody asks how far it is."""
        return self.prove is not None

    def did(self, size: int = 0, *, count: int = 1) -> None:
        """One more member is done, or so many, of so many bytes."""
        self.members += count
        self.bytes += size

    def passed(self, size: int) -> None:
        """So many bytes of a member are done, which is not; negative: they are not after all."""
        self.bytes += size

    def expect(self, members: int, size: int) -> None:
        """So much more is to be done."""
        self.all_members = (self.all_members or 0) + members
        self.all_bytes = (self.all_bytes or 0) + size


class PartialProgress(Progress):
    """Of one of several requests that are one work: it ends when that does, and counts there. That
    it was done shows nothing about the rest.

    Args:
        is_over: True once there is no more time for it.
    """

    __slots__ = ("_is_over", "_whole")

    def __init__(self, whole: Progress, is_over: Callable[[], bool] = lambda: False) -> None:
        self._whole = whole
        self._is_over = is_over
        super().__init__()

    @property
    def cancelled(self) -> bool:
        return self._whole.cancelled or self._is_over()

    @cancelled.setter
    def cancelled(self, value: bool) -> None:
        self._whole.cancelled = self._whole.cancelled or value

    @property
    def is_watched(self) -> bool:
        return self._whole.is_watched

    def did(self, size: int = 0, *, count: int = 1) -> None:
        self._whole.did(size, count=count)

    def passed(self, size: int) -> None:
        self._whole.passed(size)

    def expect(self, members: int, size: int) -> None:
        self._whole.expect(members, size)
