"""Range requests (RFC 9110 section 14) on real files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime

import pytest

from davserver.protocol.dates import format_http_date
from tests.conftest import AppDav
from tests.support.reply import Reply

CONTENT = bytes(range(256)) * 4  # 1 KiB
SIZE = len(CONTENT)


@pytest.fixture
def file(dav: AppDav) -> AppDav:
    """Has `/f.txt` of 1 KiB, an hour old."""
    assert dav.put("/f.txt", CONTENT).status == 201
    modified = format_http_date(int(dav.clock.now - 3600)).decode()
    assert dav.proppatch("/f.txt", set={"{DAV:}getlastmodified": modified}).status == 207
    return dav


ONE = {
    "first bytes": ("bytes=0-9", 0, 9),
    "one byte": ("bytes=5-5", 5, 5),
    "to the end": ("bytes=1000-", 1000, 1023),
    "everything": ("bytes=0-", 0, 1023),
    "clipped": ("bytes=1000-9999", 1000, 1023),
    "suffix": ("bytes=-10", 1014, 1023),
    "suffix longer than the file": ("bytes=-9999", 0, 1023),
    "blanks": ("bytes= 0-9 ", 0, 9),
    "case of the unit": ("BYTES=0-9", 0, 9),
    "huge last": ("bytes=0-" + "9" * 500, 0, 1023),
    "huge suffix": ("bytes=-" + "9" * 500, 0, 1023),
    "leading zeros": ("bytes=0000000000000000000000-9", 0, 9),
    "one of two satisfiable": ("bytes=0-9,9999-", 0, 9),
    "empty elements": ("bytes=,0-9,", 0, 9),
}


@pytest.mark.rfc("HR-01", "HR-04", "HR-07", "HR-13", "HR-08")
@pytest.mark.parametrize(("value", "first", "last"), ONE.values(), ids=ONE.keys())
def test_one_range(file: AppDav, value: str, first: int, last: int) -> None:
    reply = file.get("/f.txt", {"Range": value})

    assert reply.status == 206
    assert reply.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"
    assert reply.headers["content-length"] == str(last - first + 1)
    assert reply.headers["content-type"].startswith("text/plain")
    assert reply.body == CONTENT[first : last + 1]


IGNORED = {
    "unknown unit": "items=0-1",
    "no unit": "0-9",
    "last before first": "bytes=5-2",
    "text": "bytes=abc",
    "no numbers": "bytes=-",
    "empty": "bytes=",
    "negative": "bytes=--5",
    "one bad in a list": "bytes=0-9,x",
    "blank inside": "bytes=0 - 9",
    "hexadecimal": "bytes=0x0-9",
    "huge pair in the wrong order": "bytes=" + "9" * 500 + "-5",
    "three overlapping": "bytes=0-100,50-150,100-200",
    "very many": "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 1000, 2)),
    "much more than the file": "bytes=" + ",".join(["0-"] * 10),
}


@pytest.mark.rfc("HR-03", "HR-06", "HR-07", "HR-09")
@pytest.mark.parametrize("value", IGNORED.values(), ids=IGNORED.keys())
def test_range_that_is_ignored(file: AppDav, value: str) -> None:
    reply = file.get("/f.txt", {"Range": value})

    assert (reply.status, reply.body) == (200, CONTENT)
    assert "content-range" not in reply.headers
    assert reply.headers["accept-ranges"] == "bytes"


@pytest.mark.rfc("HR-05", "HR-07")
@pytest.mark.parametrize(
    "value",
    [
        "bytes=1024-",
        "bytes=1024-2000",
        "bytes=-0",
        "bytes=2000-,3000-",
        "bytes=9" + "9" * 500 + "-",
    ],
    ids=["at the end", "past the end", "empty suffix", "several", "huge"],
)
def test_unsatisfiable_range_is_416(file: AppDav, value: str) -> None:
    reply = file.get("/f.txt", {"Range": value})

    assert reply.status == 416
    assert reply.headers["content-range"] == f"bytes */{SIZE}"


@pytest.mark.rfc("HR-05")
def test_range_of_an_empty_file(dav: AppDav) -> None:
    dav.put("/empty", b"")

    from_start, suffix = (dav.get("/empty", {"Range": v}) for v in ("bytes=0-", "bytes=-5"))

    assert (from_start.status, from_start.headers["content-range"]) == (416, "bytes */0")
    assert (suffix.status, suffix.body) == (200, b"")


def parts_of(reply: Reply) -> list[tuple[dict[str, str], bytes]]:
    """Reads a multipart/byteranges body strictly."""
    match = re.fullmatch(r"multipart/byteranges; boundary=(\w+)", reply.headers["content-type"])
    assert match is not None, reply.headers
    boundary = match[1].encode()
    assert reply.body.startswith(b"--" + boundary + b"\r\n")
    assert reply.body.endswith(b"\r\n--" + boundary + b"--\r\n")
    parts = []
    inner = reply.body[len(boundary) + 4 : -len(boundary) - 8]
    for part in inner.split(b"\r\n--" + boundary + b"\r\n"):
        head, _, body = part.partition(b"\r\n\r\n")
        fields = [line.decode().split(": ", 1) for line in head.split(b"\r\n")]
        parts.append(({name.lower(): value for name, value in fields}, body))
    return parts


@pytest.mark.rfc("HR-08", "HR-13", "HR-10")
@pytest.mark.parametrize(
    ("value", "ranges"),
    [
        ("bytes=0-9,20-29", [(0, 9), (20, 29)]),
        ("bytes= 0-9 , 20-29", [(0, 9), (20, 29)]),
        ("bytes=500-509,0-0,-1", [(500, 509), (0, 0), (1023, 1023)]),
        ("bytes=0-9,9999-,20-29", [(0, 9), (20, 29)]),
    ],
)
def test_several_ranges(file: AppDav, value: str, ranges: list[tuple[int, int]]) -> None:
    reply = file.get("/f.txt", {"Range": value})

    assert reply.status == 206
    assert "content-range" not in reply.headers
    parts = parts_of(reply)
    assert [fields["content-range"] for fields, _ in parts] == [
        f"bytes {first}-{last}/{SIZE}" for first, last in ranges
    ]
    assert [body for _, body in parts] == [CONTENT[first : last + 1] for first, last in ranges]
    assert {fields["content-type"] for fields, _ in parts} == {
        file.get("/f.txt").headers["content-type"]
    }


@pytest.mark.rfc("HR-02")
def test_range_counts_for_get_alone(file: AppDav) -> None:
    headers = {"Range": "bytes=0-9", "Depth": "0"}

    head = file.head("/f.txt", headers)
    assert (head.status, head.headers["content-length"]) == (200, str(SIZE))
    assert "content-range" not in head.headers
    assert file.request("PROPFIND", "/f.txt", headers).status == 207
    assert file.request("OPTIONS", "/f.txt", headers).status == 200
    assert file.put("/f.txt", b"whole", headers).status == 204
    assert file.get("/f.txt").body == b"whole"
    assert file.get("/", headers).status == 200


@pytest.mark.rfc("HR-01")
def test_accept_ranges(file: AppDav) -> None:
    assert file.get("/f.txt").headers["accept-ranges"] == "bytes"
    assert file.head("/f.txt").headers["accept-ranges"] == "bytes"


@pytest.mark.rfc("HR-10")
@pytest.mark.parametrize("value", ["bytes=0-9", "bytes=0-9,20-29"])
def test_206_carries_the_fields_of_200(file: AppDav, value: str) -> None:
    own = {"content-length", "content-range", "content-type"}
    full, part = (file.get("/f.txt", h) for h in ({}, {"Range": value}))

    assert part.status == 206
    assert [f for f in sorted(part.headers) if f[0] not in own] == [
        f for f in sorted(full.headers) if f[0] not in own
    ]
    assert "etag" in part.headers
    assert "last-modified" in part.headers


IF_RANGE = {
    "tag": ("{etag}", 206),
    "weak tag": ("W/{etag}", 200),
    "other tag": ('"x"', 200),
    "exact date": ("{modified}", 206),
    "later date": ("{after}", 200),
    "earlier date": ("{before}", 200),
    "text": ("yes", 200),
    "list of tags": ("{etag}, {etag}", 200),
    "unfinished tag": ('"x', 200),
    "empty": ("", 200),
}


@pytest.mark.rfc("HR-11")
@pytest.mark.parametrize(("value", "status"), IF_RANGE.values(), ids=IF_RANGE.keys())
def test_if_range(file: AppDav, value: str, status: int) -> None:
    headers = file.head("/f.txt").headers
    then = file.clock.now - 3600
    value = value.format(
        etag=headers["etag"],
        modified=headers["last-modified"],
        before=format_http_date(int(then - 1)).decode(),
        after=format_http_date(int(then + 1)).decode(),
    )

    reply = file.get("/f.txt", {"Range": "bytes=0-9", "If-Range": value})

    assert (reply.status, reply.body) == (status, CONTENT[:10] if status == 206 else CONTENT)
    assert file.get("/f.txt", {"If-Range": value}).status == 200


@pytest.mark.rfc("HR-11")
def test_date_of_this_second_is_no_strong_validator(dav: AppDav) -> None:
    # Ahead of the disk's clock, so that none of its seconds is cut off.
    dav.clock.pass_s(60)
    dav.put("/f.txt", CONTENT)
    modified = dav.head("/f.txt").headers["last-modified"]
    headers = {"Range": "bytes=0-9", "If-Range": modified}
    dav.clock.now = parsedate_to_datetime(modified).timestamp() + 0.5

    assert dav.get("/f.txt", headers).status == 200
    dav.clock.pass_s(5)
    assert dav.get("/f.txt", headers).status == 206


@pytest.mark.rfc("HR-12", "HC-01")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-Match": '"x"'}, 412),
        ({"If-None-Match": "{etag}"}, 304),
        ({"If-Modified-Since": "{modified}"}, 304),
        ({"If-Match": "{etag}"}, 206),
        ({"If-None-Match": '"x"'}, 206),
        ({"If-None-Match": "{etag}", "If-Range": '"x"'}, 304),
    ],
)
@pytest.mark.parametrize("value", ["bytes=0-9", "bytes=9999-"])
def test_other_conditions_go_first(
    file: AppDav, headers: dict[str, str], status: int, value: str
) -> None:
    got = file.head("/f.txt").headers
    fields = {
        name: text.format(etag=got["etag"], modified=got["last-modified"])
        for name, text in headers.items()
    }

    reply = file.get("/f.txt", fields | {"Range": value})

    assert reply.status == (416 if status == 206 and value == "bytes=9999-" else status)


@pytest.mark.rfc("HR-14")
def test_file_that_shrinks_cuts_the_answer(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    size = 4 << 20
    dav.put("/f", b"x" * size)
    sent: list[bytes] = []
    path = dav.root / "f"

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        body = message.get("body")
        if isinstance(body, bytes | bytearray | memoryview) and body:
            sent.append(bytes(body))
            os.truncate(path, 1 << 20)

    async def run() -> None:
        await dav.app(dav.scope("GET", "/f"), receive, send)

    with pytest.raises(RuntimeError, match="shorter"):
        dav.run(run())
    assert b"".join(sent) == b"x" * (1 << 20)


def test_parts_hold_across_reads_of_a_large_file(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem")
    content = os.urandom(3 << 20)
    dav.put("/f", content)

    reply = dav.get("/f", {"Range": f"bytes=100-{(2 << 20) + 5},{(2 << 20) + 100}-"})

    assert [body for _, body in parts_of(reply)] == [
        content[100 : (2 << 20) + 6],
        content[(2 << 20) + 100 :],
    ]
