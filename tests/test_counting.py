"""Trees with a quota are counted: at the start, after a death, now and then; beside the work of
others, and without a word from them."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from davserver.check import check
from davserver.config import Settings
from davserver.configtables import Share
from davserver.counting import (
    Interrupted,
    count,
    count_all,
    present,
    recount,
    tree_bytes,
    until,
)
from davserver.errors import AccessDenied, StorageFailure
from davserver.opening import open_parts
from davserver.protocol.path import DavPath, Key
from davserver.quotas import Quotas
from davserver.state.base import Usage
from davserver.state.memory import MemoryState
from davserver.storage.memory import MemoryStorage
from davserver.storage.mounts import Mounts
from tests.conftest import AppDav
from tests.support.shares import make_shares
from tests.support.storages import HookedStorage
from tests.support.trees import at

SCOPE = Key("", b"")
ROOT = DavPath(())
ALWAYS = float("inf")
MakeDav = Callable[..., AppDav]


def nothing() -> None:
    """Looks at no clock."""


def put(storage: MemoryStorage, path: str, size: int) -> None:
    writer = storage.create(at(path))
    writer.write(b"x" * size)
    writer.seal()
    writer.commit(replace=True)


@pytest.fixture
def storage() -> HookedStorage:
    made = HookedStorage()
    for path in ("c", "c/d", "e"):
        made.make_collection(at(path))
    for path, size in (("f", 1), ("c/g", 20), ("c/d/h", 300), ("e/i", 4000)):
        put(made, path, size)
    return made


@pytest.fixture
def state() -> Iterator[MemoryState]:
    made = MemoryState()
    yield made
    made.close()


def used(state: MemoryState) -> Usage:
    return state.numbers(SCOPE).read()


def test_a_walk_finds_every_file_but_hidden_ones(storage: HookedStorage) -> None:
    storage.make_collection(storage.hidden(at("c/x")))
    put(storage, storage.hidden(at("y")).name, 50_000)

    assert tree_bytes(storage, ROOT, nothing) == 4321
    assert tree_bytes(storage, at("c"), nothing) == 320
    assert tree_bytes(storage, at("none"), nothing) == 0
    assert tree_bytes(storage, at("f"), nothing) == 0


def test_a_walk_goes_deeper_than_it_keeps_listings_open(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    here = dav.root
    for _ in range(100):
        (here / "f").write_bytes(b"x")
        (here / "d").mkdir()
        (here / "e").mkdir()
        (here / "e/f").write_bytes(b"yy")
        here /= "d"
    storage = dav.app.services.storage
    before = len(os.listdir("/proc/self/fd"))
    most = 0

    class Watched:
        def __getattr__(self, name: str) -> Any:
            nonlocal most
            most = max(most, len(os.listdir("/proc/self/fd")) - before)
            return getattr(storage, name)

    total = tree_bytes(Watched(), ROOT, nothing)  # type: ignore[arg-type]

    assert total == 300
    # Each listing holds its directory twice: by its own descriptor and by scandir's.
    assert most <= 2 * 66
    assert len(os.listdir("/proc/self/fd")) == before


def test_links_and_what_they_lead_to_count_once(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    assert dav.root is not None
    (dav.root / "c").mkdir()
    (dav.root / "c/f").write_bytes(b"12345")
    os.symlink("c", dav.root / "to-collection")
    os.symlink("c/f", dav.root / "to-file")
    os.symlink(".", dav.root / "c/loop")
    os.mkfifo(dav.root / "fifo")

    assert tree_bytes(dav.app.services.storage, ROOT, nothing) == 5


def test_what_cannot_be_read_is_passed_over(storage: HookedStorage) -> None:
    storage.refuse("scan_all", "/c/d", AccessDenied("no"))

    assert tree_bytes(storage, ROOT, nothing) == 4021


def test_a_broken_disk_is_no_small_number(
    storage: HookedStorage, state: MemoryState, caplog: pytest.LogCaptureFixture
) -> None:
    storage.refuse("scan_all", "/c/d", StorageFailure("EIO"))
    with pytest.raises(StorageFailure):
        tree_bytes(storage, ROOT, nothing)
    with caplog.at_level(logging.WARNING):
        count_all(storage, state, [SCOPE], nothing, now=1, before=ALWAYS)

    assert not used(state).is_known
    assert "cannot be counted: EIO" in caplog.text
    with state.hold((), wait_s=1) as view:
        assert view.numbers(SCOPE).begin(before=0) is not None, "somebody else may try"


def test_what_comes_during_the_walk_is_neither_lost_nor_counted_twice(
    storage: HookedStorage, state: MemoryState
) -> None:
    count(storage, state, SCOPE, nothing, now=1, before=ALWAYS)

    def come(path: str) -> Callable[[], None]:
        def enter() -> None:
            with state.hold((), wait_s=1) as view:
                view.numbers(SCOPE).change(added=7)
                put(storage, path, 7)

        return enter

    storage.on("entry", "/c/d", come("c/before"))
    storage.on("entry", "/e", come("e/after"))
    count(storage, state, SCOPE, nothing, now=2, before=ALWAYS)

    assert used(state) == Usage(4335, True)


def test_a_tree_that_moves_during_the_walk_has_it_begun_again(
    storage: HookedStorage, state: MemoryState
) -> None:
    """It moved to where the walk had been already."""

    def move() -> None:
        with state.hold((), wait_s=1) as view:
            view.numbers(SCOPE).change(moves=1)
            storage.rename(at("e"), at("c/e"))

    storage.once("entry", "/e", move)
    count(storage, state, SCOPE, nothing, now=1, before=ALWAYS)

    assert used(state) == Usage(4321, True)


@pytest.mark.parametrize("known", [False, True])
def test_where_trees_never_stand_still_an_unknown_number_is_taken_anyhow(
    storage: HookedStorage, state: MemoryState, known: bool
) -> None:
    if known:
        count(storage, state, SCOPE, nothing, now=1, before=ALWAYS)

    def move() -> None:
        with state.hold((), wait_s=1) as view:
            view.numbers(SCOPE).change(moves=1)

    storage.on("entry", "/e", move)
    put(storage, "behind", 1000)
    count(storage, state, SCOPE, nothing, now=2, before=ALWAYS)

    assert used(state) == Usage(4321 if known else 5321, True)


def test_a_count_whose_time_is_over_leaves_it_to_others(
    storage: HookedStorage, state: MemoryState
) -> None:
    for number in range(600):
        put(storage, f"c/{number}", 1)
    with pytest.raises(Interrupted):
        count(storage, state, SCOPE, until(time.monotonic() - 1), now=1, before=ALWAYS)

    assert not used(state).is_known
    count_all(storage, state, [SCOPE], until(time.monotonic() + 60), now=1, before=ALWAYS)
    assert used(state) == Usage(4921, True)


def test_every_share_and_home_with_a_quota_is_counted() -> None:
    shares = {name: MemoryStorage(name) for name in ("a", "home", "free")}
    for name in ("alice", "bob", "carol"):
        shares["home"].make_collection(at(name))
    tables = (
        Share(name="a", path=Path("/a"), quota=10),
        Share(name="home", path=Path("/h"), homes=True),
        Share(name="free", path=Path("/f")),
    )
    limits = {"alice": 5, "bob": 6, "dave": 7}

    found = list(present(Mounts(shares), Quotas(tables, limits.get)))

    assert found == [Key("a", b""), Key("home", b"alice"), Key("home", b"bob")]


# --- at the start, and in the background --------------------------------------------------------


def settings(folder: Path, quota: int = 1000) -> Settings:
    (folder / "a").mkdir(exist_ok=True)
    share = Share(name="a", path=folder / "a", quota=quota)
    return Settings(share=(share,), state=folder / "state", durability="none")


def test_what_is_quick_to_count_is_known_once_it_is_open(tmp_path: Path) -> None:
    chosen = settings(tmp_path)
    (tmp_path / "a/f").write_bytes(b"x" * 123)
    state, storage = open_parts(chosen)
    found = state.numbers(Key("a", b"")).read()
    state.close()
    storage.close()

    assert found == Usage(123, True)


def test_until_it_is_counted_nothing_grows_and_all_can_go(
    make_dav: MakeDav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To take something now could exceed the quota."""
    monkeypatch.setattr("davserver.opening._COUNT_S", -1)
    monkeypatch.setattr("davserver.app.keep_counted", lambda services: None)
    folder = tmp_path / "shares/a"
    folder.mkdir(parents=True)
    for number in range(300):
        (folder / f"{number}").write_bytes(b"x")
    dav = make_shares(make_dav, tmp_path, shares={"a": {"quota": 10_000}})

    reply = dav.put("/a/new", b"x")

    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert dav.mkcol("/a/c").status == 503
    assert dav.get("/a/7").status == 200
    assert dav.put("/a/7", b"y").status == 204
    assert dav.delete("/a/8").status == 204
    recount(dav.app.services, lambda: False)
    assert dav.put("/a/new", b"x").status == 201
    assert dav.app.services.state.numbers(Key("a", b"")).read() == Usage(300, True)


