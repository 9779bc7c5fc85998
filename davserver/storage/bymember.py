"""The members of one collection, deleted or copied one after the other.

A walk through a tree names them by nothing but their own names: the collection is looked up once
for many of them. Whatever is not the plain case goes the way that its whole path takes.
"""

from __future__ import annotations

import math
import os
import stat as st
import sys
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from time import monotonic

from davserver.errors import StorageError, StorageFailure
from davserver.protocol.path import DavPath, encode_segments
from davserver.storage import names
from davserver.storage._oserrors import translate_io
from davserver.storage.base import Deleted, Members, Storage, Told
from davserver.storage.content import copy_content, write_all
from davserver.storage.policy import Policy, let_go, new_mtime_ns
from davserver.storage.scanning import remove_tree

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IFMT = 0o170000
_MUCH = 1 << 24
"""Bytes of a collection that is copied at once: where a member fails all of it is done again."""
_SMALL = 1 << 14  # bytes: read and written by hand, in two calls


class MembersByPath:
    """Members, each looked up by its path: for any storage."""

    def __init__(self, storage: Storage, path: DavPath, copy_to: DavPath | None) -> None:
        self._storage = storage
        self._path = path
        self._copy_to = copy_to

    def delete_each(self, listed: Sequence[str], *, until: float = math.inf) -> Deleted:
        failures: list[tuple[str, StorageError]] = []
        tried = 0
        for name in listed:
            tried += 1
            self._delete(name, failures)
            if monotonic() > until:
                break
        return Deleted(tried, failures)

    def _delete(self, name: str, failures: list[tuple[str, StorageError]]) -> None:
        try:
            self._storage.delete(self._path.child(name))
        except StorageError as error:
            failures.append((name, error))

    def delete_collection(self, name: str, *, limit: int, until: float = math.inf) -> int | None:
        return None

    def copy(self, name: str, *, mtime_ns: int | None = None, told: Told = None) -> int:
        assert self._copy_to is not None
        source, target = self._path.child(name), self._copy_to.child(name)
        return self._storage.copy(source, target, mtime_ns=mtime_ns, told=told).size

    def copy_collection(self, name: str, *, limit: int, told: Told = None) -> Sequence[int] | None:
        return None

    def close(self) -> None:
        """There is nothing to close."""


class OpenMembers(MembersByPath):
    """Members in a directory that is held open, and where they are copied to in another."""

    def __init__(
        self,
        policy: Policy,
        storage: Storage,
        ends: tuple[DavPath, DavPath | None],
        fds: tuple[int, int],
        left: int = sys.maxsize,
    ) -> None:
        """Takes the descriptors of both ends; -1 is none.

        Args:
            left: bytes that may be copied altogether.
        """
        super().__init__(storage, *ends)
        self._policy = policy
        self._kept_modes: set[int] = set()
        self._fd, self._target_fd = fds
        self._left = left

    def close(self) -> None:
        """Closes the directories."""
        let_go(self._fd, self._target_fd)

    def delete_each(self, listed: Sequence[str], *, until: float = math.inf) -> Deleted:
        failures: list[tuple[str, StorageError]] = []
        unlink, fd = os.unlink, self._fd
        tried = 0
        for raw in encode_segments(listed):
            tried += 1
            try:
                unlink(raw, dir_fd=fd)
            except OSError:
                # It is a collection by now, or it says why not.
                self._delete(listed[tried - 1], failures)
            if monotonic() > until:
                break
        return Deleted(tried, failures)

    def delete_collection(self, name: str, *, limit: int, until: float = math.inf) -> int | None:
        raw = names.encode(name)
        try:
            fd = os.open(raw, _DIRECTORY, dir_fd=self._fd)
            try:
                gone = _delete_members(fd, limit, until)
            finally:
                os.close(fd)
            if gone is None:
                return None
            os.rmdir(raw, dir_fd=self._fd)
        except OSError:
            return None  # who enters it is told why
        return gone + 1

    def copy(self, name: str, *, mtime_ns: int | None = None, told: Told = None) -> int:
        if not (name.isascii() and name.isprintable()):
            return super().copy(name, mtime_ns=mtime_ns, told=told)
        raw = name.encode()
        try:
            source = os.open(raw, _READ, dir_fd=self._fd)
        except OSError:
            # A link, or it says why not.
            return super().copy(name, mtime_ns=mtime_ns, told=told)
        try:
            try:
                found = os.fstat(source)
            except OSError as error:
                raise translate_io(error, self._path.child(name)) from error
            if found.st_mode & _IFMT != st.S_IFREG:
                return super().copy(name, mtime_ns=mtime_ns, told=told)
            if found.st_size > self._left:
                raise StorageFailure(f"{name!r}: more than may be copied at once")
            self._left -= found.st_size
            try:
                target = os.open(raw, _CREATE, found.st_mode & 0o777, dir_fd=self._target_fd)
            except OSError:
                return super().copy(name, mtime_ns=mtime_ns, told=told)
            return self._fill(name, (source, target), found, mtime_ns, told)
        finally:
            let_go(source)

    def copy_collection(self, name: str, *, limit: int, told: Told = None) -> Sequence[int] | None:
        if not (name.isascii() and name.isprintable()):
            return None
        try:
            fd = os.open(name.encode(), _DIRECTORY, dir_fd=self._fd)
        except OSError:
            return None
        try:
            listed = _few_plain_files(fd, limit)
            return None if listed is None else self._copy_all(name, fd, listed, told)
        except OSError:
            return None
        finally:
            os.close(fd)

    def _copy_all(
        self, name: str, fd: int, listed: Sequence[str], told: Told
    ) -> Sequence[int] | None:
        """Copies a collection whose members are these. Raises OSError with nothing begun."""
        assert self._copy_to is not None
        raw = name.encode()
        os.mkdir(raw, 0o777, dir_fd=self._target_fd)
        try:
            target_fd = os.open(raw, _DIRECTORY, dir_fd=self._target_fd)
            try:
                ends = self._path.child(name), self._copy_to.child(name)
                below = OpenMembers(self._policy, self._storage, ends, (fd, target_fd), _MUCH)
                return [below.copy(each, told=told) for each in listed]
            finally:
                os.close(target_fd)
        except BaseException as error:
            remove_tree(self._target_fd, raw)
            if isinstance(error, (OSError, StorageError)):
                return None  # who enters it is told why
            raise

    def _fill(
        self,
        name: str,
        ends: tuple[int, int],
        found: os.stat_result,
        mtime_ns: int | None,
        told: Told,
    ) -> int:
        """Copies content and attributes into a new file, which is closed; removes what fails."""
        source, target = ends
        try:
            if found.st_size > _SMALL:
                copied = copy_content(self._policy, source, target, told)
            else:
                copied = _copy_small(source, target, found.st_size)
            mode = found.st_mode & 0o777
            if mode not in self._kept_modes:
                self._keep_mode(target, mode)
            modified_ns = new_mtime_ns(mtime_ns)
            os.utime(target, ns=(modified_ns, modified_ns))
            self._policy.sync_file(target)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(names.encode(name), dir_fd=self._target_fd)
            if isinstance(error, OSError):
                raise translate_io(error, self._path.child(name)) from error
            raise
        finally:
            let_go(target)
        return copied

    def _keep_mode(self, target: int, mode: int) -> None:
        """The umask, or a default ACL of the collection, changes what is asked for: that of the
        next file as that of this one."""
        if os.fstat(target).st_mode & 0o7777 == mode:
            self._kept_modes.add(mode)
        else:
            os.fchmod(target, mode)


