"""The straight way: one synchronous call for requests that ask for nothing special.

Most of what clients send is GET and HEAD of a file and PROPFIND with Depth 0, without conditions:
nothing in it needs a scope, a task or a body that streams. Here such a request is answered from
its head alone, with the same sign-in, rights, look-up, properties and files as elsewhere, and
byte for byte as the pipeline would (tests/test_shortcut.py asks both). Whatever is not plain, or
goes wrong, is left to the pipeline: None.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from davserver.admission import attempt_of
from davserver.asgi import Scope
from davserver.auth.base import Principal, Privilege
from davserver.context import Header, Response, Services
from davserver.errors import DavError, StateError, StorageError
from davserver.fields import IDLE
from davserver.methods._responses import render_resource
from davserver.methods.get import describe
from davserver.methods.propfind import XML
from davserver.origin import split_path
from davserver.properties.base import Plan
from davserver.protocol.accept import prefers_json
from davserver.protocol.headers import DavHeaders
from davserver.protocol.mediatypes import media_type
from davserver.protocol.multistatus import whole
from davserver.protocol.names import GETCONTENTLANGUAGE
from davserver.protocol.path import DavPath
from davserver.protocol.quirks import leaves_out_missing_properties
from davserver.protocol.ranges import parse_range
from davserver.protocol.status import status_line
from davserver.sending import CHUNK
from davserver.shortwrites import XML_TYPE, Writes
from davserver.storage.base import DirectReader, DirectStorage, Kind, Stat

_REMEMBERED = 4_096
_PATH_LIMIT = 512
_BODY_LIMIT = 4_096

_READING = frozenset({b"GET", b"HEAD", b"PROPFIND"})
_OF_CHANGES = frozenset({b"if", b"lock-token"})
_OF_PROPFIND = frozenset({b"accept", b"brief", b"content-length", b"content-type", b"depth"})


class Quick(NamedTuple):
    """An answer. `message` is all of it, `sent` the bytes of body in that."""

    status: int
    message: bytes | bytearray
    sent: int
    principal: Principal


@dataclass(slots=True)
class _Aim:
    """A target that was asked for before: its path below the mount, and the header lines of the
    version of the file that was sent last."""

    path: DavPath
    kind: bytes = b""
    stat: Stat | None = None
    lines: bytes = b""


class Shortcut:
    """Answers for one set of Services. For the event loop's thread alone.

    Args:
        prefix: of the settings, decoded.
    """

    def __init__(self, services: Services, storage: DirectStorage, prefix: Sequence[str]) -> None:
        self._services = services
        self._storage = storage
        self._prefix = prefix
        self._base = DavPath(tuple(prefix)).href(collection=False) if prefix else b""
        self._aims: dict[bytes, _Aim] = {}
        self._writes = Writes(services, storage, tuple(prefix), self._base)

    def answer(
        self,
        method: bytes,
        target: bytes,
        fields: DavHeaders,
        varying: Sequence[Header],
        body: bytes,
        peer: Scope,
        lines: bytes,
    ) -> Quick | None:
        """Answers a request, or leaves it to the pipeline.

        Args:
            fields: without those that vary.
            peer: what an ASGI scope says of the other end: `client` and `scheme`.
            lines: header lines of every answer.
        """
        services = self._services
        if not services.runner.inline:
            return None
        change = self._writes.find(method, fields, body)
        if change is None and method not in _READING:
            return None
        # What is put is mostly new, and would drive out what is read again and again.
        aim = self._aims.get(target) or self._aim(target, keep=method != b"PUT")
        if aim is None:
            return None
        authorization, byte_range = _split(varying, _OF_CHANGES if change else ())
        if authorization is None:
            return None
        try:
            if change is not None:
                asker = self._admit(method, target, fields, authorization, aim, peer)
                if asker is None or byte_range is not None or services.state.has_changes():
                    return None
                request = change, aim.path, fields, varying, body, peer, asker
                response = services.runner.call(self._writes.answer, *request)
                return None if response is None else _quick(response, lines, asker)
            if method == b"GET" or method == b"HEAD":
                if body or not fields.recall(_is_plain_get):
                    return None
                asker = self._admit(method, target, fields, authorization, aim, peer)
                if asker is None or services.state.has_changes():
                    return None
                wanted = byte_range if method == b"GET" else None
                return services.runner.call(
                    self._get, aim, wanted, asker, lines, is_head=method == b"HEAD"
                )
            if byte_range is not None:
                return None
            plan = self._plan(fields, body)
            if plan is None:
                return None
            asker = self._admit(method, target, fields, authorization, aim, peer)
            if asker is None or services.state.has_changes():
                return None
            return services.runner.call(self._propfind, aim, plan, asker, lines)
        except (DavError, StorageError, StateError, OSError):
            # Nothing has been done, and nothing counted: the pipeline tells what is wrong.
            return None

    def _aim(self, target: bytes, *, keep: bool) -> _Aim | None:
        if len(target) > _PATH_LIMIT or b"?" in target:
            return None
        try:
            path = DavPath.from_raw(target).below(self._prefix)
        except DavError:
            return None
        if path is None or path.is_reserved:
            return None
        if not keep:
            return _Aim(path)
        if len(self._aims) >= _REMEMBERED:
            self._aims.clear()
        aim = self._aims[target] = _Aim(path, media_type(path.name))
        return aim

    def _admit(
        self,
        method: bytes,
        target: bytes,
        fields: DavHeaders,
        authorization: bytes,
        aim: _Aim,
        peer: Scope,
    ) -> Principal | None:
        """Returns who asks, with the right to read this; None otherwise."""
        services = self._services
        attempt = attempt_of(
            services.settings,
            peer,
            fields,
            authorization=authorization or None,
            method=method.decode("ascii"),
            uri=target,
            now=services.clock(),
        )
        principal = services.authenticator.recall(attempt)
        if principal is None:
            return None
        if not services.authorizer.permits(principal, Privilege.READ, aim.path):
            return None
        return principal

    # --- GET and HEAD ---------------------------------------------------------------------------

    def _get(
        self, aim: _Aim, wanted: bytes | None, asker: Principal, lines: bytes, *, is_head: bool
    ) -> Quick | None:
        if aim.path.slash:
            return None
        opened = self._storage.open_direct(aim.path)
        if opened is None:
            return None
        key, reader = opened
        try:
            if GETCONTENTLANGUAGE in self._services.state.properties(key):
                return None
            return self._respond(aim, reader, wanted, asker, lines, is_head=is_head)
        finally:
            reader.close()

    def _respond(
        self,
        aim: _Aim,
        reader: DirectReader,
        wanted: bytes | None,
        asker: Principal,
        lines: bytes,
        *,
        is_head: bool,
    ) -> Quick | None:
        stat = reader.stat
        first, length, status = 0, stat.size, 200
        told = self._describe(aim, stat)
        if wanted is not None:
            ranges = parse_range(wanted, stat.size)
            if ranges is not None:
                if len(ranges) != 1:
                    return None
                first, last = ranges[0]
                length, status = last - first + 1, 206
                told += b"content-range: bytes %d-%d/%d\r\n" % (first, last, stat.size)
        head = b"%b\r\n%b%bcontent-length: %d\r\n\r\n" % (status_line(status), lines, told, length)
        if is_head:
            return Quick(status, head, 0, asker)
        if length > CHUNK:
            return None
        message = bytearray(len(head) + length)
        message[: len(head)] = head
        with memoryview(message) as view:
            if length and not reader.try_read_into(view[len(head) :], first):
                return None
        return Quick(status, message, length, asker)

    def _describe(self, aim: _Aim, stat: Stat) -> bytes:
        """Returns the header lines of a file, kept as long as it is the same version."""
        if aim.stat == stat:
            return aim.lines
        now = self._services.clock()
        described = describe(stat, aim.kind, now)
        told = b"".join([b"%b: %b\r\n" % field for field in described])
        if stat.mtime_ns // 1_000_000_000 < int(now):
            # Last-Modified is what it will stay.
            aim.stat, aim.lines = stat, told
        return told

    # --- PROPFIND -------------------------------------------------------------------------------

    def _plan(self, fields: DavHeaders, body: bytes) -> Plan | None:
        form = fields.recall(_propfind_form)
        if form is None or len(body) > _BODY_LIMIT:
            return None
        plan = self._services.live.compile(body, form.charset, minimal=form.minimal)
        # What is told of bindings may have to wait for the gate.
        return plan if plan.names_only or not plan.tells_bindings else None

    def _propfind(self, aim: _Aim, plan: Plan, asker: Principal, lines: bytes) -> Quick | None:
        services, path = self._services, aim.path
        found = services.storage.locate(path)
        stat = found.stat
        if stat is None or stat.kind is Kind.OTHER or found.link_to is not None:
            return None
        is_collection = stat.kind is Kind.COLLECTION
        if is_collection is not path.slash and not path.is_root:
            return None  # the answer says where it is
        href = path.href(self._base, collection=is_collection)
        can_write = services.storage.is_writable(path) and services.authorizer.permits(
            asker, Privilege.WRITE, path
        )
        response = render_resource(
            services, asker, self._base, plan, (path, found.key, href, stat), can_write=can_write
        )
        body = whole(response)
        head = b"%b\r\n%b%b: %b\r\ncontent-length: %d\r\n\r\n" % (
            status_line(207),
            lines,
            *XML,
            len(body),
        )
        return Quick(207, head + body, len(body), asker)


def build_shortcut(services: Services) -> Shortcut | None:
    """Returns the straight way, None where each request needs a look at more than its head."""
    settings, storage = services.settings, services.storage
    if (
        services.path_rights is not None
        or settings.proxy_header is not None
        or settings.cors_origins
        or not isinstance(storage, DirectStorage)
    ):
        return None
    return Shortcut(services, storage, split_path(settings.prefix))


class _Form(NamedTuple):
    """What the fields of a PROPFIND say of its body and its answer."""

    charset: str | None
    minimal: bool


def _is_plain_get(fields: DavHeaders) -> bool:
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


def _quick(response: Response, lines: bytes, asker: Principal) -> Quick:
    body = response.body
    assert isinstance(body, bytes)
    head = [b"%b\r\n%b" % (status_line(response.status), lines)]
    head += [b"%b: %b\r\n" % field for field in response.headers]
    if response.status != 204:
        head.append(b"content-length: %d\r\n" % len(body))
    head += (b"\r\n", body)
    return Quick(response.status, b"".join(head), len(body), asker)


def _split(
    varying: Sequence[Header], others: Collection[bytes] = ()
) -> tuple[bytes | None, bytes | None]:
    """Returns Authorization, b"" where there is none, and Range. (None, None) for what else
    varies, but for `others`, for what is sent twice, and for credentials that count how often
    they are judged."""
    authorization, byte_range = b"", None
    seen: set[bytes] = set()
    for name, value in varying:
        if name == b"authorization" and not authorization and value[:6].lower() == b"basic ":
            authorization = value
        elif name == b"range" and byte_range is None:
            byte_range = value
        elif name in others and name not in seen:
            seen.add(name)
        else:
            return None, None
    return authorization, byte_range
