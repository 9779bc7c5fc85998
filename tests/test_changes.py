"""Changes to disk and state together: whole or not at all, whoever dies when."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import AccessDenied, StateFull, StorageFailure
from davserver.handover import hand_over
from davserver.protocol.path import DavPath, Key
from davserver.recovery import identity, remove_tree
from davserver.state.base import Change, Step, StepKind
from davserver.state.sqlfile import Database
from davserver.state.sqlite import SqliteState
from davserver.storage.faulty import FaultyStorage
from davserver.storage.filesystem import FilesystemStorage
from tests.conftest import AppDav, make_app_dav
from tests.support.binding import bind
from tests.support.dying import Death, DyingWorker
from tests.support.storages import FoldingStorage, HookedStorage
from tests.support.trees import hidden_names

TOPIC = "{http://example.org/ns}topic"
MTIME = "{DAV:}getlastmodified"
DEAD = "0123456789abcdef"
MakeDav = Callable[..., AppDav]

FILE = {"/a": b"new"}
TREE = {"/a/": None, "/a/f": b"new", "/a/d/": None, "/a/d/g": b"new"}
OLD_FILE = {"/b": b"old"}
OLD_TREE = {"/b/": None, "/b/f": b"old", "/b/h": b"old"}
Tree = dict[str, bytes | None]
# Every pairing of a source with what stands at the Destination.
PAIRS: dict[str, tuple[Tree, Tree]] = {
    "file, nothing": (FILE, {}),
    "file, file": (FILE, OLD_FILE),
    "file, tree": (FILE, OLD_TREE),
    "tree, nothing": (TREE, {}),
    "tree, file": (TREE, OLD_FILE),
    "tree, tree": (TREE, OLD_TREE),
}


def at(path: str) -> DavPath:
    return DavPath(tuple(part for part in path.split("/") if part))


def fill(dav: AppDav, tree: Tree) -> None:
    """Creates the resources; each gets its own path and content as a dead property."""
    for path, content in tree.items():
        reply = dav.mkcol(path) if content is None else dav.put(path, content)
        assert reply.status == 201, reply
        assert dav.proppatch(path, set={TOPIC: _topic(path, content)}).status == 207


def _topic(path: str, content: bytes | None) -> str:
    return f"{path[2:]} {content!r}"


def on_disk(root: Path) -> dict[str, bytes | None]:
    """Returns everything below the root, hidden names too."""
    found: dict[str, bytes | None] = {}
    for path in root.rglob("*"):
        name = f"/{path.relative_to(root)}"
        found |= {f"{name}/": None} if path.is_dir() else {name: path.read_bytes()}
    return found


def topics(dav: AppDav) -> dict[str, str]:
    """Returns every stored dead property TOPIC, orphans too."""
    state = dav.app.services.state
    found = {}
    for key in state.keys_with_rows():
        for name, value in state.properties(key).items():
            assert name == TOPIC
            found["/" + key.path.decode()] = value.partition(b">")[2].partition(b"<")[0].decode()
    return found


def moved(tree: Tree) -> Tree:
    return {"/b" + path[2:]: content for path, content in tree.items()}


def expected_topics(tree: Tree) -> dict[str, str]:
    return {path.rstrip("/"): _topic(path, content) for path, content in tree.items()}


@pytest.mark.rfc("MV-02", "MV-10", "CP-18")
@pytest.mark.parametrize("fallbacks", [(), ("renameat2",)], ids=["exchange", "two renames"])
@pytest.mark.parametrize(("source", "old"), PAIRS.values(), ids=PAIRS.keys())
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_worker_that_dies_anywhere_leaves_old_or_new(
    tmp_path: Path,
    method: str,
    source: Tree,
    old: Tree,
    fallbacks: tuple[str, ...],
) -> None:
    """The next request of another worker finds one of the two, whole: content and properties,
    and no hidden name, no orphaned row, no journalled change is left."""
    before = source | old
    after = moved(source) if method == "MOVE" else source | moved(source)
    seen = []
    for number in range(1, 60):
        base = tmp_path / str(number)
        base.mkdir()
        died = _run_and_die(base, (method, before, number, fallbacks))
        dav = _survivor(base, fallbacks)
        members = dav.members("/")
        outcome = on_disk(base / "root")
        assert outcome in (before, after), f"died at {died}: {outcome}"
        assert topics(dav) == expected_topics(outcome), f"died at {died}"
        assert members == sorted({"/" + p.split("/")[1] + "/" * ("/" in p[1:]) for p in outcome})
        with dav.app.services.state.hold([], wait_s=1) as view:
            assert view.changes() == (), f"died at {died}"
        dav.close()
        seen.append(outcome)
        if died is None:
            break
    assert died is None, "it never came to its end"
    assert seen[0] == before
    assert seen[-1] == after


def _survivor(base: Path, fallbacks: Iterable[str] = ()) -> AppDav:
    return make_app_dav(base, "filesystem", fallbacks=tuple(fallbacks), durability="none")


def _run_and_die(base: Path, plan: tuple[str, Tree, int, tuple[str, ...]]) -> str | None:
    """Returns the step at which the worker died, None when it came to the end."""
    method, before, number, fallbacks = plan
    first = _survivor(base)
    fill(first, before)
    first.close()
    return _die(base, method, number, fallbacks)


def _die(base: Path, method: str, number: int, fallbacks: tuple[str, ...]) -> str | None:
    worker = DyingWorker(base / "root", base / "state", dies_at=number, fallbacks=fallbacks)
    overrides = {"storage": worker.storage, "state": worker.state}
    dav = make_app_dav(base, "filesystem", overrides=overrides, durability="none")
    try:
        with suppress(Death):
            dav.run(dav.send(method, "/a", {"Destination": "/b"}))
    finally:
        dav.close()
    return worker.steps[-1] if worker.is_dead else None


@pytest.mark.rfc("G-16", "MV-10")
@pytest.mark.parametrize("fallbacks", [(), ("renameat2",)], ids=["one step", "two steps"])
def test_a_worker_that_dies_leaves_the_old_times_or_a_later_one(
    tmp_path: Path, fallbacks: tuple[str, ...]
) -> None:
    """The source keeps its own until it has taken the place of one as new as itself."""
    seen = set()
    for number in range(1, 40):
        base = tmp_path / str(number)
        base.mkdir()
        first = _survivor(base)
        fill(first, FILE | OLD_FILE)
        first.close()
        before = times(base / "root")
        died = _die(base, "MOVE", number, fallbacks)
        dav = _survivor(base, fallbacks)
        members = dav.members("/")
        dav.close()
        after = times(base / "root")
        if members == ["/a", "/b"]:
            assert after == before, f"died at {died}"
        else:
            assert after["b"] // 10**9 > before["b"] // 10**9, f"died at {died}"
        seen.add(len(members))
        if died is None:
            break

    assert seen == {1, 2}


def times(root: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in root.iterdir()}


@pytest.mark.rfc("PP-03")
def test_live_and_dead_properties_come_together_though_the_worker_dies(tmp_path: Path) -> None:
    """RFC 4918 section 9.2: all or nothing. Once the journal knows the values, they are applied."""
    body = (
        '<D:propertyupdate xmlns:D="DAV:" xmlns:x="http://example.org/ns"><D:set><D:prop>'
        "<x:topic>new</x:topic><D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT"
        "</D:getlastmodified></D:prop></D:set></D:propertyupdate>"
    )
    seen = set()
    for number in range(1, 20):
        base = tmp_path / str(number)
        base.mkdir()
        first = _survivor(base)
        first.put("/a", b"content")
        first.close()
        worker = DyingWorker(base / "root", base / "state", dies_at=number, fallbacks=())
        overrides = {"storage": worker.storage, "state": worker.state}
        dav = make_app_dav(base, "filesystem", overrides=overrides, durability="none")
        with suppress(Death):
            dav.proppatch("/a", body)
        dav.close()
        dav = _survivor(base)
        topic, modified = dav.prop("/a", TOPIC), dav.prop("/a", MTIME).text
        dav.close()
        seen.add((topic is not None, modified == "Mon, 12 Jan 1998 09:25:56 GMT"))
        if not worker.is_dead:
            break

    assert seen == {(False, False), (True, True)}


LOCKED_PAIRS = [name for name in PAIRS if "nothing" not in name]


@pytest.mark.rfc("MV-10", "MV-04", "CP-10", "CP-18")
@pytest.mark.parametrize("permanent", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("fallbacks", [(), ("renameat2",)], ids=["exchange", "two renames"])
@pytest.mark.parametrize("pair", LOCKED_PAIRS)
@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_a_storage_that_fails_anywhere_leaves_old_or_new(
    tmp_path: Path, method: str, pair: str, fallbacks: tuple[str, ...], permanent: bool
) -> None:
    """Locks, too, are those of the one or the other: a Destination that was not replaced keeps
    the lock that its token was submitted for."""
    source, old = PAIRS[pair]
    before = source | old
    after = moved(source) if method == "MOVE" else source | moved(source)
    locks_after = {b"a", b"b"} if method == "COPY" else set()
    for number in range(1, 200, 3 if permanent else 1):
        base = tmp_path / str(number)
        base.mkdir()
        dav = _survivor(base, fallbacks)
        fill(dav, before)
        tokens = [dav.lock(path).token for path in ("/a", "/b")]
        services = dav.app.services
        faulty = FaultyStorage(
            services.storage, fail_at=number, error=StorageFailure, permanent=permanent
        )
        overrides = {"storage": faulty, "state": services.state}
        broken = make_app_dav(base, "filesystem", overrides=overrides, durability="none")
        headers = {"Destination": "/b", "If": f"</a> (<{tokens[0]}>) </b> (<{tokens[1]}>)"}
        reply = broken.request(method, "/a", headers)
        where = f"{number}th call, {reply.status}"
        if reply.status in (201, 204):
            assert visible(base / "root") == after, where
        if permanent:
            dav.close()
            dav = _survivor(base, fallbacks)
        outcome = visible(base / "root") if dav.members("/") else {}
        roots = {lock.key.path for lock in _locks(dav)}
        assert outcome in (before, after), where
        assert roots == ({b"a", b"b"} if outcome == before else locks_after), where
        assert topics(dav) == expected_topics(outcome), where
        with dav.app.services.state.hold([], wait_s=1) as view:
            assert view.changes() == (), where
        dav.close()
        broken._runner.close()
        if not faulty.blown:
            break
    assert faulty.blown == 0, "it never came to its end"
    assert on_disk(base / "root") == after


def visible(root: Path) -> Tree:
    return {path: data for path, data in on_disk(root).items() if "/.davserver" not in path}


def _locks(dav: AppDav) -> Iterable[Any]:
    services = dav.app.services
    return services.state.beneath(services.storage.canonical(at("/")), now=dav.clock.now)


def record(dav: AppDav, owner: str, *steps: Step) -> None:
    """Journals a change of another worker."""
    with dav.app.services.state.hold([], wait_s=1) as view:
        view.record(Change("c1", "", owner, steps))


def journal(dav: AppDav) -> list[str]:
    with dav.app.services.state.hold([], wait_s=1) as view:
        return [change.owner for change in view.changes()]


def stat(dav: AppDav, path: str) -> Any:
    return dav.app.services.storage.stat(at(path))


def test_a_change_of_a_living_worker_is_left_alone(make_dav: MakeDav, tmp_path: Path) -> None:
    dav = make_dav()
    dav.put("/b", b"done")
    other = SqliteState(tmp_path / "state")
    record(dav, other.owner, Step(StepKind.PUBLISH, at("/a"), at("/b"), identity=(0, 0, None)))
    step = Step(StepKind.REMOVE, at("/b"))
    with other.hold([], wait_s=1) as view:
        view.record(Change("c2", "", other.owner, (step,)))

    assert dav.get("/b").body == b"done"
    assert journal(dav) == [other.owner] * 2

    other.close()
    assert dav.get("/b").status == 404
    assert journal(dav) == []


def test_what_a_dead_worker_was_removing_is_removed(dav: AppDav) -> None:
    fill(dav, OLD_TREE | {"/c": b"stays"})
    record(dav, DEAD, Step(StepKind.REMOVE, at("/b")))

    assert dav.members("/") == ["/c"]
    assert set(topics(dav)) == {"/c"}
    assert journal(dav) == []


def test_what_somebody_else_put_at_the_target_stays(dav: AppDav) -> None:
    """The identity tells the moved resource from another one at the same path."""
    fill(dav, FILE | OLD_TREE)
    step = Step(StepKind.PUBLISH, at("/a"), at("/b"), at("/.davserver.x.y"), (1, 2, 3))
    record(dav, DEAD, step)

    assert dav.members("/") == ["/a", "/b/"]
    assert topics(dav) == expected_topics(FILE | OLD_TREE)
    assert journal(dav) == []


@pytest.mark.parametrize("method", ["COPY", "MOVE"])
def test_what_was_set_aside_outlives_who_takes_its_place_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Without an exchange the old target is aside for a moment, in which somebody beside this
    server makes another one: then it cannot come back yet."""
    before = make_app_dav(tmp_path, "filesystem", durability="none", fallbacks=("renameat2",))
    fill(before, TREE | OLD_TREE)
    rename = os.rename

    def followed(source: bytes, target: bytes, **options: Any) -> None:
        rename(source, target, **options)
        if source == b"b":
            (tmp_path / "root" / "b").mkdir()

    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", followed)
        refused = before.request(method, "/a", {"Destination": "/b"})
    before.propfind("/", depth="infinity")
    before.close()
    dav = make_app_dav(tmp_path, "filesystem", durability="none", fallbacks=("renameat2",))
    try:
        assert refused.status == 409
        assert dav.members("/b/") == []
        (tmp_path / "root" / "b").rmdir()
        assert dav.members("/b/") == ["/b/f", "/b/h"]
        assert dav.get("/b/h").body == b"old"
        assert hidden_names(dav) == []
        assert dav.members("/a/") == ["/a/d/", "/a/f"]
    finally:
        dav.close()


