"""KDE's KIO (Dolphin) on the real server, by kioclient5 (KIO 5.103). It brings some 125 packages
with it, so it is not in the default run."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.clients.names import NAMES
from tests.support.desktop import Session
from tests.support.server import Server

pytestmark = [pytest.mark.clients, pytest.mark.long, pytest.mark.timeout(120)]

Client = Callable[[str], str]


class Kio:
    """Runs kioclient5 on the share."""

    def __init__(self, program: str, server: Server, session: Session, log: Path) -> None:
        self._program = program
        self._server = server
        self._session = session
        self._log = log

    def url(self, path: str = "") -> str:
        return f"webdav://127.0.0.1:{self._server.port}/{quote(path)}"

    def __call__(self, *arguments: str, code: int = 0) -> str:
        """Returns what it said."""
        # Its workers outlive it and would keep a pipe open.
        with self._log.open("w+b") as log:
            process = subprocess.Popen(
                [self._program, "--noninteractive", *arguments],
                env=self._session.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                status = process.wait(50)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        output = self._log.read_text(errors="replace")
        assert status == code, output
        return output


@pytest.fixture(scope="module")
def kio(client: Client, server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kio]:
    folder = tmp_path_factory.mktemp("kio")
    options = {"QT_QPA_PLATFORM": "offscreen", "KDE_FORK_SLAVES": "1"}
    with Session(client("dbus-daemon"), folder, **options) as session:
        yield Kio(client("kioclient5"), server, session, folder / "log")


@pytest.mark.client("KDE (KIO)", "mount", "list", "write")
def test_folder_is_copied_in_and_listed(kio: Kio, server: Server, tmp_path: Path) -> None:
    (tmp_path / "folder" / "sub").mkdir(parents=True)
    (tmp_path / "folder" / "file.txt").write_bytes(b"12345")
    (tmp_path / "folder" / "sub" / "inner.txt").write_bytes(b"inner")
    kio("copy", str(tmp_path / "folder"), kio.url("folder"))
    listed = kio("ls", kio.url("folder")).splitlines()
    told = kio("stat", kio.url("folder/file.txt"))

    assert {"sub", "file.txt"} <= set(listed)
    assert "5" in told.split()
    assert (server.root / "folder" / "sub" / "inner.txt").read_bytes() == b"inner"


@pytest.mark.client("KDE (KIO)", "read", "write")
def test_file_is_replaced_and_read(kio: Kio, server: Server, tmp_path: Path) -> None:
    (server.root / "file.bin").write_bytes(b"old")
    content = os.urandom(300_000)
    (tmp_path / "up").write_bytes(content)
    refused = kio("copy", str(tmp_path / "up"), kio.url("file.bin"), code=1)
    kio("--overwrite", "copy", str(tmp_path / "up"), kio.url("file.bin"))
    kio("copy", kio.url("file.bin"), str(tmp_path / "down"))

    assert "exist" in refused
    assert (server.root / "file.bin").read_bytes() == content
    assert (tmp_path / "down").read_bytes() == content


@pytest.mark.client("KDE (KIO)", "rename", "delete")
def test_files_and_folders_are_moved_copied_and_removed(kio: Kio, server: Server) -> None:
    (server.root / "from" / "sub").mkdir(parents=True)
    (server.root / "from" / "sub" / "file.txt").write_bytes(b"x")
    kio("move", kio.url("from"), kio.url("moved"))
    kio("move", kio.url("moved/sub/file.txt"), kio.url("moved/renamed.txt"))
    kio("copy", kio.url("moved/renamed.txt"), kio.url("moved/copied.txt"))
    kio("remove", kio.url("moved/renamed.txt"))
    kio("remove", kio.url("moved/sub"))

    assert os.listdir(server.root / "moved") == ["copied.txt"]
    assert not (server.root / "from").exists()


@pytest.mark.client("KDE (KIO)", "names")
def test_odd_names_are_stored_listed_and_moved(kio: Kio, server: Server, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    for name in NAMES:
        (tmp_path / "odd" / name).write_bytes(name.encode())
    kio("copy", str(tmp_path / "odd"), kio.url("odd"))
    stored = {path.name: path.read_bytes() for path in (server.root / "odd").iterdir()}
    listed = kio("ls", kio.url("odd")).splitlines()
    for name in NAMES[1:4]:
        kio("move", kio.url(f"odd/{name}"), kio.url(f"odd/new {name}"))
    kio("copy", kio.url(f"odd/new {NAMES[2]}"), str(tmp_path / "back"))

    assert stored == {name: name.encode() for name in NAMES}
    assert set(NAMES) <= set(listed)
    assert {f"new {name}" for name in NAMES[1:4]} <= set(os.listdir(server.root / "odd"))
    assert (tmp_path / "back").read_bytes() == NAMES[2].encode()


@pytest.mark.client("KDE (KIO)", "large")
def test_large_file_is_copied_in_and_out(kio: Kio, server: Server, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 50
    (tmp_path / "large").write_bytes(content)
    kio("copy", str(tmp_path / "large"), kio.url("large"))
    kio("copy", kio.url("large"), str(tmp_path / "back"))

    assert (server.root / "large").read_bytes() == content
    assert (tmp_path / "back").read_bytes() == content
