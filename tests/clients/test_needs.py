"""What clients need of every answer, whatever they ask, where no test of a method shows it.

What one client does in a row stands in recorded/; what the RFCs ask, in tests/rfc.
"""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from tests.conftest import AppDav
from tests.support.dav import activelock_of
from tests.support.http import Connection
from tests.support.reply import Reply
from tests.support.server import Server

D = "{DAV:}"
MakeDav = Callable[..., AppDav]

IGNORED = {
    "gvfs": {"Apply-To-Redirect-Ref": "T", "Overwrite": "T"},
    "Windows": {"translate": "f", "Pragma": "no-cache", "Cache-Control": "no-cache"},
    "Office": {
        "X-MS-CookieUri-Requested": "t",
        "X-Office-Major-Version": "16",
        "X-FeatureVersion": "1",
        "X-IDCRL_ACCEPTED": "t",
        "X-Requested-With": "XMLHttpRequest",
    },
    "rclone": {"Referer": "http://127.0.0.1/dav/"},
    "neon": {"TE": "trailers", "Connection": "TE", "Keep-Alive": "timeout=5"},
    "a browser": {"Cookie": "a=b; c=d", "Origin": "null", "DNT": "1", "Sec-Fetch-Mode": "cors"},
    "a player": {"Icy-MetaData": "1", "Accept-Charset": "UTF-8,*;q=0.8"},
}


@pytest.mark.parametrize("fields", IGNORED.values(), ids=IGNORED.keys())
def test_fields_that_mean_nothing_here_change_nothing(
    make_dav: MakeDav, fields: dict[str, str]
) -> None:
    dav = make_dav("memory")

    assert dav.mkcol("/c/", fields).status == 201
    assert dav.put("/c/f", b"x", fields).status == 201
    assert dav.get("/c/f", {**fields, "Depth": "0"}).body == b"x"
    assert dav.head("/c/", fields).status == 200
    assert len(dav.propfind("/c/", depth="1", headers=fields)) == 2
    assert dav.copy("/c/f", "/c/g", headers=fields).status == 201
    token = dav.lock("/c/g", headers=fields).token
    assert dav.unlock("/c/g", token, fields).status == 204
    assert dav.delete("/c/", fields).status == 204


@pytest.mark.parametrize("target", ["/c", "/c/"])
def test_no_method_leads_elsewhere_for_a_slash(make_dav: MakeDav, target: str) -> None:
    """Finder, Windows, gvfs, KIO, npm and Joplin name folders without it, and follow nothing."""
    dav = make_dav("memory")
    dav.mkcol("/c/")
    dav.put("/c/f", b"x")
    replies = [
        dav.options(target),
        dav.get(target, {"Accept": "text/html"}),
        dav.head(target),
        dav.request("PROPFIND", target, {"Depth": "1"}),
        dav.proppatch(target, set={"{urn:x}a": "1"}),
        dav.mkcol(target),
        dav.copy(target, "/copy"),
        dav.lock_request(target, timeout="Second-60"),
    ]
    token = replies[-1].headers["lock-token"].strip("<>")
    replies += [
        dav.refresh(target, token),
        dav.unlock(target, token),
        dav.move(target, "/moved"),
        dav.delete("/moved" + target[2:]),
    ]

    statuses = [reply.status for reply in replies]
    assert statuses == [200, 200, 200, 207, 207, 405, 201, 200, 200, 204, 201, 204]
    assert all(
        "location" not in reply.headers for reply in replies if reply.status not in (200, 201)
    )


def test_hrefs_of_files_have_no_slash_and_of_collections_one(dav: AppDav) -> None:
    dav.mkcol("/c/")
    dav.mkcol("/c/sub.txt/")
    dav.put("/c/file", b"x")
    dav.put("/c/empty", b"")

    shown = dav.propfind("/c", props=[f"{D}resourcetype"], depth="1")

    assert sorted(shown) == ["/c/", "/c/empty", "/c/file", "/c/sub.txt/"]


def assert_plain(reply: Reply) -> None:
    """One prefix, declared once and at the root; no white space between elements; UTF-8."""
    text = reply.body.decode()
    assert text.count('xmlns:D="DAV:"') == 1
    assert "xmlns=" not in text
    assert "<![CDATA[" not in text
    for element in etree.fromstring(reply.body).iter():
        assert element.prefix == "D"
        assert element.text is None or element.text.strip() == element.text != ""
        assert element.tail is None


