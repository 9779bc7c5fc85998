"""`davserver locks`: listed and released beside a running server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.support.shares import make_shares
from tests.support.users import TestUsers, User


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DAVSERVER_")}
    done = subprocess.run(
        [sys.executable, "-m", "davserver", "locks", *arguments, "--state", str(folder / "state")],
        env=inherited,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done
    return done.stdout + done.stderr


@pytest.fixture
def dav(make_dav: Callable[..., AppDav]) -> AppDav:
    return make_dav("filesystem", overrides={"authenticator": TestUsers()})


def test_locks_are_listed_with_what_an_admin_has_to_know(dav: AppDav, tmp_path: Path) -> None:
    alice = User(dav, "alice")
    alice.mkcol("/c%20d/")
    tree = alice.lock("/c%20d/", timeout="Second-100").token
    file = alice.lock("/f", scope="shared", depth="0").token

    lines = run(tmp_path, "list").splitlines()

    assert [line.split("  ") for line in lines] == [
        ["/c d/", "exclusive", "depth infinity", "alice", lines[0].split("  ")[4], tree],
        ["/f", "shared", "depth 0", "alice", lines[1].split("  ")[4], file],
    ]
    assert 60 < int(lines[0].split("  ")[4].removesuffix(" s left")) <= 100


@pytest.mark.security("O-03")
@pytest.mark.parametrize("by", ["path", "token"])
def test_a_lock_is_released_while_the_server_runs(dav: AppDav, tmp_path: Path, by: str) -> None:
    alice, bob = User(dav, "alice"), User(dav, "bob")
    token = alice.lock("/f").token
    other = alice.lock("/g").token
    assert bob.put("/f", b"x").status == 423

    told = run(tmp_path, "release", {"path": "/f", "token": token}[by])

    assert told.startswith("released: /f  exclusive")
    assert bob.put("/f", b"x").status == 204
    assert [lock.findtext("{DAV:}locktoken/{DAV:}href") for lock in alice.locks("/g")] == [other]


def test_what_is_not_locked_cannot_be_released(dav: AppDav, tmp_path: Path) -> None:
    User(dav, "alice").lock("/f")

    assert run(tmp_path, "release", "/g", code=1) == "davserver: no lock is named '/g'\n"


def test_a_lock_on_the_root_and_locks_of_shares_are_listed(
    make_dav: Callable[..., AppDav], tmp_path: Path
) -> None:
    dav: Any = make_shares(make_dav, tmp_path, "a", "b")
    dav.lock("/a/")
    dav.lock("/b/f")
    config = tmp_path / "davserver.toml"
    tables = "".join(f'[[share]]\nname = "{n}"\npath = "shares/{n}"\n' for n in "ab")
    config.write_text(f'state = "state"\n{tables}')

    lines = run(tmp_path, "list", "--config", str(config)).splitlines()

    assert [line.split("  ")[0] for line in lines] == ["/a/", "/b/f"]
    assert [line.split("  ")[3] for line in lines] == ["(anonymous)"] * 2


def test_a_state_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "there is no state in" in run(tmp_path, "list", code=2)
