"""The sign-in seam: who asks (Authenticator), and what they may do (Authorizer)."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from davserver.protocol.path import DavPath


class Privilege(enum.Enum):
    """What a method needs (RFC 3744 section 3, the useful part)."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` "" is the anonymous principal."""

    name: str = ""
    groups: frozenset[str] = frozenset()


ANONYMOUS = Principal()


class Authenticator(Protocol):
    """Turns an Authorization field into a principal."""

    blocking: bool
    """True when `authenticate` may hash a password: it is then run in a thread."""

    def challenges(self, *, secure: bool) -> Sequence[bytes]:
        """Values for WWW-Authenticate; `secure` when the connection is TLS or taken as such."""

    def authenticate(
        self, authorization: bytes | None, *, method: str, uri: bytes, secure: bool, now: float
    ) -> Principal | None:
        """None becomes 401 with the challenges. Raises BadRequest (400)."""


class Authorizer(Protocol):
    """Answers whether a principal may do something to a path of a share."""

    def permits(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool: ...
