"""HTTP dates (RFC 9110 section 5.6.7) and RFC 3339 dates (RFC 4918 section 15.1). No I/O.

Never strftime: its names follow the locale.
"""

from __future__ import annotations

import calendar
import re
import time
from functools import lru_cache

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name.lower(): number for number, name in enumerate(_MONTHS, start=1)}
_EARLIEST, _LATEST = -62135596800, 253402300799
"""0001-01-01 and 9999-12-31: what four digits of a year can say."""

_CLOCK = r"(?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2})"
_DAY = r"(?P<day>[0-9]{2})"
_MONTH = r"(?P<month>[a-z]{3})"
_FORMS = tuple(
    re.compile(form.encode("ascii"), re.IGNORECASE)
    for form in (
        # IMF-fixdate: Sun, 06 Nov 1994 08:49:37 GMT
        rf"[a-z]{{3}}, {_DAY} {_MONTH} (?P<year>[0-9]{{4}}) {_CLOCK} GMT",
        # RFC 850: Sunday, 06-Nov-94 08:49:37 GMT
        rf"[a-z]{{6,9}}, {_DAY}-{_MONTH}-(?P<year>[0-9]{{2}}) {_CLOCK} GMT",
        # asctime: Sun Nov  6 08:49:37 1994
        rf"[a-z]{{3}} {_MONTH} (?P<day>[ 0-9][0-9]) {_CLOCK} (?P<year>[0-9]{{4}})",
    )
)


@lru_cache(maxsize=1024)
def format_http_date(seconds: int) -> bytes:
    """Returns seconds since the epoch as an IMF-fixdate; years outside 1 to 9999 are clamped."""
    t = time.gmtime(min(max(seconds, _EARLIEST), _LATEST))
    return (
        f"{_DAYS[t.tm_wday]}, {t.tm_mday:02} {_MONTHS[t.tm_mon - 1]} {t.tm_year:04} "
        f"{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02} GMT"
    ).encode("ascii")


def parse_http_date(value: bytes, *, now: float | None = None) -> int | None:
    """Returns seconds since the epoch, or None for what is no HTTP date of the three forms.

    Args:
        now: seconds since the epoch, for the century of the RFC 850 form alone; None asks the
            clock.
    """
    text = value.strip(b" \t")
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return _seconds(match, now)
    return None


def format_iso_date(ns: int) -> bytes:
    """Returns nanoseconds since the epoch as an RFC 3339 date in UTC, to the second."""
    return _iso_date(ns // 1_000_000_000)


@lru_cache(maxsize=1024)
def _iso_date(seconds: int) -> bytes:
    t = time.gmtime(min(max(seconds, _EARLIEST), _LATEST))
    return (
        f"{t.tm_year:04}-{t.tm_mon:02}-{t.tm_mday:02}T{t.tm_hour:02}:{t.tm_min:02}:{t.tm_sec:02}Z"
    ).encode("ascii")


def _seconds(match: re.Match[bytes], now: float | None) -> int | None:
    month = _MONTH_NUMBERS.get(match["month"].decode("ascii").lower())
    year, day = int(match["year"]), int(match["day"])
    hour, minute, second = int(match["hour"]), int(match["minute"]), int(match["second"])
    if len(match["year"]) == 2:
        year = _full_year(year, now)
    if month is None or year < 1 or hour > 23 or minute > 59 or second > 60:
        return None
    if not 1 <= day <= calendar.monthrange(year, month)[1]:
        return None
    return calendar.timegm((year, month, day, hour, minute, second, 0, 1, 0))


def _full_year(two_digits: int, now: float | None) -> int:
    """RFC 9110 section 5.6.7: a date that "appears to be more than 50 years in the future" is of
    the most recent year in the past with the same last two digits."""
    this_year = time.gmtime(now).tm_year
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year
