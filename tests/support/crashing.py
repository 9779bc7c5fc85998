"""Real server processes that end at a chosen step: killed, or stopped where they stand.

A step is a system call that changes the disk, a commit of the state, or the answer's head. They
are counted by wrapping the calls in a process forked for one run, so that the server's own code
has nothing of it. The process that forks has everything imported: a run costs milliseconds.
`python -m tests.support.crashing` is that process, `Crasher` speaks to it.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.http import Connection, ConnectionEnded
from tests.support.reply import Reply

REPOSITORY = Path(__file__).parents[2]
_CALLS = ["copy_file_range", "fchmod", "fchown", "fdatasync", "fsync", "ftruncate", "link"]
_CALLS += ["mkdir", "rename", "rmdir", "setxattr", "symlink", "unlink", "utime", "write"]
_COMMIT = "COMMIT"


@dataclass(frozen=True)
class Plan:
    """One run of a server.

    Attributes:
        ends_at: number of the step before which the process ends, from 1; 0: none.
        stops: it is stopped there, to be continued, not killed.
        from_start: counts what the start of the server does, too.
        across: renames and exchanges of visible names fail as between two file systems.
        straight: the request goes by the straight way (shortcut.py), which those before it open.
    """

    base: str
    ends_at: int = 0
    stops: bool = False
    from_start: bool = False
    across: bool = False
    straight: bool = False
    durability: str = "none"
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a run went.

    Attributes:
        reply: None when the connection ended without one.
        steps: what was done, then what would have been next.
        died: True when the process was killed at its step.
    """

    reply: Reply | None
    steps: list[str]
    died: bool


@dataclass(frozen=True)
class Request:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""


class Running:
    """A forked server.

    Attributes:
        pid: to be killed by.
    """

    def __init__(self, crasher: Crasher, plan: Plan, pid: int, port: int) -> None:
        self._crasher = crasher
        self._plan = plan
        self.pid = pid
        self.port = port

    def connect(self, *, timeout_s: float = 15) -> Connection:
        return Connection("127.0.0.1", self.port, timeout_s=timeout_s)

    def ask(self, request: Request) -> Reply | None:
        with self.connect() as connection:
            try:
                if self._plan.straight:
                    return _ask_straight(connection, request)
                return connection.request(
                    request.method, request.target, request.headers, request.body
                )
            except (ConnectionEnded, OSError):
                return None

    def wait(self) -> int:
        """Waits until the process ends or stops. Returns the signal, negative when stopped."""
        return int(self._crasher.say({"wait": self.pid})["signal"])

    def kill(self) -> int:
        """Kills the process, if it lives, and waits."""
        return int(self._crasher.say({"kill": self.pid})["signal"])

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def steps(self) -> list[str]:
        return Path(self._plan.base, "steps").read_text().splitlines()


