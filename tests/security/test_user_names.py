"""Nobody learns which users exist: not by an answer, not by the time that it takes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import pytest
from argon2 import PasswordHasher

from davserver.auth import signin
from tests.conftest import AppDav
from tests.support.credentials import basic, challenges, digest_field, entry
from tests.support.reply import Reply

# Some milliseconds: much more than everything else of a request in memory.
SLOW = PasswordHasher(time_cost=4, memory_cost=2048, parallelism=1)
NAMES = [f"user{number}" for number in range(5)]


@pytest.fixture
def dav(make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch) -> AppDav:
    async def at_once(seconds: float) -> None:
        pass

    monkeypatch.setattr("davserver.admission.sleep", at_once)
    users = [entry(name) | {"password": SLOW.hash("secret")} for name in NAMES]
    return make_dav("memory", user=users, anonymous=None, sign_in_failures=10_000)


def told(reply: Reply) -> str:
    """Everything of an answer but what is fresh in each."""
    fields = [(k, v.partition("nonce=")[0]) for k, v in reply.headers.items if k != "date"]
    return f"{reply.status} {fields} {reply.body!r}"


@pytest.mark.security("A-02")
def test_an_unknown_user_gets_the_same_answer_and_costs_one_hash(
    dav: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: list[str] = []
    verify = signin.verify_password

    def note(password: str, stored: str) -> bool:
        hashed.append(stored.rpartition("$")[0].rpartition("$")[0])
        return verify(password, stored)

    monkeypatch.setattr(signin, "verify_password", note)
    asked = [basic(name, "wrong") for name in (*NAMES, "nobody", "no\u00e9", "x@y", "a\\b", " ")]
    answers = {told(dav.get("/f", headers)) for headers in asked}

    assert len(answers) == 1
    assert hashed == ["$argon2id$v=19$m=2048,t=4,p=1"] * len(asked)


@pytest.mark.security("A-02")
def test_nor_does_digest_tell(dav: AppDav) -> None:
    dav.client = ("192.0.2.9", 1)
    answers = set()
    for name in (*NAMES, "nobody"):
        (challenge,) = challenges(dav.get("/"))
        field = digest_field(challenge, "GET", "/f", name=name, password="wrong")
        answers.add(told(dav.get("/f", {"Authorization": field})))

    assert len(answers) == 1


@pytest.mark.security("A-02")
def test_the_time_does_not_tell(dav: AppDav) -> None:
    def seconds(name: str) -> float:
        begun = time.perf_counter()
        assert dav.get("/f", basic(name, "wrong")).status == 401
        return time.perf_counter() - begun

    seconds("user0")
    # In turn, so that whatever else this machine does is in both.
    pairs = [(seconds(f"user{n % 5}"), seconds(f"nobody{n}")) for n in range(40)]
    known, unknown = (statistics.median(column) for column in zip(*pairs, strict=True))

    assert 0.75 < unknown / known < 1.33


@pytest.mark.security("A-02", "A-07")
@pytest.mark.parametrize("method", ["GET", "PROPFIND", "PUT", "LOCK"])
def test_before_sign_in_every_path_looks_alike(dav: AppDav, method: str) -> None:
    assert dav.put("/user0", b"x", basic("user0")).status == 201

    answers = {told(dav.request(method, path)) for path in ("/", "/user0", "/no", "/no/such/")}

    assert len(answers) == 1
