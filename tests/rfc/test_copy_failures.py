"""COPY (RFC 4918 section 9.8.3) of what cannot be copied, wholly or in part."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

import pytest

from davserver.errors import (
    AccessDenied,
    NoSpace,
    QuotaExceeded,
    ReadOnlyStorage,
    ResourceNotFound,
    StorageError,
    StorageFailure,
    TooManyOpenFiles,
)
from tests.conftest import AppDav
from tests.support.storages import HookedStorage
from tests.support.trees import TOPIC, at, fill, hidden_names, locked_roots, tree

D = "{DAV:}"
MakeDav = Callable[..., AppDav]
SOURCE = ("/a/", "/a/1", "/a/2", "/a/d/", "/a/d/3", "/a/e/", "/a/e/4")


@pytest.fixture
def storage() -> HookedStorage:
    return HookedStorage()


@pytest.fixture
def hooked(make_dav: MakeDav, storage: HookedStorage) -> AppDav:
    return make_dav("memory", overrides={"storage": storage})


ERRORS: list[tuple[StorageError, int]] = [
    (AccessDenied("no"), 403),
    (StorageFailure("broken disk"), 500),
    (TooManyOpenFiles("later"), 503),
]


@pytest.mark.rfc("CP-12", "CP-13", "CP-14", "CP-18", "MS-02", "ST-02")
@pytest.mark.parametrize(("error", "status"), ERRORS, ids=["denied", "failure", "busy"])
def test_to_an_unmapped_destination_the_rest_is_published(
    hooked: AppDav, storage: HookedStorage, error: StorageError, status: int
) -> None:
    """Each cause is told of once, by the member of the source that it is about."""
    fill(hooked, *SOURCE)
    storage.refuse("copy", "/a/1", error)
    storage.refuse("scan_all", "/a/d", error)

    reply = hooked.copy("/a/", "/b/")

    assert reply.status == 207
    assert reply.multistatus.statuses == {"/a/1": status, "/a/d/": status}
    assert tree(hooked, "/b/") == {"/b/2": b"/a/2", "/b/e/": None, "/b/e/4": b"/a/e/4"}
    assert tree(hooked, "/a/")["/a/1"] == b"/a/1"
    assert hidden_names(hooked) == []


@pytest.mark.rfc("CP-12", "CP-13", "CP-18")
@pytest.mark.parametrize("call", ["copy", "scan_all"])
def test_an_existing_destination_is_kept_whole(
    hooked: AppDav, storage: HookedStorage, call: str
) -> None:
    """Decided: any failed member discards the new copy; what stands there is never half a copy."""
    fill(hooked, *SOURCE, "/b/", "/b/old")
    hooked.proppatch("/b/old", set={TOPIC: "old"})
    lock = hooked.lock("/b/", depth="infinity")
    before = tree(hooked)
    path = "/a/1" if call == "copy" else "/a/d/"
    storage.once(call, path.rstrip("/"), lambda: _raise(AccessDenied("no")))

    reply = hooked.copy("/a/", "/b/", headers={"If": f"</b/> (<{lock.token}>)"})

    assert reply.status == 207
    assert reply.multistatus.statuses == {path: 403}
    assert tree(hooked) == before
    assert hooked.prop("/b/old", TOPIC).text == "old"
    assert locked_roots(hooked) == {"/b"}
    assert hidden_names(hooked) == []


@pytest.mark.rfc("CP-13")
@pytest.mark.parametrize(("call", "path"), [("copy", "/f"), ("scan_all", "/a")])
def test_an_error_of_the_request_uri_itself_is_a_plain_status(
    hooked: AppDav, storage: HookedStorage, call: str, path: str
) -> None:
    fill(hooked, *SOURCE, "/f")
    before = tree(hooked)
    storage.once(call, path, lambda: _raise(AccessDenied("no")))

    assert hooked.copy(path, "/b").status == 403
    assert tree(hooked) == before
    assert hidden_names(hooked) == []


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.rfc("CP-17", "PC-08", "CP-18")
@pytest.mark.parametrize("old", [(), ("/b/", "/b/x")], ids=str)
@pytest.mark.parametrize("failing", ["/a/1", "/a/e/4"])
@pytest.mark.parametrize(
    ("error", "condition"),
    [
        (NoSpace("disk full"), f"{D}sufficient-disk-space"),
        (QuotaExceeded("quota"), f"{D}quota-not-exceeded"),
    ],
    ids=["disk", "quota"],
)
def test_no_space_is_507_and_nothing_new(
    hooked: AppDav,
    storage: HookedStorage,
    old: tuple[str, ...],
    failing: str,
    error: StorageError,
    condition: str,
) -> None:
    """Decided: not 207, though it is a member's error: what follows could not be copied either."""
    fill(hooked, *SOURCE, *old)
    before = tree(hooked)
    storage.refuse("copy", failing, error)

    reply = hooked.copy("/a/", "/b/")

    assert reply.status == 507
    assert reply.conditions == [condition]
    assert tree(hooked) == before
    assert hidden_names(hooked) == []


