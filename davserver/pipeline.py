"""The pipeline: every check that a request passes, in order, the same for every method.

Path 400 or 414, method 501, sign-in 401, header fields 400, Destination 400 or 502, rights 403,
look-up, kind 405, body 415 or 413, XML 400, existence 404 or 409, If 412, locks 423, conditions
304 or 412, Overwrite 412, space 507, act. Up to the rights nothing touches the disk; from the
look-up on it is one synchronous call.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from davserver.admission import admit
from davserver.aio import SMALL_BODY, read_body
from davserver.arrived import again, take_arrived
from davserver.auth.base import Privilege
from davserver.context import RequestContext, Response, Services, Target
from davserver.digests import with_digests
from davserver.documents import check_framing, media_type, parse_document, read_document
from davserver.errors import (
    BadRequest,
    DavError,
    GateBusy,
    MethodNotAllowed,
    NotFound,
    NotImplementedMethod,
    StateError,
    StorageError,
)
from davserver.faces import with_face
from davserver.fields import public_authorities, read_fields
from davserver.homes import Homes
from davserver.jobs import is_wanted
from davserver.methods._checks import check, check_kind, locate
from davserver.methods._rights import authorize, check_rights
from davserver.methods.base import BodyPolicy, Method, SyncHandler, TakesLong
from davserver.methods.get import not_modified
from davserver.origin import raw_path, split_path
from davserver.protocol.accept import JSON
from davserver.protocol.cors import Cors, Fields
from davserver.protocol.headers import PARSED, parse_content_length
from davserver.protocol.jsonbody import propfind_xml
from davserver.protocol.path import DavPath
from davserver.protocol.preconditions import Outcome
from davserver.protocol.principals import principal_name
from davserver.recovery import recover
from davserver.registry import Registry
from davserver.representing import wants_representation, with_representation
from davserver.storage.direct import DirectStorage
from davserver.web.principals import principal
from davserver.web.synthetic import ancestor

logger = logging.getLogger(__name__)
T = TypeVar("T")

_HTTP = frozenset({"GET", "HEAD", "POST", "PATCH"})
"""Methods that a route refuses as such; those of WebDAV do not see it."""


class Pipeline:
    """Turns a request into a response. Raises DavError, StorageError, StateError,
    ClientDisconnect.

    Attributes:
        homes: whose are there; one that may not be is looked after here alone.
    """

    def __init__(self, services: Services, registry: Registry) -> None:
        self._services = services
        self._registry = registry
        self._public = public_authorities(services.settings)
        self._prefix = split_path(services.settings.prefix)
        self._cors = Cors.from_origins(services.settings.cors_origins)
        shares = services.settings.share
        self.homes = Homes(frozenset(share.name for share in shares if share.homes))
        self._methods = ", ".join(sorted(registry.methods)).encode()
        self._direct: DirectStorage | None = None
        storage, is_uniform = services.storage, services.path_rights is None
        if is_uniform and not storage.durable and isinstance(storage, DirectStorage):
            self._direct = storage

    def cors_fields(self, rc: RequestContext) -> Fields:
        """Returns the header fields for other origins that every answer carries."""
        return () if self._cors is None else self._cors.fields(rc.headers)

    async def answer(self, rc: RequestContext) -> Response:
        special = self._resolve_path(rc)
        if rc.method == "OPTIONS" and self._cors is not None:
            allowed = self._cors.preflight(rc.headers, self._methods)
            if allowed is not None:
                return self._preflight(rc, allowed)
        if special is not None:
            return with_face(rc, await special())
        method = self._registry.methods.get(rc.method)
        if method is None or not _is_possible(rc, method):
            raise NotImplementedMethod(
                f"{rc.method!r} is no method of this server", headers=((b"allow", self._methods),)
            )
        await admit(rc, method.privilege)
        rc.headers.recall(check_framing)
        read_fields(rc, method, self._public)
        authorize(rc, method)
        if rc.services.state.has_changes():
            await self._recover(rc.services)
        missing = self.homes.missing(rc.principal.name, rc.path, rc.destination)
        if missing:
            await rc.services.runner.hop(partial(self.homes.make, rc, missing))
        complete = partial(self._complete, method)
        if method.unbounded and is_wanted(rc) and not has_body(rc):
            # What can be refused is refused now, and looked at again when it is done.
            await self._run(rc, method, lambda: _prepare(rc, method))
            assert rc.background is not None
            return await rc.background.run(rc, complete)
        return await complete(rc)

    async def _complete(self, method: Method, rc: RequestContext) -> Response:
        if wants_representation(rc):
            return await with_representation(rc, partial(self._finish, method), self._get)
        return await self._finish(method, rc)

    async def _get(self, rc: RequestContext) -> Response:
        """Answers a GET for a client that sent something else."""
        method = self._registry.methods["GET"]
        authorize(rc, method)
        return await self._run(rc, method, lambda: _execute(rc, method))

    async def _finish(self, method: Method, rc: RequestContext) -> Response:
        response = with_face(rc, await self._dispatch(rc, method))
        return await with_digests(rc, _with_location(rc, response))

    def _preflight(self, rc: RequestContext, allowed: Fields) -> Response:
        """A browser asks without credentials: nothing is looked up, nothing told but what the
        server can do."""
        services = rc.services
        dav = services.classes(can_write=services.storage.is_writable(rc.path))
        usual = ((b"dav", dav), (b"allow", self._methods), (b"ms-author-via", b"DAV"))
        return Response(200, (*usual, *allowed))

    async def _recover(self, services: Services) -> None:
        wait_s = services.settings.gate_wait_s
        try:
            await services.runner.hop(partial(recover, services, wait_s=wait_s))
        except StateError as error:
            # Who only reads is served all the same; a change tries again inside the gate.
            logger.warning("nothing can be recovered now: %s", error)

    def _resolve_path(self, rc: RequestContext) -> Callable[[], Awaitable[Response]] | None:
        """Sets path and prefix. Returns the answer to a URL that is no resource of ours."""
        raw = raw_path(rc.scope)
        root_path = rc.scope.get("root_path")
        prefix = split_path(root_path) + self._prefix if root_path else self._prefix
        rc.prefix = prefix
        rc.base = DavPath(prefix).href(collection=False) if prefix else b""
        if raw == b"*":
            if rc.method != "OPTIONS":
                raise BadRequest("only OPTIONS has the target *")
            return None
        path = DavPath.from_raw(raw)
        below = path.below(prefix)
        if below is None:
            if path.covers(DavPath(prefix)):
                return partial(self._synthetic, rc, partial(ancestor, rc, path))
            raise NotFound("this server is mounted elsewhere")
        rc.path = below
        if below.is_reserved:
            if principal_name(below.segments) is not None:
                return partial(self._synthetic, rc, partial(principal, rc))
            if below.segments[0] == ".davserver":
                return partial(self._service, rc)
            raise NotFound("a reserved name")
        return None

    async def _service(self, rc: RequestContext) -> Response:
        """Runs the route of this path; what is none of its methods is as if nothing were there."""
        name, *rest = (*rc.path.segments[1:], "")
        route = self._registry.routes.get(name)
        if route is None or (not rest[:-1] and rc.path.slash and not route.is_tree):
            raise NotFound("a reserved name")
        handler = route.methods.get("GET" if rc.method == "HEAD" else rc.method)
        if handler is None:
            if rc.method in _HTTP:
                raise MethodNotAllowed(
                    f"{rc.method} is not for {name}", headers=((b"allow", route.allow),)
                )
            raise NotFound("a reserved name")
        if route.privilege is not None:
            await admit(rc, route.privilege)
        rc.headers.recall(check_framing)
        return await handler(rc, tuple(rest[:-1]), self.answer)

    async def _synthetic(
        self, rc: RequestContext, answer: Callable[[bytes], Awaitable[Response]]
    ) -> Response:
        """Asks who it is and reads the body, for what is answered without a look at the disk."""
        await admit(rc)
        rc.headers.recall(check_framing)
        body = b""
        if has_body(rc):
            rc.asked_for_body = True
            limit = self._services.settings.xml_body_limit
            with self._services.runner.bodies.lease() as take:
                body = await read_body(rc.receive, limit, take)
            if rc.method == "PROPFIND" and media_type(rc) == JSON:
                body = propfind_xml(body)
        return await answer(body)

    async def _dispatch(self, rc: RequestContext, method: Method) -> Response:
        if method.body is not BodyPolicy.STREAM and has_body(rc):
            await self._read_document(rc, method)
        else:
            await parse_document(rc, method)
        if method.stream is None:
            return await self._handle(rc, method)
        body = self._take_small_body(rc, method)
        response = None if body is None else self._at_once(rc, method, body)
        if response is not None:
            return response
        found = await self._run(rc, method, lambda: _begin(rc, method, body))
        if isinstance(found, Response):
            return found
        return await method.stream(rc, found)

    def _take_small_body(self, rc: RequestContext, method: Method) -> bytes | None:
        """Returns the whole body where it is small and here already, None otherwise."""
        if method.whole is None or not self._may_be_whole(rc):
            return None
        message = take_arrived(rc.receive)
        if message is None:
            return None
        rc.receive = again(message, rc.receive)
        body: bytes = message.get("body", b"")
        is_whole = message["type"] == "http.request" and not message.get("more_body")
        if not is_whole or len(body) != parse_content_length(rc.headers):
            return None
        rc.asked_for_body = True
        return body

    def _at_once(self, rc: RequestContext, method: Method, body: bytes) -> Response | None:
        """Makes the checks in the gate alone, where no disk is waited for. None leaves everything
        to the usual way, which tells what is wrong, too."""
        services = rc.services
        if method.whole is None or self._direct is None or not services.runner.inline:
            return None
        rc.wait_s = 0.0
        try:
            return services.runner.call(method.whole, rc, self._direct, body)
        except (DavError, StateError, StorageError):
            return None

    async def _handle(self, rc: RequestContext, method: Method) -> Response:
        handle, services = method.handle, rc.services
        assert handle is not None
        is_ours = services is self._services and not rc.progress.is_watched
        brief = None
        if method.brief is not None and is_ours and not services.storage.durable:
            brief = method.brief(rc)
        found = None if brief is None else self._briefly(rc, method, brief)
        if isinstance(found, Response):
            return found
        if found is None:
            return await self._run(rc, method, lambda: _execute(rc, method))
        return await self._run(rc, method, lambda: handle(rc, found))

    def _briefly(
        self, rc: RequestContext, method: Method, brief: SyncHandler
    ) -> Response | Target | None:
        """Does at once what takes little time. Returns the Target where it may take long, or
        the gate is held; None where not even that can be looked up here."""
        runner = rc.services.runner
        if not runner.inline:
            return None
        rc.wait_s = 0.0
        found = runner.call(_prepare, rc, method)
        if isinstance(found, Response):
            return found
        try:
            return runner.call(brief, rc, found)
        except (GateBusy, TakesLong):
            return found

    def _may_be_whole(self, rc: RequestContext) -> bool:
        """True for a small body that our own server gives us, and nobody waits to send."""
        length = parse_content_length(rc.headers)
        if length is None or length > SMALL_BODY or rc.headers.get(b"expect") is not None:
            return False
        return rc.services is self._services and PARSED in rc.scope

    async def _read_document(self, rc: RequestContext, method: Method) -> None:
        """The rights and the kind of the resource come before what is wrong with the body: looked
        up only where there is something wrong, or before the client is told to send it."""

        async def check() -> None:
            await self._run(rc, method, lambda: _check_before_body(rc, method))

        waits = rc.headers.get(b"expect") is not None
        if waits:
            await check()
        try:
            with rc.services.runner.bodies.lease() as take:
                await read_document(rc, method, take)
                await parse_document(rc, method)
        except DavError:
            if not waits:
                await check()
            raise

    async def _run(self, rc: RequestContext, method: Method, function: Callable[[], T]) -> T:
        """Runs inline what is bounded; else, or when the gate is held, in one hop."""
        services = rc.services
        waits = services.storage.durable and method.privilege is Privilege.WRITE
        if services.runner.inline and not method.unbounded and not waits:
            rc.wait_s = 0.0
            try:
                return services.runner.call(function)
            except GateBusy:
                logger.debug("the gate is held: %s goes to a thread", rc.method)
        rc.wait_s = services.settings.gate_wait_s

        def stop() -> None:
            # The server stops and its grace time is over: the thread ends between two members.
            rc.progress.cancelled = True

        return await services.runner.hop(function, tree=method.unbounded, on_cancel=stop)


def _is_possible(rc: RequestContext, method: Method) -> bool:
    return method.needs is None or method.needs in rc.services.storage.capabilities


def _check_before_body(rc: RequestContext, method: Method) -> None:
    target = locate(rc)
    check_rights(rc, method, target)
    check_kind(rc, method, target)


def _execute(rc: RequestContext, method: Method) -> Response:
    assert method.handle is not None
    found = _prepare(rc, method)
    return found if isinstance(found, Response) else method.handle(rc, found)


def _begin(rc: RequestContext, method: Method, body: bytes | None) -> Target | Response:
    """Makes the checks; where the disk is waited for and the body is here, all the rest as well:
    one thread does both."""
    found = _prepare(rc, method)
    if body is None or method.store is None or not rc.services.storage.durable:
        return found
    return found if isinstance(found, Response) else method.store(rc, found, body) or found


def _prepare(rc: RequestContext, method: Method) -> Target | Response:
    target = locate(rc)
    rc.is_collection = None if target.stat is None else target.is_collection
    check_rights(rc, method, target)
    check_kind(rc, method, target)
    if check(rc, method, target, rc.services.state) is Outcome.NOT_MODIFIED:
        return not_modified(rc, target)
    return target


def _with_location(rc: RequestContext, response: Response) -> Response:
    """Adds Content-Location where a collection was addressed without its slash (RFC 4918
    section 5.2), or a file with one."""
    path = rc.path
    if (
        rc.is_collection in (None, path.slash)
        or path.is_root
        or rc.method in ("DELETE", "MOVE", "UNLOCK")
    ):
        return response
    if not 200 <= response.status < 400:
        return response
    href = (b"content-location", rc.href(path, collection=bool(rc.is_collection)))
    return replace(response, headers=(*response.headers, href))


def has_body(rc: RequestContext) -> bool:
    # RFC 9110 section 8.6: 1*DIGIT, so that 00 is nothing as well.
    length = (rc.headers.get(b"content-length") or b"").strip(b"0")
    return length != b"" or rc.headers.get(b"transfer-encoding") is not None
