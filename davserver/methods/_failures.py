"""What could not be done of a tree, and why: only the causes (RFC 4918 sections 9.6.1, 9.8.3)."""

from __future__ import annotations

import tempfile
from typing import BinaryIO

from davserver.context import RequestContext, Response, SpoolBody
from davserver.errors import DavError, StorageError, from_storage
from davserver.protocol.multistatus import MultiStatusWriter
from davserver.protocol.path import DavPath

_KEPT = 1 << 18
"""Bytes of multistatus that are kept in memory; more go to a temporary file."""


class Failures:
    """The causes, as a multistatus that goes to a temporary file once it is long."""

    def __init__(self, rc: RequestContext) -> None:
        self._rc = rc
        self._writer = MultiStatusWriter()
        self._file: BinaryIO | None = None
        self.count = 0

    def add(self, path: DavPath, error: DavError, *, collection: bool) -> None:
        href = self._rc.href(path, collection=collection)
        self._writer.status(href, error.status, condition=error.condition, hrefs=error.hrefs)
        self.count += 1
        if self._writer.pending > _KEPT:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever sends it closes it
            self._file.write(self._writer.take())

    def response(self) -> Response:
        """207 with everything that was added."""
        headers = ((b"content-type", b'application/xml; charset="utf-8"'),)
        rest = self._writer.finish()
        if self._file is None:
            return Response(207, headers, rest)
        self._file.write(rest)
        length = self._file.tell()
        self._file.seek(0)
        return Response(207, headers, SpoolBody(self._file, length))

    def close(self) -> None:
        """Drops what was gathered, when nobody is told."""
        if self._file is not None:
            self._file.close()
            self._file = None


def as_dav(error: DavError | StorageError) -> DavError:
    return error if isinstance(error, DavError) else from_storage(error)
