"""Uploads in pieces (draft-ietf-httpbis-resumable-upload): what each request is answered with."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.asgi import drive
from tests.support.reply import Reply
from tests.support.uploading import (
    LARGE,
    MIB,
    PARTIAL,
    PROBLEMS,
    append,
    begin,
    offset_of,
    parts,
)

MakeDav = Callable[..., AppDav]


@pytest.mark.rfc("RU-01")
def test_an_upload_begins_with_201_and_where_it_goes_on(dav: AppDav) -> None:
    reply = dav.put("/a", b"one", {"Upload-Complete": "?0"})

    assert reply.status == 201
    assert reply.headers["location"].startswith("/.davserver/uploads/")
    assert reply.headers["upload-complete"] == "?0"
    assert reply.headers["upload-offset"] == "3"
    assert reply.headers["upload-limit"] == "max-age=86400"
    assert dav.get("/a").status == 404
    assert dav.members("/") == []


@pytest.mark.rfc("RU-06")
def test_pieces_become_one_file(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one,")
    second = append(dav, upload, 4, b"two,")
    last = append(dav, upload, 8, b"three", last=True)

    assert (second.status, second.headers["upload-offset"]) == (204, "8")
    assert last.status == 201
    assert last.headers["upload-complete"] == "?1"
    assert last.headers["etag"] == dav.head("/a").headers["etag"]
    assert dav.get("/a").body == b"one,two,three"


@pytest.mark.rfc("RU-06")
def test_a_file_is_replaced_by_an_upload_as_by_a_put(dav: AppDav) -> None:
    dav.put("/a", b"old")
    dav.proppatch("/a", set={"{http://example.org/ns}topic": "kept"})
    upload = begin(dav, "/a", b"new")
    assert dav.get("/a").body == b"old"
    reply = append(dav, upload, 3, last=True)

    assert reply.status == 204
    assert dav.get("/a").body == b"new"
    assert dav.prop("/a", "{http://example.org/ns}topic").text == "kept"


@pytest.mark.rfc("RU-02")
def test_head_tells_how_far_it_is(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one", Upload_Length="5")
    dav.clock.pass_s(400)
    reply = dav.head(upload)

    assert reply.status == 204
    assert reply.headers["upload-offset"] == "3"
    assert reply.headers["upload-complete"] == "?0"
    assert reply.headers["upload-length"] == "5"
    assert reply.headers["upload-limit"] == "max-age=86000"
    assert reply.headers["cache-control"] == "no-store"
    assert dav.get(upload).headers["upload-offset"] == "3"


@pytest.mark.rfc("RU-02")
def test_head_of_what_is_complete_says_so(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one")
    append(dav, upload, 3, b"two", last=True)
    reply = dav.head(upload)

    assert reply.headers["upload-complete"] == "?1"
    assert reply.headers["upload-offset"] == reply.headers["upload-length"] == "6"


@pytest.mark.rfc("RU-03")
@pytest.mark.parametrize("offset", [0, 2, 4])
def test_another_offset_is_409_with_the_right_one(dav: AppDav, offset: int) -> None:
    upload = begin(dav, "/a", b"one")
    reply = append(dav, upload, offset, b"x")

    assert reply.status == 409
    assert reply.headers["upload-offset"] == "3"
    assert reply.headers["upload-complete"] == "?0"
    assert reply.headers["content-type"] == "application/problem+json"
    problem = json.loads(reply.body)
    assert problem["type"] == PROBLEMS + "mismatching-upload-offset"
    assert (problem["expected-offset"], problem["provided-offset"]) == (3, offset)
    assert offset_of(dav, upload) == 3


LENGTHS = {
    "first piece longer": (b"12345", {"Upload-Complete": "?0", "Upload-Length": "4"}),
    "whole of another length": (b"12345", {"Upload-Complete": "?1", "Upload-Length": "6"}),
}


@pytest.mark.rfc("RU-04")
@pytest.mark.parametrize(("body", "headers"), LENGTHS.values(), ids=LENGTHS)
def test_a_first_piece_that_contradicts_its_length_is_400(
    dav: AppDav, body: bytes, headers: dict[str, str]
) -> None:
    reply = dav.put("/a", body, headers)

    assert reply.status == 400
    assert json.loads(reply.body)["type"] == PROBLEMS + "inconsistent-upload-length"
    assert dav.get("/a").status == 404


APPENDS = {
    "another length": (b"", {"Upload_Length": "9"}),
    "longer than it was to be": (b"123456", {}),
    "the last one is too short": (b"1", {"last": True}),
}


@pytest.mark.rfc("RU-04")
@pytest.mark.parametrize(("body", "more"), APPENDS.values(), ids=APPENDS)
def test_a_piece_that_contradicts_the_length_is_400(
    dav: AppDav, body: bytes, more: dict[str, Any]
) -> None:
    upload = begin(dav, "/a", b"one", Upload_Length="8")
    reply = append(dav, upload, 3, body, **more)

    assert reply.status == 400
    assert json.loads(reply.body)["type"] == PROBLEMS + "inconsistent-upload-length"
    assert offset_of(dav, upload) == 3


@pytest.mark.rfc("RU-04")
def test_a_piece_of_unknown_length_that_goes_past_the_end_voids_the_upload(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one", Upload_Length="5")
    reply = append(dav, upload, 3, [b"12", b"3"])

    assert reply.status == 400
    assert dav.head(upload).status == 404


@pytest.mark.rfc("RU-04")
def test_a_last_piece_of_unknown_length_that_is_too_short_is_400(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one", Upload_Length="5")
    reply = append(dav, upload, 3, [b"1"], last=True)

    assert reply.status == 400
    assert dav.get("/a").status == 404
    assert offset_of(dav, upload) == 4


@pytest.mark.rfc("RU-06")
def test_nothing_is_appended_to_what_is_complete(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one")
    append(dav, upload, 3, last=True)
    more = append(dav, upload, 3, b"x", last=True)
    again = append(dav, upload, 3, last=True)

    assert (more.status, again.status) == (400, 400)
    assert json.loads(more.body)["type"] == PROBLEMS + "inconsistent-upload-length"
    assert json.loads(again.body)["type"] == PROBLEMS + "completed-upload"
    assert dav.get("/a").body == b"one"


@pytest.mark.rfc("RU-07")
def test_delete_cancels(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one")

    assert dav.delete(upload).status == 204
    assert dav.head(upload).status == 404
    assert append(dav, upload, 3).status == 404
    assert dav.delete(upload).status == 404
    assert dav.root is None or parts(dav.root) == []


@pytest.mark.rfc("RU-07")
def test_delete_of_what_is_complete_leaves_what_it_became(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one")
    append(dav, upload, 3, last=True)

    assert dav.delete(upload).status == 204
    assert dav.get("/a").body == b"one"


@pytest.mark.rfc("RU-09")
def test_options_tells_who_can_begin_one(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", put_limit=1000)
    dav.put("/a")
    dav.mkcol("/c/")
    for target in ("/a", "/new"):
        reply = dav.options(target)

        assert "application/partial-upload" in reply.headers["accept-patch"]
        assert reply.headers["upload-limit"] == "max-size=1000, max-age=86400"
    assert "upload-limit" not in dav.options("/c/").headers
    upload = dav.options(begin(dav, "/b"))
    assert upload.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH"
    assert upload.headers["accept-patch"] == "application/partial-upload"


def test_nothing_is_offered_to_who_cannot_write(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", read_only=True)

    assert "upload-limit" not in dav.options("/a").headers
    assert dav.put("/a", b"x", {"Upload-Complete": "?0"}).status == 403


@pytest.mark.rfc("RU-10")
@pytest.mark.parametrize("length", [None, "Content-Length"], ids=["chunked", "length"])
def test_what_came_before_the_client_left_stays(dav: AppDav, length: str | None) -> None:
    upload = begin(dav, "/a", b"begin")
    headers = [
        ("Content-Type", PARTIAL),
        ("Upload-Offset", "5"),
        ("Upload-Complete", "?1"),
        (length, str(len(LARGE))) if length else ("Transfer-Encoding", "chunked"),
    ]
    came = LARGE[: 2 * MIB + 17]
    scope = dav.scope("PATCH", upload, headers)
    exchange = dav.run(drive(dav.app, scope, [came[:MIB], came[MIB:]], leaves=True))

    assert exchange.messages == []
    assert dav.get("/a").status == 404
    assert offset_of(dav, upload) == 5 + len(came)
    assert append(dav, upload, 5 + len(came), LARGE[len(came) :], last=True).status == 201
    assert dav.get("/a").body == b"begin" + LARGE


@pytest.mark.rfc("RU-10")
def test_nothing_stays_of_a_first_piece_whose_client_left(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    headers = [("Upload-Complete", "?0"), ("Content-Length", "100")]
    exchange = dav.run(drive(dav.app, dav.scope("PUT", "/a", headers), [b"part"], leaves=True))

    assert exchange.messages == []
    assert parts(dav.root) == []
    assert dav.app.services.state.uploads() == []


def digest(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


@pytest.mark.rfc("RU-11")
def test_a_digest_of_the_whole_is_checked_at_the_end(dav: AppDav) -> None:
    good = begin(dav, "/a", b"one", Repr_Digest=digest(b"one,two"), Want_Repr_Digest="sha-256=1")
    bad = begin(dav, "/b", b"one", Repr_Digest=digest(b"another"))
    kept = append(dav, good, 3, b",two", last=True)
    refused = append(dav, bad, 3, b",two", last=True)

    assert (kept.status, kept.headers["repr-digest"]) == (201, digest(b"one,two"))
    assert (refused.status, refused.headers["upload-complete"]) == (400, "?1")
    assert dav.get("/b").status == 404


@pytest.mark.rfc("RU-11")
def test_a_piece_whose_digest_is_wrong_does_not_count(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one", Content_Digest=digest(b"one"))
    wrong = append(dav, upload, 3, b"two", Content_Digest=digest(b"other"))
    right = append(dav, upload, 3, b"two", Content_Digest=digest(b"two"))
    first = dav.put("/b", b"x", {"Upload-Complete": "?0", "Content-Digest": digest(b"y")})

    assert (wrong.status, right.status, first.status) == (400, 204, 400)
    assert wrong.headers["upload-offset"] == "3"
    assert offset_of(dav, upload) == 6


IGNORED = {
    "no boolean": {"Upload-Complete": "0"},
    "two lines": [("Upload-Complete", "?0"), ("Upload-Complete", "?0")],
    "a string": {"Upload-Complete": '"?0"'},
    "offset and length alone": {"Upload-Offset": "7", "Upload-Length": "9"},
}


@pytest.mark.rfc("RU-12")
@pytest.mark.parametrize("headers", IGNORED.values(), ids=IGNORED)
def test_fields_that_cannot_be_read_make_an_ordinary_put(dav: AppDav, headers: Any) -> None:
    reply = dav.put("/a", b"all", headers)

    assert reply.status == 201
    assert "upload-complete" not in reply.headers
    assert dav.get("/a").body == b"all"


@pytest.mark.rfc("RU-12")
def test_parameters_of_fields_are_passed_over(dav: AppDav) -> None:
    reply = dav.put("/a", b"one", {"Upload-Complete": "?0;q=1", "Upload-Length": "-4"})

    assert reply.status == 201
    assert "upload-length" not in dav.head(reply.headers["location"]).headers


def test_all_of_it_in_one_request_is_an_ordinary_put(dav: AppDav) -> None:
    reply = dav.put("/a", b"all", {"Upload-Complete": "?1", "Upload-Length": "3"})

    assert (reply.status, reply.headers["upload-complete"]) == (201, "?1")
    assert "location" not in reply.headers
    assert reply.headers["etag"] == dav.head("/a").headers["etag"]


BAD = {
    "no type": ({"Upload-Offset": "3", "Upload-Complete": "?0"}, 415),
    "another type": (
        {"Content-Type": "text/plain", "Upload-Offset": "3", "Upload-Complete": "?0"},
        415,
    ),
    "no offset": ({"Content-Type": PARTIAL, "Upload-Complete": "?0"}, 400),
    "no completeness": ({"Content-Type": PARTIAL, "Upload-Offset": "3"}, 400),
}


@pytest.mark.parametrize(("headers", "status"), BAD.values(), ids=BAD)
def test_a_piece_that_says_too_little_is_refused(
    dav: AppDav, headers: dict[str, str], status: int
) -> None:
    upload = begin(dav, "/a", b"one")
    reply = dav.request("PATCH", upload, headers, b"x")

    assert reply.status == status
    assert status != 415 or reply.headers["accept-patch"] == PARTIAL
    assert offset_of(dav, upload) == 3


def test_other_methods_are_not_for_an_upload(dav: AppDav) -> None:
    upload = begin(dav, "/a")

    assert dav.request("POST", upload).status == 405
    assert dav.put(upload, b"x").status == 404
    assert dav.copy("/a", upload).status == 404
    assert dav.request("PROPFIND", upload, {"Depth": "0"}).status == 404


@pytest.mark.parametrize("id", ["", "0" * 32, "..%2fa", "a/b", "x" * 3000])
def test_what_is_no_upload_is_404(dav: AppDav, id: str) -> None:
    assert dav.head(f"/.davserver/uploads/{id}").status in (400, 404)


@pytest.mark.rfc("RU-05")
def test_an_upload_whose_part_is_lost_is_gone(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    lost, cut = begin(dav, "/a", b"one"), begin(dav, "/b", b"one")
    first, second = sorted(parts(dav.root), key=lambda path: path.stat().st_ctime_ns)
    first.unlink()
    os.truncate(second, 2)

    assert append(dav, lost, 3, b"x").status == 404
    assert append(dav, cut, 3, b"x").status == 404
    assert (dav.head(lost).status, dav.head(cut).status) == (404, 404)
    assert parts(dav.root) == []


@pytest.mark.rfc("RU-05")
def test_what_was_written_and_never_told_does_not_count(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root
    upload = begin(dav, "/a", b"one")
    with parts(dav.root)[0].open("ab") as part:
        part.write(b"lost")

    assert offset_of(dav, upload) == 3
    append(dav, upload, 3, b"two", last=True)
    assert dav.get("/a").body == b"onetwo"


TAKING = {
    "HEAD": ("HEAD", 204),
    "DELETE": ("DELETE", 204),
    "PATCH": ("PATCH", 409),  # at the old offset
}


@pytest.mark.rfc("RU-08")
@pytest.mark.parametrize(("method", "status"), TAKING.values(), ids=TAKING)
def test_a_second_request_ends_an_append_that_stands_still(
    dav: AppDav, method: str, status: int
) -> None:
    upload = begin(dav, "/a", b"one")
    headers = {"Content-Type": PARTIAL, "Upload-Offset": "3", "Upload-Complete": "?1"}

    async def both() -> tuple[Any, Reply]:
        stands_still = asyncio.Event()

        async def before(number: int) -> None:
            if number == 1:
                stands_still.set()
                await asyncio.Event().wait()

        chunked = headers | {"Transfer-Encoding": "chunked"}
        scope = dav.scope("PATCH", upload, chunked)
        first = asyncio.ensure_future(drive(dav.app, scope, [b"two", b"never"], before=before))
        await stands_still.wait()
        second = await dav.send(method, upload, headers)
        return await first, second.reply

    first, second = dav.run(both())

    assert first.reply.status == 409
    assert "close" in first.reply.headers["connection"]
    assert second.status == status
    if method != "DELETE":
        assert second.headers["upload-offset"] == "6"
        assert append(dav, upload, 6, b"end", last=True).status == 201
        assert dav.get("/a").body == b"onetwoend"
