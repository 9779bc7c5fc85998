"""That the readers find what their clients would stumble over."""

from __future__ import annotations

import pytest

from tests.support.readers import read_as_finder
from tests.support.reply import Headers, Reply

HEADERS = Headers([("content-type", 'application/xml; charset="utf-8"')])
MULTISTATUS = """<?xml version="1.0" encoding="utf-8"?><D:multistatus xmlns:D="DAV:"><D:response>
<D:href>/a%26b</D:href><D:propstat><D:prop><D:getcontentlength>1</D:getcontentlength>{}</D:prop>
<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response></D:multistatus>"""
LOCK = """<?xml version="1.0" encoding="utf-8"?><D:prop xmlns:D="DAV:"><D:lockdiscovery>
{}</D:lockdiscovery></D:prop>"""
ACTIVELOCK = "<D:activelock><D:locktoken><D:href>urn:{}</D:href></D:locktoken></D:activelock>"


def reply(status: int, body: str) -> Reply:
    return Reply(status, "", HEADERS, body.encode())


def test_finder_reads_what_is_plain() -> None:
    read_as_finder(reply(207, MULTISTATUS.format("<D:resourcetype/>")))
    read_as_finder(reply(200, LOCK.format(ACTIVELOCK.format("a"))))


@pytest.mark.parametrize(
    "inserted",
    [
        "<D:owner>x</D:owner><D:location><D:href>/elsewhere</D:href></D:location>",
        "<x:href xmlns:x='urn:x'>/elsewhere</x:href>",
        '<D:getetag>\n  "a"</D:getetag>',
        "<D:displayname>a&amp;b</D:displayname>",
    ],
    ids=["an href inside", "another namespace's", "white space", "an entity"],
)
def test_finder_stumbles_over(inserted: str) -> None:
    with pytest.raises(AssertionError):
        read_as_finder(reply(207, MULTISTATUS.format(inserted)))


def test_finder_takes_the_last_of_two_tokens() -> None:
    with pytest.raises(ValueError, match="unpack"):
        read_as_finder(reply(200, LOCK.format(ACTIVELOCK.format("a") + ACTIVELOCK.format("b"))))
