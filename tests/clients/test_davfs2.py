"""Two davfs2 mounts of the real server (davfs2 1.6.1). Needs root and /dev/fuse.

davfs2 uploads after close and looks anew after a second at the earliest, so what is expected is
waited for. It tells the server no times: those of the server are shown.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.clients.names import NAMES
from tests.support.mounting import await_content, await_true, why_no_mounting
from tests.support.server import Server

REASON = why_no_mounting()
pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(180),
    pytest.mark.skipif(REASON is not None, reason=REASON or ""),
]
CACHE = Path("/var/cache/davfs2")

# buf_size 64: without it recent kernels get EINVAL when they list a directory.
# lock_owner: davfs2 takes over locks whose owner it takes for itself.
CONFIGURATION = """\
ask_auth 0
use_locks 1
delay_upload 0
gui_optimize 0
buf_size 64
dir_refresh 1
file_refresh 1
cache_dir {cache}
secrets {secrets}
lock_owner {owner}
"""
ODD_NAMES = (*NAMES, ".hidden~", "y" * 200)
Client = Callable[[str], str]


@contextmanager
def mounted(
    client: Client, url: str, folder: Path, owner: str, *, secret: str = "", settings: str = ""
) -> Iterator[Path]:
    """Mounts the share on `folder/owner`; the end waits until every upload is done.

    Args:
        secret: the line that davfs2's secrets file has for `url`.
        settings: further lines of its configuration.
    """
    path = folder / owner
    path.mkdir(parents=True)
    secrets = folder / f"{owner}.secrets"
    secrets.touch(0o600)
    secrets.write_text(secret)
    conf = folder / f"{owner}.conf"
    conf.write_text(CONFIGURATION.format(cache=CACHE, secrets=secrets, owner=owner) + settings)
    conf.chmod(0o600)
    result = subprocess.run(
        [client("mount.davfs"), url, path, "-o", f"conf={conf},uid=0,gid=0,rw"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=30,
        check=False,
    )
    assert result.returncode == 0, result.stdout.decode(errors="replace")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True, timeout=60, stdout=subprocess.DEVNULL)
        for cache in CACHE.glob(f"*-{folder.name}-{owner}*"):
            shutil.rmtree(cache)


@pytest.fixture(scope="module")
def here(client: Client, server: Server) -> Iterator[Path]:
    with mounted(client, server.url, server.folder, "here") as path:
        yield path


@pytest.fixture(scope="module")
def there(client: Client, server: Server) -> Iterator[Path]:
    """A second mount, with a cache and a lock owner of its own."""
    with mounted(client, server.url, server.folder, "there") as path:
        yield path


@pytest.mark.client("davfs2", "mount", "read", "write")
def test_written_file_is_stored_and_read_by_another_mount(
    here: Path, there: Path, server: Server
) -> None:
    content = os.urandom(1_234_567)
    (here / "data.bin").write_bytes(content)
    await_content(server.root / "data.bin", content)

    await_content(there / "data.bin", content)


@pytest.mark.client("davfs2", "rename", "names")
def test_renamed_file_keeps_its_content(here: Path, server: Server) -> None:
    (here / "old name ä.txt").write_bytes(b"content")
    await_content(server.root / "old name ä.txt", b"content")
    (here / "old name ä.txt").rename(here / "new name ü.txt")

    await_content(server.root / "new name ü.txt", b"content")
    assert not (server.root / "old name ä.txt").exists()
    assert (here / "new name ü.txt").read_bytes() == b"content"


@pytest.mark.client("davfs2", "list", "rename", "delete")
def test_directories_are_made_renamed_listed_and_removed(here: Path, server: Server) -> None:
    (here / "one").mkdir()
    for number in range(5):
        (here / "one" / f"file {number}").write_bytes(b"%d" % number)
    await_content(server.root / "one" / "file 4", b"4")
    (here / "one").rename(here / "two")

    assert sorted(os.listdir(here / "two")) == [f"file {n}" for n in range(5)]
    for number in range(5):
        (here / "two" / f"file {number}").unlink()
    (here / "two").rmdir()
    assert not (server.root / "two").exists()


def test_overwritten_and_appended_file_is_stored(here: Path, server: Server) -> None:
    path = here / "notes.txt"
    path.write_bytes(b"first\n")
    await_content(server.root / "notes.txt", b"first\n")
    path.write_bytes(b"second\n")
    await_content(server.root / "notes.txt", b"second\n")
    with path.open("ab") as file:
        file.write(b"third\n")

    await_content(server.root / "notes.txt", b"second\nthird\n")


def truncate_and_write(path: Path, content: bytes) -> None:
    with path.open("r+b") as file:
        file.truncate(0)
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def write_a_new_one_and_rename_it_over(path: Path, content: bytes) -> None:
    new = path.with_name(f".{path.name}.tmp")
    with new.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)


def rename_away_and_write(path: Path, content: bytes) -> None:
    """What editors that keep backups do: the old one becomes `name~`."""
    path.rename(path.with_name(path.name + "~"))
    path.write_bytes(content)
    path.with_name(path.name + "~").unlink()


def write_under_a_lock_file(path: Path, content: bytes) -> None:
    """What LibreOffice does on a mount."""
    lock = path.with_name(f".~lock.{path.name}#")
    os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR))
    with pytest.raises(FileExistsError):
        os.open(lock, os.O_CREAT | os.O_EXCL | os.O_RDWR)
    lock.write_bytes(b"somebody,host;")
    path.write_bytes(content)
    lock.unlink()


def delete_and_write(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


@pytest.mark.client("davfs2", "write")
@pytest.mark.parametrize(
    "save",
    [
        truncate_and_write,
        write_a_new_one_and_rename_it_over,
        rename_away_and_write,
        write_under_a_lock_file,
        delete_and_write,
    ],
)
def test_save_of_an_editor_leaves_the_new_content_alone(
    here: Path, server: Server, save: Callable[[Path, bytes], None]
) -> None:
    folder = here / save.__name__
    folder.mkdir()
    (folder / "text.txt").write_bytes(b"old and longer\n")
    await_content(server.root / save.__name__ / "text.txt", b"old and longer\n")
    for round_ in (b"first", b"the second save"):
        save(folder / "text.txt", round_)

    await_content(server.root / save.__name__ / "text.txt", b"the second save")
    await_true(
        lambda: os.listdir(server.root / save.__name__) == ["text.txt"], "nothing else is left"
    )


@pytest.mark.parametrize(
    ("program", "command"),
    [("vi", ["-es", "-u", "NONE", "-c", "%s/old/new/", "-c", "x"]), ("sed", ["-i", "s/old/new/"])],
    ids=["vim", "sed -i"],
)
def test_editors_save_in_place(
    client: Client, here: Path, server: Server, program: str, command: list[str]
) -> None:
    folder = here / program
    folder.mkdir()
    (folder / "text.txt").write_bytes(b"old text\n")
    await_content(server.root / program / "text.txt", b"old text\n")
    subprocess.run([client(program), *command, folder / "text.txt"], check=True, timeout=60)

    await_content(server.root / program / "text.txt", b"new text\n")
    await_true(lambda: os.listdir(server.root / program) == ["text.txt"], "no swap file is left")


@pytest.mark.client("davfs2", "names")
def test_odd_names_are_stored_listed_and_read(here: Path, there: Path, server: Server) -> None:
    (here / "odd").mkdir()
    for name in ODD_NAMES:
        (here / "odd" / name).write_bytes(name.encode())
    await_true(
        lambda: sorted(os.listdir(server.root / "odd")) == sorted(ODD_NAMES), "all are stored"
    )
    for name in ODD_NAMES:
        await_content(server.root / "odd" / name, name.encode())
    await_true(lambda: (there / "odd").exists(), "the other mount sees the folder")

    assert sorted(os.listdir(there / "odd")) == sorted(ODD_NAMES)
    for name in ODD_NAMES:
        assert (there / "odd" / name).read_bytes() == name.encode()


@pytest.mark.client("davfs2", "large")
def test_large_file_is_stored_and_read_by_another_mount(
    here: Path, there: Path, server: Server
) -> None:
    content = os.urandom(1 << 20) * 100
    (here / "large.bin").write_bytes(content)
    await_true(lambda: (server.root / "large.bin").is_file(), "the file is made")
    await_true(lambda: (server.root / "large.bin").stat().st_size == len(content), "it is whole")

    assert (server.root / "large.bin").read_bytes() == content
    await_content(there / "large.bin", content)


@pytest.mark.client("davfs2", "times")
def test_time_of_the_last_change_is_the_server_s(here: Path, server: Server) -> None:
    (server.root / "dated").mkdir()
    (server.root / "dated" / "file.txt").write_bytes(b"x")
    os.utime(server.root / "dated" / "file.txt", (1_000_000_000, 1_000_000_000))
    await_true(lambda: (here / "dated" / "file.txt").exists(), "the file is seen")

    assert (here / "dated" / "file.txt").stat().st_mtime == 1_000_000_000


def test_executable_bit_is_changed(here: Path, there: Path, server: Server) -> None:
    (here / "run.sh").write_bytes(b"#!/bin/sh\nexit 7\n")
    await_content(server.root / "run.sh", b"#!/bin/sh\nexit 7\n")
    (here / "run.sh").chmod(0o755)
    await_true(lambda: bool((server.root / "run.sh").stat().st_mode & 0o100), "it is executable")
    await_true(lambda: (there / "run.sh").exists(), "the other mount sees it")

    assert subprocess.run([there / "run.sh"], check=False).returncode == 7
    (here / "run.sh").chmod(0o644)
    await_true(lambda: not (server.root / "run.sh").stat().st_mode & 0o111, "no longer")


@pytest.mark.client("davfs2", "lock")
def test_file_open_for_writing_is_locked_for_the_other_mount(
    here: Path, there: Path, server: Server
) -> None:
    (server.root / "shared.txt").write_bytes(b"old")
    await_content(here / "shared.txt", b"old")
    await_content(there / "shared.txt", b"old")
    with (here / "shared.txt").open("r+b") as file:
        with pytest.raises(PermissionError):
            (there / "shared.txt").open("r+b")
        with pytest.raises(PermissionError):
            (there / "shared.txt").unlink()
        with pytest.raises(OSError):
            (there / "shared.txt").rename(there / "stolen.txt")
        file.write(b"new")

    await_content(server.root / "shared.txt", b"new")
    await_content(there / "shared.txt", b"new")
    (there / "shared.txt").write_bytes(b"theirs")
    await_content(server.root / "shared.txt", b"theirs")


def git(folder: Path, *arguments: str | Path) -> str:
    names = [f"user.{key}={value}" for key, value in (("name", "T"), ("email", "t@example.org"))]
    options = [part for name in names for part in ("-c", name)]
    result = subprocess.run(
        ["git", "-C", folder, *options, "-c", "safe.directory=*", *arguments],
        env=os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=100,
        check=False,
    )
    output = result.stdout.decode(errors="replace")
    assert result.returncode == 0, output
    return output


def test_git_clones_into_the_mount_and_commits_there(
    here: Path, server: Server, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    git(source, "init", "-q")
    for number in range(30):
        (source / f"dir-{number % 5}").mkdir(exist_ok=True)
        (source / f"dir-{number % 5}" / f"file {number}").write_text(f"{number}\n" * 100)
    git(source, "add", ".")
    git(source, "commit", "-qm", "first")
    git(tmp_path, "clone", "-q", "--no-local", source, here / "clone")
    (here / "clone" / "added").write_text("added\n")
    git(here / "clone", "add", ".")
    git(here / "clone", "commit", "-qm", "second")
    # Everything is uploaded when no name of a running change is left and nothing differs.
    stored = server.root / "clone"
    await_true(lambda: not list(stored.rglob("*.lock")), "git's lock files are gone")
    await_content(stored / "added", b"added\n")

    assert git(stored, "fsck", "--full", "--no-progress") == ""
    assert git(stored, "log", "--format=%s").split() == ["second", "first"]
    assert git(stored, "status", "--porcelain") == ""


def test_sqlite_database_is_copied_in_and_written_in_place(
    here: Path, server: Server, tmp_path: Path
) -> None:
    with closing(sqlite3.connect(tmp_path / "source.db")) as database, database:
        database.execute("CREATE TABLE t(a)")
        database.executemany("INSERT INTO t VALUES (?)", [(os.urandom(100),) for _ in range(5000)])
    shutil.copyfile(tmp_path / "source.db", here / "copy.db")
    await_content(server.root / "copy.db", (tmp_path / "source.db").read_bytes())
    with closing(sqlite3.connect(here / "copy.db")) as database, database:
        database.execute("DELETE FROM t WHERE rowid > 10")
    await_content(server.root / "copy.db", (here / "copy.db").read_bytes())
    await_true(lambda: not (server.root / "copy.db-journal").exists(), "the journal is gone")

    with closing(sqlite3.connect(server.root / "copy.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert database.execute("SELECT count(*) FROM t").fetchall() == [(10,)]


@pytest.mark.client("davfs2", "lock")
def test_umount_uploads_what_is_left_and_leaves_nothing_locked(
    client: Client, server: Server, tmp_path: Path
) -> None:
    with mounted(client, server.url, tmp_path, "third") as path:
        (path / "late.txt").write_bytes(b"text")

    assert (server.root / "late.txt").read_bytes() == b"text"
    with server.connect() as connection:
        assert connection.locks("/late.txt") == []
        assert connection.put("/late.txt", b"other").status == 204
