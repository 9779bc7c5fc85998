"""Uploads in pieces: who may, how much, and what holds when the last piece comes."""

from __future__ import annotations

import asyncio
import errno
import os
import struct
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from davserver.auth.base import Principal, Privilege
from davserver.errors import AccessDenied, CrossDevice, NoSpace, StateFailure
from davserver.protocol.path import DavPath
from davserver.service import uploads
from davserver.state.base import Phase
from davserver.storage import parts as parts_module
from davserver.storage.faulty import FaultyStorage
from davserver.storage.memory import MemoryStorage
from davserver.storage.writer import FileWriter
from tests.conftest import AppDav, make_app_dav
from tests.support.processes import await_true
from tests.support.reply import Reply
from tests.support.shares import make_shares
from tests.support.trees import hidden_names
from tests.support.uploading import LARGE, append, begin, offset_of, parts
from tests.support.users import TestUsers, User

MakeDav = Callable[..., AppDav]
TOPIC = "{http://example.org/ns}topic"


def is_refused_and_kept(dav: AppDav, upload: str, reply: Reply, status: int, size: int) -> bool:
    """True when the end was refused, and can be tried again."""
    head = dav.head(upload)
    return (
        reply.status == status
        and (reply.headers["upload-complete"], head.headers["upload-complete"]) == ("?1", "?0")
        and int(head.headers["upload-offset"]) == size
    )


# -- whose it is -----------------------------------------------------------------------------


def test_nobody_sees_it_but_who_began_it(make_dav: MakeDav) -> None:
    carrier = make_dav("memory", overrides={"authenticator": TestUsers()})
    alice, bob = User(carrier, "alice"), User(carrier, "bob")
    upload = begin(alice, "/a", b"one")

    assert bob.head(upload).status == 404
    assert bob.options(upload).status == 404
    assert append(bob, upload, 3, b"x", last=True).status == 404
    assert bob.delete(upload).status == 404
    assert carrier.head(upload).status == 401
    assert append(alice, upload, 3, b"two", last=True).status == 201
    assert bob.head(upload).status == 404


class Fickle:
    """An Authorizer that lets everybody write until it is told otherwise."""

    may_write = True

    def permits(self, principal: Principal, privilege: Privilege, path: DavPath) -> bool:
        return self.may_write or privilege is Privilege.READ


def test_who_may_not_write_any_more_ends_nothing(make_dav: MakeDav) -> None:
    rights = Fickle()
    dav = make_dav("memory", overrides={"authorizer": rights})
    upload = begin(dav, "/a", b"one")
    rights.may_write = False

    assert append(dav, upload, 3, b"two", last=True).status == 403
    assert dav.get("/a").status == 404
    rights.may_write = True
    assert append(dav, upload, 3, b"two", last=True).status == 201


def test_rights_that_end_while_the_last_piece_comes_count(make_dav: MakeDav) -> None:
    rights = Fickle()
    dav = make_dav("memory", overrides={"authorizer": rights})
    upload = begin(dav, "/a", b"one")

    async def end(number: int) -> None:
        rights.may_write = number == 0

    headers = {
        "Content-Type": "application/partial-upload",
        "Upload-Offset": "3",
        "Upload-Complete": "?1",
    }
    reply = dav.run(dav.send("PATCH", upload, headers, b"two", before=end)).reply
    assert reply.status == 201
    again = begin(dav, "/a", b"one")
    reply = dav.run(dav.send("PATCH", again, headers, [b"tw", b"o"], before=end)).reply

    assert is_refused_and_kept(dav, again, reply, 403, 6)


# -- conditions, locks -----------------------------------------------------------------------


@pytest.mark.rfc("RU-06")
def test_a_target_that_changed_meanwhile_is_not_overwritten(dav: AppDav) -> None:
    etag = dav.put("/a", b"old").headers["etag"]
    upload = begin(dav, "/a", b"one", If_Match=etag)
    other = dav.put("/a", b"other").headers["etag"]
    reply = append(dav, upload, 3, b"two", last=True)

    assert is_refused_and_kept(dav, upload, reply, 412, 6)
    assert dav.get("/a").body == b"other"
    # Now the client knows: the condition of the second try is the one that counts.
    assert append(dav, upload, 6, last=True, If_Match=other).status == 204
    assert dav.get("/a").body == b"onetwo"


