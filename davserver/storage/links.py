"""Links that lead from one place inside the root to another: a second name of a resource."""

from __future__ import annotations

import os

from davserver.errors import ResourceExists
from davserver.protocol.path import DavPath
from davserver.storage import names
from davserver.storage._oserrors import creating, show
from davserver.storage.base import Named
from davserver.storage.found import Found
from davserver.storage.policy import Policy, require_creatable
from davserver.storage.resolve import Resolver


def make_link(policy: Policy, path: DavPath, target: DavPath, *, replace: bool) -> None:
    """As Storage.make_link. The text is relative, so that it stays true when the root, or a tree
    that has both in it, is moved."""
    policy.refuse_read_only(path)
    with policy.resolver.find(path, follow=False) as found:
        text = relative(found.segments[:-1], tuple(map(names.encode, target.segments)))
        with creating(path):
            if found.seen is None:
                require_creatable(path, found)
                os.symlink(text, found.name, dir_fd=found.dir_fd)
            elif not replace or not found.seen.is_link:
                raise ResourceExists(f"{show(path)}: exists")
            elif os.readlink(found.name, dir_fd=found.dir_fd) != text:
                _replace(policy, text, found)


def _replace(policy: Policy, text: bytes, found: Found) -> None:
    hidden = names.encode(names.hidden_name(policy.owner))
    os.symlink(text, hidden, dir_fd=found.dir_fd)
    try:
        os.rename(hidden, found.name, src_dir_fd=found.dir_fd, dst_dir_fd=found.dir_fd)
    except OSError:
        os.unlink(hidden, dir_fd=found.dir_fd)
        raise


def relative(collection: tuple[bytes, ...], target: tuple[bytes, ...]) -> bytes:
    """Returns the way from a collection to what it has a link to, both from the root."""
    shared = 0
    for one, other in zip(collection, target, strict=False):
        if one != other:
            break
        shared += 1
    parts = [b".."] * (len(collection) - shared) + list(target[shared:])
    return b"/".join(parts) or b"."


def named(resolver: Resolver, path: DavPath) -> Named:
    """As Storage.named."""
    with resolver.find(path, follow=False) as found:
        is_link = found.seen is not None and found.seen.is_link
        return Named(resolver.key(found.segments), found.stat, is_link)
