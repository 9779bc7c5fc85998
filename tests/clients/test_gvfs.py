"""GNOME's gvfs on the real server (gvfs 1.50.3): what Files, Thunar and Nemo do, said by `gio`.

gvfs takes no locks and sets no times or modes; what it mounts is seen by other programs through
gvfsd-fuse, which uploads some time after close.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.clients.names import NAMES
from tests.support.desktop import Session
from tests.support.mounting import await_content, why_no_mounting
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.timeout(120)]

Client = Callable[[str], str]


class Desktop:
    """A session with the share mounted."""

    def __init__(self, client: Client, server: Server, session: Session) -> None:
        self._gio = client("gio")
        self._server = server
        self._session = session

    def url(self, path: str = "") -> str:
        return f"dav://127.0.0.1:{self._server.port}/{quote(path)}"

    def gio(self, *arguments: str, data: bytes = b"", code: int = 0) -> str:
        """Runs `gio` and returns what it said."""
        result = subprocess.run(
            [self._gio, *arguments],
            input=data,
            env=self._session.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=60,
            check=False,
        )
        output = result.stdout.decode(errors="replace")
        assert result.returncode == code, output
        return output

    @property
    def view(self) -> Path:
        """The share as gvfsd-fuse shows it."""
        return (
            self._session.runtime
            / "gvfs"
            / f"dav:host=127.0.0.1,port={self._server.port},ssl=false"
        )


@pytest.fixture(scope="module")
def desktop(
    client: Client, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Desktop]:
    # "unix" alone: no daemons that look for phones and cameras.
    folder = tmp_path_factory.mktemp("gvfs")
    with Session(client("dbus-daemon"), folder, GIO_USE_VOLUME_MONITOR="unix") as session:
        session.spawn(client("gvfsd"), *(["--no-fuse"] if why_no_mounting() else []))
        desktop = Desktop(client, server, session)
        desktop.gio("mount", desktop.url())
        yield desktop
        view = session.runtime / "gvfs"
        if os.path.ismount(view):
            subprocess.run(["fusermount3", "-u", view], check=True, timeout=20)


def attributes_of(desktop: Desktop, path: str) -> dict[str, str]:
    lines = desktop.gio("info", desktop.url(path)).splitlines()
    return dict(line.strip().split(": ", 1) for line in lines if ": " in line)


@pytest.mark.client("gvfs (GNOME Files)", "mount")
def test_share_is_mounted(desktop: Desktop) -> None:
    output = desktop.gio("mount", "--list")

    assert f"-> {desktop.url()}" in output


@pytest.mark.client("gvfs (GNOME Files)", "list")
def test_collection_is_made_and_listed(desktop: Desktop, server: Server) -> None:
    desktop.gio("mkdir", desktop.url("listed"))
    (server.root / "listed" / "file.txt").write_bytes(b"12345")
    desktop.gio("mkdir", desktop.url("listed/a"))
    lines = desktop.gio("list", "--long", desktop.url("listed")).splitlines()

    assert (server.root / "listed" / "a").is_dir()
    assert sorted(lines) == ["a\t0\t(directory)", "file.txt\t5\t(regular)"]
    assert "already exists" in desktop.gio("mkdir", desktop.url("listed"), code=1)


@pytest.mark.client("gvfs (GNOME Files)", "read", "write")
def test_file_is_copied_in_and_out(desktop: Desktop, server: Server, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    (tmp_path / "in.bin").write_bytes(content)
    desktop.gio("copy", str(tmp_path / "in.bin"), desktop.url("copied.bin"))
    desktop.gio("copy", desktop.url("copied.bin"), str(tmp_path / "out.bin"))

    assert (server.root / "copied.bin").read_bytes() == content
    assert (tmp_path / "out.bin").read_bytes() == content


@pytest.mark.client("gvfs (GNOME Files)", "write")
def test_saved_file_replaces_the_old_one(desktop: Desktop, server: Server) -> None:
    desktop.gio("save", "--create", desktop.url("saved.txt"), data=b"first")
    created = (server.root / "saved.txt").read_bytes()
    desktop.gio("save", desktop.url("saved.txt"), data=b"second and longer")

    assert created == b"first"
    assert desktop.gio("cat", desktop.url("saved.txt")) == "second and longer"
    assert (server.root / "saved.txt").read_bytes() == b"second and longer"


def test_file_changed_by_somebody_else_is_not_saved_over(desktop: Desktop, server: Server) -> None:
    (server.root / "raced.txt").write_bytes(b"mine")
    etag = attributes_of(desktop, "raced.txt")["etag::value"]
    (server.root / "raced.txt").write_bytes(b"theirs")
    output = desktop.gio("save", "--etag", etag, desktop.url("raced.txt"), data=b"new", code=2)

    assert "externally modified" in output
    assert (server.root / "raced.txt").read_bytes() == b"theirs"


@pytest.mark.client("gvfs (GNOME Files)", "rename")
def test_files_and_collections_are_renamed_moved_and_copied(
    desktop: Desktop, server: Server
) -> None:
    (server.root / "from" / "sub").mkdir(parents=True)
    (server.root / "from" / "sub" / "file.txt").write_bytes(b"x")
    (server.root / "to").mkdir()
    desktop.gio("rename", desktop.url("from/sub/file.txt"), "new name.txt")
    desktop.gio("move", desktop.url("from/sub/new name.txt"), desktop.url("to/moved.txt"))
    desktop.gio("copy", desktop.url("to/moved.txt"), desktop.url("to/copy.txt"))
    desktop.gio("move", desktop.url("from"), desktop.url("to/from"))

    assert sorted(os.listdir(server.root / "to")) == ["copy.txt", "from", "moved.txt"]
    assert os.listdir(server.root / "to" / "from") == ["sub"]
    assert not (server.root / "from").exists()


def test_rename_onto_something_else_is_refused(desktop: Desktop, server: Server) -> None:
    (server.root / "kept-1.txt").write_bytes(b"1")
    (server.root / "kept-2.txt").write_bytes(b"2")
    output = desktop.gio("rename", desktop.url("kept-1.txt"), "kept-2.txt", code=1)

    assert "exists" in output
    assert (server.root / "kept-1.txt").read_bytes() == b"1"
    assert (server.root / "kept-2.txt").read_bytes() == b"2"


@pytest.mark.client("gvfs (GNOME Files)", "delete")
def test_file_and_empty_collection_are_removed(desktop: Desktop, server: Server) -> None:
    (server.root / "gone").mkdir()
    (server.root / "gone" / "file.txt").write_bytes(b"x")
    refused = desktop.gio("remove", desktop.url("gone"), code=1)
    desktop.gio("remove", desktop.url("gone/file.txt"), desktop.url("gone"))

    assert "not empty" in refused
    assert not (server.root / "gone").exists()


def test_trash_is_refused_clearly_and_leaves_the_file(desktop: Desktop, server: Server) -> None:
    (server.root / "kept.txt").write_bytes(b"x")
    output = desktop.gio("trash", desktop.url("kept.txt"), code=1)

    assert "not supported" in output
    assert (server.root / "kept.txt").read_bytes() == b"x"


@pytest.mark.client("gvfs (GNOME Files)", "times")
def test_information_is_that_of_the_file(desktop: Desktop, server: Server) -> None:
    (server.root / "info.txt").write_bytes(b"12345")
    os.utime(server.root / "info.txt", (1_000_000_000, 1_000_000_000))
    shown = attributes_of(desktop, "info.txt")

    assert shown["time::modified"] == "1000000000"
    assert shown["standard::size"] == "5"
    assert shown["standard::content-type"] == "text/plain"
    assert shown["access::can-trash"] == "FALSE"


def test_free_space_is_that_of_the_file_system(desktop: Desktop, server: Server) -> None:
    output = desktop.gio("info", "--filesystem", desktop.url())
    shown = dict(line.strip().split(": ") for line in output.splitlines() if ": " in line)
    disk = shutil.disk_usage(server.root)

    assert int(shown["filesystem::free"]) == pytest.approx(disk.free, rel=0.05)
    assert int(shown["filesystem::size"]) <= disk.total


@pytest.mark.client("gvfs (GNOME Files)", "names")
def test_odd_names_are_stored_listed_renamed_and_removed(
    desktop: Desktop, server: Server, tmp_path: Path
) -> None:
    (tmp_path / "local").mkdir()
    for name in NAMES:
        (tmp_path / "local" / name).write_bytes(name.encode())
    desktop.gio("mkdir", desktop.url("odd"))
    desktop.gio("copy", *[str(tmp_path / "local" / n) for n in NAMES], desktop.url("odd"))
    stored = {path.name: path.read_bytes() for path in (server.root / "odd").iterdir()}
    listed = desktop.gio("list", desktop.url("odd")).splitlines()
    desktop.gio("rename", desktop.url(f"odd/{NAMES[2]}"), f"new {NAMES[2]}")
    desktop.gio("remove", *[desktop.url(f"odd/{n}") for n in NAMES if n != NAMES[2]])

    assert stored == {name: name.encode() for name in NAMES}
    assert sorted(listed) == sorted(NAMES)
    assert os.listdir(server.root / "odd") == [f"new {NAMES[2]}"]


@pytest.mark.client("gvfs (GNOME Files)", "large")
def test_large_file_is_copied_in_and_out(desktop: Desktop, server: Server, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 100
    (tmp_path / "large").write_bytes(content)
    desktop.gio("copy", str(tmp_path / "large"), desktop.url("large"))
    desktop.gio("copy", desktop.url("large"), str(tmp_path / "back"))

    assert (server.root / "large").read_bytes() == content
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.skipif(why_no_mounting() is not None, reason=why_no_mounting() or "")
def test_other_programs_write_rename_and_delete_in_the_fuse_view(
    desktop: Desktop, server: Server
) -> None:
    view = desktop.view
    (view / "folder").mkdir()
    (view / "folder" / "new.txt").write_bytes(b"first")
    await_content(server.root / "folder" / "new.txt", b"first")
    await_content(view / "folder" / "new.txt", b"first")
    (view / "folder" / "new.txt").write_bytes(b"second")
    await_content(server.root / "folder" / "new.txt", b"second")
    (view / "folder" / "new.txt").rename(view / "folder" / "renamed.txt")

    assert (view / "folder" / "renamed.txt").read_bytes() == b"second"
    assert os.listdir(server.root / "folder") == ["renamed.txt"]
    (view / "folder" / "renamed.txt").unlink()
    (view / "folder").rmdir()
    assert not (server.root / "folder").exists()
