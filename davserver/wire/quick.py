"""The quick way: a request whose fields are known is answered at once (app.at_once), with neither a
parser nor a cycle nor a task; a small body that comes by itself is waited for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import NamedTuple

from davserver.asked import Asked
from davserver.wire.bodies import BodyIntake
from davserver.wire.connection import Phase
from davserver.wire.requesthead import (
    METHODS,
    REQUEST_LINE,
    VERSION,
    Field,
    KnownFields,
    Refused,
    cut_length,
)

_IDLE, _SMALL = Phase.IDLE, Phase.SMALL
_SMALL_BODY = 16_384
"""Bytes of a body that is waited for before anybody looks at its request."""
_SMALL_BODY_S = 1.0


class _Awaited(NamedTuple):
    """A request whose small body is coming in; `others` are the fields of `varying` but for
    Content-Length."""

    line: bytes
    known: KnownFields
    varying: Sequence[Field]
    others: Sequence[Field]
    length: int


class QuickWay(BodyIntake):
    """A connection that answers some requests without the application's tasks."""

    _awaited: _Awaited | None = None

    def _take_known(
        self, line: bytes, known: KnownFields, varying: Sequence[Field], rest: bytes
    ) -> bool:
        """False for what is to be parsed as a whole."""
        length, others = 0, varying
        if varying:
            cut = cut_length(known, varying)
            if cut is None:
                return False
            length, others = cut
        is_plain = (
            known.is_plain
            and len(known.headers) + len(varying) <= self._edge.settings.header_count
            and self._edge.at_once is not None
        )
        if is_plain and length == len(rest) and self._answer_at_once(line, known, others, rest):
            return True
        found = REQUEST_LINE.fullmatch(line)
        if found is None:
            return False
        if is_plain and len(rest) < length <= _SMALL_BODY and self._is_allowed(found[1], found[2]):
            # Some clients send a body by itself, a moment later (KDE's do).
            self._awaited = _Awaited(line, known, varying, others, length)
            self._buffer += rest
            self._phase = _SMALL
            self._deadline = self._edge.now + _SMALL_BODY_S
            return True
        self.url = found[2]
        self._start(found[1], known.with_length(length) if length else known, varying, rest)
        return True

    def _is_allowed(self, method: bytes, target: bytes) -> bool:
        """False for what is refused whatever its body is."""
        return method in METHODS and len(target) <= self._edge.settings.url_limit

    def _take_small(self, data: bytes) -> None:
        """Takes a further piece of a small body."""
        self._buffer += data
        awaited = self._awaited
        assert awaited is not None
        if len(self._buffer) < awaited.length:
            return
        if len(self._buffer) == awaited.length:
            body = bytes(self._buffer)
            if self._answer_at_once(awaited.line, awaited.known, awaited.others, body):
                self._awaited = None
                self._buffer.clear()
                return
        self._begin()

    def _begin(self) -> None:
        awaited, self._awaited = self._awaited, None
        assert awaited is not None
        rest = bytes(self._buffer)
        self._buffer.clear()
        method, self.url, _ = awaited.line.split(b" ")
        try:
            self._start(method, awaited.known.with_length(awaited.length), awaited.varying, rest)
        except Refused as refused:
            self._answer(refused, head=awaited.line)

    def _answer_at_once(
        self, line: bytes, known: KnownFields, varying: Sequence[Field], rest: bytes
    ) -> bool:
        """Answers what is here as a whole and asks for nothing special, without a cycle or a
        task."""
        edge = self._edge
        words = line.split(b" ")
        if (
            edge.at_once is None  # as the caller knows
            or len(words) != 3
            or words[2] != VERSION
            or self.flow.write_paused
            or self._half_closed
            or self.transport.is_closing()
        ):
            return False
        asked = Asked(
            words[0], words[1], known.parsed, varying, rest, self._peer, self.default_lines
        )
        answer = edge.at_once(asked)
        if answer is None:
            return False
        self.transport.write(answer)
        self.server_state.total_requests += 1
        self._phase = _IDLE
        self._deadline = edge.now + edge.settings.keep_alive_s
        return True

    @abstractmethod
    def _start(
        self, method: bytes, known: KnownFields, varying: Sequence[Field], rest: bytes
    ) -> None:
        """Has the application answer; `rest` came after the head. Raises Refused."""
