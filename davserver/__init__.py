"""davserver: a WebDAV file server (RFC 4918 classes 1, 2 and 3) over a folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from davserver.app import create_app as create_app

__version__ = "0.1.0"
__all__ = ["__version__", "create_app"]


def __getattr__(name: str) -> object:
    # Lazy, so that `davserver --version` and the tools that import a part do not pay for all.
    if name == "create_app":
        from davserver.app import create_app

        return create_app
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
