"""MOVE (RFC 4918 section 9.9) across file systems: a copy is published whole, then the source
goes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import AccessDenied, CrossDevice, NoSpace, StorageFailure
from davserver.protocol.names import PropertyChange, QName
from davserver.protocol.path import DavPath
from davserver.state.memory import MemoryState
from davserver.storage.faulty import FaultyStorage
from tests.conftest import AppDav, make_app_dav
from tests.support.dying import Death, DyingWorker
from tests.support.storages import HookedStorage
from tests.support.trees import TOPIC, at, fill, hidden_names, locked_roots, tree

D = "{DAV:}"
MakeDav = Callable[..., AppDav]
SOURCE = ("/a/", "/a/1", "/a/2", "/a/d/", "/a/d/3", "/a/e/")
MOVED = {"/b/": None, "/b/1": b"/a/1", "/b/2": b"/a/2", "/b/d/": None, "/b/d/3": b"/a/d/3"}
MOVED |= {"/b/e/": None}


class TwoDevices(HookedStorage):
    """What begins with "a" is on one device, hidden names and all else on another."""

    def rename(self, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        self._refuse_across(source, target)
        super().rename(source, target, replace=replace)

    def exchange(self, a: DavPath, b: DavPath) -> None:
        self._refuse_across(a, b)
        super().exchange(a, b)

    def _refuse_across(self, *paths: DavPath) -> None:
        if len({path.segments[0].startswith("a") for path in paths}) == 2:
            raise CrossDevice("another device")


@pytest.fixture
def storage() -> TwoDevices:
    return TwoDevices()


@pytest.fixture
def hooked(make_dav: MakeDav, storage: TwoDevices) -> AppDav:
    return make_dav("memory", overrides={"storage": storage})


def write(storage: HookedStorage, path: str, data: bytes) -> None:
    """Publishes a file behind the server."""
    writer = storage.create(at(path))
    writer.write(data)
    writer.seal()
    writer.commit(replace=True)


@pytest.mark.rfc("MV-05", "MV-06", "MV-10", "MV-04")
@pytest.mark.parametrize("old", [(), ("/b",), ("/b/", "/b/1", "/b/x")], ids=str)
def test_a_tree_moves(hooked: AppDav, old: tuple[str, ...]) -> None:
    fill(hooked, *SOURCE, *old)
    for path in ("/a/", "/a/d/3", *old):
        hooked.proppatch(path, set={TOPIC: path})
    locks = {path: hooked.lock(path).token for path in ("/a/d/3", *old[-1:])}
    hooked.proppatch("/a/1", set={f"{D}getlastmodified": "Mon, 12 Jan 1998 09:25:56 GMT"})
    modified = [hooked.prop(path, f"{D}getlastmodified").text for path in ("/a/1", "/a/d/3")]

    submitted = " ".join(f"<{path}> (<{token}>)" for path, token in locks.items())
    reply = hooked.move("/a/", "/b/", headers={"If": submitted})

    assert reply.status == (204 if old else 201)
    assert tree(hooked) == MOVED
    assert hooked.prop("/b/", TOPIC).text == "/a/"
    assert hooked.prop("/b/d/3", TOPIC).text == "/a/d/3"
    assert [
        hooked.prop(path, f"{D}getlastmodified").text for path in ("/b/1", "/b/d/3")
    ] == modified
    assert hooked.prop("/b/1", TOPIC) is None
    assert locked_roots(hooked) == set()
    assert hidden_names(hooked) == []
    fill(hooked, *SOURCE)
    assert hooked.prop("/a/d/3", TOPIC) is None


@pytest.mark.rfc("MV-05", "MV-06", "MV-10")
@pytest.mark.parametrize("old", [(), ("/b",), ("/b/", "/b/x")], ids=str)
def test_a_file_moves(hooked: AppDav, old: tuple[str, ...]) -> None:
    fill(hooked, "/a", *old)
    hooked.proppatch("/a", set={TOPIC: "mine"})
    lock = hooked.lock("/a")

    reply = hooked.move("/a", "/b", headers={"If": f"</a> (<{lock.token}>)"})

    assert reply.status == (204 if old else 201)
    assert tree(hooked) == {"/b": b"/a"}
    assert hooked.prop("/b", TOPIC).text == "mine"
    assert locked_roots(hooked) == set()
    assert hidden_names(hooked) == []


@pytest.mark.rfc("MV-07", "MV-08")
@pytest.mark.parametrize("locked", ["/a/d/3", "/b/x"])
def test_a_lock_in_the_way_moves_nothing(hooked: AppDav, locked: str) -> None:
    fill(hooked, *SOURCE, "/b/", "/b/x")
    hooked.lock(locked)
    before = tree(hooked)

    reply = hooked.move("/a/", "/b/")

    assert (reply.status, reply.condition_hrefs) == (423, [locked])
    assert tree(hooked) == before


@pytest.mark.rfc("MV-08", "MV-10")
@pytest.mark.parametrize("old", [(), ("/b/", "/b/x")], ids=str)
def test_what_cannot_be_copied_stays_and_so_does_all(
    hooked: AppDav, storage: TwoDevices, old: tuple[str, ...]
) -> None:
    fill(hooked, *SOURCE, *old)
    before = tree(hooked)
    storage.refuse("copy", "/a/d/3", AccessDenied("no"))

    reply = hooked.move("/a/", "/b/")

    assert reply.status == 207
    assert reply.multistatus.statuses == {"/a/d/3": 403}
    assert tree(hooked) == before
    assert hidden_names(hooked) == []


@pytest.mark.rfc("MV-10")
def test_no_space_there_is_507_and_all_stays(hooked: AppDav, storage: TwoDevices) -> None:
    fill(hooked, *SOURCE, "/b/", "/b/x")
    before = tree(hooked)
    storage.refuse("copy", "/a/d/3", NoSpace("full"))

    assert hooked.move("/a/", "/b/").status == 507
    assert tree(hooked) == before
    assert hidden_names(hooked) == []


@pytest.mark.rfc("MV-08", "MV-10")
def test_what_cannot_be_deleted_stays_with_its_ancestors(
    hooked: AppDav, storage: TwoDevices
) -> None:
    """Section 9.9.2: the failing URL is told of, and the namespaces are consistent."""
    fill(hooked, *SOURCE)
    hooked.proppatch("/a/d/3", set={TOPIC: "mine"})
    storage.refuse("delete", "/a/d/3", AccessDenied("no"))

    reply = hooked.move("/a/", "/b/")

    assert reply.status == 207
    assert reply.multistatus.statuses == {"/a/d/3": 403}
    assert tree(hooked) == MOVED | {"/a/": None, "/a/d/": None, "/a/d/3": b"/a/d/3"}
    assert hooked.prop("/b/d/3", TOPIC).text == "mine"


@pytest.mark.rfc("MV-10")
@pytest.mark.parametrize("written", ["/a/2", "/a/d/3", "/a/d/new"])
def test_what_is_written_to_the_source_meanwhile_is_not_lost(
    hooked: AppDav, storage: TwoDevices, written: str
) -> None:
    """It was published after it was copied, and before its place was deleted."""
    fill(hooked, *SOURCE)
    storage.once("delete", "/a/1", lambda: write(storage, written, b"another client's"))

    reply = hooked.move("/a/", "/b/")

    assert reply.status == 207
    assert reply.multistatus.statuses[written] == 409
    assert hooked.get(written).body == b"another client's"
    assert hooked.get("/b/1").body == b"/a/1"


@pytest.mark.rfc("MV-10")
def test_a_file_that_is_written_meanwhile_stays(hooked: AppDav, storage: TwoDevices) -> None:
    fill(hooked, "/a", "/b")
    copy = storage.copy

    def copy_and_write(source: DavPath, target: DavPath, **options: Any) -> Any:
        found = copy(source, target, **options)
        write(storage, "/a", b"another client's")
        return found

    storage.copy = copy_and_write  # type: ignore[method-assign]

    assert hooked.move("/a", "/b").status == 409
    assert tree(hooked) == {"/a": b"another client's", "/b": b"/b"}
    assert hidden_names(hooked) == []


SECOND = 1_000_000_000


def rewrite(storage: HookedStorage, path: str) -> None:
    """Publishes a file of the same size and the same second as what is there."""
    old = storage.stat(at(path))
    writer = storage.create(at(path))
    writer.write(b"#" * old.size)
    writer.seal(mtime_ns=old.mtime_ns // SECOND * SECOND)
    writer.commit(replace=True)


@pytest.mark.rfc("MV-10")
def test_what_is_written_within_the_same_second_is_not_lost(
    hooked: AppDav, storage: TwoDevices
) -> None:
    fill(hooked, *SOURCE)
    storage.once("delete", "/a/1", lambda: rewrite(storage, "/a/d/3"))

    reply = hooked.move("/a/", "/b/")

    assert reply.status == 207
    assert reply.multistatus.statuses == {"/a/d/3": 409}
    assert tree(hooked) == MOVED | {"/a/": None, "/a/d/": None, "/a/d/3": b"######"}


@pytest.mark.rfc("MV-10")
def test_a_file_that_is_written_within_the_same_second_stays(
    hooked: AppDav, storage: TwoDevices
) -> None:
    fill(hooked, "/a", "/b")
    copy = storage.copy

    def copy_and_write(source: DavPath, target: DavPath, **options: Any) -> Any:
        found = copy(source, target, **options)
        rewrite(storage, "/a")
        return found

    storage.copy = copy_and_write  # type: ignore[method-assign]

    assert hooked.move("/a", "/b").status == 409
    assert tree(hooked) == {"/a": b"##", "/b": b"/b"}


@pytest.mark.rfc("MV-10")
def test_a_collection_that_is_made_meanwhile_is_not_lost(
    hooked: AppDav, storage: TwoDevices
) -> None:
    fill(hooked, *SOURCE)
    storage.once("delete", "/a/1", lambda: storage.make_collection(at("/a/d/new")))

    reply = hooked.move("/a/", "/b/")

    assert reply.status == 207
    assert reply.multistatus.statuses == {"/a/d/new/": 409}
    assert tree(hooked) == MOVED | {"/a/": None, "/a/d/": None, "/a/d/new/": None}


@pytest.mark.rfc("MV-10", "MV-05")
@pytest.mark.parametrize("path", ["/a/d/3", "/a/e/"])
def test_properties_that_are_set_meanwhile_are_not_lost(
    hooked: AppDav, storage: TwoDevices, path: str
) -> None:
    fill(hooked, *SOURCE)
    hooked.proppatch(path, set={TOPIC: "old"})

    def patch() -> None:
        key = storage.canonical(at(path))
        element = b'<topic xmlns="http://example.org/ns">since</topic>'
        view.patch(key, [PropertyChange(QName(TOPIC), element)])

    hold = hooked.app.services.state.hold
    view: Any = None

    def holding(*args: Any, **options: Any) -> Any:
        # What another worker did in between, as the next one in the gate finds it.
        @contextmanager
        def entered() -> Iterator[Any]:
            nonlocal view
            with hold(*args, **options) as view:
                yield view

        return entered()

    hooked.app.services.state.hold = holding
    storage.once("delete", "/a/1", patch)

    reply = hooked.move("/a/", "/b/")

    assert reply.status == 207
    assert reply.multistatus.statuses == {path: 409}
    assert hooked.prop(path, TOPIC).text == "since"
    assert hooked.prop(path.replace("/a", "/b"), TOPIC).text == "old"


@pytest.mark.rfc("MV-10", "MV-08")
@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("old", [(), ("/b",), ("/b/", "/b/x")], ids=str)
def test_a_file_that_cannot_be_removed_leaves_everything_as_it_was(
    hooked: AppDav,
    storage: TwoDevices,
    monkeypatch: pytest.MonkeyPatch,
    old: tuple[str, ...],
    exchange: bool,
) -> None:
    if not exchange:
        monkeypatch.setattr(TwoDevices, "capabilities", frozenset())
    fill(hooked, "/a", *old)
    for path in ("/a", *old):
        hooked.proppatch(path, set={TOPIC: path})
    lock = hooked.lock("/a")
    before, tags = tree(hooked), [hooked.head(path).headers.get("etag") for path in ("/a", *old)]
    storage.refuse("delete", "/a", AccessDenied("no"))

    reply = hooked.move("/a", "/b", headers={"If": f"</a> (<{lock.token}>)"})

    assert reply.status == 403
    assert tree(hooked) == before
    assert [hooked.head(path).headers.get("etag") for path in ("/a", *old)] == tags
    assert [hooked.prop(path, TOPIC).text for path in ("/a", *old)] == ["/a", *old]
    assert locked_roots(hooked) == {"/a"}
    assert hidden_names(hooked) == []
    assert not hooked.app.services.state.has_changes()


@pytest.mark.security("F-05", "P-12")
@pytest.mark.rfc("MV-10")
@pytest.mark.parametrize("old", [(), ("/b",), ("/b/", "/b/x")], ids=str)
@pytest.mark.parametrize("source", [("/a",), ("/a/", "/a/1", "/a/d/", "/a/d/2")], ids=str)
def test_a_storage_that_fails_anywhere_loses_nothing(
    make_dav: MakeDav, source: tuple[str, ...], old: tuple[str, ...]
) -> None:
    """A file is at one place or at the other; a collection is whole where it was, or whole at its
    new place and perhaps not yet gone from the old one."""
    for number in range(1, 200):
        storage, state = TwoDevices(), MemoryState()
        dav = make_dav("memory", overrides={"storage": storage, "state": state})
        fill(dav, *source, *old)
        for path in source:
            dav.proppatch(path, set={TOPIC: path})
        before = tree(dav)
        faulty = FaultyStorage(storage, fail_at=number, error=StorageFailure)
        broken = make_dav("memory", overrides={"storage": faulty, "state": state})
        reply = broken.move("/a", "/b")
        found = tree(dav)
        moved = {"/b" + path[2:]: body for path, body in before.items() if path[:2] == "/a"}
        left = {path: body for path, body in found.items() if path not in moved}
        where = f"{number}th call, {reply.status}: {found}"
        if found != before:
            assert {path: found.get(path) for path in moved} == moved, where
            assert left.items() <= before.items(), where
            assert not left or (len(source) > 1 and not any(path in old for path in left)), where
            topics = [dav.prop("/b" + path[2:], TOPIC).text for path in source]
            assert topics == list(source), where
        if reply.status in (201, 204):
            assert found == moved, where
        assert hidden_names(dav) == [], where
        assert not state.has_changes(), where
        if not faulty.blown:
            break

    assert not faulty.blown
    assert found == moved


@pytest.fixture
def mounted(make_dav: MakeDav, tmp_path: Path) -> Iterator[AppDav]:
    """A root in which `/m/` is another file system."""
    point = tmp_path / "root" / "m"
    point.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=755", "tmpfs", str(point)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("no mount(8) here")
    if done.returncode:
        pytest.skip(f"not permitted to mount: {done.stderr.strip()}")
    try:
        yield make_dav("filesystem")
    finally:
        subprocess.run(["umount", "-l", str(point)], check=True)


@pytest.mark.security("P-12")
@pytest.mark.rfc("MV-05", "MV-10", "CP-17")
def test_to_and_from_a_file_system_mounted_inside(mounted: AppDav) -> None:
    dav = mounted
    fill(dav, *SOURCE, "/m/b/", "/m/b/x")
    dav.proppatch("/a/d/3", set={TOPIC: "mine"})
    before = {path: body for path, body in tree(dav).items() if not path.startswith("/m/b")}

    assert dav.move("/a/", "/m/b/").status == 204
    assert tree(dav) == {"/m/": None} | {f"/m{path}": body for path, body in MOVED.items()}
    assert dav.prop("/m/b/d/3", TOPIC).text == "mine"
    assert dav.move("/m/b/", "/a/").status == 201
    assert tree(dav) == before
    assert dav.prop("/a/d/3", TOPIC).text == "mine"
    assert dav.move("/a/1", "/m/1").status == 201
    assert dav.move("/m/1", "/a/2").status == 204
    assert dav.get("/a/2").body == b"/a/1"

    dav.put("/a/big", bytes(5 << 20))
    assert dav.move("/a/", "/m/full/").status == 507
    assert dav.copy("/a/big", "/m/big").status == 507
    assert dav.get("/a/2").body == b"/a/1"
    assert dav.members("/m/") == []
    assert hidden_names(dav) == []
    # What is mounted there cannot be moved away, and nothing of it is lost.
    fill(dav, "/m/kept")
    assert dav.move("/m/", "/n/").status == 403
    assert dav.get("/m/kept").body == b"/m/kept"


@pytest.mark.security("P-12", "K-01")
@pytest.mark.rfc("MV-10")
@pytest.mark.parametrize("ends", [("/a", "/m/b"), ("/m/a", "/b")], ids=["into it", "out of it"])
@pytest.mark.parametrize("source", [("",), ("/", "/1", "/d/", "/d/2")], ids=["file", "tree"])
def test_a_worker_that_dies_leaves_old_or_new_on_two_file_systems(
    mounted: AppDav, tmp_path: Path, source: tuple[str, ...], ends: tuple[str, str]
) -> None:
    """A real rename that fails with EXDEV; the next request of another worker finds one of the
    two, whole."""
    one, other = ends
    mounted.close()
    outcomes = []
    for number in range(1, 120):
        dav = make_app_dav(tmp_path, "filesystem", durability="none")
        for path in ("/a", "/b", "/m/a", "/m/b"):
            dav.delete(path)
        fill(dav, *(one + path for path in source))
        for path in source:
            dav.proppatch(one + path, set={TOPIC: f"of {path}"})
        before = tree(dav)
        dav.close()
        died = move_and_die(tmp_path, ends, number)
        dav = make_app_dav(tmp_path, "filesystem", durability="none")
        found = tree(dav)
        here = one if found == before else other
        topics = [dav.prop(here + path, TOPIC).text for path in source]
        left = hidden_names(dav), dav.app.services.state.has_changes()
        dav.close()
        outcomes.append(found == before)
        after = {other + path[len(one) :] if path != "/m/" else path for path in before}
        assert found.keys() in (before.keys(), after), f"died at {died}"
        assert topics == [f"of {path}" for path in source], f"died at {died}"
        assert left == ([], False), f"died at {died}"
        if died is None:
            break

    assert died is None
    assert outcomes == sorted(outcomes, reverse=True)
    assert outcomes[0]
    assert not outcomes[-1]


def move_and_die(folder: Path, ends: tuple[str, str], number: int) -> str | None:
    """Returns the step at which the worker died, None when it came to the end."""
    worker = DyingWorker(folder / "root", folder / "state", dies_at=number, fallbacks=())
    overrides = {"storage": worker.storage, "state": worker.state}
    dav = make_app_dav(folder, "filesystem", overrides=overrides, durability="none")
    try:
        with suppress(Death):
            dav.move(*ends)
    finally:
        dav.close()
    return worker.steps[-1] if worker.is_dead else None


@pytest.mark.parametrize("old", [(), ("/b",)], ids=["new", "over a file"])
def test_a_file_keeps_both_times(hooked: AppDav, old: tuple[str, ...]) -> None:
    fill(hooked, *old)
    hooked.put("/a", b"x", {"X-OC-Mtime": "2000000000", "X-OC-CTime": "1000000000"})
    hooked.clock.pass_s(10**9)
    before = [hooked.prop("/a", D + name).text for name in ("getlastmodified", "creationdate")]

    hooked.move("/a", "/b")

    assert before == [
        hooked.prop("/b", D + name).text for name in ("getlastmodified", "creationdate")
    ]


def test_a_file_gets_the_times_that_the_client_asks_for(hooked: AppDav) -> None:
    hooked.put("/a", b"x")
    times = {"X-OC-Mtime": "1000000000", "X-OC-CTime": "1000000000"}

    reply = hooked.move("/a", "/b", headers=times)

    assert (reply.headers["x-oc-mtime"], reply.headers["x-oc-ctime"]) == ("accepted", "accepted")
    assert hooked.prop("/b", f"{D}getlastmodified").text == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert hooked.prop("/b", f"{D}creationdate").text == "2001-09-09T01:46:40Z"
