"""Digest (RFC 7616): a name and the proof of a password, for one request.

Offered with qop=auth, for SHA-256 and, where it is switched on, for MD5 (old clients); only while
some user has what it needs. The uri is compared as a path, with no regard to a slash at its end:
clients differ in that.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from davserver.auth.accounts import Account, Roster
from davserver.auth.base import Attempt
from davserver.auth.nonces import Nonces, Use
from davserver.errors import BadRequest, DavError
from davserver.protocol.path import DavPath

_PARAM = re.compile(
    rb"[ \t,]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]*=[ \t]*"
    rb'(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))[ \t]*(?:,|$)'
)
_ESCAPED = re.compile(rb"\\(.)")
_COUNT = re.compile(rb"[0-9A-Fa-f]{8}")
_LIMIT = 16_384
"""Bytes of the whole field."""
_NEEDED = ("realm", "nonce", "uri", "response", "cnonce", "nc", "qop")


@dataclass(frozen=True, slots=True)
class _Algorithm:
    name: str
    hash: str
    length: int


SHA256 = _Algorithm("SHA-256", "sha256", 64)
MD5 = _Algorithm("MD5", "md5", 32)


def digest_of(name: str, realm: str, password: str, algorithm: _Algorithm) -> str:
    """Returns what is stored of a password: H(user:realm:password), in hex."""
    return _hash(algorithm, f"{name}:{realm}:{password}".encode())


def _hash(algorithm: _Algorithm, data: bytes) -> str:
    return hashlib.new(algorithm.hash, data, usedforsecurity=False).hexdigest()


@dataclass(frozen=True, slots=True)
class Proof:
    """One Authorization field, read.

    Attributes:
        username: as it was sent.
        count: of the nonce.
    """

    username: str
    algorithm: _Algorithm
    realm: str
    nonce: bytes
    uri: bytes
    response: bytes
    cnonce: bytes
    nc: bytes

    @property
    def count(self) -> int:
        return int(self.nc, 16)


def is_digest(authorization: bytes) -> bool:
    return authorization[:7].lower() == b"digest "


def parse_digest(authorization: bytes) -> Proof:
    """Reads the field (RFC 7616 section 3.4). Raises BadRequest (400) for what is missing or is
    not as it must be."""
    values = _parameters(authorization[7:])
    missing = [name for name in _NEEDED if name not in values]
    if missing:
        raise BadRequest(f"Digest without {missing[0]!r}")
    name = values.get("algorithm", b"MD5").upper()
    algorithm = {b"SHA-256": SHA256, b"MD5": MD5}.get(name)
    if algorithm is None:
        raise BadRequest(f"Digest with the algorithm {name!r}")
    if values["qop"] != b"auth":
        raise BadRequest(f"Digest with qop {values['qop']!r}")
    if not _COUNT.fullmatch(values["nc"]):
        raise BadRequest(f"Digest with nc {values['nc']!r}")
    return Proof(
        _username(values),
        algorithm,
        values["realm"].decode("latin-1"),
        values["nonce"],
        values["uri"],
        values["response"].lower(),
        values["cnonce"],
        values["nc"],
    )


def _parameters(text: bytes) -> dict[str, bytes]:
    if len(text) > _LIMIT:
        raise BadRequest("the Authorization field is too long")
    values: dict[str, bytes] = {}
    position = 0
    text = text.strip(b" \t")
    while position < len(text):
        found = _PARAM.match(text, position)
        if found is None:
            raise BadRequest("the parameters of Digest cannot be read")
        name = found[1].decode("ascii").lower()
        if name in values:
            raise BadRequest(f"Digest with {name!r} twice")
        quoted = found[2]
        values[name] = found[3] if quoted is None else _ESCAPED.sub(rb"\1", quoted)
        position = found.end()
    return values


def _username(values: dict[str, bytes]) -> str:
    """Section 3.4: `username`, or `username*` (RFC 8187) where it is no plain text; not both."""
    plain, extended = values.get("username"), values.get("username*")
    if (plain is None) == (extended is None):
        raise BadRequest("Digest needs one of username and username*")
    if extended is not None:
        charset, _, rest = extended.partition(b"'")
        if charset.upper() != b"UTF-8":
            raise BadRequest(f"Digest with the charset {charset!r}")
        plain = unquote_to_bytes(rest.partition(b"'")[2])
    assert plain is not None
    return plain.decode("utf-8", "replace")


class Digest:
    """Challenges, and judges the answers.

    Args:
        md5: offer MD5 too.
    """

    def __init__(self, nonces: Nonces, *, realm: str, md5: bool) -> None:
        self._nonces = nonces
        self._realm = realm
        self._md5 = md5
        self._decoy = secrets.token_hex(32)

    def challenges(self, roster: Roster, now: float, *, stale: bool = False) -> Sequence[bytes]:
        """Returns a challenge for each algorithm, the better one first (section 3.7)."""
        offered = [SHA256] if roster.has_sha256 else []
        offered += [MD5] if self._md5 and roster.has_md5 else []
        nonce = self._nonces.make(now).decode("ascii") if offered else ""
        end = ", stale=true" if stale else ""
        return [
            f'Digest realm="{self._realm}", qop="auth", algorithm={algorithm.name},'
            f' nonce="{nonce}", charset=UTF-8, userhash=false{end}'.encode("ascii")
            for algorithm in offered
        ]

    def judge(self, proof: Proof, attempt: Attempt, roster: Roster) -> Account | None:
        """Returns who proves to know a password, None when nobody does. Raises BadRequest (400)
        when the proof is for another resource."""
        account = roster.find(proof.username)
        stored = None if account is None else _stored(account, proof.algorithm, md5=self._md5)
        known = self._decoy if stored is None else stored
        is_right = hmac.compare_digest(proof.response, _response(proof, known, attempt.method))
        if not is_right or stored is None or proof.realm != self._realm:
            return None
        if not _is_same(proof.uri, attempt.uri):
            raise BadRequest("the uri of Digest is not the one that was asked for")
        return account

    def is_in_use(self, proof: Proof) -> bool:
        """True when its nonce was used before, by who knew the password."""
        return self._nonces.is_in_use(proof.nonce)

    def is_fresh(self, proof: Proof, now: float) -> bool:
        """Notes a proof that is right. False where its nonce is too old, or the proof was seen
        before: 401 with stale=true."""
        return self._nonces.use(proof.nonce, proof.count, now) is Use.FIRST


def _stored(account: Account, algorithm: _Algorithm, *, md5: bool) -> str | None:
    if algorithm is SHA256:
        return account.sha256
    return account.md5 if md5 else None


def _response(proof: Proof, stored: str, method: str) -> bytes:
    """Section 3.4.1, with qop=auth."""
    asked = _hash(proof.algorithm, method.encode("ascii", "replace") + b":" + proof.uri)
    parts = (stored.encode(), proof.nonce, proof.nc, proof.cnonce, b"auth", asked.encode())
    return _hash(proof.algorithm, b":".join(parts)).encode()


def _is_same(uri: bytes, asked: bytes) -> bool:
    path = uri.partition(b"?")[0]
    if path == asked:
        return True
    if b"://" in path:
        path = b"/" + path.partition(b"://")[2].partition(b"/")[2]
    try:
        return DavPath.from_raw(path) == DavPath.from_raw(asked)
    except DavError:
        return False
