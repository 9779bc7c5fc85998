"""Typed reading of request header fields (RFC 4918 section 10, RFC 9110 section 5). No I/O.

`If` has its own module (ifheader), entity-tags and conditions theirs (etag, preconditions).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection, Hashable, Iterable
from functools import lru_cache
from typing import TypeVar

from davserver.errors import BadGateway, BadRequest
from davserver.protocol.path import PATH_LIMIT, DavPath

_TIMEOUT_MAXIMUM = 2**32 - 1
"""RFC 4918 section 10.7: "... MUST NOT be greater than 2^32-1"."""

_SECONDS = re.compile(rb"second-([0-9]{1,20})", re.IGNORECASE)
_TOKEN = re.compile(rb"<?([\x21-\x3b=\x3f-\x7e]+)>?")
_ABSOLUTE_URI = re.compile(rb"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^?#]*)(?:\?[^#]*)?")
_DIGITS = re.compile(rb"[0-9]{1,18}")


T = TypeVar("T")
PARSED = "davserver.headers"
"""Where our own server leaves the DavHeaders of a request, in its scope."""
_KEPT = 64


class Depth(enum.Enum):
    """RFC 4918 section 10.2."""

    ZERO = "0"
    ONE = "1"
    INFINITY = "infinity"


_DEPTHS = {depth.value.encode(): depth for depth in Depth}


class DavHeaders:
    """The header fields of one request; names are in lower case, values without outer blanks.

    What is read of them once is kept (`recall`): a server may use the same object again for the
    next request that has the same fields.

    Attributes:
        get: gives the first value of a field, None when it was not sent.
    """

    __slots__ = ("_first", "_known", "get", "items")

    def __init__(
        self,
        raw: Iterable[tuple[bytes, bytes]],
        known: dict[Hashable, object] | None = None,
    ) -> None:
        self.items: list[tuple[bytes, bytes]] = [(name, value.strip(b" \t")) for name, value in raw]
        # The first of several lines wins, as it would in a loop of setdefault.
        self._first: dict[bytes, bytes] = dict(reversed(self.items))
        self._known: dict[Hashable, object] = {} if known is None else known
        self.get: Callable[[bytes], bytes | None] = self._first.get

    def with_fields(self, fields: Iterable[tuple[bytes, bytes]]) -> DavHeaders:
        """Returns these fields and others: what is kept is kept of both, so that nothing recalled
        may depend on those (Authorization, Cookie, Range, If, Lock-Token, Destination,
        X-Request-ID), nor on a Content-Length that the edge has let pass."""
        other = DavHeaders(fields, self._known)
        other.items = [*self.items, *other.items]
        other._first |= self._first
        return other

    def recall(self, read: Callable[[DavHeaders], T]) -> T:
        """Returns what `read` makes of these fields (see `with_fields`), the first time; an
        error is made anew each time."""
        try:
            return self._known[read]  # type: ignore[return-value]  # put there below
        except KeyError:
            found = self._known[read] = read(self)
            return found

    def recall_for(self, key: Hashable, read: Callable[[DavHeaders], T]) -> T:
        """As `recall`, where it depends on `key` (who sends them), too; a few such are kept."""
        try:
            return self._known[key]  # type: ignore[return-value]  # put there below
        except KeyError:
            if len(self._known) > _KEPT:
                self._known.clear()
            found = self._known[key] = read(self)
            return found

    def get_all(self, name: bytes) -> list[bytes]:
        """Returns the value of every line of this field, in order."""
        if name not in self._first:
            return []
        return [value for key, value in self.items if key == name]

    def single(self, name: bytes) -> bytes | None:
        """Returns the value of a field that is no list. Raises BadRequest (400) when sent twice."""
        value = self._first.get(name)
        if value is None:
            return None
        if len(self._first) != len(self.items) and len(self.get_all(name)) > 1:
            raise BadRequest(f"header field sent more than once: {name!r}")
        return value

    def joined(self, name: bytes) -> bytes | None:
        """Returns a list-typed field as one value (RFC 9110 section 5.3)."""
        value = self._first.get(name)
        if value is None:
            return None
        if len(self._first) == len(self.items):
            return value
        return b", ".join(self.get_all(name))


def parse_depth(value: bytes | None) -> Depth | None:
    """Reads `Depth` (RFC 4918 section 10.2), None when not sent. Raises BadRequest (400)."""
    if value is None:
        return None
    depth = _DEPTHS.get(value.strip(b" \t").lower())
    if depth is None:
        raise BadRequest(f"not a depth: {value!r}")
    return depth


def parse_overwrite(value: bytes | None) -> bool:
    """Reads `Overwrite` (RFC 4918 section 10.6), T when not sent. Raises BadRequest (400).

    Lower case is taken too, as nginx does.
    """
    if value is None:
        return True
    flag = value.strip(b" \t").upper()
    if flag not in (b"T", b"F"):
        raise BadRequest(f"not an overwrite flag: {value!r}")
    return flag == b"T"


@lru_cache(_KEPT)
def parse_timeout(value: bytes | None, *, default_s: int, maximum_s: int) -> int:
    """Returns the seconds a lock is granted for: the first usable wish of `Timeout`, capped.

    RFC 4918 section 10.7: the server may choose any value, so nothing here ever fails a LOCK;
    wishes out of range, of zero seconds or of unknown form are passed over.
    """
    for wish in (value or b"").split(b","):
        wish = wish.strip(b" \t")
        if wish.lower() == b"infinite":
            return maximum_s
        match = _SECONDS.fullmatch(wish)
        if match is not None and 0 < int(match[1]) <= _TIMEOUT_MAXIMUM:
            return min(int(match[1]), maximum_s)
    return min(default_s, maximum_s)


def parse_lock_token(value: bytes) -> str:
    """Reads `Lock-Token` (RFC 4918 section 10.5): one Coded-URL. Raises BadRequest (400).

    The angle brackets may be missing: libraries for Python and JavaScript leave them out.
    """
    value = value.strip(b" \t")
    match = _TOKEN.fullmatch(value)
    if match is None or value.startswith(b"<") != value.endswith(b">"):
        raise BadRequest(f"not a coded-URL: {value!r}")
    return match[1].decode("ascii")


def normalize_authority(authority: bytes) -> bytes:
    """Returns host and port to compare: lower case, no userinfo, no default port (80, 443)."""
    host = authority.rpartition(b"@")[2].lower()
    for default in (b":80", b":443", b":"):
        if host.endswith(default):
            return host[: -len(default)]
    return host


def parse_reference(
    value: bytes, *, authorities: Collection[bytes], field: str
) -> tuple[DavPath, bytes | None]:
    """Reads a Simple-ref (RFC 4918 section 8.3): absolute URI or absolute path, query dropped.

    Scheme and userinfo never matter: behind a proxy the scheme differs, KIO sends userinfo and
    `webdavs:`. Nothing of what is raised shows userinfo.

    Args:
        authorities: host[:port] that are this server.
        field: name of the field, for the message.

    Returns:
        The path, and the normalised authority if it is another server's (else None).

    Raises:
        BadRequest: 400.
    """
    if len(value) > PATH_LIMIT:
        # RFC 4918 section 10.3: a Destination that is too long is 400, 414 is the Request-URI's.
        raise BadRequest(f"{field} has {len(value)} bytes, more than {PATH_LIMIT}")
    if b"#" in value:
        raise BadRequest(f"{field} has a fragment")
    if value.startswith(b"/"):
        if value.startswith(b"//"):
            raise BadRequest(f"{field} begins with two slashes")
        return DavPath.from_raw(value.partition(b"?")[0]), None
    match = _ABSOLUTE_URI.fullmatch(value)
    if match is None:
        raise BadRequest(f"{field} is neither an absolute URI nor an absolute path")
    authority = normalize_authority(match[2])
    if not authority:
        raise BadRequest(f"{field} has no host")
    path = DavPath.from_raw(match[3] or b"/")
    ours = authority in authorities or any(
        authority == normalize_authority(known) for known in authorities
    )
    return path, None if ours else authority


def parse_destination(value: bytes, *, authorities: Collection[bytes]) -> DavPath:
    """Reads `Destination` (RFC 4918 section 10.3); the mount prefix is still on the path.

    Raises:
        BadRequest: 400, see parse_reference.
        BadGateway: 502 (section 9.8.5), another server. A file must never be overwritten here
            because a Destination meant another place.
    """
    path, foreign = parse_reference(
        value.strip(b" \t"), authorities=authorities, field="destination"
    )
    if foreign is not None:
        raise BadGateway(
            f"destination is on another server ({foreign.decode('latin-1')!r}); "
            "if that is this one, set public_url in the configuration"
        )
    return path


def parse_content_length(headers: DavHeaders) -> int | None:
    """Returns bytes announced (RFC 9110 section 8.6), None when not sent.

    Raises BadRequest (400) for anything but digits and for values that contradict each other;
    equal ones count once.
    """
    value = headers.joined(b"content-length")
    if value is None:
        return None
    lengths = {part.strip(b" \t") for part in value.split(b",")}
    if len(lengths) != 1:
        raise BadRequest(f"content-length contradicts itself: {value!r}")
    length = lengths.pop()
    if not _DIGITS.fullmatch(length):
        raise BadRequest(f"not a content-length: {value!r}")
    return int(length)
