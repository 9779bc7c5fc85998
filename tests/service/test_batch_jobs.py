"""Batches that go on when their request is answered (RFC 7240 section 4.1)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav
from tests.service.test_batch import post, results, statuses
from tests.service.test_jobs import await_heard, await_job, ended, held, state_of
from tests.support.reply import Reply
from tests.support.storages import HookedStorage
from tests.support.trees import fill, hidden_names

ASYNC = {"Prefer": "respond-async"}
MADE = {"op": "mkcol", "href": "/new"}
COPIED = {"op": "copy", "href": "/c", "destination": "/copy"}


@pytest.fixture
def storage() -> HookedStorage:
    return HookedStorage()


@pytest.fixture
def hooked(make_dav: Callable[..., AppDav], storage: HookedStorage) -> AppDav:
    return make_dav("memory", overrides={"storage": storage})


def result_of(dav: AppDav, href: str) -> Reply:
    return dav.get(f"{href}/result")


@pytest.mark.parametrize(("atomic", "status"), [(False, 207), (True, 200)], ids=["each", "atomic"])
def test_a_batch_is_accepted_and_done_later(dav: AppDav, atomic: bool, status: int) -> None:
    fill(dav, "/c/", "/c/a")
    accepted = post(dav, MADE, COPIED, atomic=atomic, **ASYNC)
    href = accepted.headers["location"]
    told = ended(dav, href)
    result = result_of(dav, href)

    assert (accepted.status, accepted.body) == (202, b"")
    assert told["method"] == "POST"
    assert told["progress"]["members"] == told["progress"]["members_total"] == 4
    assert result.status == status
    assert statuses(result) == [201, 201]
    assert dav.get("/copy/a").body == b"/c/a"


@pytest.mark.parametrize("atomic", [False, True], ids=["each", "atomic"])
def test_the_bytes_of_a_long_file_are_counted(dav: AppDav, atomic: bool) -> None:
    fill(dav, "/c/")
    dav.put("/c/long", bytes(50_000))
    told = ended(dav, post(dav, COPIED, atomic=atomic, **ASYNC).headers["location"])

    assert told["progress"]["bytes"] == told["progress"]["bytes_total"] == 50_000


def test_one_that_fails_is_told_of_in_its_result(dav: AppDav) -> None:
    href = post(dav, MADE, MADE, atomic=True, **ASYNC).headers["location"]
    told = ended(dav, href)

    assert state_of(told) == ("failed", 207)
    assert statuses(result_of(dav, href)) == [424, 405]
    assert dav.get("/new").status == 404


@pytest.mark.parametrize("atomic", [False, True], ids=["each", "atomic"])
def test_one_that_is_cancelled_stops_and_leaves_no_half_tree(
    hooked: AppDav, storage: HookedStorage, atomic: bool
) -> None:
    fill(hooked, "/c/", "/c/a", "/c/b")
    with held(storage, "scan_all", "/c") as go:
        reply = post(hooked, MADE, COPIED, MADE | {"href": "/last"}, atomic=atomic, **ASYNC)
        href = reply.headers["location"]
        await_job(hooked, href, lambda told: told["progress"]["members"] == 1)
        cancelled = hooked.delete(href)
        await_heard(hooked)
        go.set()
        told = ended(hooked, href)

    assert cancelled.status == 202
    assert hooked.members("/") == (["/c/"] if atomic else ["/c/", "/new/"])
    assert hidden_names(hooked) == []
    if atomic:
        assert state_of(told)[0] == "cancelled"
    else:
        assert [one["status"] for one in results(result_of(hooked, href))] == [201, 503, 503]


def test_a_batch_with_a_key_is_not_run_again_by_a_job(dav: AppDav) -> None:
    key = {"Idempotency-Key": "k"}
    first = post(dav, MADE, atomic=True, **key)
    dav.delete("/new")
    href = post(dav, MADE, atomic=True, **key, **ASYNC).headers["location"]
    ended(dav, href)

    assert result_of(dav, href).body == first.body
    assert dav.get("/new").status == 404


def test_a_large_batch_is_done_at_once(dav: AppDav) -> None:
    """It would wait in memory."""
    large = {"op": "put", "href": "/f", "content": "x" * (1 << 20)}

    assert post(dav, large, **ASYNC).status == 207
    assert dav.get("/f").status == 200
