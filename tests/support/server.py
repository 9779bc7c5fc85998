"""The real server, as a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.http import Connection, ConnectionEnded
from tests.support.reply import HeaderInput

START_S = 20
STOP_S = 20
_LISTENS = re.compile(r" at https?://[^/\s]+:(\d+)")


class Server:
    """`davserver serve` on a free port. Use it as a context manager.

    Attributes:
        root: the served folder.
        log: everything that the process wrote.

    Args:
        scheme: "https" where the arguments or the environment give it a certificate.
        trust: a certificate that connections trust; with https and without it, any.
        launcher: a command that becomes the server: `["prlimit", "--nofile=64"]`.
        shares: their names and further lines of each `[[share]]`, in place of the one root: each
            is a folder of its name in `root`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        prefix: str = "",
        arguments: Sequence[str] = (),
        environment: dict[str, str] | None = None,
        scheme: str = "http",
        trust: Path | None = None,
        launcher: Sequence[str] = (),
        shares: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.scheme = scheme
        self._trust = trust
        self.root = folder / "root"
        self.state = folder / "state"
        self.workers = workers
        self.prefix = prefix
        self.port = 0
        self.log = folder / "server.log"
        self._arguments = list(arguments)
        self._environment = environment or {}
        self._launcher = list(launcher)
        self._shares = shares
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        code = self.stop()
        if error is None:
            assert code == 0, f"the server ended with {code}:\n{self.log_text()}"
            assert "Traceback" not in self.log_text(), self.log_text()

    @property
    def url(self) -> str:
        """URL of the served root, with its slash."""
        return f"{self.scheme}://127.0.0.1:{self.port}{self.prefix}/"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def connect(self, *, headers: HeaderInput = None, timeout_s: float = 15) -> Connection:
        """Returns a new connection; close it, or use it as a context manager."""
        return Connection(
            "127.0.0.1",
            self.port,
            timeout_s=timeout_s,
            headers=headers,
            prefix=self.prefix,
            trust=self._context() if self.scheme == "https" else None,
        )

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=self._trust)
        if self._trust is None:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context

    def hang_up(self) -> None:
        """Has it read its settings again."""
        os.kill(self.pid, signal.SIGHUP)

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def start(self) -> None:
        """Returns when the port is known and the health check says so."""
        self.root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "davserver", "serve", *self._served(), "--port", "0"]
        command += ["--state", str(self.state), "--workers", str(self.workers)]
        if self.prefix:
            command += ["--prefix", self.prefix]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [*self._launcher, *command, *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | {"PYTHONUNBUFFERED": "1"} | self._environment,
                start_new_session=True,
            )
        try:
            self._await_health(time.monotonic() + START_S)
        except BaseException:
            self.kill()
            raise

    def _served(self) -> list[str]:
        """Returns the arguments that say what is served."""
        if self._shares is None:
            return [str(self.root)]
        config = self.folder / "davserver.toml"
        tables = []
        for name, more in self._shares.items():
            (self.root / name).mkdir(exist_ok=True)
            tables.append(f"[[share]]\nname = '{name}'\npath = '{self.root / name}'\n{more}\n")
        config.write_text("\n".join(tables))
        return ["--config", str(config)]

    def stop(self) -> int:
        """Asks the server to end, as Ctrl-C does, and returns its exit code."""
        process = self._process
        if process is None:
            return 0
        process.send_signal(signal.SIGINT)
        try:
            return process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        finally:
            self._process = None

    def kill(self) -> None:
        """Ends the server and its workers as a crash would."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(STOP_S)

    def _await_health(self, deadline: float) -> None:
        assert self._process is not None
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            match = _LISTENS.search(self.log_text())
            if match:
                self.port = int(match[1])
                if self._is_healthy():
                    return
            time.sleep(0.02)
        raise AssertionError(f"the server did not start:\n{self.log_text()}")

    def _is_healthy(self) -> bool:
        with self.connect(timeout_s=5) as connection:
            try:
                reply = connection.get(f"{self.prefix}/.davserver/health")
            except (OSError, ConnectionEnded):
                return False
        return reply.status == 200
