"""A raw HTTP/1.1 client on one socket: it sends exactly what a test says, well formed or not."""

from __future__ import annotations

import contextlib
import socket
import ssl
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from tests.support.dav import Content, Dav, header_items
from tests.support.reply import HeaderInput, Headers, Reply


class ConnectionEnded(Exception):
    """The server closed, or reset, before an answer was complete."""


class Connection(Dav):
    """One persistent connection, over TLS with `trust`. Every wait is bounded by `timeout_s`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        timeout_s: float = 15,
        headers: HeaderInput = None,
        prefix: str = "",
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.authority = f"{host}:{port}"
        self.prefix = prefix
        self._timeout_s = timeout_s
        self._trust = trust
        self._always = header_items(headers)
        self._buffer = b""
        self._socket: socket.socket | None = None
        self._method = "GET"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._buffer = b""

    @property
    def socket(self) -> socket.socket:
        """Connected at first use."""
        if self._socket is None:
            opened = socket.create_connection((self.host, self.port), self._timeout_s)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._trust is not None:
                opened = self._trust.wrap_socket(opened, server_hostname=self.host)
            self._socket = opened
        return self._socket

    # -- sending ---------------------------------------------------------------------------

    def send_raw(self, *pieces: bytes) -> None:
        """Sends each piece in a segment of its own."""
        for piece in pieces:
            self.socket.sendall(piece)

    def send_head(self, method: str, target: str, headers: HeaderInput = None) -> None:
        """Sends request line and header fields; Host unless the test gives its own."""
        self._method = method
        fields = [*self._always, *header_items(headers)]
        if not any(name.lower() == "host" for name, _ in fields):
            fields.insert(0, ("Host", self.authority))
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields)]
        self.send_raw("\r\n".join([*lines, "", ""]).encode("latin-1"))

    def send_chunk(self, data: bytes) -> None:
        self.send_raw(b"%x\r\n%b\r\n" % (len(data), data))

    def end_chunks(self) -> None:
        self.send_raw(b"0\r\n\r\n")

    def half_close(self) -> None:
        """Says that nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    # -- receiving -------------------------------------------------------------------------

    def read_reply(self, method: str | None = None) -> Reply:
        """Returns the final answer; 1xx before it are noted."""
        interim: list[int] = []
        while True:
            status, reason, headers = self._read_head()
            if status >= 200 or status == 101:
                break
            interim.append(status)
        body, framing = self._read_body(method or self._method, status, headers)
        reply = Reply(status, reason, headers, body, tuple(interim), framing)
        if framing == "close" or "close" in headers.tokens("connection"):
            self._ended = True
        return reply

    def await_continue(self) -> int:
        """Returns the status of the next head without consuming a final answer: 100, or what
        `read_reply` will return."""
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        status = int(self._buffer.split(b" ", 2)[1])
        if status == 100:
            self._buffer = self._buffer.split(b"\r\n\r\n", 1)[1]
        return status

    def is_closed(self) -> bool:
        """Waits until the server closes (True), or something arrives or time is up (False)."""
        if self._buffer:
            return False
        try:
            data = self.socket.recv(65536)
        except ConnectionError:
            return True
        except TimeoutError:
            return False
        self._buffer += data
        return not data

    def _fill(self) -> None:
        try:
            data = self.socket.recv(262144)
        except ConnectionError as error:
            raise ConnectionEnded(str(error)) from error
        if not data:
            raise ConnectionEnded(f"closed after {self._buffer[:200]!r}")
        self._buffer += data

    def _read_head(self) -> tuple[int, str, Headers]:
        while b"\r\n\r\n" not in self._buffer:
            self._fill()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        lines = head.decode("latin-1").split("\r\n")
        version, status, reason = [*lines[0].split(" ", 2), ""][:3]
        assert version == "HTTP/1.1", lines[0]
        pairs = [line.split(":", 1) for line in lines[1:]]
        return int(status), reason, Headers((name, value.strip()) for name, value in pairs)

    def _read_body(self, method: str, status: int, headers: Headers) -> tuple[bytes, str]:
        if method == "HEAD" or status in (204, 304):
            return b"", "none"
        if "transfer-encoding" in headers:
            assert headers["transfer-encoding"] == "chunked", headers
            assert "content-length" not in headers, headers
            return self._read_chunks(), "chunked"
        if "content-length" in headers:
            return self._read_exactly(int(headers["content-length"])), "length"
        pieces = [self._buffer]
        self._buffer = b""
        while data := self.socket.recv(262144):
            pieces.append(data)
        return b"".join(pieces), "close"

    def _read_exactly(self, size: int) -> bytes:
        pieces = [self._buffer[:size]]
        missing = size - len(pieces[0])
        self._buffer = self._buffer[size:]
        while missing:
            data = self.socket.recv(min(missing, 1 << 20))
            if not data:
                raise ConnectionEnded(f"{missing} of {size} bytes missing")
            pieces.append(data)
            missing -= len(data)
        return b"".join(pieces)

    def _read_line(self) -> bytes:
        while b"\r\n" not in self._buffer:
            self._fill()
        line, self._buffer = self._buffer.split(b"\r\n", 1)
        return line

    def _read_chunks(self) -> bytes:
        pieces = []
        while size := int(self._read_line(), 16):
            pieces.append(self._read_exactly(size))
            assert self._read_line() == b""
        while self._read_line():
            pass
        return b"".join(pieces)

    # -- whole requests --------------------------------------------------------------------

    _ended = False

    def renew(self) -> None:
        """Connects anew where the last answer ended the connection."""
        if self._ended:
            self.close()
            self._ended = False

    def exchange(
        self, method: str, target: str, headers: list[tuple[str, str]], body: Content
    ) -> Reply:
        self.renew()
        fields = list(headers)
        names = {name.lower() for name, _ in fields}
        if not isinstance(body, bytes):
            fields.append(("Transfer-Encoding", "chunked"))
        elif (body or method in ("PUT", "POST")) and "content-length" not in names:
            fields.append(("Content-Length", str(len(body))))
        self.send_head(method, target, fields)
        expects = any(n.lower() == "expect" and v.lower() == "100-continue" for n, v in fields)
        interim: tuple[int, ...] = ()
        if expects:
            if self.await_continue() != 100:
                return self.read_reply(method)
            interim = (100,)
        self._send_body(body)
        reply = self.read_reply(method)
        reply.interim = interim + reply.interim
        return reply

    def _send_body(self, body: Content) -> None:
        # A server that has answered already may stop reading: its answer counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
            if isinstance(body, bytes):
                if body:
                    self.send_raw(body)
                return
            for piece in body:
                if piece:
                    self.send_chunk(piece)
            self.end_chunks()


def split(data: bytes, size: int) -> Iterable[bytes]:
    """Yields `data` in pieces of `size` bytes."""
    for start in range(0, len(data), size):
        yield data[start : start + size]
