"""Applications with users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.credentials import entry

ELSEWHERE = ("192.0.2.9", 50000)


class Held:
    """What answers were held back for, in seconds; no test waits for them."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.delays.append(seconds)


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    made = Held()
    monkeypatch.setattr("davserver.admission.sleep", made)
    return made


@pytest.fixture
def make_signed(make_dav: Callable[..., AppDav], held: Held) -> Callable[..., AppDav]:
    """Returns a function that makes an application with users alice, in the group family, and
    bob; their password is "secret". Nothing is for others."""

    def make(**settings: Any) -> AppDav:
        users = [entry("alice", groups=("family",)), entry("bob")]
        return make_dav("memory", **({"user": users, "anonymous": None} | settings))

    return make


@pytest.fixture
def signed(make_signed: Callable[..., AppDav]) -> AppDav:
    return make_signed()


@pytest.fixture(autouse=True)
def always_looking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files with accounts are looked at for each request, not every 20 ms."""
    monkeypatch.setattr("davserver.auth.accounts._LOOK_S", 0.0)
