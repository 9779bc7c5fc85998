"""The straight way: one synchronous call for requests that ask for nothing special.

Most of what clients send is GET and HEAD of a file, PROPFIND with Depth 0 and small changes,
without conditions that have to be weighed: nothing in it needs a scope, a task or a body that
streams. Here such a request is answered from its head alone, with the same sign-in, rights,
look-up, properties and files as elsewhere, and byte for byte as the pipeline would
(tests/test_shortcut.py asks both). Whatever is not plain, or goes wrong, is left to the pipeline:
None.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from davserver.admission import attempt_of
from davserver.asked import Asked, Lines
from davserver.auth.base import ANONYMOUS, Doorless, Principal, Privilege
from davserver.context import Header, Response, Services
from davserver.errors import DavError, StateError, StorageError
from davserver.homes import Homes
from davserver.methods.base import TakesLong
from davserver.origin import split_path
from davserver.protocol.mediatypes import media_type
from davserver.protocol.path import DavPath
from davserver.protocol.status import status_line
from davserver.shortreads import Aim, Quick, Reads, is_plain_get, may
from davserver.shortwrites import Writes
from davserver.state.offers import DirectState
from davserver.storage.direct import DirectStorage

_REMEMBERED = 4_096
_PATH_LIMIT = 512
_TARGET = re.compile(rb"/[!\"$->@-~]*")
"""What is no `*` and no full URL, and has neither a query nor what no URL may hold."""

_line = b"%b: %b\r\n".__mod__
_READING = frozenset({b"GET", b"HEAD", b"PROPFIND"})
_REQUEST_ID = b"x-request-id"
"""Is told in the log alone (app.py)."""
_OF_READS = frozenset({_REQUEST_ID})
_OF_CHANGES = frozenset({b"if", b"lock-token", b"destination", _REQUEST_ID})


class Shortcut:
    """Answers for one set of Services. For the event loop's thread alone.

    Args:
        prefix: of the settings, decoded.
        homes: the pipeline's, which makes them.
    """

    def __init__(
        self,
        services: Services,
        storage: DirectStorage,
        state: DirectState,
        prefix: Sequence[str],
        homes: Homes,
    ) -> None:
        self._services = services
        self._storage = storage
        self._prefix = prefix
        self._homes = homes
        self._base = DavPath(tuple(prefix)).href(collection=False) if prefix else b""
        self._aims: dict[bytes, Aim] = {}
        self._target_limit = min(_PATH_LIMIT, services.settings.url_limit)
        self._reads = Reads(services, storage, state, self._base)
        self._writes = Writes(services, storage, tuple(prefix), self._base)
        authenticator = services.authenticator
        self._door = authenticator if isinstance(authenticator, Doorless) else None

    def answer(self, asked: Asked) -> Quick | None:
        """Answers a request, or leaves it to the pipeline."""
        runner = self._services.runner
        if not runner.inline:
            return None
        try:
            return runner.call(self._read if asked.method in _READING else self._change, asked)
        except (DavError, StorageError, StateError, OSError, TakesLong):
            # Nothing has been done, and nothing counted: the pipeline tells what is wrong.
            return None

    def _read(self, asked: Asked) -> Quick | None:
        method, target, fields, varying, body, _, lines = asked
        aim = self._aims.get(target) or self._aim(target)
        authorization, byte_range = _split(varying, _OF_READS) if varying else (b"", None)
        if aim is None or authorization is None:
            return None
        reads = self._reads
        if method == b"PROPFIND":
            plan = reads.plan(fields, body)
            if plan is None or byte_range is not None:
                return None
            asker = self._admit(asked, authorization, aim, Privilege.READ)
            if asker is None:
                return None
            return reads.propfind(aim, plan, asker, lines)
        if body or not fields.recall(is_plain_get):
            return None
        asker = self._admit(asked, authorization, aim, Privilege.READ)
        if asker is None:
            return None
        # RFC 9110 section 14.2: GET alone has ranges.
        wanted, is_head = (byte_range, False) if method == b"GET" else (None, True)
        return reads.get(aim, wanted, asker, lines, is_head)

    def _change(self, asked: Asked) -> Quick | None:
        method, target, fields, varying, body, peer, lines = asked
        change = self._writes.find(method, fields, body)
        if change is None:
            return None
        # What is put is mostly new, and would drive out what is read again and again.
        aim = self._aims.get(target) or self._aim(target, keep=method != b"PUT")
        authorization, byte_range = _split(varying, _OF_CHANGES) if varying else (b"", None)
        if aim is None or authorization is None or byte_range is not None:
            return None
        asker = self._admit(asked, authorization, aim, Privilege.WRITE)
        if asker is None:
            return None
        response = self._writes.answer(
            change, aim.path, aim.key, fields, varying, body, peer, asker
        )
        return None if response is None else _quick(response, lines, asker)

    def _aim(self, target: bytes, *, keep: bool = True) -> Aim | None:
        if len(target) > self._target_limit or not _TARGET.fullmatch(target):
            return None
        try:
            path = DavPath.from_raw(target, once=not keep).below(self._prefix)
        except DavError:
            return None
        if path is None or path.is_reserved:
            return None
        key = self._storage.direct_key(path)
        if not keep and self._services.path_rights is None:
            return Aim(path, path, key)
        real = self._services.storage.path_of(key)
        if not keep:
            return Aim(path, real, key)
        if len(self._aims) >= _REMEMBERED:
            self._aims.clear()
        href = path.href(self._base, collection=False), path.href(self._base, collection=True)
        aim = self._aims[target] = Aim(path, real, key, href, media_type(path.name))
        return aim

    def _admit(
        self, asked: Asked, authorization: bytes, aim: Aim, privilege: Privilege
    ) -> Principal | None:
        """Returns who asks, where they have the privilege, and the home that they need; None
        otherwise."""
        if self._door is not None and self._door.is_open:
            principal: Principal | None = ANONYMOUS
        else:
            principal = self._recall(asked, authorization)
        if principal is None or not may(self._services, principal, privilege, aim):
            return None
        return None if self._homes.missing(principal.name, aim.path) else principal

    def _recall(self, asked: Asked, authorization: bytes) -> Principal | None:
        services = self._services
        attempt = attempt_of(
            services.settings,
            asked.peer,
            asked.fields,
            authorization or None,
            method=asked.method.decode("ascii"),
            uri=asked.target,
            now=services.clock(),
        )
        return services.authenticator.recall(attempt)


def build_shortcut(services: Services, homes: Homes) -> Shortcut | None:
    """Returns the straight way, None where each request needs a look at more than its head."""
    settings, storage, state = services.settings, services.storage, services.state
    if (
        settings.proxy_header is not None
        or settings.cors_origins
        or not isinstance(storage, DirectStorage)
        or not isinstance(state, DirectState)
    ):
        return None
    return Shortcut(services, storage, state, split_path(settings.prefix), homes)


def failure(lines: Lines) -> Quick:
    """Returns the answer where something has gone wrong that nobody has thought of (500)."""
    fields = (
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"x-content-type-options", b"nosniff"),
    )
    return _quick(Response(500, fields, b"internal error\n"), lines, ANONYMOUS)


def _quick(response: Response, lines: Lines, asker: Principal) -> Quick:
    body = response.body
    assert isinstance(body, bytes)
    status, size = response.status, len(body)
    fields = b"".join(map(_line, response.headers))
    length = b"" if status == 204 else b"content-length: %d\r\n" % size
    message = b"%b\r\n%b%b%b\r\n%b" % (status_line(status), lines(), fields, length, body)
    return status, message, size, asker


def _split(
    varying: Sequence[Header], others: Collection[bytes]
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
