"""RFC 4918 section 10: typed header fields."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from davserver.errors import BadGateway, BadRequest, DavError
from davserver.protocol.headers import (
    DavHeaders,
    Depth,
    normalize_authority,
    parse_content_length,
    parse_depth,
    parse_destination,
    parse_lock_token,
    parse_overwrite,
    parse_reference,
    parse_timeout,
)
from davserver.protocol.path import DavPath

OURS = (b"dav.example:8080", b"files.example")


def test_headers_give_values_by_name() -> None:
    headers = DavHeaders([(b"a", b" 1\t"), (b"b", b"2"), (b"a", b"3"), (b"c", b"")])

    assert headers.get(b"a") == b"1"
    assert headers.get(b"c") == b""
    assert headers.get(b"x") is None
    assert headers.get_all(b"a") == [b"1", b"3"]
    assert headers.get_all(b"x") == []
    assert headers.joined(b"a") == b"1, 3"
    assert headers.joined(b"b") == b"2"
    assert headers.joined(b"x") is None
    assert headers.single(b"b") == b"2"
    assert headers.single(b"x") is None
    assert headers.items[2] == (b"a", b"3")
    assert DavHeaders([(b"a", b" 1 ")]).joined(b"a") == b"1"


def test_single_field_sent_twice_is_400() -> None:
    headers = DavHeaders([(b"depth", b"1"), (b"depth", b"1")])

    with pytest.raises(BadRequest, match="depth"):
        headers.single(b"depth")


@pytest.mark.parametrize(
    ("value", "depth"),
    [
        (None, None),
        (b"0", Depth.ZERO),
        (b"1", Depth.ONE),
        (b"infinity", Depth.INFINITY),
        (b"Infinity", Depth.INFINITY),
        (b" INFINITY ", Depth.INFINITY),
    ],
)
@pytest.mark.rfc("DE-01")
def test_depth(value: bytes | None, depth: Depth | None) -> None:
    assert depth is parse_depth(value)


@pytest.mark.parametrize("value", [b"", b"2", b"-1", b"01", b"1,noroot", b"0, 0", b"inf", b"\xff"])
@pytest.mark.rfc("DE-01")
def test_bad_depth_is_400(value: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_depth(value)


@pytest.mark.parametrize(
    ("value", "overwrite"),
    [(None, True), (b"T", True), (b"t", True), (b"F", False), (b" f ", False)],
)
@pytest.mark.rfc("OV-01")
def test_overwrite(value: bytes | None, overwrite: bool) -> None:
    assert overwrite is parse_overwrite(value)


@pytest.mark.parametrize("value", [b"", b"true", b"TF", b"0", b"T, F"])
@pytest.mark.rfc("OV-01")
def test_bad_overwrite_is_400(value: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_overwrite(value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        pytest.param(None, 3600, id="not sent"),
        pytest.param(b"", 3600, id="empty"),
        pytest.param(b"Second-600", 600, id="seconds"),
        pytest.param(b"second-600", 600, id="lower case"),
        pytest.param(b"Infinite", 86400, id="infinite is capped"),
        pytest.param(b"Infinite, Second-4100000000", 86400, id="10.7"),
        pytest.param(b"Second-4100000000, Infinite", 86400, id="capped"),
        pytest.param(b"Second-4294967295", 86400, id="largest"),
        pytest.param(b"Second-4294967296", 3600, id="too large"),
        pytest.param(b"Second-" + b"9" * 5000, 3600, id="huge"),
        pytest.param(b"Second-4294967296, Second-60", 60, id="second wish"),
        pytest.param(b"Extend, Second-7", 7, id="unknown wish first"),
        pytest.param(b"Second-0", 3600, id="zero"),
        pytest.param(b"Second--1", 3600, id="negative"),
        pytest.param(b"600", 3600, id="no unit"),
        pytest.param(b"\xff, ,", 3600, id="garbage"),
    ],
)
@pytest.mark.rfc("TO-01", "TO-02")
def test_timeout(value: bytes | None, seconds: int) -> None:
    assert seconds == parse_timeout(value, default_s=3600, maximum_s=86400)


def test_default_timeout_is_capped_too() -> None:
    assert parse_timeout(None, default_s=3600, maximum_s=60) == 60


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"<urn:uuid:1>", "urn:uuid:1"),
        (b" <opaquelocktoken:a-b> ", "opaquelocktoken:a-b"),
        pytest.param(b"urn:uuid:1", "urn:uuid:1", id="no brackets"),
    ],
)
@pytest.mark.rfc("LT-01")
def test_lock_token(value: bytes, token: str) -> None:
    assert token == parse_lock_token(value)


@pytest.mark.parametrize(
    "value", [b"", b"<>", b"<a", b"a>", b"<a><b>", b"<a>, <b>", b"<a b>", b"<\xe9>", b"(<a>)x y"]
)
@pytest.mark.rfc("LT-01")
def test_bad_lock_token_is_400(value: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_lock_token(value)


@pytest.mark.parametrize(
    ("authority", "normal"),
    [
        (b"Files.Example", b"files.example"),
        (b"files.example:80", b"files.example"),
        (b"files.example:443", b"files.example"),
        (b"files.example:", b"files.example"),
        (b"files.example:8080", b"files.example:8080"),
        (b"u:p@files.example", b"files.example"),
        (b"u:p@x@files.example:80", b"files.example"),
        (b"[::1]:80", b"[::1]"),
        (b"[::1]", b"[::1]"),
    ],
)
def test_normalize_authority(authority: bytes, normal: bytes) -> None:
    assert normal == normalize_authority(authority)


@pytest.mark.parametrize(
    ("value", "segments"),
    [
        pytest.param(b"/a/b", ("a", "b"), id="absolute path"),
        pytest.param(b"/a?x=/../y", ("a",), id="query dropped"),
        pytest.param(b" /a ", ("a",), id="blanks around"),
        pytest.param(b"http://files.example/a%20b", ("a b",), id="absolute URI"),
        pytest.param(b"http://files.example/a?q#", None, id="fragment"),
        pytest.param(b"https://files.example:443/a", ("a",), id="default port of https"),
        pytest.param(b"http://FILES.example:80/a", ("a",), id="case and default port"),
        pytest.param(b"http://dav.example:8080/a", ("a",), id="port"),
        pytest.param(b"webdavs://user:pass@files.example/a", ("a",), id="KIO"),
        pytest.param(b"http://files.example//a", ("a",), id="run of slashes in the path"),
        pytest.param(b"http://files.example", (), id="no path"),
        pytest.param(b"http://files.example?x", (), id="no path but a query"),
        pytest.param(b"http://files.example/%25", ("%",), id="decoded once"),
        pytest.param(b"", None, id="empty"),
        pytest.param(b"a/b", None, id="relative"),
        pytest.param(b"../a", None, id="relative with dots"),
        pytest.param(b"//files.example/a", None, id="network-path reference"),
        pytest.param(b"/a#b", None, id="fragment of a path"),
        pytest.param(b"/a/../b", None, id="dot segment"),
        pytest.param(b"http://files.example/%2e%2e/b", None, id="encoded dot segment"),
        pytest.param(b"http://files.example/a%2fb", None, id="encoded slash"),
        pytest.param(b"http:///a", None, id="no host"),
        pytest.param(b"http://u@/a", None, id="userinfo without host"),
        pytest.param(b"http:/a", None, id="no authority"),
        pytest.param(b"urn:uuid:1", None, id="no hierarchy"),
        pytest.param(b"/" + b"a" * 8192, None, id="too long"),
    ],
)
@pytest.mark.rfc("DN-01", "DN-02", "DN-03", "DN-04", "G-20")
@pytest.mark.security("P-01", "P-03")
def test_destination(value: bytes, segments: tuple[str, ...] | None) -> None:
    if segments is None:
        with pytest.raises(BadRequest):
            parse_destination(value, authorities=OURS)
    else:
        assert DavPath(segments) == parse_destination(value, authorities=OURS)


@pytest.mark.parametrize(
    "value",
    [
        b"http://other.example/a",
        b"http://files.example:8080/a",
        b"http://dav.example/a",
        b"http://files.example@other.example/a",
    ],
)
@pytest.mark.rfc("DN-02")
def test_destination_on_another_server_is_502_and_names_the_setting(value: bytes) -> None:
    with pytest.raises(BadGateway, match="public_url"):
        parse_destination(value, authorities=OURS)


@pytest.mark.parametrize(
    "value",
    [
        b"http://me:secret@other.example/a",
        b"http://me:secret@files.example/a/../b",
        b"http://me:secret@files.example/a#b",
        b"http://me:secret@/a",
    ],
)
def test_message_never_shows_userinfo(value: bytes) -> None:
    with pytest.raises(DavError) as caught:
        parse_destination(value, authorities=OURS)

    assert "secret" not in caught.value.detail


def test_known_authorities_are_normalised_too() -> None:
    assert parse_destination(b"http://x.example/a", authorities=[b"X.example:80"]).name == "a"


def test_reference_tells_the_foreign_authority() -> None:
    path, foreign = parse_reference(b"http://Other.example:80/a", authorities=OURS, field="if")

    assert (path.segments, foreign) == (("a",), b"other.example")


@pytest.mark.parametrize(
    ("values", "length"),
    [
        ([], None),
        ([b"0"], 0),
        ([b" 42 "], 42),
        ([b"42", b"42"], 42),
        ([b"42, 42"], 42),
        ([b"0" * 17 + b"1"], 1),
    ],
)
def test_content_length(values: list[bytes], length: int | None) -> None:
    headers = DavHeaders([(b"content-length", value) for value in values])

    assert length == parse_content_length(headers)


@pytest.mark.parametrize(
    "values",
    [[b""], [b"-1"], [b"+1"], [b"1.0"], [b"0x1"], [b"1", b"2"], [b"1, 2"], [b"1,"], [b"9" * 5000]],
)
def test_bad_content_length_is_400(values: list[bytes]) -> None:
    headers = DavHeaders([(b"content-length", value) for value in values])

    with pytest.raises(BadRequest):
        parse_content_length(headers)


PARSERS: list[Callable[[bytes], object]] = [
    parse_depth,
    parse_overwrite,
    parse_lock_token,
    lambda value: parse_timeout(value, default_s=1, maximum_s=2),
    lambda value: parse_destination(value, authorities=OURS),
    lambda value: parse_content_length(DavHeaders([(b"content-length", value)])),
]


@given(st.binary(max_size=60) | st.text("htp:/@?#%<>.0af ", max_size=40).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_any_octets_give_a_value_or_a_dav_error(value: bytes) -> None:
    for parse in PARSERS:
        with contextlib.suppress(BadRequest, BadGateway):
            parse(value)
