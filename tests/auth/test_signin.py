"""Who a request is from: Basic, Digest, a proxy's word (RFC 7617, RFC 7616, RFC 4918 20.1)."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from typing import Any

import pytest

from davserver.auth import signin
from davserver.auth.usersfile import changing_users
from davserver.configtables import parse_user
from davserver.signing import users_path
from tests.auth.conftest import ELSEWHERE, Held
from tests.conftest import AppDav
from tests.support.credentials import (
    Basic,
    Digest,
    basic,
    basic_field,
    challenges,
    digest_field,
    entry,
)
from tests.support.reply import Reply

Make = Callable[..., AppDav]


def asked(reply: Reply) -> list[str]:
    """Returns the schemes of the challenges, with the algorithms of Digest."""
    found = []
    for value in reply.headers.get_all("www-authenticate"):
        found.append(value.partition(" ")[0])
        if found[-1] == "Digest":
            found[-1] += " " + challenges(reply)[len(found) - 1]["algorithm"]
    return found


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Passwords that were hashed."""
    seen: list[str] = []
    verify = signin.verify_password

    def note(password: str, stored: str) -> bool:
        seen.append(password)
        return verify(password, stored)

    monkeypatch.setattr(signin, "verify_password", note)
    return seen


# -- who is asked for what -------------------------------------------------------------------

SECURE: list[Any] = [
    pytest.param("https", ELSEWHERE, {}, True, id="TLS"),
    pytest.param("http", ("127.0.0.1", 1), {}, True, id="this machine"),
    pytest.param("http", ("::1", 1), {}, True, id="this machine, IPv6"),
    pytest.param("http", ("127.0.0.1", 1), {"X-Forwarded-Proto": "https"}, True, id="proxy"),
    pytest.param(
        "http", ("127.0.0.1", 1), {"Forwarded": "proto=https"}, True, id="proxy, RFC 7239"
    ),
    pytest.param(
        "http", ("127.0.0.1", 1), {"X-Forwarded-Proto": "http"}, False, id="proxy on http"
    ),
    pytest.param("http", ("127.0.0.1", 1), {"X-Forwarded-For": "192.0.2.9"}, False, id="silent"),
    pytest.param("http", ("127.0.0.1", 1), {"X-Real-IP": "192.0.2.9"}, False, id="X-Real-IP alone"),
    pytest.param("http", ("127.0.0.1", 1), {"Via": "1.1 p"}, False, id="Via"),
    pytest.param("http", ELSEWHERE, {}, False, id="http"),
    pytest.param("http", ELSEWHERE, {"X-Forwarded-Proto": "https"}, False, id="a liar"),
    pytest.param("http", None, {}, False, id="Unix socket"),
    pytest.param("http", None, {"X-Forwarded-Proto": "https"}, True, id="Unix socket, TLS before"),
]


@pytest.mark.rfc("SE-01", "BA-02", "BA-03")
@pytest.mark.security("A-01", "T-02")
@pytest.mark.parametrize(("scheme", "client", "headers", "secure"), SECURE)
def test_basic_is_asked_for_only_where_a_password_is_safe(
    signed: AppDav, scheme: str, client: Any, headers: dict[str, str], secure: bool
) -> None:
    signed.scheme, signed.client = scheme, client

    reply = signed.get("/", headers)

    assert reply.status == 401
    assert asked(reply) == (["Basic"] if secure else ["Digest SHA-256"])
    if secure:
        value = 'Basic realm="davserver", charset="UTF-8"'
        assert reply.headers["www-authenticate"] == value
    sent = signed.get("/", headers | basic("alice"))
    assert sent.status == (200 if secure else 401)


@pytest.mark.security("A-01")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_insecure_basic_asks_for_passwords_everywhere(make_signed: Make, scheme: str) -> None:
    dav = make_signed(insecure_basic=True)
    dav.client, dav.scheme = ELSEWHERE, scheme

    assert asked(dav.get("/")) == ["Basic"]
    assert dav.get("/", basic("alice")).status == 200


@pytest.mark.security("A-01")
def test_where_nobody_can_sign_in_that_is_said(make_signed: Make) -> None:
    user = entry("alice")
    del user["digest"]
    dav = make_signed(user=[user])
    dav.client = ELSEWHERE

    for headers in ({}, basic("alice"), {"Authorization": "Bearer x"}):
        reply = dav.get("/", headers)
        assert reply.status == 403
        assert b"https" in reply.body or not headers
    dav.scheme = "https"
    assert dav.get("/", basic("alice")).status == 200


