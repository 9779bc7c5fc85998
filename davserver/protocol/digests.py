"""Digests of content: Repr-Digest, Content-Digest and their Want fields (RFC 9530), and the
OC-Checksum of ownCloud. No I/O here.

An algorithm is named as RFC 9530 does (`sha-256`), those of ownCloud alone in lower case.
"""

from __future__ import annotations

import base64
import hashlib
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from davserver.errors import BadRequest
from davserver.protocol.headers import DavHeaders
from davserver.protocol.structured import parse_dictionary

_ACTIVE = ("sha-256", "sha-512")
"""RFC 9530 section 5: the others of its table are deprecated, and unknown here."""
_CHECKSUMS = {
    "SHA1": "sha1",
    "MD5": "md5",
    "ADLER32": "adler32",
    "SHA256": "sha-256",
    "SHA512": "sha-512",
}
_KEPT = ("sha1", "md5", "adler32")
"""What ownCloud keeps of each upload, whichever of them the client sent: rclone compares MD5."""
_CHECKSUM = re.compile(r"([A-Za-z0-9\-]{1,20}):([0-9A-Fa-f]{1,200})")
_OC_CHECKSUM = b"oc-checksum"
_FIELDS = (b"repr-digest", b"content-digest")
_WANT_REPR = b"want-repr-digest"
_ASKING = (_OC_CHECKSUM, *_FIELDS, _WANT_REPR)
Digests = Mapping[str, bytes]
"""Digest by algorithm."""


class _Hash(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _Adler32:
    def __init__(self) -> None:
        self._value = 1

    def update(self, data: bytes | memoryview, /) -> None:
        self._value = zlib.adler32(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(4, "big")


_NEW: Mapping[str, Callable[[], _Hash]] = {
    "sha-256": hashlib.sha256,
    "sha-512": hashlib.sha512,
    "sha1": partial(hashlib.sha1, usedforsecurity=False),
    "md5": partial(hashlib.md5, usedforsecurity=False),
    "adler32": _Adler32,
}
_SIZES = {name: len(new().digest()) for name, new in _NEW.items()}


class Hasher:
    """Several digests of one content that comes in pieces. A piece of 1 MiB takes milliseconds."""

    def __init__(self, algorithms: Iterable[str]) -> None:
        self._hashes = {name: _NEW[name]() for name in algorithms}

    def update(self, data: bytes | memoryview) -> None:
        for each in self._hashes.values():
            each.update(data)

    def digests(self) -> Digests:
        return {name: each.digest() for name, each in self._hashes.items()}


@dataclass(frozen=True, slots=True)
class Announced:
    """What a client says that a digest of its body is."""

    field: str
    algorithm: str
    digest: bytes


@dataclass(frozen=True, slots=True)
class UploadDigests:
    """What is to be done with the digests of an upload.

    Attributes:
        announced: what must hold.
        algorithms: what is to be computed.
        wanted: the algorithm that the answer is to have in Repr-Digest, None for none.
    """

    announced: tuple[Announced, ...]
    algorithms: frozenset[str]
    wanted: str | None = None

    @classmethod
    def from_headers(cls, headers: DavHeaders) -> UploadDigests | None:
        """Returns None when nobody asks. Raises BadRequest (400): a field that cannot be read.
        Unknown algorithms are passed over (RFC 9530 section 2)."""
        if all(headers.get(name) is None for name in _ASKING):
            return None
        announced = _checksums(headers.joined(_OC_CHECKSUM))
        algorithms = {one.algorithm for one in announced}
        if announced:
            algorithms.update(_KEPT)
        for name in _FIELDS:
            # No content coding is stored here: the content is the whole representation.
            announced += _announced(name.decode(), headers.joined(name))
        wanted = preferred(headers, _WANT_REPR)
        algorithms.update(one.algorithm for one in announced)
        if wanted is not None:
            algorithms.add(wanted)
        if not algorithms:
            return None
        return cls(tuple(announced), frozenset(algorithms), wanted)

    def check(self, digests: Digests) -> None:
        """Raises BadRequest (400) for the first that does not hold."""
        for one in self.announced:
            found = digests[one.algorithm]
            if found != one.digest:
                raise BadRequest(
                    f"{one.field}: the {one.algorithm} of the body is {found.hex()},"
                    f" {one.digest.hex()} was announced"
                )


def preferred(headers: DavHeaders, name: bytes) -> str | None:
    """Returns the algorithm that a Want field likes best, None for none of ours (RFC 9530
    section 4: weights from 0, never, to 10; a hint, so one that cannot be read is no error)."""
    value = headers.joined(name)
    if value is None:
        return None
    try:
        weights = parse_dictionary(name.decode(), value)
    except BadRequest:
        return None
    known = [(weights.get(algorithm), algorithm) for algorithm in _ACTIVE]
    liked = [(w, algorithm) for w, algorithm in known if isinstance(w, int) and 0 < w <= 10]
    # Of two that are liked equally the first, which is the quicker one.
    return max(liked, key=lambda pair: pair[0])[1] if liked else None


def digest_field(algorithm: str, digest: bytes) -> bytes:
    """Returns the value of Repr-Digest or Content-Digest."""
    return b"%s=:%s:" % (algorithm.encode("ascii"), base64.b64encode(digest))


def checksums_text(digests: Digests) -> bytes:
    """Returns digests as ownCloud shows them, b"" for none: `SHA1:... MD5:... ADLER32:...`."""
    found = [
        f"{name}:{digests[algorithm].hex()}"
        for name, algorithm in _CHECKSUMS.items()
        if algorithm in digests
    ]
    return " ".join(found).encode("ascii")


def to_text(digests: Digests) -> str:
    """Returns what `from_text` reads."""
    return " ".join(f"{name}:{digest.hex()}" for name, digest in digests.items())


def from_text(text: str) -> Digests:
    """Reads what `to_text` has written; what is no digest of ours is passed over."""
    pairs = (word.partition(":") for word in text.split())
    return {
        name: bytes.fromhex(digest)
        for name, _, digest in pairs
        if len(digest) == 2 * _SIZES.get(name, -1)
    }


def _announced(name: str, value: bytes | None) -> list[Announced]:
    if value is None:
        return []
    members = parse_dictionary(name, value)
    found = []
    for algorithm in _ACTIVE:
        if algorithm in members:
            digest = members[algorithm]
            if not isinstance(digest, bytes) or len(digest) != _SIZES[algorithm]:
                raise BadRequest(f"{name} has no {algorithm} digest, but says so: {value[:200]!r}")
            found.append(Announced(name, algorithm, digest))
    return found


def _checksums(value: bytes | None) -> list[Announced]:
    """Reads `OC-Checksum: SHA1:<hex>`; several may follow one another, as in the property."""
    found = []
    for word in (value or b"").decode("latin-1").replace(",", " ").split():
        match = _CHECKSUM.fullmatch(word)
        if match is None:
            raise BadRequest(f"OC-Checksum is no TYPE:hex: {word[:200]!r}")
        algorithm = _CHECKSUMS.get(match[1].upper())
        if algorithm is None:
            continue
        if len(match[2]) != 2 * _SIZES[algorithm]:
            raise BadRequest(f"OC-Checksum is no {match[1]}: {word[:200]!r}")
        found.append(Announced("OC-Checksum", algorithm, bytes.fromhex(match[2])))
    return found
