"""What `davserver serve` makes of its state folder at the start: a clear word, or it serves."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from davserver.app import create_app
from davserver.state.rows import SCHEMA_VERSION
from davserver.state.sqlite import SqliteState
from tests.conftest import AppDav
from tests.support.server import Server
from tests.test_cli import refused

FILE = "state.sqlite3"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "root"
    folder.mkdir()
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def serve_once(root: Path, state: Path) -> None:
    app = create_app(root=root, state=state)
    assert app.services.state.owner
    app.close()


@pytest.mark.security("Q-06")
def test_a_newer_state_is_refused_by_name_and_kept(tmp_path: Path, root: Path, state: Path) -> None:
    serve_once(root, state)
    with apsw.Connection(str(state / FILE)) as db:
        db.execute("PRAGMA user_version = 99")
    before = (state / FILE).read_bytes()

    assert refused(tmp_path, str(root), "--state", str(state)) == (
        f"{state}/{FILE} has schema version 99, this davserver knows {SCHEMA_VERSION}:"
        " run a newer one, or give it another state folder"
    )
    assert (state / FILE).read_bytes() == before


@pytest.mark.security("Q-05", "Q-06")
def test_the_state_of_another_folder_is_refused(tmp_path: Path, root: Path, state: Path) -> None:
    serve_once(root, state)
    other = tmp_path / "other"
    other.mkdir()

    assert refused(tmp_path, str(other), "--state", str(state)) == (
        f"the state in {state} belongs to {root}, not to {other}: name another one with --state;"
        f" if it is the same folder in a new place: davserver check {other} --adopt"
    )


@pytest.mark.security("Q-06")
def test_somebody_elses_database_is_refused_and_kept(
    tmp_path: Path, root: Path, state: Path
) -> None:
    state.mkdir()
    with apsw.Connection(str(state / FILE)) as db:
        db.execute("CREATE TABLE theirs(x)")

    assert "somebody else's database" in refused(tmp_path, str(root), "--state", str(state))
    with apsw.Connection(str(state / FILE)) as db:
        assert db.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


@pytest.mark.security("Q-06")
def test_a_damaged_state_is_told_loudly_and_the_files_are_served(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / FILE).write_bytes(b"no database at all " * 300)
    with Server(tmp_path, workers=2) as server, server.connect() as http:
        assert http.put("/a", b"x").status == 201
        assert http.lock("/a").token
        log = server.log_text()

    assert log.count("is damaged: it is kept as") == 1
    assert (tmp_path / "state" / FILE).read_bytes()[:6] == b"SQLite"


def mount_run(tmp_path: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Runs a shell script where it may mount what it likes."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root and unshare, to mount a small file system")
    probe = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if probe.returncode != 0:
        pytest.skip("may not make a mount namespace here")
    return subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


SERVE = 'exec "$1" -m davserver serve "$2/root" --state "$2/state" --port 0'


@pytest.mark.security("Q-06", "F-04")
def test_a_read_only_state_folder_is_refused(tmp_path: Path, root: Path, state: Path) -> None:
    serve_once(root, state)
    mount = 'mount --bind "$2/state" "$2/state" && mount -o remount,ro,bind "$2/state" && '
    done = mount_run(tmp_path, mount + SERVE)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert f"the state folder {state} cannot be written by user" in done.stderr


@pytest.mark.security("Q-06", "F-01")
def test_a_full_disk_for_the_state_is_told(tmp_path: Path, root: Path, state: Path) -> None:
    state.mkdir()
    mount = (
        'mount -t tmpfs -o size=64k none "$2/state" && '
        '(head -c 100000 /dev/zero >"$2/state/ballast" 2>/dev/null; true) && '
    )
    done = mount_run(tmp_path, mount + SERVE)

    assert (done.returncode, done.stdout) == (2, "")
    assert "state" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.security("Q-05")
@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_state_folder_is_private_whatever_the_umask(root: Path, state: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        serve_once(root, state)
        store = SqliteState(state)
        modes = {
            path.name: stat.S_IMODE(path.stat().st_mode)
            for path in [state, *state.iterdir()]
            if store.owner
        }
        store.close()
    finally:
        os.umask(before)

    private = {"state": 0o700, "owners": 0o700}
    assert modes == {name: private.get(name, 0o600) for name in modes}
    assert {"state", "owners", "gate", FILE} <= modes.keys()


@pytest.mark.security("A-10")
@pytest.mark.parametrize(("mask", "workers"), [("000", 1), ("027", 1), ("077", 2)])
def test_what_is_created_has_the_modes_of_the_umask_and_no_more(
    tmp_path: Path, mask: str, workers: int
) -> None:
    before = os.umask(int(mask, 8))
    try:
        with Server(tmp_path, workers=workers) as server, server.connect() as http:
            http.mkcol("/c")
            http.put("/c/a", b"x")
            http.put("/c/large", b"x" * 3_000_000)
            http.copy("/c/a", "/c/copy")
            http.lock("/c/locked")
            http.copy("/c/", "/d/")
            root = server.root
    finally:
        os.umask(before)
    modes = {str(p.relative_to(root)): stat.S_IMODE(p.stat().st_mode) for p in root.rglob("*")}

    file, folder = 0o666 & ~int(mask, 8), 0o777 & ~int(mask, 8)
    files = ("a", "large", "copy", "locked")
    expected = {f"{parent}/{name}": file for parent in "cd" for name in files}
    assert modes == expected | {"c": folder, "d": folder}


def put(dav: AppDav) -> str:
    assert dav.put("/program", b"mine").status == 204
    return "program"


def copy(dav: AppDav) -> str:
    assert dav.copy("/program", "/new").status == 201
    return "new"


def copy_over(dav: AppDav) -> str:
    dav.put("/mine", b"mine")
    assert dav.copy("/mine", "/program").status == 204
    return "program"


def make_executable(dav: AppDav) -> str:
    dav.put("/new", b"mine")
    dav.proppatch("/new", set={"{http://apache.org/dav/props/}executable": "T"})
    return "new"


@pytest.mark.security("A-10")
@pytest.mark.parametrize("change", [put, copy, copy_over, make_executable])
def test_set_id_bits_are_never_set(
    make_dav: Callable[..., AppDav], change: Callable[[AppDav], str]
) -> None:
    dav = make_dav()
    assert dav.root is not None
    program = dav.root / "program"
    program.write_bytes(b"#!/bin/sh\n")
    program.chmod(0o6755)
    name = change(dav)

    assert stat.S_IMODE((dav.root / name).stat().st_mode) & 0o7000 == 0
