"""Conditional requests (RFC 9110 sections 8.8 and 13) on real resources."""

from __future__ import annotations

import asyncio
import datetime
import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from davserver.protocol.dates import format_http_date
from tests.conftest import AppDav
from tests.support.dav import LOCKINFO

D = "{DAV:}"
LOCK = LOCKINFO.format(scope="exclusive", owner="").encode()
UPDATE = (
    b'<D:propertyupdate xmlns:D="DAV:"><D:set><D:prop><a xmlns="urn:x">1</a></D:prop></D:set>'
    b"</D:propertyupdate>"
)


def date(seconds: float) -> str:
    return format_http_date(int(seconds)).decode()


class File:
    """`/f`, an hour old, and what conditions may say of it."""

    def __init__(self, dav: AppDav) -> None:
        self.dav = dav
        modified = dav.clock.now - 3600
        assert dav.put("/f", b"old").status == 201
        assert dav.proppatch("/f", set={f"{D}getlastmodified": date(modified)}).status == 207
        self.names = {
            "etag": dav.head("/f").headers["etag"],
            "modified": date(modified),
            "before": date(modified - 1),
            "after": date(modified + 1),
            "future": date(dav.clock.now + 86_400),
        }
        assert dav.head("/f").headers["last-modified"] == self.names["modified"]

    def fields(self, conditions: dict[str, str]) -> dict[str, str]:
        return {name: value.format(**self.names) for name, value in conditions.items()}


@pytest.fixture
def file(dav: AppDav) -> File:
    return File(dav)


# conditions: (status of GET and HEAD, status of PUT)
CONDITIONS: dict[str, tuple[dict[str, str], int, int]] = {
    "match": ({"If-Match": "{etag}"}, 200, 204),
    "match in a list": ({"If-Match": '"a, b", {etag}'}, 200, 204),
    "match any": ({"If-Match": "*"}, 200, 204),
    "no match": ({"If-Match": '"x"'}, 412, 412),
    "match is strong": ({"If-Match": "W/{etag}"}, 412, 412),
    "match, suffix of a proxy": ({"If-Match": "{gzip}"}, 200, 204),
    "match, unquoted": ({"If-Match": "x"}, 412, 412),
    "match, obs-text": ({"If-Match": '"\xe4", {etag}'}, 200, 204),
    "match * beside a tag": ({"If-Match": "*, {etag}"}, 400, 400),
    "match empty": ({"If-Match": ""}, 400, 400),
    "match text": ({"If-Match": '"x" "y"'}, 400, 400),
    "none match": ({"If-None-Match": "{etag}"}, 304, 412),
    "none match is weak": ({"If-None-Match": "W/{etag}"}, 304, 412),
    "none match in a list": ({"If-None-Match": '"x", {etag}'}, 304, 412),
    "none match, other": ({"If-None-Match": '"x"'}, 200, 204),
    "none match any": ({"If-None-Match": "*"}, 304, 412),
    "none match * beside a tag": ({"If-None-Match": '*, "x"'}, 400, 400),
    "unmodified since": ({"If-Unmodified-Since": "{modified}"}, 200, 204),
    "unmodified since before": ({"If-Unmodified-Since": "{before}"}, 412, 412),
    "unmodified since, no date": ({"If-Unmodified-Since": "yesterday"}, 200, 204),
    "modified since": ({"If-Modified-Since": "{modified}"}, 304, 204),
    "modified since before": ({"If-Modified-Since": "{before}"}, 200, 204),
    "modified since after": ({"If-Modified-Since": "{after}"}, 304, 204),
    "modified since the future": ({"If-Modified-Since": "{future}"}, 304, 204),
    "modified since, no date": ({"If-Modified-Since": "0"}, 200, 204),
    # HC-01: which one wins
    "match beats unmodified": (
        {"If-Match": "{etag}", "If-Unmodified-Since": "{before}"},
        200,
        204,
    ),
    "match fails, unmodified holds": (
        {"If-Match": '"x"', "If-Unmodified-Since": "{after}"},
        412,
        412,
    ),
    "match before none match": ({"If-Match": '"x"', "If-None-Match": "{etag}"}, 412, 412),
    "match, then none match": ({"If-Match": "{etag}", "If-None-Match": "{etag}"}, 304, 412),
    "none match beats modified": (
        {"If-None-Match": '"x"', "If-Modified-Since": "{after}"},
        200,
        204,
    ),
    "unmodified, then modified": (
        {"If-Unmodified-Since": "{modified}", "If-Modified-Since": "{modified}"},
        304,
        204,
    ),
}


@pytest.mark.rfc("HC-01", "HC-02", "HC-03", "HC-04", "HC-08", "G-19")
@pytest.mark.parametrize(
    ("conditions", "read", "write"), CONDITIONS.values(), ids=CONDITIONS.keys()
)
def test_condition(file: File, conditions: dict[str, str], read: int, write: int) -> None:
    file.names["gzip"] = file.names["etag"][:-1] + '-gzip"'
    dav, headers = file.dav, file.fields(conditions)

    assert (dav.get("/f", headers).status, dav.head("/f", headers).status) == (read, read)
    assert dav.put("/f", b"new", headers).status == write
    assert dav.get("/f").body == (b"new" if write == 204 else b"old")


