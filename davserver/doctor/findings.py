"""What the doctor finds: one line a check, and what is behind it."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Verdict(enum.Enum):
    """How bad it is. Only `BROKEN` counts for the exit code."""

    OK = "ok"
    NOTE = "note"
    """Nothing is wrong; some client may care."""
    WARNING = "warning"
    """It works, but not as it should."""
    BROKEN = "BROKEN"


class Cause(enum.Enum):
    """What is behind a finding; each has its remedy (remedies.py)."""

    AUTHORITY = "the server takes the Destination for one on another server"
    BASIC_PLAIN = "passwords can be read on the way"
    BODY_CHANGED = "something rewrites what passes"
    BODY_LIMIT = "uploads are limited"
    BUFFERED = "uploads are gathered before they are passed on"
    CACHED = "answers are kept and given again"
    CHUNKED = "uploads of unknown length do not arrive"
    CLOCK = "a clock is wrong"
    COMPRESSED = "answers are compressed on the way"
    DECODED = "the path is decoded, or rewritten, on the way"
    EXPECT = "`Expect: 100-continue` is not understood"
    GATEWAY = "the server behind the proxy does not answer in time"
    HEADER = "a header field is lost on the way"
    LOGIN_PAGE = "a page asks for sign-in; clients of WebDAV show no pages"
    METHOD = "a method is blocked"
    NO_SLASH = "the path without its slash does not get to the server"
    OPTIONS = "OPTIONS is answered on the way"
    PREFIX = "hrefs do not begin with the path that clients use"
    REDIRECT_SECURE = "plain http is redirected to https; clients do not follow"
    REDIRECT_SLASH = "a path is redirected to the same with a slash; clients do not follow"
    RIGHTS = "the user has no right to it"
    ROOM = "there is no room for what was uploaded"
    SCHEME_UNKNOWN = "the server does not know that clients use https"
    SERVER = "the server does not do as RFC 4918 says"
    SIGN_IN = "the request for sign-in does not reach the client"
    TIMEOUT = "long requests are cut off"


@dataclass(frozen=True, slots=True)
class Finding:
    """Attributes:
    check: what was looked at, in a few words.
    text: what was seen.
    cause: None when nothing is to be done.
    facts: what the remedy's lines name: `header`, `method`, ...
    """

    check: str
    verdict: Verdict
    text: str
    cause: Cause | None = None
    facts: dict[str, str] = field(default_factory=dict)


def ok(check: str, text: str) -> Finding:
    return Finding(check, Verdict.OK, text)


def note(check: str, text: str) -> Finding:
    return Finding(check, Verdict.NOTE, text)


def warning(check: str, text: str, cause: Cause, **facts: str) -> Finding:
    return Finding(check, Verdict.WARNING, text, cause, facts)


def broken(check: str, text: str, cause: Cause, **facts: str) -> Finding:
    return Finding(check, Verdict.BROKEN, text, cause, facts)
