"""Names on disk: segments as bytes, spellings that mean the same, and hidden names.

A hidden name is `.davserver.<owner>.<random>`. Clients can neither see nor name one; whoever
meets one whose owner is dead may remove it.
"""

from __future__ import annotations

import os
import sys
import unicodedata

from davserver.protocol.path import DavPath, Key

_MARK = ".davserver"
_FS_ENCODING = sys.getfilesystemencoding()
_FS_IS_UTF8 = _FS_ENCODING == "utf-8"
NAME_MAX = 255
"""Bytes in one name, on every file system of note."""


def encode(segment: str) -> bytes:
    """Returns the bytes of a segment."""
    return segment.encode("utf-8", "surrogateescape")


def decode(name: bytes) -> str:
    """Returns the segment of a name."""
    return name.decode("utf-8", "surrogateescape")


def path_of(key: Key) -> DavPath:
    """Returns the path of a key inside its own root."""
    return DavPath(tuple(map(decode, key.path.split(b"/"))) if key.path else ())


def from_os(name: str) -> str:
    """Returns the segment of a name that `os` decoded: by the locale, where that is not UTF-8."""
    if _FS_IS_UTF8 or name.isascii():
        return name
    return decode(name.encode(_FS_ENCODING, "surrogateescape"))


def all_from_os(listed: list[str]) -> list[str]:
    """Returns `from_os` of each."""
    return listed if _FS_IS_UTF8 else list(map(from_os, listed))


def spellings(name: bytes) -> list[bytes]:
    """Returns the NFC and NFD spellings of a name that differ from it: at most two."""
    if name.isascii():
        return []
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return []
    found: list[bytes] = []
    for form in ("NFC", "NFD"):
        other = unicodedata.normalize(form, text).encode()
        if other != name and other not in found:
            found.append(other)
    return found


def fold(name: bytes) -> bytes:
    """Returns the name by which a case-folding file system knows it."""
    if name.isascii():
        return name.lower()
    try:
        text = name.decode()
    except UnicodeDecodeError:
        return name
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    # ext4 ignores what is invisible: joiners, marks of direction
    return "".join(char for char in folded if unicodedata.category(char) != "Cf").encode()


def hidden_name(owner: str) -> str:
    """Returns a fresh hidden name."""
    return f"{_MARK}.{owner}.{os.urandom(8).hex()}"


def kept_name() -> str:
    """Returns a fresh hidden name without an owner: what has it is never removed."""
    return f"{_MARK}.{os.urandom(8).hex()}"


def is_hidden(name: str) -> bool:
    """True for a reserved name, in any case and normalisation."""
    if name[:1] != "." and name.isascii():
        return False
    return DavPath((name,)).is_reserved


def not_hidden(listed: list[str]) -> list[str]:
    """Returns those of many names that are not hidden; faster than one by one."""
    joined = "/".join(listed)
    if joined.isascii() and joined[:1] != "." and "/." not in joined:
        return listed
    return [name for name in listed if not is_hidden(name)]


def owner_of(name: str) -> str | None:
    """Returns the owner in a hidden name, None where there is none."""
    parts = name.split(".")
    if len(parts) != 4 or parts[:2] != ["", _MARK[1:]] or not parts[2] or not parts[3]:
        return None
    return parts[2]
