"""One file as a copy of another."""

from __future__ import annotations

import os

from davserver.protocol.path import DavPath
from davserver.storage._oserrors import translate_io, translating
from davserver.storage.base import Stat, Told
from davserver.storage.beginning import open_writer
from davserver.storage.content import copy_content
from davserver.storage.policy import Policy
from davserver.storage.reader import open_reader


def copy_file(
    policy: Policy,
    source: DavPath,
    target: DavPath,
    origin: Policy | None = None,
    *,
    mtime_ns: int | None = None,
    told: Told = None,
) -> Stat:
    """Copies one file, whole or not at all; out of `origin`, where that is another storage.
    Raises as Storage.copy does."""
    policy.refuse_read_only(target)
    reader = open_reader(origin or policy, source)
    try:
        with translating(target):
            mode = os.fstat(reader.fileno()).st_mode
        writer = open_writer(policy, target, mode=mode)
        try:
            try:
                writer.advance(copy_content(policy, reader.fileno(), writer.fd, told))
            except OSError as error:
                raise translate_io(error, target) from error
            writer.seal(mtime_ns=mtime_ns)
            return writer.commit(replace=False)
        finally:
            writer.discard()
    finally:
        reader.close()
