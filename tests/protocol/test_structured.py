"""Dictionaries of structured fields (RFC 9651 section 4.2.2)."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.errors import BadRequest
from davserver.protocol.structured import parse_dictionary

GOOD = [
    pytest.param(b"", {}, id="empty"),
    pytest.param(b"  ", {}, id="blanks"),
    pytest.param(b"sha-256=:YQ==:", {"sha-256": b"a"}, id="bytes"),
    pytest.param(b"a=:YQ:", {"a": b"a"}, id="bytes without padding"),
    pytest.param(b"a=:YR==:", {"a": b"a"}, id="bits in the padding"),
    pytest.param(b"a=::", {"a": b""}, id="no bytes"),
    pytest.param(b"a=:Y:", {"a": None}, id="no base64"),
    pytest.param(b"a=:Y=Q=:", {"a": None}, id="padding in the middle"),
    pytest.param(b"a=1, b=-10 ,\tc=0", {"a": 1, "b": -10, "c": 0}, id="integers"),
    pytest.param(b"a=1.5", {"a": None}, id="decimal"),
    pytest.param(b"a=token/x:y", {"a": None}, id="token"),
    pytest.param(b'a="s \\" \\\\ ,b=1"', {"a": None}, id="string"),
    pytest.param(b"a=?1, b=@1659578233", {"a": None, "b": None}, id="boolean and date"),
    pytest.param(b'a=%"f%c3%bc"', {"a": None}, id="display string"),
    pytest.param(b"a, b", {"a": None, "b": None}, id="keys alone"),
    pytest.param(b"a;q=1;x, b=2; y=:YQ==:", {"a": None, "b": 2}, id="parameters"),
    pytest.param(b"a=(1 2;x  tok );q=1, b=()", {"a": None, "b": None}, id="inner lists"),
    pytest.param(b"a=1, a=:YQ==:", {"a": b"a"}, id="the last counts"),
    pytest.param(b"*a_-.*9=1", {"*a_-.*9": 1}, id="every character of a key"),
]
BAD = [
    *(b",", b"a=", b"a=1,", b"a=1,,b=2", b"a=1 b=2", b"A=1", b"1=1", b"=1", b"a =1", b"a= 1"),
    *(b"a=:YQ==", b"a=:Y Q:", b"a=1.", b"a=1.1234", b"a=1234567890123456", b"a=--1", b"a=?2"),
    *(b'a="', b'a="\\x"', b"a=(1,2)", b"a=(1", b"a=(12)(3)", b"a;", b"a;;b", b"a=\xff", b"\xffa=1"),
    *(b"sha-256=YQ==", b"a=1\x00", b"a=:YQ==:x"),
]


@pytest.mark.rfc("DI-01")
@pytest.mark.parametrize(("value", "members"), GOOD)
def test_dictionaries(value: bytes, members: dict[str, object]) -> None:
    assert parse_dictionary("f", value) == members


@pytest.mark.rfc("DI-01")
@pytest.mark.parametrize("value", BAD)
def test_what_is_none_is_refused(value: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_dictionary("f", value)


KEYS = st.from_regex(r"[a-z*][a-z0-9_\-.*]*", fullmatch=True)
VALUES = st.binary(max_size=70) | st.integers(-(10**15) + 1, 10**15 - 1)


def serialised(value: bytes | int) -> bytes:
    if isinstance(value, int):
        return b"%d" % value
    return b":" + base64.b64encode(value) + b":"


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_what_is_written_is_read(members: dict[str, bytes | int]) -> None:
    field = b", ".join(k.encode() + b"=" + serialised(v) for k, v in members.items())

    assert parse_dictionary("f", field) == members


@given(st.binary(max_size=60) | st.text('ab1=:;,()"?@%. -Y', max_size=60).map(str.encode))
def test_anything_is_read_or_refused(value: bytes) -> None:
    try:
        members = parse_dictionary("f", value)
    except BadRequest:
        return
    assert all(isinstance(one, bytes | int | None) for one in members.values())


def test_a_hostile_value_takes_no_time() -> None:
    """A second would be a thousand times as long."""
    for value in (b"a=(" + b" 1" * 30_000, b"a" + b";b" * 30_000 + b"!", b'a="' + b"\\\\" * 30_000):
        with pytest.raises(BadRequest):
            parse_dictionary("f", value)
