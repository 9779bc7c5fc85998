"""An application that serves several shares."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from davserver.configtables import Share
from tests.conftest import AppDav


def make_shares(
    make_dav: Callable[..., AppDav],
    folder: Path,
    *names: str,
    shares: dict[str, dict[str, Any]] | None = None,
    **settings: Any,
) -> AppDav:
    """Returns a client of an application over a fresh folder for each share.

    Args:
        names: shares as they come.
        shares: shares with keys of `[[share]]`.
    """
    tables = []
    for name, keys in ({name: {} for name in names} | (shares or {})).items():
        path = folder / "shares" / name
        path.mkdir(parents=True, exist_ok=True)
        tables.append(Share(name=name, path=path, **keys))
    dav = make_dav("filesystem", root=None, share=tuple(tables), **settings)
    dav.root = folder / "shares"
    return dav