def test_what_came_to_stand_at_the_source_meanwhile_stays(dav: AppDav) -> None:
    """A MOVE is over but for its rows; its source is mapped again."""
    fill(dav, {"/b": b"moved", "/a": b"another"})
    aside = at(f"/.davserver.{DEAD}.y")
    dav.app.services.storage.make_collection(aside)
    step = Step(StepKind.PUBLISH, at("/a"), at("/b"), aside, identity(stat(dav, "/b")))
    record(dav, DEAD, step)

    assert dav.get("/a").body == b"another"
    assert dav.get("/b").body == b"moved"
    assert dav.app.services.storage.locate(aside).stat is None


def test_attributes_of_what_is_gone_are_no_error(dav: AppDav) -> None:
    record(dav, DEAD, Step(StepKind.APPLY, target=at("/gone"), values={"mtime_ns": 10**18}))

    assert dav.options("/").status == 200
    assert journal(dav) == []


def test_attributes_are_rolled_forward(dav: AppDav) -> None:
    fill(dav, FILE)
    values = {"mtime_ns": 10**18, "executable": 1}
    record(dav, DEAD, Step(StepKind.APPLY, target=at("/a"), values=values))

    assert dav.head("/a").headers["last-modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert stat(dav, "/a").executable


def test_a_change_that_cannot_be_undone_now_waits_and_stops_nobody(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, {"/a": b"new", "/.b/": None, "/c": b"other"})
    aside = at(f"/.davserver.{DEAD}.y")
    storage.rename(at("/.b"), aside)
    storage.refuse("rename", f"/{aside.name}", AccessDenied("not now"))
    record(dav, DEAD, Step(StepKind.PUBLISH, at("/a"), at("/b"), aside, (0, 0, 0)))

    assert dav.get("/c").body == b"other"
    assert journal(dav) == [DEAD]

    storage.on("rename", f"/{aside.name}", lambda: None)
    assert dav.members("/") == ["/a", "/b/", "/c"]
    assert journal(dav) == []


@pytest.mark.rfc("BI-07", "MV-02")
def test_what_cannot_be_recovered_at_first_follows_once(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link to what was moved cannot be pointed anew for a while. Rows that had followed before
    that was met would go with those of another target when they follow again."""
    dav = make_dav("filesystem")
    fill(dav, {"/a": b"new", "/d/": None})
    assert bind(dav, "/d/", "link", "/a").status == 201

    def refuse(*_: object, **__: object) -> None:
        raise AccessDenied("not now")

    with monkeypatch.context() as disk:
        disk.setattr(FilesystemStorage, "make_link", refuse)
        assert dav.request("MOVE", "/a", {"Destination": "/b"}).status == 201
        for _ in range(2):
            assert dav.get("/b").body == b"new"
        assert len(journal(dav)) == 1

    assert dav.get("/d/link").body == b"new"
    assert topics(dav)["/b"] == _topic("/a", b"new")
    assert journal(dav) == []


@pytest.mark.rfc("BI-07", "MV-02")
def test_what_cannot_be_taken_back_at_first_follows_once(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, where the rename itself seems to fail, and its creation time has to go back."""
    dav = make_dav("filesystem")
    fill(dav, {"/a": b"new", "/d/": None})
    assert bind(dav, "/d/", "link", "/a").status == 201
    rename = FilesystemStorage.rename

    def fail(self: FilesystemStorage, *paths: DavPath, replace: bool = False) -> None:
        rename(self, *paths, replace=replace)
        raise StorageFailure("the answer got lost")

    def refuse(*_: object, **__: object) -> None:
        raise AccessDenied("not now")

    with monkeypatch.context() as disk:
        disk.setattr(FilesystemStorage, "rename", fail)
        disk.setattr(FilesystemStorage, "make_link", refuse)
        headers = {"Destination": "/b", "X-OC-CTime": "1000000000"}
        assert dav.request("MOVE", "/a", headers).status == 500
        assert len(journal(dav)) == 1

    assert dav.get("/d/link").body == b"new"
    assert topics(dav) == expected_topics({"/d/": None}) | {"/b": _topic("/a", b"new")}
    assert journal(dav) == []


@pytest.mark.rfc("BI-04")
def test_what_is_half_handed_over_is_handed_over_once(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the failure is one of many in one gate, as in the walk of a DELETE."""
    dav = make_dav("filesystem")
    fill(dav, {"/a": b"new", "/d/": None})
    assert bind(dav, "/d/", "link", "/a").status == 201
    make_link, made = FilesystemStorage.make_link, 0

    def refuse_third(self: FilesystemStorage, *paths: DavPath, replace: bool = False) -> None:
        nonlocal made
        made += 1
        if made == 3:
            raise AccessDenied("not now")
        make_link(self, *paths, replace=replace)

    key, link = Key("", b"a"), Key("", b"d/link")
    monkeypatch.setattr(FilesystemStorage, "make_link", refuse_third)
    with (
        dav.app.services.state.hold([], wait_s=1) as view,
        pytest.raises(AccessDenied),
    ):
        hand_over(dav.app.services, view, key, link)

    assert len(journal(dav)) == 1
    assert dav.get("/d/link").body == b"new"
    assert topics(dav)["/d/link"] == _topic("/a", b"new")
    assert journal(dav) == []


@pytest.mark.rfc("MV-02")
@pytest.mark.parametrize("is_ours", [True, False], ids=["by us", "behind the server"])
@pytest.mark.parametrize("source", [FILE, TREE], ids=["file", "tree"])
def test_what_comes_to_stand_where_a_move_has_left_half_stays(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, source: Tree, is_ours: bool
) -> None:
    """The old tree at the Destination went by way of the source, for a moment. As long as the rows
    cannot follow, nothing is to be created there by us; what somebody else creates is not it."""
    dav = make_dav("filesystem")
    assert dav.root
    fill(dav, source | OLD_TREE | {"/d/": None})
    assert bind(dav, "/d/", "link", "/a").status == 201

    def refuse(*_: object, **__: object) -> None:
        raise AccessDenied("not now")

    with monkeypatch.context() as disk:
        disk.setattr(FilesystemStorage, "make_link", refuse)
        assert dav.request("MOVE", "/a", {"Destination": "/b"}).status == 204
        if is_ours:
            assert dav.put("/a", b"fresh").status == 403
            assert dav.put("/c", b"elsewhere").status == 201
            assert dav.get("/a").status == 404
        else:
            (dav.root / "a").write_bytes(b"fresh")
    assert not is_ours or dav.put("/a", b"fresh").status == 201

    assert dav.get("/a").body == b"fresh"
    assert expected_topics(moved(source)).items() <= topics(dav).items()
    assert journal(dav) == []
    assert hidden_names(dav) == []


@pytest.mark.rfc("MV-02")
def test_what_comes_to_stand_where_a_move_has_failed_halfway_stays(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As above, where the last rename seems to fail, and there is no room to settle the change."""
    dav = make_dav("filesystem")
    assert dav.root
    fill(dav, FILE | OLD_TREE)
    rename, query = FilesystemStorage.rename, Database.query
    failed = []

    def fail(self: FilesystemStorage, *paths: DavPath, replace: bool = False) -> None:
        rename(self, *paths, replace=replace)
        failed.append(paths)
        raise StorageFailure("the answer got lost")

    def full(self: Database, sql: str, bindings: Any = ()) -> Any:
        if sql == "COMMIT" and failed:
            raise StateFull("no room")
        return query(self, sql, bindings)

    with monkeypatch.context() as disk:
        disk.setattr(FilesystemStorage, "rename", fail)
        disk.setattr(Database, "query", full)
        dav.request("MOVE", "/a", {"Destination": "/b"})
        (dav.root / "a").write_bytes(b"fresh")
    assert len(journal(dav)) == len(failed) == 1

    assert dav.get("/a").body == b"fresh"
    assert dav.get("/b").body == b"new"
    assert topics(dav) == {"/b": _topic("/a", b"new")}
    assert (journal(dav), hidden_names(dav)) == ([], [])


@pytest.mark.rfc("MV-02")
def test_nobody_builds_on_what_cannot_be_recovered_now(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A MOVE is over but for its rows, which would go with what a PUT replaces."""
    dav = make_dav("filesystem")
    fill(dav, FILE)
    moved_file = stat(dav, "/a")
    dav.app.services.storage.rename(at("/a"), at("/b"))
    record(dav, DEAD, Step(StepKind.PUBLISH, at("/a"), at("/b"), identity=identity(moved_file)))
    left = 2
    query = Database.query

    def full(self: Database, sql: str, bindings: Any = ()) -> Any:
        nonlocal left
        if sql == "COMMIT" and left:
            left -= 1
            raise StateFull("no room")
        return query(self, sql, bindings)

    monkeypatch.setattr(Database, "query", full)
    reply = dav.put("/b", b"another")

    assert (reply.status, left) == (507, 0)
    assert dav.get("/b").body == b"new"
    assert topics(dav) == {"/b": _topic("/a", b"new")}
    assert journal(dav) == []


def test_a_hidden_tree_goes_as_far_as_it_can(make_dav: MakeDav) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage})
    top = at("/.davserver.x.y")
    for path in (top, top.child("a"), top.child("a").child("b"), top.child("stuck")):
        storage.make_collection(path)
    for number in range(1200):
        storage.make_collection(top.child(f"{number}"))
    storage.refuse("scan_all", "/.davserver.x.y/stuck", AccessDenied("no"))
    storage.refuse("delete", "/.davserver.x.y/stuck", AccessDenied("no"))

    remove_tree(dav.app.services.storage, top)

    with storage.scan_all(top) as entries:
        assert [entry.name for entry in entries] == ["stuck"]
    assert hidden_names(dav) == [".davserver.x.y"]
    assert dav.members("/") == []
    assert hidden_names(dav) == []
    remove_tree(storage, at("/.davserver.none"))


@pytest.mark.rfc("MV-11")
@pytest.mark.parametrize("is_begun", [False, True])
def test_a_change_of_case_that_was_cut_off_loses_nothing(make_dav: MakeDav, is_begun: bool) -> None:
    """Both names are one key there, so that the identity at the target tells nothing."""
    dav = make_dav("memory", overrides={"storage": FoldingStorage()})
    fill(dav, {"/a/": None, "/a/f": b"content"})
    aside = at(f"/.davserver.{DEAD}.y")
    step = Step(StepKind.PUBLISH, at("/a"), at("/A"), aside, identity(stat(dav, "/a")))
    if is_begun:
        dav.app.services.storage.rename(at("/a"), aside)
    record(dav, DEAD, step)

    assert dav.members("/") == ["/A/" if is_begun else "/a/"]
    assert dav.get("/a/f").body == b"content"
    assert topics(dav) == expected_topics({"/a/": None, "/a/f": b"content"})
    assert journal(dav) == []
