"""What is told at the start: where the server is, who may do what, what to type in each client."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from davserver import __version__
from davserver.address import is_loopback
from davserver.serving.container import is_container
from davserver.serving.tls import files_of, fingerprint

if TYPE_CHECKING:
    from davserver.auth.accounts import Roster
    from davserver.config import Settings
    from davserver.configtables import Share


def announcement(settings: Settings, roster: Roster, port: int) -> str:
    """Returns the text, several lines."""
    secure = settings.has_tls
    host = _shown_host(settings)
    base = f"{'https' if secure else 'http'}://{host}:{port}{quote(settings.prefix)}/"
    if settings.public_url:
        base = settings.public_url[0].rstrip("/") + "/"
    dav = f"dav{base.removeprefix('http')}"
    count = len(settings.share)
    served = f"{count} share{'s' * (count > 1)}" if count else settings.served[0].path.resolve()
    rows = [
        ("Finder", f"Go > Connect to Server:  {base}"),
        ("Windows", f"net use Z: {base}{'' if roster.is_open else ' /user:NAME'}"),
        ("", f"Explorer, address bar:  {_unc(base)}"),
        ("Linux", f"gio mount {dav}"),
        ("", f"sudo mount -t davfs {base} /mnt"),
        ("cadaver", f"cadaver {base}"),
        ("rclone", _rclone(base, roster)),
    ]
    return "\n".join(
        [
            f"davserver {__version__} serves {served} at {base}",
            *(_share_line(share, base, settings) for share in settings.share),
            *_rights(settings, roster),
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
    return f"  {base}{quote(share.name)}/  {share.path.resolve()}{note}"


def _certificate(settings: Settings) -> list[str]:
    """Returns the line that lets a user know the server's own certificate again."""
    if settings.tls is None:
        return []
    files = files_of(settings)
    assert files is not None
    return [f"Its certificate, SHA-256: {fingerprint(files.certificate)}"]


def _rclone(base: str, roster: Roster) -> str:
    if roster.is_open:
        return f"rclone lsf \":webdav,vendor=other,url='{base}':\""
    return f"rclone config create dav webdav url {base} vendor other user NAME pass PASSWORD"


def _unc(base: str) -> str:
    """Returns the address as Explorer has it: host@port, DavWWWRoot for the root of the server."""
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
        host = "localhost" if is_container(os.environ) else _own_address()
    return f"[{host}]" if ":" in host else host


def _own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            # Sends nothing: it only asks which address a packet would leave from.
            probe.connect(("192.0.2.1", 9))
            address: str = probe.getsockname()[0]
        except OSError:
            return "127.0.0.1"
    return address


def writes(settings: Settings, roster: Roster) -> bool:
    """True when somebody may write."""
    return not settings.read_only and (
        not roster.is_open or settings.anonymous in (None, "write") or bool(settings.rule)
    )


def _rights(settings: Settings, roster: Roster) -> list[str]:
    """Returns who may do what, in a line or two."""
    level = settings.anonymous or ("write" if roster.is_open else "none")
    if settings.read_only and level == "write":
        level = "read"
    may = {"none": "do nothing", "read": "read", "write": "read and write"}[level]
    if roster.is_open:
        return [f"Everybody who reaches it may {may}."]
    count = len(roster.names)
    users = "A proxy says who signs in" if settings.proxy_header else ""
    if count or not users:
        users = f"{count} user{'s' * (count != 1)} may sign in"
    lines = [f"{users}; everybody else may {may}."]
    if not _asks_for_passwords(settings, roster):
        lines.append(
            "Over plain http no password is asked for: --tls self-signed, a proxy with TLS that is"
            " in trusted_proxies, or users with --digest."
        )
    return lines


def _asks_for_passwords(settings: Settings, roster: Roster) -> bool:
    """True when users elsewhere can sign in, as far as can be told."""
    if settings.is_loopback or settings.has_tls or settings.insecure_basic or not roster.names:
        return True
    is_behind = any(not is_loopback(proxy) for proxy in settings.trusted_proxies)
    return is_behind or roster.has_sha256 or (settings.digest_md5 and roster.has_md5)
