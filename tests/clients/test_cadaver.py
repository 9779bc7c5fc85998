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
NAMES = [
    "plain.txt",
    "with space.txt",
    "per%cent 100%25.txt",
    "hash#tag?query;semi=colon&amp.txt",
    "it's +plus+ (round) [square] {curly}.txt",
    "Größe ñandú.txt",
    "日本語 テスト.txt",
    "party 🥳.bin",
    "colon: star* pipe| less< more> ~.txt",
]


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
            env=os.environ
            | {"TZ": "UTC", "HOME": str(home), "EDITOR": editor, "LC_ALL": "C.UTF-8"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=True,
        )
        output = result.stdout.decode(errors="replace")
        assert ("failed" in output) == fails, output
        return output

    return run


@pytest.mark.client("cadaver", "mount", "list", "read", "write")
def test_file_goes_up_and_comes_back(cadaver: Cadaver, server: Server, tmp_path: Path) -> None:
    (tmp_path / "up.bin").write_bytes(bytes(range(256)) * 100)
    output = cadaver("put up.bin", "ls", "get up.bin down.bin")

    assert output.count("succeeded.") == 3, output
    assert "up.bin" in output
    assert (server.root / "up.bin").read_bytes() == (tmp_path / "down.bin").read_bytes()


@pytest.mark.client("cadaver", "rename", "delete")
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


@pytest.mark.client("cadaver", "lock")
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


@pytest.mark.client("cadaver", "lock")
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


@pytest.mark.client("cadaver", "lock")
def test_another_session_finds_the_lock_and_takes_it_over(
    cadaver: Cadaver, server: Server, tmp_path: Path
) -> None:
    (server.root / "left.txt").write_text("old")
    (tmp_path / "new.txt").write_text("new")
    cadaver("lock left.txt")
    output = cadaver("steal left.txt", "put new.txt left.txt", "unlock left.txt")
    after = cadaver("discover left.txt")

    assert "Stealing locks on `left.txt':" in output
    assert "Unlocking `left.txt': succeeded." in output
    assert "no locks found" in after
    assert (server.root / "left.txt").read_text() == "new"


def test_lock_of_a_collection_covers_its_members(
    cadaver: Cadaver, server: Server, tmp_path: Path
) -> None:
    (server.root / "covered").mkdir()
    (tmp_path / "new.txt").write_text("new")
    output = cadaver("lock covered", "put new.txt covered/mine.txt")
    refused = cadaver("put new.txt covered/theirs.txt", fails=True)

    assert output.count("succeeded.") == 2, output
    assert "423" in refused, refused
    assert os.listdir(server.root / "covered") == ["mine.txt"]


def test_lock_of_a_name_not_yet_there_makes_an_empty_file(cadaver: Cadaver, server: Server) -> None:
    output = cadaver("lock reserved.txt", "ls")

    assert "Locking `reserved.txt': succeeded." in output
    assert (server.root / "reserved.txt").read_bytes() == b""


def test_executable_bit_is_set_shown_and_taken_away(cadaver: Cadaver, server: Server) -> None:
    script = server.root / "script.sh"
    script.write_text("#!/bin/sh\n")
    output = cadaver("chexec + script.sh", "ls")
    set_mode = script.stat().st_mode
    cadaver("chexec - script.sh")

    assert "Setting isexecutable `script.sh': succeeded." in output
    assert "*script.sh" in output
    assert set_mode & 0o100
    assert not script.stat().st_mode & 0o111


@pytest.mark.client("cadaver", "times")
def test_listing_shows_the_time_of_the_last_change(cadaver: Cadaver, server: Server) -> None:
    path = server.root / "dated.txt"
    path.write_text("x")
    os.utime(path, (1_000_000_000, 1_000_000_000))
    line = next(line for line in cadaver("ls").splitlines() if "dated.txt" in line)

    assert line.endswith("1  Sep  9  2001"), line


@pytest.mark.client("cadaver", "names")
def test_odd_names_are_stored_listed_renamed_and_fetched(
    cadaver: Cadaver, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "local").write_text("content")
    commands = ["mkcol odd"]
    for number, name in enumerate(NAMES):
        commands += [f'put local "odd/{name}"', f'get "odd/{name}" back-{number}']
    output = cadaver(*commands, "ls odd", "copy odd odd-copy")
    renamed = [f'move "odd/{name}" "odd/moved {name}"' for name in NAMES]
    cadaver(*renamed)

    assert [name for name in NAMES if f" {name} " not in output] == []
    assert {(tmp_path / f"back-{n}").read_text() for n in range(len(NAMES))} == {"content"}
    assert sorted(os.listdir(server.root / "odd-copy")) == sorted(NAMES)
    assert sorted(os.listdir(server.root / "odd")) == sorted(f"moved {name}" for name in NAMES)


@pytest.mark.client("cadaver", "large")
def test_large_file_goes_up_and_comes_back(
    cadaver: Cadaver, server: Server, tmp_path: Path
) -> None:
    content = os.urandom(1 << 20) * 100
    (tmp_path / "large").write_bytes(content)
    cadaver("put large", "get large large-back")

    assert (server.root / "large").read_bytes() == content
    assert (tmp_path / "large-back").read_bytes() == content


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
