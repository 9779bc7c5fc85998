"""The Method record: policy as data, so that the pipeline is written once and Allow computed."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from davserver.auth.base import Privilege
from davserver.context import RequestContext, Response, Target
from davserver.storage.base import Capability, Kind
from davserver.storage.direct import DirectStorage

SyncHandler = Callable[[RequestContext, Target], Response]
StoreHandler = Callable[[RequestContext, Target, bytes], Response | None]
WholeHandler = Callable[[RequestContext, DirectStorage, bytes], Response | None]
AsyncHandler = Callable[[RequestContext, Target], Awaitable[Response]]


class TakesLong(Exception):
    """What was to be done briefly may take long, and nothing of it has been done."""


class BodyPolicy(enum.Enum):
    """What the pipeline does with a request body before the handler runs."""

    NONE = "none"
    """A body is refused with 415 (RFC 4918 section 8.4)."""
    XML = "xml"
    """Read whole up to `xml_body_limit` (413), given to `Method.parse` (400, 403, 413)."""
    XML_ALONE = "xml alone"
    """As XML, and 415 for what is not called so (RFC 4918 section 9.3)."""
    STREAM = "stream"
    """Left to the handler, who asks for it after every check."""


class LockRule(enum.Flag):
    """Whose tokens must be submitted (RFC 4918 section 7)."""

    NONE = 0
    TARGET = enum.auto()
    """Locks in whose scope the mapped Request-URI is."""
    PARENT = enum.auto()
    """Those of its parent: the method removes a member, or creates the unmapped one."""
    CREATES = enum.auto()
    """As PARENT, when the Request-URI is unmapped."""
    SUBTREE = enum.auto()
    """Those rooted anywhere below it."""
    DESTINATION = enum.auto()
    """Those of the Destination, its members, and of its parent when the binding changes."""


MAPPED: frozenset[Kind | None] = frozenset({Kind.FILE, Kind.COLLECTION})
UNMAPPED: frozenset[Kind | None] = frozenset({None})


@dataclass(frozen=True, slots=True)
class Method:
    """One request method.

    Attributes:
        handle: synchronous handler: runs inline or in one thread hop, may be run again when the
            gate was busy, so it changes nothing before it holds the gate.
        brief: of a method that is unbounded: returns what does the same as `handle` where it takes
            little time, on the event loop, or TakesLong; None where the request tells that it may
            take long. Asked where no disk is waited for.
        stream: coroutine handler, for bodies that move in or out. Exactly one of the two.
        whole: does the same as `stream` with a body that is here already, and makes every check in
            the gate. None, and any error, means that nothing was done.
        store: does the same as `stream` with a body that is here already, in one call, which may be
            made again when the gate was busy. None leaves it to `stream`, with nothing done.
        parse: makes `RequestContext.document` of an XML body (b"" when none was sent).
        from_json: makes the XML body of one in JSON (400, 413); without it JSON is 415.
        validate: looks at header fields before anything is looked up (400, 415).
        locks: whose tokens must be submitted; checked by the pipeline, and again in the gate by
            `checks.check`.
        privilege: what the asker needs on the Request-URI.
        destination: what the asker needs on the Destination; None when the method has none.
        applies_to: kinds for which the method exists; None stands for an unmapped URL. What is
            mapped to another kind is 405, what is unmapped 404.
        creates: an unmapped URL is created: its parent must be a collection (409).
        unbounded: may take long: runs in a thread, but for what `brief` does.
        needs: what the storage must be able to do; where it cannot the method does not exist.
        names_urls: the body names URLs of this server.
        condition: precondition element of the 404 and the 405 for another Request-URI.
        lock_bits: `locks` as a number, which is compared in no time.
    """

    name: str
    handle: SyncHandler | None = None
    brief: Callable[[RequestContext], SyncHandler | None] | None = None
    stream: AsyncHandler | None = None
    whole: WholeHandler | None = None
    store: StoreHandler | None = None
    parse: Callable[[RequestContext], Any] | None = None
    from_json: Callable[[bytes], bytes] | None = None
    validate: Callable[[RequestContext], None] | None = None
    body: BodyPolicy = BodyPolicy.NONE
    locks: LockRule = LockRule.NONE
    privilege: Privilege = Privilege.READ
    destination: Privilege | None = None
    applies_to: frozenset[Kind | None] = MAPPED
    creates: bool = False
    unbounded: bool = False
    needs: Capability | None = None
    names_urls: bool = False
    condition: bytes | None = None
    lock_bits: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "lock_bits", self.locks.value)
        if (self.handle is None) == (self.stream is None):
            raise ValueError(f"method {self.name!r} needs a handle or a stream, not both")

    @property
    def is_read(self) -> bool:
        """GET and HEAD: a failed If-None-Match is 304 (RFC 9110 section 13.1.2)."""
        return self.name in ("GET", "HEAD")
