"""Sign-in and sign-out with the page's form (RFC 6265), and what its cookie is good for."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from davserver.auth.accounts import make_roster
from davserver.auth.secret import SharedKey
from davserver.auth.sessions import Sessions
from davserver.auth.table import SharedTable
from davserver.configtables import parse_user
from tests.conftest import AppDav
from tests.support.credentials import add_users, basic, entry
from tests.support.dav import Dav
from tests.support.reply import Reply
from tests.support.server import Server
from tests.support.users import TestUsers

JSON = {"Content-Type": "application/json"}
PAGE = {"X-Davserver-Page": "1"}
NAVIGATION = {"Sec-Fetch-Mode": "navigate", "Accept": "text/html,*/*;q=0.8"}
NOW = 1_000_000.0


@pytest.fixture
def signed(make_dav: Callable[..., AppDav]) -> AppDav:
    """A server that nobody may use who has not signed in."""
    dav = make_dav(anonymous="none", user=[parse_user(entry("anna", groups=["staff"]))])
    assert dav.root is not None
    (dav.root / "f").write_text("content")
    return dav


def sign_in(dav: Dav, password: Any = "secret", **fields: str) -> Reply:
    body = json.dumps({"name": "anna", "password": password}).encode()
    return dav.request("POST", "/.davserver/session", JSON | fields, body)


def cookie(reply: Reply) -> dict[str, str]:
    return {"Cookie": reply.headers["set-cookie"].partition(";")[0]}


def test_who_signs_in_gets_a_cookie_for_this_origin_that_no_script_sees(signed: AppDav) -> None:
    reply = sign_in(signed)

    assert reply.status == 200
    assert json.loads(reply.body) == {"name": "anna", "form": True, "session": True}
    parts = reply.headers["set-cookie"].split("; ")
    assert parts[0].startswith("davserver-session=")
    assert parts[1:] == ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Strict"]
    assert reply.headers["cache-control"] == "no-store"


def test_over_tls_the_cookie_is_for_tls_alone(signed: AppDav) -> None:
    # The peer in memory is trusted as that of a Unix socket is.
    reply = sign_in(signed, **{"X-Forwarded-Proto": "https"})

    assert reply.headers["set-cookie"].endswith("; SameSite=Strict; Secure")


def test_the_cookie_does_what_the_password_would(signed: AppDav) -> None:
    with_cookie = cookie(sign_in(signed))

    assert signed.get("/f").status == 401
    assert signed.get("/f", with_cookie).body == b"content"
    assert signed.put("/g", b"new", with_cookie).status == 201
    told = json.loads(signed.get("/.davserver/session", with_cookie).body)
    assert told == {"name": "anna", "form": True, "session": True}


def test_a_wrong_password_is_401_without_a_prompt_and_is_counted(
    make_dav: Callable[..., AppDav],
) -> None:
    dav = make_dav(anonymous="none", user=[parse_user(entry("anna"))], sign_in_failures=2)
    statuses = [sign_in(dav, "guess") for _ in range(3)]

    assert [reply.status for reply in statuses] == [401, 401, 429]
    assert statuses[0].headers["www-authenticate"] == 'Session realm="davserver"'
    assert "set-cookie" not in statuses[0].headers
    assert sign_in(dav).status == 429


def test_who_signs_out_is_signed_out_with_every_copy_of_the_cookie(signed: AppDav) -> None:
    first, second = cookie(sign_in(signed)), cookie(sign_in(signed))
    out = signed.request("DELETE", "/.davserver/session", first)

    assert out.status == 204
    assert "Max-Age=0" in out.headers["set-cookie"]
    assert signed.get("/f", first).status == 401
    assert signed.get("/f", second).status == 200


def test_sessions_end_by_themselves(signed: AppDav) -> None:
    with_cookie = cookie(sign_in(signed))
    signed.clock.now += 43_199
    before = signed.get("/f", with_cookie).status
    signed.clock.now += 2

    assert before == 200
    assert signed.get("/f", with_cookie).status == 401


@pytest.mark.parametrize(
    "fields",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
    ids=["cross-site", "same-site", "another origin", "no origin"],
)
@pytest.mark.security("W-02")
def test_a_page_of_another_origin_does_nothing_with_the_cookie(
    signed: AppDav, fields: dict[str, str]
) -> None:
    with_cookie = cookie(sign_in(signed)) | fields
    statuses = [
        signed.put("/g", b"forged", with_cookie).status,
        signed.delete("/f", with_cookie).status,
        signed.request("MOVE", "/f", with_cookie | {"Destination": "/h"}).status,
        signed.get("/f", with_cookie).status,
    ]

    assert statuses == [401] * 4
    assert sign_in(signed, **fields).status == 403
    assert signed.request("DELETE", "/.davserver/session", with_cookie).status == 403
    assert signed.root is not None
    assert [path.name for path in signed.root.iterdir()] == ["f"]


def test_our_own_page_may_say_where_it_is(signed: AppDav) -> None:
    fields = {"Sec-Fetch-Site": "same-origin", "Origin": "http://testserver", "Host": "testserver"}
    with_cookie = cookie(sign_in(signed)) | fields

    assert signed.put("/g", b"new", with_cookie).status == 201
    del fields["Sec-Fetch-Site"]
    assert signed.put("/g", b"newer", cookie(sign_in(signed)) | fields).status == 204


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({"Content-Type": "application/x-www-form-urlencoded"}, b"name=anna&password=x", 415),
        (JSON, b"{", 400),
        (JSON, b"[]", 400),
        (JSON, b'{"name": "anna"}', 400),
        (JSON, b'{"name": "anna", "password": 1}', 400),
        (JSON, b'{"name": "a:b", "password": "x"}', 400),
        (JSON, b'{"name": "\\ud800", "password": "x"}', 400),
        (JSON, b"[" * 4000, 400),
        (JSON, b" " * 5000, 413),
    ],
)
def test_what_is_no_sign_in_is_refused(
    signed: AppDav, headers: dict[str, str], body: bytes, status: int
) -> None:
    reply = signed.request("POST", "/.davserver/session", headers, body)

    assert reply.status == status
    assert "set-cookie" not in reply.headers


def test_a_browser_that_comes_first_is_shown_the_page_with_its_form(signed: AppDav) -> None:
    shown = signed.get("/", NAVIGATION)
    asked = signed.request("PROPFIND", "/", PAGE | {"Depth": "0"})

    assert shown.status == asked.status == 401
    assert shown.headers["www-authenticate"] == 'Session realm="davserver"'
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert b"<script" in shown.body
    assert "script-src 'self'" in shown.headers["content-security-policy"]
    assert asked.headers["www-authenticate"] == 'Session realm="davserver"'
    assert json.loads(signed.get("/.davserver/session").body) == {
        "name": None,
        "form": True,
        "session": False,
    }


def test_everybody_else_is_asked_as_ever(signed: AppDav) -> None:
    for headers in ({}, {"Accept": "text/html"}, {"User-Agent": "davfs2/1.6"}):
        reply = signed.get("/", headers)

        assert reply.status == 401
        assert reply.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.parametrize("keys", [{"page": False}, {"session_s": 0}], ids=["page", "session_s"])
def test_where_there_is_no_form_browsers_have_their_prompt(
    make_dav: Callable[..., AppDav], keys: dict[str, Any]
) -> None:
    dav = make_dav(anonymous="none", user=[parse_user(entry("anna"))], **keys)

    assert dav.get("/", NAVIGATION).headers["www-authenticate"].startswith("Basic ")


def test_the_browsers_own_prompt_can_be_asked_for(signed: AppDav) -> None:
    asked = signed.get("/?basic", NAVIGATION)
    answered = signed.get("/?basic", NAVIGATION | basic("anna"))

    assert asked.status == 401
    assert asked.headers["www-authenticate"].startswith("Basic ")
    assert answered.status == 200
    assert b"<script" in answered.body


def test_where_nobody_has_an_account_there_is_nothing_to_sign_in_to(
    make_dav: Callable[..., AppDav],
) -> None:
    dav = make_dav()

    assert json.loads(dav.get("/.davserver/session").body) == {
        "name": None,
        "form": False,
        "session": False,
    }
    assert sign_in(dav).status == 403


def test_an_authenticator_of_ones_own_need_not_keep_sessions(
    make_dav: Callable[..., AppDav],
) -> None:
    dav = make_dav(overrides={"authenticator": TestUsers()})

    told = json.loads(dav.get("/.davserver/session", {"Authorization": "Test bob"}).body)
    assert told == {"name": "bob", "form": False, "session": False}


# --- tokens -------------------------------------------------------------------------------------


@pytest.fixture
def sessions(tmp_path: Any) -> Iterator[Sessions]:
    table = SharedTable(tmp_path / "ended", buckets=1)
    yield Sessions(table, SharedKey(tmp_path / "key"), lifetime_s=3600)
    table.close()


def roster(**keys: Any) -> Any:
    return make_roster([parse_user(entry("anna", **keys))], realm="r", is_open=False)


def test_a_token_is_of_its_account_as_long_as_the_password_is(sessions: Sessions) -> None:
    before = roster()
    token = sessions.begin(before.accounts["anna"], NOW)

    assert sessions.find(token, before, NOW + 1) == before.accounts["anna"]
    assert sessions.find(token, roster(password="other"), NOW + 1) is None
    assert sessions.find(token, make_roster([], realm="r", is_open=False), NOW + 1) is None


def test_a_token_is_good_for_its_time_and_not_before_it(sessions: Sessions) -> None:
    anna = roster()
    token = sessions.begin(anna.accounts["anna"], NOW)
    good = {age: sessions.find(token, anna, NOW + age) is not None for age in (-1, 0, 3599, 3600)}

    assert good == {-1: False, 0: True, 3599: True, 3600: False}


def test_no_bit_of_a_token_can_be_changed(sessions: Sessions) -> None:
    anna = roster()
    token = sessions.begin(anna.accounts["anna"], NOW)
    raw = base64.urlsafe_b64decode(token + b"=" * (-len(token) % 4))
    for index in range(len(raw)):
        forged = raw[:index] + bytes([raw[index] ^ 1]) + raw[index + 1 :]

        assert sessions.find(base64.urlsafe_b64encode(forged), anna, NOW + 1) is None


@pytest.mark.parametrize("token", [b"", b"a", b"====", b"\xff\xfe", b"a" * 5000, b"YQ" * 60])
def test_what_is_no_token_is_nobodys(sessions: Sessions, token: bytes) -> None:
    sessions.end(token)

    assert sessions.find(token, roster(), NOW) is None


def test_one_that_was_ended_stays_so_however_many_are_ended_after_it(sessions: Sessions) -> None:
    anna = roster()
    ended = sessions.begin(anna.accounts["anna"], NOW)
    sessions.end(ended)
    for number in range(20):  # more than the table has room for
        sessions.end(sessions.begin(anna.accounts["anna"], NOW + 1 + number))
    newest = sessions.begin(anna.accounts["anna"], NOW + 100)

    assert sessions.find(ended, anna, NOW + 101) is None
    assert sessions.find(newest, anna, NOW + 101) is not None


# --- the real server ----------------------------------------------------------------------------


def test_all_workers_know_a_session_and_its_end(tmp_path: Any) -> None:
    add_users(tmp_path / "state", "anna")
    with Server(tmp_path, workers=2, arguments=["--anonymous", "none"]) as server:
        (server.root / "f").write_text("x")
        with server.connect() as http:
            with_cookie = cookie(sign_in(http))
        before = [status(server, with_cookie) for _ in range(8)]
        with server.connect() as http:
            http.request("DELETE", "/.davserver/session", with_cookie)
        after = [status(server, with_cookie) for _ in range(8)]

    assert before == [200] * 8
    assert after == [401] * 8


def status(server: Server, headers: dict[str, str]) -> int:
    with server.connect() as http:
        return http.get("/f", headers).status
