"""Paths of requests and canonical keys of resources (RFC 4918 section 8.3, RFC 3986). No I/O.

A request path is decoded exactly once, here, and encoded again only by `href`. Between them a
path is a tuple of decoded segments: no segment is empty, ".", ".." or has a "/" or NUL in it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from davserver.errors import BadRequest, UriTooLong

PATH_LIMIT = 8192
"""Bytes of the longest path taken; RFC 9110 section 4.1 asks for 8000 at least."""

_PLAIN = re.compile(rb"/[!$&-;=@-~]*")
"""Printable ASCII that stands for itself: no blank, `"`, `#`, `%`, `<`, `>`, `?`."""
_REFUSED = re.compile(rb"[\x00#?]")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_ENCODED_SEPARATOR = re.compile(rb"%(?:2[Ff]|00)")
_UNRESERVED = re.compile(rb"[A-Za-z0-9\-._~]*")
_TO_QUOTE = re.compile(rb"[^A-Za-z0-9\-._~]")
_TO_QUOTE_EACH = re.compile(rb"[^A-Za-z0-9\-._~/%]+")
_QUOTED = {bytes([octet]): b"%%%02X" % octet for octet in range(256)}
_NOT_CREATABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")
_RESERVED = ".davserver"
_IGNORABLE = re.compile(
    "[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]"
)
"""Default_Ignorable_Code_Point: a case-folding ext4 takes names that differ in them for one."""


class Key(NamedTuple):
    """The canonical identity of a resource: what locks, properties and the gate are keyed by.

    Attributes:
        root: id of the share.
        path: stored segments joined with "/", no slash in front, b"" for the root.
    """

    root: str
    path: bytes

    @property
    def parent(self) -> Key | None:
        """None for the root."""
        return Key(self.root, self.path.rpartition(b"/")[0]) if self.path else None

    @property
    def name(self) -> bytes:
        """The last segment, b"" for the root."""
        return self.path.rpartition(b"/")[2]

    def child(self, name: bytes) -> Key:
        return Key(self.root, self.path + b"/" + name if self.path else name)

    def covers(self, other: Key) -> bool:
        """True for the same resource and for everything below it."""
        if self.root != other.root:
            return False
        mine, theirs = self.path, other.path
        return not mine or mine == theirs or theirs.startswith(mine + b"/")


_REMEMBERED = 512
"""Bytes of a path that is decoded once."""


@dataclass(frozen=True, slots=True)
class DavPath:
    """A path inside the server.

    Attributes:
        segments: decoded names; bytes that are not UTF-8 are kept by surrogateescape.
        slash: a slash stood at the end. RFC 4918 section 5.2: it makes no other resource.
    """

    segments: tuple[str, ...]
    slash: bool = field(default=False, compare=False)

    @classmethod
    def from_raw(cls, raw_path: bytes, *, once: bool = False) -> DavPath:
        """Decodes the path of a request-target, from which the query was cut.

        Args:
            once: it is not likely to be asked for again.

        Raises:
            UriTooLong: 414, more than PATH_LIMIT bytes.
            BadRequest: 400, no leading slash, NUL, `#`, `?`, a bad escape, an encoded slash, a
                dot segment (RFC 4918 section 8.3: such a path must not be used).
        """
        if len(raw_path) <= _REMEMBERED and not once:
            return _from_raw(raw_path)
        if len(raw_path) > PATH_LIMIT:
            raise UriTooLong(f"path has {len(raw_path)} bytes, more than {PATH_LIMIT}")
        return _read(raw_path)

    @property
    def is_root(self) -> bool:
        return not self.segments

    @property
    def name(self) -> str:
        """The last segment, "" for the root."""
        return self.segments[-1] if self.segments else ""

    @property
    def parent(self) -> DavPath | None:
        """None for the root."""
        return DavPath(self.segments[:-1], True) if self.segments else None

    def child(self, name: str) -> DavPath:
        return DavPath((*self.segments, name))

    def covers(self, other: DavPath) -> bool:
        """True for the same path and for everything below it."""
        return other.segments[: len(self.segments)] == self.segments

    def below(self, prefix: Sequence[str]) -> DavPath | None:
        """Returns this path without the segments of `prefix`, or None when it isn't under them."""
        count = len(prefix)
        if not count:
            return self
        if self.segments[:count] != tuple(prefix):
            return None
        return DavPath(self.segments[count:], self.slash)

    @property
    def is_reserved(self) -> bool:
        """True when any segment is a name that the server keeps to itself.

        Compared as the most forgiving file system would: `.DavServer`, full-width letters and
        invisible characters are no way around it.
        """
        for segment in self.segments:
            # Few names begin with a dot; only ASCII ones can be told by their first character.
            if segment[:1] != "." and segment.isascii():
                continue
            folded = _fold(segment)
            if folded == _RESERVED or folded.startswith(_RESERVED + "."):
                return True
        return False

    @property
    def is_creatable(self) -> bool:
        """True when every segment is UTF-8 without control characters.

        Other names resolve to what exists, so that they can be read, renamed and deleted.
        """
        return is_creatable("/".join(self.segments))

    def href(self, base: bytes = b"", *, collection: bool) -> bytes:
        """Returns the absolute path of RFC 4918 section 8.3, percent-encoded.

        Args:
            base: quoted mount prefix, no slash at its end.
            collection: put a slash at the end (section 5.2). The root has one always.
        """
        if not self.segments:
            return base + b"/"
        quoted = b"/".join(map(quote_segment, self.segments))
        return b"%b/%b/" % (base, quoted) if collection else b"%b/%b" % (base, quoted)


