"""A request and an answer as values, and how they look on the wire (RFC 9112)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field


class BrokenAnswer(Exception):
    """The connection ended, or fell silent, where an answer was due. The message is one line."""


@dataclass(frozen=True, slots=True)
class Request:
    """Attributes:
    target: the request target, percent-encoded.
    body: in one piece, with Content-Length.
    pieces: makes the body anew at each try; sent in chunks, or with `length` in one stretch.
    expects: sends `Expect: 100-continue` and waits for the word.
    host: for Host, in place of the server's own.
    announced: bytes that Content-Length says, of which `body` is only the beginning (`probe`).
    """

    method: str
    target: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    pieces: Callable[[], Iterator[bytes]] | None = None
    length: int | None = None
    expects: bool = False
    announced: int | None = None
    host: str | None = None


@dataclass(slots=True)
class Answer:
    """Attributes:
    headers: names in lower case.
    framing: "length", "chunked", "close" or "none".
    continued: 100 (Continue) came before it.
    is_early: it came before the body was sent as a whole.
    seconds: from the first byte sent to the last one read.
    """

    status: int
    reason: str
    headers: list[tuple[str, str]]
    body: bytes = b""
    framing: str = "none"
    continued: bool = False
    is_early: bool = False
    seconds: float = 0.0
    size: int = field(default=0)

    def get(self, name: str) -> str | None:
        """Returns a field's value, several lines joined with commas."""
        values = [value for key, value in self.headers if key == name]
        return ", ".join(values) if values else None

    def tokens(self, name: str) -> set[str]:
        value = self.get(name) or ""
        return {token.strip() for token in value.split(",") if token.strip()}

    def __str__(self) -> str:
        return f"{self.status} {self.reason}".strip()


def write_head(request: Request, authority: str) -> bytes:
    """Returns request line and fields; `authority` goes into Host."""
    lines = [f"{request.method} {request.target} HTTP/1.1", f"Host: {request.host or authority}"]
    if not any(name.lower() == "accept-encoding" for name, _ in request.headers):
        lines.append("Accept-Encoding: identity")
    lines.append("User-Agent: davserver-check-url")
    lines += [f"{name}: {value}" for name, value in request.headers]
    if request.announced is not None:
        lines.append(f"Content-Length: {request.announced}")
    elif request.pieces is not None and request.length is None:
        lines.append("Transfer-Encoding: chunked")
    elif request.pieces is not None:
        lines.append(f"Content-Length: {request.length}")
    elif request.body is not None:
        lines.append(f"Content-Length: {len(request.body)}")
    if request.expects:
        lines.append("Expect: 100-continue")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def parse_head(head: bytes) -> Answer:
    """Reads a head without its empty line. Raises BrokenAnswer."""
    first, *lines = head.decode("latin-1").split("\r\n")
    version, _, rest = first.partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or not status.isdigit():
        raise BrokenAnswer(f"what answers is no HTTP/1.1 server: {first[:80]!r}")
    pairs = [line.partition(":") for line in lines]
    headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
    return Answer(int(status), reason.strip(), headers)


def ends(answer: Answer) -> bool:
    """Whether the connection ends after it."""
    return "close" in {token.lower() for token in answer.tokens("connection")}
