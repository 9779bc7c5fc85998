"""Users with passwords, and clients that sign in: Basic, and Digest as RFC 7616 has it."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from davserver.auth.digest import MD5, SHA256, digest_of
from davserver.auth.usersfile import changing_users
from davserver.configtables import parse_user
from tests.support.dav import Content, Dav
from tests.support.reply import Reply

REALM = "davserver"
_HASHER = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


def quick_hash(password: str) -> str:
    """An argon2id hash that takes microseconds: to be verified often, in tests alone."""
    return _HASHER.hash(password)


def entry(
    name: str, password: str = "secret", *, realm: str = REALM, **keys: Any
) -> dict[str, Any]:
    """A `[[user]]`, with what Digest needs."""
    digest = {
        "realm": realm,
        "sha256": digest_of(name, realm, password, SHA256),
        "md5": digest_of(name, realm, password, MD5),
    }
    return {"name": name, "password": quick_hash(password), "digest": digest, **keys}


def add_users(state: Path, *names: str, **keys: Any) -> None:
    """Gives users accounts in the users file of a state folder, as `davserver user add` does."""
    with changing_users(state / "users.toml") as entries:
        entries.update({name: parse_user(entry(name, **keys)) for name in names})


def basic_field(name: str, password: str = "secret") -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def basic(name: str, password: str = "secret") -> dict[str, str]:
    return {"Authorization": basic_field(name, password)}


class Basic(Dav):
    """A client that sends the same password with each request, over the carrier of another."""

    def __init__(self, carrier: Dav, name: str, password: str = "secret") -> None:
        self.name = name
        self._carrier = carrier
        self._field = basic_field(name, password)

    def exchange(
        self, method: str, target: str, headers: list[tuple[str, str]], body: Content
    ) -> Reply:
        fields = [("Authorization", self._field), *headers]
        return self._carrier.exchange(method, target, fields, body)


def challenges(reply: Reply, scheme: str = "Digest") -> list[dict[str, str]]:
    """Returns the parameters of each challenge of a scheme, in order."""
    found = []
    for value in reply.headers.get_all("www-authenticate"):
        if value.startswith(scheme + " "):
            pairs = re.findall(r'(\w+)=(?:"([^"]*)"|([^\s,]+))', value)
            found.append({name: quoted or plain for name, quoted, plain in pairs})
    return found


def digest_field(
    challenge: dict[str, str],
    method: str,
    uri: str,
    /,
    *,
    name: str = "alice",
    password: str = "secret",
    count: int = 1,
    cnonce: str = "0a4f113b",
    **changed: str | None,
) -> str:
    """Returns an Authorization field for a challenge (RFC 7616 section 3.4.1).

    Args:
        changed: parameters to send instead, None to leave one out. They are not part of the proof.
    """
    algorithm = challenge.get("algorithm", "MD5")
    hash_name = {"SHA-256": "sha256", "MD5": "md5"}[algorithm]

    def hashed(text: str) -> str:
        return hashlib.new(hash_name, text.encode(), usedforsecurity=False).hexdigest()

    secret = hashed(f"{name}:{challenge['realm']}:{password}")
    nc = f"{count:08x}"
    asked = hashed(f"{method}:{uri}")
    values: dict[str, str | None] = {
        "username": name,
        "realm": challenge["realm"],
        "uri": uri,
        "algorithm": algorithm,
        "nonce": challenge["nonce"],
        "nc": nc,
        "cnonce": cnonce,
        "qop": "auth",
        "response": hashed(f"{secret}:{challenge['nonce']}:{nc}:{cnonce}:auth:{asked}"),
    } | changed
    bare = ("algorithm", "nc", "qop", "username*")
    pairs = [(key, value) for key, value in values.items() if value is not None]
    return "Digest " + ", ".join(
        f"{key}={value}" if key in bare else f'{key}="{value}"' for key, value in pairs
    )


class Digest(Dav):
    """A client that asks for a challenge when it has none, and answers it from then on."""

    def __init__(
        self,
        carrier: Dav,
        name: str,
        password: str = "secret",
        *,
        algorithm: str = "SHA-256",
    ) -> None:
        self.name = name
        self.challenge: dict[str, str] | None = None
        self._password = password
        self._algorithm = algorithm
        self._carrier = carrier
        self._count = 0

    def exchange(
        self, method: str, target: str, headers: list[tuple[str, str]], body: Content
    ) -> Reply:
        for _ in range(3):
            fields = list(headers)
            if self.challenge is not None:
                self._count += 1
                field = digest_field(
                    self.challenge,
                    method,
                    target,
                    name=self.name,
                    password=self._password,
                    count=self._count,
                )
                fields.insert(0, ("Authorization", field))
            reply = self._carrier.exchange(method, target, fields, body)
            if reply.status != 401:
                return reply
            offered = [c for c in challenges(reply) if c["algorithm"] == self._algorithm]
            if not offered or (self.challenge and offered[0].get("stale") != "true"):
                return reply
            self.challenge, self._count = offered[0], 0
        return reply