@pytest.mark.rfc("DG-01")
def test_md5_is_offered_where_it_is_switched_on(make_signed: Make) -> None:
    dav = make_signed(digest_md5=True)
    dav.client = ELSEWHERE

    assert asked(dav.get("/")) == ["Digest SHA-256", "Digest MD5"]
    for algorithm in ("SHA-256", "MD5"):
        assert Digest(dav, "alice", algorithm=algorithm).get("/").status == 200


@pytest.mark.parametrize("method", ["OPTIONS", "PROPFIND", "PUT", "LOCK", "MKCOL", "DELETE"])
def test_every_method_is_asked_to_sign_in(signed: AppDav, method: str) -> None:
    for target in ("/", "/not/there", "*") if method == "OPTIONS" else ("/", "/not/there"):
        assert signed.request(method, target).status == 401
        assert signed.last.received == 0


# -- Basic -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["alice", "HOME\\alice", "alice@home"])
def test_the_name_that_windows_sends_is_understood(signed: AppDav, name: str) -> None:
    assert signed.put("/f", b"", basic(name)).status == 201
    token = signed.lock("/f", headers=basic(name)).token
    assert signed.unlock("/f", token, basic("alice")).status == 204


@pytest.mark.rfc("BA-01", "BA-02")
@pytest.mark.parametrize(
    ("name", "password"),
    [("jos\u00e9", "p\u00e4ss"), ("jose\u0301", "pa\u0308ss"), ("x", "with:colon"), ("x", " ")],
)
def test_utf_8_in_any_spelling_and_colons_in_passwords(
    make_signed: Make, name: str, password: str
) -> None:
    users = [entry("jos\u00e9", "p\u00e4ss"), entry("x", password)]
    dav = make_signed(user=users)

    assert dav.get("/", basic(name, password)).status == 200


@pytest.mark.rfc("BA-01")
@pytest.mark.security("A-05")
@pytest.mark.parametrize(
    "field",
    [
        "",
        "Basic",
        "Basic ",
        "Basic !!!!",
        "Basic YWxpY2U",  # no padding
        "Basic YWxpY2U=",  # no colon
        "Basic OnNlY3JldA==",  # no name
        "Basic " + base64.b64encode(b"alice:sec\x00ret").decode(),
        "Basic " + base64.b64encode(b"al\nice:secret").decode(),
        "Basic " + base64.b64encode(b"\xff\xfe:secret").decode(),
        "Basic " + base64.b64encode(b"alice:" + b"x" * 1_000_000).decode(),
        basic_field("alice") + ", " + basic_field("alice"),
        basic_field("alice") + " x",
        "Basic" + basic_field("alice")[6:],
        "Bearer abc",
        "Negotiate YIIJ",
        "alice:secret",
        "\xe9",
    ],
    ids=lambda field: field[:30],
)
def test_a_malformed_field_asks_to_sign_in(signed: AppDav, held: Held, field: str) -> None:
    reply = signed.get("/", {"Authorization": field})

    assert reply.status == 401
    assert asked(reply) == ["Basic"]


@pytest.mark.security("A-05")
def test_two_fields_are_400(signed: AppDav) -> None:
    fields = [("Authorization", basic_field("alice")), ("Authorization", basic_field("bob"))]

    assert signed.request("GET", "/", fields).status == 400


@pytest.mark.security("S-13")
def test_a_thousand_requests_cost_one_hash(signed: AppDav, verified: list[str]) -> None:
    alice = Basic(signed, "alice")
    for _ in range(1000):
        assert alice.options("/").status == 200

    assert verified == ["secret"]


@pytest.mark.security("S-13")
def test_many_at_once_cost_one_hash(signed: AppDav, verified: list[str]) -> None:
    async def ask() -> list[int]:
        import asyncio

        replies = [signed.request_async("GET", "/", basic("alice")) for _ in range(50)]
        return [reply.status for reply in await asyncio.gather(*replies)]

    assert signed.run(ask()) == [200] * 50
    assert verified == ["secret"]


