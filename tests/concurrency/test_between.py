"""What somebody else does between two steps of one request, at exactly that moment."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from davserver.protocol.path import DavPath
from davserver.state.memory import MemoryState
from davserver.storage.base import Reader, Stat
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav
from tests.support.storages import HookedStorage
from tests.support.trees import fill, hidden_names, tree

NS = "{http://example.org/ns}"
MakeDav = Callable[..., AppDav]


class Interrupted(MemoryStorage):
    """Runs `meanwhile` once: after a file was copied, or before one is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.after_copy: list[Callable[[], object]] = []
        self.before_open: list[Callable[[], object]] = []

    def copy(self, source: DavPath, target: DavPath, **options: Any) -> Stat:
        stat = super().copy(source, target, **options)
        if self.after_copy:
            self.after_copy.pop()()
        return stat

    def open(self, path: DavPath) -> Reader:
        if self.before_open:
            self.before_open.pop()()
        return super().open(path)


@contextmanager
def held(state: MemoryState, seconds: float) -> Iterator[None]:
    """Somebody else holds the gate, and leaves it after a while."""
    inside = threading.Event()

    def hold() -> None:
        with state.hold([], wait_s=1):
            inside.set()
            threading.Event().wait(seconds)

    thread = threading.Thread(target=hold)
    thread.start()
    inside.wait(5)
    yield
    thread.join()


@pytest.mark.rfc("PU-12")
@pytest.mark.security("Q-02")
@pytest.mark.parametrize("size", [1, 1000, 2_500_000])
@pytest.mark.parametrize("storage", ["memory", "filesystem"])
def test_put_that_has_to_wait_for_the_gate_stores_its_body_once(
    make_dav: MakeDav, storage: str, size: int
) -> None:
    state = MemoryState()
    parts = {"state": state} | ({"storage": MemoryStorage()} if storage == "memory" else {})
    dav = make_dav("filesystem", overrides=parts, durability="none")
    for body in (b"0" * size, b"1" * size):
        with held(state, 0.05):
            reply = dav.put("/a", body)

        assert reply.status in (201, 204)
        assert dav.get("/a").body == body


@pytest.mark.security("Q-02")
def test_wait_for_the_gate_that_is_over_is_503(make_dav: MakeDav) -> None:
    state = MemoryState()
    parts = {"state": state, "storage": MemoryStorage()}
    dav = make_dav("memory", overrides=parts, gate_wait_s=0.05)
    fill(dav, "/a")
    with held(state, 0.5):
        replies = [
            dav.put("/a", b"never"),
            dav.lock_request("/a"),
            dav.proppatch("/a", set={f"{NS}p": "never"}),
            dav.delete("/a"),
            dav.move("/a", "/b"),
            dav.copy("/a", "/b"),
            dav.mkcol("/c"),
        ]

    assert {reply.status for reply in replies} == {503}
    assert all("retry-after" in reply.headers for reply in replies)
    assert tree(dav) == {"/a": b"/a"}
    assert hidden_names(dav) == []


