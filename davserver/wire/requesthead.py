"""What a request head must be before anything is done for it (RFC 9112 sections 2, 3, 6).

No I/O here: bytes and fields in, a checked head or `Refused` out.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from davserver.protocol.headers import DavHeaders

Field = tuple[bytes, bytes]

METHODS = {
    name.encode(): name
    for name in (
        *("ACL", "BIND", "CHECKOUT", "COPY", "DELETE", "GET", "HEAD", "LINK", "LOCK", "MERGE"),
        *("MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "OPTIONS", "PATCH", "POST", "PROPFIND"),
        *("PROPPATCH", "PURGE", "PUT", "REBIND", "REPORT", "SEARCH", "SUBSCRIBE", "TRACE"),
        *("UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"),
    )
}
"""What the parser knows, but CONNECT and the preface of HTTP/2. Others are answered by the edge:
the parser would call them errors."""
SPECIAL = frozenset({b"host", b"expect", b"content-length", b"transfer-encoding"})
"""Fields that decide about the connection."""

REQUEST_LINE = re.compile(rb"([A-Z]+) (/[!\"$-~]*) HTTP/1\.1")
"""The plain case; whatever else is allowed is left to the parser."""
VERSION = b"HTTP/1.1"
KNOWN_LIMIT = 2_048
"""Bytes of header fields that are remembered as read."""

CONTENT_LENGTH = b"content-length"
VARYING = frozenset(
    {
        *(b"authorization", CONTENT_LENGTH, b"cookie", b"range", b"if", b"lock-token"),
        *(b"destination", b"x-request-id"),
    }
)
"""Fields that are not remembered with the others."""

_NAMES = b"|".join(sorted(VARYING))
_VARYING = re.compile(rb"(?i)\r\n(%b):[ \t]*([!-~](?:[ -~]*[!-~])?)(?=\r\n)" % _NAMES)
_VARYING_NAME = re.compile(rb"(?i)\n(?:%b)[ \t]*:" % _NAMES)
_LENGTH = re.compile(rb"[0-9]{1,18}")
_USUAL = tuple(
    (name.lower(), b"\r\n%b: " % name)
    for name in (
        *(b"Content-Length", b"Authorization", b"Range", b"If", b"Lock-Token"),
        *(b"Destination", b"X-Request-ID"),
    )
)
_VALUE = re.compile(rb"[!-~](?:[ -~]*[!-~])?")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}(?: |\Z)")
_BARE_END = re.compile(rb"\n\r?\n")
_UPGRADE = re.compile(rb"(?i)(?<=\r\n)(?:upgrade|http2-settings)[ \t]*:[^\r\n]*\r\n")
_HOST = re.compile(rb"(?:\[[0-9A-Za-z:.%]*\]|[A-Za-z0-9._~%!$&'()*+,;=-]*)(?::[0-9]*)?")


class Refused(Exception):
    """A request that the edge answers itself; the connection ends after it.

    Args:
        extra: further header lines, each with its CR LF.
    """

    def __init__(self, status: int, detail: bytes, extra: bytes = b"") -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.extra = extra


@dataclass(frozen=True, slots=True)
class Framing:
    """What the special fields say.

    Attributes:
        length: bytes of the body as announced, 0 when nothing is.
        chunked: the body has chunks instead.
        expects_100: the client waits for 100 (Continue).
    """

    length: int
    chunked: bool
    expects_100: bool


@dataclass(frozen=True, slots=True)
class KnownFields:
    """The header fields of a request, read and checked.

    Attributes:
        headers: names in lower case.
        parsed: the same, to be read.
        has_body: a body follows the head.
        keep_alive: the client means to go on.
        is_plain: nothing is asked of the connection, and what is sent has a length.
    """

    headers: tuple[Field, ...]
    parsed: DavHeaders
    version: str
    framing: Framing
    has_body: bool
    keep_alive: bool
    is_plain: bool

    def without_varying(self) -> KnownFields:
        """Returns what is to be remembered: nothing of it tells of a body of some length."""
        headers = tuple(field for field in self.headers if field[0] not in VARYING)
        chunked = self.framing.chunked
        return replace(
            self,
            headers=headers,
            parsed=DavHeaders(headers),
            framing=replace(self.framing, length=0),
            has_body=chunked,
        )

    def with_length(self, length: int) -> KnownFields:
        """Returns the same with a body of so many bytes."""
        framing = replace(self.framing, length=length)
        return replace(self, framing=framing, has_body=length > 0)


def without_varying(fields: bytes) -> tuple[bytes, list[Field]] | None:
    """Cuts out the fields that are another with each request, and those that nobody should
    remember. Returns the rest, and them; None when the parser must see them where they are."""
    if _VARYING_NAME.search(fields) is None:
        return fields, []
    cut = [(found[1].lower(), found[2]) for found in _VARYING.finditer(fields)]
    rest = _VARYING.sub(b"", fields)
    return None if _VARYING_NAME.search(rest) else (rest, cut)


def cut_length(known: KnownFields, varying: Sequence[Field]) -> tuple[int, Sequence[Field]] | None:
    """Returns the bytes of the body that Content-Length announces, and the other fields that vary;
    None where the parser is to say what is wrong with it (RFC 9112 section 6.3)."""
    lengths = [value for name, value in varying if name == CONTENT_LENGTH]
    if not lengths:
        return known.framing.length, varying
    if len(lengths) > 1 or known.framing.chunked or _LENGTH.fullmatch(lengths[0]) is None:
        return None
    return int(lengths[0]), [field for field in varying if field[0] != CONTENT_LENGTH]


def without_usual(fields: bytes) -> tuple[bytes, list[Field]] | None:
    """As `without_varying`, in a third of the time, where they are spelled as most clients do.
    What it returns is to be used only when the rest is known; None where there are none."""
    cut: list[Field] = []
    for name, begin in _USUAL:
        at = fields.find(begin)
        if at >= 0:
            end = fields.find(b"\r\n", at + 2)
            value = fields[at + len(begin) : end]
            if _VALUE.fullmatch(value) is None:
                return None
            cut.append((name, value))
            fields = fields[:at] + fields[end:]
    return (fields, cut) if cut else None


def check_partial(head: bytearray, searched: int, *, limit: int, url_limit: int) -> None:
    """Refuses early what cannot become a head any more; `searched` bytes were looked at."""
    if len(head) > limit:
        raise too_long(bytes(head), url_limit)
    if _TOKEN.match(head) is None:
        raise Refused(400, b"not an HTTP request")
    if _BARE_END.search(head, searched):
        raise Refused(400, b"lines must end with CR LF")


def too_long(head: bytes, url_limit: int) -> Refused:
    """Returns the refusal of a head over the limit: 414 where the URL is the cause, else 431."""
    if len(head.partition(b"\r\n")[0]) > url_limit:
        return Refused(414, b"the URL is too long")
    return Refused(431, b"the header fields are too large")


def unknown_method(head: bytes, allow: Callable[[], bytes]) -> Refused:
    """Returns the refusal of a head whose method is not one of METHODS.

    RFC 9110 section 9.1: "An origin server that receives a request method that is unrecognized
    or not implemented SHOULD respond with the 501 (Not Implemented) status code."
    """
    if _TOKEN.match(head) is None or b" " not in head.partition(b"\r\n")[0]:
        return Refused(400, b"not an HTTP request")
    return Refused(501, b"unknown method", b"allow: %b\r\n" % allow())


def without_upgrade(head: bytes) -> bytes:
    """Returns the head without the fields that ask for another protocol.

    RFC 9110 section 7.8: "A server MAY ignore a received Upgrade header field".
    """
    return _UPGRADE.sub(b"", head)


def unparsable(special: Sequence[Field]) -> Refused:
    """Returns the refusal of a head that the parser could not read."""
    codings = [value for name, value in special if name == b"transfer-encoding"]
    lengths = [value for name, value in special if name == b"content-length"]
    if codings and lengths:
        # RFC 9112 section 6.1: such a message "ought to be handled as an error".
        return Refused(400, b"both Content-Length and Transfer-Encoding")
    if codings and not _is_chunked(codings):
        return _unknown_coding(codings)
    return Refused(400, b"the request head cannot be parsed")


def read_framing(special: Sequence[Field], version: str) -> Framing:
    """Checks the fields that decide about the connection. Raises Refused."""
    if version not in ("1.1", "1.0"):
        raise Refused(505, b"only HTTP/1.1 and HTTP/1.0")
    hosts = 0
    length = 0
    codings: list[bytes] = []
    expects_100 = False
    for name, value in special:
        if name == b"host":
            hosts += 1
            if not is_host(value):
                raise Refused(400, b"Host is malformed")
        elif name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            codings.append(value)
        elif version == "1.1":
            if value.strip().lower() != b"100-continue":
                raise Refused(417, b"no expectation but 100-continue is met")
            expects_100 = True
    # RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to any
    # HTTP/1.1 request message that lacks a Host header field and to any request message that
    # contains more than one Host header field line".
    if hosts > 1 or (not hosts and version == "1.1"):
        raise Refused(400, b"exactly one Host field is needed")
    if codings and version == "1.0":
        raise Refused(400, b"HTTP/1.0 has no Transfer-Encoding")
    if codings and not _is_chunked(codings):
        raise _unknown_coding(codings)
    return Framing(length, bool(codings), expects_100)


def is_host(value: bytes) -> bool:
    """True for what may stand in Host (RFC 9110 section 7.2), empty included."""
    return _HOST.fullmatch(value.strip()) is not None


def _is_chunked(codings: Sequence[bytes]) -> bool:
    return len(codings) == 1 and codings[0].strip().lower() == b"chunked"


def _unknown_coding(codings: Sequence[bytes]) -> Refused:
    # RFC 9112 section 6.3: where chunked is not the final coding, or is applied twice, the end of
    # the body cannot be found, 400; section 6.1: a coding that is not understood, 501.
    joined = b",".join(codings).lower()
    if joined.rpartition(b",")[2].strip() != b"chunked" or joined.count(b"chunked") > 1:
        return Refused(400, b"the transfer coding does not delimit the body")
    return Refused(501, b"no transfer coding but chunked is understood")


def origin_form(target: bytes, headers: list[Field]) -> bytes:
    """Returns path and query of a request target; the authority of an absolute URL becomes Host.

    RFC 9112 section 3.2.2: the server "MUST ignore the received Host header field (if any) and
    instead replace it with the host information of the request-target". Raises Refused (400).
    """
    if target[:1] == b"/" or target == b"*":
        return target
    scheme, separator, rest = target.partition(b"://")
    end = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
    authority = rest[:end].rpartition(b"@")[2]
    known = separator and scheme.lower() in (b"http", b"https")
    if not known or not authority or not is_host(authority):
        raise Refused(400, b"the request target is not understood")
    headers[:] = [field for field in headers if field[0] != b"host"]
    headers.append((b"host", authority))
    path = rest[end:]
    return path if path.startswith(b"/") else b"/" + path


def decode_path(raw_path: bytes) -> str:
    """Returns the decoded path that the ASGI scope wants beside `raw_path`."""
    if b"%" not in raw_path and raw_path.isascii():
        return raw_path.decode("ascii")
    return urllib.parse.unquote_to_bytes(raw_path).decode("utf-8", "replace")


def request_line(head: bytes) -> tuple[str, bytes]:
    """Returns method and target for the log, whatever the head looks like."""
    words = head[:2048].partition(b"\r\n")[0].split(b" ", 2)
    return words[0][:64].decode("latin-1"), words[1] if len(words) > 1 else b""
