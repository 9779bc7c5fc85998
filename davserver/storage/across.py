"""One file from a storage into another: what a rename cannot do."""

from __future__ import annotations

from davserver.protocol.path import DavPath
from davserver.storage.base import Stat, Storage, Told
from davserver.storage.filesystem import FilesystemStorage

_CHUNK = 1 << 20  # bytes a read and write


def copy_across(
    origin: Storage,
    source: DavPath,
    storage: Storage,
    target: DavPath,
    *,
    mtime_ns: int | None = None,
    told: Told = None,
) -> Stat:
    """As Storage.copy, `source` being in `origin` and `target` in `storage`."""
    if isinstance(origin, FilesystemStorage) and isinstance(storage, FilesystemStorage):
        return storage.copy_from(origin, source, target, mtime_ns=mtime_ns, told=told)
    reader = origin.open(source)
    try:
        writer = storage.create(target)
        try:
            offset = 0
            while data := reader.read_at(offset, _CHUNK):
                writer.write(data)
                offset += len(data)
                if told is not None:
                    told(len(data))
            writer.seal(mtime_ns=mtime_ns)
            stat = writer.commit(replace=False)
            writer.settle()
        finally:
            writer.discard()
        is_executable = reader.stat.executable
    finally:
        reader.close()
    if not is_executable:
        return stat
    try:
        return storage.set_attributes(target, executable=True)
    except BaseException:
        storage.delete(target)
        raise
