"""MOVE (RFC 4918 section 9.9) across file systems: a copy is published whole, then the source
goes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from davserver.errors import AccessDenied, CrossDevice, NoSpace
from davserver.protocol.path import DavPath
from tests.conftest import AppDav
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
