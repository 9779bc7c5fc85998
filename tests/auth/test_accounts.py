"""Accounts: the users file, htpasswd, and what is known when they change."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import bcrypt
import pytest

from davserver.auth.accounts import Accounts, AccountsError, Roster, Source, make_roster
from davserver.auth.htpasswd import read_htpasswd
from davserver.auth.passwords import hash_password, verify_password, why_refused
from davserver.auth.usersfile import changing_users, read_users
from davserver.configtables import UserEntry, parse_user
from tests.support.credentials import entry, quick_hash


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


# -- hashes ----------------------------------------------------------------------------------


@pytest.mark.security("A-09")
def test_new_hashes_are_argon2id_and_salted() -> None:
    one, other = hash_password("secret"), hash_password("secret")

    assert one.startswith("$argon2id$")
    assert one != other
    assert verify_password("secret", one)
    assert not verify_password("Secret", one)


@pytest.mark.parametrize("prefix", [b"2a", b"2b", b"2y"])
def test_bcrypt_as_htpasswd_makes_it_is_verified(prefix: bytes) -> None:
    made = bcrypt.hashpw(b"secret", bcrypt.gensalt(4)).replace(b"$2b$", b"$" + prefix + b"$")

    assert verify_password("secret", made.decode())
    assert not verify_password("other", made.decode())


def test_bcrypt_looks_at_72_bytes_as_apache_does() -> None:
    made = bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4)).decode()

    assert verify_password("x" * 100, made)
    assert not verify_password("x" * 71, made)


@pytest.mark.rfc("BA-02")
def test_spellings_of_one_password_are_the_same() -> None:
    assert verify_password("caf\u0065\u0301", quick_hash("caf\u00e9"))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("$apr1$hh8$RDKHOHMuZQ5NIgu0Mnxz7.", "MD5 (apr1)"),
        ("{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=", "SHA-1"),
        ("$6$salt$hash", "SHA-512 crypt"),
        ("$argon2id$broken", "a broken argon2"),
        ("plain", "an unknown"),
        ("", "an unknown"),
    ],
)
def test_other_hashes_are_refused_by_name(stored: str, said: str) -> None:
    problem = why_refused(stored)

    assert problem is not None
    assert problem.startswith(said)
    assert "bcrypt" in problem


# -- the users file --------------------------------------------------------------------------


def test_what_is_written_is_read(tmp_path: Path) -> None:
    file = tmp_path / "state" / "users.toml"
    made = parse_user(entry('J"ä s', groups=("a", 'b"c'), quota=7))
    with changing_users(file) as entries:
        entries["x"] = made

    assert read_users(file) == {'J"ä s': made}
    assert file.stat().st_mode & 0o777 == 0o600
    assert os.listdir(file.parent) == ["users.toml"]


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "users.toml"
    with changing_users(file) as entries:
        entries["alice"] = parse_user(entry("alice"))
    before = file.read_bytes()

    with pytest.raises(KeyError), changing_users(file) as entries:
        entries.pop("bob")

    assert file.read_bytes() == before
    assert os.listdir(tmp_path) == ["users.toml"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[user]\n", "users.toml"),
        ("[user]\nname = 1", "something else"),
        ("x = 1", "something else"),
        ("x = " + "[" * 9_999, "nested too deeply"),
        ("[[user]]\nname = 'a'", r"user\[0\].password"),
        ("[[user]]\nname = 'a:b'\npassword = '$x'", r"user\[0\].name"),
        ("[[user]]\nname = 'a'\npassword = 'plain'", "must be a hash"),
        ("[[user]]\nname = 'a'\npassword = '$x'\nmore = 1", r"user\[0\].more"),
        ("[[user]]\nname = 'a'\npassword = '$x'\n" * 2, "two users are named 'a'"),
    ],
)
def test_what_is_wrong_in_the_file_is_told(tmp_path: Path, text: str, said: str) -> None:
    file = write(tmp_path / "users.toml", text)

    with pytest.raises(AccountsError, match=said):
        read_users(file)


@pytest.mark.security("A-09")
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o606, 0o620])
@pytest.mark.parametrize("read", [read_users, read_htpasswd])
def test_a_file_that_others_can_use_is_refused(
    tmp_path: Path, mode: int, read: type[dict[str, UserEntry]]
) -> None:
    file = write(tmp_path / "users", "", mode)

    with pytest.raises(AccountsError, match="chmod 600"):
        read(file)


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o400])
def test_a_group_may_read_it(tmp_path: Path, mode: int) -> None:
    assert read_users(write(tmp_path / "users", "", mode)) == {}


def test_bytes_that_are_not_utf_8_are_told(tmp_path: Path) -> None:
    file = write(tmp_path / "users", "")
    file.write_bytes(b"\xff")

    with pytest.raises(AccountsError, match="not UTF-8"):
        read_users(file)


# -- htpasswd --------------------------------------------------------------------------------


def test_htpasswd_is_read_and_what_is_too_weak_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = quick_hash("secret")
    file = write(
        tmp_path / "htpasswd",
        f"# comment\n\nalice:{good}\nbob:$apr1$hh8$RDKHOHMuZQ5NIgu0Mnxz7.\n a/b:{good}\nno colon\n"
        f"alice:{quick_hash('second')}\ncarol:{bcrypt.hashpw(b'p', bcrypt.gensalt(4)).decode()}\n",
    )

    found = read_htpasswd(file)

    assert sorted(found) == ["alice", "carol"]
    assert found["alice"].password == good
    told = [record.getMessage() for record in caplog.records]
    assert [line.partition(": ")[0] for line in told] == [
        f"{file}, line {number}" for number in (4, 5, 6)
    ]
    assert "'bob' cannot sign in, MD5 (apr1) hash is not taken" in told[0]


# -- the roster ------------------------------------------------------------------------------


def roster_of(*names: str) -> Roster:
    entries = [parse_user(entry(name)) for name in names]
    return make_roster(entries, realm="davserver", is_open=False)


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        ("alice", "alice"),
        ("HOME\\alice", "alice"),
        ("alice@home", "alice"),
        ("bob@example.org", "bob@example.org"),
        ("HOME\\bob@example.org", "bob@example.org"),
        ("ale\u0301x", "al\u00e9x"),
        ("Alice", None),
        ("bob", None),
        ("", None),
        ("\\", None),
        ("@", None),
        ("alice\\", None),
        ("@alice", None),
    ],
)
def test_a_domain_around_the_name_is_no_part_of_it(sent: str, found: str | None) -> None:
    account = roster_of("alice", "bob@example.org", "al\u00e9x").find(sent)

    assert (None if account is None else account.principal.name) == found


def test_the_first_of_one_name_counts_and_digests_of_another_realm_do_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first = parse_user(entry("alice", groups=("a",), realm="old"))
    second = parse_user(entry("alice", groups=("b",)))

    roster = make_roster([first, second], realm="davserver", is_open=False)

    assert roster.accounts["alice"].principal.groups == {"a"}
    assert (roster.has_sha256, roster.has_md5) == (False, False)
    assert "realm 'old'" in caplog.text


def accounts_of(tmp_path: Path) -> Accounts:
    sources = [Source(tmp_path / "users.toml", read_users, optional=True)]
    return Accounts((), sources, realm="davserver")


def add(tmp_path: Path, *names: str) -> None:
    with changing_users(tmp_path / "users.toml") as entries:
        entries.clear()
        entries.update({name: parse_user(entry(name)) for name in names})


def test_accounts_come_and_go_while_the_server_runs(tmp_path: Path) -> None:
    accounts = accounts_of(tmp_path)
    assert accounts.roster.is_open
    assert not accounts.is_stale

    add(tmp_path, "alice")
    assert accounts.is_stale
    assert accounts.refresh().names == ("alice",)
    assert not accounts.roster.is_open

    add(tmp_path)
    assert accounts.refresh().names == ()


@pytest.mark.security("A-06")
def test_when_the_last_account_is_gone_nothing_is_for_everybody(tmp_path: Path) -> None:
    add(tmp_path, "alice")
    accounts = accounts_of(tmp_path)

    (tmp_path / "users.toml").unlink()

    assert accounts.is_stale
    roster = accounts.refresh()
    assert (roster.names, roster.is_open) == ((), False)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda file: file.write_text("[["),
        lambda file: file.chmod(0o644) or os.utime(file, (1, 1)),
        lambda file: file.unlink() or file.mkdir(),
    ],
    ids=["nonsense", "open to all", "a folder"],
)
def test_a_file_that_cannot_be_used_any_more_changes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, break_it: object
) -> None:
    add(tmp_path, "alice")
    accounts = accounts_of(tmp_path)

    break_it(tmp_path / "users.toml")  # type: ignore[operator]

    assert accounts.refresh().names == ("alice",)
    assert accounts.refresh().names == ("alice",)
    assert caplog.text.count("users stay as they were") == 1


def test_a_file_that_others_could_use_is_read_once_it_is_private_again(tmp_path: Path) -> None:
    add(tmp_path, "alice")
    accounts = accounts_of(tmp_path)
    add(tmp_path, "bob")
    file = tmp_path / "users.toml"
    file.chmod(0o644)
    before = accounts.refresh().names
    file.chmod(0o600)

    assert accounts.is_stale
    assert (before, accounts.refresh().names) == (("alice",), ("bob",))


class Disk:
    """Reads a users file, or fails as a disk does: the file looks as before and after."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.reads = 0

    def read(self, path: Path) -> dict[str, UserEntry]:
        self.reads += 1
        if self.error is not None:
            raise self.error
        return read_users(path)


