"""The order of the checks, and what one that breaks off means."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ssl import SSLContext

from davserver.doctor.address import Address
from davserver.doctor.checks.conditions import check_conditions, check_etags
from davserver.doctor.checks.downloads import check_compression, check_length, check_ranges
from davserver.doctor.checks.listings import check_base, check_properties, check_slash, check_tree
from davserver.doctor.checks.locking import check_locks
from davserver.doctor.checks.moving import check_folders, check_overwrite, check_transfers
from davserver.doctor.checks.names import check_double_slash, check_encoded_slash, check_names
from davserver.doctor.checks.pausing import check_pause
from davserver.doctor.checks.reach import (
    check_clock,
    check_front,
    check_options,
    check_sign_in,
    make_folder,
)
from davserver.doctor.checks.uploads import (
    check_chunked,
    check_expect,
    check_gathered,
    check_large,
    check_limit,
    check_put,
)
from davserver.doctor.findings import Cause, Finding, broken
from davserver.doctor.messages import BrokenAnswer
from davserver.doctor.visit import Visit
from davserver.doctor.wire import Unreachable

Check = Callable[[Visit], Iterator[Finding]]

_READING: tuple[tuple[str, Check], ...] = (
    ("in front", check_front),
    ("OPTIONS", check_options),
    ("PROPFIND", check_base),
    ("clock", check_clock),
)
_WRITING: tuple[tuple[str, Check], ...] = (
    ("PUT", check_put),
    ("PROPFIND", check_tree),
    ("no slash", check_slash),
    ("PUT, chunked", check_chunked),
    ("Expect", check_expect),
    ("PUT, large", check_large),
    ("limit", check_limit),
    ("ETag", check_etags),
    ("conditions", check_conditions),
    ("buffering", check_gathered),
    ("length", check_length),
    ("ranges", check_ranges),
    ("compression", check_compression),
    ("COPY, MOVE", check_transfers),
    ("Overwrite", check_overwrite),
    ("folders", check_folders),
    ("PROPPATCH", check_properties),
    ("locks", check_locks),
    ("names", check_names),
    ("%2F", check_encoded_slash),
    ("//", check_double_slash),
    ("pause", check_pause),
)


def examine(visit: Visit, trust_for: Callable[[Address], SSLContext | None]) -> Iterator[Finding]:
    """Yields what is found, as it is found. The folder stays: `visit.clean_up()` is the caller's.

    Raises CannotExamine, Unreachable, BrokenAnswer when there is no way in.
    """
    yield from check_sign_in(visit, trust_for)
    for name, check in _READING:
        yield from _guarded(visit, name, check)
    yield from make_folder(visit)
    if visit.is_made:
        for name, check in _WRITING:
            yield from _guarded(visit, name, check)


def _guarded(visit: Visit, name: str, check: Check) -> Iterator[Finding]:
    """A connection that breaks is a finding, and the next check begins with a new one."""
    try:
        yield from check(visit)
    except BrokenAnswer as error:
        yield broken(name, str(error), Cause.TIMEOUT)
    except Unreachable as error:
        yield broken(name, str(error), Cause.GATEWAY)
