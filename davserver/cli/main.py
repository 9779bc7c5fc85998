"""The command line. Exit codes: 0 a normal stop, 2 cannot start (one line on stderr says why);
`check` ends with 1 when something is wrong and stays so.
"""

from __future__ import annotations

import os
import stat
import sys
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from davserver import __version__
from davserver.cli.base import Failed, fail, load, take_identity_of
from davserver.cli.locks import locks
from davserver.cli.users import user

if TYPE_CHECKING:
    # Imported when needed: `davserver --version` doesn't wait for them.
    from davserver.auth.accounts import Roster
    from davserver.config import Settings

FOUND = 1
"""Exit code of `check` when something is wrong and stays so."""


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="davserver", message="%(prog)s %(version)s")
def main() -> None:
    """A WebDAV file server: a folder becomes a network drive."""


@main.command()
@click.argument("folder", metavar="[DIR]", required=False)
@click.option("--host", metavar="ADDRESS", help="Address to listen on. [127.0.0.1]")
@click.option("--port", metavar="N", help="Port to listen on; 0 takes a free one. [8080]")
@click.option("--workers", metavar="N", help="Worker processes. [1]")
@click.option("--state", metavar="DIR", help="Where locks and properties are kept.")
@click.option("--prefix", metavar="/dav", help="Path that the folder appears at. [/]")
@click.option("--tls", metavar="self-signed", help="TLS with a certificate made by the server.")
@click.option("--tls-cert", metavar="FILE", help="TLS with this certificate chain, in PEM.")
@click.option("--tls-key", metavar="FILE", help="Its key, where the chain's file has none.")
@click.option("--read-only", is_flag=True, default=None, help="Nobody changes anything.")
@click.option(
    "--anonymous",
    metavar="none|read|write",
    help="What everybody may do. Needed for any address but this machine's.",
)
@click.option("--durability", metavar="none|file|full", help="What survives a power cut. [full]")
@click.option(
    "--metrics-listen", metavar="ADDRESS:PORT", help="Where metrics and health are read. [nowhere]"
)
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error. [info]")
@click.option("--config", metavar="FILE", help="Settings in TOML.")
def serve(folder: str | None, config: str | None, **flags: Any) -> None:
    """Serve DIR, or the shares of the settings file.

    Every setting can also stand in the file, or in the environment as DAVSERVER_<NAME>.
    """
    take_identity_of(flags["state"])
    settings = load(folder, config, flags)
    roster = _check(settings)
    from davserver.serving.server import CannotListen, bind, prepare_metrics, run

    try:
        sockets = bind(settings)
        metering = prepare_metrics(settings)
    except CannotListen as error:
        fail(str(error))
    if settings.symlinks == "follow":
        click.echo("davserver: symlinks are followed, out of the folder too", err=True)
    _announce(settings, roster, sockets[0].getsockname()[1])
    if metering is not None:
        _say(settings, f"Metrics at {metering.url}")
    read = partial(_read_again, folder, config, flags)
    sys.exit(run(settings, sockets, read, metering))


def _read_again(
    folder: str | None, config: str | None, flags: dict[str, Any], current: Settings
) -> Settings:
    """Reads the settings as at the start. Raises SettingsError."""
    from davserver.config import SettingsError
    from davserver.serving.reload import keep_fixed

    try:
        settings = keep_fixed(current, load(folder, config, flags))
        _check(settings)
    except Failed as error:
        raise SettingsError(error.message) from error
    return settings


def _check(settings: Settings) -> Roster:
    """Makes sure that these settings can be served. Returns who has an account."""
    from davserver.serving.announcing import writes

    roster = _check_exposure(settings)
    _check_folder(settings, writes=writes(settings, roster))
    _check_state(settings)
    _check_tls(settings)
    return roster


@main.command()
@click.argument("folder", metavar="[DIR]", required=False)
@click.option("--state", metavar="DIR", help="Where locks and properties are kept.")
@click.option("--config", metavar="FILE", help="Settings in TOML.")
@click.option("--repair", is_flag=True, help="Put right what is wrong.")
@click.option("--adopt", is_flag=True, help="The state is of DIR now, wherever that was before.")
def check(
    folder: str | None, state: str | None, config: str | None, repair: bool, adopt: bool
) -> None:
    """Look for what crashes and changes behind the server have left of DIR.

    A server may be running. Exit code: 0 nothing is wrong (any more), 1 something is, 2 it
    cannot be told.
    """
    take_identity_of(state)
    settings = load(folder, config, {"state": state})
    _check_folder(settings, writes=not settings.read_only)
    from davserver.check import check as look
    from davserver.errors import StateError, StorageError

    if not settings.state_folder.is_dir():
        fail(f"there is no state in {settings.state_folder}: name its folder with --state")
    found = repaired = 0
    try:
        for finding in look(settings, repair=repair, adopt=adopt):
            found += 1
            repaired += finding.is_repaired
            click.echo(finding.text + (": repaired" if finding.is_repaired else ""))
    except FileNotFoundError:
        fail(f"there is no state in {settings.state_folder}: name its folder with --state")
    except (StateError, StorageError) as error:
        fail(str(error))
    click.echo(f"{found} found, {repaired} repaired" if found else "nothing is wrong")
    sys.exit(FOUND if found > repaired else 0)


