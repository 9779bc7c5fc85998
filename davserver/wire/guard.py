"""The HTTP edge: uvicorn's httptools protocol with what it lacks (RFC 9112).

Heads are held back until they are whole, checked, and only then given to the parser, alone: so
limits and deadlines hold before anything is parsed, an `Upgrade` cannot swallow a body, and where
one message ends and the next begins is never in doubt. Bytes that come while an answer is being
made wait unparsed, which keeps pipelined requests in order.
"""

from __future__ import annotations

from collections.abc import Sequence

import httptools

from davserver.asgi import Scope
from davserver.protocol.headers import PARSED, DavHeaders
from davserver.wire.connection import Phase
from davserver.wire.cycle import Cycle, resume
from davserver.wire.quick import QuickWay
from davserver.wire.requesthead import (
    KNOWN_LIMIT,
    METHODS,
    REQUEST_LINE,
    SPECIAL,
    VARYING,
    Field,
    KnownFields,
    Refused,
    check_partial,
    decode_path,
    origin_form,
    read_framing,
    too_long,
    unknown_method,
    unparsable,
    without_upgrade,
    without_usual,
    without_varying,
)

_NONE: Sequence[Field] = ()
_ASGI = {"version": "3.0", "spec_version": "2.3"}

_IDLE, _HEAD, _BODY, _BUSY, _LINGER, _CLOSED, _SMALL = Phase


