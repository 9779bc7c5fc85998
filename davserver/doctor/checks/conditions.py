"""ETags and conditional requests: what keeps one client from overwriting another's file."""

from __future__ import annotations

from collections.abc import Iterator

from davserver.doctor.checks.listings import propfind
from davserver.doctor.findings import Cause, Finding, broken, note, ok
from davserver.doctor.judging import unexpected
from davserver.doctor.listing import NoListing, read_listing
from davserver.doctor.visit import Visit


def check_etags(visit: Visit) -> Iterator[Finding]:
    """The same tag, strong, wherever it is told."""
    path = visit.path("tagged.txt")
    put = visit.ask("PUT", path, body=b"one").get("etag")
    tags = {"GET": visit.ask("GET", path).get("etag"), "HEAD": visit.ask("HEAD", path).get("etag")}
    try:
        entry = read_listing(propfind(visit, path, "0"))[0]
        tags["PROPFIND"] = entry.properties.get("{DAV:}getetag")
    except (NoListing, IndexError):
        pass  # a finding of the listings
    if put is not None:
        tags["PUT"] = put
    different = set(tags.values())
    shown = ", ".join(f"{method} {tag}" for method, tag in tags.items())
    if tags["GET"] is None:
        yield broken("ETag", "GET has none: nobody can tell what changed", Cause.BODY_CHANGED)
    elif len(different) > 1:
        yield broken("ETag", f"not the same everywhere: {shown}", Cause.COMPRESSED)
    elif tags["GET"].startswith("W/"):
        yield broken("ETag", f"weak: {tags['GET']}", Cause.COMPRESSED)
    elif put is None:
        yield note("ETag", "PUT does not tell it: clients have to ask again")
    else:
        yield ok("ETag", "the same from PUT, GET, HEAD and PROPFIND")


def check_conditions(visit: Visit) -> Iterator[Finding]:
    path = visit.path("compared.txt")
    visit.ask("PUT", path, body=b"one")
    tag = visit.ask("GET", path).get("etag")
    wrong = visit.ask("PUT", path, [("If-Match", '"no-such-tag"')], body=b"lost")
    if wrong.status != 412:
        yield _ignored(visit, "If-Match", wrong.status)
        return
    again = visit.ask("PUT", path, [("If-None-Match", "*")], body=b"lost")
    if again.status != 412:
        yield _ignored(visit, "If-None-Match", again.status)
        return
    if tag is None:
        return  # a finding of check_etags
    right = visit.ask("PUT", path, [("If-Match", tag)], body=b"two")
    if right.status not in (200, 201, 204):
        yield unexpected(visit, "conditions", "PUT with If-Match", right, cause=Cause.COMPRESSED)
        return
    changed = visit.ask("GET", path, [("If-None-Match", tag)])
    if changed.body != b"two":
        yield broken("conditions", "GET gives what was there before a PUT", Cause.CACHED)
        return
    fresh = visit.ask("GET", path, [("If-None-Match", changed.get("etag") or "")])
    if fresh.status != 304:
        yield _ignored(visit, "If-None-Match", fresh.status)
        return
    yield ok("conditions", "If-Match and If-None-Match count")


def _ignored(visit: Visit, header: str, status: int) -> Finding:
    text = f"{header} that does not hold is answered with {status}: it is lost on the way"
    return broken("conditions", text, Cause.HEADER, header=header)
