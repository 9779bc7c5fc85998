"""Times that a client gives with a request: X-OC-Mtime, X-OC-CTime (ownCloud, Nextcloud). No I/O.

rclone, gvfs and the ownCloud clients send them, and take a time for kept only where the answer
says `accepted`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from davserver.errors import BadRequest
from davserver.protocol.headers import DavHeaders

_SECONDS = re.compile(rb"(-?[0-9]{1,12})(?:\.[0-9]{1,9})?")
_EARLIEST, _LATEST = -62135596800, 253402300799
"""0001-01-01 and 9999-12-31: what an HTTP date can say."""
_NS = 1_000_000_000
_MTIME, _CTIME = b"x-oc-mtime", b"x-oc-ctime"


@dataclass(frozen=True, slots=True)
class ClientTimes:
    """Nanoseconds since the epoch, of a whole second; None when the client gave none."""

    modified_ns: int | None = None
    created_ns: int | None = None

    @classmethod
    def from_headers(cls, headers: DavHeaders) -> ClientTimes:
        """Reads both fields. Raises BadRequest (400): no number of seconds, or sent twice."""
        modified, created = headers.single(_MTIME), headers.single(_CTIME)
        if modified is None and created is None:
            return NO_TIMES
        return cls(_parse(_MTIME, modified), _parse(_CTIME, created))

    def accepted(self) -> tuple[tuple[bytes, bytes], ...]:
        """Returns the header fields that tell the client which of its times were kept."""
        fields = ((_MTIME, self.modified_ns), (_CTIME, self.created_ns))
        return tuple((name, b"accepted") for name, value in fields if value is not None)


NO_TIMES = ClientTimes()


def _parse(name: bytes, value: bytes | None) -> int | None:
    """A fraction is dropped: the nanoseconds are random, so that no entity-tag comes back."""
    if value is None:
        return None
    match = _SECONDS.fullmatch(value)
    seconds = None if match is None else int(match[1])
    if seconds is None or not _EARLIEST <= seconds <= _LATEST:
        raise BadRequest(f"{name.decode()} is no number of seconds since 1970: {value!r}")
    return seconds * _NS
