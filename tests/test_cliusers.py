"""`davserver user`: accounts in the users file, and hashes for the settings file."""

from __future__ import annotations

import os
import pty
import select
import subprocess
import sys
import threading
import time
import tomllib
from pathlib import Path

import pytest

from davserver.auth.digest import MD5, SHA256, digest_of
from davserver.auth.passwords import verify_password
from davserver.auth.usersfile import read_users

COMMAND = (sys.executable, "-m", "davserver", "user")


def run(
    *arguments: str, password: str = "", code: int = 0, **variables: str
) -> subprocess.CompletedProcess[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("DAVSERVER_")}
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=f"{password}\n" if password else "",
        env={**inherited, **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code, done
    return done


@pytest.fixture
def state(tmp_path: Path) -> str:
    return str(tmp_path / "state")


def users_of(state: str) -> dict[str, object]:
    return dict(read_users(Path(state) / "users.toml"))


@pytest.mark.security("A-09")
def test_a_user_is_added_with_a_hash_in_a_file_for_nobody_else(state: str) -> None:
    done = run("add", "alice", "--state", state, "--group", "a", "--group", "b", password="secret")

    file = Path(state) / "users.toml"
    (entry,) = read_users(file).values()
    assert done.stdout == "alice may sign in\n"
    assert (entry.name, entry.groups, entry.quota, entry.digest) == (
        "alice",
        ("a", "b"),
        None,
        None,
    )
    assert entry.password.startswith("$argon2id$")
    assert verify_password("secret", entry.password)
    assert file.stat().st_mode & 0o777 == 0o600
    assert "secret" not in file.read_text()


@pytest.mark.security("A-09")
def test_the_password_is_asked_for_on_a_terminal_and_never_shown(state: str) -> None:
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "add", "alice", "--state", state],
        stdin=child,
        stdout=child,
        stderr=child,
        start_new_session=True,
    )
    os.close(child)
    told = b""
    for _ in range(2):
        told += read_until(parent, b": ")
        os.write(parent, b"secret\n")
    told += read_until(parent, b"sign in\r\n")

    assert process.wait(20) == 0
    os.close(parent)
    assert told.count(b"Password: ") == 1
    assert b"secret" not in told
    assert list(users_of(state)) == ["alice"]


def read_until(fd: int, mark: bytes) -> bytes:
    text = b""
    deadline = time.monotonic() + 20
    while not text.endswith(mark):
        assert select.select([fd], [], [], max(0.0, deadline - time.monotonic()))[0], text
        text += os.read(fd, 1024)
    return text


def test_no_option_takes_a_password() -> None:
    for command in ("add", "passwd", "hash"):
        options = run(command, "--help").stdout.lower()
        assert "--password" not in options


@pytest.mark.parametrize("password", ["", "a\tb", "a\x7fb"], ids=["none", "a tab", "a delete"])
def test_a_password_that_cannot_be_sent_is_refused(state: str, password: str) -> None:
    run("add", "alice", "--state", state, password=password, code=2)

    assert not (Path(state) / "users.toml").exists()


