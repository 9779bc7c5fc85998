"""A cadaver session against the real server (cadaver 0.24, neon 0.32)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(90)]

Cadaver = Callable[..., str]


@pytest.fixture
def cadaver(client: Callable[[str], str], server: Server, tmp_path: Path) -> Cadaver:
    """Returns a function that runs commands and gives what cadaver said; it says of each
    command whether it succeeded, and exits with 0 whatever happened."""
    program = client("cadaver")

    def run(*commands: str, fails: bool = False, editor: str = "false") -> str:
        home = tmp_path / "home"
        home.mkdir(exist_ok=True)
        result = subprocess.run(
            [program, server.url],
            input="\n".join([*commands, "quit", ""]).encode(),
            cwd=tmp_path,
            env=os.environ | {"HOME": str(home), "EDITOR": editor, "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=True,
        )
        output = result.stdout.decode(errors="replace")
        assert ("failed" in output) == fails, output
        return output

    return run


def test_file_goes_up_and_comes_back(cadaver: Cadaver, server: Server, tmp_path: Path) -> None:
    (tmp_path / "up.bin").write_bytes(bytes(range(256)) * 100)
    output = cadaver("put up.bin", "ls", "get up.bin down.bin")

    assert output.count("succeeded.") == 3, output
    assert "up.bin" in output
    assert (server.root / "up.bin").read_bytes() == (tmp_path / "down.bin").read_bytes()


def test_collections_are_made_moved_copied_and_removed(cadaver: Cadaver, server: Server) -> None:
    (server.root / "member.txt").write_text("member")
    output = cadaver(
        "mkcol work",
        "copy member.txt work/copy.txt",
        "move member.txt work/moved.txt",
        "copy work work-two",
        "move work work-three",
        "delete work-two/copy.txt",
        "ls work-two",
        "rmcol work-three",
    )

    assert output.count("succeeded.") == 8, output
    assert [p.name for p in (server.root / "work-two").iterdir()] == ["moved.txt"]
    assert not (server.root / "work-three").exists()
    assert not (server.root / "member.txt").exists()


def test_locked_file_takes_only_its_holders_changes(
    cadaver: Cadaver, server: Server, tmp_path: Path
) -> None:
    (server.root / "guarded.txt").write_text("old")
    (tmp_path / "new.txt").write_text("new")
    before = cadaver("lock guarded.txt", "discover guarded.txt")
    refused = cadaver("put new.txt guarded.txt", fails=True)

    assert "Scope: exclusive" in before or "exclusive" in before, before
    assert "423" in refused, refused
    assert (server.root / "guarded.txt").read_text() == "old"


def test_holder_of_a_lock_writes_and_unlocks(
    cadaver: Cadaver, server: Server, tmp_path: Path
) -> None:
    (server.root / "mine.txt").write_text("old")
    (tmp_path / "new.txt").write_text("new")
    output = cadaver("lock mine.txt", "put new.txt mine.txt", "unlock mine.txt")
    after = cadaver("put new.txt mine.txt", "discover mine.txt")

    assert output.count("succeeded.") == 3, output
    assert (server.root / "mine.txt").read_text() == "new"
    assert "no locks" in after.lower() or "Token" not in after, after


@pytest.mark.rfc("PP-10")
def test_properties_are_set_read_and_deleted(cadaver: Cadaver, server: Server) -> None:
    (server.root / "described.txt").write_text("x")
    output = cadaver(
        "propset described.txt topic some words",
        "propget described.txt topic",
        "propnames described.txt",
        "propdel described.txt topic",
    )
    after = cadaver("propnames described.txt")

    assert "some words" in output
    assert "topic" in output.split("propnames", 1)[-1]
    assert "topic" not in after


def test_edit_of_a_name_with_spaces_and_umlauts_locks_and_stores(
    cadaver: Cadaver, server: Server, tmp_path: Path
) -> None:
    name = "Größe der Bücher & mehr.txt"
    (server.root / name).write_text("first\n")
    editor = tmp_path / "editor"
    # cadaver sees a change by the seconds of the time of modification.
    editor.write_text('#!/bin/sh\necho second >>"$1"\ntouch -d "+5 seconds" "$1"\n')
    editor.chmod(0o755)
    output = cadaver(f'edit "{name}"', editor=str(editor))

    assert "Changes were made" in output, output
    assert output.count("succeeded.") == 4, output
    assert (server.root / name).read_text() == "first\nsecond\n"
