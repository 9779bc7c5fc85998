"""Digest (RFC 7616), as it is read and judged; nonces and counts (section 3.3, 5.5)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from davserver.auth.accounts import Account, Roster, make_roster
from davserver.auth.base import Attempt
from davserver.auth.digest import MD5, SHA256, Digest, digest_of, parse_digest
from davserver.auth.nonces import Nonces, Use
from davserver.auth.secret import SharedKey
from davserver.auth.table import SharedTable
from davserver.configtables import parse_user
from davserver.errors import BadRequest
from tests.support.credentials import digest_field, entry

NOW = 1_800_000_000.0
LIFETIME_S = 300.0
Make = Callable[..., Nonces]


@pytest.fixture
def make_nonces(tmp_path: Path) -> Iterator[Make]:
    tables: list[SharedTable] = []

    def make(*, realm: str = "davserver", key: str = "key", buckets: int = 64) -> Nonces:
        tables.append(SharedTable(tmp_path / "nonces", buckets=buckets))
        return Nonces(tables[-1], SharedKey(tmp_path / key), realm=realm, lifetime_s=LIFETIME_S)

    yield make
    for table in tables:
        table.close()


# -- nonces ----------------------------------------------------------------------------------


@pytest.mark.rfc("DG-05")
@pytest.mark.security("A-04")
def test_a_count_is_taken_once_whichever_worker_sees_it(make_nonces: Make) -> None:
    one, other = make_nonces(), make_nonces()
    nonce = one.make(NOW)

    seen = [worker.use(nonce, 1, NOW) for worker in (one, other, one)]

    assert seen == [Use.FIRST, Use.STALE, Use.STALE]
    assert [other.use(nonce, count, NOW) for count in (2, 2)] == [Use.FIRST, Use.STALE]


def test_counts_may_come_in_another_order_within_a_window(make_nonces: Make) -> None:
    nonces = make_nonces()
    nonce = nonces.make(NOW)

    results = {count: nonces.use(nonce, count, NOW) for count in (70, 7, 69, 8, 6, 1)}

    late = {6: Use.STALE, 1: Use.STALE}
    assert results == dict.fromkeys((70, 7, 69, 8), Use.FIRST) | late
    assert nonces.use(nonce, 7, NOW) is Use.STALE
    assert nonces.use(nonce, 2**32 - 1, NOW) is Use.FIRST
    assert nonces.use(nonce, 71, NOW) is Use.STALE


@pytest.mark.rfc("DG-05")
@pytest.mark.security("A-04")
@pytest.mark.parametrize("later_s", [LIFETIME_S, LIFETIME_S + 1, -LIFETIME_S, 10**9])
def test_a_nonce_has_its_time(make_nonces: Make, later_s: float) -> None:
    nonces = make_nonces()
    nonce = nonces.make(NOW)

    assert nonces.use(nonce, 1, NOW + later_s) is Use.STALE
    assert nonces.use(nonce, 1, NOW + LIFETIME_S - 1) is Use.FIRST


@pytest.mark.security("A-04")
def test_a_nonce_of_another_realm_or_key_is_none_of_ours(make_nonces: Make) -> None:
    nonces = make_nonces()

    assert nonces.use(make_nonces(realm="other").make(NOW), 1, NOW) is Use.STALE
    assert nonces.use(make_nonces(key="other").make(NOW), 1, NOW) is Use.STALE
    for forged in (b"", b"x", b"A" * 44, b"!" * 44, nonces.make(NOW)[:-4], b"\xff" * 44):
        assert nonces.use(forged, 1, NOW) is Use.STALE
        assert not nonces.is_in_use(forged)


@pytest.mark.security("A-04")
def test_what_was_forgotten_for_lack_of_room_is_not_taken_again(make_nonces: Make) -> None:
    nonces = make_nonces(buckets=1)
    old = [nonces.make(NOW + n / 1000) for n in range(8)]
    assert {nonces.use(nonce, 1, NOW) for nonce in old} == {Use.FIRST}

    newer = nonces.make(NOW + 1)
    assert nonces.use(newer, 1, NOW + 1) is Use.FIRST

    assert nonces.use(old[0], 1, NOW + 1) is Use.STALE
    assert nonces.use(old[0], 2, NOW + 1) is Use.STALE
    assert nonces.use(old[7], 2, NOW + 1) is Use.FIRST


# -- the field -------------------------------------------------------------------------------

# RFC 7616 section 3.9.1
EXAMPLE = {
    "realm": "http-auth@example.org",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
}
MUFASA = {
    "name": "Mufasa",
    "password": "Circle of Life",
    "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
}
RESPONSES = {
    "SHA-256": b"753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
    "MD5": b"8ca523f5e9506fed4657c9700eebdbec",
}


class Anything(Nonces):
    """Takes every nonce."""

    def __init__(self) -> None:
        pass

    def use(self, nonce: bytes, count: int, now: float) -> Use:
        return Use.FIRST


def judged(field: str, roster: Roster, *, realm: str, method: str, uri: bytes) -> Account | None:
    digest = Digest(Anything(), realm=realm, md5=True)
    attempt = Attempt(field.encode(), method, uri, "192.0.2.1", False, NOW)
    return digest.judge(parse_digest(field.encode()), attempt, roster)


@pytest.mark.rfc("SE-02", "DG-01")
@pytest.mark.parametrize("algorithm", RESPONSES)
def test_the_example_of_the_rfc_is_right(algorithm: str) -> None:
    challenge = EXAMPLE | {"algorithm": algorithm}
    field = digest_field(challenge, "GET", "/dir/index.html", **MUFASA)  # type: ignore[arg-type]
    user = entry("Mufasa", "Circle of Life", realm=EXAMPLE["realm"])
    roster = make_roster([parse_user(user)], realm=EXAMPLE["realm"], is_open=False)

    account = judged(field, roster, realm=EXAMPLE["realm"], method="GET", uri=b"/dir/index.html")

    assert parse_digest(field.encode()).response == RESPONSES[algorithm]
    assert account is not None
    assert account.principal.name == "Mufasa"


CHALLENGE = {"realm": "davserver", "nonce": "n", "algorithm": "SHA-256"}


@pytest.mark.rfc("DG-06", "DG-08")
@pytest.mark.security("A-05")
@pytest.mark.parametrize(
    "changed",
    [
        *({name: None} for name in ("username", "realm", "nonce", "uri", "response", "cnonce")),
        {"nc": None},
        {"qop": None},
        {"qop": "auth-int"},
        {"algorithm": "SHA-512-256"},
        {"algorithm": "MD5-sess"},
        *({"nc": value} for value in ("1", "0000000g", "000000001", "-0000001")),
        {"username*": "UTF-8''alice"},
        {"username": None, "username*": "ISO-8859-1''alice"},
        {"x": "a" * 20_000},
    ],
    ids=repr,
)
def test_what_is_missing_or_improper_is_400(changed: dict[str, str | None]) -> None:
    field = digest_field(CHALLENGE, "GET", "/", **changed)

    with pytest.raises(BadRequest):
        parse_digest(field.encode())


@pytest.mark.security("A-05")
@pytest.mark.parametrize(
    "field",
    [
        b"Digest ",
        b"Digest ,,,",
        b"Digest =",
        b'Digest username="alice',
        b'Digest username="alice\\"',
        b"Digest username=alice realm=x",
        b'Digest username="a", username="b"',
        b"Digest " + b"a=b," * 5000,
        b"Digest \xff\xfe",
        b"Digest Basic YTpi",
    ],
)
def test_a_field_that_cannot_be_read_is_400(field: bytes) -> None:
    with pytest.raises(BadRequest):
        parse_digest(field)


@pytest.mark.rfc("DG-08")
def test_quoted_pairs_and_odd_blanks_are_read() -> None:
    field = digest_field(CHALLENGE, "GET", "/")
    odd = field.replace('username="alice"', ' username = "al\\i\\ce"\t').replace(", ", " ,,\t")

    assert parse_digest(odd.encode()) == parse_digest(field.encode())


@pytest.mark.rfc("DG-06")
def test_a_name_may_come_encoded() -> None:
    field = digest_field(
        CHALLENGE, "GET", "/", **{"username": None, "username*": "UTF-8''J%C3%A4s%C3%B8n"}
    )

    assert parse_digest(field.encode()).username == "Jäsøn"


# -- the proof -------------------------------------------------------------------------------


@pytest.fixture
def roster() -> Roster:
    return make_roster([parse_user(entry("alice"))], realm="davserver", is_open=False)


@pytest.mark.rfc("DG-04")
@pytest.mark.security("A-04")
@pytest.mark.parametrize(
    ("uri", "asked", "is_same"),
    [
        ("/a", b"/a", True),
        ("/a/", b"/a", True),
        ("/a", b"/a/", True),
        ("/a%20b", b"/a%20b", True),
        ("/a%7Eb", b"/a~b", True),
        ("//a", b"/a", True),
        ("http://files.example.org/a", b"/a", True),
        ("/a?x=1", b"/a", True),
        ("*", b"*", True),
        ("/b", b"/a", False),
        ("/a/b", b"/a", False),
        ("/A", b"/a", False),
        ("", b"/a", False),
        ("a", b"/a", False),
        ("/a/../a", b"/a", False),
        ("*", b"/", False),
        ("http://files.example.org", b"/a", False),
    ],
)
def test_the_uri_is_the_one_that_was_asked_for(
    roster: Roster, uri: str, asked: bytes, is_same: bool
) -> None:
    field = digest_field(CHALLENGE, "GET", uri)

    if is_same:
        assert judged(field, roster, realm="davserver", method="GET", uri=asked) is not None
    else:
        with pytest.raises(BadRequest):
            judged(field, roster, realm="davserver", method="GET", uri=asked)


@pytest.mark.security("A-04")
@pytest.mark.parametrize(
    ("options", "method"),
    [
        ({"password": "wrong"}, "GET"),
        ({"name": "bob"}, "GET"),
        ({"response": "0" * 64}, "GET"),
        ({"response": ""}, "GET"),
        ({"nonce": "other"}, "GET"),
        ({"cnonce": "x", "response": "a" * 64}, "GET"),
        ({"realm": "other"}, "GET"),
        ({"uri": "/other"}, "GET"),
        ({}, "PUT"),
    ],
)
def test_a_proof_of_something_else_is_none(
    roster: Roster, options: dict[str, Any], method: str
) -> None:
    field = digest_field(CHALLENGE, "GET", "/a", **options)

    assert judged(field, roster, realm="davserver", method=method, uri=b"/a") is None


@pytest.mark.security("A-04")
def test_md5_counts_only_where_it_is_switched_on(roster: Roster) -> None:
    field = digest_field(CHALLENGE | {"algorithm": "MD5"}, "GET", "/a").encode()
    attempt = Attempt(field, "GET", b"/a", "192.0.2.1", False, NOW)

    found = [
        Digest(Anything(), realm="davserver", md5=md5).judge(parse_digest(field), attempt, roster)
        for md5 in (False, True)
    ]

    assert [account is not None for account in found] == [False, True]


def test_a_digest_is_of_name_realm_and_password() -> None:
    assert digest_of("a", "b", "c", MD5) == "02cc8f08398a4f3113b554e8105ebe4c"
    assert len(digest_of("a", "b", "c", SHA256)) == 64


@pytest.mark.rfc("DG-01", "DG-02", "DG-03")
@pytest.mark.parametrize("md5", [False, True])
def test_a_challenge_for_each_algorithm_the_better_first(
    make_nonces: Make, roster: Roster, md5: bool
) -> None:
    digest = Digest(make_nonces(), realm="davserver", md5=md5)

    offered = [value.decode() for value in digest.challenges(roster, NOW)]
    stale = digest.challenges(roster, NOW, stale=True)

    assert len(offered) == 1 + md5
    for text, name in zip(offered, ("SHA-256", "MD5"), strict=False):
        assert text.startswith('Digest realm="davserver", qop="auth", ')
        assert f"algorithm={name}," in text
        assert "charset=UTF-8" in text
        assert "userhash=false" in text
        assert "stale" not in text
    assert all(value.endswith(b", stale=true") for value in stale)
