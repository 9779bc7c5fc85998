"""The one builder of multistatus, precondition and lock bodies."""

from __future__ import annotations

import pytest

from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.lockxml import SUPPORTEDLOCK, activelock_xml, lockdiscovery_response
from davserver.protocol.mediatypes import media_type
from davserver.protocol.multistatus import MultiStatusWriter, PropStat, error_body
from davserver.protocol.path import Key

HEAD = b'<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">'
TAIL = b"</D:multistatus>"


@pytest.mark.rfc("MS-01", "MS-12")
def test_no_response_is_legal() -> None:
    assert MultiStatusWriter().finish() == HEAD + TAIL


@pytest.mark.rfc("MS-01", "MS-03", "MS-04", "MS-05", "MS-08", "MS-10", "PF-06", "PC-07")
def test_propstats_put_200_first_and_the_condition_in_place() -> None:
    writer = MultiStatusWriter()

    writer.propstats(
        b"/a%26b",
        [
            PropStat(403, b"<D:x/>", b"cannot-modify-protected-property", "no < way"),
            PropStat(200, b"<D:y/>"),
        ],
    )

    expected = (
        b"<D:response><D:href>/a%26b</D:href>"
        b"<D:propstat><D:prop><D:y/></D:prop><D:status>HTTP/1.1 200 OK</D:status></D:propstat>"
        b"<D:propstat><D:prop><D:x/></D:prop><D:status>HTTP/1.1 403 Forbidden</D:status>"
        b"<D:error><D:cannot-modify-protected-property/></D:error>"
        b"<D:responsedescription>no &lt; way</D:responsedescription></D:propstat></D:response>"
    )
    assert HEAD + expected + TAIL == writer.finish()


@pytest.mark.rfc("MS-03", "MS-05", "MS-07", "MS-08", "PC-02")
def test_status_with_condition_and_location() -> None:
    writer = MultiStatusWriter()

    writer.status(b"/a", 423, condition=b"lock-token-submitted", hrefs=(b"/b&",))
    writer.status(b"/c", 302, location=b"/d")

    expected = (
        b"<D:response><D:href>/a</D:href><D:status>HTTP/1.1 423 Locked</D:status>"
        b"<D:error><D:lock-token-submitted><D:href>/b&amp;</D:href></D:lock-token-submitted>"
        b"</D:error></D:response>"
        b"<D:response><D:href>/c</D:href><D:status>HTTP/1.1 302 Found</D:status>"
        b"<D:location><D:href>/d</D:href></D:location></D:response>"
    )
    assert HEAD + expected + TAIL == writer.finish()


def test_pieces_make_the_whole() -> None:
    writer = MultiStatusWriter()
    writer.status(b"/a", 404)
    pending = writer.pending
    first = writer.take()

    assert len(first) == pending
    assert writer.pending == 0
    writer.add(b"<D:response/>")
    last = writer.finish(sync_token="u:1&2")
    assert first.startswith(HEAD)
    assert last == b"<D:response/><D:sync-token>u:1&amp;2</D:sync-token>" + TAIL


@pytest.mark.rfc("MS-02", "MS-09", "ST-01", "ST-04")
def test_what_must_not_stand_in_a_multistatus_is_refused() -> None:
    writer = MultiStatusWriter()
    writer.status(b"/a", 404)

    with pytest.raises(ValueError, match="second response"):
        writer.propstats(b"/a", [PropStat(200, b"")])
    with pytest.raises(ValueError, match="without propstat"):
        writer.propstats(b"/b", [])
    with pytest.raises(ValueError, match="102"):
        writer.status(b"/c", 102)


@pytest.mark.rfc("G-18", "PC-06")
@pytest.mark.parametrize(
    ("hrefs", "inner"),
    [
        pytest.param((), b"<D:x/>", id="alone"),
        pytest.param(
            (b"/a", b"/b"), b"<D:x><D:href>/a</D:href><D:href>/b</D:href></D:x>", id="hrefs"
        ),
    ],
)
def test_error_body(hrefs: tuple[bytes, ...], inner: bytes) -> None:
    head = b'<?xml version="1.0" encoding="utf-8"?>\n'
    expected = head + b'<D:error xmlns:D="DAV:">' + inner + b"</D:error>"

    assert expected == error_body(b"x", hrefs)


LOCK = Lock(
    token="urn:uuid:1",
    key=Key("", b"a"),
    href=b"/a%20b",
    scope=LockScope.SHARED,
    depth=Depth.INFINITY,
    owner_xml=b'<D:owner xmlns:D="DAV:">me</D:owner>',
    principal="me",
    timeout_s=600,
    expires_at=1000.4,
)


@pytest.mark.rfc("LP-08", "SE-03")
def test_activelock_shows_the_token_to_its_principal_alone() -> None:
    shown = activelock_xml(LOCK, now=400, base=b"/dav", show_token=True)
    hidden = activelock_xml(LOCK, now=2000, base=b"", show_token=False)

    assert shown == (
        b"<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:shared/></D:lockscope>"
        b'<D:depth>infinity</D:depth><D:owner xmlns:D="DAV:">me</D:owner>'
        b"<D:timeout>Second-600</D:timeout>"
        b"<D:locktoken><D:href>urn:uuid:1</D:href></D:locktoken>"
        b"<D:lockroot><D:href>/dav/a%20b</D:href></D:lockroot></D:activelock>"
    )
    assert b"urn:uuid" not in hidden
    assert b"Second-0<" in hidden


def test_lock_answer_holds_the_new_lock_alone() -> None:
    body = lockdiscovery_response(LOCK, now=400, base=b"")

    assert body.startswith(
        b'<?xml version="1.0" encoding="utf-8"?>\n<D:prop xmlns:D="DAV:"><D:lockdiscovery>'
    )
    assert body.count(b"<D:activelock>") == 1


@pytest.mark.rfc("LP-10")
def test_supportedlock_has_both_scopes() -> None:
    assert SUPPORTEDLOCK.count(b"<D:lockentry>") == 2
    assert SUPPORTEDLOCK.count(b"<D:locktype><D:write/></D:locktype>") == 2


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        pytest.param("a.txt", b"text/plain; charset=utf-8", id="text has a charset"),
        pytest.param("a.b.JPG", b"image/jpeg", id="any case, last extension"),
        pytest.param("README", b"application/octet-stream", id="no extension"),
        pytest.param(".txt", b"application/octet-stream", id="hidden file"),
        pytest.param("a.unknown", b"application/octet-stream", id="unknown"),
    ],
)
def test_media_type(name: str, expected: bytes) -> None:
    assert expected == media_type(name)
