"""Files that systems leave in every folder they look at, and what to do with them. No I/O here.

Only names that no user ever gives: not the lock files of Office and LibreOffice, nor a trash.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

JunkPolicy = Literal["store", "hide", "refuse"]
"""`store`: files like any other. `hide`: stored and served by name, left out of listings.
`refuse`: they cannot be created; those that are there are hidden, and can be read and deleted."""

_NAMES = frozenset(
    {
        # macOS
        ".ds_store",
        ".spotlight-v100",
        ".trashes",
        ".fseventsd",
        ".temporaryitems",
        ".documentrevisions-v100",
        ".appledouble",
        ".apdisk",
        # Windows
        "thumbs.db",
        "ehthumbs.db",
        "ehthumbs_vista.db",
        "desktop.ini",
        "$recycle.bin",
        "system volume information",
    }
)
_FIRST = frozenset(name[0] for name in _NAMES)
_APPLEDOUBLE = "._"


def is_junk(name: str) -> bool:
    """True for such a name, in any case: the file systems that they come from fold it."""
    if name[:1].lower() not in _FIRST:
        return False
    return name.startswith(_APPLEDOUBLE) or name.lower() in _NAMES


def is_listed(policy: JunkPolicy, name: str) -> bool:
    """True when a listing shows a member of this name."""
    return policy == "store" or not is_junk(name)


def is_refused(policy: JunkPolicy, segments: Iterable[str]) -> bool:
    """True when nothing may be created at this path."""
    return policy == "refuse" and any(map(is_junk, segments))
