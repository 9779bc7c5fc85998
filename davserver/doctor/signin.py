"""Signing in: Basic (RFC 7617) and Digest (RFC 7616), whichever the server asks for."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

_PARAMETER = re.compile(r'([A-Za-z0-9_-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][A-Za-z0-9_-]*)(?=\s+[^\s=,]|\s*(?:,|$))")
_HASHES = {"SHA-256": "sha256", "MD5": "md5", "": "md5"}


@dataclass(frozen=True, slots=True)
class Challenge:
    """One offer of WWW-Authenticate.

    Attributes:
        scheme: in lower case.
        parameters: names in lower case.
    """

    scheme: str
    parameters: dict[str, str]

    @property
    def algorithm(self) -> str:
        return self.parameters.get("algorithm", "").upper()

    @property
    def shown(self) -> str:
        """Its name, for people."""
        if self.scheme != "digest":
            return self.scheme.capitalize()
        return f"Digest {self.algorithm or 'MD5'}"


def parse_challenges(values: Sequence[str]) -> list[Challenge]:
    """Reads the fields WWW-Authenticate; what cannot be read is left out."""
    found: list[Challenge] = []
    for value in values:
        starts = list(_SCHEME.finditer(_masked(value)))
        ends = [match.start() for match in starts[1:]] + [len(value)]
        for match, end in zip(starts, ends, strict=True):
            text = value[match.end() : end]
            parameters = {
                name.lower(): re.sub(r"\\(.)", r"\1", quoted) or plain
                for name, quoted, plain in _PARAMETER.findall(text)
            }
            found.append(Challenge(match[1].lower(), parameters))
    return found


def _masked(value: str) -> str:
    """Blanks what stands in quotes, so that nothing in it is taken for a scheme."""
    return re.sub(r'"(?:[^"\\]|\\.)*"', lambda match: '"' + "x" * (len(match[0]) - 2) + '"', value)


def choose(
    challenges: Sequence[Challenge], *, without: frozenset[str] = frozenset()
) -> Challenge | None:
    """Returns the strongest that is understood: Digest before Basic, SHA-256 before MD5.

    Args:
        without: those that were tried in vain, by `shown`.
    """

    def strength(challenge: Challenge) -> int:
        if challenge.shown in without:
            return 0
        if challenge.scheme == "digest":
            name = challenge.algorithm.removesuffix("-SESS")
            if name not in _HASHES or not challenge.parameters.get("nonce"):
                return 0
            return 3 if name == "SHA-256" else 2
        return 1 if challenge.scheme == "basic" else 0

    best = max(challenges, key=strength, default=None)
    return best if best is not None and strength(best) else None


@dataclass(slots=True)
class SignIn:
    """What Authorization says in each request.

    Attributes:
        challenge: the offer in use; None until one was chosen.
        new_nonce: makes a client's nonce.
    """

    user: str
    password: str = field(repr=False)
    new_nonce: Callable[[], str]
    challenge: Challenge | None = None
    _count: int = 0

    def use(self, challenge: Challenge) -> None:
        self.challenge = challenge
        self._count = 0

    def authorization(self, method: str, target: str) -> str | None:
        challenge = self.challenge
        if challenge is None:
            return None
        if challenge.scheme == "basic":
            pair = f"{self.user}:{self.password}".encode()
            return f"Basic {base64.b64encode(pair).decode()}"
        return self._digest(challenge, method, target)

    def _digest(self, challenge: Challenge, method: str, target: str) -> str:
        given = challenge.parameters
        name = challenge.algorithm.removesuffix("-SESS")

        def digest(text: str) -> str:
            return hashlib.new(_HASHES[name], text.encode(), usedforsecurity=False).hexdigest()

        realm, nonce = given.get("realm", ""), given["nonce"]
        self._count += 1
        count, own = f"{self._count:08x}", self.new_nonce()
        secret = digest(f"{self.user}:{realm}:{self.password}")
        if challenge.algorithm.endswith("-SESS"):
            secret = digest(f"{secret}:{nonce}:{own}")
        request = digest(f"{method}:{target}")
        offered = {each.strip() for each in given.get("qop", "").split(",")}
        fields = {"realm": realm, "nonce": nonce, "uri": target}
        if "auth" in offered:
            response = digest(f"{secret}:{nonce}:{count}:{own}:auth:{request}")
            fields["cnonce"] = own
        else:
            response = digest(f"{secret}:{nonce}:{request}")
        fields["response"] = response
        user = self.user
        if given.get("userhash", "").lower() == "true":
            user = digest(f"{user}:{realm}")
        parts = [f'username="{_escaped(user)}"']
        parts += [f'{key}="{_escaped(value)}"' for key, value in fields.items()]
        if given.get("opaque") is not None:
            parts.append(f'opaque="{_escaped(given["opaque"])}"')
        if challenge.algorithm:
            parts.append(f"algorithm={given['algorithm']}")
        if "auth" in offered:
            parts.append(f"qop=auth, nc={count}")
        if given.get("userhash", "").lower() == "true":
            parts.append("userhash=true")
        # Fields are sent as latin-1: this brings UTF-8 on the wire (RFC 7616 section 3.4).
        return f"Digest {', '.join(parts)}".encode().decode("latin-1")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')
