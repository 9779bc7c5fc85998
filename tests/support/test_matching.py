"""What counts as an expected answer, and what does not."""

from __future__ import annotations

import pytest
from lxml import etree

from tests.support.matching import find_difference, find_line_difference, match_text
from tests.support.multistatus import MultiStatus
from tests.support.reply import Headers, Reply

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
    "a name for two texts": ("<a><b>$x</b><c>$x</c></a>", "<a><b>1</b><c>2</c></a>"),
    "a name for another text": ("<a>$known</a>", "<a>other</a>"),
}


@pytest.mark.parametrize(("expected", "actual"), DIFFERENT.values(), ids=DIFFERENT.keys())
def test_differences_are_found(expected: str, actual: str) -> None:
    names = {"known": "this"}

    assert find_difference(etree.fromstring(expected), etree.fromstring(actual), names) is not None


def test_what_means_the_same_is_no_difference() -> None:
    expected = etree.fromstring("<x:a xmlns:x='u:'>\n <x:b/>\n <x:c>$any</x:c> $more</x:a>")
    actual = etree.fromstring("<a xmlns='u:'><c><d/></c><e/><b/></a>")

    assert find_difference(expected, actual, {}) is None


def test_a_name_is_taken_down_where_it_is_seen_first() -> None:
    names: dict[str, str] = {}

    assert match_text("<$T>; $digits", "<urn:x>; 12", names)
    assert names == {"T": "urn:x"}
    assert not match_text("<$T>; $digits", "<urn:y>; 12", names)


MULTISTATUS = b"""<D:multistatus xmlns:D="DAV:">
<D:response><D:href>/a/</D:href><D:propstat><D:prop>
<D:resourcetype><D:collection/></D:resourcetype><D:getetag>"1 2"</D:getetag>
</D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>
<D:propstat><D:prop><D:quota/></D:prop><D:status>HTTP/1.1 404 Not Found</D:status></D:propstat>
</D:response>
<D:response><D:href>/a/b</D:href><D:status>HTTP/1.1 423 Locked</D:status></D:response>
</D:multistatus>"""
LINES = """/a/ 200 resourcetype=collection
 getetag='"1 2"'
/a/ 404 quota
/a/b 423"""
WRONG = {
    "another first href": LINES.replace("/a/ ", "/x/ "),
    "one response too few": LINES.removesuffix("/a/b 423"),
    "one too many": LINES + "\n/a/c 200 getetag=x",
    "another status": LINES.replace("404", "403"),
    "no 404": LINES.replace("/a/ 404 quota\n", ""),
    "another value": LINES.replace("1 2", "1 3"),
    "a property too few": LINES.replace(" resourcetype=collection", ""),
    "a property too many": LINES.replace("404 quota", "404 quota quotaused"),
    "another namespace": LINES.replace("404 quota", "404 Z:quota"),
    "a value for none": LINES.replace("404 quota", "404 quota=1"),
    "another status of a member": LINES.replace("423", "403"),
}


def answer() -> MultiStatus:
    headers = Headers([("content-type", 'application/xml; charset="utf-8"')])
    return MultiStatus.parse(Reply(207, "Multi-Status", headers, MULTISTATUS))


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG.keys())
def test_differences_of_a_multistatus_are_found(lines: str) -> None:
    assert find_line_difference(lines, answer(), {}) is not None


@pytest.mark.parametrize(
    "lines",
    [LINES, LINES.replace("""\n getetag='"1 2"'""", " ..."), LINES.replace("'\"1 2\"'", "$etag")],
    ids=["as it is", "further properties", "a pattern"],
)
def test_lines_of_a_multistatus_match(lines: str) -> None:
    lines = lines.replace("$etag", "'\"$tag\"'")

    assert find_line_difference(lines, answer(), {}) is None
