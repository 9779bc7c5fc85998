"""What the README says is what the code does."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import click
import pytest

import davserver
from davserver.cli.main import main
from davserver.config import Settings, section_of
from davserver.registry import build_registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """Text below a heading, up to the next of its level."""
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {title!r}"
    return found[1]


@pytest.mark.parametrize("key", Settings.model_fields)
def test_every_setting_is_in_the_table_of_the_readme(key: str) -> None:
    assert f"| `{key}` |" in section("Settings")


def test_the_table_names_no_setting_that_does_not_exist() -> None:
    named = re.findall(r"^\| `([a-z0-9_]+)` \|", section("Settings"), re.MULTILINE)

    assert sorted(Settings.model_fields) == sorted(named)


@pytest.mark.parametrize("key", Settings.model_fields)
def test_the_table_tells_where_in_the_file_a_key_stands(key: str) -> None:
    place = f"`[[{key}]]`" if key in ("share", "user", "rule") else ""
    if found := section_of(key):
        place = f"`[{found}]`"

    assert f"\n| `{key}` | {place} | " in section("Settings")


@pytest.mark.parametrize(
    "steps", re.findall(r"^```sh$(.*?)^```$", README, re.MULTILINE | re.DOTALL)
)
def test_the_steps_are_shell_with_commands_and_files_that_there_are(steps: str) -> None:
    subprocess.run(["sh", "-n", "-c", steps], check=True)

    for command in re.findall(r"davserver (?!davserver)((?:user |locks )?[a-z][a-z-]*)", steps):
        found: click.Command = main
        for name in command.split():
            assert isinstance(found, click.Group)
            found = found.commands[name]
    assert [file for file in re.findall(r"config/[\w.-]+", steps) if not is_there(file)] == []


def is_there(file: str) -> bool:
    """True for a file of config/, and for one that the steps make."""
    return (ROOT / file).exists() or file == "config/.env"


def test_every_method_and_extension_is_in_the_compliance_table() -> None:
    registry = build_registry()
    table = section("What it keeps of the RFCs")
    offered = [name for name, method in registry.methods.items() if method.applies_to]

    assert [name for name in offered if name not in table] == []
    for extension in registry.extensions:
        number = re.search(r"\d+", extension.name)
        assert number is not None
        assert f"RFC {number[0]}" in table


def test_the_newest_change_is_of_this_version() -> None:
    newest = re.search(r"^### (\S+)", section("Changes"), re.MULTILINE)

    assert newest is not None
    assert davserver.__version__ == newest[1]
    assert f'version = "{davserver.__version__}"' in (ROOT / "pyproject.toml").read_text()