def _ask_straight(connection: Connection, request: Request) -> Reply:
    """The guard knows header fields when they have come twice; REPORT does nothing."""
    for method, target in [("REPORT", "/"), ("REPORT", "/"), (request.method, request.target)]:
        fields = {"Host": "x", **request.headers, "Content-Length": str(len(request.body))}
        lines = [f"{method} {target} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
        # Head and body in one piece.
        connection.send_raw("\r\n".join([*lines, "", ""]).encode("latin-1") + request.body)
        reply = connection.read_reply(method)
    return reply


class Crasher:
    """The process that forks servers. Use it as a context manager."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.support.crashing"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=REPOSITORY,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def say(self, words: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(words).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def start(self, plan: Plan) -> Running:
        answer = self.say({"start": asdict(plan)})
        return Running(self, plan, answer["pid"], answer["port"])

    def run(self, plan: Plan, request: Request) -> Outcome:
        """Starts a server, asks it once, and kills it after its answer when it still lives."""
        running = self.start(plan)
        reply = running.ask(request)
        # The system closes the dying process's connection before it can be waited for.
        died = reply is None
        number = running.wait() if died else running.kill()
        log = Path(plan.base, "log").read_text()
        assert number == signal.SIGKILL, f"ended by {number}: {log}"
        assert "Traceback" not in log, log
        return Outcome(reply, running.steps(), died)


# -- in the forking process ----------------------------------------------------------------


def main() -> None:
    """Forks a server for each line of JSON."""
    import uvloop  # noqa: F401 - imported once, here

    from davserver.registry import build_registry

    build_registry()
    for line in sys.stdin.buffer:
        words = json.loads(line)
        if "start" in words:
            answer = _start(words["start"])
        elif "kill" in words:
            os.kill(words["kill"], signal.SIGKILL)
            answer = _wait(words["kill"], 0)
        else:
            answer = _wait(words["wait"], os.WUNTRACED)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _start(plan: dict[str, Any]) -> dict[str, int]:
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    pid = os.fork()
    if not pid:
        try:
            _serve(Plan(**plan), listener)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    listener.close()
    return {"pid": pid, "port": port}


def _wait(pid: int, options: int) -> dict[str, int]:
    _, status = os.waitpid(pid, options)
    if os.WIFSTOPPED(status):
        return {"signal": -os.WSTOPSIG(status)}
    return {"signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0}


class _Steps:
    """Counts steps, and ends the process at the one that the plan names."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._number = 0
        self._write = os.write
        self._fd = os.open(Path(plan.base, "steps"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        self.counts = plan.from_start

    def step(self, name: str) -> None:
        if not self.counts:
            return
        self._number += 1
        self._write(self._fd, f"{name}\n".encode())
        if self._number == self._plan.ends_at:
            # To this thread: a stop of the process may take effect a little later.
            number = signal.SIGSTOP if self._plan.stops else signal.SIGKILL
            signal.pthread_kill(threading.get_ident(), number)

    def wrap(
        self, place: Any, name: str, *, if_: Callable[..., bool] = lambda *_, **__: True
    ) -> None:
        inner = getattr(place, name)

        def call(*args: Any, **options: Any) -> Any:
            if if_(*args, **options):
                self.step(name)
            return inner(*args, **options)

        setattr(place, name, call)


def _creates(path: object, flags: int, *_: object, **__: object) -> bool:
    return bool(flags & os.O_CREAT) or flags & os.O_TMPFILE == os.O_TMPFILE


def _wrap_everything(steps: _Steps) -> None:
    from davserver.state import sqlfile
    from davserver.storage import _linux

    for name in _CALLS:
        steps.wrap(os, name)
    steps.wrap(os, "open", if_=_creates)
    steps.wrap(_linux, "renameat2")
    steps.wrap(_linux, "try_linkat")
    steps.wrap(fcntl, "ioctl")
    query = sqlfile.Database.query

    def counted(self: Any, sql: str, bindings: Any = ()) -> Any:
        if sql == _COMMIT:  # before it, nothing of a transaction counts
            steps.step(sql)
        return query(self, sql, bindings)

    sqlfile.Database.query = counted  # type: ignore[method-assign]


def _serve(plan: Plan, listener: socket.socket) -> None:
    """The life of a forked server."""
    from davserver.app import DavApp
    from davserver.config import Settings
    from davserver.errors import CrossDevice
    from davserver.serving import server
    from davserver.storage.filesystem import FilesystemStorage

    base = Path(plan.base)
    log = os.open(base / "log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for number in (0, 1, 2):
        os.dup2(log, number)
    steps = _Steps(plan)
    _wrap_everything(steps)
    serve = DavApp.__call__

    async def serve_counted(self: Any, scope: Any, receive: Any, send: Any) -> None:
        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                steps.step("answer")
            await send(message)

        steps.counts = steps.counts or scope.get("method", "REPORT") != "REPORT"
        await serve(self, scope, receive, answer)

    at_once = DavApp.at_once

    def at_once_counted(self: Any, *parts: Any) -> Any:
        steps.counts = plan.straight
        answer = at_once(self, *parts)
        if answer is not None:
            steps.step("answer at once")
        return answer

    DavApp.__call__ = serve_counted  # type: ignore[method-assign]
    DavApp.at_once = at_once_counted  # type: ignore[method-assign]
    if plan.across:
        rename, exchange = FilesystemStorage.rename, FilesystemStorage.exchange

        def refuse(one: Any, other: Any) -> None:
            if not one.is_reserved and not other.is_reserved:
                raise CrossDevice("as between two file systems")

        def rename_within(self: Any, source: Any, target: Any, *, replace: bool = False) -> None:
            refuse(source, target)
            rename(self, source, target, replace=replace)

        def exchange_within(self: Any, a: Any, b: Any) -> None:
            refuse(a, b)
            exchange(self, a, b)

        FilesystemStorage.rename = rename_within  # type: ignore[method-assign]
        FilesystemStorage.exchange = exchange_within  # type: ignore[method-assign]
    keys: dict[str, Any] = {
        "root": base / "root",
        "state": base / "state",
        "anonymous": "write",
        "access_log": False,
        "durability": plan.durability,
        "fallbacks": tuple(plan.fallbacks),
    }
    settings = Settings(**keys)
    server.run(settings, [listener], lambda old: old)


if __name__ == "__main__":
    main()