@main.command("check-url")
@click.argument("url")
@click.option("--user", metavar="NAME", help="Who signs in; the password is asked for.")
@click.option("--size", metavar="SIZE", default="16MiB", help="Of the large upload. [16MiB]")
@click.option("--pause", metavar="SECONDS", default=0.0, help="An upload stands still so long.")
@click.option("--ca", metavar="FILE", help="Certificates to trust, in PEM.")
@click.option("--insecure", is_flag=True, help="Trust any certificate.")
def check_url(
    url: str, user: str | None, size: str, pause: float, ca: str | None, insecure: bool
) -> None:
    """Examine the server at URL, through whatever stands in front of it.

    Says what is broken for WebDAV clients, and which line of the proxy's configuration mends it.
    Works in a folder of its own below URL, which it removes. The password is taken from
    DAVSERVER_PASSWORD or standard input, else asked for.

    Exit code: 0 all is well, 1 something is broken, 2 there is no way in.
    """
    from davserver.doctor.command import Options, parse_size, run

    try:
        options = Options(url, user, parse_size(size), pause, ca, insecure)
    except ValueError as error:
        fail(str(error))
    sys.exit(run(options, click.echo, lambda text: click.echo(f"davserver: {text}", err=True)))


def _check_exposure(settings: Settings) -> Roster:
    """Lets other machines in only when they can sign in, or that is asked for."""
    from davserver.auth.accounts import AccountsError
    from davserver.signing import read_accounts

    try:
        roster = read_accounts(settings).roster
    except AccountsError as error:
        fail(str(error))
    levels = [settings.anonymous, *(share.anonymous for share in settings.share)]
    levels += [rule.access for rule in settings.rule if not rule.users and not rule.groups]
    if settings.is_loopback or not roster.is_open or {"read", "write"} & set(levels):
        return roster
    from davserver.serving.container import is_container

    if is_container(os.environ):
        fail(
            "nobody has an account: run `davserver user add NAME` in this container first, or set"
            " DAVSERVER_ANONYMOUS=read or DAVSERVER_ANONYMOUS=write to let everybody who reaches"
            " it do that"
        )
    fail(
        f"nobody has an account, and {settings.host} can be reached from other machines:"
        " `davserver user add NAME` makes one; --anonymous read or --anonymous write lets"
        " everybody do that"
    )


def _check_folder(settings: Settings, *, writes: bool) -> None:
    for share in settings.served:
        _check_share(share.path, writes=writes and not share.read_only)


def _check_share(root: Path, *, writes: bool) -> None:
    try:
        is_folder = stat.S_ISDIR(root.stat().st_mode)
    except FileNotFoundError:
        fail(f"{root} does not exist")
    except OSError as error:
        fail(f"{root} cannot be read by {_user()}: {error.strerror}")
    if not is_folder:
        fail(f"{root} is not a folder")
    if not os.access(root, os.R_OK | os.X_OK):
        fail(f"{root} cannot be read by {_user()}")
    if writes and not os.access(root, os.W_OK):
        fail(f"{root} cannot be written by {_user()} ({_ways_out()})")


def _ways_out() -> str:
    """Returns what to do about a folder that the server's user cannot write."""
    from davserver.serving.container import is_container

    if is_container(os.environ):
        return "give it to that user, or let PUID and PGID say whose it is"
    return "--read-only serves it all the same"


def _check_state(settings: Settings) -> None:
    from davserver.config import SettingsError, require_apart

    try:
        require_apart(settings)
    except SettingsError as error:
        fail(str(error))
    state = settings.state_folder.resolve()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        fail(f"the state folder {state} cannot be made: {error.strerror}")
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        fail(f"the state folder {state} cannot be written by {_user()}")
    from davserver.errors import StateError, StorageError
    from davserver.opening import open_parts

    try:
        opened, storage = open_parts(settings)
    except (StateError, StorageError) as error:
        fail(str(error))
    # Nothing crosses a fork: the workers open their own.
    opened.close()
    storage.close()


def _check_tls(settings: Settings) -> None:
    from davserver.serving.tls import CertificateError, files_of

    files = files_of(settings)
    if files is None:
        return
    try:
        if settings.tls is not None:
            from davserver.serving.selfsigned import ensure

            ensure(files, settings, now=datetime.now(UTC))
        files.load()
    except CertificateError as error:
        fail(str(error))


def _announce(settings: Settings, roster: Roster, port: int) -> None:
    from davserver.serving.announcing import announcement

    text = announcement(settings, roster, port)
    _say(settings, text.partition("\n")[0] if settings.log_format == "json" else text)


def _say(settings: Settings, text: str) -> None:
    if settings.log_format == "json":
        # Whoever reads standard output expects an object a line.
        from davserver.jsonlog import note

        text = note("davserver", text)
    click.echo(text)
    sys.stdout.flush()


main.add_command(user)
main.add_command(locks)


def _user() -> str:
    return f"user {os.geteuid()}:{os.getegid()}"
