"""GET and HEAD: length, ranges, and what compression on the way does to them."""

from __future__ import annotations

from collections.abc import Iterator

from davserver.doctor.findings import Cause, Finding, broken, ok, warning
from davserver.doctor.judging import unexpected
from davserver.doctor.visit import Visit

_TEXT = b"The quick brown fox jumps over the lazy dog.\n" * 1_500
"""Worth compressing, and more than the least size that proxies compress."""


def check_length(visit: Visit) -> Iterator[Finding]:
    path = visit.path("text.txt")
    stored = visit.ask("PUT", path, body=_TEXT)
    if stored.status != 201:
        yield unexpected(visit, "length", "PUT", stored)
        return
    for method in ("GET", "HEAD"):
        answer = visit.ask(method, path)
        if answer.status != 200:
            yield unexpected(visit, "length", method, answer)
            return
        if method == "GET" and answer.body != _TEXT:
            yield broken("length", "GET gives other bytes than were stored", Cause.BODY_CHANGED)
            return
        if answer.get("content-length") != str(len(_TEXT)):
            length = answer.get("content-length")
            text = f"{method}: Content-Length is {length or 'missing'}, not {len(_TEXT)}"
            yield broken("length", text, Cause.COMPRESSED)
            return
    yield ok("length", "GET and HEAD tell it")


def check_ranges(visit: Visit) -> Iterator[Finding]:
    """Players and mounts read in pieces; resumed downloads too."""
    path = visit.path("text.txt")
    for asked, expected in (("bytes=0-9", _TEXT[:10]), ("bytes=-10", _TEXT[-10:])):
        answer = visit.ask("GET", path, [("Range", asked)])
        if answer.status == 404:
            return  # it could not be stored: check_length told
        if answer.status == 200:
            yield broken(
                "ranges", f"{asked} is answered with everything", Cause.HEADER, header="Range"
            )
            return
        if answer.status != 206:
            yield unexpected(visit, "ranges", "GET", answer)
            return
        if answer.body != expected:
            yield broken("ranges", f"{asked} gives other bytes", Cause.BODY_CHANGED)
            return
    yield ok("ranges", "206 Partial Content")


def check_compression(visit: Visit) -> Iterator[Finding]:
    """What clients see that can take gzip: most can."""
    path = visit.path("text.txt")
    gzip = ("Accept-Encoding", "gzip, deflate, br")
    plain = visit.ask("HEAD", path)
    answer = visit.ask("GET", path, [gzip])
    coding = answer.get("content-encoding")
    if answer.status == 404:
        return
    if answer.status != 200:
        yield unexpected(visit, "compression", "GET", answer)
        return
    damage = []
    tag = answer.get("etag")
    if tag != plain.get("etag") and not _is_taken(visit, tag):
        damage.append(f"ETag {plain.get('etag')} became {tag}, which If-Match does not take")
    if visit.ask("GET", path, [gzip, ("Range", "bytes=5-9")]).status != 206:
        damage.append("ranges are lost")
    text = f"GET is encoded with {coding}" if coding else "GET is not encoded"
    if damage:
        yield broken("compression", f"{text}; {'; '.join(damage)}", Cause.COMPRESSED)
    elif coding is not None:
        if answer.get("content-length") is None:
            text += "; Content-Length is lost"
        yield warning("compression", text, Cause.COMPRESSED)
    else:
        yield ok("compression", "none on the way")


def _is_taken(visit: Visit, tag: str | None) -> bool:
    """Clients send back the tag that they were given, when they save."""
    answer = visit.ask("PUT", visit.path("text.txt"), [("If-Match", tag or "")], body=_TEXT)
    return answer.status in (200, 201, 204)
