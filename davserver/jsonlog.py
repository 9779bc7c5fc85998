"""The log as JSON (RFC 8259): one object a line, for access lines and for log records.

    {"time": "2026-01-02T03:04:05.678Z", "level": "info", "logger": "davserver.access",
     "client": "192.0.2.7", "principal": "alice", "method": "PUT",
     "target": "/report%20final.odt", "status": 201, "bytes": 0, "ms": 3.1}

(broken here for reading). Everything is ASCII: what a client sends can neither begin a line of its
own nor end a string. Bytes that are no UTF-8 come as `\\xff`.
"""

from __future__ import annotations

import json
import logging
import time
from json.encoder import encode_basestring_ascii
from typing import NamedTuple

TARGET_LIMIT = 2_000
FIELD_LIMIT = 300
"""Bytes of what a client sent, in the log; of a longer value the beginning is kept, so that a line
goes to a pipe in one piece (accesslog.ATOMIC)."""


class JsonFormatter(logging.Formatter):
    """Formats log records; a traceback is one string of the object."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _encodable(record.getMessage()),
        }
        if record.exc_info:
            entry["exception"] = _encodable(self.formatException(record.exc_info))
        if record.stack_info:
            entry["stack"] = _encodable(self.formatStack(record.stack_info))
        return json.dumps(entry)


def note(logger: str, message: str) -> str:
    """Returns a line of its own, now: what is told outside of the log."""
    record = logging.LogRecord(logger, logging.INFO, "", 0, message, None, None)
    return JsonFormatter().format(record)


class Access(NamedTuple):
    """One request, as the access log tells of it.

    Attributes:
        href: as the client sent it.
        size: bytes of response body.
        seconds: from the head of the request to the last byte handed to the transport.
        principal: its name, "" for the anonymous one.
        litmus, request_id, agent: the fields X-Litmus, X-Request-ID (a proxy's number of the
            request) and User-Agent, when they were sent.
    """

    method: str
    href: bytes
    status: int
    size: int
    seconds: float
    principal: str
    peer: str
    litmus: bytes | None = None
    request_id: bytes | None = None
    agent: bytes | None = None


def access_entry(access: Access, second: bytes, moment: float) -> bytes:
    """Returns the object of one request, without the line's end.

    Args:
        second: the time without its fraction, like `2026-01-02T03:04:05`.
        moment: the same in seconds since the epoch, with it.
    """
    entry = (
        b'{"time": "%b.%03dZ", "level": "info", "logger": "davserver.access", "client": %b,'
        b' "principal": %b, "method": %b, "target": %b, "status": %d, "bytes": %d, "ms": %.1f'
    ) % (
        second,
        int(moment % 1 * 1000),
        _quoted(access.peer),
        _quoted(access.principal) if access.principal else b"null",
        _quoted(access.method),
        _quoted_bytes(access.href, TARGET_LIMIT),
        access.status,
        access.size,
        access.seconds * 1000,
    )
    if access.request_id is not None:
        entry += b', "request_id": ' + _quoted_bytes(access.request_id)
    if access.agent is not None:
        entry += b', "user_agent": ' + _quoted_bytes(access.agent)
    if access.litmus is not None:
        entry += b', "x_litmus": ' + _quoted_bytes(access.litmus)
    return entry + b"}"


def _quoted_bytes(value: bytes, limit: int = FIELD_LIMIT) -> bytes:
    return _quoted(value.decode("utf-8", "backslashreplace"), limit)


def _quoted(text: str, limit: int = FIELD_LIMIT) -> bytes:
    """Returns a JSON string of at most `limit` bytes."""
    # JSON lets DEL stand for itself; a terminal need not see it.
    quoted = encode_basestring_ascii(_encodable(text)).replace("\x7f", "\\u007f")
    if len(quoted) > limit:
        return _quoted(f"{text[: limit * len(text) // len(quoted) - 10]}...", limit)
    return quoted.encode()


def _encodable(text: str) -> str:
    """Surrogates stand for bytes of no UTF-8; not every reader of JSON takes them."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def _timestamp(moment: float) -> str:
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment))
    return f"{second}.{int(moment % 1 * 1000):03d}Z"
