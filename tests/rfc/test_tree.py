"""DELETE of trees: what happens while the walk runs, and how deep it goes."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import AccessDenied
from davserver.methods import _failures, _tree, _walking
from davserver.protocol.path import DavPath
from davserver.state.gatelock import GateLock
from davserver.storage import _stat
from davserver.storage.bymember import OpenMembers
from davserver.storage.listed import FEW
from tests.conftest import AppDav
from tests.support.asgi import AsgiDav
from tests.support.confined import without_override
from tests.support.descriptors import open_descriptors
from tests.support.storages import HookedStorage

D = "{DAV:}"
MakeDav = Callable[..., AppDav]


@pytest.fixture
def storage() -> HookedStorage:
    return HookedStorage()


@pytest.fixture
def hooked(make_dav: MakeDav, storage: HookedStorage) -> AppDav:
    return make_dav("memory", overrides={"storage": storage})


@pytest.fixture
def other(hooked: AppDav) -> Iterator[AsgiDav]:
    """A second client, with a loop of its own: for the thread that a walk runs in."""
    client = AsgiDav(hooked.app)
    yield client
    client._runner.close()


def fill(dav: AppDav, *paths: str) -> None:
    for path in paths:
        reply = dav.mkcol(path) if path.endswith("/") else dav.put(path, path.encode())
        assert reply.status == 201, reply


def fill_many(storage: HookedStorage, collection: str, count: int) -> list[str]:
    """Creates `count` files behind the server and returns their names."""
    names = [f"f{number:03}" for number in range(count)]
    for name in names:
        put(storage, f"{collection}/{name}")
    return names


def at(path: str) -> DavPath:
    return DavPath(tuple(path.strip("/").split("/")))


def put(storage: HookedStorage, path: str) -> None:
    writer = storage.create(at(path))
    writer.write(path.encode())
    writer.seal()
    writer.commit(replace=True)


def names(dav: AppDav, target: str) -> list[str]:
    return [href.removeprefix(target) for href in dav.members(target)]


@pytest.mark.rfc("DL-03", "DL-06")
def test_a_lock_taken_on_a_member_while_the_walk_runs_protects_it(
    hooked: AppDav, storage: HookedStorage, other: AsgiDav
) -> None:
    fill(hooked, "/c/", "/c/d/", "/c/d/f", "/c/d/g", "/c/z")
    storage.once("scan_all", "/c/d", lambda: other.lock("/c/d/f"))

    assert hooked.delete("/c/").multistatus.statuses == {"/c/d/f": 423}
    assert names(hooked, "/c/") == ["d/"]
    assert names(hooked, "/c/d/") == ["f"]


@pytest.mark.rfc("DL-03", "DL-06")
@pytest.mark.parametrize("depth", ["0", "infinity"])
def test_a_lock_taken_on_the_target_while_the_walk_runs_keeps_what_is_left(
    hooked: AppDav, storage: HookedStorage, other: AsgiDav, depth: str
) -> None:
    fill(hooked, "/c/")
    files = fill_many(storage, "/c", FEW + 20)
    fill(hooked, "/c/d/", "/c/d/f")
    # The first batch is gone when the next member's turn comes.
    next_one = files[FEW + 5]
    storage.once("entry", f"/c/{next_one}", lambda: other.lock("/c/", depth=depth))

    reply = hooked.delete("/c/")

    assert (reply.status, reply.condition_hrefs) == (423, ["/c/"])
    assert names(hooked, "/c/") == ["d/", *files[FEW:]]
    assert hooked.get("/c/d/f").body == b"/c/d/f"


@pytest.mark.rfc("DL-03", "DL-05", "DL-06")
@pytest.mark.parametrize("depth", ["0", "infinity"])
def test_a_lock_taken_on_the_target_after_a_failure_is_told_of_beside_it(
    hooked: AppDav, storage: HookedStorage, other: AsgiDav, depth: str
) -> None:
    fill(hooked, "/c/", "/c/x")
    files = fill_many(storage, "/c", FEW)
    fill(hooked, "/c/d/", "/c/d/f")
    storage.refuse("delete", "/c/x", AccessDenied("not yours"))
    storage.once("entry", f"/c/{files[-1]}", lambda: other.lock("/c/", depth=depth))

    assert hooked.delete("/c/").multistatus.statuses == {"/c/x": 403, "/c/": 423}
    assert names(hooked, "/c/") == ["d/", files[-1], "x"]
    assert hooked.get("/c/d/f").status == 200


@pytest.mark.rfc("DL-03", "DL-04", "DL-06")
@pytest.mark.parametrize(
    ("depth", "call"),
    [("0", "entry"), ("infinity", "entry"), ("0", "scan_all"), ("infinity", "scan_all")],
)
def test_a_lock_taken_above_the_walk_is_told_of_once_at_its_root(
    hooked: AppDav, storage: HookedStorage, other: AsgiDav, depth: str, call: str
) -> None:
    """Whether the walk is in that collection or further down; what is not reached stays."""
    fill(hooked, "/c/", "/c/d/", "/c/d/e/", "/c/d/e/f", "/c/d/g/", "/c/d/g/h", "/c/z")
    storage.once(call, "/c/d/g", lambda: other.lock("/c/d/", depth=depth))

    statuses = hooked.delete("/c/").multistatus.statuses

    assert statuses == {"/c/d/": 423}
    assert names(hooked, "/c/") == ["d/"]
    assert "e/" in names(hooked, "/c/d/")
    assert hooked.get("/c/d/e/f").body == b"/c/d/e/f"
    assert len(hooked.locks("/c/d/")) == 1


@pytest.mark.rfc("DL-04", "DL-06")
def test_members_of_a_collection_that_was_locked_meanwhile_are_not_entered(
    hooked: AppDav, storage: HookedStorage, other: AsgiDav
) -> None:
    fill(hooked, "/c/", "/c/d/", "/c/d/e/", "/c/d/e/f", "/c/d/g/")

    def lock_and_refuse() -> None:
        other.lock("/c/d/", depth="0")
        raise AccessDenied("not yours")

    storage.once("scan_all", "/c/d/g", lock_and_refuse)

    assert hooked.delete("/c/").multistatus.statuses == {"/c/d/g/": 403, "/c/d/": 423}
    assert hooked.get("/c/d/e/f").body == b"/c/d/e/f"


@pytest.mark.rfc("DL-03", "DL-06")
def test_a_lock_taken_on_the_parent_while_the_walk_runs_keeps_the_target(
    hooked: AppDav, storage: HookedStorage, other: AsgiDav
) -> None:
    fill(hooked, "/p/", "/p/c/", "/p/c/f")
    storage.once("scan_all", "/p/c", lambda: other.lock("/p/", depth="0"))

    reply = hooked.delete("/p/c/")

    assert (reply.status, reply.condition_hrefs) == (423, ["/p/"])
    assert names(hooked, "/p/") == ["c/"]


@pytest.mark.rfc("DL-11")
def test_members_that_come_while_the_walk_runs_go_too(
    hooked: AppDav, storage: HookedStorage
) -> None:
    fill(hooked, "/c/", "/c/d/")
    storage.once("delete", "/c/d", lambda: put(storage, "/c/d/late"))

    assert hooked.delete("/c/").status == 204
    assert hooked.members("/") == []


@pytest.mark.rfc("DL-04")
@pytest.mark.parametrize(("inner", "expected"), [(True, 207), (False, 409)])
def test_a_collection_that_somebody_keeps_filling_is_given_up(
    hooked: AppDav, storage: HookedStorage, inner: bool, expected: int
) -> None:
    fill(hooked, "/c/", "/c/d/")
    path = "/c/d" if inner else "/c"
    storage.on("delete", path, lambda: put(storage, f"{path}/late"))

    reply = hooked.delete("/c/")

    assert reply.status == expected
    assert not inner or reply.multistatus.statuses == {"/c/d/": 409}
    assert names(hooked, f"{path}/") == ["late"]


@pytest.mark.rfc("DL-04")
@pytest.mark.parametrize(("gone", "expected"), [(False, 403), (True, None)])
def test_a_collection_that_cannot_be_entered_again(
    hooked: AppDav, storage: HookedStorage, gone: bool, expected: int | None
) -> None:
    fill(hooked, "/c/", "/c/d/")

    def fail() -> None:
        storage.refuse("scan_all", "/c/d", AccessDenied("not yours"))
        put(storage, "/c/d/late")

    def vanish() -> None:
        storage.delete(at("/c/d/late"))
        storage.once("delete", "/c/d", lambda: None)
        storage.delete(at("/c/d"))

    def fill_once() -> None:
        storage.once("scan_all", "/c/d", vanish)
        put(storage, "/c/d/late")

    storage.once("delete", "/c/d", fill_once if gone else fail)

    reply = hooked.delete("/c/")

    assert reply.status == (204 if gone else 207)
    assert gone or reply.multistatus.statuses == {"/c/d/": expected}


@pytest.mark.rfc("DL-02")
@pytest.mark.parametrize("levels", [63, 64, 70])
def test_delete_and_copy_of_a_tree_deeper_than_the_listings_kept_open(
    make_dav: MakeDav, levels: int
) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    deep = dav.root.joinpath("c", *(f"l{number}" for number in range(levels)))
    deep.mkdir(parents=True)
    for parent in [deep, *deep.parents][: levels + 1]:
        (parent / "file").write_bytes(b"leaf")
    for _ in range(2):  # opens what stays open
        assert dav.copy("/c/file", "/warm").status in (201, 204)
        assert dav.delete("/warm").status == 204
    before = open_descriptors()

    assert dav.copy("/c/", "/copy/").status == 201
    copied = [len(files) for _, _, files in os.walk(dav.root / "copy")]
    assert copied == [1] * (levels + 1)
    assert dav.delete("/c/").status == 204
    assert os.listdir(dav.root) == ["copy"]
    assert open_descriptors() - before == set()


@pytest.mark.rfc("DL-02", "DL-11")
def test_what_became_a_collection_since_it_was_listed_is_entered(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    fill(dav, "/c/", "/c/a", "/c/f", "/c/z")
    path = dav.root / "c/f"
    delete_each = OpenMembers.delete_each

    def turn(self: OpenMembers, names: Sequence[str], **options: Any) -> Any:
        if path.is_file():
            path.unlink()
            (path / "deep").mkdir(parents=True)
            (path / "deep/g").touch()
        return delete_each(self, names, **options)

    monkeypatch.setattr(OpenMembers, "delete_each", turn)

    assert dav.delete("/c/").status == 204
    assert os.listdir(dav.root) == []


@pytest.mark.rfc("DL-03", "DL-06")
@pytest.mark.parametrize(
    ("locked", "depth", "left"),
    [
        pytest.param("/c/d/f", "0", ["/c/d/f"], id="a member"),
        pytest.param("/c/d/", "0", ["/c/d/f", "/c/d/g"], id="its membership"),
        pytest.param("/c/d/", "infinity", ["/c/d/f", "/c/d/g"], id="it"),
        pytest.param("/c/", "0", ["/c/a/x", "/c/d/f", "/c/d/g", "/c/z/y"], id="what it is in"),
    ],
)
def test_a_lock_taken_since_the_listing_began_keeps_what_is_in_a_small_collection(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, locked: str, depth: str, left: list[str]
) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    fill(dav, "/c/", "/c/a/", "/c/a/x", "/c/d/", "/c/d/f", "/c/d/g", "/c/z/", "/c/z/y")
    other = AsgiDav(dav.app)
    descend = _tree.TreeDelete._descend
    locks: list[Any] = []

    def lock_first(self: _tree.TreeDelete, stack: list[_walking.Frame]) -> None:
        if not locks:
            locks.append(other.lock(locked, depth=depth))
        descend(self, stack)

    monkeypatch.setattr(_tree.TreeDelete, "_descend", lock_first)
    reply = dav.delete("/c/")
    other._runner.close()

    files = [path for path in (dav.root / "c").rglob("*") if path.is_file()]
    assert sorted(f"/{path.relative_to(dav.root)}" for path in files) == left
    if locked == "/c/":
        assert (reply.status, reply.condition_hrefs) == (423, ["/c/"])
    else:
        assert reply.multistatus.statuses == {locked: 423}


@pytest.mark.rfc("DL-02")
@pytest.mark.parametrize("files", [1, 2 * FEW], ids=["small", "long"])
@pytest.mark.parametrize("level", [1, 2], ids=["entered next", "entered already"])
def test_a_link_in_the_place_of_a_collection_in_the_walk_leads_to_nothing_that_goes(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, files: int, level: int
) -> None:
    """What two requests of another client make of it: MOVE, and BIND in its place."""
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    root = dav.root
    names = [f"f{number}" for number in range(files)]
    for folder in ("c/d/e/g", "kept/e/g", "kept/g"):
        (root / folder).mkdir(parents=True)
        for name in names:
            (root / folder / name).write_bytes(b"x")
    kept = sorted((root / "kept").rglob("*"))
    descend = _tree.TreeDelete._descend

    def swap_first(self: _tree.TreeDelete, stack: list[_walking.Frame]) -> None:
        if len(stack) == level and not (root / "moved").exists():
            (root / "c/d").rename(root / "moved")
            (root / "c/d").symlink_to("../kept")
        descend(self, stack)

    monkeypatch.setattr(_tree.TreeDelete, "_descend", swap_first)
    reply = dav.delete("/c/")

    assert (root / "moved").is_dir()
    assert sorted((root / "kept").rglob("*")) == kept
    assert reply.status == 204
    assert not (root / "c").exists()


@pytest.mark.rfc("DL-04")
def test_a_member_of_a_small_collection_that_cannot_go_is_told_of_and_the_rest_goes(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    fill(dav, "/c/", "/c/d/", "/c/d/f", "/c/d/g", "/c/d/h", "/c/e/", "/c/e/i")
    unlink = os.unlink

    def refuse(path: Any, **keys: Any) -> None:
        if path == b"g":
            raise PermissionError(errno.EPERM, "not yours")
        unlink(path, **keys)

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", refuse)
        reply = dav.delete("/c/")

    assert reply.multistatus.statuses == {"/c/d/g": 403}
    assert [str(path.relative_to(dav.root)) for path in sorted(dav.root.rglob("*"))] == [
        "c",
        "c/d",
        "c/d/g",
    ]


@pytest.mark.rfc("DL-02", "DL-04")
def test_what_takes_its_time_to_go_lets_others_through_the_gate(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One at a time, if each is as long as that; what cannot go is told of once."""
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    fill(dav, "/c/", "/c/d/")
    for path in ("a", "b", "ä", "d/f", "d/g", "d/h"):
        (dav.root / "c" / path).touch()
    monkeypatch.setattr(_tree, "_IN_GATE_S", -1)
    entered: list[int] = []
    unlink, acquire = os.unlink, GateLock.acquire

    def enter(self: GateLock, *args: Any) -> None:
        acquire(self, *args)
        entered.append(0)

    def count(path: bytes, **keys: Any) -> None:
        entered[-1] += 1
        if path == b"g":
            raise PermissionError(errno.EPERM, "not yours")
        unlink(path, **keys)

    monkeypatch.setattr(GateLock, "acquire", enter)
    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", count)
        reply = dav.delete("/c/")

    assert reply.multistatus.statuses == {"/c/d/g": 403}
    assert [entry.name for entry in (dav.root / "c/d").iterdir()] == ["g"]
    assert sorted(os.listdir(dav.root / "c")) == ["d"]
    assert max(entered) == 2  # the second is the look at why it cannot go


