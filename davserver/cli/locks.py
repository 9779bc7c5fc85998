"""`davserver locks`: what is locked, and the release of a lock that nobody will give up."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import update_wrapper
from typing import TYPE_CHECKING, Any

import click

from davserver.cli.base import fail, load, take_identity_of

if TYPE_CHECKING:
    from davserver.config import Settings
    from davserver.protocol.locks import Lock
    from davserver.state.base import State

NOT_FOUND = 1
"""Exit code when nothing of the name is locked."""


@click.group()
def locks() -> None:
    """List locks, and release them, also while the server runs."""


def _place(command: Callable[..., None]) -> Callable[..., None]:
    @click.option("--config", metavar="FILE", help="Settings in TOML.")
    @click.option("--state", metavar="DIR", help="The state folder of the server.")
    @click.option("--dir", "folder", metavar="DIR", help="The served folder, where no --state is.")
    def run(config: str | None, state: str | None, folder: str | None, **rest: Any) -> None:
        take_identity_of(state)
        settings = load(folder, config, {"state": state}, any_folder=True)
        if settings.state is None and settings.root is None:
            fail("which server? Name its --state, its --config, or the --dir that it serves")
        command(settings, **rest)

    return update_wrapper(run, command)


@locks.command("list")
@_place
def list_(settings: Settings) -> None:
    """List every lock: what of, its scope and depth, whose, the time left, its token."""
    now = time.time()
    with _opened(settings) as state:
        for lock in _all(state, settings, now):
            click.echo(_line(lock, now))


@locks.command()
@click.argument("what", metavar="PATH|TOKEN")
@_place
def release(settings: Settings, what: str) -> None:
    """Release the locks whose root is PATH, as `list` shows it, or the one with TOKEN.

    Exit code: 0 released, 1 no such lock, 2 it cannot be done.
    """
    now = time.time()
    with _opened(settings) as state:
        found = [lock for lock in _all(state, settings, now) if what in (lock.token, _path(lock))]
        for lock in found:
            with state.hold([lock.key], wait_s=settings.gate_wait_s) as view:
                view.remove_lock(lock.token)
            click.echo(f"released: {_line(lock, now)}")
    if not found:
        click.echo(f"davserver: no lock is named {what!r}", err=True)
        raise click.exceptions.Exit(NOT_FOUND)


@contextmanager
def _opened(settings: Settings) -> Iterator[State]:
    from davserver.errors import StateError
    from davserver.opening import open_state

    if not settings.state_folder.is_dir():
        fail(f"there is no state in {settings.state_folder}: name its folder with --state")
    try:
        state = open_state(settings)
        try:
            yield state
        finally:
            state.close()
    except StateError as error:
        fail(str(error))


def _all(state: State, settings: Settings, now: float) -> list[Lock]:
    from davserver.protocol.path import Key

    names = [share.name for share in settings.share] or [""]
    found: list[Lock] = []
    for root in (Key(name, b"") for name in names):
        found += [lock for lock in state.covering(root, now=now) if lock.key == root]
        found += state.beneath(root, now=now)
    return sorted(found, key=lambda lock: (lock.href, lock.token))


def _path(lock: Lock) -> str:
    from davserver.protocol.path import DavPath

    path = DavPath.from_raw(lock.href)
    text = "/" + "/".join(path.segments) + "/" * (path.slash and not path.is_root)
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


def _line(lock: Lock, now: float) -> str:
    left = max(0, round(lock.expires_at - now))
    who = lock.principal or "(anonymous)"
    parts = (lock.scope.value, f"depth {lock.depth.value}", who, f"{left} s left", lock.token)
    return f"{_path(lock)}  {'  '.join(parts)}"
