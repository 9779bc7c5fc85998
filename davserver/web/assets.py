"""The files of the page that a browser shows: read from the package, once for each process.

`page/` beside this module holds one HTML file, styles and plain ES modules. The HTML is the same
for every collection; what it shows it asks of the server as any client does.
"""

from __future__ import annotations

import hashlib
import html
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from davserver.protocol.mediatypes import media_type

_HTML = "index.html"
_BASE = b"{base}"
_COMMENTS = re.compile(rb"^[ \t]*(?:/\*(?:[^*]|\*(?!/))*\*/|//[^\n]*)?\n", re.MULTILINE)
"""Whole lines of a comment, and empty ones."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:;"
    b" media-src 'self'; connect-src 'self'; frame-src 'self'; base-uri 'none';"
    b" form-action 'self'; frame-ancestors 'none';"
    b" require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Content-Security-Policy of the page: no inline code, nothing from elsewhere, and no text becomes
HTML."""


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, as it is sent.

    Attributes:
        kind: the value of Content-Type.
        etag: the value of ETag: a new version of the server has another where the file differs.
    """

    body: bytes
    kind: bytes
    etag: bytes


@cache
def assets() -> dict[str, Asset]:
    """Returns the files that the HTML refers to, by name."""
    found = {}
    for file in files("davserver.web").joinpath("page").iterdir():
        if file.is_file() and file.name != _HTML:
            body = _without_comments(file.name, file.read_bytes())
            etag = b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode()
            found[file.name] = Asset(body, media_type(file.name), etag)
    return found


def _without_comments(name: str, body: bytes) -> bytes:
    """Leaves out lines that are comments: they are for who reads the source, and a fifth of it."""
    return _COMMENTS.sub(b"", body) if name.endswith(".js") else body


@cache
def _template() -> bytes:
    return files("davserver.web").joinpath("page", _HTML).read_bytes()


def document(base: bytes) -> bytes:
    """Returns the HTML for a mount at this quoted prefix without trailing slash."""
    return _template().replace(_BASE, html.escape(base.decode("ascii")).encode())
