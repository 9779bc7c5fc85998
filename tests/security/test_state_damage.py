"""Damage to the state: the files are served all the same, and nothing of it is thrown away.

As SQLite's own tests do, bytes anywhere in the file are changed, and the files beside it are
taken away or swapped for foreign ones.
"""

from __future__ import annotations

import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from davserver.errors import StateFailure
from davserver.state import sqlfile
from tests.conftest import AppDav

MakeDav = Callable[..., AppDav]
X = "{urn:t}x"
FILE = "state.sqlite3"
MEMBERS = 40


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR, "davserver")


def fill(make_dav: MakeDav) -> AppDav:
    dav = make_dav(durability="none")
    for number in range(MEMBERS):
        dav.put(f"/{number}", b"%d" % number)
        dav.proppatch(f"/{number}", set={X: f"value {number}" * 20})
    dav.lock("/0")
    return dav


def state_of(dav: AppDav) -> Path:
    assert dav.root is not None
    return dav.root.parent / "state"


def kept(folder: Path) -> list[bytes]:
    """Every database that was ever there."""
    return [path.read_bytes() for path in folder.iterdir() if path.name.startswith(FILE)]


def serves(dav: AppDav) -> list[int]:
    """Reads and changes resources of every kind; returns the statuses."""
    token = ""
    found = [
        dav.get("/5").status,
        dav.put("/5", b"new").status,
        dav.get("/5").status,
        dav.request("PROPFIND", "/", {"Depth": "1"}).status,
        dav.proppatch("/6", set={X: "new"}).status,
        dav.delete("/7").status,
        dav.put("/7", b"again").status,
        dav.move("/8", "/moved").status,
    ]
    granted = dav.lock_request("/9")
    token = granted.headers.get("lock-token", "<>")[1:-1]
    return [*found, granted.status, dav.unlock("/9", token).status]


SERVED = [200, 204, 200, 207, 207, 204, 201, 201, 200, 204]


@pytest.mark.security("Q-06")
@pytest.mark.parametrize("seed", range(16))
def test_files_are_served_whatever_bytes_were_changed_in_the_state(
    make_dav: MakeDav, seed: int
) -> None:
    dav = fill(make_dav)
    dav.close()
    folder = state_of(dav)
    chance = random.Random(seed)
    data = bytearray((folder / FILE).read_bytes())
    for _ in range(chance.choice([1, 10, 1000])):
        data[chance.randrange(len(data))] = chance.randrange(256)
    if seed % 4 == 3:
        del data[chance.randrange(len(data)) :]
    (folder / FILE).write_bytes(data)
    again = make_dav(durability="none")

    assert serves(again) == SERVED
    again.close()
    databases = [apsw.Connection(str(folder / FILE))]
    assert databases[0].execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    databases[0].close()
    assert len(kept(folder)) >= 1


def empty(folder: Path) -> None:
    (folder / FILE).write_bytes(b"")


def missing(folder: Path) -> None:
    os.unlink(folder / FILE)


def zeros(folder: Path) -> None:
    (folder / FILE).write_bytes(bytes((folder / FILE).stat().st_size))


def no_log(folder: Path) -> None:
    for suffix in ("-wal", "-shm"):
        os.unlink(f"{folder / FILE}{suffix}")


def cut_log(folder: Path) -> None:
    os.truncate(f"{folder / FILE}-wal", 5000)


def junk_log(folder: Path) -> None:
    Path(f"{folder / FILE}-wal").write_bytes(random.Random(1).randbytes(50_000))


def foreign_log(folder: Path) -> None:
    """The log of another database, whole in itself."""
    other = apsw.Connection(str(folder / "other"))
    other.execute("PRAGMA journal_mode=WAL").fetchall()
    other.execute("CREATE TABLE theirs(x)")
    other.execute("INSERT INTO theirs VALUES(randomblob(20000))")
    shutil.copy(folder / "other-wal", f"{folder / FILE}-wal")
    other.close()


def no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


@pytest.mark.security("Q-06")
@pytest.mark.parametrize(
    "damage",
    [empty, missing, zeros, no_log, cut_log, junk_log, no_folder],
    ids=lambda damage: damage.__name__,
)
def test_files_are_served_after_a_crash_that_took_part_of_the_state(
    make_dav: MakeDav, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    dav = fill(make_dav)
    folder = state_of(dav)
    # As a crash leaves it: the log is not folded into the database yet.
    shutil.copytree(folder, tmp_path / "crashed")
    dav.close()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "crashed", folder)
    damage(folder)
    again = make_dav(durability="none")

    assert serves(again) == SERVED


@pytest.mark.security("Q-06")
def test_the_log_of_another_database_is_refused(make_dav: MakeDav) -> None:
    """SQLite takes it for ours, and so for somebody else's database."""
    dav = fill(make_dav)
    folder = state_of(dav)
    dav.close()
    foreign_log(folder)

    with pytest.raises(StateFailure, match="somebody else's database"):
        make_dav(durability="none").get("/5")


@pytest.mark.security("Q-06")
def test_the_log_of_a_crash_is_not_lost(make_dav: MakeDav, tmp_path: Path) -> None:
    dav = fill(make_dav)
    folder = state_of(dav)
    shutil.copytree(folder, tmp_path / "crashed")
    dav.close()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "crashed", folder)
    again = make_dav(durability="none")

    assert again.prop("/5", X).text == "value 5" * 20
    assert again.put("/0", b"locked").status == 423


@pytest.mark.security("Q-06")
@pytest.mark.parametrize("method", ["PROPFIND", "PUT"])
def test_damage_that_is_met_later_is_set_aside_then(
    make_dav: MakeDav,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    """A large database is not read whole at the start."""
    dav = fill(make_dav)
    dav.close()
    folder = state_of(dav)
    with apsw.Connection(str(folder / FILE)) as db:
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_schema WHERE name='properties'"
        ).fetchone()
    with open(folder / FILE, "r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xa5" * 4096)
    damaged = (folder / FILE).read_bytes()
    monkeypatch.setattr(sqlfile, "_CHECKED_BYTES", 0)
    again = make_dav(durability="none")

    first = again.request(method, "/5", {"Depth": "0"}).status
    assert first in (204, 207, 500)
    assert serves(again) == SERVED
    assert damaged in kept(folder)
    assert "is damaged: it is kept as" in caplog.text


@pytest.mark.security("Q-06")
def test_a_change_that_cannot_be_read_stops_nobody(make_dav: MakeDav) -> None:
    dav = fill(make_dav)
    dav.close()
    with apsw.Connection(str(state_of(dav) / FILE)) as db:
        db.execute("INSERT INTO intents VALUES('i', '', '0123456789abcdef', '[{\"kind\":1}]', 0)")
    again = make_dav(durability="none")

    assert serves(again) == SERVED


@pytest.mark.security("Q-06", "Q-05")
def test_the_state_file_can_go_while_it_is_open(make_dav: MakeDav) -> None:
    dav = fill(make_dav)
    os.unlink(state_of(dav) / FILE)

    assert serves(dav) == SERVED
