"""RFC 9110 section 5.6.7 and RFC 3339: dates."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.protocol.dates import format_http_date, format_iso_date, parse_http_date

EXAMPLE = 784111777
"""Sun, 06 Nov 1994 08:49:37 GMT"""
NOW = 1767225600.0
"""2026-01-01"""
SECONDS = st.integers(min_value=-62135596800, max_value=253402300799)


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(b"Sun, 06 Nov 1994 08:49:37 GMT", id="IMF-fixdate"),
        pytest.param(b"Sunday, 06-Nov-94 08:49:37 GMT", id="RFC 850"),
        pytest.param(b"Sun Nov  6 08:49:37 1994", id="asctime"),
        pytest.param(b" sun, 06 nov 1994 08:49:37 gmt ", id="lower case, blanks around"),
    ],
)
def test_the_three_forms(value: bytes) -> None:
    assert parse_http_date(value, now=NOW) == EXAMPLE


@given(SECONDS)
@settings(max_examples=200, deadline=None)
def test_date_reads_back(seconds: int) -> None:
    assert seconds == parse_http_date(format_http_date(seconds))


@given(st.binary(max_size=40) | st.text("SunNov 0123456789:-,GMT", max_size=35).map(str.encode))
@settings(max_examples=200, deadline=None)
@pytest.mark.rfc("HC-04")
def test_any_octets_give_seconds_or_none(value: bytes) -> None:
    seconds = parse_http_date(value)

    assert seconds is None or isinstance(seconds, int)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"0",
        b"Sun, 06 Nov 1994 08:49:37",
        b"Sun, 06 Nov 1994 08:49:37 UTC",
        b"Sun, 06 Nov 1994 24:00:00 GMT",
        b"Sun, 06 Nov 1994 08:60:00 GMT",
        b"Sun, 06 Nov 1994 08:00:61 GMT",
        b"Sun, 31 Nov 1994 08:49:37 GMT",
        b"Sun, 29 Feb 2023 08:49:37 GMT",
        b"Sun, 00 Nov 1994 08:49:37 GMT",
        b"Sun, 06 Xyz 1994 08:49:37 GMT",
        b"Sun, 06 Nov 0000 08:49:37 GMT",
        b"Sun Nov  0 08:49:37 1994",
        b"Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
    ],
)
@pytest.mark.rfc("HC-04")
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert parse_http_date(value) is None


@pytest.mark.parametrize(
    ("two_digits", "year"), [(b"26", 2026), (b"76", 2076), (b"77", 1977), (b"94", 1994)]
)
def test_two_digit_year_is_at_most_50_years_ahead(two_digits: bytes, year: int) -> None:
    seconds = parse_http_date(b"Friday, 01-Jan-" + two_digits + b" 00:00:00 GMT", now=NOW)

    assert seconds is not None
    assert format_http_date(seconds)[12:16] == str(year).encode()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (EXAMPLE, b"Sun, 06 Nov 1994 08:49:37 GMT"),
        (0, b"Thu, 01 Jan 1970 00:00:00 GMT"),
        (-1, b"Wed, 31 Dec 1969 23:59:59 GMT"),
        pytest.param(2**62, b"Fri, 31 Dec 9999 23:59:59 GMT", id="beyond four digits"),
        pytest.param(-(2**62), b"Mon, 01 Jan 0001 00:00:00 GMT", id="before year 1"),
    ],
)
def test_http_date(seconds: int, text: bytes) -> None:
    assert text == format_http_date(seconds)


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (1767323045_999_999_999, b"2026-01-02T03:04:05Z"),
        (0, b"1970-01-01T00:00:00Z"),
        (-1, b"1969-12-31T23:59:59Z"),
        pytest.param(10**30, b"9999-12-31T23:59:59Z", id="beyond four digits"),
    ],
)
def test_iso_date(ns: int, text: bytes) -> None:
    assert text == format_iso_date(ns)
