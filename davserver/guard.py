"""The HTTP edge: uvicorn's httptools protocol with what it lacks (RFC 9112).

Heads are held back until they are whole, checked, and only then given to the parser, alone: so
limits and deadlines hold before anything is parsed, an `Upgrade` cannot swallow a body, and where
one message ends and the next begins is never in doubt. Bytes that come while an answer is being
made wait unparsed, which keeps pipelined requests in order.

An answer made before the body was read reaches its client: a short rest of the body is read and
thrown away; else the connection ends its sending side first and reads on for a while, because
closing over unread bytes would make the kernel take the answer back.
"""

from __future__ import annotations

import asyncio
import enum
import re
import urllib.parse
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl
from uvicorn.server import ServerState

from davserver.asgi import ASGIApp, Scope
from davserver.cycle import DRAIN_LIMIT, Cycle
from davserver.edge import Edge, refusal

LINGER_S = 5.0
"""How long the rest of a refused request is read after the answer."""
RATE_WINDOW_S = 30.0
"""The minimum rate of a body is looked at over windows of this length."""
PASS_THROUGH = 65_536
"""Bodies longer than this, in bytes, go past the parser: there is nothing in them to parse."""
UNKNOWN: Final = -1

METHODS = {
    name.encode(): name
    for name in (
        "ACL BIND CHECKOUT COPY DELETE GET HEAD LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MOVE"
        " OPTIONS PATCH POST PROPFIND PROPPATCH PURGE PUT REBIND REPORT SEARCH SUBSCRIBE TRACE"
        " UNBIND UNLINK UNLOCK UNSUBSCRIBE"
    ).split()
}
"""What the parser knows, but CONNECT and the preface of HTTP/2. Others are answered here: the
parser would call them errors."""
_SPECIAL = frozenset({b"host", b"expect", b"content-length", b"transfer-encoding"})
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?: |\Z)")
_BARE_END = re.compile(rb"\n\r?\n")
_UPGRADE = re.compile(rb"(?i)(?<=\r\n)(?:upgrade|http2-settings)[ \t]*:[^\r\n]*\r\n")
_ASGI = {"version": "3.0", "spec_version": "2.3"}


class Phase(enum.IntEnum):
    """Where a connection stands."""

    IDLE = 0
    """Waiting for the first byte of a request."""
    HEAD = 1
    """Part of a head is here."""
    BODY = 2
    """A request body is coming in: for the application, or after its answer for nobody."""
    BUSY = 3
    """The request is here, the answer is not complete."""
    LINGER = 4
    """The last answer is sent; what still comes is thrown away."""
    CLOSED = 5


_IDLE, _HEAD, _BODY, _BUSY, _LINGER, _CLOSED = Phase
_BODY_PHASES = frozenset({_BODY, _BUSY})


class Refused(Exception):
    """A request that the edge answers itself; the connection ends after it."""

    def __init__(self, status: int, detail: bytes, extra: bytes = b"") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.extra = extra