@pytest.mark.security("S-13")
def test_a_wrong_password_is_never_remembered(signed: AppDav, verified: list[str]) -> None:
    for _ in range(3):
        assert signed.get("/", basic("alice", "wrong")).status == 401

    assert verified == ["wrong"] * 3


@pytest.mark.security("S-13")
@pytest.mark.parametrize(("memory_s", "hashes"), [(300.0, 2), (0.0, 5)])
def test_a_right_one_is_remembered_while_it_is_used(
    make_signed: Make, verified: list[str], memory_s: float, hashes: int
) -> None:
    dav = make_signed(password_memory_s=memory_s)
    for later_s in (0, 200, 200, 200, 301):
        dav.clock.pass_s(later_s)
        assert dav.get("/", basic("alice")).status == 200

    assert len(verified) == hashes


@pytest.mark.security("S-13")
def test_what_is_remembered_ends_with_the_account(make_signed: Make, verified: list[str]) -> None:
    dav = make_signed(user=[])
    file = users_path(dav.app.services.settings)
    statuses = []
    for password, wanted in (("secret", {}), ("secret", {"groups": ("a",)}), ("other", {})):
        with changing_users(file) as entries:
            entries["alice"] = parse_user(entry("alice", password, **wanted))
            entries.setdefault("bob", parse_user(entry("bob")))
        statuses += [dav.get("/", basic(name)).status for name in ("alice", "alice", "bob", "bob")]
    with changing_users(file) as entries:
        del entries["bob"]

    assert statuses == [200] * 8 + [401, 401, 200, 200]
    # alice's account changed twice, bob's never.
    assert verified == ["secret"] * 5
    assert dav.get("/", basic("bob")).status == 401


def test_credentials_are_looked_at_on_what_is_for_everybody(make_signed: Make) -> None:
    dav = make_signed(anonymous="read")

    assert dav.get("/").status == 200
    assert dav.get("/", basic("alice", "wrong")).status == 401
    assert dav.put("/f", b"").status == 401
    assert dav.put("/f", b"", basic("alice")).status == 201


def test_without_accounts_credentials_are_not_looked_at(make_signed: Make) -> None:
    dav = make_signed(user=[])

    assert dav.put("/f", b"", basic("alice", "wrong")).status == 201


# -- Digest ----------------------------------------------------------------------------------


@pytest.fixture
def plain(signed: AppDav) -> AppDav:
    """From elsewhere, over plain http."""
    signed.client = ELSEWHERE
    return signed


@pytest.mark.rfc("SE-02", "DG-03", "DG-05")
@pytest.mark.security("A-04")
def test_a_proof_counts_once(plain: AppDav) -> None:
    (challenge,) = challenges(plain.get("/"))
    field = {"Authorization": digest_field(challenge, "PUT", "/f")}

    assert plain.put("/f", b"one", field).status == 201
    again = plain.put("/f", b"two", field)

    assert again.status == 401
    assert challenges(again)[0]["stale"] == "true"
    assert Digest(plain, "alice").get("/f").body == b"one"


@pytest.mark.rfc("DG-03")
@pytest.mark.security("A-04")
def test_stale_is_said_only_to_who_knows_the_password(plain: AppDav) -> None:
    (old,) = challenges(plain.get("/"))
    plain.clock.pass_s(301)

    right = plain.get("/", {"Authorization": digest_field(old, "GET", "/")})
    wrong = plain.get("/", {"Authorization": digest_field(old, "GET", "/", password="x")})

    assert (right.status, challenges(right)[0].get("stale")) == (401, "true")
    assert (wrong.status, challenges(wrong)[0].get("stale")) == (401, None)
    assert challenges(right)[0]["nonce"] != old["nonce"]


@pytest.mark.rfc("DG-05")
def test_a_session_goes_on_past_the_life_of_its_nonce(plain: AppDav) -> None:
    alice = Digest(plain, "alice")
    for _ in range(5):
        assert alice.put("/f", b"x").status in (201, 204)
        plain.clock.pass_s(200)


@pytest.mark.rfc("DG-04")
@pytest.mark.security("A-04")
def test_a_proof_for_another_resource_is_400(plain: AppDav) -> None:
    (challenge,) = challenges(plain.get("/"))

    reply = plain.get("/other", {"Authorization": digest_field(challenge, "GET", "/f")})

    assert reply.status == 400


