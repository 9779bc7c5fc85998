"""Password hashes: argon2id for new ones (RFC 9106); argon2 and bcrypt are verified."""

from __future__ import annotations

import unicodedata

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher
from pwdlib.hashers.bcrypt import BcryptHasher

_BCRYPT_BYTES = 72
"""What bcrypt looks at. Apache's `htpasswd -B` cuts there, its successor in Python refuses more."""

_ARGON2 = Argon2Hasher()
_BCRYPT = BcryptHasher()
_HASHES = PasswordHash((_ARGON2, _BCRYPT))


def hash_password(password: str) -> str:
    """Returns the argon2id hash of a password: 64 MiB and some tens of milliseconds."""
    return _HASHES.hash(normalized(password))


def verify_password(password: str, stored: str) -> bool:
    """True when the password has this hash. Takes as long as making one."""
    secret = normalized(password).encode("utf-8")
    if _BCRYPT.identify(stored):
        secret = secret[:_BCRYPT_BYTES]
    return _HASHES.verify(secret, stored)


def normalized(text: str) -> str:
    """RFC 7617 section 2.1 would have user names and passwords compared in NFC."""
    return unicodedata.normalize("NFC", text)


def why_refused(stored: str) -> str | None:
    """Returns what is wrong with a stored hash, None where it is one that we take."""
    if _ARGON2.identify(stored) or _BCRYPT.identify(stored):
        return None
    kinds = {"$apr1$": "MD5 (apr1)", "$1$": "MD5", "{SHA}": "SHA-1", "$5$": "SHA-256 crypt"}
    kinds |= {"$6$": "SHA-512 crypt", "$y$": "yescrypt", "$argon2": "a broken argon2"}
    kind = next((name for mark, name in kinds.items() if stored.startswith(mark)), "an unknown")
    return f"{kind} hash is not taken: argon2 or bcrypt (htpasswd -B) is"
