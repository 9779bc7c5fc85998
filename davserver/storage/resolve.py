"""From a DavPath to (directory descriptor, name), never out of the root.

Fast: one openat2 for the parent, which refuses every link, and one look at the last name. Where
that meets a link or nothing, the walk goes component by component: it resolves links that stay
inside the root, and tries the NFC and NFD spellings of a name that is not ASCII. Nothing here
trusts a path string twice: what is opened is opened relative to a descriptor, links refused.
"""

from __future__ import annotations

import errno
import os
from typing import Literal

from davserver.errors import EscapesRoot, ResourceNotFound, UnsupportedKind
from davserver.protocol.path import DavPath, Key
from davserver.storage import _linux, names
from davserver.storage._oserrors import show, translating
from davserver.storage._stat import Seen, look
from davserver.storage.base import Kind, Located, Stat
from davserver.storage.found import Found

Symlinks = Literal["deny", "within", "follow"]

_MAX_LINKS = 40  # as Linux: path_resolution(7)
_PATH_MAX = 4000  # bytes; past PATH_MAX (4096) the kernel refuses, the walk does not
_O_PATH: int = getattr(os, "O_PATH", os.O_RDONLY)
_DIRECTORY = _O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_ANY = _O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = frozenset({errno.ENOENT, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EILSEQ, errno.EINVAL})
_WALK = _ABSENT | {errno.ELOOP, errno.EXDEV, errno.EAGAIN}


