"""Atomic batches: all operations or none, with disk, properties, locks and quota as they were."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from davserver.counting import recount
from davserver.errors import NoSpace, StateFailure, StorageFailure
from davserver.protocol.path import DavPath
from davserver.state.sqlfile import Database
from davserver.storage.faulty import FaultyStorage
from davserver.storage.memory import MemoryStorage
from tests.conftest import AppDav
from tests.service.test_batch import PATCH, post, results, statuses
from tests.support.dav import XML, Dav
from tests.support.reply import Reply
from tests.support.shares import make_shares

TOPIC = "{urn:x}topic"
LIVE = (
    "<D:getlastmodified>Mon, 12 Jan 1998 09:25:56 GMT</D:getlastmodified>"
    '<e:executable xmlns:e="http://apache.org/dav/props/">T</e:executable>'
)
WITH_TIME = {"set": {"DAV:": {"getlastmodified": "Mon, 12 Jan 1998 09:25:56 GMT"}}}
FAILS: dict[str, Any] = {"op": "mkcol", "href": "/none/c"}
EVERYTHING: list[dict[str, Any]] = [
    {"op": "mkcol", "href": "/new"},
    {"op": "put", "href": "/new/f", "content": "new"},
    {"op": "put", "href": "/f", "content": "over"},
    {"op": "proppatch", "href": "/f", "xml": PATCH.format(LIVE)},
    {"op": "move", "href": "/f", "destination": "/c/g"},
    {"op": "move", "href": "/c", "destination": "/f"},
    {"op": "copy", "href": "/new", "destination": "/d"},
    {"op": "move", "href": "/d", "destination": "/f"},
    {"op": "mkcol", "href": "/c"},
    {"op": "copy", "href": "/f/f", "destination": "/c/copy"},
    {"op": "delete", "href": "/f"},
    {"op": "delete", "href": "/new"},
    {"op": "move", "href": "/c", "destination": "/d"},
    {"op": "lock", "href": "/d/copy"},
    {"op": "lock", "href": "/unmapped"},
]


def fill(dav: Dav) -> str:
    """Returns the token of a lock."""
    dav.mkcol("/c")
    dav.mkcol("/d")
    for path in ("/f", "/c/g", "/c/h", "/d/i"):
        dav.put(path, path.encode())
        dav.proppatch(path, set={TOPIC: f"of {path}"})
    return dav.lock("/c/h").token


def world(dav: Dav) -> dict[str, object]:
    """Returns all that there is; but collections may have got newer."""
    asked = [TOPIC, "{DAV:}lockdiscovery", "{DAV:}getetag", "{DAV:}creationdate"]
    asked += ["{http://apache.org/dav/props/}executable"]
    answer = dav.propfind("/", props=asked, depth="infinity")
    found: dict[str, object] = {}
    for href in answer.hrefs:
        properties = answer.ok(href)
        locks = properties.get("{DAV:}lockdiscovery")
        tokens = [] if locks is None else [e.text for e in locks.iter("{DAV:}href")]
        texts = {name: properties[name].text for name in asked if name in properties}
        content = None if href.endswith("/") else dav.get(href).body
        found[href] = (content, texts, tokens)
    return found


def nothing_is_hidden(dav: AppDav) -> bool:
    return dav.root is None or not list(dav.root.rglob(".davserver.*"))


def locked(*operations: dict[str, Any], token: str) -> list[dict[str, Any]]:
    return [{"lock-tokens": [token]} | operation for operation in operations]


def test_all_stand_with_200(dav: AppDav) -> None:
    token = fill(dav)
    reply = post(dav, *locked(*EVERYTHING, token=token), atomic=True)
    expected = [201, 201, 204, 207, 204, 201, 204, 204, 201, 201, 204, 204, 201, 200, 201]

    assert (reply.status, statuses(reply)) == (200, expected), reply
    assert sorted(world(dav)) == ["/", "/d/", "/d/copy", "/unmapped"]
    assert dav.get("/d/copy").body == b"new"
    assert dav.get("/d/copy").headers["etag"] == results(reply)[9].get("headers", {}).get(
        "etag", dav.get("/d/copy").headers["etag"]
    )
    assert nothing_is_hidden(dav)


@pytest.mark.parametrize("count", [1, 4, len(EVERYTHING)])
def test_one_that_fails_undoes_all(dav: AppDav, count: int) -> None:
    token = fill(dav)
    before = world(dav)
    operations = locked(*EVERYTHING[:count], token=token)
    reply = post(dav, *operations, FAILS, operations[0], atomic=True)

    assert reply.status == 207
    assert statuses(reply) == [424] * count + [409, 424]
    assert world(dav) == before
    assert nothing_is_hidden(dav)


def test_bindings_are_undone(make_dav: Callable[..., AppDav]) -> None:
    """What has two (RFC 5842) is handed over, and comes back."""
    dav = make_dav()
    dav.mkcol("/c")
    dav.mkcol("/d")
    dav.put("/c/f", b"content")
    body = "<D:bind xmlns:D='DAV:'><D:segment>g</D:segment><D:href>/c/f</D:href></D:bind>"
    assert dav.request("BIND", "/d", {"Content-Type": XML}, body.encode()).status == 201
    dav.proppatch("/d/g", set={TOPIC: "shared"})
    before = world(dav)
    operations: list[dict[str, Any]] = [
        {"op": "put", "href": "/d/g", "content": "over"},
        {"op": "move", "href": "/c", "destination": "/e"},
        {"op": "delete", "href": "/e/f"},
        {"op": "move", "href": "/d", "destination": "/c"},
    ]
    failed = post(dav, *operations, FAILS, atomic=True)
    undone = world(dav)
    done = post(dav, *operations, atomic=True)

    assert statuses(failed) == [424, 424, 424, 424, 409]
    assert undone == before
    assert done.status == 200
    assert dav.get("/c/g").body == b"over"
    assert dav.prop("/c/g", TOPIC).text == "shared"
    assert nothing_is_hidden(dav)


def test_a_tree_is_set_aside_whole(make_dav: Callable[..., AppDav]) -> None:
    """However much is in it; not so where a member has to be looked at."""
    dav = make_dav()
    assert dav.root is not None
    fill(dav)
    dav.unlock("/c/h", token_of(dav, "/c/h"))
    before = world(dav)
    reply = post(dav, {"op": "delete", "href": "/c"}, FAILS, atomic=True)
    undone = world(dav)
    done = post(dav, {"op": "delete", "href": "/c"}, atomic=True)

    assert statuses(reply) == [424, 409]
    assert undone == before
    assert (done.status, statuses(done)) == (200, [204])
    assert dav.get("/c").status == 404
    assert dav.mkcol("/c").status == 201
    assert nothing_is_hidden(dav)


def test_from_one_share_to_another_it_is_all_or_nothing_too(
    make_dav: Callable[..., AppDav], tmp_path: Path
) -> None:
    dav = make_shares(make_dav, tmp_path, "one", "two")
    for path in ("/one/c", "/one/c/d", "/two/c"):
        dav.mkcol(path)
    for path in ("/one/c/f", "/one/c/d/g", "/one/h", "/two/c/i"):
        dav.put(path, path.encode())
        dav.proppatch(path, set={TOPIC: f"of {path}"})
    before = world(dav)
    operations: list[dict[str, Any]] = [
        {"op": "move", "href": "/one/c", "destination": "/two/c"},
        {"op": "copy", "href": "/two/c/f", "destination": "/one/c"},
        {"op": "move", "href": "/one/h", "destination": "/two/c/f"},
    ]
    failed = post(dav, *operations, FAILS | {"href": "/two/none/c"}, atomic=True)
    undone = world(dav)
    done = post(dav, *operations, atomic=True)
    found = world(dav)

    assert statuses(failed) == [424, 424, 424, 409]
    assert undone == before
    assert (done.status, statuses(done)) == (200, [204, 201, 204])
    assert [href for href in sorted(found) if href[-1] != "/"] == [
        "/one/c",
        "/two/c/d/g",
        "/two/c/f",
    ]
    assert dav.prop("/two/c/f", TOPIC).text == "of /one/h"
    assert nothing_is_hidden(dav)


def token_of(dav: Dav, path: str) -> str:
    (lock,) = dav.locks(path)
    return str(lock.findtext("{DAV:}locktoken/{DAV:}href"))


CAUSES: dict[str, tuple[dict[str, Any], int]] = {
    "a condition": ({"op": "put", "href": "/f", "content": "", "if-none-match": "*"}, 412),
    "a lock": ({"op": "delete", "href": "/c/h"}, 423),
    "a lock in a tree": ({"op": "delete", "href": "/c"}, 207),
    "a property": ({"op": "proppatch", "href": "/f", "xml": PATCH.format("<D:getetag/>")}, 207),
    "a reserved name": ({"op": "delete", "href": "/.davserver/health"}, 404),
}


@pytest.mark.parametrize(("cause", "status"), CAUSES.values(), ids=CAUSES.keys())
def test_the_cause_is_told_as_the_single_method_tells_it(
    dav: AppDav, cause: dict[str, Any], status: int
) -> None:
    fill(dav)
    before = world(dav)
    reply = post(dav, {"op": "mkcol", "href": "/x"}, cause, atomic=True)

    assert (reply.status, statuses(reply)) == (207, [424, status])
    assert ("multistatus" in results(reply)[1]) == (status == 207)
    assert world(dav) == before


def test_what_is_undone_has_its_mode_and_times_again(make_dav: Callable[..., AppDav]) -> None:
    """To the nanosecond, though that of a whole second is never given twice."""
    dav = make_dav()
    assert dav.root is not None
    dav.put("/f", b"x")
    file = dav.root / "f"
    file.chmod(0o741)
    os.utime(file, ns=(0, 1_000_000_000_000_000_000))
    etag = dav.get("/f").headers["etag"]
    reply = post(
        dav, {"op": "proppatch", "href": "/f", "xml": PATCH.format(LIVE)}, FAILS, atomic=True
    )
    found = file.stat()

    assert statuses(reply) == [424, 409]
    assert (found.st_mode & 0o7777, found.st_mtime_ns) == (0o741, 1_000_000_000_000_000_000)
    assert dav.get("/f").headers["etag"] == etag


def test_links_are_undone_as_links(make_dav: Callable[..., AppDav]) -> None:
    dav = make_dav()
    assert dav.root is not None
    dav.put("/f", b"x")
    (dav.root / "link").symlink_to("f")
    (dav.root / "nowhere").symlink_to("none")
    (dav.root / "twin").hardlink_to(dav.root / "f")
    modified_ns = (dav.root / "f").stat().st_mtime_ns
    reply = post(
        dav,
        {"op": "put", "href": "/link", "content": "through it"},
        {"op": "proppatch", "href": "/link", "xml": PATCH.format(LIVE)},
        {"op": "delete", "href": "/link"},
        {"op": "delete", "href": "/nowhere"},
        {"op": "move", "href": "/twin", "destination": "/f"},
        FAILS,
        atomic=True,
    )

    assert statuses(reply) == [*[424] * 5, 409], reply
    assert (dav.root / "f").stat().st_mtime_ns == modified_ns
    assert os.readlink(dav.root / "link") == "f"
    assert os.readlink(dav.root / "nowhere") == "none"
    assert (dav.root / "f").read_bytes() == b"x"
    assert (dav.root / "twin").samefile(dav.root / "f")
    assert nothing_is_hidden(dav)


@pytest.mark.parametrize("how", [{}, WITH_TIME], ids=["plain", "extended"])
def test_what_somebody_beside_put_in_between_stays(
    make_dav: Callable[..., AppDav], how: dict[str, Any]
) -> None:
    """A collection that the batch made has a member by now that is none of its doing."""
    dav = make_dav()
    root = dav.root
    assert root is not None

    class Beside:
        """Adds it when the last operation is looked up."""

        def permits(self, principal: object, privilege: object, path: DavPath) -> bool:
            if path.name == "last":
                (root / "new" / "foreign").write_bytes(b"foreign")
            return True

    dav = make_dav(overrides={"authorizer": Beside()})
    reply = post(
        dav,
        {"op": "mkcol", "href": "/new", **how},
        {"op": "put", "href": "/last", "content": ""},
        FAILS,
        atomic=True,
    )

    assert statuses(reply) == [424, 424, 409]
    assert (root / "new" / "foreign").read_bytes() == b"foreign"
    assert dav.members("/") == ["/new/"]


@pytest.mark.parametrize("used", [8, 3])
def test_a_quota_is_as_it_was(make_dav: Callable[..., AppDav], tmp_path: Any, used: int) -> None:
    (tmp_path / "team").mkdir()
    share = {"name": "team", "path": tmp_path / "team", "quota": 10}
    dav = make_dav(root=None, share=[share])
    dav.put("/team/f", b"x" * used)
    grown = {"op": "put", "href": "/team/g", "content": "12"}
    shrunk = {"op": "delete", "href": "/team/f"}
    failed = post(dav, grown, shrunk, {"op": "mkcol", "href": "/team/none/c"}, atomic=True)
    left = int(dav.prop("/team", "{DAV:}quota-available-bytes").text)
    full = post(dav, {"op": "put", "href": "/team/g", "content": "x" * (11 - used)}, atomic=True)
    done = post(dav, grown, shrunk, atomic=True)

    assert (failed.status, left) == (207, 10 - used)
    assert statuses(full) == [507]
    assert done.status == 200
    assert dav.prop("/team", "{DAV:}quota-available-bytes").text == "8"


def test_a_quota_is_counted_again_where_the_state_cannot_be_read_to_take_back(
    make_dav: Callable[..., AppDav], tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "team").mkdir()
    share = {"name": "team", "path": tmp_path / "team", "quota": 10}
    dav = make_dav(root=None, share=[share])
    dav.put("/team/f", b"12")
    operations = (
        {"op": "put", "href": "/team/g", "content": "34"},
        {"op": "lock", "href": "/team/g"},
        {"op": "mkcol", "href": "/team/none/c"},
    )
    query = Database.query
    is_undone = False

    def fail_after_rollback(self: Database, sql: str, bindings: Any = ()) -> Any:
        nonlocal is_undone
        if is_undone:
            is_undone = False
            raise StateFailure("not now")
        is_undone = sql == "ROLLBACK"
        return query(self, sql, bindings)

    with monkeypatch.context() as disk:
        disk.setattr(Database, "query", fail_after_rollback)
        assert post(dav, *operations, atomic=True).status >= 207
    assert dav.members("/team/") == ["/team/f"]
    recount(dav.app.services, lambda: False)

    assert dav.prop("/team", "{DAV:}quota-available-bytes").text == "8"


def broken_at(dav: Dav, reply: Reply) -> int:
    """Returns the status of what broke: of the batch, or of its one cause."""
    if reply.status != 207:
        return reply.status
    (cause,) = (status for status in statuses(reply) if status != 424)
    return cause


@pytest.mark.timeout(120)
@pytest.mark.parametrize("stride", [11, pytest.param(1, marks=pytest.mark.long)])
def test_whatever_call_fails_all_is_undone(make_dav: Callable[..., AppDav], stride: int) -> None:
    """The disk fails once, at one call after the other."""
    for fail_at in range(1, 2_000, stride):
        memory = MemoryStorage()
        plain = make_dav("memory", overrides={"storage": memory})
        token = fill(plain)
        before = world(plain)
        faulty = FaultyStorage(memory, fail_at=fail_at, error=NoSpace)
        state = plain.app.services.state  # type: ignore[attr-defined]
        dav = make_dav("memory", overrides={"storage": faulty, "state": state})
        reply = post(dav, *locked(*EVERYTHING, token=token), atomic=True)
        if not faulty.blown:
            break
        found = world(plain)
        if reply.status == 200:
            assert found != before, fail_at
        else:
            assert broken_at(dav, reply) in (207, 507, 404, 409, 500, 503), (fail_at, reply)
            assert found == before, (fail_at, reply)

    assert reply.status == 200
    assert fail_at > 100


def test_a_state_that_takes_no_commit_undoes_all(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    from davserver.state.sqlview import SqlView

    dav = make_dav()
    token = fill(dav)
    before = world(dav)
    commit, calls = SqlView.commit, 0

    def fail_once(view: SqlView) -> None:
        nonlocal calls
        calls += 1
        if calls == 2:  # the first one is that of the journal
            raise StateFailure("no commit")
        commit(view)

    with monkeypatch.context() as patched:
        patched.setattr(SqlView, "commit", fail_once)
        reply = post(dav, *locked(*EVERYTHING, token=token), atomic=True)

    assert reply.status == 500
    assert world(dav) == before
    assert nothing_is_hidden(dav)


def test_what_cannot_be_undone_now_is_undone_later(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    from davserver.storage.filesystem import FilesystemStorage

    dav = make_dav()
    token = fill(dav)
    before = world(dav)
    rename = FilesystemStorage.rename

    def refuse(self: Any, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        if target.is_reserved and not source.is_reserved and source.name == "new":
            raise StorageFailure("the disk is failing")
        rename(self, source, target, replace=replace)

    with monkeypatch.context() as patched:
        patched.setattr(FilesystemStorage, "rename", refuse)
        operations = locked(*EVERYTHING[:5], token=token)
        reply = post(dav, *operations, FAILS, atomic=True)
        half_done = sorted(world(dav))

    assert reply.status == 207
    assert "/new/" in half_done
    assert world(dav) == before
    assert nothing_is_hidden(dav)


def test_a_log_that_nobody_can_read_keeps_nobody_from_writing(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    from davserver.storage.filesystem import FilesystemStorage

    dav = make_dav()
    with monkeypatch.context() as patched:
        patched.setattr(FilesystemStorage, "rename", refuse_from_new(FilesystemStorage.rename))
        post(dav, {"op": "mkcol", "href": "/new"}, FAILS, atomic=True)
    state = dav.app.services.settings.state_folder  # type: ignore[attr-defined]
    (log,) = (state / "undo").iterdir()
    log.write_bytes(b"{}\n")

    assert dav.put("/f", b"x").status == 201
    assert dav.members("/") == ["/f", "/new/"]


def refuse_from_new(rename: Callable[..., None]) -> Callable[..., None]:
    def refuse(self: Any, source: DavPath, target: DavPath, *, replace: bool = False) -> None:
        if source.name == "new":
            raise StorageFailure("the disk is failing")
        rename(self, source, target, replace=replace)

    return refuse


@pytest.mark.parametrize("call", ["patch", "add_lock", "record"])
def test_an_operation_whose_part_of_the_state_fails_undoes_all(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    from davserver.state.sqlview import SqlView

    dav = make_dav()
    token = fill(dav)
    before = world(dav)
    inner, calls = getattr(SqlView, call), 0

    def fail(view: SqlView, *args: Any) -> object:
        nonlocal calls
        calls += 1
        if calls == 2 or call != "record":
            raise StateFailure("it cannot be written")
        return inner(view, *args)

    with monkeypatch.context() as patched:
        patched.setattr(SqlView, call, fail)
        reply = post(dav, *locked(*EVERYTHING, token=token), atomic=True)

    assert broken_at(dav, reply) == 500
    assert world(dav) == before
    assert nothing_is_hidden(dav)


@pytest.mark.parametrize("step_s", [0.4, 4.0], ids=["between operations", "in a tree"])
def test_one_that_keeps_others_waiting_for_too_long_is_undone(
    make_dav: Callable[..., AppDav], monkeypatch: pytest.MonkeyPatch, step_s: float
) -> None:
    dav = make_dav(batch_hold_s=5)
    token = fill(dav)
    before = world(dav)
    ticks = iter(range(10_000))
    monkeypatch.setattr("davserver.service._operations.monotonic", lambda: next(ticks) * step_s)
    tree: dict[str, Any] = {"op": "copy", "href": "/c", "destination": "/copy"}
    reply = post(dav, *locked(tree, *EVERYTHING, token=token), atomic=True)

    assert reply.status == 503
    assert b"more than 5 seconds" in reply.body
    assert world(dav) == before
    assert nothing_is_hidden(dav)
