"""Basic: what is read of the field, and the memory of what was right."""

from __future__ import annotations

import base64

import pytest

from davserver.auth import basic
from davserver.auth.accounts import make_roster
from davserver.auth.basic import Remembered, parse_basic
from davserver.configtables import parse_user
from tests.support.credentials import entry

NOW = 1000.0


def field(text: bytes) -> bytes:
    return b"Basic " + base64.b64encode(text)


@pytest.mark.rfc("BA-01")
@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (field(b"alice:secret"), ("alice", "secret")),
        (field(b"alice:a:b:c"), ("alice", "a:b:c")),
        (field(b"alice:"), ("alice", "")),
        (b"bAsIc   " + base64.b64encode(b"a:b"), ("a", "b")),
        (field("é:ü".encode()), ("é", "ü")),
        (field(b":secret"), None),
        (field(b"alice"), None),
        (field(b"a\x00:b"), None),
        (field(b"a:b\x7f"), None),
        (field(b"\xff:b"), None),
        (b"Basic YWxpY2U", None),
        (b"Basic \xff", None),
        (b"Digest YTpi", None),
        (b"Basic", None),
    ],
)
def test_name_and_password_are_read(sent: bytes, found: tuple[str, str] | None) -> None:
    assert parse_basic(sent) == found


def test_only_so_many_are_remembered_the_least_used_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic, "_REMEMBERED", 2)
    roster = make_roster([parse_user(entry("alice"))], realm="r", is_open=False)
    account = roster.accounts["alice"]
    remembered = Remembered(300)
    for word in (b"a", b"b"):
        remembered.add(word, account, NOW)
    assert remembered.get(b"a", roster, NOW) == account.principal

    remembered.add(b"c", account, NOW)

    known = {word: remembered.get(word, roster, NOW) is not None for word in (b"a", b"b", b"c")}
    assert known == {b"a": True, b"b": False, b"c": True}


def test_what_expired_is_forgotten_when_something_is_added() -> None:
    roster = make_roster([parse_user(entry("alice"))], realm="r", is_open=False)
    account = roster.accounts["alice"]
    remembered = Remembered(10)
    remembered.add(b"a", account, NOW)
    remembered.add(b"b", account, NOW + 11)

    assert len(remembered._entries) == 1
    assert remembered.get(b"a", roster, NOW) is None
    # A clock that goes back makes nothing last longer.
    assert remembered.get(b"b", roster, NOW) is None
