"""The copy of a whole tree, member by member, with what failed and why (RFC 4918 section 9.8.3)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from typing import NamedTuple

from davserver.context import RequestContext, Target
from davserver.copies import kept_time_ns
from davserver.errors import (
    EscapesRoot,
    Forbidden,
    NoSpace,
    ParentChanged,
    ParentMissing,
    QuotaExceeded,
    ResourceNotFound,
    StorageError,
    UnsupportedKind,
)
from davserver.methods._boundcopies import BoundCopies
from davserver.methods._failures import Failures, as_dav
from davserver.methods._members import CopyRights
from davserver.methods._tree import expect_tree
from davserver.methods._walking import Frame, Teller, child_key, refuse_cancelled
from davserver.protocol.path import DavPath, Key
from davserver.storage.base import Entry, Kind, LinkedEntry, Members, Stat
from davserver.storage.listed import FEW, Listed
from davserver.usage import given_way, require_room, room, size_of

_FATAL = (NoSpace, QuotaExceeded, ParentMissing, ParentChanged)
"""What ends a copy: no room, or the place of the copy itself was moved or deleted."""


class Staged(NamedTuple):
    """What was copied: bytes, and what has several bindings."""

    size: int
    bound: BoundCopies | None = None


def stage_copy(
    rc: RequestContext,
    target: Target,
    staged: DavPath,
    failures: Failures,
    *,
    mtime_ns: int | None = None,
    nonce: int | None = None,
) -> Staged:
    """Copies the Request-URI, with all members, to a hidden name.

    Args:
        mtime_ns: for a file.
        nonce: files keep their times, in a way that tells what they were copied of (copies.py):
            what is moved is removed afterwards, too.

    Raises as TreeCopy.run does, for a file as Storage.copy does; QuotaExceeded as soon as it is
    seen that it cannot fit.
    """
    services = rc.services
    key = target.destination_key
    assert key is not None
    replaced = given_way(target.destination_stat, target.stat)
    require_room(services, services.state, key, size_of(target.stat), replaced)
    if not target.is_collection:
        if nonce is not None and target.stat is not None:
            mtime_ns = kept_time_ns(target.stat, nonce)
        rc.progress.expect(1, size_of(target.stat))
        return Staged(_copy_one(rc, target.path, staged, mtime_ns=mtime_ns))
    expect_tree(rc, target.path, passes=2 if nonce is not None else 1)
    left = room(services, services.state, key)
    rights = CopyRights(rc, target)
    copy = TreeCopy(rc, failures, rights, nonce=nonce, left=left)
    bound = copy.run(target.path, target.key, staged)
    return Staged(copy.size, bound)


def _copy_one(rc: RequestContext, source: DavPath, staged: DavPath, *, mtime_ns: int | None) -> int:
    """Copies a file, and tells of a long one as it goes. Returns the bytes of the copy. Raises as
    Storage.copy does, and Stopped (503) in the middle of a long one."""
    teller = Teller(rc)
    try:
        size = rc.services.storage.copy(source, staged, mtime_ns=mtime_ns, told=teller.tell).size
    except BaseException:
        teller.failed()
        raise
    teller.done(size)
    return size


class TreeCopy:
    """Copies a tree to a hidden name, where nobody sees it until it is published whole.

    Args:
        rights: what they do not permit is left out.
        nonce: see stage_copy.
        left: bytes that it may come to; None: any number.

    Attributes:
        size: bytes of the copies so far.
    """

    def __init__(
        self,
        rc: RequestContext,
        failures: Failures,
        rights: CopyRights,
        *,
        nonce: int | None,
        left: int | None,
    ) -> None:
        self._rc = rc
        self._failures = failures
        self._rights = rights
        self._storage = rc.services.storage
        self._nonce = nonce
        self._left = left
        self._teller = Teller(rc)
        self.size = 0

    def run(self, source: DavPath, key: Key, target: DavPath) -> BoundCopies:
        """Raises the StorageError of the collection itself, NoSpace or QuotaExceeded of any
        member, ParentMissing or ParentChanged when the copy lost its place; other members'
        errors are in the failures (RFC 4918 section 9.8.3)."""
        frame = Frame(source, key, target)
        stack = [frame]
        self._bound = BoundCopies(self._rc, key, target)
        try:
            self._open(frame, level=0)
            self._storage.make_collection(target)
            self._rc.progress.did()
            while stack:
                refuse_cancelled(self._rc)
                self._step(stack)
        finally:
            for frame in stack:
                frame.close()
        self._bound.link(self._failures)
        return self._bound

    def _open(self, frame: Frame, *, level: int) -> None:
        stat = self._storage.stat(frame.path)
        frame.identity = stat.device, stat.inode
        frame.open(self._storage, level=level)

    def _step(self, stack: list[Frame]) -> None:
        frame = stack[-1]
        assert frame.target is not None
        if frame.pending:
            self._copy_small(frame)
            if frame.pending:
                self._descend(stack, frame.pending.pop())
            return
        try:
            few = frame.take()
            files, others = ((), ()) if few is None else self._to_copy(frame, few)
        except StorageError as error:
            if len(stack) == 1:
                raise
            self._failures.add(frame.path, as_dav(error), collection=True)
            few = None
        if few is None:
            frame.close()
            stack.pop()
            return
        with closing(self._storage.members(frame.path, copy_to=frame.target)) as members:
            for name in files:
                refuse_cancelled(self._rc)
                self._copy_file(frame, name, members)
            for entry in others:
                refuse_cancelled(self._rc)
                self._copy_member(stack, entry, members)

    def _to_copy(self, frame: Frame, few: Listed) -> tuple[Sequence[str], Sequence[Entry]]:
        """Returns the names of files that nobody needs to look at, and the other members that may
        be copied. Raises StorageError."""
        if self._is_each_asked_for():
            return (), self._permitted(frame, few.look(few.names))
        return few.files, few.look(few.without(few.files))

    def _is_each_asked_for(self) -> bool:
        """True where more must be known of each member than its name."""
        services = self._rc.services
        is_limited = not (self._left is None and self._nonce is None)
        return is_limited or services.path_rights is not None or bool(services.state.bindings)

    def _copy_small(self, frame: Frame) -> None:
        """Copies collections of few files and nothing else that wait, up to one that is not."""
        if self._is_each_asked_for():
            return
        count, teller = 0, self._teller
        with closing(self._storage.members(frame.path, copy_to=frame.target)) as members:
            while frame.pending and count < FEW:
                refuse_cancelled(self._rc)
                try:
                    sizes = members.copy_collection(frame.pending[-1], limit=FEW, told=teller.tell)
                except BaseException:
                    teller.failed()
                    raise
                if sizes is None:
                    teller.failed()
                    return
                frame.pending.pop()
                count += len(sizes) + 1
                teller.done(sum(sizes), count=len(sizes) + 1)
                self.size += sum(sizes)

    def _copy_member(self, stack: list[Frame], entry: Entry, members: Members) -> None:
        frame = stack[-1]
        try:
            stat = self._follow(frame, entry)
            if stat is not None and self._bound.is_link(frame, entry):
                return
        except StorageError as error:
            self._failures.add(frame.path.child(entry.name), as_dav(error), collection=False)
            return
        if stat is None:
            return
        if stat.kind is not Kind.COLLECTION:
            self._copy_file(frame, entry.name, members, stat)
        # A link to a collection above would be copied into itself without end.
        elif all(above.identity != (stat.device, stat.inode) for above in stack):
            frame.pending.append(entry.name)

    def _permitted(self, frame: Frame, batch: Sequence[Entry]) -> Sequence[Entry]:
        permitted = self._rights.permitted(frame.path, batch)
        if len(permitted) < len(batch):
            self._leave_out(frame)
        return permitted

    def _leave_out(self, frame: Frame) -> None:
        """Tells once of a collection that members of it are not copied."""
        if not frame.is_partial:
            frame.is_partial = True
            error = Forbidden("members that may not be read here, or written there, are left out")
            self._failures.add(frame.path, error, collection=True)

    def _follow(self, frame: Frame, entry: Entry) -> Stat | None:
        """Returns what a link leads to: None where that is no member. Raises UnsupportedKind for
        a special file."""
        if entry.stat.kind is not Kind.OTHER:
            return entry.stat
        if type(entry) is not LinkedEntry:
            raise UnsupportedKind(f"{entry.name!r} is no file and no collection")
        try:
            stat = self._storage.locate(frame.path.child(entry.name)).stat
        except EscapesRoot:
            return None
        return None if stat is None or stat.kind is Kind.OTHER else stat

    def _copy_file(
        self, frame: Frame, name: str, members: Members, stat: Stat | None = None
    ) -> None:
        """Copies a file; without `stat` nobody wants to know anything of it before."""
        mtime_ns = None
        if stat is not None:
            mtime_ns = None if self._nonce is None else kept_time_ns(stat, self._nonce)
            if self._left is not None and self.size + stat.size > self._left:
                left = max(0, self._left)
                raise QuotaExceeded(f"the copy is larger than the {left} bytes left")
        teller = self._teller
        try:
            if not self._rights.may_still_read(frame.path, name):
                self._leave_out(frame)
                return
            size = members.copy(name, mtime_ns=mtime_ns, told=teller.tell)
        except BaseException as error:
            teller.failed()
            if not isinstance(error, StorageError) or isinstance(error, _FATAL):
                raise
            # Deleted while we were copying: it is no member any more.
            if not isinstance(error, ResourceNotFound):
                self._failures.add(frame.path.child(name), as_dav(error), collection=False)
            return
        teller.done(size)
        self.size += size

    def _descend(self, stack: list[Frame], name: str) -> None:
        parent = stack[-1]
        assert parent.target is not None
        path = parent.path.child(name)
        frame = Frame(path, child_key(self._storage, parent.key, name), parent.target.child(name))
        try:
            if self._rc.services.state.bindings:
                frame.key = self._storage.canonical(path)
            self._open(frame, level=len(stack))
        except ResourceNotFound:
            return
        except StorageError as error:
            self._failures.add(path, as_dav(error), collection=True)
            return
        try:
            assert frame.target is not None
            self._storage.make_collection(frame.target)
        except _FATAL:
            frame.close()
            raise
        except StorageError as error:
            frame.close()
            self._failures.add(path, as_dav(error), collection=True)
            return
        self._rc.progress.did()
        stack.append(frame)
