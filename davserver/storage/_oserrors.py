"""The one table from OSError to StorageError."""

from __future__ import annotations

import errno
from types import TracebackType

from davserver import errors
from davserver.protocol.path import DavPath

_TABLE: dict[int, type[errors.StorageError]] = {
    errno.ENOENT: errors.ResourceNotFound,
    errno.EEXIST: errors.ResourceExists,
    errno.ENOTDIR: errors.NotACollection,
    errno.EISDIR: errors.IsACollection,
    errno.ENOTEMPTY: errors.CollectionNotEmpty,
    errno.EACCES: errors.AccessDenied,
    errno.EPERM: errors.AccessDenied,
    errno.EBUSY: errors.AccessDenied,  # a mount point, or a swap file
    errno.ETXTBSY: errors.AccessDenied,
    errno.EROFS: errors.ReadOnlyStorage,
    errno.EXDEV: errors.CrossDevice,
    errno.ELOOP: errors.EscapesRoot,
    errno.ENXIO: errors.UnsupportedKind,  # open(2) of a socket
    errno.ENODEV: errors.UnsupportedKind,
    errno.ENOSPC: errors.NoSpace,
    errno.EFBIG: errors.NoSpace,  # more than the file system can hold in one file
    errno.EMLINK: errors.NoSpace,  # ... or in one directory
    errno.EDQUOT: errors.QuotaExceeded,
    errno.ENAMETOOLONG: errors.NameTooLong,
    errno.EINVAL: errors.InvalidName,
    errno.EILSEQ: errors.InvalidName,
    errno.EMFILE: errors.TooManyOpenFiles,
    errno.ENFILE: errors.TooManyOpenFiles,
    errno.ENOMEM: errors.TooManyOpenFiles,
}


def show(path: DavPath) -> str:
    """Returns the path for a message: what the client called it, never where it is on disk."""
    return repr("/" + "/".join(path.segments))


def translate(error: OSError, path: DavPath) -> errors.StorageError:
    """Returns the StorageError of an OSError; one that nobody foresaw is StorageFailure."""
    kind = _TABLE.get(error.errno or 0, errors.StorageFailure)
    return kind(f"{show(path)}: {(error.strerror or 'failed').lower()}")


def translate_new(error: OSError, path: DavPath) -> errors.StorageError:
    """As translate, for a new name in an open directory: where that has been removed meanwhile the
    parent is what is missing."""
    if isinstance(error, FileNotFoundError):
        return errors.ParentMissing(f"{show(path)}: its parent is gone")
    return translate(error, path)


class translating:
    """Turns an OSError of its block into the StorageError; cheaper than a generator."""

    __slots__ = ("_path",)

    def __init__(self, path: DavPath) -> None:
        self._path = path

    def __enter__(self) -> None:
        return None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise translate(error, self._path) from error


class creating(translating):
    """As translating, by `translate_new`."""

    __slots__ = ()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if isinstance(error, OSError):
            raise translate_new(error, self._path) from error


def translate_io(error: OSError, path: DavPath) -> errors.StorageError:
    """As translate, for calls on an open descriptor: EINVAL and its kin say nothing of names."""
    if error.errno in (errno.EINVAL, errno.ENOENT, errno.EEXIST, errno.ENXIO):
        return errors.StorageFailure(f"{show(path)}: {(error.strerror or 'failed').lower()}")
    return translate(error, path)
