"""Nonces of Digest (RFC 7616 section 3.3): made of the time and a signature, so that nothing is
kept of those that nobody uses. Of those in use all workers share which counts have been seen.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import hmac
import secrets

from davserver.auth.secret import SharedKey
from davserver.auth.table import TAG_BYTES, Event, SharedTable

BUCKETS = 8192
_WINDOW = 64
"""How far behind the highest count one may still come: several connections share a nonce."""
_TIME_BYTES = 8
_RANDOM_BYTES = 8
_SIGNATURE_BYTES = 16


class Use(enum.Enum):
    """What a nonce with a count is."""

    FIRST = "first"
    """Ours, not too old, and this count was not seen before."""
    STALE = "stale"
    """Too old, of another server or realm, or its count was seen."""


class Nonces:
    """Makes nonces and knows them again.

    Args:
        table: shared by all workers.
        key: the same for all workers, and after a restart.
        realm: a nonce of one realm is none of another.
        lifetime_s: seconds.
    """

    def __init__(
        self, table: SharedTable, key: SharedKey, *, realm: str, lifetime_s: float
    ) -> None:
        self._table = table
        self._key = key
        self._realm = realm.encode("ascii")
        self._lifetime_ms = round(lifetime_s * 1000)

    def make(self, now: float) -> bytes:
        head = round(now * 1000).to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
        return base64.urlsafe_b64encode(head + self._sign(head))

    def use(self, nonce: bytes, count: int, now: float) -> Use:
        """Notes that a nonce was used with this count, by who proved to know a password. Of two
        that ask for the same at once one is the first. Raises StateFailure."""
        head = self._head(nonce)
        if head is None:
            return Use.STALE
        made_ms = int.from_bytes(head[:_TIME_BYTES], "big")
        age_ms = now * 1000 - made_ms
        if not -self._lifetime_ms < age_ms < self._lifetime_ms:
            return Use.STALE
        result = Use.STALE

        def note(event: Event | None, floor: int) -> Event | None:
            nonlocal result
            if event is None:
                if made_ms <= floor:
                    return None  # it may have been used, and been forgotten since
                event = Event(made_ms)
            after = _noted(event, count)
            result = Use.STALE if after is None else Use.FIRST
            return after

        self._table.update(self._tag(head), note)
        return result

    def is_in_use(self, nonce: bytes) -> bool:
        """True when somebody who knows a password has used it. Raises StateFailure."""
        head = self._head(nonce)
        return head is not None and self._table.get(self._tag(head)) is not None

    def _head(self, nonce: bytes) -> bytes | None:
        """Returns time and random part of a nonce of ours."""
        try:
            raw = base64.b64decode(nonce, b"-_", validate=True)
        except binascii.Error:
            return None
        head, signature = raw[: _TIME_BYTES + _RANDOM_BYTES], raw[_TIME_BYTES + _RANDOM_BYTES :]
        return head if hmac.compare_digest(signature, self._sign(head)) else None

    def _sign(self, head: bytes) -> bytes:
        digest = hmac.digest(self._key(), b"nonce\0" + head + self._realm, "sha256")
        return digest[:_SIGNATURE_BYTES]

    def _tag(self, head: bytes) -> bytes:
        return hashlib.blake2b(head, key=self._key(), digest_size=TAG_BYTES).digest()


def _noted(event: Event, count: int) -> Event | None:
    """Returns the event with this count seen, None if it was already, or may have been.

    `first` is the highest count; bit n of `second` says that the one n below it was seen.
    """
    highest, seen = event.first, event.second
    if count > highest:
        shifted = seen << (count - highest) if count - highest < _WINDOW else 0
        return event._replace(first=count, second=(shifted | 1) & (2**_WINDOW - 1))
    bit = 1 << (highest - count)
    if highest - count >= _WINDOW or seen & bit:
        return None
    return event._replace(second=seen | bit)
