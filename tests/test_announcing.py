"""What is told at the start of who may do what."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from davserver.auth.accounts import Roster, make_roster
from davserver.config import Settings
from davserver.configtables import parse_user
from davserver.serving.announcing import announcement
from tests.support.credentials import entry

NOBODY = Roster({}, is_open=True)
PLAIN = {key: value for key, value in entry("bob").items() if key != "digest"}
ELSEWHERE = {"host": "0.0.0.0"}


def roster(*users: dict[str, Any]) -> Roster:
    return make_roster([parse_user(user) for user in users], realm="davserver", is_open=False)


@pytest.mark.parametrize(
    ("settings", "accounts", "told"),
    [
        ({}, NOBODY, "Everybody who reaches it may read and write."),
        ({"anonymous": "read"}, NOBODY, "Everybody who reaches it may read."),
        ({"read_only": True}, NOBODY, "Everybody who reaches it may read."),
        ({}, roster(PLAIN), "1 user may sign in; everybody else may do nothing."),
        (
            {"anonymous": "read"},
            roster(PLAIN, entry("alice")),
            "2 users may sign in; everybody else may read.",
        ),
        ({}, roster(), "0 users may sign in; everybody else may do nothing."),
        (
            {"proxy_header": "Remote-User"},
            roster(),
            "A proxy says who signs in; everybody else may do nothing.",
        ),
    ],
)
def test_it_is_told_who_may_do_what(
    tmp_path: Path, settings: dict[str, Any], accounts: Roster, told: str
) -> None:
    lines = announcement(Settings(root=tmp_path, **settings), accounts, 8080).splitlines()

    assert lines[1] == told


@pytest.mark.security("A-01")
@pytest.mark.parametrize(
    ("settings", "accounts", "warns"),
    [
        (ELSEWHERE, roster(PLAIN), True),
        (ELSEWHERE, roster(entry("alice")), False),
        (ELSEWHERE | {"insecure_basic": True}, roster(PLAIN), False),
        (ELSEWHERE | {"tls_cert": "/c.pem"}, roster(PLAIN), False),
        (ELSEWHERE | {"trusted_proxies": ("10.0.0.1",)}, roster(PLAIN), False),
        (ELSEWHERE | {"anonymous": "read"}, NOBODY, False),
        ({}, roster(PLAIN), False),
    ],
)
def test_where_nobody_elsewhere_can_sign_in_that_is_told(
    tmp_path: Path, settings: dict[str, Any], accounts: Roster, warns: bool
) -> None:
    told = announcement(Settings(root=tmp_path, **settings), accounts, 8080)

    assert ("Over plain http no password is asked for" in told) is warns
