"""Which other origins a browser lets use this server (CORS, WHATWG Fetch section 3.2). No I/O.

Off unless origins are named. Only a named origin is ever sent back; `null` and what is merely
similar to one are not, and `*` never comes with credentials.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from davserver.protocol.headers import DavHeaders

Fields = tuple[tuple[bytes, bytes], ...]
_ORIGIN = re.compile(r"[a-z][a-z0-9+.\-]*://[a-z0-9.\-_~%\[\]:]+")
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")
_MAX_AGE_S = b"7200"
"""Seconds that a browser may keep what a preflight said: Chromium takes no more."""
_REQUESTED_LIMIT = 50
_REQUEST_FIELDS = (
    b"Accept, Authorization, Brief, Cache-Control, Content-Digest, Content-Type, Depth,"
    b" Destination, If, If-Match, If-Modified-Since, If-None-Match, If-Range,"
    b" If-Unmodified-Since, Lock-Token, OC-Checksum, Overwrite, Pragma, Prefer, Range,"
    b" Repr-Digest, Timeout, Upload-Complete, Upload-Draft-Interop-Version, Upload-Length,"
    b" Upload-Offset, Want-Content-Digest, Want-Repr-Digest, X-OC-CTime, X-OC-Mtime,"
    b" X-Requested-With, X-Update-Range"
)
_RESPONSE_FIELDS = (
    b"Accept-Patch, Accept-Ranges, Allow, Content-Digest, Content-Length, Content-Location,"
    b" Content-Range, DAV, Date, ETag, Last-Modified, Location, Lock-Token, MS-Author-Via,"
    b" Preference-Applied,"
    b" Repr-Digest, Retry-After, Upload-Complete, Upload-Length, Upload-Limit, Upload-Offset,"
    b" WWW-Authenticate, X-OC-CTime, X-OC-Mtime"
)
_KNOWN = frozenset(name.strip() for name in _REQUEST_FIELDS.lower().split(b","))
_VARY = ((b"vary", b"Origin"),)


def check_origins(value: Sequence[str]) -> tuple[str, ...]:
    """Returns origins as browsers write them, or `*`. Raises ValueError."""
    for origin in value:
        if origin != "*" and _ORIGIN.fullmatch(origin.lower()) is None:
            raise ValueError(
                f"{origin!r} must look like https://app.example.org, without a path, or be '*'"
            )
    return tuple(origin.lower() for origin in value)


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins that are let in.

    Attributes:
        origins: those that may use credentials.
        is_open: every other one may do what needs none.
    """

    origins: frozenset[bytes]
    is_open: bool

    @classmethod
    def from_origins(cls, origins: Sequence[str]) -> Cors | None:
        """Returns None when there are none: CORS is off."""
        if not origins:
            return None
        named = frozenset(origin.encode("ascii") for origin in origins if origin != "*")
        return cls(named, "*" in origins)

    def fields(self, headers: DavHeaders) -> Fields:
        """Returns what every answer carries, an error too: without it the page cannot even see
        its status."""
        origin = self._allowed(headers)
        if origin is None:
            return _VARY
        allowed = (
            (b"access-control-allow-origin", origin),
            (b"access-control-expose-headers", _RESPONSE_FIELDS),
        )
        if origin == b"*":
            return (*_VARY, *allowed)
        return (*_VARY, *allowed, (b"access-control-allow-credentials", b"true"))

    def preflight(self, headers: DavHeaders, methods: bytes) -> Fields | None:
        """Returns what the answer to a preflight says besides `fields`; None when it is none, or
        not of an origin that is let in.

        Args:
            methods: those of the server, as in Allow.
        """
        asked = headers.get(b"access-control-request-method")
        if asked is None or self._allowed(headers) is None:
            return None
        return (
            (b"access-control-allow-methods", methods),
            (b"access-control-allow-headers", _request_fields(headers)),
            (b"access-control-max-age", _MAX_AGE_S),
        )

    def _allowed(self, headers: DavHeaders) -> bytes | None:
        sent = headers.get_all(b"origin")
        if len(sent) != 1:
            return None
        if sent[0] in self.origins:
            return sent[0]
        return b"*" if self.is_open else None


def _request_fields(headers: DavHeaders) -> bytes:
    """Every field that means something here, and what else the page asks for: an origin that is
    let in may send any."""
    asked = headers.joined(b"access-control-request-headers") or b""
    names = [name.strip(b" \t") for name in asked.split(b",")][:_REQUESTED_LIMIT]
    more = [name for name in names if name.lower() not in _KNOWN and _TOKEN.fullmatch(name)]
    return b", ".join((_REQUEST_FIELDS, *more))