@pytest.mark.rfc("CP-17", "CP-18")
def test_a_disk_that_is_full_is_507(make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system call fails in the middle of a tree, for a file that had begun."""
    dav = make_dav(fallbacks=("reflink", "copy_file_range"))
    fill(dav, "/a/", "/a/1", "/a/2", "/b/", "/b/old")
    before = tree(dav)
    utime = os.utime
    left = [1]

    def fail(*args: object, **options: object) -> None:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        left[0] -= 1
        utime(*args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "utime", fail)
        reply = dav.copy("/a/", "/b/")

    assert reply.status == 507
    assert tree(dav) == before
    assert hidden_names(dav) == []


@pytest.mark.rfc("CP-18")
def test_a_member_that_vanishes_meanwhile_is_no_member(
    hooked: AppDav, storage: HookedStorage
) -> None:
    fill(hooked, *SOURCE)
    storage.refuse("copy", "/a/1", ResourceNotFound("gone"))
    storage.refuse("scan_all", "/a/d", ResourceNotFound("gone"))

    assert hooked.copy("/a/", "/b/").status == 201
    assert set(tree(hooked, "/b/")) == {"/b/2", "/b/e/", "/b/e/4"}


@pytest.mark.rfc("CP-18", "CP-17")
def test_a_parent_that_may_not_be_written_is_403(hooked: AppDav, storage: HookedStorage) -> None:
    fill(hooked, *SOURCE)
    before = tree(hooked)
    hidden = storage.hidden

    def refuse(path: object) -> object:
        found = hidden(path)  # type: ignore[arg-type]
        storage.refuse("make_collection", f"/{found.name}", ReadOnlyStorage("read-only"))
        return found

    storage.hidden = refuse  # type: ignore[method-assign,assignment]

    assert hooked.copy("/a/", "/b/").status == 403
    assert tree(hooked) == before


@pytest.mark.rfc("CP-17", "CL-07")
def test_a_lock_taken_while_the_copy_is_made_holds(hooked: AppDav, storage: HookedStorage) -> None:
    """The gate asks again: what was built is thrown away."""
    fill(hooked, *SOURCE, "/b/", "/b/old")
    before = tree(hooked)
    state = hooked.app.services.state
    lock = hooked.lock("/b/old")
    granted = state.lock(lock.token, now=hooked.clock.now)
    assert hooked.unlock("/b/old", lock.token).status == 204

    def take() -> None:
        with state.hold([], wait_s=1) as view:
            view.add_lock(granted)

    storage.once("copy", "/a/1", take)
    reply = hooked.copy("/a/", "/b/")

    assert reply.status == 423
    assert reply.condition_hrefs == ["/b/old"]
    assert tree(hooked) == before
    assert hidden_names(hooked) == []


@pytest.mark.rfc("CP-07", "CP-18")
@pytest.mark.parametrize("overwrite", ["T", "F"])
def test_what_came_to_the_destination_meanwhile_counts(
    hooked: AppDav, storage: HookedStorage, overwrite: str
) -> None:
    fill(hooked, *SOURCE)
    storage.once("copy", "/a/1", lambda: storage.make_collection(at("/b")))
    reply = hooked.copy("/a/", "/b/", overwrite=overwrite)

    assert reply.status == (204 if overwrite == "T" else 412)
    assert tree(hooked, "/b/").get("/b/1") == (b"/a/1" if overwrite == "T" else None)
    assert hidden_names(hooked) == []


@pytest.mark.rfc("CP-20")
def test_a_large_sparse_file_is_equal(make_dav: MakeDav) -> None:
    dav = make_dav()
    assert dav.root
    size = 64 << 20
    with open(dav.root / "a", "wb") as file:
        file.write(b"begin")
        file.seek(size // 2)
        file.write(b"middle")
        file.truncate(size)

    assert dav.copy("/a", "/b").status == 201

    with open(dav.root / "b", "rb") as file:
        assert file.read(5) == b"begin"
        file.seek(size // 2)
        assert file.read(6) == b"middle"
        assert os.fstat(file.fileno()).st_size == size
        assert file.read().strip(b"\0") == b""


@pytest.mark.rfc("CP-20")
def test_a_copy_is_of_one_version(hooked: AppDav, storage: HookedStorage) -> None:
    """A PUT during the COPY gives the old content or the new one, never some of both."""
    hooked.put("/a", b"old" * 1000)
    storage.once("copy", "/a", lambda: _replace(storage))

    assert hooked.copy("/a", "/b").status == 201
    assert hooked.get("/b").body in (b"old" * 1000, b"new" * 1000)


def _replace(storage: HookedStorage) -> None:
    writer = storage.create(at("/a"))
    writer.write(b"new" * 1000)
    writer.seal()
    writer.commit(replace=True)
