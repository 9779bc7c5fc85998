"""The strict parser refuses what the RFC forbids: else the tests that trust it show nothing."""

from __future__ import annotations

import pytest

from tests.support.multistatus import MultiStatus
from tests.support.reply import Headers, Reply

OK = "<D:status>HTTP/1.1 200 OK</D:status>"
MISSING = "<D:status>HTTP/1.1 404 Not Found</D:status>"
LENGTH = "<D:prop><D:getcontentlength>1</D:getcontentlength></D:prop>"
TAG = "<D:prop><D:getetag/></D:prop>"
COLLECTION = "<D:prop><D:resourcetype><D:collection/></D:resourcetype></D:prop>"


def parse(responses: str, content_type: str = 'application/xml; charset="utf-8"') -> MultiStatus:
    body = f'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">{responses}</D:multistatus>'
    return Reply(207, "", Headers([("Content-Type", content_type)]), body.encode()).multistatus


def response(content: str, href: str = "/a") -> str:
    return f"<D:response><D:href>{href}</D:href>{content}</D:response>"


def test_both_forms_are_read() -> None:
    found = f"<D:propstat>{LENGTH}{OK}</D:propstat><D:propstat>{TAG}{MISSING}</D:propstat>"
    locked = "<D:status>HTTP/1.1 423 Locked</D:status><D:error><D:x/></D:error>"
    result = parse(response(found) + response(locked, "/b"))

    assert result.text("/a", "{DAV:}getcontentlength") == "1"
    assert result.status_of("/a", "{DAV:}getetag") == 404
    assert result.statuses == {"/b": 423}
    assert result.conditions["/b"] == ["{DAV:}x"]


@pytest.mark.parametrize(
    "responses",
    [
        pytest.param(response(OK) + response(OK), id="bad: href twice"),
        pytest.param(response(OK + f"<D:propstat>{LENGTH}{OK}</D:propstat>"), id="bad: both forms"),
        pytest.param(response(""), id="bad: neither form"),
        pytest.param(response("<D:status>200 OK</D:status>"), id="bad: no status line"),
        pytest.param(
            response("<D:status>HTTP/1.1 102 Processing</D:status>"), id="bad: 1xx in a response"
        ),
        pytest.param(
            response(f"<D:propstat>{LENGTH}{OK}</D:propstat>" * 2), id="bad: two propstats of 200"
        ),
        pytest.param(
            response(
                f"<D:propstat>{LENGTH}{OK}</D:propstat><D:propstat>{LENGTH}{MISSING}</D:propstat>"
            ),
            id="bad: a name twice",
        ),
        pytest.param(
            response(
                f"<D:propstat>{LENGTH}{MISSING}</D:propstat><D:propstat>{TAG}{OK}</D:propstat>"
            ),
            id="bad: 404 before 200",
        ),
        pytest.param(response(f"<D:propstat>{OK}{LENGTH}</D:propstat>"), id="bad: status first"),
        pytest.param(response(OK, "/a b"), id="bad: space in an href"),
        pytest.param(response(OK, "a"), id="bad: relative href"),
        pytest.param(response(OK, "/x/../a"), id="bad: dot segment"),
        pytest.param(
            response(OK) + response(OK, "http://h/b"), id="bad: two forms of href in one answer"
        ),
        pytest.param(
            response(f"<D:propstat>{COLLECTION}{OK}</D:propstat>"), id="bad: collection, no slash"
        ),
        pytest.param(response(OK + "<D:error/>"), id="bad: empty error"),
        pytest.param("<D:other/>", id="bad: unknown element"),
    ],
)
def test_forbidden_is_refused(responses: str) -> None:
    with pytest.raises(AssertionError):
        parse(responses)


def test_other_content_type_is_refused() -> None:
    with pytest.raises(AssertionError):
        parse(response(OK), "text/xml")


def test_successes_in_the_answer_to_a_delete_are_refused() -> None:
    result = parse(response("<D:status>HTTP/1.1 204 No Content</D:status>"))
    with pytest.raises(AssertionError):
        result.check_method("DELETE")
