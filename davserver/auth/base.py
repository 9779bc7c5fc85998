"""The sign-in seam: who asks (Authenticator), and what they may do (Authorizer)."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

from davserver.protocol.path import DavPath


class Privilege(enum.Enum):
    """What a method needs (RFC 3744 section 3, the useful part)."""

    READ = "read"
    WRITE = "write"

    __hash__ = object.__hash__  # Enum's own is a call into Python, at each look into a table


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` "" is the anonymous principal."""

    name: str = ""
    groups: frozenset[str] = frozenset()


ANONYMOUS = Principal()


class Attempt(NamedTuple):
    """What a request says of who sends it.

    Attributes:
        authorization: the Authorization field, None when absent.
        uri: the path of the request-target as it was sent.
        address: where the client is, as far as trusted proxies tell.
        secure: the connection is TLS, or taken as such.
        now: seconds since the epoch.
        asserted: the field by which a trusted proxy names who has signed in there.
        session: the token of a session, from a page of ours.
    """

    authorization: bytes | None
    method: str
    uri: bytes
    address: str
    secure: bool
    now: float
    asserted: bytes | None = None
    session: bytes | None = None

    @property
    def credentials(self) -> object:
        """What is the same of all attempts of an address that prove the same; None: of this one
        alone. The word of a proxy goes before a password, which counts only where it is safe."""
        field = self.authorization
        if field is None or field[:6].lower() != b"basic ":
            return None
        return field, self.secure, self.asserted


class Authenticator(Protocol):
    """Tells who sends a request.

    Both methods may raise BadRequest (400), Unauthorized (401) with challenges of its own,
    Forbidden (403), TooManyRequests (429).
    """

    def challenges(self, *, secure: bool) -> Sequence[bytes]:
        """Values for WWW-Authenticate, none when nobody can sign in this way; `secure` when the
        connection is TLS or taken as such."""

    def recall(self, attempt: Attempt) -> Principal | None:
        """Tells at once, on the event loop; None where `authenticate` has to be asked."""

    def authenticate(self, attempt: Attempt) -> Principal | None:
        """Asked in a thread, for it may hash a password. None becomes 401 with the challenges."""

    def close(self) -> None:
        """Gives up files. Later use may open them again."""


@runtime_checkable
class SessionKeeper(Protocol):
    """An Authenticator that gives tokens to who has signed in, in place of credentials: those who
    can offer this too. Raises StateFailure."""

    @property
    def session_s(self) -> float:
        """Seconds that a token is good for; 0: none is given."""

    def begin_session(self, principal: Principal, now: float) -> bytes | None:
        """Returns a token, None where the principal has no account."""

    def end_session(self, token: bytes) -> None: ...


@runtime_checkable
class Doorless(Protocol):
    """An Authenticator that can tell before it sees a request that it will let everybody in."""

    @property
    def is_open(self) -> bool:
        """True while nobody can sign in: whatever a request offers, it is the anonymous
        principal's. Costs next to nothing."""


class Authorizer(Protocol):
    """Answers whether a principal may do something to a path of the server."""

    def permits(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool: ...


@runtime_checkable
class PathAuthorizer(Authorizer, Protocol):
    """An Authorizer whose answers differ from path to path.

    What has two names, the one asked for and the canonical one, is asked for by both, and both
    must be allowed.
    """

    @property
    def is_uniform(self) -> bool:
        """True when they do not differ after all: then only `permits` and `is_open` are asked."""

    def permits_real(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool:
        """As `permits`, for a canonical path (`Storage.path_of`)."""

    def varies_below(self, path: DavPath) -> bool:
        """True when the answer for something below `path`, of either kind, may be another than for
        `path`. Costs next to nothing."""

    def denied_below(
        self, principal: Principal, privilege: Privilege, path: DavPath
    ) -> Sequence[DavPath]:
        """Paths below `path`, of either kind, that the principal may not do this to, as far as
        rules name them."""

    def is_open(self, privilege: Privilege, path: DavPath) -> bool:
        """True when some signed-in principal may: then the anonymous one is asked to sign in."""
