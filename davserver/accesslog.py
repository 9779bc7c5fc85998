"""The access log: one line a request, gathered in a buffer and written in whole lines.

    2026-01-02T03:04:05Z 192.0.2.7 alice PUT /report%20final.odt 201 0 3.1ms

The fields are time (UTC), peer, who ("-" for the anonymous principal), method, href, status,
bytes of response body, milliseconds; then, in quotes, the X-Litmus field of a test run. No field
holds a space, and nothing a client sends can begin a line of its own. With `log_format = "json"`
each line is an object instead (jsonlog.py), which also holds request id and user agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import Callable
from functools import lru_cache
from typing import BinaryIO

from davserver.jsonlog import Access, access_entry

BUFFER_LIMIT = 65_536
"""Bytes that are gathered at most."""
FLUSH_AFTER_S = 0.2
"""A line waits no longer than this."""
_TOGETHER = 64
"""Lines are made so many at once: one by one, between requests, each takes twice the time."""
ATOMIC = 4_096
"""Bytes that a pipe takes in one piece (PIPE_BUF), so that lines of several workers don't mix."""

_UNSAFE = re.compile(rb"[^\x21-\x7e]|[\\\"]")
_UNSAFE_QUOTED = re.compile(rb"[^\x20-\x7e]|[\\\"]")


class AccessLog:
    """Formats and buffers access lines. One object a process; not for several threads.

    Args:
        form: "text" or "json".
        clock: seconds since the epoch.
    """

    def __init__(
        self, stream: BinaryIO, *, form: str = "text", clock: Callable[[], float] = time.time
    ) -> None:
        self._stream = stream
        self._is_json = form == "json"
        self._clock = clock
        self._waiting: list[tuple[float, Access]] = []
        self._lines: list[bytes] = []
        self._size = 0
        self._second = -1
        self._stamp = b""

    def line(self, access: Access) -> None:
        """Notes one request."""
        waiting = self._waiting
        if not waiting and not self._lines:
            self._flush_later()
        waiting.append((self._clock(), access))
        if len(waiting) >= _TOGETHER:
            self._make_lines()
            if self._size >= BUFFER_LIMIT:
                self.flush()

    def _make_lines(self) -> None:
        waiting, self._waiting = self._waiting, []
        for moment, access in waiting:
            second = int(moment)
            if second != self._second:
                self._second = second
                self._stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
            if self._is_json:
                line = access_entry(access, self._stamp, moment) + b"\n"
            else:
                line = _text_entry(access, self._stamp) + b"\n"
            self._lines.append(line)
            self._size += len(line)

    def _flush_later(self) -> None:
        # Outside of an event loop there is nobody to flush later: the buffer is flushed when
        # full and at the end.
        with contextlib.suppress(RuntimeError):
            asyncio.get_running_loop().call_later(FLUSH_AFTER_S, self.flush)

    def flush(self) -> None:
        """Writes what has gathered. A log that cannot be written never stops the server."""
        self._make_lines()
        lines, self._lines, self._size = self._lines, [], 0
        if not lines:
            return
        with contextlib.suppress(OSError, ValueError):
            for piece in _pieces(lines):
                self._stream.write(piece)
                self._stream.flush()

    def close(self) -> None:
        """Flushes; the stream stays open, it is its owner's."""
        self.flush()


def _text_entry(access: Access, second: bytes) -> bytes:
    line = b"%bZ %b %b %b %b %d %d %.1fms" % (
        second,
        _word(access.peer),
        _word(access.principal),
        _word(access.method),
        _escape(access.href),
        access.status,
        access.size,
        access.seconds * 1000,
    )
    if access.litmus is not None:
        line += b' "%b"' % _UNSAFE_QUOTED.sub(_hex, access.litmus)
    return line


def _pieces(lines: list[bytes]) -> list[bytes]:
    """Joins lines into pieces that a pipe takes whole."""
    pieces: list[bytes] = []
    begin = size = 0
    for index, line in enumerate(lines):
        if size and size + len(line) > ATOMIC:
            pieces.append(b"".join(lines[begin:index]))
            begin, size = index, 0
        size += len(line)
    pieces.append(b"".join(lines[begin:]))
    return pieces


@lru_cache(1024)
def _word(text: str) -> bytes:
    """A few addresses, names and methods come again and again."""
    return _escape(text.encode("utf-8", "surrogateescape"))


def _escape(value: bytes) -> bytes:
    if not value:
        return b"-"
    return _UNSAFE.sub(_hex, value) if _UNSAFE.search(value) else value


def _hex(found: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % found[0][0]
