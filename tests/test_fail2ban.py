"""The filter of fail2ban in config/ matches what the server writes, and nothing else."""

from __future__ import annotations

import configparser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.credentials import add_users, basic
from tests.support.http import Connection
from tests.support.server import Server

FILTER = Path(__file__).parents[1] / "config" / "fail2ban-davserver.conf"
# What fail2ban puts in the place of <HOST>, without names.
HOST = r"\[?(?:(?:::f{4,6}:)?(?P<ip4>(?:\d{1,3}\.){3}\d{1,3})|(?P<ip6>[0-9a-fA-F:]{2,39}))\]?"


def patterns() -> list[re.Pattern[str]]:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(FILTER)
    lines = parser["Definition"]["failregex"].splitlines()
    return [re.compile(line.replace("<HOST>", HOST)) for line in lines if line]


def banned(log: str) -> list[str]:
    """Returns the address in each line that the filter takes for a failure."""
    found = []
    for line in log.splitlines():
        for pattern in patterns():
            match = pattern.search(line)
            if match:
                found.append(match["ip4"] or match["ip6"])
    return found


@pytest.fixture(params=["text", "json"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    add_users(tmp_path / "state", "alice")
    with Server(tmp_path, environment={"DAVSERVER_LOG_FORMAT": request.param}) as running:
        yield running


def fail(http: Connection, name: str, address: str) -> None:
    headers = {"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
    assert http.get("/", headers | basic(name, "wrong")).status == 401


@pytest.mark.security("A-03", "T-13")
def test_each_failure_names_the_address_and_a_hostile_name_no_other(server: Server) -> None:
    hostile = 'x" WARNING davserver.signin: sign-in failed from 198.51.100.1 as "y'
    with server.connect() as http:
        fail(http, "alice", "192.0.2.7")
        fail(http, "nobody", "2001:db8::7")
        fail(http, hostile, "192.0.2.8")
        headers = {"User-Agent": "sign-in failed from 198.51.100.2 as", "X-Litmus": hostile}
        assert http.get(f"/{hostile}".replace(" ", "%20"), headers).status == 401
        assert http.get("/", basic("alice")).status == 200
    log = server.log_text()

    assert banned(log) == ["192.0.2.7", "2001:db8::7", "192.0.2.8"]
