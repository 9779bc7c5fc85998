"""LibreOffice on the real server, without a screen (7.4): it opens and saves documents in place,
under a lock of its own, and uses the share as its dialogs do. Not in the default run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.clients.names import NAMES
from tests.support.server import STOP_S, Server

pytestmark = [pytest.mark.clients, pytest.mark.long, pytest.mark.timeout(180)]

# Saving under a name with other letters it forgets the token of the lock it has (7.4 does), so 423.
ODD_NAMES = [name.replace(".txt", ".odt") for name in NAMES if name.isascii()]
DRIVE = Path(__file__).with_name("libreoffice") / "drive.py"
Client = Callable[[str], str]


class Office:
    """A LibreOffice, and the script that drives it (its docstring has the commands)."""

    def __init__(self, client: Client, server: Server, folder: Path) -> None:
        self._server = server
        pipe = f"davserver-{os.getpid()}"
        environment = os.environ | {"HOME": str(folder), "TZ": "UTC", "LC_ALL": "C.UTF-8"}
        options = ["--headless", "--norestore", "--nologo", "--nodefault"]
        options += [f"-env:UserInstallation=file://{folder}/profile"]
        self._log = (folder / "log").open("wb")
        self._office = subprocess.Popen(
            [client("soffice"), *options, f"--accept=pipe,name={pipe};urp;"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._driver = subprocess.Popen(
            [client("/usr/bin/python3"), DRIVE, pipe],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def stop(self) -> None:
        self._driver.communicate(timeout=STOP_S)
        os.killpg(self._office.pid, signal.SIGKILL)
        self._office.wait(STOP_S)
        self._log.close()

    def url(self, path: str = "") -> str:
        """The URL as LibreOffice writes it: it takes another spelling for another resource, and
        then has no token for it."""
        quoted = quote(path, safe="/!$&'()*+,:=@")
        return f"vnd.sun.star.webdav://127.0.0.1:{self._server.port}/{quoted}"

    def ask(self, *command: Any) -> dict[str, Any]:
        assert self._driver.stdin is not None
        assert self._driver.stdout is not None
        self._driver.stdin.write(json.dumps(command) + "\n")
        self._driver.stdin.flush()
        answer: dict[str, Any] = json.loads(self._driver.stdout.readline())
        return answer

    def __call__(self, *command: Any) -> Any:
        answer = self.ask(*command)
        assert "error" not in answer, answer
        return answer["result"]


@pytest.fixture(scope="module")
def office(
    client: Client, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    running = Office(client, server, tmp_path_factory.mktemp("office"))
    yield running
    running.stop()


def text_of(path: Path) -> str:
    with zipfile.ZipFile(path) as document:
        return document.read("content.xml").decode()


@pytest.mark.client("LibreOffice", "read", "write")
def test_document_is_made_opened_and_saved_in_place(office: Office, server: Server) -> None:
    office("store", office.url("letter.odt"), "the first words")
    made = text_of(server.root / "letter.odt")
    opened = office("open", office.url("letter.odt"))
    office("save", "the second words")
    saved = text_of(server.root / "letter.odt")
    office("close")

    assert "the first words" in made
    assert opened == {"read_only": False, "text": "the first words"}
    assert "the second words" in saved


@pytest.mark.client("LibreOffice", "lock")
def test_document_is_locked_while_it_is_open(office: Office, server: Server) -> None:
    office("store", office.url("held.odt"), "held")
    office("open", office.url("held.odt"))
    with server.connect() as connection:
        [lock] = connection.locks("/held.odt")
        refused = connection.put("/held.odt", b"theirs")
        office("save", "saved under the lock")
        office("close")
        after = connection.locks("/held.odt")
        stored = connection.put("/held.odt", b"theirs")

    assert "LibreOffice" in "".join(lock.itertext())
    assert (refused.status, stored.status) == (423, 204)
    assert after == []


@pytest.mark.client("LibreOffice", "lock")
def test_document_that_somebody_has_locked_opens_for_reading_alone(
    office: Office, server: Server
) -> None:
    office("store", office.url("theirs.odt"), "theirs")
    with server.connect() as connection:
        lock = connection.lock("/theirs.odt")
        opened = office("open", office.url("theirs.odt"))
        office("close")
        connection.unlock("/theirs.odt", lock.token)

    assert opened == {"read_only": True, "text": "theirs"}


@pytest.mark.client("LibreOffice", "mount", "list", "rename", "delete", "times")
def test_dialogs_list_make_rename_and_delete(office: Office, server: Server) -> None:
    office("files", "createFolder", office.url("dialog"))
    (server.root / "dialog" / "file.txt").write_bytes(b"12345")
    os.utime(server.root / "dialog" / "file.txt", (1_000_000_000, 1_000_000_000))
    listed = office("files", "getFolderContents", office.url("dialog"), True)
    size = office("files", "getSize", office.url("dialog/file.txt"))
    time = office("files", "getDateTimeModified", office.url("dialog/file.txt"))
    office("files", "move", office.url("dialog/file.txt"), office.url("dialog/moved.txt"))
    moved = os.listdir(server.root / "dialog")
    office("files", "kill", office.url("dialog"))

    assert listed == [f"{server.url}dialog/file.txt"]
    assert (size, time) == (5, [2001, 9, 9, 1, 46, 40])
    assert moved == ["moved.txt"]
    assert not (server.root / "dialog").exists()


@pytest.mark.client("LibreOffice", "names")
def test_odd_names_are_stored_and_opened(office: Office, server: Server) -> None:
    folder = "größe 日本語"
    (server.root / folder).mkdir()
    opened = []
    for name in ODD_NAMES:
        office("store", office.url(f"{folder}/{name}"), name)
        opened.append(office("open", office.url(f"{folder}/{name}"))["text"])
        office("save", "saved")
        office("close")

    assert sorted(os.listdir(server.root / folder)) == sorted(ODD_NAMES)
    assert opened == ODD_NAMES


@pytest.mark.client("LibreOffice", "large")
def test_large_file_is_copied_in_and_out(office: Office, server: Server, tmp_path: Path) -> None:
    content = os.urandom(1 << 20) * 30
    (tmp_path / "up").write_bytes(content)
    office("files", "copy", f"file://{tmp_path}/up", office.url("large.bin"))
    office("files", "copy", office.url("large.bin"), f"file://{tmp_path}/down")

    assert (server.root / "large.bin").read_bytes() == content
    assert (tmp_path / "down").read_bytes() == content
