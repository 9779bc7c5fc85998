"""Extended MKCOL (RFC 5689): announced here, done where MKCOL is."""

from __future__ import annotations

from davserver.extensions.base import Extension

EXTENSION = Extension("rfc5689-extended-mkcol", dav_tokens=("extended-mkcol",), needs_write=True)