def test_all_xml_has_the_prefix_d_and_no_white_space(make_dav: MakeDav) -> None:
    """Windows before 8 sees nothing in a default namespace; Finder takes white space for text."""
    dav = make_dav("memory")
    dav.put("/f", b"x")
    granted = dav.lock("/f", owner="")
    answers = {
        "LOCK": granted.reply,
        "refresh": dav.refresh("/f", granted.token),
        "423": dav.put("/f", b"y"),
        "conflict": dav.lock_request("/f"),
        "207": dav.request("PROPFIND", "/", {"Depth": "1"}),
        "PROPPATCH": dav.proppatch(
            "/f", set={f"{D}getetag": "x"}, headers={"If": granted.untagged}
        ),
    }

    for reply in answers.values():
        assert_plain(reply)


def test_of_all_properties_no_href_but_of_locks(dav: AppDav) -> None:
    """Finder takes any href in a response for the next member."""
    dav.mkcol("/c/")
    dav.put("/c/f", b"x")

    reply = dav.request("PROPFIND", "/c/", {"Depth": "1"})

    assert len(list(reply.xml.iter(f"{D}href"))) == len(reply.multistatus) == 2


@pytest.mark.parametrize("fields", [{}, {"Brief": "t"}, {"Prefer": "return=minimal"}])
def test_a_resource_without_what_was_asked_is_still_a_response(
    make_dav: MakeDav, fields: dict[str, str]
) -> None:
    dav = make_dav("memory")
    dav.put("/f", b"x")

    shown = dav.propfind("/f", props=["{urn:x}nothing"], headers=fields)

    assert list(shown) == ["/f"]
    assert len(shown["/f"]) == 1


def test_a_listing_of_1400_files_is_short_enough_for_windows(make_dav: MakeDav) -> None:
    """It takes 1,000,000 bytes (FileAttributesLimitInBytes), and asks for all properties, of
    which RFC 4918 has supportedlock be one: a third of the answer."""
    dav = make_dav("filesystem", durability="none")
    assert dav.root is not None
    for number in range(1400):
        (dav.root / f"IMG_{number:04}.jpg").write_bytes(b"x")

    reply = dav.request("PROPFIND", "/", {"Depth": "1"})

    assert len(reply.multistatus) == 1401
    assert len(reply.body) < 1_000_000


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.txt", b"<html><script>", "text/plain; charset=utf-8"),
        ("a.html.txt", b"<html>", "text/plain; charset=utf-8"),
        ("README", b"<html>", "application/octet-stream"),
        ("a.tar.gz", b"\x1f\x8b", "application/gzip"),
        (
            "a.docx",
            b"PK",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ),
    ],
)
def test_the_name_tells_the_type_and_never_a_coding(
    make_dav: MakeDav, name: str, content: bytes, kind: str
) -> None:
    dav = make_dav("memory")
    dav.put(f"/{name}", content)

    reply = dav.get(f"/{name}", {"Accept-Encoding": "gzip, deflate, br"})

    assert reply.headers["content-type"] == kind
    assert "content-encoding" not in reply.headers
    assert reply.body == content


def test_a_lock_shows_itself_alone_however_many_there_are(dav: AppDav) -> None:
    """Finder reads the last token of the body."""
    dav.put("/f", b"x")
    dav.lock("/f", scope="shared", owner="<D:owner>one</D:owner>")

    second = dav.lock("/f", scope="shared", owner="<D:owner>two</D:owner>")

    (only,) = second.reply.xml.iter(f"{D}activelock")
    assert only is second.activelock
    assert only.findtext(f"{D}owner") == "two"
    assert len(dav.locks("/f")) == 2