class Guard(HttpToolsProtocol):
    """One connection. Made by uvicorn; `edge` is bound by whoever sets the server up."""

    cycle: Cycle | None  # type: ignore[assignment]  # in place of uvicorn's own class

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        edge: Edge,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._edge = edge
        self._application: ASGIApp = config.loaded_app
        self._address = "-"
        self._phase = _IDLE
        self._deadline = 0.0
        self._buffer = bytearray()
        self._special: list[tuple[bytes, bytes]] = []
        self._complete = False
        self._persistent = True
        self._remaining = 0
        self._passing = False
        self._drained = 0
        self._overhead = 0
        self._window_end = 0.0
        self._window_bytes = 0
        self._idle_end = 0.0
        self._stalled: tuple[int, float] | None = None

    # --- connection -----------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.connections.add(self)  # type: ignore[arg-type]
        self.transport = transport
        self.flow = FlowControl(transport)
        self.server = get_local_addr(transport)
        self.client = get_remote_addr(transport)
        self.scheme = "https" if is_ssl(transport) else "http"
        self._address = self.client[0] if self.client else "-"
        admitted = self._edge.enter(self, self._address)
        self._deadline = self._edge.now + self._edge.settings.head_timeout_s
        if admitted:
            return
        if self._edge.is_flooded:
            self.break_off()
            return
        self._answer(Refused(503, b"too many connections", b"retry-after: 5\r\n"), note=False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)  # type: ignore[arg-type]
        self._edge.leave(self, self._address)
        self._phase = _CLOSED
        self._buffer.clear()
        if self.cycle is not None:
            if not self.cycle.response_complete:
                self.cycle.disconnect()
            else:
                self.cycle.message_event.set()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None

    def shutdown(self) -> None:
        """The server stops: idle connections end now, others after their answer."""
        if self._phase is _LINGER:
            return
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()
        else:
            self.cycle.keep_alive = False

    def break_off(self) -> None:
        self._phase = _CLOSED
        self.transport.abort()

    # --- bytes in -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is _IDLE:
            self._advance(data)
        elif phase is _BODY:
            self._window_bytes += len(data)
            self._idle_end = self._edge.now + self._edge.settings.body_idle_s
            self._take_body(data)
        elif phase is _HEAD:
            searched = max(0, len(self._buffer) - 3)
            self._buffer += data
            if self._buffer.find(b"\r\n\r\n", searched) < 0:
                self._check_partial(self._buffer)
                return
            whole = bytes(self._buffer)
            self._buffer.clear()
            self._advance(whole)
        elif phase is _BUSY:
            self._buffer += data
            self.flow.pause_reading()
        elif phase is _LINGER and self._remaining > 0:
            self._remaining -= len(data)
            if self._remaining <= 0:
                self._close()

    def _advance(self, data: bytes) -> None:
        """Takes bytes that begin a message."""
        if data[0] in b"\r\n":
            # RFC 9112 section 2.2: empty lines before a request-line are skipped.
            data = data.lstrip(b"\r\n")
            if not data:
                return
        end = data.find(b"\r\n\r\n") + 4
        if end < 4:
            self._phase = _HEAD
            self._deadline = self._edge.now + self._edge.settings.head_timeout_s
            self._buffer += data
            self._check_partial(self._buffer)
            return
        try:
            self._take_head(data if end == len(data) else data[:end])
        except Refused as refused:
            self._answer(refused, head=data)
            return
        if end < len(data):
            if self._phase is _BODY:
                self._take_body(data[end:])
            else:
                self._wait_with(data[end:])

    def _wait_with(self, data: bytes) -> None:
        """Keeps what came after a request until that is answered."""
        self._buffer += data
        self.flow.pause_reading()

    def _check_partial(self, head: bytearray) -> None:
        """Refuses early what cannot become a request any more."""
        settings = self._edge.settings
        try:
            if len(head) > settings.head_limit:
                self._refuse_long(bytes(head))
            if _TOKEN.match(head) is None:
                raise Refused(400, b"not an HTTP request")
            if _BARE_END.search(head, max(0, len(head) - settings.head_limit)):
                raise Refused(400, b"lines must end with CR LF")
        except Refused as refused:
            self._answer(refused, head=bytes(head))

    def _refuse_long(self, head: bytes) -> None:
        if len(head.partition(b"\r\n")[0]) > self._edge.settings.url_limit:
            raise Refused(414, b"the URL is too long")
        raise Refused(431, b"the header fields are too large")

    # --- the head -------------------------------------------------------------------------------

    def _take_head(self, head: bytes) -> None:
        """Parses one whole head and starts the application. Raises Refused."""
        if len(head) > self._edge.settings.head_limit:
            self._refuse_long(head)
        method = METHODS.get(head[: head.find(b" ", 0, 32)])
        if method is None:
            self._refuse_method(head)
        self._parse(head)
        if not self._persistent_known:
            raise Refused(400, b"the request head cannot be parsed")
        self._start(method or "")

    def _refuse_method(self, head: bytes) -> None:
        if _TOKEN.match(head) is None or b" " not in head.partition(b"\r\n")[0]:
            raise Refused(400, b"not an HTTP request")
        # RFC 9110 section 9.1: "An origin server that receives a request method that is
        # unrecognized or not implemented SHOULD respond with the 501 (Not Implemented)".
        raise Refused(501, b"unknown method", b"allow: %b\r\n" % self._edge.allow)

    def _parse(self, head: bytes) -> None:
        self.url = b""
        self.headers = []
        self._special = []
        self._complete = False
        self._persistent_known = False
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # RFC 9110 section 7.8: a server may ignore Upgrade. The parser would not, and take
            # the body for the other protocol: it gets the head again without the field.
            stripped = _UPGRADE.sub(b"", head)
            if stripped == head:
                raise Refused(400, b"the request head cannot be parsed") from None
            self.parser = httptools.HttpRequestParser(self)
            self._parse(stripped)
        except httptools.HttpParserError:
            raise self._unparsable() from None

    def _unparsable(self) -> Refused:
        codings = [v for n, v in self._special if n == b"transfer-encoding"]
        lengths = [v for n, v in self._special if n == b"content-length"]
        if codings and lengths:
            return Refused(400, b"both Content-Length and Transfer-Encoding")
        if codings and not self._is_chunked(codings):
            return self._unknown_coding(codings)
        if lengths:
            return Refused(400, b"the request cannot be parsed: Content-Length or a field after it")
        return Refused(400, b"the request head cannot be parsed")

    def on_message_begin(self) -> None:
        """Nothing to do: `_parse` has set up everything."""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in _SPECIAL:
            self._special.append((name, value))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._persistent = self.parser.should_keep_alive()
        self._persistent_known = True

    def on_message_complete(self) -> None:
        self._complete = True

    def _start(self, method: str) -> None:
        version = self.parser.get_http_version()
        host, length, codings, expects_100 = self._read_special(version)
        settings = self._edge.settings
        if len(self.headers) > settings.header_count:
            raise Refused(431, b"too many header fields")
        if len(self.url) > settings.url_limit:
            raise Refused(414, b"the URL is too long")
        scope = self._build_scope(method, version, host)
        cycle = Cycle(
            self,
            scope,
            keep_alive=self._persistent and version == "1.1",
            expects_100=expects_100,
        )
        self.cycle = cycle
        if self._complete:
            cycle.feed_end()
            self._phase = _BUSY
        else:
            self._expect_body(length, chunked=bool(codings))
        self._start_task(cycle)

    def _start_task(self, cycle: Cycle) -> None:
        task = self.loop.create_task(cycle.run(self._application))
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _read_special(self, version: str) -> tuple[bytes, int, list[bytes], bool]:
        """Returns Host, Content-Length, codings, and whether 100 (Continue) is awaited."""
        hosts: list[bytes] = []
        codings: list[bytes] = []
        length = 0
        expects_100 = False
        for name, value in self._special:
            if name == b"host":
                hosts.append(value.strip())
            elif name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                codings.append(value)
            elif version == "1.1":
                if value.strip().lower() != b"100-continue":
                    raise Refused(417, b"no expectation but 100-continue is met")
                expects_100 = True
        if version not in ("1.1", "1.0"):
            raise Refused(505, b"only HTTP/1.1 and HTTP/1.0")
        # RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
        # HTTP/1.1 request message that lacks a Host header field and to any request message that
        # contains more than one Host header field line".
        if len(hosts) > 1 or (not hosts and version == "1.1"):
            raise Refused(400, b"exactly one Host field is needed")
        if hosts and not self._edge.is_host(hosts[0]):
            raise Refused(400, b"Host is malformed")
        if codings and (version == "1.0" or not self._is_chunked(codings)):
            raise self._unknown_coding(codings)
        return hosts[0] if hosts else b"", length, codings, expects_100

    @staticmethod
    def _is_chunked(codings: list[bytes]) -> bool:
        return len(codings) == 1 and codings[0].strip().lower() == b"chunked"

    @staticmethod
    def _unknown_coding(codings: list[bytes]) -> Refused:
        # RFC 9112 section 6.3: where chunked is not the final coding the end of the body cannot
        # be found, 400; section 6.1: a coding that is not understood, 501.
        last = b",".join(codings).lower().rpartition(b",")[2].strip()
        if last != b"chunked" or b",".join(codings).lower().count(b"chunked") > 1:
            return Refused(400, b"the transfer coding does not delimit the body")
        return Refused(501, b"no transfer coding but chunked is understood")

    def _build_scope(self, method: str, version: str, host: bytes) -> Scope:
        target = self.url
        if target[:1] != b"/" and target != b"*":
            target = self._absolute_form(target, host)
        raw_path, _, query = target.partition(b"?")
        if b"%" in raw_path or not raw_path.isascii():
            path = urllib.parse.unquote_to_bytes(raw_path).decode("utf-8", "replace")
        else:
            path = raw_path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": self.root_path,
            "path": self.root_path + path,
            "raw_path": self.root_path.encode() + raw_path,
            "query_string": query,
            "headers": self.headers,
            "state": self.app_state.copy(),
        }

    def _absolute_form(self, target: bytes, host: bytes) -> bytes:
        """Returns path and query of an absolute URL, whose authority replaces Host.

        RFC 9112 section 3.2.2: the server "MUST ignore the received Host header field (if any)
        and instead use the host information of the request-target".
        """
        scheme, separator, rest = target.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            raise Refused(400, b"the request target is not understood")
        end = min((i for i in (rest.find(b"/"), rest.find(b"?")) if i >= 0), default=len(rest))
        authority = rest[:end].rpartition(b"@")[2]
        if not authority or not self._edge.is_host(authority):
            raise Refused(400, b"the request target is not understood")
        self.headers[:] = [field for field in self.headers if field[0] != b"host"]
        self.headers.append((b"host", authority))
        path = rest[end:]
        return path if path.startswith(b"/") else b"/" + path

    # --- the body -------------------------------------------------------------------------------

    def _expect_body(self, length: int, *, chunked: bool) -> None:
        self._phase = _BODY
        self._remaining = UNKNOWN if chunked else length
        self._drained = self._overhead = 0
        self._restart_window(self._edge.now)
        self._passing = length > PASS_THROUGH
        if self._passing:
            self.parser = httptools.HttpRequestParser(self)
        # Trailer fields (RFC 9110 section 6.5.1) are not merged into the header section, nor is
        # anything that follows a chunked body.
        self.headers = []

    def _take_body(self, data: bytes) -> None:
        remaining = self._remaining
        if remaining == UNKNOWN:
            self._take_chunks(data)
            return
        rest = b""
        if len(data) > remaining:
            data, rest = data[:remaining], data[remaining:]
        self._remaining = remaining = remaining - len(data)
        if self._passing:
            self.on_body(data)
        else:
            self._feed(data)
        if remaining == 0 and self._phase is _BODY:
            self._end_body(rest)

    def _take_chunks(self, data: bytes) -> None:
        self._overhead += len(data)
        self._feed(data)
        if self._phase is not _BODY:
            return
        if self._complete:
            if self._persistent_known:
                # A further head came in the same piece and went to the parser unchecked. RFC 9112
                # section 9.3.2 has clients repeat what was not answered before the close.
                assert self.cycle is not None
                self.cycle.keep_alive = False
            self._end_body(b"")
        elif self._overhead > self._edge.settings.head_limit:
            self._break_body(Refused(400, b"too much between the chunks"))

    def _feed(self, data: bytes) -> None:
        self._persistent_known = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._persistent_known = True
        except httptools.HttpParserError:
            if not self._complete:
                self._break_body(Refused(400, b"the body is malformed"))
            else:
                self._persistent_known = True

    def on_body(self, body: bytes) -> None:
        cycle = self.cycle
        if cycle is None or self._complete:
            return
        self._overhead = 0
        if not cycle.response_complete:
            cycle.feed(body)
            return
        self._drained += len(body)
        if self._drained > DRAIN_LIMIT:
            self._linger()

    def _end_body(self, rest: bytes) -> None:
        """The request is here as a whole; `rest` follows it."""
        cycle = self.cycle
        assert cycle is not None
        if not cycle.response_complete:
            self._phase = _BUSY
            cycle.feed_end()
            if rest:
                self._wait_with(rest)
        elif cycle.keep_alive:
            self._buffer += rest
            self._await_next()
        else:
            self._close()

    def _break_body(self, refused: Refused) -> None:
        """The body cannot be had: nothing of it may be taken for the whole."""
        cycle = self.cycle
        assert cycle is not None
        if cycle.response_started:
            cycle.disconnect()
            self.break_off()
            return
        cycle.disconnect()
        self._answer(refused, note=False)

    # --- answers --------------------------------------------------------------------------------

    @property
    def unread(self) -> int:
        return self._remaining if self._phase is _BODY else 0

    def date_header(self) -> bytes:
        return b"".join([b"%b: %b\r\n" % field for field in self.server_state.default_headers])

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        cycle = self.cycle
        if cycle is None or self.transport.is_closing():
            return
        if not cycle.keep_alive:
            if self._phase is _BODY:
                self._linger()
            else:
                self._close()
        elif self._phase is _BODY:
            self._idle_end = self._edge.now + self._edge.settings.body_idle_s
            self.flow.resume_reading()
        else:
            self._await_next()

    def _await_next(self) -> None:
        self._phase = _IDLE
        self._deadline = self._edge.now + self._edge.settings.keep_alive_s
        self.flow.resume_reading()
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            self._advance(data)

    def _answer(self, refused: Refused, *, head: bytes = b"", note: bool = True) -> None:
        """Sends an answer of the edge's own, and ends the connection after it."""
        answer = refusal(refused.status, refused.detail, self.date_header(), refused.extra)
        if head.startswith(b"HEAD "):
            answer = answer[: answer.index(b"\r\n\r\n") + 4]
        self.transport.write(answer)
        self._remaining = UNKNOWN
        self._linger()
        log = self._edge.log
        if note and log is not None:
            words = head.partition(b"\r\n")[0][:2048].split(b" ", 2) + [b"", b""]
            method = words[0][:64].decode("latin-1")
            size = len(refused.detail) + 1
            log.line(method, words[1], refused.status, size, 0.0, "", self._address)

    def _linger(self) -> None:
        """Ends the sending side and reads on, so that the answer gets through."""
        if self.transport.is_closing():
            return
        self._phase = _LINGER
        self._deadline = self._edge.now + LINGER_S
        self._buffer.clear()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _close(self) -> None:
        self._phase = _CLOSED
        self.transport.close()

    # --- deadlines ------------------------------------------------------------------------------

    def watch(self, now: float) -> None:
        """Looks after the deadlines; called about once a second."""
        phase = self._phase
        if phase is _BODY:
            self._watch_body(now)
        elif phase is not _BUSY and now >= self._deadline:
            if phase is _HEAD:
                self._answer(
                    Refused(408, b"the request head took too long"), head=bytes(self._buffer)
                )
            elif phase is _LINGER:
                self.break_off()
            elif phase is _IDLE:
                self._close()
        if phase in _BODY_PHASES:
            self._watch_writing(now)

    def _watch_body(self, now: float) -> None:
        cycle = self.cycle
        assert cycle is not None
        if cycle.response_complete:
            if now >= self._idle_end:
                self._linger()
        elif self.flow.read_paused or not cycle.asked:
            # The application is not waiting for the client, so the client is not late.
            self._restart_window(now)
        elif now >= self._idle_end:
            self._break_body(Refused(408, b"the body stopped coming"))
        elif now >= self._window_end:
            if self._window_bytes < self._edge.minimum * RATE_WINDOW_S:
                self._break_body(Refused(408, b"the body comes too slowly"))
            else:
                self._restart_window(now)

    def _restart_window(self, now: float) -> None:
        self._window_end = now + RATE_WINDOW_S
        self._window_bytes = 0
        self._idle_end = now + self._edge.settings.body_idle_s

    def _watch_writing(self, now: float) -> None:
        """Ends a connection whose client takes nothing of its answer."""
        size = self.transport.get_write_buffer_size()
        if not size or self._stalled is None or self._stalled[0] != size:
            self._stalled = (size, now)
        elif now - self._stalled[1] >= self._edge.settings.write_idle_s:
            if self.cycle is not None:
                self.cycle.disconnect()
            self.break_off()
