"""Fixtures that all tests share: the application in memory, the real server, real clients."""

from __future__ import annotations

import importlib
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NoReturn

import pytest

from tests.support.asgi import AsgiDav
from tests.support.clienttable import ClientTable
from tests.support.http import Connection
from tests.support.server import Server
from tests.support.sidebyside import SideBySide, place_of


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the tests marked long, too")
    parser.addoption(
        "--client-table", action="store_true", help="write the README's table of clients"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ClientTable(config), "client-table")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    asked = config.option.markexpr
    left_out = {
        mark
        for mark in ("long", "bench")
        if mark not in asked and not (mark == "long" and config.option.long)
    }
    kept, dropped = [], []
    for item in items:
        (dropped if any(map(item.get_closest_marker, left_out)) else kept).append(item)
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = kept
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: place_of(item.nodeid))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SideBySide:
    return SideBySide(config, log)


class Clock:
    """Seconds since the epoch that pass only when a test says so."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def pass_s(self, seconds: float) -> None:
        self.now += seconds


class AppDav(AsgiDav):
    """The application in memory, with what the tests look at behind it.

    Attributes:
        root: the served folder; None when the storage is in memory.
        clock: what the application takes for the time.
    """

    root: Path | None
    clock: Clock
    storage: str


def make_app_dav(
    folder: Path,
    storage: str,
    *,
    root_path: str = "",
    overrides: dict[str, Any] | None = None,
    **settings: Any,
) -> AppDav:
    """Returns a client of a fresh application.

    Args:
        storage: "filesystem", "memory", or "share": one of several, in memory; the state goes
            with it.
        overrides: further arguments of `create_app`: storage, state, authenticator, ...
        settings: keys of `Settings`.
    """
    from davserver import create_app
    from davserver.config import Settings

    root = folder / "root"
    root.mkdir(exist_ok=True)
    clock = Clock(time.time())
    parts: dict[str, Any] = {"clock": clock}
    if storage == "memory":
        from davserver.state.memory import MemoryState
        from davserver.storage.memory import MemoryStorage

        parts |= {"storage": MemoryStorage(), "state": MemoryState()}
    elif storage == "share":
        from davserver.state.memory import MemoryState
        from davserver.storage.memory import MemoryStorage
        from tests.support.mounted import one_of_two

        share = one_of_two("share", MemoryStorage("share"), MemoryStorage("other"))
        parts |= {"storage": share, "state": MemoryState()}
    keys: dict[str, Any] = {
        "root": root,
        "state": folder / "state",
        "access_log": False,
        "anonymous": "write",
    }
    app = create_app(Settings(**(keys | settings)), **(parts | (overrides or {})))
    dav = AppDav(app, root_path=root_path)
    dav.root = root if storage == "filesystem" else None
    dav.clock = clock
    dav.storage = storage
    return dav


@pytest.fixture
def make_dav(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., AppDav]]:
    """Returns a function that makes clients as `make_app_dav` does: `make_dav("memory", ...)`."""
    # Everything goes the way that waits for the disk, but nobody cuts the power.
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    with ExitStack() as stack:

        def make(storage: str = "filesystem", **options: Any) -> AppDav:
            dav = make_app_dav(tmp_path, storage, **options)
            stack.callback(dav.close)
            return dav

        yield make


@pytest.fixture(
    params=["filesystem", "memory", pytest.param("share", marks=pytest.mark.long)],
)
def dav(request: pytest.FixtureRequest, make_dav: Callable[..., AppDav]) -> AppDav:
    """A client of an application in memory, once over each kind of storage."""
    return make_dav(request.param)


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """The real server, one for a test module. For other options: `@pytest.mark.parametrize(
    "server", [{"workers": 4}, {"prefix": "/dav"}], indirect=True)`."""
    options = getattr(request, "param", {})
    with Server(tmp_path_factory.mktemp("server"), **options) as running:
        yield running


@pytest.fixture
def http(server: Server) -> Iterator[Connection]:
    """A raw connection to the real server."""
    with server.connect() as connection:
        yield connection


PACKAGES = {
    "litmus": "litmus",
    "cadaver": "cadaver",
    "mount.davfs": "davfs2",
    "rclone": "rclone",
    "curl": "curl",
    "vi": "vim-tiny",
    "node": "nodejs",
    "restic": "restic",
    "sitecopy": "sitecopy",
    "sed": "sed",
    "dbus-daemon": "dbus",
    "gio": "libglib2.0-bin",
    "soffice": "libreoffice-writer-nogui python3-uno",
    "/usr/bin/python3": "python3",
    "kioclient5": "kio kde-cli-tools",
    "gvfsd": "gvfs-backends gvfs-fuse",
    "nginx": "nginx",
    "strace": "strace",
    "systemd-analyze": "systemd",
    "apache2": "apache2-bin",
    "caddy": "caddy",
    "chromium": "chromium",
}
UNPACKED = Path(__file__).parent.parent / ".clients" / "debian"
"""Where run.sh unpacks packages that would start a service when they are installed."""
PLACES = f"/usr/sbin:/sbin:/usr/libexec:{UNPACKED}/usr/sbin:{UNPACKED}/usr/bin"
"""Where programs lie that no user types."""


def lack(reason: str) -> NoReturn:
    """Skips the test for want of a client, and fails it in CI, so that no test is silently left
    out there."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def client() -> Callable[[str], str]:
    """Returns the path of a client's program."""

    def find(program: str) -> str:
        path = shutil.which(program) or shutil.which(program, path=PLACES)
        if path is None:
            lack(f"{program} is not installed (package {PACKAGES[program]})")
        return path

    return find


@pytest.fixture(scope="session")
def library() -> Callable[[str], Any]:
    """Returns a client's module."""

    def find(module: str) -> Any:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError:
            lack(f"{module} is not installed (pip install '.[clients]')")

    return find
