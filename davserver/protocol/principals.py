"""URLs of principal resources (RFC 3744 section 2). No I/O here."""

from __future__ import annotations

from collections.abc import Sequence

from davserver.protocol.path import quote_segment

_PLACE = (".davserver", "principals")


def principal_href(base: bytes, name: str) -> bytes:
    """Returns the URL of the principal of this name.

    Args:
        base: quoted mount prefix, no slash at its end.
    """
    return b"%s/%s/%s/%s/" % (base, _PLACE[0].encode(), _PLACE[1].encode(), quote_segment(name))


def principal_name(segments: Sequence[str]) -> str | None:
    """Returns the name that a path below the mount is the principal URL of, None for none."""
    if len(segments) != 3 or tuple(segments[:2]) != _PLACE:
        return None
    return segments[2]
