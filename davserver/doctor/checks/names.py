"""Odd names: each is stored, listed as it is called, read and deleted."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator

from davserver.doctor.address import decoded, quoted
from davserver.doctor.checks.listings import propfind
from davserver.doctor.findings import Cause, Finding, broken, note, ok
from davserver.doctor.judging import unexpected
from davserver.doctor.listing import NoListing, read_listing
from davserver.doctor.visit import Visit

_NAMES = {
    "space": "two  words.txt",
    "%": "100% sure.txt",
    "% and two digits": "a%20b%41.txt",
    "+": "a+b.txt",
    ";": "a;b=c.txt",
    "&": "a&b.txt",
    "#": "a#b.txt",
    "?": "a?b.txt",
    "quotes": 'it\'s "so".txt',
    "brackets": "a[b]{c}(d).txt",
    ":": "10:30.txt",
    "umlaut": unicodedata.normalize("NFC", "Zürich.txt"),
    "umlaut, decomposed": unicodedata.normalize("NFD", "Münster.txt"),
    "other scripts": "文書 файл 😀.txt",
    "dot at the end": "end.",
    "two dots in front": "..hidden",
    "long": "n" * 200 + ".txt",
}


def check_names(visit: Visit) -> Iterator[Finding]:
    folder = visit.path("names") + "/"
    visit.ask("MKCOL", folder)
    lost: dict[str, str] = {}
    for label, name in _NAMES.items():
        path = folder + quoted(name)
        answer = visit.ask("PUT", path, body=label.encode())
        if answer.status != 201:
            lost[label] = f"PUT {answer}"
        elif visit.ask("GET", path).body != label.encode():
            lost[label] = "cannot be read"
    lost |= _misnamed(visit, folder, lost)
    for name in _NAMES.values():
        visit.ask("DELETE", folder + quoted(name))
    left = _listed(visit, folder)
    if lost:
        shown = "; ".join(f"{label}: {what}" for label, what in lost.items())
        yield broken("names", shown, Cause.DECODED, names=", ".join(lost))
    elif left:
        yield broken("names", f"{len(left)} stay after DELETE", Cause.DECODED)
    else:
        yield ok("names", f"{len(_NAMES)} odd names are kept as they are")


def _misnamed(visit: Visit, folder: str, lost: dict[str, str]) -> dict[str, str]:
    """A path that is decoded on its way in is decoded for reading too: only a listing shows what
    the file is called."""
    listed = _listed(visit, folder)
    if not listed:
        return {}  # a finding of the listings
    return {
        label: "is stored under another name"
        for label, name in _NAMES.items()
        if label not in lost and decoded(folder + quoted(name)) not in listed
    }


def _listed(visit: Visit, folder: str) -> set[bytes]:
    """Returns what a folder holds, by decoded path; names of one meaning are both in it."""
    try:
        entries = read_listing(propfind(visit, folder, "1"))
    except NoListing:
        return set()
    own = decoded(folder).rstrip(b"/")
    found = set()
    for entry in entries:
        if entry.path != own:
            name = entry.path.decode("utf-8", "surrogateescape")
            for form in (name, *(unicodedata.normalize(each, name) for each in ("NFC", "NFD"))):
                found.add(form.encode("utf-8", "surrogateescape"))
    return found


def check_encoded_slash(visit: Visit) -> Iterator[Finding]:
    """`%2F` is part of a name. Who takes it for a slash lets rules about paths be got around."""
    visit.ask("MKCOL", visit.path("inner") + "/")
    visit.ask("PUT", visit.path("inner", "b.txt"), body=b"b")
    answer = visit.ask("GET", visit.folder + "inner%2Fb.txt")
    if answer.status == 200:
        yield broken("%2F", "is taken for a slash", Cause.DECODED)
    else:
        yield ok("%2F", f"is not taken for a slash ({answer.status})")


def check_double_slash(visit: Visit) -> Iterator[Finding]:
    """Clients that put URLs together from parts send `//`."""
    path = visit.path("small.txt")
    visit.ask("PUT", path, body=b"small")
    answer = visit.ask("GET", visit.folder + "/small.txt")
    if answer.status == 200:
        yield ok("//", "is taken for one slash")
    elif answer.status in (301, 302, 307, 308):
        yield unexpected(visit, "//", "GET", answer)
    else:
        yield note("//", f"is not taken for one slash ({answer})")
