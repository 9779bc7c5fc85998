"""A worker that dies at any step leaves no number that is too small; a count puts it right."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from davserver.configtables import Share
from davserver.counting import recount
from davserver.errors import NoSpace
from davserver.protocol.path import Key
from davserver.state.base import Usage
from davserver.state.sqlite import SqliteState
from davserver.storage.faulty import FaultyStorage
from davserver.storage.filesystem import FilesystemStorage
from tests.conftest import AppDav, make_app_dav
from tests.support.dying import Death, DyingWorker

LIMIT = 10_000
SCOPE = Key("a", b"")
TREE = {"/t/": None, "/t/1": 100, "/t/d/": None, "/t/d/2": 200}
OTHER = {"/u/": None, "/u/3": 50, "/u/d/": None, "/u/d/4": 70}
BEFORE = {**TREE, **OTHER, "/f": 300, "/g": 400}
ACTS: dict[str, Callable[[AppDav], object]] = {
    "PUT new": lambda dav: dav.put("/new", b"x" * 500),
    "PUT larger": lambda dav: dav.put("/f", b"x" * 500),
    "PUT smaller": lambda dav: dav.put("/f", b"x" * 10),
    "LOCK new": lambda dav: dav.lock_request("/new"),
    "MKCOL": lambda dav: dav.mkcol("/new"),
    "DELETE file": lambda dav: dav.delete("/f"),
    "DELETE tree": lambda dav: dav.delete("/t/"),
    "COPY file": lambda dav: dav.copy("/f", "/new"),
    "COPY file onto file": lambda dav: dav.copy("/f", "/g"),
    "COPY file onto tree": lambda dav: dav.copy("/f", "/t"),
    "COPY tree": lambda dav: dav.copy("/t/", "/new/"),
    "COPY tree onto tree": lambda dav: dav.copy("/t/", "/u/"),
    "COPY tree onto file": lambda dav: dav.copy("/t/", "/f"),
    "MOVE file": lambda dav: dav.move("/f", "/new"),
    "MOVE file onto file": lambda dav: dav.move("/f", "/g"),
    "MOVE tree onto tree": lambda dav: dav.move("/t/", "/u/"),
    "MOVE tree onto file": lambda dav: dav.move("/t/", "/g"),
}


class Everybody:
    """The share stands at the root here, where no right is for it."""

    def permits(self, principal: object, privilege: object, path: object) -> bool:
        return True


def parts_of(worker: DyingWorker) -> dict[str, Any]:
    return {"storage": worker.storage, "state": worker.state}


def open_dav(base: Path, parts: dict[str, Any] | None = None) -> AppDav:
    if parts is None:
        parts = parts_of(DyingWorker(base / "root", base / "state", dies_at=0, root_id="a"))
    share = Share(name="a", path=base / "root", quota=LIMIT)
    return make_app_dav(
        base,
        "filesystem",
        overrides={"authorizer": Everybody()} | parts,
        root=None,
        share=(share,),
        durability="none",
    )


def open_faulty(base: Path, fail_at: int) -> AppDav:
    state = SqliteState(base / "state", durability="none")
    disk = FilesystemStorage(
        base / "root", owner=state.owner, root_id="a", is_alive=state.is_alive, durability="none"
    )
    storage = FaultyStorage(disk, fail_at=fail_at, error=NoSpace)
    return open_dav(base, {"storage": storage, "state": state})


def fill(base: Path) -> None:
    (base / "root").mkdir(parents=True)
    dav = open_dav(base)
    recount(dav.app.services, lambda: False)
    for path, size in BEFORE.items():
        reply = dav.mkcol(path) if size is None else dav.put(path, b"x" * size)
        assert reply.status == 201
        if path in ("/t/1", "/f"):
            dav.proppatch(path, set={"{x:}p": "so that it is journalled"})
    dav.close()


def visible(root: Path) -> int:
    files = [path for path in root.rglob("*") if path.is_file()]
    return sum(path.stat().st_size for path in files if ".davserver" not in str(path))


@pytest.mark.security("K-01")
@pytest.mark.timeout(60)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_a_death_at_any_step_leaves_no_number_that_is_too_small(
    tmp_path: Path, act: Callable[[AppDav], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The background would be at it before we have looked.
    monkeypatch.setattr("davserver.app.keep_counted", lambda services: None)
    for number in range(1, 80):
        base = tmp_path / str(number)
        fill(base)
        worker = DyingWorker(base / "root", base / "state", dies_at=number, root_id="a")
        dying = open_dav(base, parts_of(worker))
        with suppress(Death):
            act(dying)
        died = worker.steps[-1] if worker.is_dead else None
        dying.close()
        dav = open_dav(base)
        numbers = dav.app.services.state.numbers(SCOPE)
        left = numbers.read()
        there = visible(base / "root")

        assert left.is_known
        assert left.used >= there, f"died at {died}"
        if died is None:
            assert left.used == there
        else:
            assert dav.propfind("/", depth="infinity"), "whoever comes puts right what is half done"
            assert numbers.read().used >= visible(base / "root"), f"died at {died}, recovered"
            recount(dav.app.services, lambda: False)
        assert numbers.read() == Usage(visible(base / "root"), True), f"died at {died}"
        dav.close()
        if died is None:
            return
    pytest.fail("it never came to its end")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS.keys())
def test_what_fails_gives_back_what_it_took_or_is_counted_again(
    tmp_path: Path, act: Callable[[AppDav], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.app.keep_counted", lambda services: None)
    for number in range(1, 120):
        base = tmp_path / str(number)
        fill(base)
        dav = open_faulty(base, fail_at=number)
        act(dav)
        has_failed = dav.app.services.storage.blown
        with dav.app.services.state.hold((), wait_s=1) as view:
            used = view.numbers(SCOPE).read().used
            is_doubted = view.numbers(SCOPE).begin(before=2) is not None
        dav.close()
        there = visible(base / "root")

        assert used >= there, f"failed at call {number}"
        assert used == there or is_doubted, f"failed at call {number}"
        if not has_failed:
            return
    pytest.fail("it never came to its end")
