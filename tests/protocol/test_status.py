"""RFC 9110 section 15, RFC 4918 section 11: reason phrases."""

from __future__ import annotations

import pytest

from davserver import errors
from davserver.protocol.status import reason, status_line


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK"),
        (207, b"HTTP/1.1 207 Multi-Status"),
        (404, b"HTTP/1.1 404 Not Found"),
        (422, b"HTTP/1.1 422 Unprocessable Content"),
        (423, b"HTTP/1.1 423 Locked"),
        (424, b"HTTP/1.1 424 Failed Dependency"),
        (507, b"HTTP/1.1 507 Insufficient Storage"),
        (599, b"HTTP/1.1 599 Unknown"),
    ],
)
def test_status_line(status: int, line: bytes) -> None:
    assert line == status_line(status)


def test_every_error_has_a_reason_phrase() -> None:
    unknown = [
        kind for kind in errors.DavError.__subclasses__() if reason(kind.status) == "Unknown"
    ]

    assert unknown == []