@pytest.mark.rfc("RU-06")
def test_a_target_that_came_meanwhile_is_not_overwritten(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one", If_None_Match="*")
    dav.put("/a", b"other")
    reply = append(dav, upload, 3, b"two", last=True)

    assert is_refused_and_kept(dav, upload, reply, 412, 6)
    assert dav.get("/a").body == b"other"
    assert append(dav, upload, 6, last=True, If_Match="*").status == 204


@pytest.mark.rfc("RU-06")
def test_conditions_are_looked_at_when_it_begins(dav: AppDav) -> None:
    dav.put("/a", b"old")
    lock = dav.lock("/b").token
    for headers in ({"If-None-Match": "*"}, {"If-Match": '"x"'}):
        assert dav.put("/a", b"x", {"Upload-Complete": "?0"} | headers).status == 412
    assert dav.put("/b", b"x", {"Upload-Complete": "?0"}).status == 423
    assert dav.put("/no/c", b"x", {"Upload-Complete": "?0"}).status == 409
    assert dav.put("/", b"x", {"Upload-Complete": "?0"}).status == 405
    upload = begin(dav, "/b", b"x", If=f"(<{lock}>)")

    assert append(dav, upload, 1, last=True).status == 204


@pytest.mark.rfc("RU-06")
def test_a_lock_that_came_meanwhile_needs_its_token(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one")
    dav.put("/a", b"old")
    lock = dav.lock("/a")
    reply = append(dav, upload, 3, b"two", last=True)

    assert is_refused_and_kept(dav, upload, reply, 423, 6)
    assert dav.get("/a").body == b"old"
    assert append(dav, upload, 6, last=True, If=f"</a> (<{lock.token}>)").status == 204


@pytest.mark.rfc("RU-06")
def test_a_target_that_became_a_collection_is_405(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one")
    dav.mkcol("/a")

    assert is_refused_and_kept(dav, upload, append(dav, upload, 3, last=True), 405, 3)


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_parent_that_goes_takes_nothing_along(dav: AppDav, how: str) -> None:
    dav.mkcol("/c")
    upload = begin(dav, "/c/a", b"one")
    gone = dav.delete("/c/") if how == "deleted" else dav.move("/c/", "/d/")
    reply = append(dav, upload, 3, b"two", last=True)

    assert gone.status in (201, 204)
    assert is_refused_and_kept(dav, upload, reply, 409, 6)
    dav.mkcol("/c")
    assert append(dav, upload, 6, last=True).status == 201
    assert dav.get("/c/a").body == b"onetwo"


# -- what the beginning said -------------------------------------------------------------------


@pytest.mark.rfc("RU-06")
def test_what_the_first_request_said_of_the_file_holds(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one", X_OC_Mtime="1000000000", Prefer="return=representation")
    reply = append(dav, upload, 3, b"two", last=True)

    assert (reply.status, reply.body) == (201, b"onetwo")
    assert reply.headers["x-oc-mtime"] == "accepted"
    assert dav.head("/a").headers["last-modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"


def test_a_checksum_is_checked_at_the_end(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one", OC_Checksum="MD5:5f4dcc3b5aa765d61d8327deb882cf99")

    assert is_refused_and_kept(dav, upload, append(dav, upload, 3, last=True), 400, 3)


def test_fields_that_cannot_be_kept_are_refused_at_once(dav: AppDav) -> None:
    for headers in ({"Content-Encoding": "gzip"}, {"X-OC-Mtime": "soon"}, {"Repr-Digest": "x=y="}):
        assert dav.put("/a", b"x", {"Upload-Complete": "?0"} | headers).status in (400, 415)
    assert dav.root is None or parts(dav.root) == []


# -- limits ----------------------------------------------------------------------------------


@pytest.mark.security("S-11")
def test_uploads_of_one_principal_are_counted(make_dav: MakeDav) -> None:
    settings: dict[str, Any] = {"uploads_per_principal": 2}
    carrier = make_dav("memory", overrides={"authenticator": TestUsers()}, **settings)
    alice, bob = User(carrier, "alice"), User(carrier, "bob")
    first, second = begin(alice, "/a"), begin(alice, "/b")

    assert alice.put("/c", b"x", {"Upload-Complete": "?0"}).status == 403
    begin(bob, "/d")
    append(alice, first, 0, last=True)
    begin(alice, "/c")
    assert alice.put("/e", b"x", {"Upload-Complete": "?0"}).status == 403
    alice.delete(second)
    begin(alice, "/e")


@pytest.mark.security("S-11")
def test_bytes_of_one_principal_are_counted(make_dav: MakeDav) -> None:
    dav = make_dav("memory", upload_bytes_per_principal=10)
    first, second = begin(dav, "/a", b"12345"), begin(dav, "/b", b"123")

    assert append(dav, second, 3, b"456").status == 507
    assert append(dav, second, 3, b"45").status == 204
    assert dav.put("/c", b"1", {"Upload-Complete": "?0"}).status == 507
    append(dav, first, 5, last=True)
    assert append(dav, second, 5, b"67890").status == 204


@pytest.mark.rfc("RU-09")
@pytest.mark.security("S-11")
def test_put_limit_is_that_of_the_whole(make_dav: MakeDav) -> None:
    dav = make_dav("memory", put_limit=10)
    upload = begin(dav, "/a", b"12345678")
    announced = dav.put("/b", b"1", {"Upload-Complete": "?0", "Upload-Length": "11"})
    told = append(dav, upload, 8, b"901")
    chunked = append(dav, upload, 8, [b"90", b"1"])

    whole = [dav.put("/c", body, {"Upload-Complete": "?1"}) for body in (bytes(11), [bytes(11)])]

    for reply in (announced, told, chunked, *whole):
        assert reply.status == 413
        assert reply.headers["upload-limit"].startswith("max-size=10, max-age=")
    assert append(dav, upload, offset_of(dav, upload), last=True).status == 201


@pytest.fixture
def limited(make_dav: MakeDav, tmp_path: Path) -> AppDav:
    """Two shares, of which `a` has a quota of 1000 bytes."""
    return make_shares(make_dav, tmp_path, shares={"a": {"quota": 1000}, "b": {}})


@pytest.mark.rfc("RU-06")
@pytest.mark.security("S-11")
def test_what_cannot_fit_into_a_quota_does_not_begin(limited: AppDav) -> None:
    headers = {"Upload-Complete": "?0"}

    assert limited.put("/a/f", b"x", headers | {"Upload-Length": "1001"}).status == 507
    assert limited.put("/a/f", bytes(1001), headers).status == 507
    assert limited.put("/a/f", [bytes(1001)], headers).status == 507
    assert hidden_names(limited) == []
    assert limited.put("/b/f", b"x", headers | {"Upload-Length": "1001"}).status == 201


@pytest.mark.rfc("RU-06")
@pytest.mark.security("S-11")
def test_pieces_count_for_the_quota_together(limited: AppDav) -> None:
    first, second = begin(limited, "/a/f", bytes(600)), begin(limited, "/a/g", bytes(300))

    assert append(limited, second, 300, bytes(101)).status == 507
    assert append(limited, first, 600, last=True).status == 201
    assert append(limited, second, 300, bytes(101)).status == 507
    assert append(limited, second, 300, bytes(100), last=True).status == 201
    assert limited.put("/a/h", b"x").status == 507


@pytest.mark.rfc("RU-06")
def test_a_quota_that_was_used_up_meanwhile_keeps_the_upload(limited: AppDav) -> None:
    upload = begin(limited, "/a/f", bytes(600))
    limited.put("/a/g", bytes(500))

    assert append(limited, upload, 600, last=True).status == 507
    assert offset_of(limited, upload) == 600
    limited.delete("/a/g")
    assert append(limited, upload, 600, last=True).status == 201


# -- how long it lives -------------------------------------------------------------------------


@pytest.mark.security("S-11")
def test_what_nobody_goes_on_with_expires(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", upload_lifetime_s=100)
    upload = begin(dav, "/a", b"one")
    dav.clock.pass_s(99)
    append(dav, upload, 3, b"two")
    dav.clock.pass_s(99)
    assert dav.head(upload).headers["upload-limit"] == "max-age=1"
    dav.clock.pass_s(1)

    assert dav.head(upload).status == 404
    assert append(dav, upload, 6, last=True).status == 404
    assert dav.delete(upload).status == 404
    begin(dav, "/b")
    assert len(parts(dav.root)) == 1
    assert len(dav.app.services.state.uploads()) == 1


@pytest.mark.security("S-11")
def test_a_listing_leaves_what_lives_and_removes_what_has_expired(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    state = dav.app.services.state
    state.clock = dav.clock
    # Whoever finds hidden names asks for it once they are another worker's.
    begin(dav, "/a", b"one")
    assert dav.members("/") == []
    assert len(parts(dav.root)) == 1
    dav.clock.pass_s(100_000)

    assert dav.members("/") == []
    assert parts(dav.root) == []


# -- workers, restarts -------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path) -> Iterator[tuple[AppDav, AppDav]]:
    """Two workers over one folder and one state."""
    one, other = (make_app_dav(tmp_path, "filesystem", durability="none") for _ in range(2))
    yield one, other
    one.close()
    other.close()


@pytest.mark.rfc("RU-08")
def test_any_worker_goes_on(two: tuple[AppDav, AppDav]) -> None:
    one, other = two
    upload = begin(one, "/a", b"one")
    assert other.members("/") == []
    assert append(other, upload, 3, b"two").status == 204
    assert offset_of(one, upload) == 6
    assert append(one, upload, 6, b"three", last=True).status == 201

    assert other.head(upload).headers["upload-complete"] == "?1"
    assert other.get("/a").body == b"onetwothree"


@pytest.mark.rfc("RU-05")
def test_it_outlives_the_server(tmp_path: Path) -> None:
    before = make_app_dav(tmp_path, "filesystem")
    upload = begin(before, "/a", LARGE)
    before.close()
    after = make_app_dav(tmp_path, "filesystem")
    try:
        assert after.members("/") == []
        assert offset_of(after, upload) == len(LARGE)
        assert append(after, upload, len(LARGE), b"end", last=True).status == 201
        assert after.get("/a").body == LARGE + b"end"
    finally:
        after.close()


@pytest.mark.rfc("RU-08")
def test_of_many_that_append_at_once_one_does(dav: AppDav) -> None:
    upload = begin(dav, "/a", b"one")
    bodies = [bytes([65 + number]) * 100_000 for number in range(5)]
    headers = {
        "Content-Type": "application/partial-upload",
        "Upload-Offset": "3",
        "Upload-Complete": "?0",
    }

    async def all_at_once() -> list[Any]:
        sent = [dav.send("PATCH", upload, headers, body) for body in bodies]
        return await asyncio.gather(*sent)

    statuses = sorted(exchange.reply.status for exchange in dav.run(all_at_once()))
    offset = offset_of(dav, upload)
    append(dav, upload, offset, last=True)
    content = dav.get("/a").body

    assert statuses == [204, 409, 409, 409, 409]
    assert content == b"one" + content[3:4] * 100_000


# -- where a rename cannot do it ---------------------------------------------------------------


@pytest.mark.parametrize("old", [None, b"old"], ids=["new", "over"])
def test_what_cannot_be_renamed_is_copied(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, old: bytes | None
) -> None:
    """Two mounts of one device, or two projects with quotas of their own in one file system."""
    dav = make_dav("filesystem")
    if old is not None:
        dav.put("/a", old)
    upload = begin(dav, "/a", b"one")
    commit, refused = FileWriter.commit, []

    def refuse_once(self: FileWriter, **options: Any) -> Any:
        if not refused:
            refused.append(self)
            raise CrossDevice("as between two mounts")
        return commit(self, **options)

    monkeypatch.setattr(FileWriter, "commit", refuse_once)

    assert append(dav, upload, 3, b"two", last=True).status == (204 if old else 201)
    assert dav.get("/a").body == b"onetwo"
    assert parts(dav.root) == []


def test_a_collection_whose_members_inherit_rights_gets_a_copy(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts_module, "_has_acl", lambda fd, kind: "default" in kind)
    dav = make_dav("filesystem")
    upload = begin(dav, "/a", b"one")
    inode = parts(dav.root)[0].stat().st_ino
    append(dav, upload, 3, b"two", last=True)

    assert dav.get("/a").body == b"onetwo"
    assert Path(dav.root or "", "a").stat().st_ino != inode
    assert parts(dav.root) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a file any group")
def test_the_group_of_a_collection_is_inherited(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    dav.mkcol("/c")
    folder = Path(dav.root or "", "c")
    os.chown(folder, -1, 12_345)
    folder.chmod(0o2775)
    append(dav, begin(dav, "/c/a", b"one"), 3, last=True)
    dav.put("/c/b", b"one")

    assert (folder / "a").stat().st_gid == (folder / "b").stat().st_gid == 12_345
    assert (folder / "a").stat().st_mode == (folder / "b").stat().st_mode


def test_a_part_is_where_it_may_be_made(make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder itself cannot be written, a collection on the way may be."""
    dav = make_dav("filesystem")
    dav.mkcol("/c")
    storage = dav.app.services.storage
    open_part = storage.open_part

    def refuse_high(hidden: DavPath, *, create: bool = False) -> Any:
        if len(hidden.segments) < 2:
            raise AccessDenied("not here")
        return open_part(hidden, create=create)

    monkeypatch.setattr(storage, "open_part", refuse_high)
    upload = begin(dav, "/c/a", b"one")

    assert parts(dav.root)[0].parent.name == "c"
    assert append(dav, upload, 3, last=True).status == 201
    assert dav.put("/a", b"x", {"Upload-Complete": "?0"}).status == 403
    assert [one.target.name for one in dav.app.services.state.uploads()] == ["a"]


def test_what_a_link_leads_to_is_replaced_and_the_link_stays(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    dav.mkcol("/c")
    dav.put("/c/a", b"old")
    root = Path(dav.root or "")
    (root / "link").symlink_to("c/a")
    reply = append(dav, begin(dav, "/link", b"one"), 3, b"two", last=True)

    assert reply.status == 204
    assert (root / "link").is_symlink()
    assert (root / "c" / "a").read_bytes() == b"onetwo"


def test_shares_keep_their_own_parts(limited: AppDav) -> None:
    upload = begin(limited, "/b/f", b"one")

    assert parts(limited.root)[0].parent.name == "b"
    assert append(limited, upload, 3, b"two", last=True).status == 201
    assert limited.get("/b/f").body == b"onetwo"


# -- what a death leaves undecided ---------------------------------------------------------------


def die_while_publishing(dav: AppDav, upload: str) -> Path:
    """Leaves the upload as who dies between the first and the last step of its publication.
    Returns its part."""
    services = dav.app.services
    found = services.state.uploads()[0]
    assert upload.endswith(found.id)
    with services.state.hold((), wait_s=5) as view:
        view.keep_upload(replace(found, phase=Phase.PUBLISHING))
    (part,) = parts(dav.root)
    return part


@pytest.mark.rfc("RU-06")
@pytest.mark.parametrize("how", ["before", "renamed", "linked"])
def test_who_dies_while_publishing_has_done_it_or_not(make_dav: MakeDav, how: str) -> None:
    dav = make_dav("filesystem")
    upload = begin(dav, "/a", b"one")
    part = die_while_publishing(dav, upload)
    if how == "renamed":
        part.rename(part.with_name("a"))
    elif how == "linked":
        os.link(part, part.with_name("a"))
    head = dav.head(upload)

    is_done = how != "before"
    assert head.headers["upload-complete"] == ("?1" if is_done else "?0")
    assert append(dav, upload, 3, last=True).status == (400 if is_done else 201)
    assert dav.get("/a").body == b"one"
    assert parts(dav.root) == []


@pytest.mark.rfc("RU-05")
def test_nothing_is_appended_to_what_is_somewhere_else_by_now(make_dav: MakeDav) -> None:
    """Published, but its own name not yet taken away; and moved before anybody asked."""
    dav = make_dav("filesystem")
    upload = begin(dav, "/a", b"one")
    part = die_while_publishing(dav, upload)
    os.link(part, part.with_name("moved"))

    assert append(dav, upload, 3, b"x").status == 404
    assert dav.get("/moved").body == b"one"
    assert parts(dav.root) == []


def test_who_cannot_be_made_to_let_go_is_503(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem", gate_wait_s=0.3)
    upload = begin(dav, "/a", b"one")
    found = dav.app.services.state.uploads()[0]
    part = dav.app.services.storage.open_part(found.part)
    assert part is not None
    busy = dav.head(upload)
    part.close()

    assert (busy.status, busy.headers["retry-after"]) == (503, "1")
    assert dav.head(upload).status == 204
    assert dav.app.services.state.uploads()[0].calls >= 1


def test_what_is_published_is_so_though_nobody_could_write_it_down(
    dav: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = uploads.enter

    def fail(services: Any, held: Any, phase: Phase) -> None:
        if phase is Phase.COMPLETE:
            raise StateFailure("the state is gone")
        enter(services, held, phase)

    upload = begin(dav, "/a", b"one")
    monkeypatch.setattr(uploads, "enter", fail)
    reply = append(dav, upload, 3, b"two", last=True)

    assert (reply.status, reply.headers["upload-complete"]) == (201, "?1")
    assert dav.head(upload).headers["upload-complete"] == "?1"


def test_a_target_that_cannot_be_made_is_told_of_at_once(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")

    assert dav.put("/" + "n" * 256, b"x", {"Upload-Complete": "?0"}).status == 414
    assert dav.put("/a%01b", b"x", {"Upload-Complete": "?0"}).status == 400
    assert parts(dav.root) == []
    assert dav.app.services.state.uploads() == []


# -- what goes wrong meanwhile -------------------------------------------------------------------


@pytest.mark.rfc("RU-05", "RU-10")
def test_a_disk_that_is_full_keeps_what_fitted(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav("filesystem")
    upload = begin(dav, "/a", b"one")
    write = os.write

    def fill(fd: int, data: Any) -> int:
        if len(data) < 3:
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data[: len(data) // 2])

    with monkeypatch.context() as full:
        full.setattr("davserver.storage.content.os.write", fill)
        reply = append(dav, upload, 3, b"12345678", last=True)

    assert reply.status == 507
    assert (reply.headers["upload-offset"], reply.headers["upload-complete"]) == ("9", "?0")
    assert append(dav, upload, 9, b"78", last=True).status == 201
    assert dav.get("/a").body == b"one12345678"


@pytest.mark.rfc("RU-05")
@pytest.mark.security("K-03")
def test_what_the_disk_did_not_take_does_not_count_ever(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second fsync after one that failed would report success."""
    dav = make_dav("filesystem", durability="full")
    upload = begin(dav, "/a", b"one")
    fsync, calls = os.fsync, []

    def fail_once(fd: int) -> None:
        calls.append(fd)
        if len(calls) == 1:
            raise OSError(errno.EIO, "lost")
        fsync(fd)

    with monkeypatch.context() as broken:
        broken.setattr("davserver.storage.policy.os.fsync", fail_once)
        reply = append(dav, upload, 3, b"two")

    assert (reply.status, reply.headers["upload-offset"]) == (500, "3")
    assert offset_of(dav, upload) == 3
    append(dav, upload, 3, b"TWO", last=True)
    assert dav.get("/a").body == b"oneTWO"


@pytest.mark.rfc("RU-10")
@pytest.mark.parametrize("name", ["_KEPT_EVERY", "_KEPT_EVERY_S"])
def test_now_and_then_what_came_is_made_to_count(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(f"davserver.methods._appending.{name}", 0)
    dav = make_dav("filesystem")
    upload = begin(dav, "/a")
    sizes = []

    async def look(number: int) -> None:
        sizes.append(dav.app.services.state.uploads()[0].size)

    pieces = [LARGE[start : start + 65_536] for start in range(0, len(LARGE), 65_536)]
    headers = {
        "Content-Type": "application/partial-upload",
        "Upload-Offset": "0",
        "Upload-Complete": "?1",
    }
    reply = dav.run(dav.send("PATCH", upload, headers, pieces, before=look)).reply

    assert reply.status == 201
    assert sizes == sorted(sizes)
    assert len(set(sizes)) > 2
    assert dav.get("/a").body == LARGE


@pytest.mark.rfc("RU-05", "RU-06")
@pytest.mark.parametrize("old", [None, b"old"], ids=["new", "over"])
def test_whatever_fails_at_the_end_the_upload_can_be_completed(
    make_dav: MakeDav, old: bytes | None
) -> None:
    storage = FaultyStorage(MemoryStorage(), fail_at=0, error=NoSpace("full"))
    dav = make_dav("memory", overrides={"storage": storage})
    number, failed = 0, True
    while failed:
        number += 1
        dav.delete("/a")
        if old is not None:
            dav.put("/a", old)
        upload = begin(dav, "/a", b"one")
        blown = storage.fuse.blown
        storage.fuse._fail_at = storage.fuse.calls + number
        reply = append(dav, upload, 3, b"two", last=True)
        storage.fuse._fail_at, failed = 0, storage.fuse.blown > blown
        head, content = dav.head(upload), dav.get("/a")

        assert failed or reply.status == (204 if old else 201)
        if head.headers["upload-complete"] == "?0":
            assert failed
            assert content.body == old if old is not None else content.status == 404
            offset = int(head.headers["upload-offset"])
            assert append(dav, upload, offset, b"onetwo"[offset:], last=True).status in (201, 204)
        assert dav.get("/a").body == b"onetwo"
    assert number > 10


def test_who_is_not_signed_in_is_asked_to(make_dav: MakeDav) -> None:
    hashed = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$RdescudvJCsgt3ub+b6dWRWJTmaaJObG"
    dav = make_dav("memory", anonymous="write", user=[{"name": "alice", "password": hashed}])
    upload = begin(dav, "/a", b"one")

    assert dav.head(upload).status == 204
    unknown = dav.head("/.davserver/uploads/" + "0" * 32)
    assert unknown.status == 401
    assert "www-authenticate" in unknown.headers


def test_a_default_acl_is_what_a_put_would_have_given(make_dav: MakeDav) -> None:
    dav = make_dav("filesystem")
    dav.mkcol("/c")
    entries = [(1, 7, -1), (2, 6, 12_345), (4, 5, -1), (16, 7, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    try:
        os.setxattr(Path(dav.root or "", "c"), "system.posix_acl_default", acl)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
        pytest.skip("a file system without access control lists")
    append(dav, begin(dav, "/c/a", b"one"), 3, last=True)
    dav.put("/c/b", b"one")

    name = "system.posix_acl_access"
    found = [os.getxattr(Path(dav.root or "", "c", file), name) for file in "ab"]
    assert found[0] == found[1]


def test_what_the_place_of_its_parts_gives_is_not_what_a_put_would_have_given(
    make_dav: MakeDav,
) -> None:
    """Parts are in the root, whose ACL and group are for what stands there."""
    dav = make_dav("filesystem")
    dav.mkcol("/c")
    root = Path(dav.root or "")
    entries = [(1, 7, -1), (2, 6, 12_345), (4, 5, -1), (16, 7, -1), (32, 0, -1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHi", *entry) for entry in entries)
    if os.geteuid() == 0:
        os.chown(root, -1, 54_321)
        root.chmod(0o2755)
    try:
        os.setxattr(root, "system.posix_acl_default", acl)
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise
    append(dav, begin(dav, "/c/a", b"one"), 3, last=True)
    dav.put("/c/b", b"one")

    one, other = (root / "c" / name for name in "ab")
    assert os.listxattr(one) == os.listxattr(other) == []
    assert one.stat().st_gid == other.stat().st_gid
    assert one.stat().st_mode == other.stat().st_mode


@pytest.mark.security("S-11")
def test_what_expires_goes_though_nobody_asks(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.uploading.SWEEP_EVERY_S", 0.02)
    dav = make_dav("filesystem")
    begin(dav, "/a", b"one")
    begin(dav, "/b", b"two")
    dav.clock.pass_s(100_000)

    assert await_true(lambda: parts(dav.root) == [])
    assert await_true(lambda: dav.app.services.state.uploads() == [])
    assert dav.app.services.repeated == {"uploads"}


@pytest.mark.security("S-11")
def test_what_expired_while_nobody_served_goes_at_the_start(tmp_path: Path) -> None:
    before = make_app_dav(tmp_path, "filesystem")
    begin(before, "/a", b"one")
    state = before.app.services.state
    with state.hold((), wait_s=5) as view:
        (upload,) = view.uploads()
        view.keep_upload(replace(upload, expires_at=1.0))
    before.close()
    after = make_app_dav(tmp_path, "filesystem")
    try:
        after.options("/")

        assert await_true(lambda: parts(after.root) == [])
        assert after.app.services.state.uploads() == []
    finally:
        after.close()