@pytest.mark.rfc("HC-04")
@pytest.mark.parametrize("name", ["If-Modified-Since", "If-Unmodified-Since"])
def test_several_dates_are_ignored(file: File, name: str) -> None:
    fields = [(name, file.names[key]) for key in ("before", "after")]

    assert file.dav.get("/f", fields).status == 200


@pytest.mark.rfc("HC-04")
@pytest.mark.parametrize("form", ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"])
def test_older_forms_of_dates_are_read(file: File, form: str) -> None:
    moment = datetime.datetime.fromtimestamp(int(file.dav.clock.now - 3600), datetime.UTC)

    assert file.dav.get("/f", {"If-Modified-Since": moment.strftime(form)}).status == 304


@pytest.mark.rfc("HC-02", "HC-03")
def test_any_on_an_unmapped_url(dav: AppDav) -> None:
    assert dav.put("/f", b"x", {"If-Match": "*"}).status == 412
    assert dav.put("/f", b"x", {"If-Match": '"x"'}).status == 412
    assert dav.members("/") == []
    assert dav.put("/f", b"x", {"If-None-Match": "*"}).status == 201
    assert dav.put("/f", b"y", {"If-None-Match": "*"}).status == 412
    assert dav.get("/f").body == b"x"


# HC-05: (method, target, further fields, body, status whatever If-Match says)
PLAIN = {
    "PUT without parent": ("PUT", "/none/f", {}, b"x", 409),
    "DELETE of nothing": ("DELETE", "/none", {}, b"", 404),
    "GET of nothing": ("GET", "/none", {}, b"", 404),
    "PROPFIND of nothing": ("PROPFIND", "/none", {"Depth": "0"}, b"", 404),
    "COPY of nothing": ("COPY", "/none", {"Destination": "/new"}, b"", 404),
    "MOVE to nowhere": ("MOVE", "/f", {"Destination": "/none/new"}, b"", 409),
    "MKCOL of a file": ("MKCOL", "/f", {}, b"", 405),
    "MKCOL with a body": ("MKCOL", "/new", {}, b"x", 415),
    "PUT of a locked file": ("PUT", "/locked", {}, b"x", 423),
    "PUT of a collection": ("PUT", "/c/", {}, b"x", 405),
    "foreign destination": ("COPY", "/f", {"Destination": "http://other.example/x"}, b"", 502),
    "bad XML": ("PROPPATCH", "/f", {}, b"<x", 400),
    "unknown method": ("FROB", "/f", {}, b"", 501),
}


@pytest.mark.rfc("HC-05", "D-2")
@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status"), PLAIN.values(), ids=PLAIN.keys()
)
@pytest.mark.parametrize("condition", [("If-Match", '"x"'), ("If-None-Match", "*")])
def test_conditions_count_only_where_the_answer_would_be_good(
    file: File,
    condition: tuple[str, str],
    method: str,
    target: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
) -> None:
    file.dav.mkcol("/c/")
    file.dav.lock("/locked")

    fields = headers | dict([condition])
    assert file.dav.request(method, target, fields, body).status == status
    assert file.dav.get("/f").body == b"old"


