"""PUT: small, empty, in chunks, large, with Expect; what is taken, and whether it is gathered."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import repeat

from davserver.doctor.findings import Cause, Finding, broken, note, ok, warning
from davserver.doctor.judging import said, unexpected
from davserver.doctor.messages import Request
from davserver.doctor.proxies import APACHE
from davserver.doctor.visit import Visit

_MIB = 1 << 20
_CHUNKED = 300_000
_GATHERED = 768 << 10
"""Less than the least limit of a proxy (nginx: 1 MiB), and not sent as a whole."""
_ANNOUNCED = (10 << 30, 1 << 30, 100 << 20)
"""Sizes that are announced, and not sent."""
_PATIENCE_S = 4.0


def content(size: int, piece: int = 65_536) -> Iterator[bytes]:
    """Yields bytes that are the same each time, and nowhere twice the same, so that a lost or a
    doubled piece shows."""
    number = 0
    while size > 0:
        block = hashlib.sha256(b"%d" % number).digest() * (piece // 32 + 1)
        yield block[: min(piece, size)]
        size -= piece
        number += 1


def stored(visit: Visit, path: str) -> tuple[str, int]:
    """Returns the SHA-256 of a file, and its size in bytes."""
    digest = hashlib.sha256()
    answer = visit.ask("GET", path, sink=digest.update)
    return digest.hexdigest(), answer.size


def hash_of(pieces: Iterator[bytes]) -> str:
    digest = hashlib.sha256()
    for piece in pieces:
        digest.update(piece)
    return digest.hexdigest()


def check_put(visit: Visit) -> Iterator[Finding]:
    path = visit.path("small.txt")
    answer = visit.ask("PUT", path, body=b"small")
    if answer.status != 201:
        yield unexpected(visit, "PUT", "PUT", answer)
        return
    found = visit.ask("GET", path)
    if found.body != b"small":
        yield broken("PUT", f"GET answers {found}, with {found.body[:40]!r}", Cause.BODY_CHANGED)
        return
    yield ok("PUT", said(answer))
    path = visit.path("empty.txt")
    answer = visit.ask("PUT", path, body=b"")
    if answer.status != 201:
        # Finder, Windows and davfs2 make each file empty first.
        yield unexpected(visit, "PUT, empty", "PUT", answer)
    elif stored(visit, path)[1]:
        yield broken("PUT, empty", "the file is not empty", Cause.BODY_CHANGED)
    else:
        yield ok("PUT, empty", said(answer))


def check_chunked(visit: Visit) -> Iterator[Finding]:
    """Finder, Android's clients and rclone send what they do not know the length of."""
    path = visit.path("chunked.bin")
    answer = visit.ask("PUT", path, pieces=lambda: content(_CHUNKED, 7_001))
    if answer.status != 201:
        yield unexpected(visit, "PUT, chunked", "PUT", answer, cause=Cause.CHUNKED)
        return
    digest, size = stored(visit, path)
    if digest != hash_of(content(_CHUNKED, 7_001)):
        text = f"of {_CHUNKED} bytes {size} were stored"
        yield broken("PUT, chunked", text, Cause.CHUNKED)
        return
    yield ok("PUT, chunked", said(answer))


def check_large(visit: Visit) -> Iterator[Finding]:
    size, path = visit.size, visit.path("large.bin")
    check = f"PUT, {amount(size)}"
    answer = visit.ask("PUT", path, pieces=lambda: content(size), length=size)
    if answer.status != 201:
        yield unexpected(visit, check, "PUT", answer)
        return
    speed = size / max(answer.seconds, 1e-3) / _MIB
    digest, arrived = stored(visit, path)
    if digest != hash_of(content(size)):
        yield broken(check, f"{arrived} bytes come back, not the same", Cause.BODY_CHANGED)
        return
    yield ok(check, f"{said(answer)}, {speed:.0f} MiB/s")


def check_limit(visit: Visit) -> Iterator[Finding]:
    """Announces more than is ever sent."""
    refused: str | None = None
    for size in _ANNOUNCED:
        if size <= visit.size:
            break
        request = Request("PUT", visit.path("limit.bin"), expects=True, announced=size)
        answer = visit.probe(request, wait_s=_PATIENCE_S)
        if answer is None or answer.status not in (413, 507):
            break
        if answer.status == 507:
            yield note("limit", f"there is no room for {amount(size)}")
            return
        refused = amount(size)
    if refused is None:
        yield ok("limit", f"{amount(_ANNOUNCED[0])} would be taken")
    else:
        yield warning("limit", f"a PUT of {refused} is refused (413)", Cause.BODY_LIMIT)


def check_expect(visit: Visit) -> Iterator[Finding]:
    """curl, Windows and many libraries wait for the word before they send."""
    answer = visit.ask("PUT", visit.path("expect.txt"), body=b"expected", expects=True)
    if answer.status != 201:
        yield unexpected(visit, "Expect", "PUT", answer, cause=Cause.EXPECT)
    elif stored(visit, visit.path("expect.txt"))[1] != 8:
        yield broken("Expect", "the file that was sent did not arrive", Cause.EXPECT)
    elif answer.continued:
        yield ok("Expect", "100 Continue came")
    else:
        yield warning("Expect", "no 100 Continue: each upload waits a second", Cause.EXPECT)


def check_gathered(visit: Visit) -> Iterator[Finding]:
    """Who passes an upload on as it comes has the server's refusal before its end."""
    path = visit.path("small.txt")
    headers = [("If-None-Match", "*")]
    whole = visit.ask("PUT", path, headers, body=b"never stored")
    if whole.status != 412:
        return  # a finding of the conditions
    request = Request(
        "PUT", path, headers, pieces=lambda: repeat(b"x" * 32_768, 10), announced=_GATHERED
    )
    answer = visit.probe(request, wait_s=_PATIENCE_S)
    if answer is not None and answer.status != 412:
        return  # a limit, or what else refuses it before the server does
    if answer is None and APACHE in visit.proxies:
        # It passes the body on as it comes, and looks for the answer only then.
        yield note("buffering", "Apache passes no answer on before an upload is whole")
    elif answer is None:
        yield warning(
            "buffering",
            "no answer before an upload is whole: a proxy gathers it first",
            Cause.BUFFERED,
        )
    else:
        yield ok("buffering", "uploads are passed on as they come")


def amount(size: int) -> str:
    """Returns a size for people."""
    for unit, name in ((1 << 30, "GiB"), (_MIB, "MiB"), (1 << 10, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} bytes"
