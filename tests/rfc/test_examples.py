"""The examples of RFC 4918, as requests and answers in examples/, named by their sections.

A file has comments (`#`), what is there before (`! mkcol /x/`, `! lock $name /x/`, ...), the
request after `>>>`, the answer after the first `<<<`, and after a second one what is mapped then
(`+ /x`) and what is not (`- /x`). Where an outcome is left to the server, or the example's server
has rights or features of its own, the file says how it was adapted; hrefs are absolute paths.

In the answer `$any` stands for whatever is inside, `$more` for further elements, `$iso` and `$date`
for dates, `$token` for the token that was granted. XML is compared as what it means: prefixes,
white space between elements and the order of elements do not count.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from tests.conftest import AppDav
from tests.support.reply import Reply

FILES = sorted(Path(__file__).with_name("examples").glob("*.http"), key=lambda path: path.name)
PATTERNS = {
    "$iso": re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ"),
    "$date": re.compile(r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d GMT"),
}
# What the examples show of the checklist, by file name.
# fmt: off
SHOWN = pytest.mark.rfc(
    "G-13", "PF-01", "PF-06", "PF-07", "PF-08", "PP-05", "PP-06", "PC-07", "MK-01", "DL-04",
    "CP-03", "CP-07", "CP-17", "MV-09", "LK-01", "LK-08", "LK-09", "LK-10", "LR-01", "UL-01",
    "IF-01", "IF-03", "IF-04", "IF-05", "IF-06", "IF-10", "LP-08", "LP-10",
)
# fmt: on


@dataclass
class Example:
    """One file, read."""

    given: list[str]
    request: str
    answer: str
    then: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Example:
        head, rest = path.read_text().split(">>>\n")
        request, answer, *then = rest.split("<<<\n")
        given = [line[2:] for line in head.splitlines() if line.startswith("! ")]
        return cls(given, request, answer, then[0].splitlines() if then else [])


def prepare(dav: AppDav, given: list[str]) -> dict[str, str]:
    """Makes what is there before; returns the names that stand for tokens and tags."""
    names: dict[str, str] = {}
    for line in given:
        verb, *words = line.split(" ", 2)
        if verb == "mkcol":
            assert dav.mkcol(words[0]).status == 201
        elif verb == "put":
            assert dav.put(words[0], b"old content, 21 bytes").status == 201
        elif verb == "prop":
            update = f'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop>{words[1]}</D:prop></D:set>'
            assert dav.proppatch(words[0], f"{update}</D:propertyupdate>").status == 207
        elif verb == "lock":
            # The examples lock inside of what they have locked before, with depth 0.
            depth = "0" if len([w for w in given if w.startswith("lock")]) > 1 else None
            submitted = {"If": " ".join(f"(<{token}>)" for token in names.values())}
            submitted["If"] += " (Not <DAV:no-lock>)"
            names[words[0]] = dav.lock(words[1], depth=depth, headers=submitted).token
        elif verb == "unlock":
            assert dav.unlock(words[1], names[words[0]]).status == 204
        elif verb == "etag":
            names[words[0]] = dav.head(words[1]).headers["etag"]
        else:
            raise AssertionError(f"unknown line {line!r}")
    return names


def insert(text: str, names: dict[str, str]) -> str:
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, names[name])
    return text


def play(dav: AppDav, text: str) -> Reply:
    head, _, body = text.partition("\n\n")
    line, *fields = head.splitlines()
    method, target, version = line.split()
    assert version == "HTTP/1.1"
    headers = [tuple(each.split(": ", 1)) for each in fields]
    return dav.request(method, target, headers, body.encode())  # type: ignore[arg-type]


def assert_answer(reply: Reply, text: str) -> None:
    head, _, body = text.partition("\n\n")
    status, *fields = head.splitlines()
    assert f"HTTP/1.1 {reply.status} {reply.reason}" == status, reply
    for line in fields:
        name, value = line.split(": ", 1)
        assert reply.headers.get(name) == value, name
    if body:
        expected = etree.fromstring(body.encode())
        difference = find_difference(expected, etree.fromstring(reply.body))
        assert difference is None, f"{difference}\n{reply.body.decode()}"
    elif reply.status < 300:
        assert reply.body == b""


def find_difference(expected: Any, actual: Any) -> str | None:
    """Returns what is not as expected, None when nothing is."""
    if expected.tag != actual.tag or dict(expected.attrib) != dict(actual.attrib):
        return f"{actual.tag} {dict(actual.attrib)} instead of {expected.tag}"
    texts = [expected.text or "", *(child.tail or "" for child in expected)]
    text = "".join(texts).strip()
    if text == "$any":
        return None
    if len(expected) == 0 and text != "$more":
        found = (actual.text or "").strip()
        is_text = PATTERNS[text].fullmatch(found) if text in PATTERNS else found == text
        return None if is_text and not len(actual) else f"{found!r} in {actual.tag} for {text!r}"
    rest = list(actual)
    for child in expected:
        differences = [find_difference(child, other) for other in rest]
        if None not in differences:
            return min(differences, key=lambda found: -len(str(found)), default=f"no {child.tag}")
        del rest[differences.index(None)]
    return f"more than expected: {[other.tag for other in rest]}" if rest and not text else None


@SHOWN
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_example(make_dav: Callable[..., AppDav], path: Path) -> None:
    dav = make_dav("memory")
    example = Example.read(path)
    names = prepare(dav, example.given)

    reply = play(dav, insert(example.request, names))

    if "lock-token" in reply.headers:
        names["$token"] = reply.headers["lock-token"].strip("<>")
        assert names["$token"].startswith("urn:uuid:")
    assert_answer(reply, insert(example.answer, names))
    for line in example.then:
        status = dav.request("PROPFIND", line[2:], {"Depth": "0"}).status
        assert status == (207 if line[0] == "+" else 404), line


def test_every_section_with_examples_has_one() -> None:
    sections = {path.name.partition("-")[0] for path in FILES}

    assert sections == {
        *("8.3.1", "9.1.3", "9.1.4", "9.1.5", "9.1.6", "9.2.2", "9.3.2", "9.6.2"),
        *("9.8.6", "9.8.7", "9.8.8", "9.9.5", "9.9.6", "9.10.7", "9.10.8", "9.10.9", "9.11.2"),
        *("10.4.6", "10.4.7", "10.4.8", "10.4.9", "10.4.10", "10.4.11", "15.8.1", "15.10.1"),
    }


DIFFERENT = {
    "another name": ("<a/>", "<b/>"),
    "another text": ("<a>x</a>", "<a>y</a>"),
    "one too few": ("<a><b/><b/></a>", "<a><b/></a>"),
    "one too many": ("<a><b/></a>", "<a><b/><c/></a>"),
    "more does not stand for less": ("<a><b/>$more</a>", "<a><c/></a>"),
    "another attribute": ("<a/>", "<a x='1'/>"),
    "elements for text": ("<a>x</a>", "<a>x<b/></a>"),
    "no date": ("<a>$date</a>", "<a>today</a>"),
    "another namespace": ("<a/>", "<a xmlns='DAV:'/>"),
}


@pytest.mark.parametrize(("expected", "actual"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_differences_are_found(expected: str, actual: str) -> None:
    assert find_difference(etree.fromstring(expected), etree.fromstring(actual)) is not None


def test_what_means_the_same_is_no_difference() -> None:
    expected = etree.fromstring("<x:a xmlns:x='u:'>\n <x:b/>\n <x:c>$any</x:c> $more</x:a>")
    actual = etree.fromstring("<a xmlns='u:'><c><d/></c><e/><b/></a>")

    assert find_difference(expected, actual) is None