@pytest.mark.rfc("HC-05")
def test_refused_rights_go_before_conditions(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav("filesystem", read_only=True)
    assert dav.root is not None
    (dav.root / "f").write_bytes(b"old")

    for headers in ({"If-Match": '"x"'}, {"If-None-Match": "*"}, {"If": '(["x"])'}):
        assert dav.put("/f", b"x", headers).status == 403
        assert dav.delete("/f", headers).status == 403


@pytest.mark.rfc("HC-06", "D-2")
@pytest.mark.parametrize(
    ("target", "headers", "status"),
    [
        ("/f", {"If-Match": '"x"'}, 412),
        ("/f", {"If": '(["x"])'}, 412),
        ("/f", {"If-None-Match": "*"}, 412),
        ("/locked", {}, 423),
        ("/none/f", {}, 409),
        ("/f", {"Content-Range": "bytes 0-1/2"}, 400),
    ],
)
def test_refused_before_the_content_is_asked_for(
    file: File, target: str, headers: dict[str, str], status: int
) -> None:
    dav = file.dav
    dav.lock("/locked")

    reply = dav.put(target, b"x", headers | {"Content-Length": str(1 << 30)})

    assert reply.status == status
    assert dav.last.received == 0
    assert dav.get("/f").body == b"old"


@pytest.mark.rfc("HC-07")
@pytest.mark.parametrize(
    "headers", [{"If-Match": '"x"'}, {"If-None-Match": "*"}, {"If-Unmodified-Since": "{before}"}]
)
def test_options_ignores_conditions(file: File, headers: dict[str, str]) -> None:
    assert file.dav.options("/f", file.fields(headers)).status == 200


@pytest.mark.rfc("HC-09", "HM-01")
@pytest.mark.parametrize(
    "condition", [{"If-None-Match": "{etag}"}, {"If-Modified-Since": "{after}"}]
)
def test_304_carries_the_fields_of_200(file: File, condition: dict[str, str]) -> None:
    full = file.dav.get("/f")

    reply = file.dav.get("/f", file.fields(condition))

    assert (reply.status, reply.body) == (304, b"")
    for name in ("etag", "last-modified", "cache-control", "content-location", "expires", "vary"):
        assert reply.headers.get(name) == full.headers.get(name)
    assert "etag" in reply.headers


@pytest.mark.rfc("HC-09")
def test_304_of_a_file_with_a_slash_has_its_location(file: File) -> None:
    reply = file.dav.get("/f/", {"If-None-Match": file.names["etag"]})

    assert (reply.status, reply.headers["content-location"]) == (304, "/f")
    assert file.dav.get("/f/").headers["content-location"] == "/f"


def put_at_once(
    dav: AppDav, headers: dict[str, str], bodies: Sequence[Sequence[bytes]]
) -> list[int]:
    """PUTs `/f` so that nobody sends a byte before all have passed the first checks."""

    async def put_all() -> list[int]:
        arrived = asyncio.Barrier(len(bodies))

        async def before(number: int) -> None:
            if number == 0:
                await arrived.wait()

        exchanges = await asyncio.gather(
            *(dav.send("PUT", "/f", headers, body, before=before) for body in bodies)
        )
        return sorted(exchange.reply.status for exchange in exchanges)

    statuses: list[int] = dav.run(put_all())
    return statuses


@pytest.mark.rfc("HC-10")
def test_of_two_uploads_with_one_condition_one_succeeds(file: File) -> None:
    bodies = ([b"a" * 10, b"a"], [b"b" * 10, b"b"])

    assert put_at_once(file.dav, file.fields({"If-Match": "{etag}"}), bodies) == [204, 412]
    assert file.dav.get("/f").body in (b"a" * 11, b"b" * 11)


@pytest.mark.rfc("HC-10")
def test_of_two_creations_one_succeeds(dav: AppDav) -> None:
    bodies = ([b"a", b""], [b"b", b""])

    assert put_at_once(dav, {"If-None-Match": "*"}, bodies) == [201, 412]


METHODS: dict[str, tuple[str, str, dict[str, str], bytes, int]] = {
    "PROPFIND": ("PROPFIND", "/f", {"Depth": "0"}, b"", 207),
    "PROPPATCH": ("PROPPATCH", "/f", {}, UPDATE, 207),
    "DELETE": ("DELETE", "/f", {}, b"", 204),
    "COPY": ("COPY", "/f", {"Destination": "/copy"}, b"", 201),
    "MOVE": ("MOVE", "/f", {"Destination": "/moved"}, b"", 201),
    "LOCK": ("LOCK", "/f", {}, LOCK, 200),
}


@pytest.mark.rfc("HC-03", "HC-11")
@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "status"), METHODS.values(), ids=METHODS.keys()
)
def test_conditions_hold_for_other_methods(
    file: File, method: str, target: str, headers: dict[str, str], body: bytes, status: int
) -> None:
    dav = file.dav
    for false in ({"If-Match": '"x"'}, {"If-None-Match": "{etag}"}, {"If-None-Match": "*"}):
        reply = dav.request(method, target, headers | file.fields(false), body)
        assert reply.status == 412
        assert dav.members("/") == ["/f"]
        assert dav.locks("/f") == []
        assert dav.prop("/f", "{urn:x}a") is None
    true = file.fields({"If-Match": "{etag}", "If-Modified-Since": "{after}"})
    assert dav.request(method, target, headers | true, body).status == status


@pytest.mark.rfc("HC-03", "HC-11")
def test_if_none_match_any_on_mkcol_and_lock_of_an_unmapped_url(dav: AppDav) -> None:
    for condition, status in (({"If-Match": "*"}, 412), ({"If-None-Match": "*"}, 201)):
        assert dav.mkcol("/c/", condition).status == status
        assert dav.lock_request("/new", headers=condition).status == status
    assert dav.members("/") == ["/c/", "/new"]


@pytest.mark.rfc("HV-01", "LP-06", "G-17")
def test_tags_are_strong_and_never_come_back(dav: AppDav) -> None:
    seen = []
    for number in range(20):
        tag = dav.put("/f", b"%02d" % number, {"X-OC-Mtime": "1000000000"}).headers["etag"]
        assert dav.get("/f").headers["etag"] == dav.prop("/f", f"{D}getetag").text == tag
        seen.append(tag)

    assert len(set(seen)) == 20
    assert not any(tag.startswith("W/") for tag in seen)


@pytest.mark.rfc("HV-02")
def test_last_modified_is_never_in_the_future(make_dav: Callable[..., AppDav]) -> None:
    dav: Any = make_dav("filesystem")
    dav.put("/f", b"old")
    os.utime(dav.root / "f", (dav.clock.now + 9000,) * 2)

    now = date(dav.clock.now)
    assert dav.get("/f").headers["last-modified"] == now
    assert dav.prop("/f", f"{D}getlastmodified").text == now
