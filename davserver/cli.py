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
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

from davserver import __version__

if TYPE_CHECKING:
    # Imported when needed: `davserver --version` doesn't wait for them.
    from davserver.config import Settings
    from davserver.configtables import Share

WRONG = 2
"""Exit code when the server cannot start."""
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
    _take_identity(flags["state"])
    settings = _load(folder, config, flags)
    _check(settings)
    from davserver.server import CannotListen, bind, prepare_metrics, run

    try:
        sockets = bind(settings)
        metering = prepare_metrics(settings)
    except CannotListen as error:
        _fail(str(error))
    if settings.symlinks == "follow":
        click.echo("davserver: symlinks are followed, out of the folder too", err=True)
    _announce(settings, sockets[0].getsockname()[1])
    if metering is not None:
        _say(settings, f"Metrics at {metering.url}")
    read = partial(_read_again, folder, config, flags)
    sys.exit(run(settings, sockets, read, metering))


def _read_again(
    folder: str | None, config: str | None, flags: dict[str, Any], current: Settings
) -> Settings:
    """Reads the settings as at the start. Raises SettingsError."""
    from davserver.config import SettingsError
    from davserver.reload import keep_fixed

    try:
        settings = keep_fixed(current, _load(folder, config, flags))
        _check(settings)
    except _Failed as error:
        raise SettingsError(error.message) from error
    return settings


def _check(settings: Settings) -> None:
    """Makes sure that these settings can be served."""
    _check_exposure(settings)
    _check_folder(settings)
    _check_state(settings)
    _check_tls(settings)


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
    _take_identity(state)
    settings = _load(folder, config, {"state": state})
    _check_folder(settings)
    from davserver.check import check as look
    from davserver.errors import StateError, StorageError

    if not settings.state_folder.is_dir():
        _fail(f"there is no state in {settings.state_folder}: name its folder with --state")
    found = repaired = 0
    try:
        for finding in look(settings, repair=repair, adopt=adopt):
            found += 1
            repaired += finding.is_repaired
            click.echo(finding.text + (": repaired" if finding.is_repaired else ""))
    except FileNotFoundError:
        _fail(f"there is no state in {settings.state_folder}: name its folder with --state")
    except (StateError, StorageError) as error:
        _fail(str(error))
    click.echo(f"{found} found, {repaired} repaired" if found else "nothing is wrong")
    sys.exit(FOUND if found > repaired else 0)


class _Failed(click.ClickException):
    exit_code = WRONG

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"davserver: {self.message}", err=True)


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
        _fail(str(error))
    sys.exit(run(options, click.echo, lambda text: click.echo(f"davserver: {text}", err=True)))


def _fail(message: str) -> NoReturn:
    raise _Failed(message)


def _take_identity(state: str | None) -> None:
    from davserver.container import IdentityError, take_identity

    folder = state or os.environ.get("DAVSERVER_STATE")
    try:
        take_identity(os.environ, Path(folder) if folder else None)
    except IdentityError as error:
        _fail(str(error))


def _load(folder: str | None, config: str | None, flags: dict[str, Any]) -> Settings:
    from davserver.config import SettingsError, load_settings

    try:
        return load_settings(
            config=Path(config) if config else None,
            environment=os.environ,
            flags={"root": folder, **flags},
        )
    except SettingsError as error:
        _fail(str(error))


def _check_exposure(settings: Settings) -> None:
    """Without sign-in, other machines are let in only when that is asked for."""
    if settings.is_loopback or settings.anonymous in ("read", "write"):
        return
    from davserver.container import is_container

    if is_container(os.environ):
        _fail(
            "there is no sign-in: set DAVSERVER_ANONYMOUS=read or DAVSERVER_ANONYMOUS=write"
            " to let everybody who reaches this container do that"
        )
    _fail(
        f"there is no sign-in, and {settings.host} can be reached from other machines:"
        " add --anonymous read or --anonymous write to let everybody do that"
    )


def _check_folder(settings: Settings) -> None:
    for share in settings.served:
        _check_share(share.path, writes=_writes(settings) and not share.read_only)


def _check_share(root: Path, *, writes: bool) -> None:
    try:
        is_folder = stat.S_ISDIR(root.stat().st_mode)
    except FileNotFoundError:
        _fail(f"{root} does not exist")
    except OSError as error:
        _fail(f"{root} cannot be read by {_user()}: {error.strerror}")
    if not is_folder:
        _fail(f"{root} is not a folder")
    if not os.access(root, os.R_OK | os.X_OK):
        _fail(f"{root} cannot be read by {_user()}")
    if writes and not os.access(root, os.W_OK):
        _fail(f"{root} cannot be written by {_user()} (--read-only serves it all the same)")


