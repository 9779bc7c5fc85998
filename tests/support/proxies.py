"""Reverse proxies of Debian, run with the very files of config/ on a free port of this machine."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.certificates import make_pair
from tests.support.http import Connection
from tests.support.server import Server

CONFIG = Path(__file__).resolve().parents[2] / "config"
START_S = 20
STOP_S = 10
NOBODY = 65534
"""Who runs them when the tests run as root."""
_CERTIFICATE = "/etc/ssl/files.example.org/fullchain.pem"
_KEY = "/etc/ssl/files.example.org/privkey.pem"
_UPSTREAM = "127.0.0.1:8080"


@dataclass(frozen=True)
class Kind:
    """How to run one.

    Attributes:
        program: what is looked for on the PATH.
        file: of config/.
        frame: returns the main configuration, given the folder and the port; what `file` says is
            in `site.conf` of that folder.
        command: the arguments, given the folder.
        replaced: more of `file` that is other than in life, by what it becomes.
    """

    program: str
    file: str
    frame: Callable[[Path, int], str]
    command: Callable[[Path], Sequence[str]]
    replaced: Callable[[Path, int], dict[str, str]]


def _nginx_frame(folder: Path, port: int) -> str:
    places = "".join(
        f"    {kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    return (
        f"daemon off;\nworker_processes 2;\npid {folder}/pid;\nerror_log {folder}/error.log;\n"
        f"events {{}}\nhttp {{\n    access_log off;\n{places}    include {folder}/site.conf;\n}}\n"
    )


_MODULES = (
    *("mpm_event", "authz_core", "ssl", "socache_shmcb", "proxy", "proxy_http", "headers"),
    *("reqtimeout", "setenvif", "env", "deflate", "filter", "mime", "alias"),
)


def _apache_frame(folder: Path, port: int) -> str:
    modules = Path("/usr/lib/apache2/modules")
    load = "".join(f"LoadModule {name}_module {modules}/mod_{name}.so\n" for name in _MODULES)
    return (
        f"ServerRoot {folder}\nPidFile {folder}/pid\nDefaultRuntimeDir {folder}\n{load}"
        f"Mutex file:{folder} default\nErrorLog {folder}/error.log\nServerName localhost\n"
        f"TypesConfig /dev/null\nListen 127.0.0.1:{port}\nInclude {folder}/site.conf\n"
    )


def _caddy_frame(folder: Path, port: int) -> str:
    # Certificates for 127.0.0.1 it gets from nobody: it is given one.
    return (
        "{\n\tadmin off\n\tauto_https disable_redirects\n\tskip_install_trust\n"
        f"\tdefault_bind 127.0.0.1\n}}\nimport {folder}/site.conf\n"
    )


KINDS = {
    "nginx": Kind(
        "nginx",
        "nginx.conf",
        _nginx_frame,
        lambda folder: ["-p", f"{folder}/", "-c", f"{folder}/main.conf", "-e", "stderr"],
        lambda folder, port: {
            "    listen 443 ssl;\n    listen [::]:443 ssl;\n": f"    listen 127.0.0.1:{port} ssl;\n"
        },
    ),
    "apache": Kind(
        "apache2",
        "apache.conf",
        _apache_frame,
        lambda folder: ["-X", "-f", f"{folder}/main.conf"],
        lambda folder, port: {"<VirtualHost *:443>": f"<VirtualHost 127.0.0.1:{port}>"},
    ),
    "caddy": Kind(
        "caddy",
        "Caddyfile",
        _caddy_frame,
        lambda folder: ["run", "--adapter", "caddyfile", "--config", f"{folder}/main.conf"],
        lambda folder, port: {
            "{$DOMAIN:files.example.org} {\n": (
                f"{{$DOMAIN:files.example.org}} {{\n\ttls {folder}/cert.pem {folder}/key.pem\n"
            )
        },
    ),
}


class Proxy:
    """A proxy in front of a server whose prefix is /dav. Use it as a context manager.

    Attributes:
        certificate: what it shows, for clients to trust.
        server: what is behind it.
        folder: its files; what was written to its log is in `log`.
    """

    def __init__(self, kind: Kind, program: str, server: Server) -> None:
        assert server.prefix == "/dav"
        self._kind = kind
        self._program = program
        self.server = server
        # nobody can't enter pytest's folders.
        self.folder = Path(tempfile.mkdtemp(prefix="davserver-proxy-"))
        self.log = self.folder / "log"
        self.certificate = make_pair(self.folder).certificate
        self.port = _free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}/dav/"

    def connect(self, *, prefix: str = "/dav", timeout_s: float = 30) -> Connection:
        """Returns a connection through the proxy that trusts its certificate."""
        trust = ssl.create_default_context(cafile=self.certificate)
        return Connection("127.0.0.1", self.port, prefix=prefix, timeout_s=timeout_s, trust=trust)

    def __enter__(self) -> Self:
        (self.folder / "site.conf").write_text(self._site())
        (self.folder / "main.conf").write_text(self._kind.frame(self.folder, self.port))
        owner = {}
        if os.geteuid() == 0:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, NOBODY, NOBODY)
            owner = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [self._program, *self._kind.command(self.folder)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env={
                    "PATH": os.environ["PATH"],
                    "HOME": str(self.folder),
                    "DOMAIN": f"https://127.0.0.1:{self.port}",
                    "DAVSERVER": f"127.0.0.1:{self.server.port}",
                },
                **owner,  # type: ignore[call-overload]
            )
        try:
            self._await_health()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process is not None
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        shutil.rmtree(self.folder)

    def _site(self) -> str:
        """Returns the file of config/ with this machine's ports and paths."""
        text = (CONFIG / self._kind.file).read_text("utf-8")
        changes = self._kind.replaced(self.folder, self.port)
        if _CERTIFICATE in text:
            changes |= {
                _UPSTREAM: f"127.0.0.1:{self.server.port}",
                _CERTIFICATE: str(self.certificate),
                _KEY: f"{self.folder}/key.pem",
            }
        for old, new in changes.items():
            assert old in text, f"{self._kind.file} has no {old!r} any more"
            text = text.replace(old, new)
        return text.replace(" files.example.org;", " 127.0.0.1;")

    def _await_health(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                with self.connect(timeout_s=5) as connection:
                    if connection.get("/dav/.davserver/health").status == 200:
                        return
            except OSError:
                time.sleep(0.05)
        errors = self.folder / "error.log"
        more = errors.read_text(errors="replace") if errors.exists() else ""
        raise AssertionError(f"{self._program} did not start:\n{self.log.read_text()}{more}")


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
