"""PROPFIND: depths, hrefs, the slash at the end, properties that are kept."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from davserver.doctor.address import decoded
from davserver.doctor.findings import Cause, Finding, broken, note, ok
from davserver.doctor.judging import said, unexpected
from davserver.doctor.listing import Entry, NoListing, read_listing
from davserver.doctor.messages import Answer
from davserver.doctor.visit import Visit

_ASK = (
    b'<?xml version="1.0" encoding="utf-8"?><D:propfind xmlns:D="DAV:"><D:prop>'
    b"<D:resourcetype/><D:getetag/><D:getcontentlength/></D:prop></D:propfind>"
)
_XML = ("Content-Type", "application/xml")
_KEPT = "{http://davserver.invalid/check}kept"


def propfind(visit: Visit, path: str, depth: str, body: bytes = _ASK) -> Answer:
    return visit.ask("PROPFIND", path, [("Depth", depth), _XML], body=body)


def check_base(visit: Visit) -> Iterator[Finding]:
    """The URL itself: whatever else is wrong, its href must be its path."""
    check, path = "PROPFIND", visit.address.path
    answer = propfind(visit, path, "0")
    if answer.status != 207:
        yield unexpected(visit, check, check, answer)
        return
    finding = _judge_tree(visit, check, answer, [path])
    if finding.cause is not Cause.HEADER:  # a finding of check_tree
        yield finding


def check_tree(visit: Visit) -> Iterator[Finding]:
    """Lists a folder with a file, and a folder with a file in it."""
    own, inner = visit.path("tree") + "/", visit.path("tree", "inner") + "/"
    file, deep = visit.path("tree", "a.txt"), visit.path("tree", "inner", "b.txt")
    for path in (own, inner):
        visit.ask("MKCOL", path)
    for path in (file, deep):
        visit.ask("PUT", path, body=b"text")
    for depth, expected in (
        ("0", [own]),
        ("1", [own, file, inner]),
        ("infinity", [own, file, inner, deep]),
    ):
        check = f"PROPFIND {depth}"
        answer = propfind(visit, own, depth)
        if depth == "infinity" and answer.status == 403:
            yield note(check, "refused, as it may be: some tools list a whole tree with it")
            continue
        if answer.status != 207:
            yield unexpected(visit, check, "PROPFIND", answer)
            return
        yield _judge_tree(visit, check, answer, expected)


def _judge_tree(visit: Visit, check: str, answer: Answer, expected: list[str]) -> Finding:
    try:
        entries = read_listing(answer)
    except NoListing as error:
        cause = Cause.COMPRESSED if answer.get("content-encoding") else Cause.BODY_CHANGED
        return broken(check, str(error), cause)
    wanted = {decoded(path).rstrip(b"/") for path in expected}
    found = {entry.path for entry in entries}
    if found == wanted:
        foreign = _foreign(visit, entries)
        shown = "the href is right" if len(wanted) == 1 else f"{len(wanted)} hrefs, all right"
        return foreign if foreign is not None else ok(check, shown)
    if wanted < found:
        text = f"{len(found)} resources in place of {len(wanted)}: Depth is lost"
        return broken(check, text, Cause.HEADER, header="Depth")
    if len(found) == len(wanted):
        return _misplaced(visit, check, expected[0], entries)
    return broken(check, f"{len(found)} resources in place of {len(wanted)}", Cause.SERVER)


def _misplaced(visit: Visit, check: str, path: str, entries: list[Entry]) -> Finding:
    shown = entries[0].href[:80]
    prefix = visit.address.path.rstrip("/")
    text = f"the href of {path} is {shown}"
    return broken(check, text, Cause.PREFIX, prefix=prefix)


def _foreign(visit: Visit, entries: list[Entry]) -> Finding | None:
    """Hrefs with a scheme or a host must name this server."""
    for entry in entries:
        url = urlsplit(entry.href)
        if url.scheme and f"{url.scheme}://{url.netloc}" != visit.address.origin:
            origin = f"{url.scheme}://{url.netloc}"
            cause = (
                Cause.SCHEME_UNKNOWN if url.netloc == visit.address.authority else Cause.AUTHORITY
            )
            text = f"hrefs begin with {origin}, not with {visit.address.origin}"
            return broken("hrefs", text, cause)
    return None


def check_slash(visit: Visit) -> Iterator[Finding]:
    """Clients leave the slash of a folder out, and follow no redirect."""
    with_slash = propfind(visit, visit.address.path, "0")
    if visit.address.path != "/" and with_slash.status == 207:
        bare = visit.address.path.rstrip("/")
        answer = propfind(visit, bare, "0")
        if answer.status != 207:
            text = f"PROPFIND of {bare}: {said(answer)}"
            yield broken("no slash", text, Cause.NO_SLASH, bare=bare)
            return
    answer = propfind(visit, visit.folder.rstrip("/"), "0")
    if answer.status != 207:
        yield unexpected(visit, "no slash", "PROPFIND", answer)
        return
    bare = visit.path("bare")
    answer = visit.ask("MKCOL", bare)
    if answer.status != 201:
        yield unexpected(visit, "no slash", "MKCOL", answer)
        return
    yield ok("no slash", "a folder may be named without its slash")


def check_properties(visit: Visit) -> Iterator[Finding]:
    """What a client stores with PROPPATCH is there again, also after a MOVE."""
    path, moved = visit.path("kept.txt"), visit.path("kept2.txt")
    visit.ask("PUT", path, body=b"kept")
    value = "värde & <more>"
    escaped = value.replace("&", "&amp;").replace("<", "&lt;")
    body = (
        '<?xml version="1.0" encoding="utf-8"?><D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>'
        f'<k:kept xmlns:k="http://davserver.invalid/check">{escaped}</k:kept>'
        "</D:prop></D:set></D:propertyupdate>"
    )
    answer = visit.ask("PROPPATCH", path, [_XML], body=body.encode())
    if answer.status != 207:
        yield unexpected(visit, "PROPPATCH", "PROPPATCH", answer)
        return
    seen = _kept(visit, path)
    if seen != value:
        yield broken("PROPPATCH", f"a property came back as {seen!r}", Cause.BODY_CHANGED)
        return
    answer = visit.ask("MOVE", path, [("Destination", visit.url(moved)), ("Overwrite", "F")])
    if answer.status == 201 and _kept(visit, moved) != value:
        yield broken("PROPPATCH", "a property is lost when its file is moved", Cause.SERVER)
        return
    yield ok("PROPPATCH", "properties are kept")


def _kept(visit: Visit, path: str) -> str | None:
    body = (
        b'<D:propfind xmlns:D="DAV:"><D:prop>'
        b'<k:kept xmlns:k="http://davserver.invalid/check"/></D:prop></D:propfind>'
    )
    answer = propfind(visit, path, "0", body)
    try:
        return read_listing(answer)[0].properties.get(_KEPT)
    except (NoListing, IndexError):
        return said(answer)