HOLDER = """
import sys, time, apsw
connection = apsw.Connection(sys.argv[1])
connection.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.security("Q-02")
def test_database_that_somebody_else_holds_is_503_and_loses_nothing(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    fill(dav, "/a")
    dav.proppatch("/a", set={f"{NS}p": "kept"})
    assert dav.root is not None
    database = str(dav.root.parent / "state" / "state.sqlite3")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, database],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        replies = [
            dav.proppatch("/a", set={f"{NS}p": "never"}),
            dav.delete("/a"),
        ]
        holder.communicate(b"")

    assert {reply.status for reply in replies} == {503}
    assert all("retry-after" in reply.headers for reply in replies)
    assert dav.get("/a").body == b"/a"
    assert dav.prop("/a", f"{NS}p").text == "kept"
    assert dav.locks("/a") == []


@pytest.mark.rfc("CP-20", "CP-09")
@pytest.mark.parametrize("times", [1, 3, 10], ids=["once", "often", "always"])
def test_copy_of_a_file_that_is_replaced_meanwhile_is_of_one_version(
    make_dav: MakeDav, times: int
) -> None:
    storage, state = Interrupted(), MemoryState()
    dav = make_dav("memory", overrides={"storage": storage, "state": state})
    for number in range(times + 1):
        dav.put(f"/{number}", b"%d" % number)
        dav.proppatch(f"/{number}", set={f"{NS}number": str(number)})
    dav.move("/0", "/source")

    def replacing(number: int) -> Callable[[], None]:
        def replace() -> None:
            path, goal = DavPath((str(number),)), DavPath(("source",))
            with state.hold([], wait_s=0) as view:
                storage.rename(path, goal, replace=True)
                view.move_rows(storage.canonical(path), storage.canonical(goal))

        return replace

    # The last attempt is made inside the gate: nobody can come between any more.
    storage.after_copy = [replacing(number) for number in range(min(times, 4), 0, -1)]

    assert dav.copy("/source", "/copy").status == 201
    body = dav.get("/copy").body
    assert dav.prop("/copy", f"{NS}number").text == body.decode()
    assert hidden_names(dav) == []


@pytest.mark.rfc("CP-04")
def test_copy_whose_destinations_parent_goes_meanwhile_is_409(make_dav: MakeDav) -> None:
    storage = Interrupted()
    dav = make_dav("memory", overrides={"storage": storage, "state": MemoryState()})
    fill(dav, "/a", "/c/")
    storage.after_copy = [lambda: storage.rename(DavPath(("c",)), DavPath(("elsewhere",)))]

    assert dav.copy("/a", "/c/b").status == 409
    assert tree(dav) == {"/a": b"/a", "/elsewhere/": None}
    assert hidden_names(dav) == []


@pytest.mark.rfc("HC-02")
def test_read_under_if_match_gives_no_bytes_of_a_newer_version(make_dav: MakeDav) -> None:
    """Who resumes a download sends If-Match and Range: the parts must fit together."""
    storage = Interrupted()
    dav = make_dav("memory", overrides={"storage": storage, "state": MemoryState()})
    dav.put("/new", b"other bytes")
    dav.put("/a", b"the bytes")
    tag = dav.head("/a").headers["etag"]
    replace = [
        lambda: storage.rename(DavPath(("new",)), DavPath(("a",)), replace=True),
    ]
    storage.before_open = replace

    reply = dav.get("/a", {"If-Match": tag, "Range": "bytes=4-"})

    assert reply.status == 412
    assert b"bytes" not in reply.body


@pytest.mark.rfc("DL-01")
@pytest.mark.parametrize("was", ["file", "collection"])
def test_delete_of_what_has_changed_its_kind_deletes_it(make_dav: MakeDav, was: str) -> None:
    storage = HookedStorage()
    dav = make_dav("memory", overrides={"storage": storage, "state": MemoryState()})
    fill(dav, "/tree/", "/tree/member", "/file")
    first, second = ("file", "tree") if was == "file" else ("tree", "file")

    def exchange() -> None:
        storage.exchange(DavPath(("tree",)), DavPath(("file",)))

    call = "delete" if was == "file" else "scan_all"
    storage.once(call, f"/{first}", exchange)

    assert dav.delete(f"/{first}").status == 204
    assert first != second
    assert dav.get(f"/{first}").status == 404


@pytest.mark.rfc("G-04", "CP-08")
@pytest.mark.parametrize(
    ("locked", "source", "root"),
    [("/tree/", "/file", "/tree"), ("/file", "/tree/", "/file/")],
    ids=["collection becomes file", "file becomes collection"],
)
def test_lock_that_stays_on_a_destination_of_another_kind_shows_its_root(
    dav: AppDav, locked: str, source: str, root: str
) -> None:
    fill(dav, "/tree/", "/file")
    token = dav.lock(locked).token
    reply = dav.copy(source, locked, headers={"If": f"<{locked}> (<{token}>)"})

    assert reply.status == 204
    (shown,) = dav.locks(root)
    assert shown.findtext("{DAV:}lockroot/{DAV:}href") == root
    assert dav.unlock(root, token).status == 204
