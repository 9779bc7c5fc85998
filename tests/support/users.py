"""Two users without passwords: `Authorization: Test alice`."""

from __future__ import annotations

from collections.abc import Sequence

from davserver.auth.base import Attempt, Principal
from tests.support.dav import Content, Dav
from tests.support.reply import Reply


class TestUsers:
    """An Authenticator that believes what it is told."""

    __test__ = False

    def challenges(self, *, secure: bool) -> Sequence[bytes]:
        return (b"Test",)

    def recall(self, attempt: Attempt) -> Principal | None:
        scheme, _, name = (attempt.authorization or b"").partition(b" ")
        return Principal(name.decode()) if scheme == b"Test" and name else None

    def authenticate(self, attempt: Attempt) -> Principal | None:
        return None

    def close(self) -> None:
        pass


class User(Dav):
    """A client that signs in as `name`, over the carrier of another one."""

    def __init__(self, carrier: Dav, name: str) -> None:
        self.name = name
        self._carrier = carrier

    def exchange(
        self, method: str, target: str, headers: list[tuple[str, str]], body: Content
    ) -> Reply:
        fields = [("Authorization", f"Test {self.name}"), *headers]
        return self._carrier.exchange(method, target, fields, body)