def _delete_members(fd: int, limit: int, until: float) -> int | None:
    """Deletes the members of a directory. Returns how many; None with some of them left, and with
    all of them where they are more, or there is a collection or a hidden name. Raises OSError."""
    found = _few_members(fd, limit)
    if found is None or any(entry.is_dir(follow_symlinks=False) for entry in found):
        return None
    listed = names.all_from_os([entry.name for entry in found])
    for raw in encode_segments(listed):
        os.unlink(raw, dir_fd=fd)
        if monotonic() > until:
            return None
    return len(found)


def _few_plain_files(fd: int, limit: int) -> list[str] | None:
    """Returns the names in a directory; None where there is something that needs a look."""
    found = _few_members(fd, limit)
    if found is None or not all(entry.is_file(follow_symlinks=False) for entry in found):
        return None
    listed = [entry.name for entry in found]
    joined = "".join(listed)
    return listed if joined.isascii() and joined.isprintable() else None


def _few_members(fd: int, limit: int) -> list[os.DirEntry[str]] | None:
    """Returns what is in a directory; None where that is more, or there is a hidden name."""
    with os.scandir(fd) as directory:
        found = list(islice(directory, limit + 1))
    listed = names.all_from_os([entry.name for entry in found])
    is_plain = len(found) <= limit and len(names.not_hidden(listed)) == len(found)
    return found if is_plain else None


def _copy_small(source: int, target: int, size: int) -> int:
    copied, asked = 0, size + 1
    while data := os.read(source, asked):
        write_all(target, data)
        copied += len(data)
        # Some file systems give less than is asked for before the end, too: FUSE with direct I/O.
        if copied == size:
            break
        if copied > size:
            asked = _SMALL  # it grows, or its size was not told
    return copied


def open_members(
    policy: Policy, storage: Storage, path: DavPath, copy_to: DavPath | None
) -> Members:
    """Returns the members of a directory. Raises nothing: where it cannot be opened each of them
    says why."""
    # Only where nobody looks may a file be written under its own name.
    is_staged = copy_to is None or any(map(names.is_hidden, copy_to.segments))
    if is_staged and not policy.read_only:
        with suppress(StorageError):
            return OpenMembers(policy, storage, (path, copy_to), _open_both(policy, path, copy_to))
    return MembersByPath(storage, path, copy_to)


def _open_both(policy: Policy, path: DavPath, copy_to: DavPath | None) -> tuple[int, int]:
    fd = policy.resolver.open(path, _DIRECTORY)
    if copy_to is None:
        return fd, -1
    try:
        return fd, policy.resolver.open(copy_to, _DIRECTORY)
    except BaseException:
        os.close(fd)
        raise
