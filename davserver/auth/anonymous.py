"""No sign-in: everybody is the anonymous principal, and one level says what they may do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from davserver.auth.base import ANONYMOUS, Principal, Privilege
from davserver.protocol.path import DavPath

Level = Literal["none", "read", "write"]


class AnonymousAuthenticator:
    """Takes every request for one of the anonymous principal; credentials are not looked at."""

    blocking = False

    def challenges(self, *, secure: bool) -> Sequence[bytes]:
        return ()

    def authenticate(
        self, authorization: bytes | None, *, method: str, uri: bytes, secure: bool, now: float
    ) -> Principal | None:
        return ANONYMOUS


class LevelAuthorizer:
    """Grants the same level everywhere.

    Args:
        level: "none" grants nothing, "read" reading, "write" both.
        read_only: grants no writing, whatever the level.
    """

    def __init__(self, level: Level, *, read_only: bool = False) -> None:
        self._reads = level != "none"
        self._writes = level == "write" and not read_only

    def permits(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool:
        return self._writes if privilege is Privilege.WRITE else self._reads