def test_a_lock_is_no_change_of_the_file_or_its_folder(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    dav.mkcol("/c/")
    dav.put("/c/f", b"x")
    before = [os.stat(dav.root / name).st_mtime_ns for name in ("c", "c/f")]
    etag = dav.head("/c/f").headers["etag"]

    token = dav.lock("/c/f").token
    dav.refresh("/c/f", token)
    dav.unlock("/c/f", token)

    assert before == [os.stat(dav.root / name).st_mtime_ns for name in ("c", "c/f")]
    assert etag == dav.head("/c/f").headers["etag"]


def test_a_refresh_tells_the_token_and_needs_no_field_for_it(dav: AppDav) -> None:
    token = dav.lock("/f", timeout="Second-600").token

    reply = dav.refresh("/f", token, timeout="Infinite, Second-4100000000")

    assert activelock_of(reply, token).findtext(f"{D}timeout") == "Second-86400"


OWN_FILES = ("~$letter.docx", ".~lock.table.ods#", "._photo.jpg", ".DS_Store", "Thumbs.db")


@pytest.mark.parametrize(
    "name", [*OWN_FILES, "desktop.ini", "~WRD0001.tmp", "4913", ".goutputstream-X"]
)
def test_files_that_programs_make_for_themselves_are_files(dav: AppDav, name: str) -> None:
    target = "/" + urllib.parse.quote(name, safe="")

    assert dav.request("PROPFIND", target, {"Depth": "0"}).status == 404
    assert dav.put(target, b"").status == 201
    token = dav.lock(target).token
    assert dav.put(target, b"x", {"If": f"(<{token}>)"}).status == 204
    assert dav.get(target).body == b"x"
    assert dav.delete(target, {"If": f"(<{token}>)"}).status == 204
    assert dav.delete(target).status == 404


# -- over a connection ---------------------------------------------------------------------------


@pytest.fixture
def folder(http: Connection, server: Server, request: pytest.FixtureRequest) -> str:
    """The URL of a collection of the test's own, without the slash."""
    path = f"/{urllib.parse.quote(request.node.name[-40:], safe='')}"
    assert http.mkcol(path + "/").status == 201
    return path


def on_disk(server: Server, target: str) -> Path:
    return server.root / urllib.parse.unquote(target[1:])


def test_put_without_any_field_about_its_body_makes_an_empty_file(
    http: Connection, server: Server, folder: str
) -> None:
    http.send_head("PUT", f"{folder}/f")
    reply = http.read_reply()

    assert (reply.status, reply.headers["date"][-3:]) == (201, "GMT")
    assert on_disk(server, f"{folder}/f").read_bytes() == b""
    assert http.get(f"{folder}/f").headers["content-length"] == "0"


@pytest.mark.parametrize("method", ["MKCOL", "DELETE", "UNLOCK", "COPY", "MOVE", "GET", "HEAD"])
@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_body_that_nobody_asked_for_does_not_become_the_next_request(
    http: Connection, folder: str, method: str, framing: str
) -> None:
    body = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
    http.put(f"{folder}/f", b"content")
    fields = {"Destination": f"{folder}/g", "Lock-Token": "<urn:uuid:x>"}

    http.request(method, f"{folder}/f", fields, body if framing == "length" else [body])

    assert http.get(folder + "/").status == 200
    assert http.head(folder + "/smuggled").status == 404


@pytest.mark.parametrize("method", ["SEARCH", "REPORT", "TRACE", "PATCH", "POST", "BREW"])
def test_a_method_that_is_not_here_is_refused_with_those_that_are(
    http: Connection, folder: str, method: str
) -> None:
    reply = http.request(method, folder + "/", {"Content-Type": "text/xml"}, b"<x/>")

    assert reply.status in (405, 501)
    assert {"PROPFIND", "OPTIONS"} <= set(reply.headers.tokens("allow"))
    assert http.options(folder + "/").status == 200


def test_a_lock_is_released_over_another_connection(
    http: Connection, server: Server, folder: str
) -> None:
    http.put(f"{folder}/f", b"x")
    token = http.lock(f"{folder}/f").token

    with server.connect() as other:
        assert other.unlock(f"{folder}/f", token).status == 204
    assert http.locks(f"{folder}/f") == []


def test_head_and_body_may_come_one_byte_at_a_time(
    http: Connection, server: Server, folder: str
) -> None:
    body = b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
    head = (
        f"PUT {folder}/f HTTP/1.1\r\nHost: {http.authority}\r\nTransfer-Encoding: chunked\r\n\r\n"
    )

    http.send_raw(*(bytes([octet]) for octet in head.encode() + body))
    reply = http.read_reply("PUT")

    assert reply.status == 201
    assert on_disk(server, f"{folder}/f").read_bytes() == b"hello world"