@pytest.mark.rfc("DG-06")
@pytest.mark.security("A-05")
def test_improper_parameters_are_400(plain: AppDav) -> None:
    (challenge,) = challenges(plain.get("/"))

    for changed in ({"nc": "1"}, {"qop": None}, {"cnonce": None}):
        field = digest_field(challenge, "GET", "/", **changed)
        assert plain.get("/", {"Authorization": field}).status == 400


def test_digest_is_taken_on_a_secure_connection_too(signed: AppDav) -> None:
    signed.client = ELSEWHERE
    (challenge,) = challenges(signed.get("/"))
    signed.scheme = "https"

    assert signed.get("/", {"Authorization": digest_field(challenge, "GET", "/")}).status == 200


@pytest.mark.security("A-04")
def test_who_has_no_digest_cannot_use_it(make_signed: Make, held: Held) -> None:
    carol = entry("carol")
    del carol["digest"]
    dav = make_signed(user=[entry("alice"), carol])
    dav.client = ELSEWHERE

    assert Digest(dav, "carol").get("/").status == 401
    assert Digest(dav, "alice", "wrong").get("/").status == 401
    assert held.delays == [0.25, 0.25]


# -- a proxy's word --------------------------------------------------------------------------


@pytest.fixture
def proxied(make_signed: Make) -> AppDav:
    return make_signed(
        proxy_header="Remote-User",
        trusted_proxies=("127.0.0.1",),
        rule=[
            {"path": "/family", "groups": ["family"], "access": "write"},
            {"path": "/family", "access": "none"},
        ],
    )


@pytest.mark.security("T-02", "A-06")
def test_a_trusted_proxy_says_who_it_is(proxied: AppDav) -> None:
    for name, status in (("alice", 404), ("carol", 403), ("HOME\\alice", 404), ("al ice", 403)):
        assert proxied.get("/family/x", {"Remote-User": name}).status == status
    assert proxied.put("/f", b"", {"Remote-User": "carol"}).status == 201
    assert proxied.lock("/f", headers={"Remote-User": "carol"}).token
    assert proxied.put("/f", b"", {"remote-user": "alice"}).status == 423


@pytest.mark.security("T-02", "A-06")
@pytest.mark.parametrize("client", [("192.0.2.9", 1), ("::1", 1), ("127.0.0.2", 1)])
def test_nobody_else_is_believed(proxied: AppDav, client: tuple[str, int]) -> None:
    proxied.client = client

    assert proxied.get("/", {"Remote-User": "alice"}).status == 401
    assert proxied.get("/", {"Remote_User": "alice"}).status == 401


@pytest.mark.security("A-05")
def test_odd_words_of_a_proxy(proxied: AppDav) -> None:
    assert proxied.get("/", {"Remote-User": ""}).status == 401
    assert proxied.get("/", {"Remote-User": "a/b"}).status == 400
    assert proxied.get("/", {"Remote-User": ".."}).status == 400
    assert proxied.get("/", {"Remote-User": "\xe9"}).status == 200
    twice = [("Remote-User", "alice"), ("Remote-User", "bob")]
    assert proxied.request("GET", "/", twice).status == 400


@pytest.mark.security("A-01", "A-06")
@pytest.mark.parametrize(
    ("one", "other", "refused"),
    [
        ({"Remote-User": "alice"}, {"Remote-User": "bob"}, 403),
        ({"X-Forwarded-Proto": "https"}, {"X-Forwarded-Proto": "http"}, 401),
    ],
    ids=["the word of a proxy", "over http"],
)
def test_the_same_password_at_once_is_not_the_same_request(
    make_signed: Make, one: dict[str, str], other: dict[str, str], refused: int
) -> None:
    """While the users file is read all wait for it, who could be told at once as well."""
    dav = make_signed(
        proxy_header="Remote-User",
        rule=[
            {"path": "/", "users": ["alice"], "access": "write"},
            {"path": "/", "access": "none"},
        ],
    )
    with changing_users(users_path(dav.app.services.settings)) as entries:
        entries["carol"] = parse_user(entry("carol"))

    async def put_both() -> list[int]:
        put = [dav.send("PUT", "/f", basic("alice") | fields, b"x") for fields in (one, other)]
        return [done.reply.status for done in await asyncio.gather(*put)]

    assert dav.run(put_both()) == [201, refused]


