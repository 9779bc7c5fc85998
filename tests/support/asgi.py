"""An ASGI server in memory: drives an application with one request and collects its answer.

The request's body goes in piece by piece, may stop half way as when a client leaves, and the
answer's messages are kept as they came.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.support.dav import Content, Dav, header_items
from tests.support.otherface import asks_for_json, told_in_xml
from tests.support.reply import JSON, HeaderInput, Headers, Reply, check_reply

Message = dict[str, Any]
Application = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass
class Exchange:
    """What happened in one request.

    Attributes:
        messages: those that the application sent.
        received: body messages that the application asked for.
    """

    messages: list[Message] = field(default_factory=list)
    received: int = 0

    @property
    def reply(self) -> Reply:
        start = self.messages[0]
        assert start["type"] == "http.response.start", self.messages
        assert not self.messages[-1].get("more_body"), "the answer was never finished"
        body = b"".join(bytes(message.get("body", b"")) for message in self.messages[1:])
        headers = Headers((n.decode("latin-1"), v.decode("latin-1")) for n, v in start["headers"])
        reason = http.HTTPStatus(start["status"]).phrase
        return Reply(start["status"], reason, headers, body)


async def drive(
    app: Application,
    scope: Message,
    pieces: Iterable[bytes],
    *,
    leaves: bool = False,
    before: Callable[[int], Awaitable[None]] | None = None,
) -> Exchange:
    """Runs `app` once.

    Args:
        leaves: the client is gone after the pieces: `http.disconnect` instead of the end.
        before: awaited before the nth message of the body is handed over (0 is the first).
    """
    exchange = Exchange()
    queue = list(pieces) or [b""]
    finished = asyncio.Event()

    async def receive() -> Message:
        number = exchange.received
        exchange.received += 1
        if before is not None:
            await before(number)
        if number < len(queue):
            more = leaves or number + 1 < len(queue)
            return {"type": "http.request", "body": queue[number], "more_body": more}
        if not leaves:
            await finished.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        exchange.messages.append(message)
        if message["type"] == "http.response.body" and not message.get("more_body"):
            finished.set()

    await app(scope, receive, send)
    return exchange


class AsgiDav(Dav):
    """A WebDAV client of an application in memory. It has its own event loop, for `request` and
    its kin; tests that need two requests at once await `send` under `run`."""

    def __init__(
        self,
        app: Application,
        *,
        root_path: str = "",
        scheme: str = "http",
        authority: str = "127.0.0.1:8080",
        client: tuple[str, int] | None = ("127.0.0.1", 50000),
        headers: HeaderInput = None,
    ) -> None:
        self.app = app
        self.root_path = root_path
        self.scheme = scheme
        self.authority = authority
        self.client = client
        self.last = Exchange()
        self._always = header_items(headers)
        self._runner = asyncio.Runner()

    def close(self) -> None:
        closing = getattr(self.app, "close", None)
        if closing is not None:
            closing()
        self._runner.close()

    def run(self, work: Awaitable[Any]) -> Any:
        """Runs a coroutine on this client's loop."""

        async def wait() -> Any:
            return await work

        return self._runner.run(wait())

    def scope(self, method: str, target: str, headers: HeaderInput = None) -> Message:
        """Returns the scope that a server makes of a request line and header fields."""
        path, _, query = target.partition("?")
        fields = [*self._always, *header_items(headers)]
        if not any(name.lower() == "host" for name, _ in fields):
            fields.insert(0, ("Host", self.authority))
        raw = path.encode("latin-1")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": self.scheme,
            "path": _unquote(raw).decode("utf-8", "replace"),
            "raw_path": raw,
            "query_string": query.encode("latin-1"),
            "root_path": self.root_path,
            "headers": [(n.lower().encode("latin-1"), v.encode("latin-1")) for n, v in fields],
            "client": self.client,
            # Who comes by a Unix socket has no address, and the server no port.
            "server": ("127.0.0.1", 8080) if self.client else ("/run/dav.sock", None),
            "state": {},
        }

    async def send(
        self,
        method: str,
        target: str,
        headers: HeaderInput = None,
        body: Content = b"",
        *,
        leaves: bool = False,
        before: Callable[[int], Awaitable[None]] | None = None,
    ) -> Exchange:
        """Sends one request; see `drive` for the options."""
        fields = header_items(headers)
        names = {name.lower() for name, _ in fields}
        if not isinstance(body, bytes):
            fields.append(("Transfer-Encoding", "chunked"))
        elif (body or method in ("PUT", "POST")) and "content-length" not in names:
            fields.append(("Content-Length", str(len(body))))
        pieces = [body] if isinstance(body, bytes) else body
        scope = self.scope(method, target, fields)
        self.last = await drive(self.app, scope, pieces, leaves=leaves, before=before)
        return self.last

    async def request_async(
        self, method: str, target: str, headers: HeaderInput = None, body: Content = b""
    ) -> Reply:
        reply = (await self.send(method, target, headers, body)).reply
        check_reply(method, reply)
        return reply

    def exchange(
        self, method: str, target: str, headers: list[tuple[str, str]], body: Content
    ) -> Reply:
        if not asks_for_json(method, headers):
            return self._runner.run(self.send(method, target, headers, body)).reply
        fields = [*headers, ("Accept", JSON)]
        return told_in_xml(method, self._runner.run(self.send(method, target, fields, body)).reply)


def _unquote(raw: bytes) -> bytes:
    first, *rest = raw.split(b"%")
    result = [first]
    for piece in rest:
        try:
            result.append(bytes([int(piece[:2], 16)]) + piece[2:])
        except ValueError:
            result.append(b"%" + piece)
    return b"".join(result)
