"""What the asker may do, as a property (RFC 3744 sections 5.4 and 5.5), read-only.

`access-control` is not in the DAV field: there is no ACL method, and rights are in the settings.
DAVx5 shows a folder as writable, or not, by `current-user-privilege-set`.
"""

from __future__ import annotations

from davserver.extensions.base import Extension
from davserver.properties.base import LiveProperty, Resource
from davserver.protocol.names import dav
from davserver.storage.base import Kind

CURRENT_USER_PRIVILEGE_SET = dav("current-user-privilege-set")
SUPPORTED_PRIVILEGE_SET = dav("supported-privilege-set")
_WRITE_PARTS = (
    ("write-properties", "Set and remove properties"),
    ("write-content", "Change content"),
    ("bind", "Create and receive members"),
    ("unbind", "Delete and move members away"),
)
_READ, _WRITE = ("read", "Read content and properties"), ("write", "Change")
_OWN = ("read-current-user-privilege-set", "Read this list")
_ALL = ("all", "Everything")


def _set(*names: str) -> bytes:
    inner = "".join(f"<D:privilege><D:{name}/></D:privilege>" for name in names)
    local = "current-user-privilege-set"
    return f"<D:{local}>{inner}</D:{local}>".encode("ascii")


def _supported(privilege: tuple[str, str], *parts: str, is_abstract: bool = False) -> str:
    name, description = privilege
    return (
        f"<D:supported-privilege><D:privilege><D:{name}/></D:privilege>"
        f"{'<D:abstract/>' if is_abstract else ''}"
        f'<D:description xml:lang="en">{description}</D:description>{"".join(parts)}'
        "</D:supported-privilege>"
    )


_READER = _set("read", "read-current-user-privilege-set")
# Section 5.4: the aggregate and each that it contains (section 3.12).
_WRITER = _set(
    "read",
    "read-current-user-privilege-set",
    "write",
    *(name for name, _ in _WRITE_PARTS),
)
# Nobody is granted `all`, which would contain what this server does not know: it is abstract.
_TREE = _supported(
    _ALL,
    _supported(_READ, _supported(_OWN)),
    _supported(_WRITE, *map(_supported, _WRITE_PARTS)),
    is_abstract=True,
)
_SUPPORTED = f"<D:supported-privilege-set>{_TREE}</D:supported-privilege-set>".encode("ascii")


def current_user_privileges(resource: Resource) -> bytes:
    return _WRITER if resource.can_write else _READER


def _supported_privileges(resource: Resource) -> bytes:
    return _SUPPORTED


EXTENSION = Extension(
    "rfc3744-privileges",
    properties=tuple(
        # Section 5: "SHOULD NOT be returned by a PROPFIND DAV:allprop request".
        LiveProperty(name, render, kinds=frozenset(Kind), in_allprop=False)
        for name, render in (
            (CURRENT_USER_PRIVILEGE_SET, current_user_privileges),
            (SUPPORTED_PRIVILEGE_SET, _supported_privileges),
        )
    ),
)