def await_usage(dav: AppDav, expected: Usage) -> None:
    deadline = time.monotonic() + 10
    numbers = dav.app.services.state.numbers(Key("a", b""))
    while numbers.read() != expected and time.monotonic() < deadline:
        time.sleep(0.01)

    assert numbers.read() == expected


def test_changes_beside_the_server_are_found(
    make_dav: MakeDav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.counting.RECOUNT_EVERY_S", 0.01)
    dav = make_shares(make_dav, tmp_path, shares={"a": {"quota": 1000}}, quota_recount_s=60)
    dav.put("/a/f", b"x" * 100)
    assert dav.root is not None
    (dav.root / "a/g").write_bytes(b"x" * 50)
    await_usage(dav, Usage(100, True))
    dav.clock.pass_s(61)

    await_usage(dav, Usage(150, True))


def test_the_background_ends_with_the_application(
    make_dav: MakeDav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.counting.RECOUNT_EVERY_S", 0.01)
    dav = make_shares(make_dav, tmp_path, shares={"a": {"quota": 1000}})
    assert dav.get("/a/").status == 200
    during = [thread.name for thread in threading.enumerate()]
    dav.app.close()

    assert "davserver-repeat" in during
    assert "davserver-repeat" not in [thread.name for thread in threading.enumerate()]


def test_without_a_quota_nothing_is_counted(make_dav: MakeDav, tmp_path: Path) -> None:
    dav = make_shares(make_dav, tmp_path, "a")
    dav.put("/a/f", b"x")

    assert not dav.app.services.quotas
    assert "davserver-repeat" not in [thread.name for thread in threading.enumerate()]
    assert not (tmp_path / "state/usage").exists()


def test_what_came_while_there_was_no_quota_is_found(make_dav: MakeDav, tmp_path: Path) -> None:
    limited = {"a": {"quota": 1000}}
    with closing(make_shares(make_dav, tmp_path, shares=limited)) as dav:
        dav.put("/a/f", b"x" * 100)
    with closing(make_shares(make_dav, tmp_path, "a")) as dav:
        dav.put("/a/g", b"x" * 800)
    dav = make_shares(make_dav, tmp_path, shares=limited)

    assert dav.put("/a/h", b"x" * 101).status == 507
    assert dav.put("/a/h", b"x" * 100).status == 201


def test_settings_that_are_put_in_force_bring_shares_and_quotas(
    make_dav: MakeDav, tmp_path: Path
) -> None:
    dav = make_shares(make_dav, tmp_path, "a")
    dav.put("/a/f", b"x" * 800)
    token = dav.lock("/a/f").token
    (tmp_path / "shares/b").mkdir()
    share = dav.app.services.settings.share[0].model_copy(update={"quota": 1000})
    other = Share(name="b", path=tmp_path / "shares/b", quota=10)
    dav.app.reload(dav.app.services.settings.model_copy(update={"share": (share, other)}))

    assert dav.members("/") == ["/a/", "/b/"]
    assert dav.put("/a/g", b"x" * 201).status == 507
    assert dav.put("/b/g", b"x" * 11).status == 507
    assert dav.put("/a/f", b"y").status == 423
    assert dav.unlock("/a/f", token).status == 204


def test_check_counts_again_what_has_a_quota(make_dav: MakeDav, tmp_path: Path) -> None:
    """Beside the server, which goes on with what came out."""
    dav = make_shares(make_dav, tmp_path, shares={"a": {"quota": 1000}})
    dav.put("/a/f", b"x" * 100)
    assert dav.root is not None
    (dav.root / "a/g").write_bytes(b"x" * 500)
    before = len(threading.enumerate())
    findings = list(check(dav.app.services.settings, repair=True))

    assert findings == []
    assert len(threading.enumerate()) == before, "it leaves nothing running"
    assert dav.app.services.state.numbers(Key("a", b"")).read() == Usage(600, True)
    assert dav.put("/a/h", b"x" * 401).status == 507


def test_a_count_in_the_background_begins_with_what_is_half_done(
    make_dav: MakeDav, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_shares(make_dav, tmp_path, shares={"a": {"quota": 1000}})
    done: list[str] = []
    services = dav.app.services
    monkeypatch.setattr("davserver.counting.recover", lambda *args, **more: done.append("recover"))
    monkeypatch.setattr("davserver.counting.count_all", lambda *args, **more: done.append("count"))

    class Left:
        def __getattr__(self, name: str) -> Any:
            return (lambda: True) if name == "has_changes" else getattr(services.state, name)

    recount(replace(services, state=Left()), lambda: False)  # type: ignore[arg-type]

    assert done == ["recover", "count"]
