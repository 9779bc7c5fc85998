"""COPY, MOVE and DELETE, with Destination as clients write it: the whole URL."""

from __future__ import annotations

from collections.abc import Iterator

from davserver.doctor.findings import Cause, Finding, broken, ok
from davserver.doctor.judging import is_page, said, unexpected
from davserver.doctor.messages import Answer
from davserver.doctor.visit import Visit


def transfer(
    visit: Visit, method: str, source: str, target: str, *, overwrite: bool = False
) -> Answer:
    headers = [("Destination", visit.url(target)), ("Overwrite", "T" if overwrite else "F")]
    return visit.ask(method, source, headers)


def check_transfers(visit: Visit) -> Iterator[Finding]:
    for method in ("COPY", "MOVE"):
        source, target = visit.path(f"{method} me.txt"), visit.path(f"{method} mé done.txt")
        visit.ask("PUT", source, body=method.encode())
        answer = transfer(visit, method, source, target)
        if answer.status != 201:
            yield judge(visit, method, answer)
            return
        found = visit.ask("GET", target)
        if found.body != method.encode():
            yield broken(method, f"the Destination is not there: GET {said(found)}", Cause.DECODED)
            return
        remains = visit.ask("GET", source).status
        if (remains == 200) != (method == "COPY"):
            yield broken(method, f"the source answers {remains} after it", Cause.CACHED)
            return
        yield ok(method, f"{said(answer)}, Destination: {visit.address.origin}/...")


def judge(visit: Visit, method: str, answer: Answer) -> Finding:
    """Returns what it means that a Destination was not taken."""
    text = f"{method}: {said(answer)}"
    if answer.status == 502 and not is_page(answer):
        return broken(method, text, Cause.AUTHORITY)
    if answer.status == 400:
        return broken(method, text, Cause.HEADER, header="Destination")
    if answer.status in (403, 404, 409) and not is_page(answer):
        return broken(method, text, Cause.PREFIX, prefix=visit.address.path.rstrip("/"))
    return unexpected(visit, method, method, answer)


def check_overwrite(visit: Visit) -> Iterator[Finding]:
    """Overwrite: F keeps what is there."""
    source, target = visit.path("over.txt"), visit.path("under.txt")
    visit.ask("PUT", source, body=b"over")
    visit.ask("PUT", target, body=b"under")
    answer = transfer(visit, "MOVE", source, target)
    if answer.status == 412:
        yield ok("Overwrite", "F keeps what is there")
    elif answer.status in (201, 204):
        text = f"MOVE with Overwrite: F replaced a file ({answer})"
        yield broken("Overwrite", text, Cause.HEADER, header="Overwrite")
    else:
        yield judge(visit, "MOVE", answer)


def check_folders(visit: Visit) -> Iterator[Finding]:
    """A folder is moved and deleted by its name, without its slash as clients do."""
    source, target = visit.path("old folder"), visit.path("new folder")
    visit.ask("MKCOL", source + "/")
    visit.ask("PUT", visit.path("old folder", "in it.txt"), body=b"in it")
    answer = transfer(visit, "MOVE", source, target)
    if answer.status != 201:
        yield judge(visit, "MOVE", answer)
        return
    if visit.ask("GET", visit.path("new folder", "in it.txt")).body != b"in it":
        yield broken("MOVE", "a folder was moved without what is in it", Cause.SERVER)
        return
    answer = visit.ask("DELETE", target)
    if answer.status not in (200, 204):
        yield unexpected(visit, "DELETE", "DELETE", answer)
        return
    remains = visit.ask("GET", visit.path("new folder", "in it.txt")).status
    if remains != 404:
        yield broken("DELETE", f"what was deleted is answered with {remains}", Cause.CACHED)
        return
    yield ok("folders", "moved and deleted with all that is in them")