class Resolver:
    """Look-ups beneath one root.

    Args:
        root: path of the directory; opened once, every look-up is relative to it.
        root_id: goes into every Key.
        symlinks: "deny" follows none, "within" those that stay inside the root, "follow" all.
        use_openat2, use_statx: False takes the portable way.
    """

    def __init__(
        self,
        root: bytes,
        root_id: str,
        *,
        symlinks: Symlinks,
        use_openat2: bool = True,
        use_statx: bool = True,
    ) -> None:
        self.root_fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.root_path = os.path.realpath(root)
        self.root_id = root_id
        self.symlinks = symlinks
        self.folding = False
        self.plain = not use_statx
        self._openat2 = use_openat2 and self._has_openat2()

    def _has_openat2(self) -> bool:
        try:
            os.close(_linux.openat2(self.root_fd, b".", _DIRECTORY))
        except OSError:
            return False
        return True

    def close(self) -> None:
        if self.root_fd >= 0:
            os.close(self.root_fd)
            self.root_fd = -1

    def key(self, segments: tuple[bytes, ...]) -> Key:
        """Returns the Key of canonical segments."""
        if self.folding:
            segments = tuple(names.fold(segment) for segment in segments)
        return Key(self.root_id, b"/".join(segments))

    def look(self, dir_fd: int, name: bytes) -> Seen | None:
        """Returns what is at a name, None where nothing is or can be."""
        try:
            return look(dir_fd, name, plain=self.plain)
        except OSError as error:
            if error.errno in _ABSENT:
                return None
            raise

    def open_beneath(self, segments: tuple[bytes, ...], flags: int) -> int:
        """Opens a path through no link at all. Raises OSError, of ELOOP or ENOTDIR at a link."""
        if not segments:
            return os.open(b".", flags | os.O_CLOEXEC, dir_fd=self.root_fd)
        if self._openat2:
            path = b"/".join(segments)
            if len(path) < _PATH_MAX:
                return _linux.openat2(self.root_fd, path, flags)
        return self._open_stepwise(segments, flags)

    def open_parent(self, path: bytes) -> int:
        """Opens the directory at a path on disk, through no link at all; -1 where it cannot."""
        if self._openat2 and len(path) < _PATH_MAX:
            return _linux.try_openat2(self.root_fd, path, _DIRECTORY)
        try:
            return self._open_stepwise(tuple(path.split(b"/")), _DIRECTORY)
        except OSError:
            return -1

    def _open_stepwise(self, segments: tuple[bytes, ...], flags: int) -> int:
        fd = self.root_fd
        try:
            for segment in segments[:-1]:
                below = os.open(segment, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
                if fd != self.root_fd:
                    os.close(fd)
                fd = below
            return os.open(segments[-1], flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        finally:
            if fd != self.root_fd:
                os.close(fd)

    def locate(self, path: DavPath) -> Located:
        """Returns the canonical Key and what is there."""
        try:
            with self.find(path) as found:
                key, stat, segments = self.key(found.segments), found.stat, found.segments
        except EscapesRoot:
            return self._locate_link(path) or self._raise_again(path)
        if segments == tuple(map(names.encode, path.segments)):
            return Located(key, stat)
        link = self._locate_link(path)
        if link is None:
            return Located(key, stat)
        if stat is None:
            return link  # it leads to what is not there
        return Located(key, stat, DavPath(tuple(map(names.decode, segments))))

    def _locate_link(self, path: DavPath) -> Located | None:
        """Returns the last component itself, of kind OTHER, if it is a link."""
        with self.find(path, follow=False) as found:
            if found.seen is None or not found.seen.is_link:
                return None
            return Located(self.key(found.segments), found.stat)

    def _raise_again(self, path: DavPath) -> Located:
        with self.find(path) as found:  # a link before the last component leads out
            return Located(self.key(found.segments), found.stat)

    def find(self, path: DavPath, *, follow: bool = True) -> Found:
        """Looks a path up.

        Args:
            follow: False leaves a link in the last component alone, to remove or rename it.

        Raises EscapesRoot, AccessDenied, StorageFailure.
        """
        with translating(path):
            segments = tuple(map(names.encode, path.segments))
            if not segments:
                return self.found_root()
            return self._find_fast(segments, follow) or _Walk(self, path, follow).run(segments)

    def found_root(self) -> Found:
        """Returns the root. Raises OSError."""
        return Found(self.root_fd, b"", (), look(self.root_fd, b"", plain=self.plain), 0, False)

    def _find_fast(self, segments: tuple[bytes, ...], follow: bool) -> Found | None:
        dir_fd = self.root_fd
        if len(segments) > 1:
            try:
                dir_fd = self.open_beneath(segments[:-1], _DIRECTORY)
            except OSError as error:
                if error.errno in _WALK:
                    return None
                raise
        name = segments[-1]
        found = Found(dir_fd, name, segments, None, 1, dir_fd != self.root_fd)
        try:
            found.seen = self.look(dir_fd, name)
        except BaseException:
            found.__exit__(None, None, None)
            raise
        if found.seen is not None:
            found.missing = 0
        if name.isascii() if found.seen is None else not (found.seen.is_link and follow):
            return found
        found.__exit__(None, None, None)
        return None

    def open_direct(self, key: Key, flags: int) -> int:
        """Opens what is at the path that a key has; -1 where that leads through a link, or may be
        no canonical one, or nothing can be opened."""
        if not self._openat2 or self.folding:
            return -1
        return _linux.try_openat2(self.root_fd, key.path, flags)

    def look_direct(self, key: Key) -> Stat | None:
        """Returns what is there; None as for `open_direct`, and for what is neither file nor
        collection."""
        fd = self.open_direct(key, _ANY) if key.path else self.root_fd
        if fd < 0:
            return None
        try:
            stat = look(fd, b"", plain=self.plain).stat
        except OSError:
            return None
        finally:
            if key.path:
                os.close(fd)
        return None if stat.kind is Kind.OTHER else stat

    def open(self, path: DavPath, flags: int) -> int:
        """Opens what a path leads to, to read.

        Raises ResourceNotFound, UnsupportedKind, EscapesRoot, AccessDenied, NotACollection.
        """
        with translating(path):
            segments = tuple(map(names.encode, path.segments))
            if self._openat2 or not segments:
                try:
                    return self.open_beneath(segments, flags)
                except OSError as error:
                    # ENOTDIR: the last component is no directory, or one before it is a link
                    if error.errno not in _WALK:
                        raise
            with self.find(path) as found:
                if found.seen is None:
                    raise ResourceNotFound(f"{show(path)}: no such resource")
                if found.seen.stat.kind is Kind.OTHER:
                    raise UnsupportedKind(f"{show(path)}: neither file nor collection")
                if not found.name:
                    return self.open_beneath((), flags)
                flags |= os.O_NOFOLLOW | os.O_CLOEXEC
                return os.open(found.name, flags, dir_fd=found.dir_fd)


class _Walk:
    """One look-up, component by component. `real` holds no link, so `..` takes its last away.

    Outside the root (only with symlinks = "follow") `real` is the absolute path, and the Key
    begins with `..`, which no DavPath has.
    """

    def __init__(self, resolver: Resolver, path: DavPath, follow: bool) -> None:
        self._resolver = resolver
        self._path = path
        self._follow = follow
        self._links = 0
        self._real: list[bytes] = []
        self._outside = False
        self._fd = resolver.root_fd

    def run(self, segments: tuple[bytes, ...]) -> Found:
        """Returns where the segments lead."""
        done = False
        try:
            found = self._run(list(reversed(segments)))
            done = True
            return found
        finally:
            if not done:
                self._move_to(self._resolver.root_fd)

    def _run(self, pending: list[bytes]) -> Found:
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":
                self._ascend()
                continue
            name, seen = self._look(name)
            if seen is None:
                return self._unmapped(name, pending, mapped_file=False)
            if seen.is_link and (pending or self._follow):
                self._expand(name, pending)
            elif not pending:
                return self._found(name, (), seen, 0)
            elif seen.stat.kind is Kind.COLLECTION:
                try:
                    below = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=self._fd)
                except OSError as error:
                    self._look_again(name, pending, error)
                    continue
                self._move_to(below)
                self._real.append(name)
            else:
                return self._unmapped(name, pending, mapped_file=True)
        return self._found_directory()

    def _look(self, name: bytes) -> tuple[bytes, Seen | None]:
        seen = self._resolver.look(self._fd, name)
        if seen is None:
            for other in names.spellings(name):
                seen = self._resolver.look(self._fd, other)
                if seen is not None:
                    return other, seen
        return name, seen

    def _expand(self, name: bytes, pending: list[bytes]) -> None:
        """Puts the text of a link in the place of its name."""
        self._links += 1
        if self._resolver.symlinks == "deny" or self._links > _MAX_LINKS:
            raise self._escapes()
        try:
            text = os.readlink(name, dir_fd=self._fd)
        except OSError as error:
            self._look_again(name, pending, error)
            return
        if text.startswith(b"/"):
            self._leave_root([])
        parts = text.split(b"/")
        if any(names.is_hidden(names.decode(part)) for part in parts):
            raise self._escapes()  # a name that no client may use, not by a link either
        pending.extend(reversed(parts))

    def _look_again(self, name: bytes, pending: list[bytes], error: OSError) -> None:
        """It was removed since it was seen, or a link took its place, or the other way round."""
        self._links += 1
        if error.errno not in _WALK or self._links > _MAX_LINKS:
            raise error
        pending.append(name)

    def _ascend(self) -> None:
        if self._outside:
            del self._real[-1:]
        elif self._real:
            self._real.pop()
        else:
            self._leave_root(_components(self._resolver.root_path)[:-1])
            return
        self._move_to(self._open_real(self._real))

    def _leave_root(self, real: list[bytes]) -> None:
        if self._resolver.symlinks != "follow":
            raise self._escapes()
        self._outside = True
        self._real = real
        self._move_to(self._open_real(real))

    def _open_real(self, real: list[bytes]) -> int:
        if self._outside:
            return os.open(b"/" + b"/".join(real), _DIRECTORY)
        return self._resolver.open_beneath(tuple(real), _DIRECTORY)

    def _move_to(self, fd: int) -> None:
        if self._fd != self._resolver.root_fd:
            os.close(self._fd)
        self._fd = fd

    def _unmapped(self, name: bytes, pending: list[bytes], *, mapped_file: bool) -> Found:
        rest = tuple(part for part in reversed(pending) if part not in (b"", b"."))
        if b".." in rest:  # a link through what is not there
            raise self._escapes()
        missing = len(rest) + 1
        return self._found(name, rest, None, max(missing, 2) if mapped_file else missing)

    def _found_directory(self) -> Found:
        """The path ended with `..` or `.` in a link's text: at the directory that was reached."""
        if not self._real:
            if self._outside:
                raise self._escapes()
            self._move_to(self._resolver.root_fd)
            return self._resolver.found_root()
        name = self._real.pop()
        self._move_to(self._open_real(self._real))
        return self._found(name, (), self._resolver.look(self._fd, name), 0)

    def _found(
        self, name: bytes, rest: tuple[bytes, ...], seen: Seen | None, missing: int
    ) -> Found:
        segments = (*self._real, name, *rest)
        if self._outside:
            root = tuple(_components(self._resolver.root_path))
            if segments[: len(root)] == root:
                segments = segments[len(root) :]
                if not segments:
                    self._move_to(self._resolver.root_fd)
                    return self._resolver.found_root()
            else:
                segments = (b"..", *segments)
        return Found(self._fd, name, segments, seen, missing, self._fd != self._resolver.root_fd)

    def _escapes(self) -> EscapesRoot:
        return EscapesRoot(f"{show(self._path)}: a link leads nowhere or out of the root")


def _components(path: bytes) -> list[bytes]:
    return [part for part in path.split(b"/") if part]
