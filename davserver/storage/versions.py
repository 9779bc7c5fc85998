"""What versions of files are made by: begun without a name, made like what they replace, named."""

from __future__ import annotations

import errno
import os

from davserver.storage import _linux, names
from davserver.storage._stat import Seen
from davserver.storage.policy import Policy

_O_TMPFILE: int = getattr(os, "O_TMPFILE", 0)
_NO_TMPFILE = frozenset({errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL, errno.ENOENT})
_HAS_PROC = os.path.isdir("/proc/self/fd")
ACL = "system.posix_acl_access"
"""The attribute that says who else may do what with a file."""
_ATTRIBUTES = ("user.", ACL, "com.apple.")
_MAY_NOT = frozenset(
    {
        *(errno.EPERM, errno.EACCES, errno.EINVAL),  # EINVAL: who is not known in a container
        *(errno.EOPNOTSUPP, errno.ENOSYS, errno.ENODATA),
        *(errno.ENOENT, errno.ENOTDIR, errno.ELOOP),  # it has been removed or replaced meanwhile
    }
)
"""Of owners and attributes: they cannot be kept, and nothing is broken."""
MODE_MASK = 0o777
"""Never setuid, setgid or sticky: the content is another one now."""
_PRIVATE = 0o600


def new_hidden(policy: Policy) -> bytes:
    """Returns a name on disk that no client sees."""
    return names.encode(names.hidden_name(policy.owner))


def open_version(policy: Policy, dir_fd: int, mode: int = _PRIVATE) -> tuple[int, bytes | None]:
    """Begins a version in a directory; returns it, open, and its hidden name: None where it has no
    name at all, so that a crash leaves nothing. Raises OSError.

    Args:
        mode: less the umask, of what has no name: nobody can open it. What has one is private.
    """
    if _O_TMPFILE and _HAS_PROC and "tmpfile" not in policy.fallbacks:
        flags = _O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        try:
            return os.open(b".", flags, mode, dir_fd=dir_fd), None
        except OSError as error:
            if not os.fstat(dir_fd).st_nlink:  # deleted: Linux says EPERM then
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)) from error
            if error.errno not in _NO_TMPFILE:
                raise
    hidden = new_hidden(policy)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(hidden, flags, _PRIVATE, dir_fd=dir_fd), hidden


def link_version(fd: int, dir_fd: int, name: bytes) -> None:
    """Gives what has no name one at which nothing stands. Raises FileExistsError, OSError."""
    if _linux.try_linkat(fd, dir_fd, name):
        return
    # The way for everybody, which tells what is wrong, too; on ext4 the slower one by 10 us.
    # With a directory descriptor given, Python calls linkat, which follows the link.
    source = f"/proc/self/fd/{fd}"
    os.link(source, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd, follow_symlinks=True)


def remove_hidden(policy: Policy, dir_fd: int, hidden: bytes) -> None:
    """Raises nothing."""
    try:
        os.unlink(hidden, dir_fd=dir_fd)
    except FileNotFoundError:
        pass
    except OSError:
        # whoever lists the directory tries again
        policy.abandoned.add(hidden)


def adopt(fd: int, dir_fd: int, name: bytes, old: Seen, new: os.stat_result) -> int | None:
    """Gives a new version the owner and the extended attributes of the old one at a name, as far as
    this process may, and none of the ACL that its directory gives to new files.

    Returns the mode that is to be set after that; None where nothing was to be changed. Raises
    OSError: it is no version of that file that others may read, where the old one was not for them.
    """
    is_anothers = old.uid != new.st_uid or old.gid != new.st_gid
    mode = old.mode & MODE_MASK
    if is_anothers:
        _adopt_owner(fd, old.uid, old.gid)
    given = _adopt_xattrs(fd, dir_fd, name) if hasattr(os, "listxattr") else {}
    if given.get(ACL) is False:
        # The bits of the group were those of all whom the ACL names.
        mode &= ~0o070
    return mode if given or is_anothers else None


def _adopt_owner(fd: int, uid: int, gid: int) -> None:
    for owner in (uid, -1):
        try:
            os.fchown(fd, owner, gid)
            return
        except OSError as error:
            if error.errno not in _MAY_NOT:
                raise


def _adopt_xattrs(fd: int, dir_fd: int, name: bytes) -> dict[str, bool]:
    """Returns whether each attribute that there was to set, or to remove, was."""
    if _HAS_PROC:
        # Asked by its name, in one call, a file need not be readable.
        return _copy_xattrs(b"/proc/self/fd/%d/%b" % (dir_fd, name), fd)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        old_fd = os.open(name, flags, dir_fd=dir_fd)
    except OSError as error:
        if error.errno not in _MAY_NOT:
            raise
        return {}
    try:
        return _copy_xattrs(old_fd, fd)
    finally:
        os.close(old_fd)


def _copy_xattrs(old: int | bytes, fd: int) -> dict[str, bool]:
    given = dict.fromkeys(_adopted(old), True)
    for attribute in given:
        try:
            value = os.getxattr(old, attribute, follow_symlinks=isinstance(old, int))
            os.setxattr(fd, attribute, value)
        except OSError as error:
            if error.errno not in _MAY_NOT:
                raise
            given[attribute] = False
    if ACL not in given and ACL in _adopted(fd):
        os.removexattr(fd, ACL)
        given[ACL] = True
    return given


def _adopted(file: int | bytes) -> list[str]:
    """Returns the names of the attributes that a new version has, too."""
    try:
        listed = os.listxattr(file, follow_symlinks=isinstance(file, int))
    except OSError as error:
        if error.errno not in _MAY_NOT:
            raise
        return []
    return [attribute for attribute in listed if attribute.startswith(_ATTRIBUTES)]
