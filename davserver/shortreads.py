"""The straight way for what is read: GET and HEAD of a file, PROPFIND with Depth 0.

An answer is made of what does not change while the resource is the same version, and is kept with
the target: the header lines of a file, the multistatus of what nothing is stored of. The version
is looked at each time, and so are the locks and the properties.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple
from weakref import ref

from davserver.asked import Lines
from davserver.auth.base import Principal, Privilege
from davserver.context import Services
from davserver.fields import IDLE
from davserver.methods._responses import render_resource
from davserver.methods.get import describe
from davserver.methods.propfind import XML
from davserver.properties.base import Needs, Plan
from davserver.protocol.accept import prefers_json
from davserver.protocol.headers import DavHeaders
from davserver.protocol.multistatus import whole
from davserver.protocol.names import GETCONTENTLANGUAGE
from davserver.protocol.path import DavPath, Key
from davserver.protocol.quirks import leaves_out_missing_properties
from davserver.protocol.ranges import parse_range
from davserver.protocol.status import status_line
from davserver.sending import CHUNK
from davserver.shortwrites import XML_TYPE
from davserver.state.offers import DirectState, Stored
from davserver.storage.base import Kind, Stat
from davserver.storage.direct import DirectReader, DirectStorage

_BODY_LIMIT = 4_096
_KEPT_LIMIT = 4_096
"""Bytes of a multistatus that is kept: names that nobody has come back, each with its namespace."""
_WHOLE = b"%b\r\n%b%bcontent-length: %d\r\n\r\n"
_PART = b"%b\r\n%b%bcontent-range: bytes %d-%d/%d\r\ncontent-length: %d\r\n\r\n"
_OF_PROPFIND = frozenset({b"accept", b"brief", b"content-length", b"content-type", b"depth"})


Quick = tuple[int, bytes | bytearray, int, Principal]
"""An answer: its status, all of it, how many bytes of that are its body, and who has it."""


class _Told(NamedTuple):
    """What a PROPFIND was told of a resource of which nothing is stored: the same again for the
    same question about the same version. It keeps no plan that nobody else does: one with long
    names takes a MB."""

    plan: ref[Plan]
    stat: Stat
    name: str
    can_write: bool
    body: bytes


@dataclass(slots=True)
class Aim:
    """A target that was asked for before.

    Attributes:
        path, real: below the mount, and where that leads where no link is in it.
        href: of a file, and of a collection.
        kind: media type.
        stat, lines: the version that was sent last, and its header lines.
        head, head_lines: the last answer's head, and the lines of every answer that are in it.
        told: the last answer to a PROPFIND.
    """

    path: DavPath
    real: DavPath
    key: Key
    href: tuple[bytes, bytes] = (b"", b"")
    kind: bytes = b""
    stat: Stat | None = None
    lines: bytes = b""
    head: bytes = b""
    head_lines: bytes | None = None
    told: _Told | None = None


def may(services: Services, asker: Principal, privilege: Privilege, aim: Aim) -> bool:
    """True when the asker has the right to this by both names (RequestContext.may)."""
    if not services.authorizer.permits(asker, privilege, aim.path):
        return False
    rights = services.path_rights
    return rights is None or rights.permits_real(asker, privilege, aim.real)


class Reads:
    """Answers for one set of Services. For the event loop's thread alone.

    Args:
        base: the prefix of the settings, quoted.
    """

    def __init__(
        self, services: Services, storage: DirectStorage, state: DirectState, base: bytes
    ) -> None:
        self._services = services
        self._storage = storage
        self._state = state
        self._base = base
        self._body_limit = min(_BODY_LIMIT, services.settings.xml_body_limit)

    # --- GET and HEAD ---------------------------------------------------------------------------

    def get(
        self, aim: Aim, wanted: bytes | None, asker: Principal, lines: Lines, is_head: bool
    ) -> Quick | None:
        services = self._services
        stored = self._state.settled(aim.key, now=services.clock())
        if stored is None or GETCONTENTLANGUAGE in stored.properties or aim.path.slash:
            return None
        reader = self._storage.open_direct(aim.path, aim.key)
        if reader is None:
            return None
        try:
            return self._respond(aim, reader, wanted, asker, lines, is_head)
        finally:
            reader.close()

    def _respond(
        self,
        aim: Aim,
        reader: DirectReader,
        wanted: bytes | None,
        asker: Principal,
        lines: Lines,
        is_head: bool,
    ) -> Quick | None:
        stat = reader.stat
        ranges = None if wanted is None else parse_range(wanted, stat.size)
        if ranges is None:
            first, length, status = 0, stat.size, 200
            head = self._head(aim, stat, lines)
        else:
            if len(ranges) != 1:
                return None
            first, last = ranges[0]
            length, status = last - first + 1, 206
            told = self._describe(aim, stat), first, last, stat.size, length
            head = _PART % (status_line(206), lines(), *told)
        if is_head:
            return status, head, 0, asker
        if length > CHUNK:
            return None
        message = bytearray(len(head) + length)
        message[: len(head)] = head
        if length and not reader.try_read_into(memoryview(message)[len(head) :], first):
            return None
        return status, message, length, asker

    def _head(self, aim: Aim, stat: Stat, lines: Lines) -> bytes:
        """Returns all that comes before the content, kept while `lines` gives the same object."""
        told, every = self._describe(aim, stat), lines()
        # Nothing is kept of what may be told otherwise the next time.
        is_kept = told is aim.lines
        if is_kept and aim.head_lines is every:
            return aim.head
        aim.head = _WHOLE % (status_line(200), every, told, stat.size)
        aim.head_lines = every if is_kept else None
        return aim.head

    def _describe(self, aim: Aim, stat: Stat) -> bytes:
        """Returns the header lines of a file, kept as long as it is the same version."""
        if aim.stat == stat:
            return aim.lines
        now = self._services.clock()
        described = describe(stat, aim.kind, now)
        told = b"".join([b"%b: %b\r\n" % field for field in described])
        if stat.mtime_ns // 1_000_000_000 < int(now):
            # Last-Modified is what it will stay. The head that is kept was another version's.
            aim.stat, aim.lines, aim.head_lines = stat, told, None
        return told

    # --- PROPFIND -------------------------------------------------------------------------------

    def plan(self, fields: DavHeaders, body: bytes) -> Plan | None:
        form = fields.recall(_propfind_form)
        if form is None or len(body) > self._body_limit:
            return None
        plan = self._services.live.compile(body, form.charset, minimal=form.minimal)
        # What is told of bindings may have to wait for the gate.
        return plan if plan.names_only or not plan.tells_bindings else None

    def propfind(self, aim: Aim, plan: Plan, asker: Principal, lines: Lines) -> Quick | None:
        services, path = self._services, aim.path
        now = services.clock()
        stored = self._state.settled(aim.key, now=now)
        stat = None if stored is None else self._storage.look_direct(aim.key)
        if stored is None or stat is None:
            return None
        is_collection = stat.kind is Kind.COLLECTION
        if is_collection is not path.slash and not path.is_root:
            return None  # the answer says where it is
        is_writable = services.storage.is_writable(path)
        can_write = is_writable and may(services, asker, Privilege.WRITE, aim)
        told = aim.told
        if told is None or told[:4] != (ref(plan), stat, asker.name, can_write) or any(stored):
            told = self._tell(aim, plan, asker, stat, stored, can_write=can_write)
        head = b"%b\r\n%b%b: %b\r\ncontent-length: %d\r\n\r\n" % (
            status_line(207),
            lines(),
            *XML,
            len(told.body),
        )
        return 207, head + told.body, len(told.body), asker

    def _tell(
        self,
        aim: Aim,
        plan: Plan,
        asker: Principal,
        stat: Stat,
        stored: Stored,
        *,
        can_write: bool,
    ) -> _Told:
        """Makes an answer, and keeps it where it is the same until the resource changes."""
        is_collection = stat.kind is Kind.COLLECTION
        at = aim.path, aim.key, aim.href[is_collection], stat
        response = render_resource(
            self._services, asker, self._base, plan, at, can_write=can_write, stored=stored
        )
        told = _Told(ref(plan), stat, asker.name, can_write, whole(response))
        is_variable = plan.tells_bindings or (is_collection and Needs.QUOTA in plan.needs)
        # Of what is as new as this second, getlastmodified and Date are still one.
        is_settled = stat.mtime_ns // 1_000_000_000 < int(self._services.clock())
        is_small = len(told.body) <= _KEPT_LIMIT
        if is_settled and is_small and not is_variable and not any(stored):
            aim.told = told
        return told


class _Form(NamedTuple):
    """What the fields of a PROPFIND say of its body and its answer."""

    charset: str | None
    minimal: bool


def is_plain_get(fields: DavHeaders) -> bool:
    names = [name for name, _ in fields.items]
    return len(set(names)) == len(names) and IDLE.issuperset({*names} - {b"accept"})


def _propfind_form(fields: DavHeaders) -> _Form | None:
    names = [name for name, _ in fields.items]
    if len(set(names)) != len(names) or not (IDLE | _OF_PROPFIND).issuperset(names):
        return None
    if fields.get(b"depth") != b"0" or fields.recall(prefers_json):
        return None
    kind = fields.get(b"content-type")
    found = None if kind is None else XML_TYPE.fullmatch(kind)
    if kind is not None and found is None:
        return None
    charset = None if found is None or found[1] is None else found[1].decode("ascii")
    return _Form(charset, leaves_out_missing_properties(fields))
