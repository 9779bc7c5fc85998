"""Walks that change whole trees: delete and copy, member by member, with what failed and why.

RFC 4918 sections 9.6.1, 9.8.3: what can be done is done, a member that fails stays with all its
ancestors, and only the causes are reported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from time import monotonic

from davserver.auth.base import Privilege
from davserver.changes import has_traces, removing
from davserver.context import RequestContext, Response
from davserver.copies import require_copied
from davserver.counting import tree_size
from davserver.errors import (
    CollectionNotEmpty,
    Conflict,
    DavError,
    Forbidden,
    NotACollection,
    ResourceNotFound,
    StorageError,
)
from davserver.handover import release
from davserver.methods._checks import locked_error, on_binding, unsubmitted
from davserver.methods._failures import Failures, as_dav
from davserver.methods._walking import Frame, child_key, refuse_cancelled
from davserver.progress import Proof
from davserver.protocol.locks import Lock
from davserver.protocol.path import DavPath, Key
from davserver.state.base import GateView
from davserver.storage.base import Entry, Kind, LinkedEntry, Stat
from davserver.storage.listed import FEW, Listed
from davserver.usage import own_size, shrinking, size_of

_ATTEMPTS = 3
_IN_GATE_S = 0.005
"""Long files take their time to go, and everybody else waits at the gate."""
_Doomed = list[tuple[DavPath, Key]]


class TreeDelete:
    """DELETE of a collection with everything in it (RFC 4918 section 9.6.1).

    Each batch of members is checked and removed inside the gate, so that a lock that somebody
    takes meanwhile protects what it covers.
    """

    def __init__(self, rc: RequestContext, failures: Failures, *, nonce: int = 0) -> None:
        self._rc = rc
        self._failures = failures
        self._storage = rc.services.storage
        self._nonce = nonce
        self._bindings: object = None

    def run(self, path: DavPath, key: Key, copied: DavPath | None = None) -> bool:
        """Returns True when all is gone. What failed is in the failures; an error of the
        collection itself, when nothing in it failed, is raised (a plain status); so is a
        StateError: a gate that cannot be had stops the walk. With `copied`, the copy that stands
        elsewhere already, made with our `nonce`, what is not in it as it is here fails with
        409."""
        stack = [Frame(path, key, copied)]
        try:
            stack[0].open(self._storage, level=0)
            while stack:
                refuse_cancelled(self._rc)
                self._step(stack)
        finally:
            for frame in stack:
                frame.close()
        return self._failures.count == 0

    def _step(self, stack: list[Frame]) -> None:
        frame = stack[-1]
        if frame.pending:
            self._descend(stack)
            return
        try:
            few = None if frame.locked else frame.take()
            if few is not None:
                self._delete_few(stack, few)
                return
        except ResourceNotFound:
            frame.close()
            stack.pop()
            self._pass_over(stack, frame)
            return
        except StorageError as error:
            frame.close()
            stack.pop()
            self._fail_collection(stack, frame, error)
            return
        frame.close()
        stack.pop()
        if frame.failed:
            if stack:
                stack[-1].failed = True
            return
        self._delete_collection(stack, frame)

    def _pass_over(self, stack: Sequence[Frame], frame: Frame) -> None:
        """The collection is not there any more. Raises NotACollection where something else has
        come in the place of all of it."""
        if stack:
            stack[-1].failed |= frame.failed
        elif self._failures.count or frame.target is not None:
            return
        elif self._storage.named(frame.path).stat is not None:
            raise NotACollection(f"{frame.path.name!r} is no collection any more")

    def _require_in_place(self, view: GateView, frame: Frame, top: Frame) -> None:
        """Inside the gate. Raises ResourceNotFound where a collection, or one above it, has been
        moved away, or has come to have a binding elsewhere since: then it stands there. By the link
        in its place the path would lead to what is to stay."""
        if view.bindings is not self._bindings:
            release(self._rc.services, view, top.key, top.key)
            self._bindings = view.bindings
        named = self._storage.named(frame.path)
        is_there = named.stat is not None and named.stat.kind is Kind.COLLECTION
        if not is_there or named.key != frame.key:
            raise ResourceNotFound(f"{frame.path.name!r} is not there any more")

    def _descend(self, stack: list[Frame]) -> None:
        parent = stack[-1]
        name = parent.pending.pop()
        path, key = parent.path.child(name), child_key(self._storage, parent.key, name)
        frame = Frame(path, key, None if parent.target is None else parent.target.child(name))
        try:
            with self._rc.hold([parent.key]) as view:
                self._require_in_place(view, parent, stack[0])
                above = self._locks_on(view, parent.key)
                if not above and self._is_small_and_gone(parent, name, view):
                    return
                locks = above or self._locks_on(view, key)
            if not locks:
                frame.open(self._storage, level=len(stack))
        except ResourceNotFound:
            return
        except StorageError as error:
            self._fail(parent, path, error, collection=True)
            return
        if above:
            self._refuse(stack, above)
        elif locks:
            self._fail(parent, path, locked_error(self._rc, locks), collection=True)
        else:
            stack.append(frame)

    def _is_small_and_gone(self, parent: Frame, name: str, view: GateView) -> bool:
        """Deletes a collection that holds few files and nothing else, and others that wait, as long
        as nobody needs to know more of them."""
        rc, services = self._rc, self._rc.services
        is_asked_for = parent.target is not None or services.quotas or rc.progress.is_watched
        if is_asked_for or rc.varies_below(parent.path, parent.key):
            return False
        count, is_gone = 0, False
        until = monotonic() + _IN_GATE_S
        with closing(self._storage.members(parent.path)) as members:
            while name and count < FEW and monotonic() < until:
                key = child_key(self._storage, parent.key, name)
                if has_traces(services, view, key):
                    break
                gone = members.delete_collection(name, limit=FEW, until=until)
                if gone is None:
                    break
                count, is_gone = count + gone, True
                name = parent.pending.pop() if parent.pending else ""
        if is_gone and name:
            parent.pending.append(name)
        rc.progress.did(count=count)
        return is_gone

    def _refuse(self, stack: Sequence[Frame], locks: Sequence[Lock]) -> None:
        """Somebody locked a collection while we were in it: its membership stays, and it is told
        of once, where the lock's root is. Raises Locked when that is the Request-URI and nothing
        was told before."""
        covered = [any(lock.covers(frame.key) for lock in locks) for frame in stack]
        level = covered.index(True)
        for frame in stack[level:]:
            frame.locked = frame.failed = True
            frame.pending.clear()
        error = locked_error(self._rc, locks)
        if not level and not self._failures.count:
            raise error
        self._failures.add(stack[level].path, error, collection=True)

    def _locks_on(self, view: GateView, key: Key) -> list[Lock]:
        found = unsubmitted(self._rc, view.covering(key, now=self._rc.now))
        is_binding = view.bindings.target(key) is not None
        return found + on_binding(self._rc, key, view) if is_binding else found

    def _delete_few(self, stack: Sequence[Frame], few: Listed) -> None:
        """Raises StorageError where they cannot be looked at."""
        frame = stack[-1]
        with self._rc.hold([frame.key]) as view:
            self._require_in_place(view, frame, stack[0])
            if locks := self._locks_on(view, frame.key):
                self._refuse(stack, locks)
                return
            names, collections = self._to_delete(frame, view, few)
            frame.pending += collections
            is_watched = self._rc.progress.is_watched
            sizes = {e.name: size_of(e.stat) for e in few.look(names)} if is_watched else {}
            is_known = has_traces(self._rc.services, view, frame.key)
            if not is_known and frame.target is None and not self._rc.services.quotas:
                left = self._delete_unknown(frame, names, sizes)
                if left:
                    frame.left = few.rest(left)
                return
            doomed = self._doomed(frame, names) if is_known else []
            with removing(self._rc.services, view, doomed) as gone:
                for name in names:
                    self._delete_file(frame, (name, sizes.get(name, 0)), view, gone)

    def _to_delete(
        self, frame: Frame, view: GateView, few: Listed
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Returns the names of the members that may go, and of the collections to enter."""
        if not view.bindings and not self._rc.varies_below(frame.path, frame.key):
            # Nobody needs to look at them.
            return few.without(few.collections), few.collections
        entries = self._released(frame, view, self._permitted(frame, few.look(few.names)))
        names = [entry.name for entry in entries if entry.stat.kind is not Kind.COLLECTION]
        return names, [entry.name for entry in entries if entry.stat.kind is Kind.COLLECTION]

    def _released(self, frame: Frame, view: GateView, batch: Sequence[Entry]) -> Sequence[Entry]:
        """Hands over what has come to have a binding elsewhere: then a link stands here."""
        if not view.bindings:
            return batch
        released = []
        for entry in batch:
            path = frame.path.child(entry.name)
            key = child_key(self._storage, frame.key, entry.name)
            try:
                if release(self._rc.services, view, key, key):
                    entry = LinkedEntry(entry.name, self._storage.named(path).stat or entry.stat)
            except StorageError as error:
                self._fail(frame, path, error, collection=entry.stat.kind is Kind.COLLECTION)
            else:
                released.append(entry)
        return released

    def _delete_unknown(
        self, frame: Frame, names: Sequence[str], sizes: Mapping[str, int]
    ) -> Sequence[str]:
        """Deletes files of which the state knows nothing: what covers one covers the collection.
        Returns those for which there was no time."""
        with closing(self._storage.members(frame.path)) as members:
            tried, failures = members.delete_each(names, until=monotonic() + _IN_GATE_S)
        for name, error in failures:
            if isinstance(error, CollectionNotEmpty):
                frame.pending.append(name)  # it has become one since
            elif not isinstance(error, ResourceNotFound):
                self._fail(frame, frame.path.child(name), error, collection=False)
        failed = {name for name, _ in failures}
        size = sum(sizes.get(name, 0) for name in names[:tried] if name not in failed)
        self._rc.progress.did(size, count=tried - len(failed))
        return names[tried:]

    def _permitted(self, frame: Frame, batch: Sequence[Entry]) -> Sequence[Entry]:
        """Returns the members that the asker may remove, and tells of the others."""
        if not self._rc.varies_below(frame.path, frame.key):
            return batch
        permitted = []
        for entry in batch:
            path = frame.path.child(entry.name)
            key = child_key(self._storage, frame.key, entry.name)
            if self._rc.may(Privilege.WRITE, path, key):
                permitted.append(entry)
            elif self._rc.may(Privilege.READ, path, key):
                is_collection = entry.stat.kind is Kind.COLLECTION
                self._fail(frame, path, Forbidden("no right"), collection=is_collection)
            elif not frame.is_partial:
                # What may not be read is not named.
                frame.failed = frame.is_partial = True
                self._failures.add(frame.path, Forbidden("no right to a member"), collection=True)
        return permitted

    def _doomed(self, frame: Frame, names: Sequence[str]) -> _Doomed:
        return [(frame.path.child(n), child_key(self._storage, frame.key, n)) for n in names]

    def _delete_file(
        self, frame: Frame, seen: tuple[str, int], view: GateView, gone: list[Key]
    ) -> None:
        name, size_seen = seen
        path, key = frame.path.child(name), child_key(self._storage, frame.key, name)
        try:
            if locks := self._locks_on(view, key):
                raise locked_error(self._rc, locks)
            if frame.target is not None:
                copy = frame.target.child(name)
                require_copied(self._rc.services, view, path, copy, self._nonce)
            # The listing may be older than what stands there now.
            size = own_size(self._storage, path) if self._rc.services.quotas else 0
            with shrinking(self._rc.services, view, key, size):
                self._storage.delete(path)
        except ResourceNotFound:
            pass
        except CollectionNotEmpty:
            frame.pending.append(name)  # what had its place in here was handed to it
            return
        except (DavError, StorageError) as error:
            self._fail(frame, path, error, collection=False)
            return
        gone.append(key)
        self._rc.progress.did(size_seen)

    def _delete_collection(self, stack: list[Frame], frame: Frame) -> None:
        parent = frame.key.parent
        try:
            with self._rc.hold([frame.key], [parent] if parent else []) as view:
                above = self._locks_on(view, parent) if parent else []
                locks = above + self._locks_on(view, frame.key)
                if not locks:
                    self._require_in_place(view, frame, stack[0] if stack else frame)
                    if frame.target is not None:
                        ends = frame.path, frame.target
                        require_copied(self._rc.services, view, *ends, self._nonce)
                    release(self._rc.services, view, frame.key, frame.key)
                    with removing(self._rc.services, view, [(frame.path, frame.key)]) as gone:
                        self._storage.delete(frame.path)
                        gone.append(frame.key)
        except ResourceNotFound:
            self._pass_over(stack, frame)
        except CollectionNotEmpty as error:
            # Members came while we were in it.
            frame.attempts += 1
            if frame.attempts < _ATTEMPTS:
                self._enter_again(stack, frame)
                return
            self._fail_collection(stack, frame, error)
        except (Conflict, StorageError) as error:
            self._fail_collection(stack, frame, error)
        else:
            if stack and above:
                self._refuse(stack, above)
            elif locks:
                self._fail_collection(stack, frame, locked_error(self._rc, locks))
            else:
                self._rc.progress.did()

    def _enter_again(self, stack: list[Frame], frame: Frame) -> None:
        try:
            frame.open(self._storage, level=len(stack))
        except ResourceNotFound:
            return
        except StorageError as error:
            self._fail_collection(stack, frame, error)
        else:
            stack.append(frame)

    def _fail_collection(
        self, stack: list[Frame], frame: Frame, error: DavError | StorageError
    ) -> None:
        if stack:
            self._fail(stack[-1], frame.path, error, collection=True)
        elif self._failures.count:
            self._failures.add(frame.path, as_dav(error), collection=True)
        else:
            raise error

    def _fail(
        self, frame: Frame, path: DavPath, error: DavError | StorageError, *, collection: bool
    ) -> None:
        frame.failed = True
        self._failures.add(path, as_dav(error), collection=collection)


def expect_tree(rc: RequestContext, path: DavPath, *, passes: int = 1) -> None:
    """Counts what is going to be done with a collection and its members, where somebody wants to
    know; each of them in so many passes. Raises Stopped (503), StorageError."""
    if rc.progress.is_watched:
        size = tree_size(rc.services.storage, path, lambda: refuse_cancelled(rc))
        rc.progress.expect(passes * (size.members + 1), passes * size.bytes)


def prove(
    rc: RequestContext,
    path: DavPath,
    stat: Stat,
    response: Response,
    *,
    gone: DavPath | None = None,
) -> None:
    """Inside the gate, before `stat` comes to stand at `path`: says what it will be answered with,
    where somebody may have to know that after this worker's death."""
    if rc.progress.prove is not None:
        proof = Proof(response.status, response.headers, (path, stat.identity), gone)
        rc.progress.prove(proof)
