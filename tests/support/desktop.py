"""A desktop session without a screen: a message bus and the daemons that clients of it need."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.mounting import await_true
from tests.support.server import STOP_S


class Session:
    """A session bus of its own, with its daemons. Use it as a context manager.

    Attributes:
        runtime: XDG_RUNTIME_DIR.
        environment: what programs of the session run with.

    Args:
        bus: path of dbus-daemon.
        folder: home of the session.
    """

    def __init__(self, bus: str, folder: Path, **environment: str) -> None:
        self.runtime = folder / "run"
        self._bus = bus
        self._daemons: list[subprocess.Popen[bytes]] = []
        address = f"unix:path={self.runtime}/bus"
        self.environment = os.environ | {
            "HOME": str(folder),
            "XDG_RUNTIME_DIR": str(self.runtime),
            "DBUS_SESSION_BUS_ADDRESS": address,
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            **environment,
        }

    def __enter__(self) -> Self:
        self.runtime.mkdir(mode=0o700)
        address = self.environment["DBUS_SESSION_BUS_ADDRESS"]
        self.spawn(self._bus, "--session", "--nofork", f"--address={address}")
        try:
            await_true((self.runtime / "bus").exists, "the bus is there")
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
        for daemon in reversed(self._daemons):
            os.killpg(daemon.pid, signal.SIGTERM)
            daemon.wait(STOP_S)

    def spawn(self, *command: str) -> None:
        """Starts a daemon, which ends with the session."""
        daemon = subprocess.Popen(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._daemons.append(daemon)
