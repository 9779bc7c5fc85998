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
    visit.ask("PUT", path, body=_TEXT)
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
    if answer.status != 200:
        yield unexpected(visit, "compression", "GET", answer)
        return
    if coding is None:
        if answer.get("etag") != plain.get("etag"):
            text = f"the ETag is {answer.get('etag')} with gzip, {plain.get('etag')} without"
            yield broken("compression", text, Cause.COMPRESSED)
        else:
            yield ok("compression", "none on the way")
        return
    damage = []
    if answer.get("etag") != plain.get("etag"):
        damage.append(f"ETag {plain.get('etag')} became {answer.get('etag')}")
    if answer.get("content-length") is None:
        damage.append("Content-Length is lost")
    if visit.ask("GET", path, [gzip, ("Range", "bytes=5-9")]).status != 206:
        damage.append("ranges are lost")
    text = f"GET is encoded with {coding}"
    if damage:
        yield broken("compression", f"{text}: {', '.join(damage)}", Cause.COMPRESSED)
    else:
        yield warning("compression", text, Cause.COMPRESSED)
