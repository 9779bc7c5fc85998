"""`executable` of Apache's mod_dav_fs: davfs2 and cadaver's chexec read and set it."""

from __future__ import annotations

from collections.abc import Sequence

from davserver.errors import Conflict
from davserver.properties.base import LiveProperty, Members, Prepared, Resource
from davserver.protocol.deadprops import element_text
from davserver.protocol.names import QName
from davserver.storage.base import Kind

EXECUTABLE = QName("{http://apache.org/dav/props/}executable")
_ELEMENT = b'<A:executable xmlns:A="http://apache.org/dav/props/">%s</A:executable>'
_TRUE, _FALSE = _ELEMENT % b"T", _ELEMENT % b"F"


def _executable(resource: Resource) -> bytes:
    return _TRUE if resource.stat.executable else _FALSE


def _executables(members: Members) -> Sequence[bytes]:
    return [_TRUE if one else _FALSE for one in members.stats.executables()]


def _set_executable(resource: Resource, value: bytes | None) -> Prepared:
    if resource.stat.kind is not Kind.FILE:
        raise Conflict("a collection is not executable")
    text = None if value is None else element_text(value)
    if text not in ("T", "F"):
        raise Conflict(f"executable is 'T' or 'F', not {text!r}")
    return Prepared(attributes=(("executable", int(text == "T")),))


PROPERTIES = (
    LiveProperty(
        EXECUTABLE,
        _executable,
        kinds=frozenset({Kind.FILE}),
        in_allprop=False,
        prepare=_set_executable,
        column=_executables,
    ),
)
