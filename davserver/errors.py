"""Every error of the server, in three trees.

    DavError            one class a status, with the precondition element it may carry
      BadRequest 400 ... InsufficientStorage 507
    StorageError        what a storage backend raises; knows no status
      ResourceNotFound, ResourceExists, ...
    StateError          what the state store raises; knows no status
      GateBusy, StateFull, ...

`from_storage` is the table that turns the second and third into the first; a method that needs
another status for one of them (MKCOL: ResourceExists is 405) catches that class before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar


class DavError(Exception):
    """An answer other than success (RFC 9110 section 15, RFC 4918 section 11).

    Args:
        detail: for the log and the text of the body: lower case, no full stop, names the value.
        hrefs: hrefs that the condition element carries (RFC 4918 section 16).
        inner: what else it carries, as XML.
        headers: further response header fields.
        condition: local name in `DAV:` of the precondition element; the class's own if None.
        close: the connection cannot be used further.

    Attributes:
        delay_s: seconds that the answer is held back, so that guesses come slowly.
        beside: a further condition that is violated.
        shows_page: the body is the page, which has a form to sign in.
    """

    status: ClassVar[int] = 500
    condition: bytes | None = None
    delay_s: float = 0.0
    beside: bytes | None = None
    shows_page: bool = False

    def __init__(
        self,
        detail: str = "",
        *,
        hrefs: Sequence[bytes] = (),
        inner: bytes = b"",
        headers: Sequence[tuple[bytes, bytes]] = (),
        condition: bytes | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.hrefs = tuple(hrefs)
        self.inner = inner
        self.headers = tuple(headers)
        self.close = close
        if condition is not None:
            self.condition = condition


class BadRequest(DavError):
    status = 400


class Unauthorized(DavError):
    status = 401


class Forbidden(DavError):
    status = 403


class NotFound(DavError):
    status = 404


class MethodNotAllowed(DavError):
    """405; the pipeline adds the mandatory Allow (RFC 9110 section 15.5.6)."""

    status = 405


class Conflict(DavError):
    status = 409


class LengthRequired(DavError):
    status = 411


class PreconditionFailed(DavError):
    status = 412


class ContentTooLarge(DavError):
    status = 413


class UriTooLong(DavError):
    status = 414


class UnsupportedMediaType(DavError):
    status = 415


class RangeNotSatisfiable(DavError):
    status = 416


class ExpectationFailed(DavError):
    status = 417


class UnprocessableContent(DavError):
    status = 422


class Locked(DavError):
    """423 (RFC 4918 section 11.3): a token that was not submitted."""

    status = 423
    condition = b"lock-token-submitted"


class FailedDependency(DavError):
    status = 424


class TooManyRequests(DavError):
    """429 (RFC 6585 section 4), with Retry-After: too many wrong passwords."""

    status = 429


class HeaderFieldsTooLarge(DavError):
    status = 431


class InternalError(DavError):
    status = 500


class NotImplementedMethod(DavError):
    """501 for a method or a transfer coding that this server does not know."""

    status = 501


class BadGateway(DavError):
    """502 for a Destination on another server (RFC 4918 section 9.8.5)."""

    status = 502


class ServiceUnavailable(DavError):
    status = 503


class Stopped(ServiceUnavailable):
    """503 for long work that was ended between two members."""


class InsufficientStorage(DavError):
    status = 507
    condition = b"sufficient-disk-space"


class LoopDetected(DavError):
    """508 (RFC 5842 section 7.2): a collection is in itself, and the client knows no 208."""

    status = 508


class StorageError(Exception):
    """What a storage backend raises, never an OSError."""


class ResourceNotFound(StorageError):
    """Nothing is mapped to the path, or an ancestor of it is missing."""


class ResourceExists(StorageError):
    """The path is mapped already."""


class ParentMissing(StorageError):
    """The parent of the path to create is missing or is no collection."""


class IsACollection(StorageError):
    """A file was needed."""


class NotACollection(StorageError):
    """A collection was needed."""


class CollectionNotEmpty(StorageError):
    """A collection that has members was to be deleted as one."""


class AccessDenied(StorageError):
    """EACCES, EPERM: the file system refuses."""


class ReadOnlyStorage(StorageError):
    """EROFS, or a storage that was made read-only."""


class EscapesRoot(StorageError):
    """The path leads out of the root, by a link."""


class UnsupportedKind(StorageError):
    """A FIFO, socket or device: shown in listings, never opened."""


class InvalidName(StorageError):
    """A name that this storage cannot hold (too long, not UTF-8, control characters)."""


class NameTooLong(InvalidName):
    """ENAMETOOLONG: 414 for the Request-URI, of which macOS and others make "name too long"."""


class NoSpace(StorageError):
    """ENOSPC: the file system is full."""


class QuotaExceeded(StorageError):
    """EDQUOT: the user's or share's quota is used up."""


class CrossDevice(StorageError):
    """A rename that this storage cannot do as one step."""


class ParentChanged(StorageError):
    """Inside the gate the parent is no longer the collection that the writer was opened in."""


class EtagMismatch(StorageError):
    """Inside the gate the resource is no longer the one that the caller expected."""


class TooManyOpenFiles(StorageError):
    """EMFILE, ENFILE, ENOMEM: try again later."""


class RootInUse(StorageError):
    """A process that does not share our state serves the root."""


class StorageFailure(StorageError):
    """EIO and everything unforeseen."""


class StateError(Exception):
    """What the state store raises."""


class GateBusy(StateError):
    """The gate was not to be had within the time allowed."""


class StateFull(StateError):
    """No room for the row: disk full, or a limit on properties is reached."""


class TooManyLocks(StateFull):
    """A limit on locks is reached, of a principal or on a resource."""


class NotCounted(StateError):
    """How much of a quota is used is not known yet."""


class StateFailure(StateError):
    """The state cannot be read or written."""


_TABLE: dict[type[StorageError | StateError], tuple[type[DavError], bytes | None]] = {
    ResourceNotFound: (NotFound, None),
    ResourceExists: (Conflict, None),
    ParentMissing: (Conflict, None),
    IsACollection: (MethodNotAllowed, None),
    NotACollection: (Conflict, None),
    CollectionNotEmpty: (Conflict, None),
    AccessDenied: (Forbidden, None),
    ReadOnlyStorage: (Forbidden, None),
    EscapesRoot: (Forbidden, None),
    UnsupportedKind: (Forbidden, None),
    InvalidName: (BadRequest, None),
    NameTooLong: (UriTooLong, None),
    NoSpace: (InsufficientStorage, b"sufficient-disk-space"),
    QuotaExceeded: (InsufficientStorage, b"quota-not-exceeded"),
    CrossDevice: (BadGateway, None),
    ParentChanged: (Conflict, None),
    EtagMismatch: (PreconditionFailed, None),
    TooManyOpenFiles: (ServiceUnavailable, None),
    StorageFailure: (InternalError, None),
    GateBusy: (ServiceUnavailable, None),
    NotCounted: (ServiceUnavailable, None),
    # No disk is full, and to wait does not help: one has to unlock something.
    TooManyLocks: (Forbidden, None),
    StateFull: (InsufficientStorage, b"sufficient-disk-space"),
    StateFailure: (InternalError, None),
}
_RETRY_AFTER = ((b"retry-after", b"1"),)


def from_storage(error: StorageError | StateError) -> DavError:
    """Returns the DavError that a storage or state error becomes, unless a method knows better."""
    for kind in type(error).__mro__:
        if kind in _TABLE:
            status, condition = _TABLE[kind]
            headers = _RETRY_AFTER if status is ServiceUnavailable else ()
            return status(str(error), condition=condition, headers=headers)
    return InternalError(str(error))
