"""PROPFIND (RFC 4918 section 9.1): properties of a resource and its members, streamed.

A synchronous generator walks the tree, depth first, with one open listing a level and never more
than a batch of names; each step renders one batch into the multistatus. The first step runs before
the head is sent, so that the target's own errors still have their status. What is listed is
consistent batch by batch; a listing is no snapshot.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager

from davserver.auth.base import Privilege
from davserver.context import Header, RequestContext, Response, Target
from davserver.errors import Forbidden, LoopDetected, ResourceNotFound, StorageError, from_storage
from davserver.methods._repeats import Repeats, Way
from davserver.methods._responses import Listed, MemberRenderer, render_resource
from davserver.methods.base import BodyPolicy, Method
from davserver.properties.base import Needs, Plan
from davserver.protocol.headers import Depth
from davserver.protocol.jsonbody import propfind_xml
from davserver.protocol.multistatus import MultiStatusWriter
from davserver.protocol.path import DavPath, Key, quote_segment
from davserver.protocol.prefer import MINIMAL, NO_ROOT, Preferences, applied
from davserver.protocol.quirks import leaves_out_missing_properties
from davserver.storage.base import Entry, Kind, LinkedEntry, Stat
from davserver.storage.batches import BATCH, Plain, batches_of, kinds_of, picked

logger = logging.getLogger(__name__)
XML = (b"content-type", b'application/xml; charset="utf-8"')
_WHOLE_BODY = 32 * 1024
"""Bytes: an answer up to this size is sent in one piece, with its length."""
_FIRST_BATCH, _LAST_BATCH = 16, 256
_BATCH_BYTES = 1 << 20
"""What a batch should come to: fewer members are rendered at once where each needs much."""
_OPEN_LEVELS = 64
"""Listings held open at once; deeper collections are listed whole before their own are entered."""


def parse_request(rc: RequestContext) -> Plan:
    minimal = leaves_out_missing_properties(rc.headers)
    return rc.services.live.compile(rc.body, rc.charset, minimal=minimal)


async def handle_propfind(rc: RequestContext, target: Target) -> Response:
    """207 with a response for each resource to the depth; 403 for a depth that is refused."""
    plan: Plan = rc.document
    depth = _depth(rc, target)
    headers, has_root = _headers(rc, depth)
    walk = _Walk(rc, plan, depth, has_root=has_root)
    steps = walk.steps(target)
    runner = rc.services.runner
    batch = _batch(rc, plan)
    try:
        more = await batch(lambda: next(steps, False))
        # Off the event loop a step may be slow: there the first goes out at once.
        while more and runner.inline and walk.writer.pending <= _WHOLE_BODY:
            more = await batch(lambda: next(steps, False))
    except BaseException:
        steps.close()
        raise
    if not more:
        return Response(207, headers, walk.writer.finish())
    return Response(207, headers, _stream(rc, walk, steps))


def _batch(rc: RequestContext, plan: Plan) -> Callable[[Callable[[], bool]], Awaitable[bool]]:
    """Returns what runs a step. One that stores identities may have to wait for the gate."""
    runner = rc.services.runner
    return runner.hop if Needs.IDENTITY in plan.needs else runner.batch


async def _stream(rc: RequestContext, walk: _Walk, steps: Iterator[bool]) -> AsyncIterator[bytes]:
    """Yields what was rendered so far and then batch by batch; an error breaks the answer off,
    for a document that ends well must be complete."""
    more = True
    batch = _batch(rc, rc.document)
    try:
        while more:
            walk.is_sent = True
            yield walk.writer.take()
            more = await batch(lambda: next(steps, False))
        yield walk.writer.finish()
    finally:
        walk.close()


def _depth(rc: RequestContext, target: Target) -> Depth:
    """Section 9.1: without a Depth it is infinity, where that is allowed."""
    if not target.is_collection:
        return Depth.ZERO
    is_refused = rc.services.settings.propfind_infinity == "refuse"
    if rc.depth is None:
        return Depth.ONE if is_refused else Depth.INFINITY
    if rc.depth is Depth.INFINITY and is_refused:
        raise Forbidden("Depth infinity is refused here", condition=b"propfind-finite-depth")
    return rc.depth


def _headers(rc: RequestContext, depth: Depth) -> tuple[list[Header], bool]:
    """Returns the fields, and whether the Request-URI itself is in the answer."""
    headers: list[Header] = [XML]
    if rc.headers.get(b"prefer") is None:
        return headers, True
    preferences = [MINIMAL] if leaves_out_missing_properties(rc.headers) else []
    # RFC 8144 section 4: of a listing, the members alone.
    without_root = rc.headers.recall(Preferences.from_headers).without_root
    has_root = depth is Depth.ZERO or not without_root
    preferences += () if has_root else (NO_ROOT,)
    return [*headers, *applied(*preferences)], has_root


class _Level:
    """A collection that is being listed; `is_open` until all members were taken."""

    __slots__ = (
        *("_batches", "_listing", "_rest", "at", "identity", "is_open", "is_repeated"),
        "pending",
    )

    def __init__(
        self, at: Listed, stat: Stat, listing: AbstractContextManager[Iterator[Entry]]
    ) -> None:
        self.at = at
        self.is_repeated = False
        self.identity = (stat.device, stat.inode)
        self._listing = listing
        self._batches = batches_of(listing.__enter__())
        self._rest: Sequence[Entry] = ()
        self.is_open = True
        self.pending: deque[Entry] = deque()

    def take(self, count: int) -> Sequence[Entry]:
        """Returns the next members, up to `count`; closes the listing after the last."""
        batch = self._rest or next(self._batches, ())
        taken, self._rest = batch[:count], batch[count:]
        if not self._rest and len(batch) < BATCH:
            self._rest = next(self._batches, ())
            if not self._rest:
                self.close()
        return taken

    def close(self) -> None:
        if self.is_open:
            self.is_open = False
            self._listing.__exit__(None, None, None)


class _Walk:
    """One PROPFIND on its way through the tree."""

    def __init__(self, rc: RequestContext, plan: Plan, depth: Depth, *, has_root: bool) -> None:
        self.writer = MultiStatusWriter()
        self.is_sent = False
        self._has_root = has_root
        self._rc = rc
        self._plan = plan
        self._members = MemberRenderer(rc, plan)
        self._depth = depth
        self._storage = rc.services.storage
        self._limit = rc.services.settings.propfind_limit
        self._count = 0
        self._stack: list[_Level] = []
        self._batch = _FIRST_BATCH

    def close(self) -> None:
        while self._stack:
            self._stack.pop().close()

    def steps(self, target: Target) -> Generator[bool, None, None]:
        """Renders a batch a step. Raises the target's own errors in the first."""
        assert target.stat is not None
        try:
            href = self._rc.href(target.path, collection=target.is_collection)
            level = None
            if self._depth is not Depth.ZERO:
                level = self._open(target.path, target.key, href, target.stat)
            if self._depth is Depth.INFINITY:
                self._repeats = Repeats(self._rc, target.key)
            if self._has_root:
                self._render_one(target.path, target.key, href, target.stat)
            if level is None:
                return
            self._size_batch(_FIRST_BATCH, self.writer.pending)
            while self._stack:
                if self._step() and self._stack:
                    yield True
        finally:
            self.close()

    def _open(self, path: DavPath, key: Key, href: bytes, stat: Stat) -> _Level:
        can_write, varies = self._rc.may_write(path), self._rc.varies_below(path, key)
        at = Listed(path, key, href, can_write=can_write, varies=varies)
        level = _Level(at, stat, self._rc.listing(path, key))
        self._stack.append(level)
        return level

    def _step(self) -> bool:
        """Does the next piece of work; True when it was a batch worth sending."""
        level = self._stack[-1]
        may_enter = not level.is_open or len(self._stack) < _OPEN_LEVELS
        if level.pending and may_enter:
            self._enter(level, level.pending.popleft())
            return self.writer.pending > _WHOLE_BODY
        if not level.is_open:
            self._stack.pop()
            return False
        entries = level.take(self._batch)
        before = self.writer.pending
        self._render_batch(level, entries)
        if level.is_repeated:
            self._repeats.count += len(entries)
        if not level.is_open and not level.pending:
            self._stack.pop()
        self._size_batch(2 * self._batch, (self.writer.pending - before) // max(1, len(entries)))
        return True

    def _size_batch(self, wanted: int, each: int) -> None:
        """Sets the members of the next batch, from the bytes that each of the last came to."""
        self._batch = max(1, min(wanted, _LAST_BATCH, _BATCH_BYTES // max(1, each)))

    def _enter(self, parent: _Level, entry: Entry) -> None:
        """Answers for one inner collection, and goes into it.

        It is opened first, so that one that cannot be listed has its own status.
        """
        path = parent.at.path.child(entry.name)
        href = parent.at.href + quote_segment(entry.name) + b"/"
        if self._limit is not None and self._count >= self._limit:
            condition = b"number-of-matches-within-limits"
            self.writer.status(href, 507, condition=condition)
            return
        identity = (entry.stat.device, entry.stat.inode)
        is_loop = any(level.identity == identity for level in self._stack)
        try:
            key = self._storage.canonical(path)
            if not self._may_still_read(path, key):
                return
            way, is_met = self._repeats.way(key, is_loop=is_loop)
            if way is Way.LOOP:
                self._refuse_loop(href)
                return
            if way is Way.ENTER:
                level = self._open(path, key, href, entry.stat)
                level.is_repeated = is_met or parent.is_repeated
        except ResourceNotFound:
            return
        except StorageError as exc:
            error = from_storage(exc)
            self.writer.status(href, error.status, condition=error.condition)
            return
        self._render_one(path, key, href, entry.stat, is_repeated=way is Way.REPORTED)

    def _refuse_loop(self, href: bytes) -> None:
        """RFC 5842 section 7.1: 508 is the whole answer where nothing was sent."""
        if not self.is_sent:
            raise LoopDetected("a collection is in itself: ask with DAV: bind, or less deep")
        self.writer.status(href, LoopDetected.status)

    def _may_still_read(self, path: DavPath, key: Key) -> bool:
        """What was listed as a collection may be a link by now."""
        return self._rc.services.path_rights is None or self._rc.may(Privilege.READ, path, key)

    def _render_one(
        self, path: DavPath, key: Key, href: bytes, stat: Stat, *, is_repeated: bool = False
    ) -> None:
        rc = self._rc
        can_write = rc.may_write(path)
        asked = rc.services, rc.principal, rc.base, self._plan, (path, key, href, stat)
        self._count += 1
        self.writer.add(render_resource(*asked, can_write=can_write, is_repeated=is_repeated))

    def _render_batch(self, level: _Level, entries: Sequence[Entry]) -> None:
        """Renders members; at depth infinity inner collections wait until they are entered."""
        if self._depth is Depth.INFINITY:
            entries = self._set_aside(level, entries)
        if not isinstance(entries, Plain):
            entries = self._without_linked(level, entries)
        if entries:
            self.writer.add(self._members.render(level.at, entries))
            self._count += len(entries)

    def _set_aside(self, level: _Level, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Has the collections wait, and returns the other members."""
        if isinstance(entries, Plain):
            if Kind.COLLECTION not in entries.kinds:
                return entries
            kinds = kinds_of(entries)
            files = [index for index, kind in enumerate(kinds) if kind is Kind.FILE]
            level.pending.extend([one for one in entries if one.stat.kind is Kind.COLLECTION])
            return picked(entries, files, Kind.FILE)
        level.pending.extend([one for one in entries if one.stat.kind is Kind.COLLECTION])
        return [one for one in entries if one.stat.kind is not Kind.COLLECTION]

    def _without_linked(self, level: _Level, entries: Sequence[Entry]) -> Sequence[Entry]:
        """Renders what leads elsewhere, and returns the other members."""
        if not self._plan.needs & (Needs.DEAD | Needs.LOCKS) and level.at.can_write:
            return entries
        # What is stored of a link's target is stored under another key; a share may be written
        # where the list of shares may not.
        for entry in entries:
            if type(entry) is LinkedEntry:
                self._render_linked(level, entry)
        return [one for one in entries if type(one) is not LinkedEntry]

    def _render_linked(self, level: _Level, entry: Entry) -> None:
        path = level.at.path.child(entry.name)
        href = level.at.href + quote_segment(entry.name)
        if entry.stat.kind is Kind.COLLECTION:
            href += b"/"
        try:
            key = self._storage.canonical(path)
        except StorageError:
            return  # It leads nowhere any more.
        self._render_one(path, key, href, entry.stat)


PROPFIND = Method(
    "PROPFIND",
    stream=handle_propfind,
    parse=parse_request,
    from_json=propfind_xml,
    body=BodyPolicy.XML,
    privilege=Privilege.READ,
)
METHODS = (PROPFIND,)