class Guard(QuickWay):
    """One connection: bytes in, requests out. Made by uvicorn."""

    # --- bytes in -------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        phase = self._phase
        if phase is _IDLE:
            self._advance(data)
        elif phase is _BODY:
            self._window_bytes += len(data)
            self._idle_end = self._edge.now + self._edge.settings.body_idle_s
            self._take_body(data)
        elif phase is _SMALL:
            self._take_small(data)
        elif phase is _HEAD:
            self._gather(data)
        elif phase is _BUSY:
            self._wait_with(data)
        elif phase is _LINGER and self._remaining > 0:
            self._remaining -= len(data)
            if self._remaining <= 0:
                self._close()

    def _gather(self, data: bytes) -> None:
        """Takes a further piece of a head."""
        buffer = self._buffer
        searched = max(0, len(buffer) - 3)
        buffer += data
        if buffer.find(b"\r\n\r\n", searched) >= 0:
            whole = bytes(buffer)
            buffer.clear()
            self._advance(whole)
            return
        settings = self._edge.settings
        try:
            check_partial(buffer, searched, limit=settings.head_limit, url_limit=settings.url_limit)
        except Refused as refused:
            self._answer(refused, head=bytes(buffer))

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
            self._gather(data)
            return
        try:
            if end == len(data):
                self._take_head(data, b"")
            else:
                self._take_head(data[:end], data[end:])
        except Refused as refused:
            self._answer(refused, head=data)

    # --- the head -------------------------------------------------------------------------------

    def _take_head(self, head: bytes, rest: bytes) -> None:
        """Takes one whole head, and what came with it. Raises Refused.

        Clients send the same fields with each request: read once, they are known by their bytes.
        """
        settings = self._edge.settings
        if len(head) > settings.head_limit:
            raise too_long(head, settings.url_limit)
        line_end = head.find(b"\r\n")
        fields = head[line_end:]
        remembered = self._edge.known
        known = remembered.get(fields)
        cut: tuple[bytes, Sequence[Field]] | None = (fields, _NONE)
        if known is None:
            # What is remembered holds none of the fields that vary: so has the rest none.
            cut = without_usual(fields)
            known = None if cut is None else remembered.get(cut[0])
        if known is None:
            cut = without_varying(fields)
            known = None if cut is None else remembered.get(cut[0])
        if (
            known is None
            or cut is None
            or not self._take_known(head[:line_end], known, cut[1], rest)
        ):
            self._read_head(head, line_end, cut, rest)

    def _read_head(
        self, head: bytes, line_end: int, cut: tuple[bytes, Sequence[Field]] | None, rest: bytes
    ) -> None:
        """Has the head parsed, and remembers its fields when they come again. Raises Refused."""
        method = head[: head.find(b" ", 0, 32)]
        if method not in METHODS:
            raise unknown_method(head, self._edge.allow)
        self._parse(head)
        if not self._head_done:
            raise Refused(400, b"the request head cannot be parsed")
        known = self._read_fields()
        is_plain = REQUEST_LINE.fullmatch(head, 0, line_end) is not None
        may_know = cut is not None and is_plain and not self._upgraded
        if cut is not None and may_know and len(cut[0]) <= KNOWN_LIMIT:
            self._remember(cut[0], cut[1], known)
        self._start(method, known, _NONE, rest)

    def _remember(self, rest: bytes, cut: Sequence[Field], known: KnownFields) -> None:
        """Never where the parser has seen another field that varies than was cut out: a body would
        be taken for a request."""
        seen = [field for field in known.headers if field[0] in VARYING]
        if seen == list(cut):
            self._edge.know(rest, known.without_varying())

    def _read_fields(self) -> KnownFields:
        version = self.parser.get_http_version()
        framing = read_framing(self._special, version)
        has_body = not self._complete
        keep_alive = self._persistent and version == "1.1"
        headers = tuple(self.headers)
        is_plain = keep_alive and not framing.chunked and not framing.expects_100
        if len(headers) > self._edge.settings.header_count:
            is_plain = False  # it is going to be refused
        return KnownFields(
            headers,
            DavHeaders(headers),
            version,
            framing,
            has_body,
            keep_alive,
            is_plain,
        )

    def _parse(self, head: bytes) -> None:
        self.url = b""
        self.headers = []
        self._special = []
        self._head_done = self._complete = self._upgraded = False
        try:
            self.parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            # The parser would take the body for the other protocol's: it gets the head again
            # without the field.
            stripped = without_upgrade(head)
            if stripped == head:
                raise Refused(400, b"the request head cannot be parsed") from None
            self.parser = httptools.HttpRequestParser(self)
            self._parse(stripped)
            self._upgraded = True
        except httptools.HttpParserError:
            raise unparsable(self._special) from None

    def on_message_begin(self) -> None:
        """Nothing to do: `_parse` has set up everything."""

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in SPECIAL:
            self._special.append((name, value))
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        self._persistent = self.parser.should_keep_alive()
        self._head_done = True

    def on_message_complete(self) -> None:
        self._complete = True

    def _start(
        self, method: bytes, known: KnownFields, varying: Sequence[Field], rest: bytes
    ) -> None:
        settings = self._edge.settings
        name = METHODS.get(method)
        if name is None:
            raise unknown_method(method + b" \r\n", self._edge.allow)
        if len(known.headers) + len(varying) > settings.header_count:
            raise Refused(431, b"too many header fields")
        if len(self.url) > settings.url_limit:
            raise Refused(414, b"the URL is too long")
        cycle = Cycle(
            self,
            self._build_scope(name, known, varying),
            keep_alive=known.keep_alive,
            expects_100=known.framing.expects_100 and known.has_body,
        )
        self.cycle = cycle
        if known.has_body:
            # Bodies go past the parser, which is left in the middle of a message: the next one
            # gets a new one.
            self.parser = httptools.HttpRequestParser(self)
            self._expect_body(known.framing)
            if rest:
                self._take_body(rest)
        else:
            self._phase = _BUSY
            cycle.feed_end()
            if rest:
                self._wait_with(rest)
        self._run(cycle)

    def _run(self, cycle: Cycle) -> None:
        """Runs the application at once, and as a task only when it has to wait for something:
        most answers are made in less time than a task takes."""
        running = cycle.run(self._application)
        if not self._buffer:  # else a row of pipelined requests would be a row of nested calls
            try:
                awaited = running.send(None)
            except StopIteration:
                return
            running = resume(running, awaited)
        task = self.loop.create_task(running)
        task.add_done_callback(self.tasks.discard)
        self.tasks.add(task)

    def _build_scope(self, method: str, known: KnownFields, varying: Sequence[Field]) -> Scope:
        headers, parsed, target = list(known.headers), known.parsed, self.url
        if varying:
            headers += varying
            parsed = parsed.with_fields(varying)
        if target[:1] != b"/" and target != b"*":
            target = origin_form(target, headers)
            parsed = DavHeaders(headers)
        raw_path, _, query = target.partition(b"?")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": known.version,
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "method": method,
            "root_path": "",
            "path": decode_path(raw_path),
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            "state": self.app_state.copy(),
            "extensions": self._extensions,
            PARSED: parsed,
        }