def _writes(settings: Settings) -> bool:
    return not settings.read_only and settings.anonymous in (None, "write")


def _check_state(settings: Settings) -> None:
    from davserver.config import SettingsError, require_apart

    try:
        require_apart(settings)
    except SettingsError as error:
        _fail(str(error))
    state = settings.state_folder.resolve()
    try:
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        _fail(f"the state folder {state} cannot be made: {error.strerror}")
    if not os.access(state, os.R_OK | os.W_OK | os.X_OK):
        _fail(f"the state folder {state} cannot be written by {_user()}")
    from davserver.errors import StateError, StorageError
    from davserver.opening import open_parts

    try:
        opened, storage = open_parts(settings)
    except (StateError, StorageError) as error:
        _fail(str(error))
    # Nothing crosses a fork: the workers open their own.
    opened.close()
    storage.close()


def _check_tls(settings: Settings) -> None:
    from davserver.tls import CertificateError, files_of

    files = files_of(settings)
    if files is None:
        return
    try:
        if settings.tls is not None:
            from davserver.selfsigned import ensure

            ensure(files, settings, now=datetime.now(UTC))
        files.load()
    except CertificateError as error:
        _fail(str(error))


def _announce(settings: Settings, port: int) -> None:
    text = announcement(settings, port)
    _say(settings, text.partition("\n")[0] if settings.log_format == "json" else text)


def _say(settings: Settings, text: str) -> None:
    if settings.log_format == "json":
        # Whoever reads standard output expects an object a line.
        from davserver.jsonlog import note

        text = note("davserver", text)
    click.echo(text)
    sys.stdout.flush()


def _user() -> str:
    return f"user {os.geteuid()}:{os.getegid()}"


def announcement(settings: Settings, port: int) -> str:
    """Returns what is told at start: where, and what to type in each client."""
    secure = settings.has_tls
    host = _shown_host(settings)
    base = f"{'https' if secure else 'http'}://{host}:{port}{_quoted(settings.prefix)}/"
    if settings.public_url:
        base = settings.public_url[0].rstrip("/") + "/"
    dav = f"dav{base.removeprefix('http')}"
    writes = _writes(settings)
    count = len(settings.share)
    served = f"{count} share{'s' * (count > 1)}" if count else settings.served[0].path.resolve()
    rows = [
        ("Finder", f"Go > Connect to Server:  {base}"),
        ("Windows", f"net use Z: {base}"),
        ("", f"Explorer, address bar:  {_unc(base)}"),
        ("Linux", f"gio mount {dav}"),
        ("", f"sudo mount -t davfs {base} /mnt"),
        ("cadaver", f"cadaver {base}"),
        ("rclone", f"rclone lsf \":webdav,vendor=other,url='{base}':\""),
    ]
    return "\n".join(
        [
            f"davserver {__version__} serves {served} at {base}",
            *(_share_line(share, base, settings) for share in settings.share),
            f"Everybody who reaches it may {'read and write' if writes else 'read'}.",
            *_certificate(settings),
            "",
            *(f"  {name:<9}{text}" for name, text in rows),
            "",
            "Ctrl-C stops it when running requests are done.",
        ]
    )


def _share_line(share: Share, base: str, settings: Settings) -> str:
    notes = ["read-only"] * (share.read_only or settings.read_only)
    notes += ["a folder for each user"] * share.homes
    note = f" ({', '.join(notes)})" if notes else ""
    return f"  {base}{_quoted(share.name)}/  {share.path.resolve()}{note}"


def _certificate(settings: Settings) -> list[str]:
    """Returns the line that lets a user know the server's own certificate again."""
    if settings.tls is None:
        return []
    from davserver.tls import files_of, fingerprint

    files = files_of(settings)
    assert files is not None
    return [f"Its certificate, SHA-256: {fingerprint(files.certificate)}"]


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def _unc(base: str) -> str:
    """Returns the address as Explorer has it: host@port, DavWWWRoot for the root of the server."""
    from urllib.parse import unquote, urlsplit

    url = urlsplit(base)
    marks = "@SSL" if url.scheme == "https" else ""
    if url.port is not None:
        marks += f"@{url.port}"
    share = unquote(url.path).rstrip("/").replace("/", "\\")
    return f"\\\\{url.hostname}{marks}\\DavWWWRoot{share}"


def _shown_host(settings: Settings) -> str:
    """Returns an address that can be typed: for "every address", one of this machine's."""
    host = settings.host.strip("[]")
    if host in ("0.0.0.0", "::"):
        from davserver.container import is_container

        host = "localhost" if is_container(os.environ) else _own_address()
    return f"[{host}]" if ":" in host else host


def _own_address() -> str:
    import socket

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: it only asks which address a packet would leave from.
            probe.connect(("192.0.2.1", 9))
            address: str = probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
    return address
