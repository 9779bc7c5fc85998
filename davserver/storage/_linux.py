"""System calls that the standard library lacks: openat2, statx, renameat2, statfs, sync_file_range.
Linux only.

Typed, thin wrappers over ctypes; each raises OSError as the functions of `os` do. Where a call
does not exist (another system, an old kernel or C library) its `HAS_` constant is False, or it
raises ENOSYS, and the callers take their portable way.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Literal

StatxFields = tuple[int, int, int, int, int, int, int, int, int, int, int, int]

IS_LINUX = sys.platform.startswith("linux")
_libc = ctypes.CDLL(None, use_errno=True)

_SYS_OPENAT2 = 437  # one number on every architecture: calls since 5.0 share one table
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_RESOLVE = _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS | _RESOLVE_NO_MAGICLINKS

_AT_EMPTY_PATH = 0x1000
_AT_SYMLINK_NOFOLLOW = 0x100
_STATX_WANTED = 0x07FF | 0x0800  # the basic fields and the birth time
STATX_BTIME = 0x0800
# mask, uid, gid, mode, ino, size, btime (s, ns), mtime (s, ns), device (major, minor)
_STATX = struct.Struct("=I16xIIH2xQQ32xqI20xqI12xII112x")
_STATX_SIZE = _STATX.size
_unpack: Callable[[ctypes.Array[ctypes.c_char]], StatxFields] = _STATX.unpack_from
_unpack_each: Callable[[bytes], Iterator[StatxFields]] = _STATX.iter_unpack

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

_SYNC_WAIT_BEFORE = 1
_SYNC_WRITE = 2
_SYNC_WAIT_AFTER = 4

_REMOTE_TYPES = frozenset(
    {
        0x6969,  # NFS
        0x517B,  # SMB
        0xFE534D42,  # SMB2
        0xFF534D42,  # CIFS
        0x65735546,  # FUSE
        0x01021997,  # 9P
        0x00C36400,  # Ceph
        0x5346414F,  # AFS
        0x73757245,  # Coda
        0x564C,  # NCP
        0x01161970,  # GFS2
        0x7461636F,  # OCFS2
        0x0BD00BD0,  # Lustre
        0x786F4256,  # VirtualBox shared folder
    }
)
_MEMORY_TYPES = frozenset({0x01021994, 0x858458F6})  # tmpfs, ramfs

HAS_LINKAT = IS_LINUX and hasattr(_libc, "linkat")
HAS_STATX = IS_LINUX and hasattr(_libc, "statx")
HAS_RENAMEAT2 = IS_LINUX and hasattr(_libc, "renameat2")
HAS_SYNC_FILE_RANGE = IS_LINUX and hasattr(_libc, "sync_file_range")


class _OpenHow(ctypes.Structure):
    _fields_ = (
        ("flags", ctypes.c_uint64),
        ("mode", ctypes.c_uint64),
        ("resolve", ctypes.c_uint64),
    )


if IS_LINUX:
    _syscall = _libc.syscall
    _syscall.restype = ctypes.c_long
    _syscall.argtypes = (
        ctypes.c_long,
        ctypes.c_long,
        ctypes.c_char_p,
        ctypes.c_void_p,
        ctypes.c_size_t,
    )
    # Its arguments have the types that the call wants: nothing is left to convert.
    _syscall_untyped = ctypes.CDLL(None).syscall
    _OPENAT2 = ctypes.c_long(_SYS_OPENAT2)
    _HOW_SIZE = ctypes.c_size_t(ctypes.sizeof(_OpenHow))
if HAS_LINKAT:
    _linkat = ctypes.CDLL(None).linkat
if HAS_STATX:
    _statx = ctypes.CDLL(None).statx
    _told_statx = _libc.statx
if HAS_RENAMEAT2:
    _renameat2 = _libc.renameat2
    _renameat2.argtypes = (
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_int,
        ctypes.c_char_p,
        ctypes.c_uint,
    )
if HAS_SYNC_FILE_RANGE:
    _sync_file_range = _libc.sync_file_range
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


def _raise_errno() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))


def try_openat2(dir_fd: int, path: bytes, flags: int) -> int:
    """As `openat2`, in half of its time; -1 where it fails, for whatever reason."""
    how = _hows.get(flags) or _address(flags)
    fd: int = _syscall_untyped(_OPENAT2, dir_fd, path, how, _HOW_SIZE)
    return fd


_hows: dict[int, ctypes.c_void_p] = {}
_kept: list[_OpenHow] = []


def _address(flags: int) -> ctypes.c_void_p:
    """Returns where a `struct open_how` stands; the kernel only reads it."""
    found = _hows.get(flags)
    if found is None:
        how = _OpenHow(flags | os.O_CLOEXEC, 0, _RESOLVE)
        _kept.append(how)
        found = _hows[flags] = ctypes.c_void_p(ctypes.addressof(how))
    return found


def openat2(dir_fd: int, path: bytes, flags: int) -> int:
    """Opens `path` beneath `dir_fd`, through no link at all (openat2(2)).

    Raises OSError: ELOOP where a component is a link, EXDEV where the path leads out.
    """
    if not IS_LINUX:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    how = _address(flags)
    while True:
        fd: int = _syscall(_SYS_OPENAT2, dir_fd, path, how, ctypes.sizeof(_OpenHow))
        if fd >= 0:
            return fd
        if ctypes.get_errno() != errno.EINTR:
            _raise_errno()


def statx(dir_fd: int, name: bytes, buffer: ctypes.Array[ctypes.c_char]) -> StatxFields:
    """Looks at `name` in `dir_fd`, never following it; at `dir_fd` itself when it is b"".

    Twice as fast as with argument types and errno: on failure os.stat says which it was.
    """
    flags = _AT_SYMLINK_NOFOLLOW if name else _AT_EMPTY_PATH
    while _statx(dir_fd, name, flags, _STATX_WANTED, buffer):
        if name:
            os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
        else:
            os.fstat(dir_fd)
    return _unpack(buffer)


def try_statx(dir_fd: int, name: bytes, buffer: ctypes.Array[ctypes.c_char]) -> StatxFields | None:
    """As `statx`, of a name; None where nothing has it: in a third of the time."""
    if _told_statx(dir_fd, name, _AT_SYMLINK_NOFOLLOW, _STATX_WANTED, buffer):
        if ctypes.get_errno() == errno.ENOENT:
            return None
        _raise_errno()
    return _unpack(buffer)


def statx_buffer() -> ctypes.Array[ctypes.c_char]:
    """Returns room for one answer of statx, for one thread at a time."""
    return ctypes.create_string_buffer(_STATX_SIZE)


class StatxRoom:
    """Room for the answers of `statx_each`, for one thread at a time."""

    __slots__ = ("slots", "view")

    def __init__(self, size: int) -> None:
        buffer = ctypes.create_string_buffer(size * _STATX_SIZE)
        self.slots = [ctypes.byref(buffer, index * _STATX_SIZE) for index in range(size)]
        self.view = memoryview(buffer)


class StatxRows:
    """What statx has said of several names, in their order: a row each, or a column each field."""

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    def __len__(self) -> int:
        return len(self._raw) // _STATX_SIZE

    def __iter__(self) -> Iterator[StatxFields]:
        return _unpack_each(self._raw)

    def __getitem__(self, part: slice) -> StatxRows:
        begin, end, _ = part.indices(len(self))
        return StatxRows(self._raw[begin * _STATX_SIZE : end * _STATX_SIZE])

    def pick(self, indices: Sequence[int]) -> StatxRows:
        """Returns some of the rows."""
        begins = [index * _STATX_SIZE for index in indices]
        return StatxRows(b"".join([self._raw[begin : begin + _STATX_SIZE] for begin in begins]))

    def modes(self) -> list[int]:
        return self._column("H", 28)

    def uids(self) -> list[int]:
        return self._column("I", 20)

    def sizes(self) -> list[int]:
        return self._column("Q", 40)

    def inodes(self) -> list[int]:
        return self._column("Q", 32)

    def mtimes_ns(self) -> list[int]:
        """What there is beyond `mtimes_s`."""
        return self._column("I", 120)

    def mtimes_s(self) -> list[int]:
        return self._column("q", 112)

    def births_s(self) -> Sequence[int | None]:
        births = self._column("q", 80)
        masks = self._column("I", 0)
        if all(mask & STATX_BTIME for mask in set(masks)):
            return births
        pairs = zip(masks, births, strict=True)
        return [birth if mask & STATX_BTIME else None for mask, birth in pairs]

    def _column(self, form: Literal["H", "I", "Q", "q"], offset: int) -> list[int]:
        column = memoryview(self._raw).cast(form)
        size = column.itemsize
        return column[offset // size :: _STATX_SIZE // size].tolist()


def statx_each(dir_fd: int, names: Sequence[bytes], room: StatxRoom) -> tuple[list[int], StatxRows]:
    """As `statx`, for many names: no more than the room is for, and no b"".

    Returns a number for each, other than 0 where the call has failed; and what was found: where
    it has failed, anything.
    """
    flags, wanted = repeat(_AT_SYMLINK_NOFOLLOW), repeat(_STATX_WANTED)
    failures = list(map(_statx, repeat(dir_fd), names, flags, wanted, room.slots))
    return failures, StatxRows(room.view[: len(names) * _STATX_SIZE].tobytes())


def try_linkat(fd: int, dir_fd: int, name: bytes) -> bool:
    """Gives an open file one more name; False where it fails, for whatever reason: Linux wants a
    privilege for it (CAP_DAC_READ_SEARCH), since 6.10 only from who has not opened it itself."""
    return HAS_LINKAT and not _linkat(fd, b"", dir_fd, name, _AT_EMPTY_PATH)


def renameat2(src_fd: int, src: bytes, dst_fd: int, dst: bytes, flags: int) -> None:
    """renameat2(2). Raises OSError: EINVAL where the file system does not know the flags."""
    if not HAS_RENAMEAT2:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if _renameat2(src_fd, src, dst_fd, dst, flags):
        _raise_errno()


def begin_writeback(fd: int, offset: int, size: int) -> None:
    """Has the kernel begin to write a stretch of a file to disk (sync_file_range(2))."""
    _sync_range(fd, offset, size, _SYNC_WRITE)


def await_writeback(fd: int, offset: int, size: int) -> None:
    """Returns when a stretch of a file is written, which makes it not yet durable. Raises OSError
    with what went wrong, which then nobody is told again."""
    _sync_range(fd, offset, size, _SYNC_WAIT_BEFORE | _SYNC_WRITE | _SYNC_WAIT_AFTER)


def _sync_range(fd: int, offset: int, size: int, flags: int) -> None:
    if not HAS_SYNC_FILE_RANGE:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    while _sync_file_range(fd, offset, size, flags):
        if ctypes.get_errno() != errno.EINTR:
            _raise_errno()


def is_remote(fd: int) -> bool:
    """True when the file system answers over a network or from another process (statfs(2))."""
    return _type_of(fd) in _REMOTE_TYPES


def is_in_memory(fd: int) -> bool:
    """True when the file system has no disk behind it: tmpfs, ramfs."""
    return _type_of(fd) in _MEMORY_TYPES


def _type_of(fd: int) -> int | None:
    """Returns what statfs(2) calls the type of a file system, None where it says nothing."""
    if not IS_LINUX:
        return None
    answer = ctypes.create_string_buffer(256)
    if _libc.fstatfs(fd, answer):
        return None
    (kind,) = struct.unpack_from("@l" if ctypes.sizeof(ctypes.c_long) == 8 else "@i", answer)
    return int(kind) & 0xFFFFFFFF