@pytest.mark.parametrize(
    "error",
    [AccountsError("cannot be read: Input/output error"), MemoryError()],
    ids=["EIO", "RAM"],
)
def test_a_change_that_could_not_be_read_is_read_when_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    disk = Disk()
    add(tmp_path, "alice")
    sources = [Source(tmp_path / "users.toml", disk.read, optional=True)]
    accounts = Accounts((), sources, realm="davserver")
    add(tmp_path, "bob")
    disk.error = error
    monkeypatch.setattr("davserver.auth.accounts._RETRY_S", 0.0)
    with contextlib.suppress(MemoryError):
        accounts.refresh()
    disk.error = None

    assert accounts.is_stale
    assert accounts.refresh().names == ("bob",)


def test_while_it_cannot_be_read_it_is_tried_now_and_then_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr("davserver.auth.accounts.monotonic", lambda: now)
    disk = Disk()
    add(tmp_path, "alice")
    sources = [Source(tmp_path / "users.toml", disk.read, optional=True)]
    accounts = Accounts((), sources, realm="davserver")
    add(tmp_path, "bob")
    disk.error = AccountsError("cannot be read: Input/output error")
    stale = 0
    for _ in range(100):
        now += 0.1
        if accounts.is_stale:
            stale += 1
            accounts.refresh()

    assert 5 < stale < 12
    assert disk.reads == 1 + stale
    assert caplog.messages == ["users stay as they were: cannot be read: Input/output error"]


@pytest.mark.security("A-06")
def test_a_first_users_file_that_cannot_be_used_shuts_the_door(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    accounts = accounts_of(tmp_path)
    file = write(tmp_path / "users.toml", "[[")
    found = accounts.refresh()
    file.unlink()
    lost = accounts.refresh()

    assert not found.is_open
    assert not lost.is_open
    assert "nobody is let in" in caplog.text
    assert accounts.known == {file}


def test_at_the_start_a_file_that_cannot_be_used_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AccountsError, match="does not exist"):
        Accounts((), [Source(tmp_path / "htpasswd", read_htpasswd)], realm="r")
    write(tmp_path / "users.toml", "[[")
    with pytest.raises(AccountsError):
        accounts_of(tmp_path)
    with pytest.raises(AccountsError, match="'a': an unknown hash"):
        Accounts([UserEntry(name="a", password="$x")], [], realm="r")


def test_a_proxy_that_signs_in_means_that_others_have_to() -> None:
    assert not Accounts((), [], realm="r", must_sign_in=True).roster.is_open
