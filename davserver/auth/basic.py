"""Basic (RFC 7617): a name and a password in base64, and the memory of those that were right."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import threading
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass

from davserver.auth.accounts import Account, Roster
from davserver.auth.base import Principal

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_REMEMBERED = 10_000


def challenge(realm: str) -> bytes:
    """RFC 7617 section 2.1: the one value of charset is UTF-8."""
    return f'Basic realm="{realm}", charset="UTF-8"'.encode("ascii")


def is_basic(authorization: bytes) -> bool:
    return authorization[:6].lower() == b"basic "


def parse_basic(authorization: bytes) -> tuple[str, str] | None:
    """Returns name and password, None where the field holds none.

    RFC 7617 section 2: the first colon ends the name; control characters are in neither.
    """
    if not is_basic(authorization):
        return None
    try:
        text = base64.b64decode(authorization[6:].strip(b" "), validate=True).decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    name, colon, password = text.partition(":")
    if not colon or not name or _CONTROL.search(text):
        return None
    return name, password


@dataclass(slots=True)
class _Entry:
    account: Account
    expires_at: float


class Remembered:
    """Credentials that were verified a short time ago, by a keyed hash of the field.

    The key is made anew in each process. Verifying again would give the same: what ends it is a
    change of the account, or that the credentials were not used for a time.

    Args:
        lifetime_s: seconds since the last use; 0 remembers nothing.
    """

    def __init__(self, lifetime_s: float) -> None:
        self._lifetime_s = lifetime_s
        self._key = secrets.token_bytes(32)
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()
        """The one used longest ago first."""
        self._lock = threading.Lock()

    def get(self, authorization: bytes, roster: Roster, now: float) -> Principal | None:
        """Returns whose credentials these are, if that is known and the account is unchanged."""
        tag = self._hash(authorization)
        entry = self._entries.get(tag)
        if entry is None or not 0 < entry.expires_at - now <= self._lifetime_s:
            return None
        account = roster.accounts.get(entry.account.principal.name)
        if account is None or account != entry.account:
            return None
        entry.expires_at = now + self._lifetime_s
        with suppress(KeyError):
            self._entries.move_to_end(tag)
        return account.principal

    def add(self, authorization: bytes, account: Account, now: float) -> None:
        tag = self._hash(authorization)
        with self._lock:
            self._entries.pop(tag, None)
            self._entries[tag] = _Entry(account, now + self._lifetime_s)
            while len(self._entries) > _REMEMBERED or self._oldest.expires_at <= now:
                self._entries.popitem(last=False)
                if not self._entries:
                    break

    @property
    def _oldest(self) -> _Entry:
        return self._entries[next(iter(self._entries))]

    def _hash(self, authorization: bytes) -> bytes:
        return hashlib.blake2b(authorization, key=self._key, digest_size=32).digest()