@pytest.mark.rfc("DL-02")
@pytest.mark.parametrize("files", [1, FEW, FEW + 1])
def test_many_collections_go_whatever_their_size(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, files: int
) -> None:
    """Each of them the first time that it is listed."""
    monkeypatch.setattr(_tree, "_ATTEMPTS", 1)
    dav = make_dav("filesystem", durability="none")
    assert dav.root
    for number in range(2 * FEW if files == 1 else 5):
        collection = dav.root / f"c/d{number}"
        collection.mkdir(parents=True)
        for member in range(files):
            (collection / f"f{member}").touch()
        if number % 2:
            (collection / "inner/empty").mkdir(parents=True)

    assert dav.delete("/c/").status == 204
    assert os.listdir(dav.root) == []


@pytest.mark.parametrize("method", ["DELETE", "COPY"])
def test_files_are_not_looked_at_before_they_are_deleted_or_copied(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """What the directory tells of them is enough, where the state knows nothing of them."""
    dav = make_dav("filesystem", durability="none")
    fill(dav, "/c/", "/c/d/", *(f"/c/d/f{number}" for number in range(20)))
    looked_at: list[str] = []
    members = _stat.Looker.members

    def look(self: _stat.Looker, fd: int, names: Sequence[str], closer: Any) -> Any:
        looked_at.extend(names)
        return members(self, fd, names, closer)

    monkeypatch.setattr(_stat.Looker, "members", look)
    reply = dav.delete("/c/") if method == "DELETE" else dav.copy("/c/", "/copy/")

    assert reply.status in (201, 204)
    assert set(looked_at) <= {"d"}
    assert dav.members("/") == ([] if method == "DELETE" else ["/c/", "/copy/"])


@pytest.mark.rfc("DL-04", "CP-13")
@pytest.mark.parametrize("method", ["DELETE", "COPY"])
def test_of_a_collection_that_may_not_be_entered_no_member_is_told(
    tmp_path: Path, method: str
) -> None:
    """Its names can be read, and nothing else of them: it is the collection that fails."""
    with without_override(tmp_path) as server, server.connect() as dav:
        inner = server.root / "c/d"
        inner.mkdir(parents=True)
        for name in ("e/", "e/f", "g", "h"):
            (inner / name).mkdir() if name.endswith("/") else (inner / name).touch()
        inner.chmod(0o444)
        try:
            reply = dav.delete("/c/") if method == "DELETE" else dav.copy("/c/", "/copy/")
        finally:
            inner.chmod(0o755)

    assert reply.multistatus.statuses == {"/c/d/": 403}
    assert sorted(os.listdir(inner)) == ["e", "g", "h"]


@pytest.mark.rfc("DL-04")
def test_more_failures_than_fit_in_memory_are_all_told_of(
    hooked: AppDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_failures, "_KEPT", 1000)
    fill(hooked, "/c/")
    files = fill_many(storage, "/c", 150)
    for name in files:
        storage.refuse("delete", f"/c/{name}", AccessDenied("not yours"))

    reply = hooked.delete("/c/")

    assert reply.multistatus.statuses == {f"/c/{name}": 403 for name in files}
    assert int(reply.headers["content-length"]) == len(reply.body)


def test_a_gate_that_cannot_be_had_stops_the_walk_with_503(
    make_dav: MakeDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever else failed: come again. What was gathered about it is dropped."""
    monkeypatch.setattr(_failures, "_KEPT", 0)
    dav = make_dav("memory", overrides={"storage": storage}, gate_wait_s=0.05)
    fill(dav, "/c/", "/c/d/", "/c/x")
    storage.refuse("delete", "/c/x", AccessDenied("not yours"))
    with busy_gate(dav) as begin:
        storage.once("scan_all", "/c/d", begin)
        reply = dav.delete("/c/")

    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert names(dav, "/c/") == ["d/", "x"]
    assert dav.delete("/c/").multistatus.statuses == {"/c/x": 403}


@contextmanager
def busy_gate(dav: AppDav) -> Iterator[Callable[[], None]]:
    """Yields a function that has another thread enter the gate, and stay there till the end."""
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        with dav.app.services.state.hold([], wait_s=5):
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=stay)

    def begin() -> None:
        thread.start()
        assert entered.wait(5)

    yield begin
    leave.set()
    thread.join(10)


def test_a_walk_that_is_cancelled_stops_between_members(
    hooked: AppDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[Any] = []
    made = _tree.TreeDelete.__init__

    def remember(self: _tree.TreeDelete, rc: Any, failures: _failures.Failures) -> None:
        contexts.append(rc)
        made(self, rc, failures)

    monkeypatch.setattr(_tree.TreeDelete, "__init__", remember)
    fill(hooked, "/c/", "/c/d/", "/c/d/f", "/c/x")

    def cancel() -> None:
        contexts[0].progress.cancelled = True

    storage.once("scan_all", "/c/d", cancel)

    reply = hooked.delete("/c/")

    assert (reply.status, reply.headers["retry-after"]) == (503, "1")
    assert contexts[0].progress.members == 1
    assert names(hooked, "/c/") == ["d/"]
    assert names(hooked, "/c/d/") == ["f"]