def _read(raw_path: bytes) -> DavPath:
    text = raw_path.decode("ascii") if _PLAIN.fullmatch(raw_path) else _decode(raw_path)
    segments = text[1:].split("/")
    slash = not segments[-1]
    if slash:
        segments.pop()
    if "//" in text:
        segments = [segment for segment in segments if segment]
    if "/." in text and ("." in segments or ".." in segments):
        raise BadRequest(f"path has a dot segment: {raw_path!r}")
    return DavPath(tuple(segments), slash)


@lru_cache(4096)
def _from_raw(raw_path: bytes) -> DavPath:
    """Clients come back to the same paths."""
    return _read(raw_path)


def is_creatable(name: str) -> bool:
    """True for a segment, or several with slashes between, of UTF-8 without control characters:
    what we let clients create."""
    return _NOT_CREATABLE.search(name) is None


def quote_segment(name: str) -> bytes:
    """Returns a segment percent-encoded; only unreserved characters (RFC 3986 2.3) stay bare.

    Sub-delimiters and ":" are encoded too: every client decodes them, some XML-escape or split
    at them otherwise.
    """
    raw = name.encode("utf-8", "surrogateescape")
    if _UNRESERVED.fullmatch(raw):
        return raw
    return _TO_QUOTE.sub(_quote_match, raw)


def encode_segments(names: Sequence[str]) -> list[bytes]:
    """Returns each segment as the bytes that it stands for; faster than one by one."""
    # No name has a slash in it.
    return "/".join(names).encode("utf-8", "surrogateescape").split(b"/") if names else []


def quote_segments(names: Sequence[str]) -> list[bytes]:
    """Returns `quote_segment` of each; faster than one by one."""
    if not names:
        return []
    raw = "/".join(names).encode("utf-8", "surrogateescape")
    # From here on "%" is the beginning of an escape. A blank is what most names have, if anything.
    raw = raw.replace(b"%", b"%25").replace(b" ", b"%20")
    return _TO_QUOTE_EACH.sub(_quote_run, raw).split(b"/")


def _quote_run(match: re.Match[bytes]) -> bytes:
    return b"%" + match[0].hex("%").upper().encode("ascii")


def _quote_match(match: re.Match[bytes]) -> bytes:
    return _QUOTED[match[0]]


def _decode(raw_path: bytes) -> str:
    """Decodes what is not plain: escapes, and octets that clients should have escaped."""
    if not raw_path.startswith(b"/"):
        raise BadRequest(f"path does not begin with a slash: {raw_path!r}")
    if _REFUSED.search(raw_path):
        raise BadRequest(f"path has a NUL, '#' or '?': {raw_path!r}")
    if b"%" in raw_path:
        if _BAD_ESCAPE.search(raw_path):
            raise BadRequest(f"path has a bad percent escape: {raw_path!r}")
        if _ENCODED_SEPARATOR.search(raw_path):
            raise BadRequest(f"path has an encoded slash or NUL: {raw_path!r}")
        raw_path = unquote_to_bytes(raw_path)
    # An overlong form (%C0%AF) is not UTF-8: it stays bytes and never becomes a separator.
    return raw_path.decode("utf-8", "surrogateescape")


def _fold(segment: str) -> str:
    """NFKC and case folding without ignorable characters (Unicode 3.13, toNFKC_Casefold)."""
    if segment.isascii():
        return segment.lower()
    visible = _IGNORABLE.sub("", unicodedata.normalize("NFKC", segment))
    return unicodedata.normalize("NFKC", visible.casefold())