def test_the_field_means_nothing_where_it_is_not_set(signed: AppDav) -> None:
    assert signed.get("/", {"Remote-User": "alice"}).status == 401


# -- wrong passwords -------------------------------------------------------------------------

FORWARDED = {"X-Forwarded-For": "192.0.2.1", "X-Forwarded-Proto": "https"}


@pytest.mark.security("A-03")
def test_guessing_is_slowed_and_then_locked_out(make_signed: Make, held: Held) -> None:
    dav = make_signed(sign_in_failures=3, sign_in_lockout_s=60.0)
    statuses = [dav.get("/", FORWARDED | basic("alice", str(n))).status for n in range(4)]

    locked = dav.get("/", FORWARDED | basic("alice"))
    assert statuses == [401, 401, 401, 429]
    assert (locked.status, locked.headers["retry-after"]) == (429, "60")
    assert held.delays == [0.25, 0.5, 1.0, 4.0, 4.0]
    # Others, and other places, are not concerned.
    assert dav.get("/", FORWARDED | basic("bob")).status == 200
    assert dav.get("/", FORWARDED | {"X-Forwarded-For": "192.0.2.2"} | basic("alice")).status == 200
    dav.clock.pass_s(60)
    assert dav.get("/", FORWARDED | basic("alice")).status == 200


@pytest.mark.security("A-03")
def test_who_has_signed_in_goes_on_while_others_guess(make_signed: Make, held: Held) -> None:
    dav = make_signed(sign_in_failures=2)
    alice = basic("alice")
    assert dav.get("/", alice).status == 200

    for _ in range(3):
        dav.get("/", basic("alice", "wrong"))

    assert dav.get("/", basic("alice", "again")).status == 429
    assert dav.get("/", alice).status == 200


@pytest.mark.security("A-03", "A-04")
def test_a_digest_session_goes_on_while_others_guess(make_signed: Make, held: Held) -> None:
    dav = make_signed(sign_in_failures=2)
    dav.client = ELSEWHERE
    alice = Digest(dav, "alice")
    assert alice.get("/").status == 200

    statuses = [Digest(dav, "alice", "wrong").get("/").status for _ in range(4)]

    assert statuses == [401, 401, 429, 429]
    assert alice.get("/").status == 200
    # A session that begins now would be one more guess.
    assert Digest(dav, "alice").get("/").status == 429


@pytest.mark.security("A-03", "T-02")
def test_the_address_is_what_a_trusted_proxy_says(make_signed: Make) -> None:
    dav = make_signed(sign_in_failures=1)
    dav.client, dav.scheme = ELSEWHERE, "https"
    assert dav.get("/", basic("alice", "wrong")).status == 401

    for claim in ("192.0.2.1", "192.0.2.2, 192.0.2.3"):
        liar = {"X-Forwarded-For": claim} | basic("alice", "wrong")
        assert dav.get("/", liar).status == 429


@pytest.mark.security("A-03")
def test_who_guesses_behind_a_proxy_locks_out_nobody_else_behind_it(
    make_signed: Make, held: Held
) -> None:
    dav = make_signed(sign_in_failures=1)
    dav.client = ("127.0.0.1", 1)
    told = {"X-Real-IP": "192.0.2.66", "X-Forwarded-Proto": "https"}
    guesses = [dav.get("/", told | basic("alice", str(number))).status for number in range(2)]

    assert guesses == [401, 429]
    assert dav.get("/", told | {"X-Real-IP": "192.0.2.7"} | basic("alice")).status == 200


@pytest.mark.security("A-03")
def test_each_failure_is_one_line_of_the_log(
    signed: AppDav, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        signed.get("/", FORWARDED | basic("alice", "geheim"))
        signed.get("/", FORWARDED | basic('no"body\u2028x', "geheim"))

    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        'sign-in failed from 192.0.2.1 as "alice"',
        'sign-in failed from 192.0.2.1 as "no\\u0022body\\u2028x"',
    ]


def test_the_way_to_the_mount_is_no_secret_and_nothing_else_is_told(make_signed: Make) -> None:
    dav = make_signed(prefix="/a/b")

    assert [dav.options(path).status for path in ("/", "/a/", "/a")] == [200] * 3
    assert dav.get("/", basic("alice", "wrong")).status == 401
    assert [dav.options(path).status for path in ("/a/b", "/a/b/", "/a/b/x")] == [401] * 3
