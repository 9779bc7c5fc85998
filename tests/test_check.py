"""`davserver check`: finds what crashes leave, repairs it, and leaves the living alone."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import apsw
import pytest

from davserver.app import create_app
from davserver.check import Finding, check
from davserver.cli.base import WRONG
from davserver.cli.main import FOUND
from davserver.config import Settings
from davserver.copies import kept_time_ns
from davserver.errors import StateError, StateFailure
from davserver.opening import open_roots
from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import DavPath, Key
from davserver.state.base import Change, Step, StepKind
from davserver.state.rows import SCHEMAS
from davserver.state.sqlfile import FILE
from davserver.state.sqlite import SqliteState
from tests.conftest import AppDav

DEAD = "0123456789abcdef"
X = QName("{urn:t}x")


def serve_once(settings: Settings) -> None:
    app = create_app(settings)
    assert app.services.state.owner
    app.close()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "root").mkdir()
    return Settings(root=tmp_path / "root", state=tmp_path / "state", durability="none")


@pytest.fixture
def state(settings: Settings) -> Iterator[SqliteState]:
    """The state of a folder that has been served before, as a running server has it open."""
    serve_once(settings)
    store = SqliteState(settings.state_folder, durability="none")
    yield store
    store.close()


def lock(path: bytes, *, expires_at: float) -> Lock:
    return Lock(
        token=f"urn:uuid:{path.hex()}",
        key=Key("", path),
        href=b"/" + path,
        scope=LockScope.EXCLUSIVE,
        depth=Depth.ZERO,
        owner_xml=b"",
        principal="anonymous",
        timeout_s=60,
        expires_at=expires_at,
    )


def store_lock(state: SqliteState, path: bytes, *, expires_at: float) -> None:
    with state.hold((), wait_s=5) as view:
        view.add_lock(lock(path, expires_at=expires_at))


def store_property(state: SqliteState, path: bytes) -> None:
    with state.hold((), wait_s=5) as view:
        view.patch(Key("", path), [PropertyChange(X, b"<x/>")])


def half_done_move(state: SqliteState, root: Path) -> None:
    """A file renamed by a worker that died before the properties followed."""
    (root / "new").write_bytes(b"moved")
    there = os.stat(root / "new")
    ((_, storage),) = open_roots(Settings(root=root, state=root.parent / "state"), state)
    birth_ns = storage.stat(DavPath(("new",))).birth_ns
    device = storage.stat(DavPath(("new",))).device
    storage.close()
    store_property(state, b"old")
    step = Step(
        StepKind.PUBLISH,
        DavPath(("old",)),
        DavPath(("new",)),
        identity=(device, there.st_ino, birth_ns),
        values={"keeps_lock": 0},
    )
    with state.hold((), wait_s=5) as view:
        view.record(Change("c1", "", DEAD, (step,)))


def half_left_tree(state: SqliteState, root: Path) -> None:
    """A collection whose copy stands at /b, by a worker that died while it removed it from /a: a
    member is gone already, but for its properties."""
    for place in ("a", "b"):
        (root / place / "d").mkdir(parents=True)
        (root / place / "d" / "f").write_bytes(b"moved")
    ((_, storage),) = open_roots(Settings(root=root, state=root.parent / "state"), state)
    kept_ns = kept_time_ns(storage.stat(DavPath(("a", "d", "f"))), 7)
    storage.set_attributes(DavPath(("b", "d", "f")), mtime_ns=kept_ns)
    storage.close()
    store_property(state, b"a/gone")
    store_lock(state, b"a/gone", expires_at=time.time() + 60)
    step = Step(
        StepKind.LEAVE,
        DavPath(("a",)),
        DavPath(("b",)),
        values={"nonce": 7},
        tokens=(lock(b"a/gone", expires_at=0).token,),
    )
    with state.hold((), wait_s=5) as view:
        view.record(Change("c1", "", DEAD, (step,)))


def leave_hidden(root: Path, owner: str) -> list[Path]:
    (root / "a" / "b").mkdir(parents=True)
    file, tree = root / "a" / "b" / f".davserver.{owner}.0f", root / f".davserver.{owner}.1f"
    file.write_bytes(b"half")
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").write_bytes(b"old")
    return [file, tree]


def orphan(state: SqliteState, root: Path) -> None:
    store_property(state, b"gone/deep")


def unlinked(state: SqliteState, root: Path) -> None:
    (root / "a").touch()
    (root / "kept").symlink_to("a")
    (root / "away").symlink_to("kept/none")
    with state.hold((), wait_s=5) as view:
        view.bind({Key("", name): Key("", b"a") for name in (b"kept", b"away", b"gone")})


def locked_orphan(state: SqliteState, root: Path) -> None:
    store_lock(state, b"gone", expires_at=time.time() + 60)


def expired(state: SqliteState, root: Path) -> None:
    (root / "file").touch()
    store_lock(state, b"file", expires_at=time.time() - 1)


def linked_away(state: SqliteState, root: Path) -> None:
    """The folder that had the properties is now a link out of the root."""
    store_property(state, b"link/file")
    (root / "link").symlink_to("/etc")


def leftovers(state: SqliteState, root: Path) -> None:
    leave_hidden(root, DEAD)


WRONGS: dict[str, tuple[Callable[[SqliteState, Path], object], list[str]]] = {
    "orphaned properties": (orphan, ["properties of /gone/deep, where nothing is"]),
    "bindings without a link": (
        unlinked,
        [f"binding of /{name}, where no such link is" for name in ("away", "gone")],
    ),
    "lock of nothing": (locked_orphan, ["lock of /gone, where nothing is"]),
    "expired lock": (expired, ["expired lock on /file"]),
    "behind a link": (linked_away, ["properties of /link/file, where nothing is"]),
    "leftovers": (
        leftovers,
        [
            f"left over by {DEAD}: /.davserver.{DEAD}.1f",
            f"left over by {DEAD}: /a/b/.davserver.{DEAD}.0f",
        ],
    ),
    "half a move": (half_done_move, [f"half done by {DEAD}: publish /new"]),
    "half a move of a tree": (half_left_tree, [f"half done by {DEAD}: leave /a"]),
}
wrongs = pytest.mark.parametrize(("make", "expected"), WRONGS.values(), ids=WRONGS.keys())


@pytest.mark.security("P-14", "P-15")
@wrongs
def test_what_is_wrong_is_told_repaired_and_then_clean(
    settings: Settings,
    state: SqliteState,
    make: Callable[[SqliteState, Path], object],
    expected: list[str],
) -> None:
    make(state, settings.root)

    told = list(check(settings))
    again = list(check(settings))
    repaired = list(check(settings, repair=True))
    assert [Finding(text, False) for text in expected] == [f for f in told if f.text in expected]
    assert again == told
    assert [Finding(text.text, True) for text in told][: len(expected)] == repaired[: len(expected)]
    assert all(finding.is_repaired for finding in repaired)
    assert list(check(settings)) == []


def test_a_half_done_move_is_finished_with_its_properties(
    settings: Settings, state: SqliteState
) -> None:
    half_done_move(state, settings.root)
    list(check(settings, repair=True))

    assert state.properties(Key("", b"new")) == {X: b"<x/>"}
    assert state.properties(Key("", b"old")) == {}


def test_what_was_moved_to_another_file_system_is_removed_where_it_was(
    settings: Settings, state: SqliteState
) -> None:
    half_left_tree(state, settings.root)
    list(check(settings, repair=True))

    assert {path.name for path in settings.root.iterdir()} == {"b"}
    assert (settings.root / "b" / "d" / "f").read_bytes() == b"moved"
    assert list(state.keys_with_rows()) == []


@pytest.mark.parametrize("kind", ["files", "collections"])
def test_a_large_tree_is_removed_where_it_was(
    settings: Settings, state: SqliteState, kind: str
) -> None:
    """More members than are gathered at a time, and one that is to stay."""
    half_left_tree(state, settings.root)
    for number in range(1100):
        (settings.root / "a" / "d" / f"{number}").mkdir()
        (settings.root / "b" / "d" / f"{number}").mkdir()
    kept = settings.root / "a" / "d" / "700" / "since"
    if kind == "files":
        kept.write_bytes(b"written since")
    else:
        kept.mkdir()
    list(check(settings, repair=True))

    left = {str(path.relative_to(settings.root)) for path in (settings.root / "a").rglob("*")}
    assert left == {"a/d", "a/d/700", "a/d/700/since"}
    assert not state.has_changes()


@pytest.mark.security("P-14")
def test_leftovers_go_and_only_they(settings: Settings, state: SqliteState) -> None:
    hidden = leave_hidden(settings.root, DEAD)
    outside = settings.root.parent / "outside"
    kept = leave_hidden(outside, DEAD)
    (settings.root / "link").symlink_to(outside)
    foreign = settings.root / ".davserver-notes"
    foreign.touch()
    list(check(settings, repair=True))

    assert [path for path in hidden if path.exists()] == []
    assert [path for path in [*kept, foreign] if not path.exists()] == []


@pytest.mark.security("K-05", "S-11")
def test_uploads_that_can_go_on_are_left_alone_and_expired_ones_go(
    settings: Settings, state: SqliteState
) -> None:
    dav = AppDav(create_app(settings))
    for target in ("/a", "/b"):
        assert dav.put(target, b"piece", {"Upload-Complete": "?0"}).status == 201
    dav.close()
    old, new = state.uploads()
    with state.hold((), wait_s=5) as view:
        view.keep_upload(replace(old, expires_at=time.time() - 1))
    found = list(check(settings, repair=True))

    assert [finding.is_repaired for finding in found] == [True]
    assert [path.name for path in settings.root.iterdir()] == [new.part.name]


@pytest.mark.security("K-05")
def test_what_a_living_worker_has_begun_is_left_alone(
    settings: Settings, state: SqliteState
) -> None:
    hidden = leave_hidden(settings.root, state.owner)
    staged = hidden[1].name.encode() + b"/deep/file"
    store_property(state, staged)
    (settings.root / "file").touch()
    store_lock(state, b"file", expires_at=time.time() + 60)
    store_property(state, b"file")
    with state.hold((), wait_s=5) as view:
        view.record(Change("c1", "", state.owner, (Step(StepKind.CREATE, target=DavPath(("n",))),)))

    assert list(check(settings, repair=True)) == []
    assert [path for path in hidden if not path.exists()] == []
    assert state.properties(Key("", b"file")) == {X: b"<x/>"}
    assert state.properties(Key("", staged)) == {X: b"<x/>"}
    with state.hold((), wait_s=5) as view:
        assert [change.id for change in view.changes()] == ["c1"]


@pytest.mark.security("K-05")
def test_the_gate_is_taken_as_by_everybody(tmp_path: Path, settings: Settings) -> None:
    settings = settings.model_copy(update={"gate_wait_s": 0.05})
    serve_once(settings)
    state = SqliteState(settings.state_folder, durability="none")
    with state.hold((), wait_s=5), pytest.raises(StateError, match="holds the gate"):
        list(check(settings))
    state.close()


@pytest.mark.security("Q-06")
def test_a_damaged_state_is_told_first_and_set_aside_only_to_repair(
    settings: Settings, state: SqliteState, caplog: pytest.LogCaptureFixture
) -> None:
    store_property(state, b"gone")
    state.close()
    file = settings.state_folder / "state.sqlite3"
    damaged = file.read_bytes()[:4096] + b"\xa5" * 4096 * 4
    file.write_bytes(damaged)

    told = list(check(settings))
    assert [finding.is_repaired for finding in told] == [False]
    assert "is damaged" in told[0].text
    assert file.read_bytes() == damaged
    with caplog.at_level(logging.CRITICAL, "davserver"):
        repaired = list(check(settings, repair=True))
    assert [finding.is_repaired for finding in repaired] == [True]
    assert list(check(settings)) == []
    kept = [path for path in settings.state_folder.glob("*.corrupt-*") if "-wal" not in path.name]
    assert damaged in [path.read_bytes() for path in kept]


@pytest.mark.security("Q-05", "Q-06")
def test_the_state_of_another_folder_is_refused_until_it_is_adopted(
    tmp_path: Path, settings: Settings, state: SqliteState
) -> None:
    other = settings.model_copy(update={"root": tmp_path / "other"})
    other.root.mkdir()
    (other.root / "file").touch()
    store_property(state, b"file")

    with pytest.raises(StateFailure, match=r"belongs to .*/root, not to .*/other: .*--adopt"):
        create_app(other).services.state.properties(Key("", b"file"))
    with pytest.raises(StateFailure, match="belongs to"):
        list(check(other, repair=True))
    assert state.properties(Key("", b"file")) == {X: b"<x/>"}
    assert list(check(other, adopt=True)) == []
    serve_once(other)
    with pytest.raises(StateFailure, match=r"belongs to .*/other"):
        serve_once(settings)


def test_a_folder_keeps_its_state_where_it_is_moved_and_when_it_is_replaced(
    tmp_path: Path, settings: Settings, state: SqliteState
) -> None:
    moved = settings.model_copy(update={"root": tmp_path / "moved"})
    settings.root.rename(moved.root)
    serve_once(moved)
    moved.root.rename(tmp_path / "old")
    moved.root.mkdir()  # as a backup is restored

    serve_once(moved)


def test_a_state_of_the_first_version_is_brought_up_to_date(
    settings: Settings, tmp_path: Path
) -> None:
    folder = tmp_path / "older"
    folder.mkdir()
    before = apsw.Connection(str(folder / FILE))
    before.execute(SCHEMAS[0])
    row = ("", b"", b"file", X, b"<x/>")
    before.execute("INSERT INTO properties VALUES(?,?,?,?,?)", row)
    lock = ("t", "", b"file", b"/file", "exclusive", "0", b"", "ada", 600, time.time() + 600)
    before.execute("INSERT INTO locks VALUES(?,?,?,?,?,?,?,?,?,?)", lock)
    before.execute("INSERT INTO changes VALUES(7, '', ?, 'lock')", (b"file",))
    before.execute("PRAGMA user_version = 1")
    before.close()

    services = create_app(settings.model_copy(update={"state": folder})).services
    key = Key("", b"file")
    assert services.state.properties(key) == {X: b"<x/>"}
    assert [each.token for each in services.state.covering(key, now=time.time())] == ["t"]
    with services.state.hold((), wait_s=5) as view:
        view.remove_lock("t")
    services.state.close()
    state = SqliteState(folder)
    assert state.session().writer.query("SELECT count(*) FROM meta") == [(1,)]
    assert state.session().writer.query("SELECT seq FROM changes ORDER BY seq") == [(7,), (8,)]
    assert state.locks() == []
    state.close()


# --- the command --------------------------------------------------------------------------------


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DAVSERVER_")}
    return subprocess.run(
        [sys.executable, "-m", "davserver", "check", *arguments],
        capture_output=True,
        text=True,
        timeout=15,
        check=False,
        env=environment,
    )


def test_the_command_tells_each_finding_a_summary_and_by_its_exit_code(
    settings: Settings, state: SqliteState
) -> None:
    store_property(state, "gone \n\x1b[1mé".encode())
    folders = (str(settings.root), "--state", str(settings.state_folder))
    line = "properties of /gone%20%0A%1B%5B1m%C3%A9, where nothing is"

    told, repaired, clean = command(*folders), command(*folders, "--repair"), command(*folders)
    assert (told.returncode, told.stdout) == (FOUND, f"{line}\n1 found, 0 repaired\n")
    assert (repaired.returncode, repaired.stdout) == (0, f"{line}: repaired\n1 found, 1 repaired\n")
    assert (clean.returncode, clean.stdout) == (0, "nothing is wrong\n")


@pytest.mark.parametrize("exists", [True, False], ids=["empty folder", "no folder"])
def test_without_a_state_nobody_is_taken_for_dead(tmp_path: Path, exists: bool) -> None:
    """A wrong --state would make every worker of the right one look dead."""
    hidden = leave_hidden(tmp_path / "root", DEAD)
    if exists:
        (tmp_path / "state").mkdir()
    done = command(str(tmp_path / "root"), "--state", str(tmp_path / "state"), "--repair")

    assert (done.returncode, done.stdout) == (WRONG, "")
    assert done.stderr == (
        f"davserver: there is no state in {tmp_path}/state: name its folder with --state\n"
    )
    assert [path for path in hidden if not path.exists()] == []


@pytest.mark.parametrize("arguments", [(), ("/missing",), ("/tmp", "--mend")])
def test_what_cannot_be_checked_is_2(arguments: tuple[str, ...]) -> None:
    assert command(*arguments).returncode == WRONG


def test_beside_a_server_at_work_nothing_of_it_is_touched(
    make_dav: Callable[..., AppDav], tmp_path: Path
) -> None:
    dav = make_dav()
    dav.put("/a", b"1")
    dav.lock("/a")
    dav.lock("/new")
    dav.proppatch("/", set={X: "1"})
    settings = Settings(root=tmp_path / "root", state=tmp_path / "state", durability="none")

    assert list(check(settings, repair=True)) == []
    assert dav.put("/a", b"2").status == 423
