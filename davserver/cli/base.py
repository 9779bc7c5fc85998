"""What all commands share: how they fail, and the settings they begin with."""

from __future__ import annotations

import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    # Imported when needed: `davserver --version` doesn't wait for them.
    from davserver.config import Settings

WRONG = 2
"""Exit code when a command cannot do its work."""


class Failed(click.ClickException):
    """The command ends with one line on standard error."""

    exit_code = WRONG

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(f"davserver: {self.message}", err=True)


def fail(message: str) -> NoReturn:
    """Ends the command with that line."""
    raise Failed(message)


def take_identity_of(state: str | None) -> None:
    """Becomes the user that a container is told to run as, before anything is opened."""
    from davserver.serving.container import IdentityError, take_identity

    folder = state or os.environ.get("DAVSERVER_STATE")
    try:
        take_identity(os.environ, Path(folder) if folder else None)
    except IdentityError as error:
        fail(str(error))


def load(
    folder: str | None, config: str | None, flags: dict[str, Any], *, any_folder: bool = False
) -> Settings:
    """Returns the settings of file, environment and flags; see load_settings."""
    from davserver.config import SettingsError, load_settings

    try:
        settings = load_settings(
            config=Path(config) if config else None,
            environment=os.environ,
            flags={"root": folder, **flags},
            any_folder=any_folder,
        )
    except SettingsError as error:
        fail(str(error))
    if settings.user:
        _refuse_public(Path(config or os.environ["DAVSERVER_CONFIG"]))
    return settings


def _refuse_public(config: Path) -> None:
    """Password hashes are for nobody else to read."""
    if config.stat().st_mode & 0o007:
        fail(f"{config} holds password hashes: chmod o= it")
