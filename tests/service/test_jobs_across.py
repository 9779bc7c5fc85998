"""A MOVE across file systems as a job: a copy that can be ended, a removal that is finished."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.conftest import AppDav
from tests.rfc.test_move_across import MOVED, SOURCE, TwoDevices
from tests.service.test_jobs import ASYNC, await_heard, ended, held, state_of, until
from tests.support.trees import at, fill, hidden_names, tree

MakeDav = Callable[..., AppDav]


@pytest.fixture
def storage() -> TwoDevices:
    return TwoDevices()


@pytest.fixture
def dav(make_dav: MakeDav, storage: TwoDevices, monkeypatch: pytest.MonkeyPatch) -> AppDav:
    monkeypatch.setattr("davserver.jobs.LOOK_S", 0.01)
    made = make_dav("memory", overrides={"storage": storage})
    fill(made, *SOURCE)
    return made


def move(dav: AppDav) -> str:
    href: str = dav.move("/a/", "/b/", headers=ASYNC).headers["location"]
    return href


def test_each_member_is_counted_when_it_is_copied_and_when_it_goes(dav: AppDav) -> None:
    told = ended(dav, move(dav))
    size = sum(len(content or b"") for content in MOVED.values())

    assert state_of(told) == ("succeeded", 201)
    assert tree(dav) == MOVED
    both = {"members": 12, "members_total": 12, "bytes": 2 * size, "bytes_total": 2 * size}
    assert told["progress"] == both


def test_ended_while_it_copies_it_leaves_everything_as_it_was(
    dav: AppDav, storage: TwoDevices
) -> None:
    before = tree(dav)
    with held(storage, "copy", "/a/d/3") as go:
        href = move(dav)
        dav.run(until(lambda: ("copy", "/a/d/3") in storage.calls))
        dav.delete(href)
        await_heard(dav)
        go.set()
        told = ended(dav, href)

    assert state_of(told) == ("cancelled", 503)
    assert tree(dav) == before
    assert hidden_names(dav) == []


def test_ended_while_it_removes_the_source_it_is_finished(dav: AppDav, storage: TwoDevices) -> None:
    """Nobody can take back what stands at the new place by now: others may have seen it."""
    with held(storage, "delete", "/a/2") as go:
        href = move(dav)
        dav.run(until(lambda: ("delete", "/a/2") in storage.calls))
        dav.delete(href)
        await_heard(dav)
        go.set()
        told = ended(dav, href)

    assert (state_of(told), told["cancelling"]) == (("succeeded", 201), False)
    assert told["result"]["headers"] == {"location": "/b/"}
    assert tree(dav) == MOVED
    assert hidden_names(dav) == []


def test_what_was_written_at_the_source_meanwhile_stays_and_is_told_of(
    dav: AppDav, storage: TwoDevices
) -> None:
    with held(storage, "delete", "/a/2") as go:
        href = move(dav)
        dav.run(until(lambda: ("delete", "/a/2") in storage.calls))
        storage.make_collection(at("/a/new"))
        dav.delete(href)
        await_heard(dav)
        go.set()
        told = ended(dav, href)

    assert state_of(told) == ("cancelled", 503)
    assert tree(dav) == MOVED | {"/a/": None, "/a/new/": None}
