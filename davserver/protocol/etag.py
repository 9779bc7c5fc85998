"""Entity-tags (RFC 9110 section 8.8.3). No I/O here."""

from __future__ import annotations

import re
from dataclasses import dataclass

from davserver.errors import BadRequest

# etagc is %x21 / %x23-7E / obs-text (RFC 9110 section 8.8.3). The blank is taken too: the
# examples of RFC 4918 section 10.4 have it, from the quoted-string of RFC 2616.
_TAG = re.compile(rb'(W/)?"([\x20\x21\x23-\x7e\x80-\xff]*)"')
_ELEMENT = re.compile(rb'[ \t]*(?:%b|([^\x00-\x20",\x7f]+))[ \t]*' % _TAG.pattern)
_CODING_SUFFIX = "-gzip"


@dataclass(frozen=True, slots=True)
class ETag:
    """One entity-tag. `opaque` is what stands between the quotes, an octet a character."""

    opaque: str
    weak: bool = False

    @classmethod
    def from_header(cls, value: bytes) -> ETag:
        """Reads one tag, quoted, with or without `W/`. Raises BadRequest (400)."""
        match = _TAG.fullmatch(value.strip(b" \t"))
        if match is None:
            raise BadRequest(f"not an entity-tag: {value!r}")
        return cls(match[2].decode("latin-1"), match[1] is not None)

    def to_header(self) -> bytes:
        opaque = self.opaque.encode("latin-1")
        return b'W/"%b"' % opaque if self.weak else b'"%b"' % opaque

    def matches_strong(self, other: ETag) -> bool:
        """RFC 9110 section 8.8.3.2: equal, and neither of them is weak."""
        return not self.weak and not other.weak and self.opaque == other.opaque

    def matches_weak(self, other: ETag) -> bool:
        """RFC 9110 section 8.8.3.2: equal, weak or not."""
        return self.opaque == other.opaque

    def without_coding(self) -> ETag:
        """Returns the tag as we sent it.

        Apache 2.4 (mod_deflate) adds `-gzip` inside the quotes on the way to the client and does
        not take it off on the way back.
        """
        if self.opaque.endswith(_CODING_SUFFIX):
            return ETag(self.opaque[: -len(_CODING_SUFFIX)], self.weak)
        return self


@dataclass(frozen=True, slots=True)
class ETagList:
    """The value of If-Match or If-None-Match: `*`, or tags (RFC 9110 section 13.1.1)."""

    tags: tuple[ETag, ...] = ()
    is_any: bool = False

    @classmethod
    def from_header(cls, value: bytes) -> ETagList:
        """Reads a list. A token without quotes is taken for a tag (Joplin sends
        `JoplinIgnore-12345`). Raises BadRequest (400): no tag at all, text between tags, `*`
        beside tags."""
        if value.strip(b" \t") == b"*":
            return cls(is_any=True)
        tags: list[ETag] = []
        position = 0
        while position < len(value):
            if value[position] in b" \t,":  # RFC 9110 section 5.6.1.2: empty elements are ignored
                position += 1
                continue
            match = _ELEMENT.match(value, position)
            if match is None or match[3] == b"*":
                raise BadRequest(f"not a list of entity-tags: {value!r}")
            position = match.end()
            if position < len(value) and value[position] != 0x2C:
                raise BadRequest(f"not a list of entity-tags: {value!r}")
            opaque = match[2] if match[3] is None else match[3]
            tags.append(ETag(opaque.decode("latin-1"), match[1] is not None).without_coding())
        if not tags:
            raise BadRequest(f"not a list of entity-tags: {value!r}")
        return cls(tuple(tags))

    def matches_strong(self, tag: ETag | None) -> bool:
        """True when one of the tags is `tag` by strong comparison; `*` is the caller's matter."""
        return tag is not None and any(mine.matches_strong(tag) for mine in self.tags)

    def matches_weak(self, tag: ETag | None) -> bool:
        """True when one of the tags is `tag` by weak comparison; `*` is the caller's matter."""
        return tag is not None and any(mine.matches_weak(tag) for mine in self.tags)
