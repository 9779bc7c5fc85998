"""X-Update-Range (SabreDAV's partial update)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.errors import BadRequest, RangeNotSatisfiable
from davserver.protocol.updaterange import UpdateRange


@pytest.mark.rfc("PA-05")
@pytest.mark.parametrize(
    ("value", "start"),
    [
        (b"append", 10),
        (b"Append", 10),
        (b"bytes=0-3", 0),
        (b"bytes=6-9", 6),
        (b"bytes=10-13", 10),
        (b" bytes = 3- ", 3),
        (b"bytes=99-", 99),
        (b"bytes=-4", 6),
        (b"bytes=-10", 0),
        (b"bytes=-11", 0),
    ],
)
def test_a_range_begins_somewhere_in_ten_bytes(value: bytes, start: int) -> None:
    assert UpdateRange.from_header(value, length=4).start(10) == start


@pytest.mark.rfc("PA-06")
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (b"", BadRequest),
        (b"bytes", BadRequest),
        (b"bytes=", BadRequest),
        (b"bytes=-", BadRequest),
        (b"bytes=a-b", BadRequest),
        (b"bytes=0-3,5-8", BadRequest),
        (b"bytes=--4", BadRequest),
        (b"bytes=0x0-3", BadRequest),
        (b"bytes=" + b"9" * 19 + b"-", BadRequest),
        (b"items=0-3", BadRequest),
        (b"append 4", BadRequest),
        (b"bytes=3-0", RangeNotSatisfiable),
        (b"bytes=0-2", RangeNotSatisfiable),
        (b"bytes=0-4", RangeNotSatisfiable),
        (b"bytes=-0", RangeNotSatisfiable),
    ],
)
def test_what_is_no_range_of_four_bytes(value: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        UpdateRange.from_header(value, length=4)


@given(st.binary(max_size=60), st.integers(0, 1 << 62))
def test_any_bytes_are_read_or_refused(value: bytes, length: int) -> None:
    try:
        start = UpdateRange.from_header(value, length=length).start(1000)
    except (BadRequest, RangeNotSatisfiable):
        return
    assert start >= 0
