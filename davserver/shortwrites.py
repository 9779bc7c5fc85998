"""The straight way for what changes a resource: PUT of a small body, LOCK, UNLOCK, PROPPATCH,
MKCOL, and MOVE and DELETE where they take little time.

Where publishing waits for no disk, half of such a request went into checks that are made again in
the gate. Here the body has come with the head, and the checks in the gate are the only ones. What
they refuse, and whatever else goes wrong before something was done, is left to the pipeline.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from davserver.aio import SMALL_BODY
from davserver.asgi import Message, Scope
from davserver.auth.base import Principal
from davserver.context import Header, RequestContext, Response, Services, Target
from davserver.fields import IDLE, public_authorities, read_conditions, read_fields
from davserver.methods._rights import authorize
from davserver.methods.base import Method
from davserver.methods.delete import DELETE
from davserver.methods.lock import LOCK
from davserver.methods.mkcol import MKCOL
from davserver.methods.move import MOVE
from davserver.methods.proppatch import PROPPATCH
from davserver.methods.put import PUT, put_direct
from davserver.methods.unlock import UNLOCK
from davserver.protocol.accept import prefers_json
from davserver.protocol.headers import DavHeaders
from davserver.protocol.path import DavPath, Key
from davserver.storage.direct import DirectStorage

XML_TYPE = re.compile(
    rb'(?:application|text)/xml(?:; ?charset="?([A-Za-z0-9._:-]{1,40})"?)?', re.IGNORECASE
)
"""A media type of which nothing but the charset is to be asked."""

_CONDITIONS = frozenset({b"if-match", b"if-none-match", b"if-unmodified-since"})
_OF_BODY = frozenset({b"accept", b"content-length", b"content-type"})
_PLAIN = {
    PUT.name: IDLE | _CONDITIONS | _OF_BODY,
    LOCK.name: IDLE | _CONDITIONS | _OF_BODY | {b"depth", b"timeout"},
    UNLOCK.name: IDLE | _CONDITIONS | {b"accept", b"content-length"},
    PROPPATCH.name: IDLE | _CONDITIONS | _OF_BODY,
    MKCOL.name: IDLE | _CONDITIONS | {b"accept", b"content-length"},
    MOVE.name: IDLE | _CONDITIONS | {b"accept", b"content-length", b"depth", b"overwrite"},
    DELETE.name: IDLE | _CONDITIONS | {b"accept", b"content-length", b"depth"},
}
_BODILESS = frozenset({UNLOCK.name, MKCOL.name, MOVE.name, DELETE.name})
_CHANGING = frozenset({b"if", b"lock-token", b"destination"})


@dataclass(frozen=True, slots=True)
class _Way:
    """A method, and what says that the fields of a request have nothing special."""

    method: Method
    is_plain: Callable[[DavHeaders], bool]


async def _receive() -> Message:
    """Nobody asks: the body is here."""
    return {"type": "http.disconnect"}


class Writes:
    """Answers for one set of Services. For the event loop's thread alone.

    Args:
        prefix: of the settings, decoded.
        base: the same, quoted.
    """

    def __init__(
        self, services: Services, storage: DirectStorage, prefix: tuple[str, ...], base: bytes
    ) -> None:
        self._services = services
        self._storage = storage
        self._prefix = prefix
        self._base = base
        self._public = public_authorities(services.settings)
        self._body_limit = min(SMALL_BODY, services.settings.xml_body_limit)
        if services.settings.put_limit is not None:
            self._body_limit = min(self._body_limit, services.settings.put_limit)
        # Where rights differ from path to path, what changes looks at those around it as well.
        is_for_all = not services.storage.durable and services.path_rights is None
        self._ways = {
            method.name.encode(): _Way(method, _plainness(method))
            for method in (PUT, LOCK, UNLOCK, PROPPATCH, MKCOL, MOVE, DELETE)
            if is_for_all
        }

    def find(self, method: bytes, fields: DavHeaders, body: bytes) -> Method | None:
        """Returns the method of a request that asks for nothing special, None for any other."""
        way = self._ways.get(method)
        if way is None or len(body) > self._body_limit:
            return None
        if body and way.method.name in _BODILESS:
            return None
        return way.method if fields.recall(way.is_plain) else None

    def answer(
        self,
        method: Method,
        path: DavPath,
        key: Key,
        fields: DavHeaders,
        varying: Sequence[Header],
        body: bytes,
        peer: Scope,
        asker: Principal,
    ) -> Response | None:
        """Does what is asked for; None leaves it to the pipeline, with nothing done. Raises
        DavError, StorageError, StateError, TakesLong, just so.

        Args:
            method: as `find` has returned it.
            key: what `DirectStorage.direct_key` says of the path.
            asker: is let in, and may write here.
        """
        services = self._services
        if not services.storage.is_writable(path):
            return None
        changing = [field for field in varying if field[0] in _CHANGING]
        rc = RequestContext(
            services=services,
            scope=peer,
            receive=_receive,
            method=method.name,
            path=path,
            headers=fields.with_fields(changing) if changing else fields,
            now=services.clock(),
            base=self._base,
            prefix=self._prefix,
            principal=asker,
            expected=key,
            direct=self._storage,
        )
        if method is PUT:
            # The fields that `validate` looks at are none of those that are plain.
            read_conditions(rc, self._public)
            return put_direct(rc, self._storage, key, body)
        read_fields(rc, method, self._public)
        if method.parse is not None:
            rc.body = body
            rc.document = method.parse(rc)
        handle = method.handle if method.brief is None else method.brief(rc)
        if handle is None:
            return None
        target = Target(path, key, None)
        if rc.destination is not None:
            authorize(rc, method)
            goal = self._storage.direct_key(rc.destination)
            target = Target(path, key, None, rc.destination, goal)
        # Every handler looks the target up in the gate, and makes the checks there.
        return handle(rc, target)


def _plainness(method: Method) -> Callable[[DavHeaders], bool]:
    allowed = _PLAIN[method.name]

    def is_plain(fields: DavHeaders) -> bool:
        names = [name for name, _ in fields.items]
        if len(set(names)) != len(names) or not allowed.issuperset(names):
            return False
        if fields.recall(prefers_json):
            return False
        kind = fields.get(b"content-type")
        return method.parse is None or kind is None or XML_TYPE.fullmatch(kind) is not None

    return is_plain
