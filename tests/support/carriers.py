"""What carries the requests of a conversation: the application in memory, or sockets, where each
byte goes out as the client sent it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from tests.support.dav import Dav
from tests.support.http import Connection, split
from tests.support.reply import Reply, check_reply
from tests.support.server import Server

APART_S = 0.1
"""Between the two segments of a request that comes `apart`."""


@dataclass(frozen=True)
class Request:
    """One request, ready to be sent.

    Attributes:
        options: how it travels; each may be there or not:
            on NAME: over the connection of that name;
            chunks SIZE: the body in chunks of so many bytes;
            pieces SIZE: head and body in segments of so many bytes;
            apart: head and body in two segments, a moment between them;
            hold SIZE: so many bytes of the body, the others later, by
            rest: no request, but what was held back on that connection;
            drop SIZE: so many bytes of the body, then the connection breaks.
    """

    method: str
    target: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    options: Mapping[str, str] = field(default_factory=dict)

    @property
    def expects(self) -> bool:
        return ("expect", "100-continue") in [(n.lower(), v.lower()) for n, v in self.headers]

    @property
    def head(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1"]
        lines += [f"{name}: {value}" if value else f"{name}:" for name, value in self.headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    @property
    def framed(self) -> bytes:
        """The body as it goes over the wire."""
        if "chunks" not in self.options:
            return self.body
        chunks = split(self.body, int(self.options["chunks"]))
        return b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


class Carrier(Protocol):
    """Sends requests."""

    def send(self, request: Request) -> Reply | None:
        """Returns the checked answer, None where none is waited for."""


class AppCarrier:
    """The application in memory. It knows no framing."""

    def __init__(self, dav: Dav) -> None:
        self._dav = dav

    def send(self, request: Request) -> Reply | None:
        return self._dav.request(request.method, request.target, request.headers, request.body)


class WireCarrier:
    """Connections to the real server, by name; closed at the end of the context.

    Args:
        address: that a proxy says the client has; None: there is no proxy.

    Attributes:
        granted: path, token and header fields of who got it, of every lock.
    """

    def __init__(self, server: Server, address: str | None = None) -> None:
        self._forwarded = [] if address is None else [("X-Forwarded-For", address)]
        self.granted: list[tuple[str, str, list[tuple[str, str]]]] = []
        self._server = server
        self._connections: dict[str, Connection] = {}
        self._held: dict[str, tuple[Request, bytes]] = {}

    def __enter__(self) -> WireCarrier:
        return self

    def __exit__(self, *_: object) -> None:
        for connection in self._connections.values():
            connection.close()

    def send(self, request: Request) -> Reply | None:
        request = replace(request, headers=[*request.headers, *self._forwarded])
        name = request.options.get("on", "")
        connection = self._connections.get(name) or self._server.connect()
        self._connections[name] = connection
        if "rest" in request.options:
            request, remaining = self._held.pop(name)
            connection.send_raw(remaining)
            return self._receive(connection, request)
        connection.renew()
        for option in ("hold", "drop"):
            if option in request.options:
                size = int(request.options[option])
                connection.send_raw(request.head + request.framed[:size])
                if option == "drop":
                    connection.close()
                else:
                    self._held[name] = request, request.framed[size:]
                return None
        return self._exchange(connection, request)

    def _exchange(self, connection: Connection, request: Request) -> Reply:
        if request.expects:
            connection.send_raw(request.head)
            if connection.await_continue() != 100:
                return self._receive(connection, request)
            connection.send_raw(request.framed)
            reply = self._receive(connection, request)
            reply.interim = (100, *reply.interim)
            return reply
        # A server that has answered already may stop reading: its answer counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for number, segment in enumerate(self._segments(request)):
                if number and "apart" in request.options:
                    time.sleep(APART_S)
                connection.send_raw(segment)
        return self._receive(connection, request)

    @staticmethod
    def _segments(request: Request) -> Iterator[bytes]:
        if "apart" in request.options:
            yield request.head
            yield request.framed
        elif "pieces" in request.options:
            yield from split(request.head + request.framed, int(request.options["pieces"]))
        else:
            yield request.head + request.framed

    def _receive(self, connection: Connection, request: Request) -> Reply:
        reply = connection.read_reply(request.method)
        check_reply(request.method, reply)
        assert "date" in reply.headers, "OmniFocus and Finder compare clocks by it"
        if "lock-token" in reply.headers:
            token = reply.headers["lock-token"].strip("<>")
            self.granted.append((request.target, token, request.headers))
        return reply