@pytest.mark.parametrize("name", ["", "a:b", "a\\b", "a/b", "..", "x" * 256, ".davserver", "a\tb"])
def test_a_name_that_cannot_sign_in_or_have_a_home_is_refused(state: str, name: str) -> None:
    done = run("add", "--state", state, "--", name, password="secret", code=2)

    assert done.stderr.startswith("davserver: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("other", ["alice", "Alice", "ALICE"])
def test_a_name_that_is_taken_is_refused(state: str, other: str) -> None:
    run("add", "alice", "--state", state, password="secret")

    done = run("add", other, "--state", state, password="other", code=2)

    assert "'alice'" in done.stderr or "of that name" in done.stderr
    assert list(users_of(state)) == ["alice"]


@pytest.mark.rfc("DG-01")
@pytest.mark.parametrize("md5", ["false", "true"])
def test_what_digest_needs_is_stored_when_asked_for(state: str, md5: str) -> None:
    run(
        *("add", "alice", "--digest", "--state", state),
        password="secret",
        DAVSERVER_REALM="files",
        DAVSERVER_DIGEST_MD5=md5,
    )

    digest = read_users(Path(state) / "users.toml")["alice"].digest
    assert digest is not None
    assert digest.realm == "files"
    assert digest.sha256 == digest_of("alice", "files", "secret", SHA256)
    expected = digest_of("alice", "files", "secret", MD5) if md5 == "true" else None
    assert digest.md5 == expected


@pytest.mark.parametrize(
    ("flags", "has_digest"),
    [((), True), (("--no-digest",), False), (("--digest",), True)],
    ids=["as before", "no digest", "digest"],
)
def test_a_password_is_changed_with_its_digest(
    state: str, flags: tuple[str, ...], has_digest: bool
) -> None:
    run("add", "alice", "--digest", "--quota", "10", "--state", state, password="old")

    run("passwd", "alice", *flags, "--state", state, password="new")

    entry = read_users(Path(state) / "users.toml")["alice"]
    assert verify_password("new", entry.password)
    assert entry.quota == 10
    expected = digest_of("alice", "davserver", "new", SHA256) if has_digest else None
    assert (entry.digest.sha256 if entry.digest else None) == expected


def test_a_user_is_removed(state: str) -> None:
    for name in ("alice", "bob"):
        run("add", name, "--state", state, password="secret")

    run("remove", "alice", "--state", state)

    assert list(users_of(state)) == ["bob"]


@pytest.mark.parametrize("command", ["remove", "passwd"])
def test_an_unknown_user_is_told(state: str, command: str) -> None:
    done = run(command, "bob", "--state", state, password="secret", code=2)

    assert done.stderr == f"davserver: there is no user 'bob' in {state}/users.toml\n"


def test_everybody_is_listed_wherever_the_account_is(tmp_path: Path, state: str) -> None:
    run("add", "alice", "--digest", "--group", "b", "--state", state, password="secret")
    hashed = run("hash", password="secret").stdout
    config = tmp_path / "davserver.toml"
    config.write_text(f'state = "{state}"\n[[user]]\nname = "carol"\nquota = 7\n{hashed}')
    config.chmod(0o600)

    listed = run("list", "--config", str(config)).stdout

    assert listed.splitlines() == ["alice: Digest, group b", "carol: 7 bytes"]
    done = run("add", "carol", "--config", str(config), password="secret", code=2)
    assert done.stderr == "davserver: 'carol' stands in the settings file\n"


def test_a_hash_is_printed_for_the_settings_file() -> None:
    printed = run("hash", "--digest", "bob", "--realm", "r", "--md5", password="secret").stdout

    table = tomllib.loads(printed)
    assert verify_password("secret", table["password"])
    assert table["digest"] == {
        "realm": "r",
        "sha256": digest_of("bob", "r", "secret", SHA256),
        "md5": digest_of("bob", "r", "secret", MD5),
    }


def test_whose_users_they_are_has_to_be_said() -> None:
    done = run("list", code=2)

    assert done.stderr.startswith("davserver: which server?")


def test_several_commands_at_once_lose_nothing_of_each_other(state: str) -> None:
    names = [f"user{n}" for n in range(6)]
    threads = [
        threading.Thread(target=run, args=("add", name, "--state", state), kwargs={"password": "p"})
        for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(users_of(state)) == names
    assert [path.name for path in Path(state).iterdir()] == ["users.toml"]


@pytest.mark.security("A-09")
def test_a_settings_file_with_hashes_is_for_nobody_else_to_read(tmp_path: Path) -> None:
    config = tmp_path / "davserver.toml"
    config.write_text(f'state = "{tmp_path}/s"\n[[user]]\nname = "bob"\npassword = "$x"\n')
    config.chmod(0o644)

    done = run("list", "--config", str(config), code=2)

    assert done.stderr == f"davserver: {config} holds password hashes: chmod o= it\n"
