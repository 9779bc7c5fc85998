"""RFC 9110 section 14: range requests."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.errors import RangeNotSatisfiable
from davserver.protocol.dates import format_http_date
from davserver.protocol.etag import ETag
from davserver.protocol.ranges import evaluate_if_range, parse_range

HUGE = b"9" * 5000


@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        pytest.param(b"bytes=0-9", [(0, 9)], id="plain"),
        pytest.param(b"bytes=0-0", [(0, 0)], id="one byte"),
        pytest.param(b"bytes=990-", [(990, 999)], id="open end"),
        pytest.param(b"bytes=0-", [(0, 999)], id="all"),
        pytest.param(b"bytes=990-2000", [(990, 999)], id="last-pos clipped"),
        pytest.param(b"bytes=-10", [(990, 999)], id="suffix"),
        pytest.param(b"bytes=-5000", [(0, 999)], id="suffix longer than the file"),
        pytest.param(b"bytes=-" + HUGE, [(0, 999)], id="huge suffix"),
        pytest.param(b"bytes=0-" + HUGE, [(0, 999)], id="huge last-pos"),
        pytest.param(b"bytes=00000000000000000000007-8", [(7, 8)], id="leading zeros"),
        pytest.param(b"bytes=0-9,9999-", [(0, 9)], id="one of two is satisfiable"),
        pytest.param(b"bytes=-0,0-9", [(0, 9)], id="empty suffix beside"),
        pytest.param(b"bytes=20-29,0-9", [(20, 29), (0, 9)], id="order kept"),
        pytest.param(b"bytes= 0-9 , 20-29", [(0, 9), (20, 29)], id="erratum 7306"),
        pytest.param(b"BYTES=0-9", [(0, 9)], id="unit in upper case"),
        pytest.param(b"bytes=,0-9,,", [(0, 9)], id="empty elements"),
        pytest.param(b"bytes=0-9,5-14", [(0, 9), (5, 14)], id="two overlapping"),
        pytest.param(
            b"bytes=" + b",".join(b"%d-%d" % (2 * i, 2 * i) for i in range(50)),
            [(2 * i, 2 * i) for i in range(50)],
            id="fifty",
        ),
        pytest.param(b"items=0-1", None, id="unknown unit"),
        pytest.param(b"bytes", None, id="no equals sign"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"bytes=", None, id="no range"),
        pytest.param(b"bytes=,", None, id="commas alone"),
        pytest.param(b"bytes=5-2", None, id="last before first"),
        pytest.param(b"bytes=0-9,5-2", None, id="one of two invalid"),
        pytest.param(b"bytes=abc", None, id="garbage"),
        pytest.param(b"bytes=-", None, id="dash alone"),
        pytest.param(b"bytes=1-2-3", None, id="two dashes"),
        pytest.param(b"bytes=+1-2", None, id="sign"),
        pytest.param(b"bytes=\xd9\xa1-2", None, id="digits that are not ASCII"),
        pytest.param(b"bytes=0-9,1-9,2-9", None, id="three overlapping"),
        pytest.param(b"bytes=0-,0-", [(0, 999), (0, 999)], id="twice the file"),
        pytest.param(b"bytes=" + b",".join([b"1-1"] * 51), None, id="fifty-one"),
        pytest.param(b"bytes=" + b"," * 100_000, None, id="100,000 commas"),
    ],
)
@pytest.mark.rfc("HR-01", "HR-03", "HR-04", "HR-06", "HR-07", "HR-08", "HR-09", "HR-13")
def test_ranges_of_a_thousand_bytes(value: bytes, ranges: list[tuple[int, int]] | None) -> None:
    assert ranges == parse_range(value, 1000)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        pytest.param(b"bytes=1000-", 1000, id="at the end"),
        pytest.param(b"bytes=2000-3000,1000-1001", 1000, id="two beyond"),
        pytest.param(b"bytes=-0", 1000, id="empty suffix"),
        pytest.param(b"bytes=" + HUGE + b"-", 1000, id="huge"),
        pytest.param(b"bytes=0-", 0, id="empty file"),
        pytest.param(b"bytes=0-9", 0, id="empty file, closed range"),
    ],
)
@pytest.mark.rfc("HR-05", "HR-07")
def test_no_satisfiable_range_is_416_with_the_length(value: bytes, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(value, size)

    assert caught.value.headers == ((b"content-range", b"bytes */%d" % size),)


def test_suffix_of_an_empty_file_is_ignored() -> None:
    assert parse_range(b"bytes=-5", 0) is None


@given(
    st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 2000)), min_size=1, max_size=60),
    st.integers(0, 1500),
)
@settings(max_examples=200, deadline=None)
@pytest.mark.rfc("HR-08", "HR-09")
def test_ranges_lie_inside_and_are_bounded(pairs: list[tuple[int, int]], size: int) -> None:
    value = b"bytes=" + b",".join(b"%d-%d" % pair for pair in pairs)
    try:
        ranges = parse_range(value, size)
    except RangeNotSatisfiable:
        return

    if ranges is not None:
        assert all(0 <= first <= last < size for first, last in ranges)
        assert sum(last - first + 1 for first, last in ranges) <= 2 * size
        assert ranges == [(a, min(b, size - 1)) for a, b in pairs if a < size]


@given(st.binary(max_size=40) | st.text("bytes=0123456789-, ", max_size=40).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_octets_give_ranges_none_or_416(value: bytes) -> None:
    try:
        ranges = parse_range(value, 100)
    except RangeNotSatisfiable:
        return

    assert ranges is None or ranges


MODIFIED = 1_700_000_000
DATE = format_http_date(MODIFIED)


@pytest.mark.parametrize(
    ("value", "age_s", "holds"),
    [
        pytest.param(b'"x"', 0, True, id="equal"),
        pytest.param(b'W/"x"', 0, False, id="weak"),
        pytest.param(b'"y"', 0, False, id="different"),
        pytest.param(b'"x-gzip"', 0, False, id="bytes of another coding"),
        pytest.param(b'"x', 0, False, id="unterminated"),
        pytest.param(DATE, 2, True, id="date, old enough"),
        pytest.param(DATE, 1, False, id="date, too young to be strong"),
        pytest.param(format_http_date(MODIFIED + 1), 10, False, id="later date"),
        pytest.param(format_http_date(MODIFIED - 1), 10, False, id="earlier date"),
        pytest.param(b"x", 10, False, id="garbage"),
        pytest.param(b"", 10, False, id="empty"),
    ],
)
@pytest.mark.rfc("HR-11")
def test_if_range(value: bytes, age_s: int, holds: bool) -> None:
    assert holds is evaluate_if_range(value, ETag("x"), MODIFIED, MODIFIED + age_s)


@pytest.mark.rfc("HR-11")
def test_if_range_without_an_entity_tag_is_false() -> None:
    assert not evaluate_if_range(b'"x"', None, MODIFIED, MODIFIED + 10)
