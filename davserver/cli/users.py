"""`davserver user`: the accounts in the users file, and hashes for the settings file.

A password is asked for, or read as one line of standard input: never an argument, which everybody
on the machine can see.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable
from functools import update_wrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from davserver.cli.base import fail, load, take_identity_of

if TYPE_CHECKING:
    from davserver.config import Settings
    from davserver.configtables import Digests

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@click.group()
def user() -> None:
    """Add, list, change and remove users, also while the server runs."""


def _place(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say where the users file is, as one Settings argument."""

    @click.option("--config", metavar="FILE", help="Settings in TOML.")
    @click.option("--state", metavar="DIR", help="The state folder of the server.")
    @click.option("--dir", "folder", metavar="DIR", help="The served folder, where no --state is.")
    @click.option("--users", metavar="FILE", help="The users file. [users.toml in the state]")
    def run(
        config: str | None, state: str | None, folder: str | None, users: str | None, **rest: Any
    ) -> None:
        take_identity_of(state)
        settings = load(folder, config, {"state": state, "users": users}, any_folder=True)
        if settings.users is None and settings.state is None and settings.root is None:
            fail("which server? Name its --state, its --config, or the --dir that it serves")
        command(settings, **rest)

    return update_wrapper(run, command)


@user.command()
@click.argument("name")
@click.option("--group", "groups", metavar="NAME", multiple=True, help="May be given repeatedly.")
@click.option("--quota", metavar="BYTES", type=click.IntRange(0), help="Of the user's home.")
@click.option("--digest", is_flag=True, help="Let the user sign in with Digest, too.")
@_place
def add(
    settings: Settings, name: str, groups: tuple[str, ...], quota: int | None, digest: bool
) -> None:
    """Add a user. The password is asked for, or is one line of standard input."""
    from davserver.configtables import UserEntry, check_user_name

    try:
        name = check_user_name(name)
    except ValueError as error:
        fail(str(error))
    _refuse_taken(settings, name)
    password = _read_password()
    entry = UserEntry(
        name=name,
        password=_hashed(password),
        groups=groups,
        quota=quota,
        digest=_digests(settings, name, password) if digest else None,
    )
    with _Changing(settings) as entries:
        _refuse_similar(name, entries)
        entries[name] = entry
    click.echo(f"{name} may sign in")


@user.command()
@click.argument("name")
@_place
def remove(settings: Settings, name: str) -> None:
    """Remove a user, who is signed out at once. Files and locks stay."""
    with _Changing(settings) as entries:
        if entries.pop(name, None) is None:
            fail(_unknown(settings, name))
    click.echo(f"{name} is removed")


@user.command()
@click.argument("name")
@click.option("--digest/--no-digest", default=None, help="Let the user sign in with Digest. [same]")
@_place
def passwd(settings: Settings, name: str, digest: bool | None) -> None:
    """Change a user's password."""
    with _Changing(settings) as entries:
        if name not in entries:
            fail(_unknown(settings, name))
    password = _read_password()
    hashed = _hashed(password)
    with _Changing(settings) as entries:
        old = entries.get(name)
        if old is None:
            fail(_unknown(settings, name))
        has_digest = old.digest is not None if digest is None else digest
        digests = _digests(settings, name, password) if has_digest else None
        entries[name] = old.model_copy(update={"password": hashed, "digest": digests})
    click.echo(f"{name} has a new password")


@user.command("list")
@_place
def list_(settings: Settings) -> None:
    """List everybody who can sign in with a password."""
    from davserver.auth.accounts import AccountsError
    from davserver.signing import read_accounts

    try:
        roster = read_accounts(settings).roster
    except AccountsError as error:
        fail(str(error))
    for name in roster.names:
        account = roster.accounts[name]
        notes = ["Digest"] * bool(account.sha256 or account.md5)
        notes += [f"group {group}" for group in sorted(account.principal.groups)]
        notes += [] if account.quota is None else [f"{account.quota} bytes"]
        click.echo(f"{name}{': ' * bool(notes)}{', '.join(notes)}")


@user.command("hash")
@click.option("--digest", "name", metavar="USER", help="Print what Digest needs for USER, too.")
@click.option("--realm", default="davserver", show_default=True, help="That Digest is for.")
@click.option("--md5", is_flag=True, help="For clients that know no better Digest, too.")
def hash_(name: str | None, realm: str, md5: bool) -> None:
    """Print the hash of a password, for a [[user]] of the settings file."""
    password = _read_password()
    click.echo(f'password = "{_hashed(password)}"')
    if name is not None:
        digests = _made(name, realm, password, md5=md5)
        pairs = [f'{key} = "{value}"' for key, value in digests.model_dump().items() if value]
        click.echo(f"digest = {{ {', '.join(pairs)} }}")


class _Changing:
    """The entries of the users file, to be changed; written in the end."""

    def __init__(self, settings: Settings) -> None:
        from davserver.auth.usersfile import changing_users
        from davserver.signing import users_path

        self._changing = changing_users(users_path(settings))

    def __enter__(self) -> Any:
        from davserver.auth.accounts import AccountsError

        try:
            return self._changing.__enter__()
        except AccountsError as error:
            fail(str(error))

    def __exit__(self, *error: Any) -> None:
        from davserver.auth.accounts import AccountsError

        try:
            self._changing.__exit__(*error)
        except AccountsError as failed:
            fail(str(failed))


def _read_password() -> str:
    if sys.stdin.isatty():
        password: str = click.prompt(
            "Password", hide_input=True, confirmation_prompt=True, err=True
        )
    else:
        password = sys.stdin.readline().rstrip("\r\n")
    if not password:
        fail("there is no password on standard input")
    if _CONTROL.search(password):
        fail("a password must be without control characters")
    return password


def _hashed(password: str) -> str:
    from davserver.auth.passwords import hash_password

    return hash_password(password)


def _digests(settings: Settings, name: str, password: str) -> Digests:
    return _made(name, settings.realm, password, md5=settings.digest_md5)


def _made(name: str, realm: str, password: str, *, md5: bool) -> Digests:
    from davserver.auth.digest import MD5, SHA256, digest_of
    from davserver.configtables import Digests

    try:
        return Digests(
            realm=realm,
            sha256=digest_of(name, realm, password, SHA256),
            md5=digest_of(name, realm, password, MD5) if md5 else None,
        )
    except ValueError:
        fail(f"{realm!r} cannot be a realm: printable ASCII without quotes and backslashes can")


def _refuse_taken(settings: Settings, name: str) -> None:
    if any(entry.name == name for entry in settings.user):
        fail(f"{name!r} stands in the settings file")


def _refuse_similar(name: str, entries: dict[str, Any]) -> None:
    """Names that differ in case alone would share a home on a file system that folds it."""
    for other in entries:
        if other.casefold() == name.casefold():
            same = "there is a user of that name" if other == name else f"there is {other!r}"
            fail(f"{name!r} cannot be added: {same}")


def _unknown(settings: Settings, name: str) -> str:
    from davserver.signing import users_path

    return f"there is no user {name!r} in {os.fspath(Path(users_path(settings)))}"
