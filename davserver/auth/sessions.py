"""Sessions: who signed in with the page's form carries a cookie instead of a password (RFC 6265).

A token is made of the time, a random part and the name, and signed with the key of all workers and
the account's password: nothing is kept of it, and a change of the password ends it. Only those
that were ended before their time are remembered, by all workers together.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets

from davserver.auth.accounts import Account, Roster
from davserver.auth.secret import SharedKey
from davserver.auth.table import TAG_BYTES, Event, SharedTable

BUCKETS = 512
_TIME_BYTES = 8
_RANDOM_BYTES = 16
_HEAD_BYTES = _TIME_BYTES + _RANDOM_BYTES
_SIGNATURE_BYTES = 32
_TOKEN_LIMIT = 1_024


class Sessions:
    """Makes tokens and knows them again.

    Args:
        ended: shared by all workers.
        key: the same for all workers, and after a restart.
        lifetime_s: seconds that one is good for; 0: there are none.
    """

    def __init__(self, ended: SharedTable, key: SharedKey, *, lifetime_s: float) -> None:
        self._ended = ended
        self._key = key
        self.lifetime_s = lifetime_s

    def begin(self, account: Account, now: float) -> bytes:
        """Returns a new token. Raises StateFailure."""
        head = _ms(now).to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
        name = account.principal.name.encode("utf-8")
        raw = head + self._sign(head, account) + name
        return base64.urlsafe_b64encode(raw).rstrip(b"=")

    def find(self, token: bytes, roster: Roster, now: float) -> Account | None:
        """Returns whose token this is, while it is good for anything. Raises StateFailure."""
        read = _read(token)
        if read is None:
            return None
        head, signature, name = read
        account = roster.accounts.get(name)
        made_ms = int.from_bytes(head[:_TIME_BYTES], "big")
        if account is None or not 0 <= _ms(now) - made_ms < self.lifetime_s * 1000:
            return None
        if not hmac.compare_digest(signature, self._sign(head, account)):
            return None
        return None if self._has_ended(head, made_ms) else account

    def end(self, token: bytes) -> None:
        """The token is good for nothing any more. Raises StateFailure."""
        read = _read(token)
        if read is not None:
            made_ms = int.from_bytes(read[0][:_TIME_BYTES], "big")
            self._ended.update(self._tag(read[0]), lambda event, floor: Event(made_ms))

    def _has_ended(self, head: bytes, made_ms: int) -> bool:
        is_old = False

        def look(event: Event | None, floor: int) -> None:
            # One that has gone from its bucket may have been ended.
            nonlocal is_old
            is_old = made_ms <= floor

        return self._ended.update(self._tag(head), look) is not None or is_old

    def _sign(self, head: bytes, account: Account) -> bytes:
        name, password = account.principal.name, account.password
        message = b"\0".join([b"session", head, name.encode("utf-8"), password.encode("utf-8")])
        return hmac.digest(self._key(), message, "sha256")

    def _tag(self, head: bytes) -> bytes:
        return hashlib.blake2b(head, key=self._key(), digest_size=TAG_BYTES).digest()


def _ms(now: float) -> int:
    # Rounded down always: what is made now is not of the future.
    return int(now * 1000)


def _read(token: bytes) -> tuple[bytes, bytes, str] | None:
    """Returns head, signature and name; None for what never was a token."""
    if len(token) > _TOKEN_LIMIT:
        return None
    try:
        raw = base64.b64decode(token + b"=" * (-len(token) % 4), b"-_", validate=True)
        name = raw[_HEAD_BYTES + _SIGNATURE_BYTES :].decode("utf-8")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return raw[:_HEAD_BYTES], raw[_HEAD_BYTES : _HEAD_BYTES + _SIGNATURE_BYTES], name
