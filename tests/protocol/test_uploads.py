"""Fields of uploads in pieces (draft-ietf-httpbis-resumable-upload)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.errors import BadRequest
from davserver.protocol.headers import DavHeaders
from davserver.protocol.uploads import InconsistentLength, Piece, limit_field


def headers(**fields: str) -> DavHeaders:
    return DavHeaders((k.replace("_", "-").encode(), v.encode()) for k, v in fields.items())


@pytest.mark.rfc("RU-12")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("?1", True),
        ("?0", False),
        (" ?0 ", False),
        ("?1;a", True),
        ('?1; a=1 ;b="x"', True),
        ("?2", None),
        ("1", None),
        ("true", None),
        ("?", None),
        ("?1, ?1", None),
        ("?1;", None),
        ("?1;A", None),
        ("", None),
    ],
)
def test_completeness_is_a_boolean(value: str, expected: bool | None) -> None:
    assert Piece.from_headers(headers(upload_complete=value)).is_last is expected


@pytest.mark.rfc("RU-12")
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0", 0),
        ("007", 7),
        ("999999999999999", 999_999_999_999_999),
        ("5;q=1", 5),
        ("-1", None),
        ("+1", None),
        ("1.5", None),
        ("1000000000000000", None),
        ("5, 5", None),
        ("five", None),
        ("", None),
    ],
)
def test_offset_and_length_are_integers(value: str, expected: int | None) -> None:
    piece = Piece.from_headers(headers(upload_offset=value, upload_length=value))

    assert (piece.offset, piece.length) == (expected, expected)


@pytest.mark.rfc("RU-04")
@pytest.mark.parametrize(
    ("fields", "offset", "known", "expected"),
    [
        pytest.param({}, 0, None, None, id="nobody tells"),
        pytest.param({"upload_length": "9"}, 0, None, 9, id="told"),
        pytest.param({}, 3, 9, 9, id="told before"),
        pytest.param({"upload_length": "9"}, 3, 9, 9, id="told twice"),
        pytest.param({"upload_complete": "?1", "content_length": "6"}, 3, None, 9, id="the last"),
        pytest.param(
            {"upload_complete": "?1", "content_length": "6"}, 3, 9, 9, id="the last, told"
        ),
        pytest.param({"upload_complete": "?1"}, 3, None, None, id="the last, in chunks"),
        pytest.param({"upload_complete": "?0", "content_length": "6"}, 3, 9, 9, id="up to the end"),
        pytest.param({"upload_length": "8"}, 3, 9, "error", id="told otherwise"),
        pytest.param({"upload_length": "2"}, 3, None, "error", id="less than is here"),
        pytest.param({"content_length": "7"}, 3, 9, "error", id="more than there is"),
        pytest.param(
            {"upload_complete": "?1", "content_length": "5"},
            3,
            9,
            "error",
            id="last, too short",
        ),
    ],
)
def test_those_who_tell_the_length_must_agree(
    fields: dict[str, str], offset: int, known: int | None, expected: int | str | None
) -> None:
    sent = headers(**fields)
    piece = Piece.from_headers(sent)
    if expected == "error":
        with pytest.raises(InconsistentLength) as caught:
            piece.whole(sent, offset=offset, known=known)
        assert caught.value.status == 400
        assert b"inconsistent-upload-length" in caught.value.problem
    else:
        assert piece.whole(sent, offset=offset, known=known) == expected


def test_limits_are_a_dictionary() -> None:
    assert limit_field(size=None, age_s=None) == (b"upload-limit", b"min-size=0")
    assert limit_field(size=5, age_s=7)[1] == b"max-size=5, max-age=7"


@given(st.binary(max_size=40), st.binary(max_size=40), st.binary(max_size=20))
def test_nothing_but_bad_request_comes_of_any_bytes(a: bytes, b: bytes, c: bytes) -> None:
    sent = DavHeaders(
        [
            (b"upload-complete", a),
            (b"upload-offset", b),
            (b"upload-length", b),
            (b"content-length", c),
        ]
    )
    piece = Piece.from_headers(sent)
    try:
        length = piece.whole(sent, offset=0)
    except BadRequest:
        return
    assert length is None or length >= 0
