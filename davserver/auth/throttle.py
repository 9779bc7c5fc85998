"""Wrong passwords come slowly: each failure of an address with a user's name makes the next answer
later, and after some nobody there can try that name for a while.

Who is locked out is one address with one name: nobody can lock out others, and who is signed in
already goes on. The counts are shared by all workers.
"""

from __future__ import annotations

import hashlib
import ipaddress
import logging
import math

from davserver.auth.secret import SharedKey
from davserver.auth.table import TAG_BYTES, Event, SharedTable
from davserver.errors import TooManyRequests

logger = logging.getLogger(__name__)

BUCKETS = 2048
_FIRST_DELAY_S = 0.25
_LONGEST_DELAY_S = 4.0


class Throttle:
    """Counts failures.

    Args:
        table: shared by all workers.
        key: so that the table tells nothing of names and addresses.
        limit: failures before an address is locked out of a name.
        lockout_s: for so long; a failure is forgotten after as long.
    """

    def __init__(self, table: SharedTable, key: SharedKey, *, limit: int, lockout_s: float) -> None:
        self._table = table
        self._key = key
        self._limit = limit
        self._lockout_ms = round(lockout_s * 1000)

    def check(self, address: str, name: str, now: float) -> None:
        """Raises TooManyRequests (429) with Retry-After while the address is locked out."""
        event = self._table.get(self._tag(address, name))
        left_ms = self._left_ms(event, now)
        if event is None or left_ms <= 0 or event.first < self._limit:
            return
        raise refused(math.ceil(left_ms / 1000))

    def failed(self, address: str, name: str, now: float) -> float:
        """Notes a wrong password; returns the seconds that the answer is to wait."""
        count = 0

        def add(event: Event | None, floor: int) -> Event:
            nonlocal count
            count = 1 if event is None or self._left_ms(event, now) <= 0 else event.first + 1
            return Event(int(now * 1000), count)

        self._table.update(self._tag(address, name), add)
        if count == self._limit:
            logger.warning(
                "sign-in of %s as %s is locked for %d s",
                *(address, shown(name), self._lockout_ms // 1000),
            )
        return min(_FIRST_DELAY_S * 2.0 ** min(count - 1, 16), _LONGEST_DELAY_S)

    def succeeded(self, address: str, name: str, now: float) -> None:
        """The count begins anew."""
        tag = self._tag(address, name)
        self._table.update(tag, lambda event, floor: None if event is None else Event(0))

    def _left_ms(self, event: Event | None, now: float) -> float:
        # A clock that went back makes no lock-out longer than it is.
        if event is None or event.at_ms > int(now * 1000) + self._lockout_ms:
            return 0
        return event.at_ms + self._lockout_ms - int(now * 1000)

    def _tag(self, address: str, name: str) -> bytes:
        text = f"{_network(address)}\0{name}".encode("utf-8", "surrogateescape")
        return hashlib.blake2b(text, key=self._key(), digest_size=TAG_BYTES).digest()


def refused(after_s: int) -> TooManyRequests:
    """Returns the 429 that says when to come again. It is held back, as a failure is."""
    error = TooManyRequests(
        f"too many wrong passwords: try again in {after_s} s",
        headers=((b"retry-after", b"%d" % after_s),),
    )
    error.delay_s = _LONGEST_DELAY_S
    return error


def shown(name: str) -> str:
    """Returns a name for the log: in quotes, printable ASCII, of bounded length."""
    return '"' + "".join(_shown_character(char) for char in name[:64]) + '"'


def _shown_character(char: str) -> str:
    return char if "!" <= char <= "~" and char not in '"\\' else f"\\u{ord(char):04x}"


def _network(address: str) -> str:
    """IPv6 hands out whole networks: there it is the first 64 bits that count."""
    if ":" not in address:
        return address
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    mapped = found.ipv4_mapped
    return str(mapped) if mapped is not None else str(int(found) >> 64)
