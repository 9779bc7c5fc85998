"""What a handler works with: the shared Services, one request's RequestContext, its Response.

Services are immutable and built once (app.py); a RequestContext lives for one request.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, Protocol

from davserver.aio import Runner
from davserver.asgi import Receive, Scope
from davserver.auth.base import (
    ANONYMOUS,
    Authenticator,
    Authorizer,
    PathAuthorizer,
    Principal,
    Privilege,
)
from davserver.config import Settings
from davserver.errors import StorageError
from davserver.progress import Progress
from davserver.properties.base import LivePropertyRegistry
from davserver.protocol.clienttimes import NO_TIMES, ClientTimes
from davserver.protocol.headers import DavHeaders, Depth
from davserver.protocol.ifheader import IfHeader
from davserver.protocol.junk import JunkPolicy, is_listed
from davserver.protocol.path import DavPath, Key
from davserver.protocol.preconditions import HttpConditions
from davserver.quotas import Quotas
from davserver.state.base import GateView, State
from davserver.state.jobs import JobStore
from davserver.storage.base import (
    Capability,
    Entry,
    Kind,
    LinkedEntry,
    Part,
    Reader,
    Stat,
    Storage,
)
from davserver.storage.batches import Plain, filtered, names_of
from davserver.storage.direct import DirectStorage

Header = tuple[bytes, bytes]
_CHARSET = re.compile(rb";\s*charset\s*=\s*\"?([A-Za-z0-9._:-]{1,40})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Services:
    """Everything that requests share.

    Attributes:
        allow: the value of Allow for a kind of resource (None: unmapped), for one who can write
            or not, and what the storage can do.
        dav: the value of the DAV field (RFC 4918 section 10.1), likewise.
        clock: seconds since the epoch.
        new_token: a fresh lock token URI.
        runner: where synchronous work runs.
        quotas: which limits on size hold where.
        jobs: what goes on when its request is answered.
        path_rights: the authorizer, where what one may do differs from path to path.
        repeated: what goes on in the background, by name.
    """

    settings: Settings
    storage: Storage
    state: State
    authenticator: Authenticator
    authorizer: Authorizer
    live: LivePropertyRegistry
    allow: Callable[[Kind | None, bool, frozenset[Capability]], bytes]
    dav: Callable[[bool, frozenset[Capability]], bytes]
    clock: Callable[[], float]
    new_token: Callable[[], str]
    runner: Runner
    quotas: Quotas
    jobs: JobStore
    path_rights: PathAuthorizer | None = None
    repeated: set[str] = field(default_factory=set)

    def allowed(self, kind: Kind | None, *, can_write: bool) -> bytes:
        """Returns the value of Allow here."""
        return self.allow(kind, can_write, self.storage.capabilities)

    def classes(self, *, can_write: bool) -> bytes:
        """Returns the value of the DAV field here."""
        return self.dav(can_write, self.storage.capabilities)


@dataclass(slots=True)
class RequestContext:
    """One request.

    Attributes:
        path: the Request-URI below the mount.
        base: quoted mount prefix without trailing slash; hrefs begin with it.
        prefix: the same, decoded.
        now: seconds since the epoch, sampled once.
        can_write: the asker may change what the Request-URI names.
        is_private: a password may be asked for and sent as it is.
        authorities: host[:port] spellings that mean this server, lower case.
        depth: as sent; None when absent.
        overwrite: RFC 4918 section 10.6.
        if_header, conditions: parsed, None when absent.
        submitted: lock tokens that count as submitted.
        destination: below the mount, None when absent.
        expected: the key of the Request-URI, where it is looked up in the gate alone: any other, a
            link, or a missing slash is 409 there, and nothing is done.
        direct: looks at what just that key is of.
        times: what the client asks to keep; a handler takes out what it could not.
        body, document: the XML body and what the method's `parse` or `validate` made of it, or
            of header fields.
        wait_s: how long `hold` may wait; 0 on the event loop.
        asked_for_body: the client was told, or let, to send its body.
        is_collection: whether the Request-URI was found to be one; None while unmapped.
        background: where work can go on when the request is answered; None in such work itself.
        part: the body, where it came before: nothing is received then.
        in_gate: a further check of every look-up in the gate.
    """

    services: Services
    scope: Scope
    receive: Receive
    method: str
    path: DavPath
    headers: DavHeaders
    now: float
    base: bytes = b""
    prefix: tuple[str, ...] = ()
    principal: Principal = ANONYMOUS
    can_write: bool = True
    is_private: bool = False
    authorities: frozenset[bytes] = frozenset()
    depth: Depth | None = None
    overwrite: bool = True
    if_header: IfHeader | None = None
    conditions: HttpConditions | None = None
    submitted: frozenset[str] = frozenset()
    destination: DavPath | None = None
    expected: Key | None = None
    direct: DirectStorage | None = None
    times: ClientTimes = NO_TIMES
    body: bytes = b""
    document: Any = None
    wait_s: float = 0.0
    asked_for_body: bool = False
    is_collection: bool | None = None
    in_gate: Callable[[GateView], None] | None = None
    progress: Progress = field(default_factory=Progress)
    background: Background | None = None
    part: Part | None = None

    def may_write(self, path: DavPath) -> bool:
        """True when the asker has the right to change what is at a path, and it can change."""
        permits = self.services.authorizer.permits
        is_writable = self.services.storage.is_writable
        return is_writable(path) and permits(self.principal, Privilege.WRITE, path)

    def may(self, privilege: Privilege, path: DavPath, key: Key) -> bool:
        """True when the asker has the right to this by both names: `path`, and that of `key`."""
        if not self.services.authorizer.permits(self.principal, privilege, path):
            return False
        rights = self.services.path_rights
        if rights is None:
            return True
        return rights.permits_real(self.principal, privilege, self.services.storage.path_of(key))

    def varies_below(self, path: DavPath, key: Key) -> bool:
        """True when what the asker may do may be another for something below a collection."""
        rights = self.services.path_rights
        if rights is None:
            return False
        real = self.services.storage.path_of(key)
        return rights.varies_below(path) or rights.varies_below(real)

    def listing(self, path: DavPath, key: Key) -> AbstractContextManager[Iterator[Entry]]:
        """Opens a listing of the collection at `key`, without what its share hides, and without
        what the asker may not read. Raises as Storage.scan does."""
        listing = self.services.storage.scan(path)
        policy = self.services.settings.junk_of(key.root)
        if policy != "store":
            listing = _without_junk(listing, policy)
        return listing if self.services.path_rights is None else self._readable(listing, path, key)

    @contextmanager
    def _readable(
        self, listing: AbstractContextManager[Iterator[Entry]], path: DavPath, key: Key
    ) -> Iterator[Iterator[Entry]]:
        varies = self.varies_below(path, key)

        def keep(batch: Sequence[Entry]) -> Sequence[Entry]:
            if not varies and isinstance(batch, Plain):
                return batch
            return [
                entry
                for entry in batch
                if (not varies and type(entry) is not LinkedEntry)
                or self._may_list(path, key, entry)
            ]

        with listing as members:
            yield filtered(members, keep)

    def _may_list(self, parent: DavPath, key: Key, entry: Entry) -> bool:
        storage = self.services.storage
        path = parent.child(entry.name)
        if type(entry) is LinkedEntry:
            try:
                return self.may(Privilege.READ, path, storage.canonical(path))
            except StorageError:
                return False  # it leads nowhere any more
        name = entry.name.encode("utf-8", "surrogateescape")
        return self.may(Privilege.READ, path, storage.child_key(key, name))

    def hold(
        self, exclusive: Sequence[Key], shared: Sequence[Key] = (), *, narrow: bool = False
    ) -> AbstractContextManager[GateView]:
        """Enters the gate, for `narrow` see State.hold; raises GateBusy (503) when `wait_s` is
        over."""
        if narrow and self.if_header is not None:
            # What it says of other resources is to stay so, too.
            narrow = self.if_header.is_about((*self.prefix, *self.path.segments))
        return self.services.state.hold(exclusive, shared, wait_s=self.wait_s, narrow=narrow)

    @property
    def charset(self) -> str | None:
        """The charset parameter of Content-Type, which wins over the XML declaration."""
        return self.headers.recall(_charset)

    def href(self, path: DavPath, *, collection: bool) -> bytes:
        return path.href(self.base, collection=collection)


def _charset(headers: DavHeaders) -> str | None:
    found = _CHARSET.search(headers.get(b"content-type") or b"")
    return None if found is None else found[1].decode("ascii")


@contextmanager
def _without_junk(
    listing: AbstractContextManager[Iterator[Entry]], policy: JunkPolicy
) -> Iterator[Iterator[Entry]]:
    def keep(batch: Sequence[Entry]) -> Sequence[Entry]:
        if all(is_listed(policy, name) for name in names_of(batch)):
            return batch
        return [entry for entry in batch if is_listed(policy, entry.name)]

    with listing as members:
        yield filtered(members, keep)


class Target(NamedTuple):
    """The Request-URI, and the Destination, looked up: by the pipeline and again in the gate.

    `is_link`: the Request-URI is a link inside the root; key and stat are those of what it leads
    to. A Destination that is one has been replaced by that: nothing is ever put over a link,
    unless it is a binding (RFC 5842) that MOVE takes away.

    `binding` is the key of the link itself when it is a binding.
    """

    path: DavPath
    key: Key
    stat: Stat | None
    destination: DavPath | None = None
    destination_key: Key | None = None
    destination_stat: Stat | None = None
    is_link: bool = False
    binding: Key | None = None

    @property
    def kind(self) -> Kind | None:
        return None if self.stat is None else self.stat.kind

    @property
    def is_collection(self) -> bool:
        return self.stat is not None and self.stat.kind is Kind.COLLECTION


@dataclass(frozen=True, slots=True)
class FileBody:
    """A stretch of an open file, in bytes. Whoever sends it closes the reader."""

    reader: Reader
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class SpoolBody:
    """A finished body in a temporary file, positioned at its start."""

    file: BinaryIO
    length: int


@dataclass(frozen=True, slots=True)
class PartsBody:
    """Several stretches of one open file, each after its part head (multipart/byteranges)."""

    reader: Reader
    parts: Sequence[tuple[bytes, int, int]]
    """(head, offset, length)"""
    tail: bytes

    @property
    def length(self) -> int:
        return sum(len(head) + size for head, _, size in self.parts) + len(self.tail)


Body = bytes | FileBody | PartsBody | SpoolBody | AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as a value. Content-Length is added for all bodies but iterators, which may
    carry their own."""

    status: int
    headers: Sequence[Header] = ()
    body: Body = b""


Work = Callable[[RequestContext], Awaitable[Response]]
"""Answers a request; given the context that is its own."""


class Background(Protocol):
    """Where work goes on when its request is answered (RFC 7240 section 4.1)."""

    async def run(self, rc: RequestContext, work: Work) -> Response:
        """Returns 202 with where to ask for the rest, or, where that is not to be had, or when it
        is done within the time that the client waits, the answer itself. Whatever can be refused
        at once has been. Raises as the work does."""

    def listen(self) -> Callable[[], None] | None:
        """Counts one more who is told of progress as it comes. Returns what is called when that
        is over; None when there are too many."""
