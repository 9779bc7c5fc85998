"""The application: create_app, its life, and how errors become answers."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from davserver.accesslog import AccessLog
from davserver.aio import ClientDisconnect, Runner
from davserver.asgi import Receive, Scope, Send
from davserver.asked import Asked
from davserver.auth.base import Authenticator, Authorizer, PathAuthorizer
from davserver.auth.signin import SignIn
from davserver.config import Settings, require_apart
from davserver.context import Header, RequestContext, Response, Services
from davserver.counting import keep_counted
from davserver.errors import DavError, InternalError, StateError, StorageError
from davserver.jobs import Bound, Jobs
from davserver.jsonlog import Access
from davserver.metrics.board import Meter
from davserver.opening import open_jobs, open_parts
from davserver.origin import raw_path
from davserver.pipeline import Pipeline, has_body
from davserver.protocol.headers import PARSED, DavHeaders
from davserver.protocol.path import DavPath
from davserver.quotas import Quotas
from davserver.refusing import as_dav_error, error_response
from davserver.registry import Registry, build_registry
from davserver.sending import Sent, send_response
from davserver.shortcut import Shortcut, build_shortcut, failure
from davserver.signing import build_authorizer, build_home_limit, build_sign_in
from davserver.state.base import State
from davserver.state.jobs import JobStore
from davserver.storage.base import Storage
from davserver.turnstile import hash_threads

logger = logging.getLogger(__name__)

# Of a UUID: what is random in it, and what says that it is (RFC 9562 section 5.4).
_RANDOM_BITS = ~(0xF << 76 | 0x3 << 62)
_RANDOM_KIND = 0x4 << 76 | 0x2 << 62


def create_app(
    settings: Settings | None = None,
    *,
    storage: Storage | None = None,
    state: State | str | os.PathLike[str] | None = None,
    authenticator: Authenticator | None = None,
    authorizer: Authorizer | None = None,
    clock: Callable[[], float] = time.time,
    new_token: Callable[[], str] | None = None,
    meter: Meter | None = None,
    with_accounts: Collection[Path] = (),
    **keys: Any,
) -> DavApp:
    """Returns the WebDAV server as an ASGI application.

    Args:
        settings: as read by `davserver.config`; or give its keys: `create_app(root="/srv")`.
        storage, state, authenticator, authorizer: parts to use instead of those that the
            settings name; `state` may also be the path of the state folder.
        clock: seconds since the epoch.
        new_token: a fresh URI for each lock (RFC 4918 section 6.5).
        meter: where requests are counted; our own server's, for its metrics.
        with_accounts: files that are known to have held accounts: their loss opens nothing.

    Nothing is opened before the first request, or the lifespan's start: after a fork. Raises
    SettingsError when the state folder and the served one lie within each other.
    """
    store = None
    if isinstance(state, str | os.PathLike):
        keys["state"] = Path(state)
    else:
        store = state
    chosen = Settings(**keys) if settings is None else settings
    if store is None and storage is None:
        require_apart(chosen)
    registry = build_registry()
    in_memory = JobStore(None)
    sign_in: SignIn | None = None

    def open_services(settings: Settings) -> Services:
        nonlocal sign_in
        # First, for it can fail and opens nothing yet.
        if authenticator is None:
            known = {*with_accounts, *(sign_in.accounts.known if sign_in else ())}
            sign_in = build_sign_in(settings, clock=clock, known=known)
        asked = authenticator or sign_in
        assert asked is not None
        opened, disk = open_parts(settings, store, storage)
        rights = authorizer or build_authorizer(settings, asked, disk)
        return Services(
            settings=settings,
            storage=disk,
            state=opened,
            authenticator=asked,
            authorizer=rights,
            live=registry.live,
            allow=registry.allow,
            dav=registry.dav,
            clock=clock,
            new_token=new_token or _new_token,
            runner=Runner(
                inline=disk.inline and opened.inline, hash_threads=hash_threads(settings.workers)
            ),
            quotas=Quotas(settings.share, build_home_limit(settings, asked)),
            jobs=open_jobs(settings, opened) or in_memory,
            path_rights=by_path(rights),
        )

    return DavApp(open_services, chosen, registry, meter)


def open_log(settings: Settings) -> AccessLog | None:
    """Opens the access log on standard output; None where it is off."""
    if not settings.access_log:
        return None
    return AccessLog(sys.stdout.buffer, form=settings.log_format)


def by_path(rights: Authorizer) -> PathAuthorizer | None:
    """Returns the authorizer where what one may do differs from path to path."""
    return rights if isinstance(rights, PathAuthorizer) and not rights.is_uniform else None


def _new_token() -> str:
    """As `uuid.uuid4().urn`, in a quarter of its time."""
    number = int.from_bytes(os.urandom(16), "big") & _RANDOM_BITS | _RANDOM_KIND
    text = f"{number:032x}"
    return f"urn:uuid:{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


@dataclass(slots=True, eq=False)
class _Opened:
    """Services, and the requests that work with them."""

    services: Services
    pipeline: Pipeline
    shortcut: Shortcut | None
    background: Bound | None = None
    requests: int = 0
    is_given_up: bool = False
    is_serving: bool = False


class DavApp:
    """The WebDAV server as a bare ASGI application, to run or to mount below any prefix."""

    def __init__(
        self,
        open_services: Callable[[Settings], Services],
        settings: Settings,
        registry: Registry,
        meter: Meter | None = None,
    ) -> None:
        self._open = open_services
        self._settings = settings
        self._registry = registry
        self._log = open_log(settings)
        self._opened: _Opened | None = None
        self._meter = meter
        self.jobs = Jobs()

    @property
    def services(self) -> Services:
        """Opened at the first use: after a fork, in the process that serves."""
        return self._current().services

    def _current(self) -> _Opened:
        if self._opened is None:
            self._opened = self._open_for(self._open(self._settings))
        return self._opened

    def _open_for(self, services: Services) -> _Opened:
        pipeline = Pipeline(services, self._registry)
        opened = _Opened(services, pipeline, build_shortcut(services, pipeline.homes))
        opened.background = Bound(self.jobs, partial(self._used, opened))
        return opened

    @contextmanager
    def _used(self, opened: _Opened) -> Iterator[None]:
        """Keeps services open, also when others are in force by now."""
        opened.requests += 1
        try:
            yield
        finally:
            self._leave(opened)

    def _leave(self, opened: _Opened) -> None:
        opened.requests -= 1
        if opened is not self._opened and not opened.requests:
            self._give_up(opened)

    def _serving(self) -> _Opened:
        """As _current, and what goes on beside the requests has begun."""
        opened = self._current()
        if not opened.is_serving:
            opened.is_serving = True
            keep_counted(opened.services)
        return opened

    def reload(self, settings: Settings) -> None:
        """Puts settings in force for the requests to come; those that run keep what they have.

        Raises SettingsError, StateError, StorageError: then nothing has changed.
        """
        services = self._open(settings)
        before = self._opened
        self._opened = self._open_for(services)
        self._flush()
        self._log = open_log(settings)
        self._settings = settings
        if before is not None and not before.requests:
            self._give_up(before)

    def close(self) -> None:
        """Gives up the state and the storage; a later request opens them again."""
        before, self._opened = self._opened, None
        self.jobs.stop()
        if before is not None:
            self._give_up(before)
        self._flush()

    def _give_up(self, before: _Opened) -> None:
        """Closes services, but for the parts that are in use again."""
        if before.is_given_up:
            return
        before.is_given_up = True
        services = before.services
        now = None if self._opened is None else self._opened.services
        services.runner.close()
        services.authenticator.close()
        services.jobs.close()
        if now is None or now.state is not services.state:
            services.state.close()
        if now is None or now.storage is not services.storage:
            services.storage.close()

    def _flush(self) -> None:
        if self._log is not None:
            self._log.flush()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    self._serving()
                except (StateError, StorageError) as error:
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.jobs.end()
                self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def at_once(self, asked: Asked) -> bytes | bytearray | None:
        """Answers a request that asks for nothing special, with its log line; None for any other:
        it is to be asked in the usual way."""
        opened = self._opened
        if opened is None or opened.shortcut is None or not opened.is_serving:
            return None
        begun = time.perf_counter()
        try:
            quick = opened.shortcut.answer(asked)
        except Exception:
            # Nothing is tried again: it may have been done.
            logger.exception("%s failed", asked.method.decode("ascii"))
            quick = failure(asked.lines)
        if quick is None:
            return None
        status, message, sent, principal = quick
        name = asked.method.decode("ascii")
        seconds = time.perf_counter() - begun
        if self._log is not None:
            client = asked.peer["client"]
            address = client[0] if client else "-"
            told = name, asked.target, status, sent, seconds, principal.name, address
            id = dict(asked.varying).get(b"x-request-id") if asked.varying else None
            self._log.line(Access(*told, None, id, asked.fields.get(b"user-agent")))
        if self._meter is not None:
            if asked.body:
                self._meter.received(len(asked.body))
            self._meter.request(name, status, sent, seconds)
        return message

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        opened = self._serving()
        opened.requests += 1
        try:
            await self._answer(opened, scope, receive, send)
        finally:
            self._leave(opened)

    async def _answer(self, opened: _Opened, scope: Scope, receive: Receive, send: Send) -> None:
        begun = time.perf_counter()
        headers = scope.get(PARSED) or DavHeaders(scope["headers"])
        rc = RequestContext(
            services=opened.services,
            scope=scope,
            receive=receive,
            method=scope["method"],
            path=DavPath(()),
            headers=headers,
            now=opened.services.clock(),
            background=opened.background,
        )
        status = 500
        sent = Sent()
        try:
            try:
                response = await opened.pipeline.answer(rc)
            except DavError as error:
                if self._meter is not None and error.delay_s:
                    # What is held back are guesses (auth/throttle.py).
                    self._meter.sign_in_failed()
                response = error_response(rc, error)
            except (StorageError, StateError) as error:
                response = error_response(rc, as_dav_error(rc, error))
            except ClientDisconnect:
                status = 499
                return
            except Exception:
                logger.exception("%s failed", rc.method)
                response = error_response(rc, InternalError("internal error"))
            status = response.status
            await send_response(
                scope,
                receive,
                send,
                response,
                extra=(*_closing(rc, response), *opened.pipeline.cors_fields(rc)),
                runner=rc.services.runner,
                sent=sent,
            )
        finally:
            seconds = time.perf_counter() - begun
            if self._log is not None:
                self._write_log(rc, status, sent.count, seconds)
            if self._meter is not None:
                self._meter.request(rc.method, status, sent.count, seconds)

    def _write_log(self, rc: RequestContext, status: int, sent: int, seconds: float) -> None:
        assert self._log is not None
        client = rc.scope.get("client")
        self._log.line(
            Access(
                rc.method,
                raw_path(rc.scope),
                status,
                sent,
                seconds,
                rc.principal.name,
                client[0] if client else "-",
                rc.headers.get(b"x-litmus"),
                rc.headers.get(b"x-request-id"),
                rc.headers.get(b"user-agent"),
            )
        )


def _closing(rc: RequestContext, response: Response) -> tuple[Header, ...]:
    """A client that waits for 100 Continue and gets a final answer may still send its body, or
    not: nobody can tell where its next request begins (RFC 9112 section 9.6)."""
    if rc.asked_for_body or rc.headers.get(b"expect") is None or not has_body(rc):
        return ()
    if any(name == b"connection" for name, _ in response.headers):
        return ()
    return ((b"connection", b"close"),)
