"""What is opened for several shares, what the state remembers of each, and what check looks at."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from davserver.app import create_app
from davserver.check import check
from davserver.config import Settings
from davserver.configtables import Share
from davserver.errors import StateFailure, StorageError, StorageFailure
from davserver.opening import open_parts
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import Key
from davserver.state.base import Change, Step, StepKind
from davserver.state.sqlite import SqliteState
from davserver.storage.filesystem import FilesystemStorage
from tests.support.descriptors import can_tell, open_descriptors
from tests.support.shares import make_shares
from tests.support.trees import TOPIC, at, fill

DEAD = "0123456789abcdef"
X = QName("{urn:t}x")
MakeDav = Callable[..., Any]


def settings(folder: Path, *names: str, **keys: Any) -> Settings:
    for name in names:
        (folder / name).mkdir(exist_ok=True)
    shares = tuple(Share(name=name, path=folder / name) for name in names)
    return Settings(share=shares, state=folder / "state", durability="none", **keys)


def store_property(state: SqliteState, key: Key) -> None:
    with state.hold((), wait_s=5) as view:
        view.patch(key, [PropertyChange(X, b'<x xmlns="urn:t">1</x>')])


@pytest.fixture
def shares(tmp_path: Path) -> Settings:
    made = settings(tmp_path, "a", "b")
    app = create_app(made)
    assert app.services.storage.inline, "opened, so that the state knows the folders"
    app.close()
    return made


@pytest.fixture
def state(shares: Settings) -> Iterator[SqliteState]:
    store = SqliteState(shares.state_folder, durability="none")
    yield store
    store.close()


def test_one_root_is_served_without_anything_around_it(tmp_path: Path) -> None:
    state, storage = open_parts(Settings(root=tmp_path, state=tmp_path.parent / "s"))
    state.close()
    storage.close()

    assert type(storage) is FilesystemStorage


def test_one_share_has_its_name_in_the_address(make_dav: MakeDav, tmp_path: Path) -> None:
    dav = make_shares(make_dav, tmp_path, "a")
    fill(dav, "/a/f")

    assert dav.members("/") == ["/a/"]
    assert dav.put("/f").status == 403


def test_one_folder_is_no_two_shares(tmp_path: Path) -> None:
    """By a bind mount two paths lead to it, and one file would have two keys."""
    both = settings(tmp_path, "a", "b")
    mount = ["mount", "--bind", str(tmp_path / "a"), str(tmp_path / "b")]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount(8) here")
    if done.returncode:
        pytest.skip(f"not permitted to mount: {done.stderr.strip()}")
    try:
        with pytest.raises(StorageFailure, match="'a' and 'b' are the same folder"):
            open_parts(both)
    finally:
        subprocess.run(["umount", "-l", str(tmp_path / "b")], check=True)


@pytest.mark.skipif(not can_tell, reason="no /proc here")
@pytest.mark.parametrize("fault", ["missing", "another folder"])
def test_a_share_that_cannot_be_opened_leaves_nothing_open(
    shares: Settings, tmp_path: Path, fault: str
) -> None:
    (tmp_path / "b").rename(tmp_path / "gone")
    if fault == "another folder":
        (tmp_path / "c").mkdir()
        shares = settings(tmp_path, "a", "c")
        moved = Share(name="b", path=tmp_path / "c")
        shares = shares.model_copy(update={"share": (shares.share[0], moved)})
    before = open_descriptors()
    with pytest.raises((StorageError, StateFailure)):
        open_parts(shares)

    assert open_descriptors() - before == set()


def test_the_state_remembers_the_folder_of_each_share(shares: Settings, tmp_path: Path) -> None:
    a, b = shares.share
    swapped = shares.model_copy(
        update={"share": (Share(name="a", path=b.path), Share(name="b", path=a.path))}
    )
    with pytest.raises(StateFailure, match=rf"belongs to {a.path}, not to {b.path}"):
        open_parts(swapped)
    reordered = shares.model_copy(update={"share": (b, a)})
    opened, storage = open_parts(reordered)
    opened.close()
    storage.close()
    findings = list(check(swapped, adopt=True))

    assert findings == []
    opened, storage = open_parts(swapped)
    opened.close()
    storage.close()


def test_check_looks_at_every_share(shares: Settings, state: SqliteState) -> None:
    for share in shares.share:
        (share.path / f".davserver.{DEAD}.00000000").mkdir()
        (share.path / "kept").touch()
        store_property(state, Key(share.name, b"gone"))
        store_property(state, Key(share.name, b"kept"))

    found = sorted(finding.text for finding in check(shares, repair=True))

    assert found == [
        f"left over by {DEAD}: /a/.davserver.{DEAD}.00000000",
        f"left over by {DEAD}: /b/.davserver.{DEAD}.00000000",
        "properties of /a/gone, where nothing is",
        "properties of /b/gone, where nothing is",
    ]
    assert list(check(shares)) == []
    assert sorted(state.keys_with_rows()) == [Key("a", b"kept"), Key("b", b"kept")]


def test_check_leaves_alone_what_is_of_a_share_that_is_not_served_now(
    shares: Settings, state: SqliteState
) -> None:
    store_property(state, Key("b", b"f"))
    alone = shares.model_copy(update={"share": shares.share[:1]})

    assert list(check(alone, repair=True)) == []
    assert list(state.keys_with_rows()) == [Key("b", b"f")]


def test_a_dead_workers_change_is_finished_in_its_share(
    shares: Settings, state: SqliteState
) -> None:
    """A file moved from one share to the other; its worker died before the rows followed."""
    path = shares.share[1].path / "new"
    path.write_bytes(b"moved")
    opened, storage = open_parts(shares, state)
    there = storage.stat(at("b/new"))
    storage.close()
    store_property(state, Key("a", b"old"))
    identity = (there.device, there.inode, there.birth_ns)
    step = Step(StepKind.PUBLISH, at("a/old"), at("b/new"), identity=identity)
    with state.hold((), wait_s=5) as view:
        view.record(Change("1" * 32, "a", DEAD, (step,)))

    found = list(check(shares, repair=True))

    assert opened is state
    assert [finding.is_repaired for finding in found] == [True]
    assert "publish /b/new" in found[0].text
    assert list(state.keys_with_rows()) == [Key("b", b"new")]


def test_properties_survive_that_shares_come_and_go(make_dav: MakeDav, tmp_path: Path) -> None:
    both = make_shares(make_dav, tmp_path, "a", "b")
    fill(both, "/a/f", "/b/f")
    both.proppatch("/a/f", set={TOPIC: "kept"})
    both.close()
    one = make_shares(make_dav, tmp_path, "b")
    one.delete("/b/f")
    one.close()
    again = make_shares(make_dav, tmp_path, "b", "c", "a")

    assert again.prop("/a/f", TOPIC).text == "kept"


@pytest.mark.parametrize("broken", [False, True], ids=["whole", "one share gone"])
def test_health_asks_every_share(make_dav: MakeDav, tmp_path: Path, broken: bool) -> None:
    dav = make_shares(make_dav, tmp_path, "a", "b")
    services = dav.app.services
    if broken:
        services.storage.shares["b"].close()

    assert dav.get("/.davserver/health").status == (503 if broken else 200)
