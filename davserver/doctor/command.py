"""`davserver check-url` from its arguments to its exit code."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import secrets
import signal
import ssl
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FrameType

from davserver.doctor.address import Address, UnusableUrl, parse_address
from davserver.doctor.checks.reach import CannotExamine
from davserver.doctor.examine import examine
from davserver.doctor.messages import BrokenAnswer
from davserver.doctor.report import Report
from davserver.doctor.signin import SignIn
from davserver.doctor.visit import Visit
from davserver.doctor.wire import Unreachable

WELL = 0
BROKEN = 1
NO_WAY_IN = 2
INTERRUPTED = 130
PASSWORD = "DAVSERVER_PASSWORD"
_SHIFTS = {"": 0, "K": 10, "M": 20, "G": 30}


class _Ended(BaseException):
    """A signal asked for the end."""


@dataclass(frozen=True, slots=True)
class Options:
    """Attributes:
    user: None where nobody signs in.
    size: bytes of the large upload.
    pause_s: seconds that an upload stands still; 0 leaves that out.
    authority: a file of certificates that are trusted, in place of the system's.
    is_insecure: no certificate is looked at.
    """

    url: str
    user: str | None = None
    size: int = 16 << 20
    pause_s: float = 0.0
    authority: str | None = None
    is_insecure: bool = False


def run(options: Options, say: Callable[[str], None], complain: Callable[[str], None]) -> int:
    """Examines, cleans up whatever happens, and returns the exit code.

    Args:
        say: takes a line for standard output.
        complain: takes a line for standard error.
    """
    try:
        address = parse_address(options.url)

        def trust_for(other: Address) -> ssl.SSLContext | None:
            return _trust(options) if other.is_secure else None

        trust = trust_for(address)
        sign_in = None
        if options.user is not None:
            sign_in = SignIn(
                options.user, read_password(options.user), lambda: secrets.token_hex(8)
            )
    except (UnusableUrl, CannotExamine) as error:
        complain(str(error))
        return NO_WAY_IN
    except KeyboardInterrupt:
        return INTERRUPTED
    visit = Visit(address, trust, sign_in, options.size, options.pause_s)
    report = Report(visit, say)
    with _signals():
        try:
            return _examine(visit, report, trust_for, complain)
        except (_Ended, KeyboardInterrupt):
            complain("interrupted")
            return INTERRUPTED
        finally:
            _clean_up(visit, complain)


def _examine(
    visit: Visit,
    report: Report,
    trust_for: Callable[[Address], ssl.SSLContext | None],
    complain: Callable[[str], None],
) -> int:
    try:
        for finding in examine(visit, trust_for):
            report.add(finding)
    except (CannotExamine, Unreachable, BrokenAnswer) as error:
        complain(str(error))
        if report.is_broken:
            report.conclude()
        return NO_WAY_IN
    report.conclude()
    return BROKEN if report.is_broken else WELL


def _clean_up(visit: Visit, complain: Callable[[str], None]) -> None:
    left: str | None = visit.url(visit.folder) if visit.is_made else None
    try:
        left = visit.clean_up()
    except (_Ended, KeyboardInterrupt):
        complain("interrupted once more")
    finally:
        visit.wire.close()
        if left is not None:
            complain(f"left behind, please delete it: {left}")


@contextlib.contextmanager
def _signals() -> Iterator[None]:
    """What would end the process at once lets it clean up first."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _Ended

    ours = (signal.SIGTERM, signal.SIGHUP)
    try:
        before = {number: signal.signal(number, end) for number in ours}
    except ValueError:
        # Not in the main thread: nobody signals here.
        before = {}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def read_password(user: str) -> str:
    """Returns it from the environment, else from standard input: asked for at a terminal, else
    its first line. Raises CannotExamine."""
    given = os.environ.get(PASSWORD)
    if given:
        return given
    if sys.stdin.isatty():
        with contextlib.suppress(EOFError):
            return getpass.getpass(f"Password of {user}: ")
    line = sys.stdin.readline().rstrip("\r\n")
    if not line:
        raise CannotExamine(f"no password: type it, or give it by {PASSWORD} or standard input")
    return line


def parse_size(text: str) -> int:
    """Reads a number of bytes: `1000000`, `64MiB`, `2GiB`. Raises ValueError."""
    found = re.fullmatch(r"(\d{1,15})\s*(?:([KMGkmg])i?[Bb]?)?", text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no size: write it like 16MiB")
    return int(found[1]) << _SHIFTS[(found[2] or "").upper()]


def _trust(options: Options) -> ssl.SSLContext:
    """Raises CannotExamine."""
    try:
        context = ssl.create_default_context(cafile=options.authority)
    except (OSError, ssl.SSLError) as error:
        reason = error.strerror or str(error)
        raise CannotExamine(f"--ca {options.authority}: {reason}") from None
    if options.is_insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
