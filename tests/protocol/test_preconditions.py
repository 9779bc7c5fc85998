"""RFC 9110 section 13: conditional requests."""

from __future__ import annotations

import pytest

from davserver.errors import BadRequest
from davserver.protocol.dates import format_http_date
from davserver.protocol.etag import ETag
from davserver.protocol.headers import DavHeaders
from davserver.protocol.preconditions import (
    HttpConditions,
    Outcome,
    evaluate_http,
)
from davserver.protocol.resourcestate import ResourceState

MODIFIED = 1_700_000_000
FILE = ResourceState(True, ETag("x"), MODIFIED)
WEAK = ResourceState(True, ETag("x", weak=True), MODIFIED)
COLLECTION = ResourceState(True)
UNMAPPED = ResourceState(False)
SAME = format_http_date(MODIFIED)
EARLIER = format_http_date(MODIFIED - 1)
LATER = format_http_date(MODIFIED + 1)
GO, CACHED, FAILED = Outcome.PROCEED, Outcome.NOT_MODIFIED, Outcome.FAILED

IM, INM, IMS, IUS = b"if-match", b"if-none-match", b"if-modified-since", b"if-unmodified-since"


@pytest.mark.parametrize(
    ("fields", "state", "read", "write"),
    [
        pytest.param({IM: b'"x"'}, FILE, GO, GO, id="If-Match, equal"),
        pytest.param({IM: b'"y", "x"'}, FILE, GO, GO, id="If-Match, one of two"),
        pytest.param({IM: b'"y"'}, FILE, FAILED, FAILED, id="If-Match, different"),
        pytest.param({IM: b'W/"x"'}, FILE, FAILED, FAILED, id="If-Match compares strongly"),
        pytest.param({IM: b'"x"'}, WEAK, FAILED, FAILED, id="If-Match, weak resource"),
        pytest.param({IM: b'"x-gzip"'}, FILE, GO, GO, id="If-Match behind mod_deflate"),
        pytest.param({IM: b"*"}, FILE, GO, GO, id="If-Match: *"),
        pytest.param({IM: b"*"}, COLLECTION, GO, GO, id="If-Match: * on a collection"),
        pytest.param({IM: b"*"}, UNMAPPED, FAILED, FAILED, id="If-Match: * on nothing"),
        pytest.param({IM: b'"x"'}, UNMAPPED, FAILED, FAILED, id="If-Match on nothing"),
        pytest.param({IM: b'"x"'}, COLLECTION, FAILED, FAILED, id="If-Match on a collection"),
        pytest.param({INM: b'"x"'}, FILE, CACHED, FAILED, id="If-None-Match, equal"),
        pytest.param({INM: b'W/"x"'}, FILE, CACHED, FAILED, id="If-None-Match compares weakly"),
        pytest.param({INM: b'"y"'}, FILE, GO, GO, id="If-None-Match, different"),
        pytest.param({INM: b"*"}, FILE, CACHED, FAILED, id="If-None-Match: *"),
        pytest.param({INM: b"*"}, COLLECTION, CACHED, FAILED, id="If-None-Match: * collection"),
        pytest.param({INM: b"*"}, UNMAPPED, GO, GO, id="If-None-Match: * on nothing"),
        pytest.param({INM: b"JoplinIgnore-1"}, FILE, GO, GO, id="Joplin"),
        pytest.param({INM: b"free text, here"}, FILE, GO, GO, id="unreadable If-None-Match"),
        pytest.param({IMS: SAME}, FILE, CACHED, GO, id="If-Modified-Since, equal"),
        pytest.param({IMS: LATER}, FILE, CACHED, GO, id="If-Modified-Since, later"),
        pytest.param({IMS: EARLIER}, FILE, GO, GO, id="If-Modified-Since, earlier"),
        pytest.param({IMS: SAME}, COLLECTION, GO, GO, id="If-Modified-Since, no date known"),
        pytest.param({IUS: SAME}, FILE, GO, GO, id="If-Unmodified-Since, equal"),
        pytest.param({IUS: EARLIER}, FILE, FAILED, FAILED, id="If-Unmodified-Since, earlier"),
        pytest.param({IUS: EARLIER}, COLLECTION, GO, GO, id="If-Unmodified-Since, no date known"),
        pytest.param({IM: b'"x"', IUS: EARLIER}, FILE, GO, GO, id="If-Match hides the date"),
        pytest.param({INM: b'"y"', IMS: SAME}, FILE, GO, GO, id="If-None-Match hides the date"),
        pytest.param({INM: b"a b", IMS: SAME}, FILE, GO, GO, id="an unreadable one hides it too"),
        pytest.param({IM: b'"y"', INM: b'"x"'}, FILE, FAILED, FAILED, id="If-Match comes first"),
        pytest.param({IM: b'"x"', INM: b'"x"'}, FILE, CACHED, FAILED, id="both are evaluated"),
        pytest.param({IUS: EARLIER, INM: b'"x"'}, FILE, FAILED, FAILED, id="date comes first"),
        pytest.param({IUS: SAME, IMS: SAME}, FILE, CACHED, GO, id="both dates"),
    ],
)
@pytest.mark.rfc("HC-01", "HC-02", "HC-03", "HC-04")
def test_evaluation(
    fields: dict[bytes, bytes], state: ResourceState, read: Outcome, write: Outcome
) -> None:
    conditions = HttpConditions.from_headers(DavHeaders(fields.items()))

    assert conditions is not None
    assert read is evaluate_http(conditions, state, is_read=True)
    assert write is evaluate_http(conditions, state, is_read=False)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([(b"host", b"x"), (b"if", b"(<a:b>)")], id="no conditional field"),
        pytest.param([(IMS, b"yesterday")], id="invalid date"),
        pytest.param([(IMS, SAME + b", " + SAME)], id="list of dates"),
        pytest.param([(IUS, SAME), (IUS, SAME)], id="date twice"),
    ],
)
@pytest.mark.rfc("HC-04")
def test_nothing_to_evaluate(raw: list[tuple[bytes, bytes]]) -> None:
    assert HttpConditions.from_headers(DavHeaders(raw)) is None


def test_several_lines_are_one_list() -> None:
    conditions = HttpConditions.from_headers(DavHeaders([(IM, b'"y"'), (IM, b'"x"')]))

    assert conditions is not None
    assert evaluate_http(conditions, FILE, is_read=False) is GO


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param([(IM, b'*, "x"')], id="asterisk beside a tag"),
        pytest.param([(IM, b'"x"'), (IM, b"*")], id="asterisk on another line"),
        pytest.param([(IM, b"")], id="empty"),
        pytest.param([(IM, b'"x')], id="unterminated"),
        pytest.param([(INM, b'*, "x"')], id="asterisk beside a tag in If-None-Match"),
    ],
)
@pytest.mark.rfc("HC-08")
def test_condition_that_cannot_be_read_is_400(raw: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(BadRequest):
        HttpConditions.from_headers(DavHeaders(raw))
