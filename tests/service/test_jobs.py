"""Work that goes on when its request is answered: `Prefer: respond-async` (RFC 7240)."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from davserver.errors import AccessDenied, StateFailure
from davserver.jobends import settle
from davserver.jobs import Jobs
from davserver.methods._tree import TreeDelete
from davserver.methods._treecopy import TreeCopy
from davserver.state.jobs import JobState
from tests.conftest import AppDav, make_app_dav
from tests.support.faces import read_json
from tests.support.reply import Reply
from tests.support.storages import HookedStorage
from tests.support.trees import fill, hidden_names, tree
from tests.support.users import TestUsers, User

ASYNC = {"Prefer": "respond-async"}
MakeDav = Callable[..., AppDav]


def told_of(dav: Any, href: str) -> dict[str, Any]:
    reply = dav.get(href)
    assert reply.status == 200, reply
    told: dict[str, Any] = read_json(reply.body)
    return told


async def until(holds: Callable[[], bool]) -> None:
    """Returns when something holds, with the event loop running meanwhile."""
    deadline = time.monotonic() + 15
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


def await_job(
    dav: AppDav, href: str, holds: Callable[[dict[str, Any]], bool], headers: Any = None
) -> dict[str, Any]:
    """Asks again and again until what is told of a job is so."""

    async def ask() -> dict[str, Any]:
        told: dict[str, Any] = {}
        deadline = time.monotonic() + 15
        while not told or not holds(told):
            assert time.monotonic() < deadline, told
            await asyncio.sleep(0.01)
            told = read_json((await dav.request_async("GET", href, headers)).body)
        return told

    told: dict[str, Any] = dav.run(ask())
    return told


def await_heard(dav: Any) -> None:
    """Returns when the worker has seen that a job is to end."""
    dav.run(until(lambda: all(run.rc.progress.cancelled for run in dav.app.jobs._runs)))


def ended(dav: AppDav, href: str, headers: Any = None) -> dict[str, Any]:
    return await_job(dav, href, lambda told: told["ended"] is not None, headers)


def state_of(told: dict[str, Any]) -> tuple[str, int | None]:
    return told["state"], told["result"]["status"] if told["result"] else None


@pytest.fixture
def storage() -> HookedStorage:
    return HookedStorage()


@pytest.fixture
def hooked(make_dav: MakeDav, storage: HookedStorage) -> AppDav:
    return make_dav("memory", overrides={"storage": storage})


@contextmanager
def held(storage: HookedStorage, call: str, path: str) -> Iterator[threading.Event]:
    """Has the first call stand still as long as the block, or until the event is set."""
    entered, leave = threading.Event(), threading.Event()

    def stay() -> None:
        entered.set()
        assert leave.wait(20)

    storage.once(call, path, stay)
    try:
        yield leave
    finally:
        leave.set()


@pytest.mark.rfc("PR-09")
def test_a_copy_is_accepted_and_done_later(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a", "/c/d/", "/c/d/b")

    accepted = dav.copy("/c/", "/copy/", headers=ASYNC)
    href = accepted.headers["location"]
    told = ended(dav, href)
    result = dav.get(f"{href}/result")

    assert (accepted.status, accepted.body) == (202, b"")
    assert accepted.headers["preference-applied"] == "respond-async"
    assert (told["method"], told["resource"], told["destination"]) == ("COPY", "/c/", "/copy/")
    assert state_of(told) == ("succeeded", 201)
    assert told["href"] == href
    assert (result.status, result.headers["location"]) == (201, "/copy/")
    assert tree(dav, "/copy/") == {"/copy/a": b"/c/a", "/copy/d/": None, "/copy/d/b": b"/c/d/b"}


def test_members_and_bytes_are_counted(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a", "/c/d/", "/c/d/b")
    size = len("/c/a") + len("/c/d/b")

    copied = ended(dav, dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"])
    moved = ended(dav, dav.move("/copy/", "/moved/", headers=ASYNC).headers["location"])
    deleted = ended(dav, dav.delete("/moved/", headers=ASYNC).headers["location"])
    single = ended(dav, dav.copy("/c/a", "/f", headers=ASYNC).headers["location"])

    whole = {"members": 4, "members_total": 4, "bytes": size, "bytes_total": size}
    assert copied["progress"] == deleted["progress"] == whole
    assert moved["progress"] == {"members": 1, "members_total": 1, "bytes": 0, "bytes_total": 0}
    assert single["progress"] == {"members": 1, "members_total": 1, "bytes": 4, "bytes_total": 4}


def test_nothing_is_done_later_unless_the_client_prefers_that(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a")

    assert dav.copy("/c/", "/copy/").status == 201
    assert dav.copy("/c/", "/copy/", headers={"Prefer": "wait=10"}).status == 204
    assert dav.put("/f", b"x", ASYNC).status == 201
    assert dav.request("PROPFIND", "/", {**ASYNC, "Depth": "1"}).status == 207


@pytest.mark.rfc("PR-09")
def test_who_waits_long_enough_gets_the_answer_itself(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a")

    copied = dav.copy("/c/", "/copy/", headers={"Prefer": "respond-async, wait=10"})

    assert (copied.status, copied.headers["location"]) == (201, "/copy/")
    assert "preference-applied" not in copied.headers
    assert dav.app.services.jobs.unfinished() == []


@pytest.mark.rfc("PR-09")
def test_who_does_not_wait_long_enough_gets_a_job(hooked: AppDav, storage: HookedStorage) -> None:
    fill(hooked, "/c/", "/c/a")
    with held(storage, "copy", "/c/a") as go:
        accepted = hooked.copy("/c/", "/copy/", headers={"Prefer": "respond-async, wait=1"})
        running = told_of(hooked, accepted.headers["location"])
        go.set()
        done = ended(hooked, accepted.headers["location"])

    assert accepted.status == 202
    assert (running["state"], running["result"]) == ("running", None)
    assert state_of(done) == ("succeeded", 201)


def locked_target(dav: AppDav) -> Reply:
    dav.put("/locked", b"x")
    dav.lock("/locked")
    return dav.copy("/c/", "/locked", headers=ASYNC)


def locked_member(dav: AppDav) -> Reply:
    dav.lock("/c/a")
    return dav.move("/c/", "/d/", headers=ASYNC)


REFUSED: dict[str, tuple[int, Callable[[AppDav], Reply]]] = {
    "missing": (404, lambda dav: dav.delete("/missing", ASYNC)),
    "no parent": (409, lambda dav: dav.copy("/c/", "/x/y/", headers=ASYNC)),
    "not to be overwritten": (
        412,
        lambda dav: dav.copy("/c/", "/f", overwrite="F", headers=ASYNC),
    ),
    "a condition": (412, lambda dav: dav.delete("/f", {**ASYNC, "If-Match": '"other"'})),
    "If": (412, lambda dav: dav.delete("/f", {**ASYNC, "If": "(<urn:x>)"})),
    "a locked target": (423, locked_target),
    "a locked member": (423, locked_member),
    "a body": (415, lambda dav: dav.request("DELETE", "/f", ASYNC, b"<x/>")),
    "elsewhere": (502, lambda dav: dav.copy("/c/", "http://other.test/x", headers=ASYNC)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_can_be_refused_is_refused_at_once(make_dav: MakeDav, name: str) -> None:
    dav = make_dav()
    fill(dav, "/c/", "/c/a", "/f")
    status, ask = REFUSED[name]
    reply = ask(dav)

    assert reply.status == status
    assert "location" not in reply.headers
    assert dav.app.services.jobs.unfinished() == []


def test_what_changes_meanwhile_is_looked_at_again(hooked: AppDav, storage: HookedStorage) -> None:
    fill(hooked, "/c/", "/c/a", "/f")
    with held(storage, "copy", "/c/a") as go:
        href = hooked.copy("/c/", "/f", headers=ASYNC).headers["location"]
        await_job(hooked, href, lambda told: told["state"] == "running")
        hooked.lock("/f")
        go.set()
        told = ended(hooked, href)
    result = hooked.get(f"{href}/result")

    assert state_of(told) == ("failed", 423)
    assert (result.status, b"lock-token-submitted" in result.body) == (423, True)
    assert hidden_names(hooked) == []


def test_the_result_is_the_answer_that_the_request_would_have_had(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a", "/c/b")
    dav.lock("/c/a")

    href = dav.delete("/c/", ASYNC).headers["location"]
    told = ended(dav, href)
    result = dav.get(f"{href}/result")
    usual = dav.delete("/c/")

    assert state_of(told) == ("failed", 207)
    assert (result.status, result.body) == (usual.status, usual.body)
    assert sorted(result.headers.items) == sorted(usual.headers.items)


def test_what_the_answer_says_is_told_with_the_job(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a", "/c/b", "/f")
    dav.lock("/c/a")
    several = ended(dav, dav.delete("/c/", ASYNC).headers["location"])
    (result,) = several["result"]["document"]["results"]
    as_json = dav.delete("/c/", {"Accept": "application/json"}).body
    plain = ended(dav, dav.copy("/f", "/g", headers=ASYNC).headers["location"])

    assert (result["href"], result["status"]) == ("/c/a", 423)
    assert several["result"]["document"] == json.loads(as_json)
    assert "document" not in plain["result"]


def test_a_result_is_in_json_for_who_asked_in_the_first_place(dav: AppDav) -> None:
    fill(dav, "/c/", "/c/a")
    dav.lock("/c/a")
    wants_json = {"Accept": "application/json"}
    href = dav.delete("/c/", ASYNC | wants_json).headers["location"]
    told = ended(dav, href)
    result = dav.exchange("GET", f"{href}/result", [], b"")
    usual = dav.delete("/c/", wants_json)

    assert (result.headers["content-type"], result.body) == ("application/json", usual.body)
    assert told["result"]["document"] == json.loads(usual.body)


def test_a_long_result_is_kept_in_pieces(
    hooked: AppDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.methods._failures._KEPT", 500)
    monkeypatch.setattr("davserver.jobs._PIECE", 200)
    names = [f"/c/{number}" for number in range(30)]
    fill(hooked, "/c/", *names)
    for name in names:
        storage.refuse("delete", name, AccessDenied("not yours"))

    href = hooked.delete("/c/", ASYNC).headers["location"]
    told = ended(hooked, href)
    usual = hooked.delete("/c/")

    assert told["result"]["status"] == 207
    assert hooked.get(f"{href}/result").body == usual.body


def test_a_long_result_in_json_is_kept_in_pieces(
    hooked: AppDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.faces._PIECE", 300)
    names = [f"/c/{number}" for number in range(30)]
    fill(hooked, "/c/", *names)
    for name in names:
        storage.refuse("delete", name, AccessDenied("not yours"))

    wants_json = {"Accept": "application/json"}
    href = hooked.delete("/c/", ASYNC | wants_json).headers["location"]
    ended(hooked, href)
    kept = hooked.exchange("GET", f"{href}/result", [], b"")

    assert json.loads(kept.body) == json.loads(hooked.delete("/c/", wants_json).body)


def test_a_job_has_a_result_and_nothing_else(dav: AppDav) -> None:
    fill(dav, "/c/")
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    ended(dav, href)

    assert dav.get(f"{href}/progress").status == 404
    assert dav.get(f"{href}/result/x").status == 404
    assert dav.delete(f"{href}/result").status == 404


def test_a_result_is_pending_until_it_is_there(hooked: AppDav, storage: HookedStorage) -> None:
    fill(hooked, "/c/", "/c/a")
    with held(storage, "copy", "/c/a"):
        href = hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        pending = hooked.get(f"{href}/result")

        assert (pending.status, pending.headers["retry-after"]) == (202, "1")
        assert pending.headers["location"] == href
        assert read_json(pending.body)["result"] is None
    ended(hooked, href)


@pytest.mark.parametrize(
    "target", ["/.davserver/jobs/0123", "/.davserver/jobs/0123/result", "/.davserver/jobs/x/y/z"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE", "PROPFIND"])
def test_what_is_no_job_is_404(dav: AppDav, method: str, target: str) -> None:
    assert dav.request(method, target).status == 404


def test_an_ended_job_can_be_forgotten(dav: AppDav) -> None:
    fill(dav, "/c/")
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    ended(dav, href)

    assert dav.delete(href).status == 204
    assert dav.get(href).status == 404
    assert dav.get(f"{href}/result").status == 404


def test_an_ended_job_is_kept_for_a_time(make_dav: MakeDav) -> None:
    dav = make_dav("memory", jobs_kept_s=60)
    fill(dav, "/c/")
    first = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    ended(dav, first)
    dav.clock.pass_s(59)
    second = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    ended(dav, second)

    assert dav.get(first).status == 200
    dav.clock.pass_s(2)
    ended(dav, dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"])
    assert (dav.get(first).status, dav.get(second).status) == (404, 200)


def test_of_ended_jobs_the_latest_are_kept(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.state.jobs._MOST_ENDED", 2)
    dav = make_dav("memory")
    fill(dav, "/c/")
    hrefs = []
    for _ in range(4):
        hrefs.append(dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"])
        ended(dav, hrefs[-1])
        dav.clock.pass_s(1)

    assert [dav.get(href).status for href in hrefs] == [404, 200, 200, 200]


def test_a_cancelled_copy_leaves_nothing(hooked: AppDav, storage: HookedStorage) -> None:
    fill(hooked, "/c/", *(f"/c/{number}" for number in range(5)))
    with held(storage, "copy", "/c/2") as go:
        href = hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        await_job(hooked, href, lambda told: told["progress"]["members"] == 3)
        cancelled = hooked.delete(href)
        await_job(hooked, href, lambda told: told["cancelling"])
        await_heard(hooked)
        go.set()
        told = ended(hooked, href)
    result = hooked.get(f"{href}/result")

    assert (cancelled.status, read_json(cancelled.body)["cancelling"]) == (202, True)
    assert state_of(told) == ("cancelled", 503)
    assert told["progress"]["members_total"] == 6
    assert (result.status, result.body) == (503, b"cancelled before it was complete\n")
    assert hooked.get("/copy/").status == 404
    assert hidden_names(hooked) == []
    assert len(tree(hooked, "/c/")) == 5


def test_a_cancelled_delete_stops_between_members(hooked: AppDav, storage: HookedStorage) -> None:
    fill(hooked, "/c/", "/c/d/", "/c/d/b", "/c/a")
    with held(storage, "scan_all", "/c/d") as go:
        href = hooked.delete("/c/", ASYNC).headers["location"]
        hooked.delete(href)
        await_heard(hooked)
        go.set()
        told = ended(hooked, href)

    assert state_of(told) == ("cancelled", 503)
    assert tree(hooked, "/c/") == {"/c/d/": None, "/c/d/b": b"/c/d/b", "/c/a": b"/c/a"}


def test_jobs_wait_in_line_and_can_be_cancelled_there(
    make_dav: MakeDav, storage: HookedStorage
) -> None:
    dav = make_dav("memory", overrides={"storage": storage}, jobs_at_once=1)
    fill(dav, "/c/", "/c/a")
    with held(storage, "copy", "/c/a") as go:
        first, second, third = (
            dav.copy("/c/", f"/copy{number}/", headers=ASYNC).headers["location"]
            for number in range(3)
        )
        await_job(dav, first, lambda told: told["state"] == "running")
        waiting = [told_of(dav, href)["state"] for href in (second, third)]
        dav.delete(second)
        gone = ended(dav, second)
        go.set()
        done = [ended(dav, first), ended(dav, third)]

    assert waiting == ["waiting", "waiting"]
    assert (state_of(gone), gone["started"]) == (("cancelled", 503), None)
    assert [state_of(told) for told in done] == [("succeeded", 201)] * 2
    assert dav.get("/copy1/").status == 404


@pytest.mark.security("S-10")
def test_past_the_limit_of_a_principal_the_client_waits_itself(
    make_dav: MakeDav, storage: HookedStorage
) -> None:
    """RFC 7240 section 2: a preference that cannot be complied with is ignored."""
    dav = make_dav("memory", overrides={"storage": storage}, jobs_per_principal=1)
    fill(dav, "/c/", "/c/a")
    with held(storage, "copy", "/c/a"):
        href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        dav.run(until(lambda: ("copy", "/c/a") in storage.calls))
        second = dav.copy("/c/", "/other/", headers=ASYNC)
    ended(dav, href)

    assert (second.status, "preference-applied" in second.headers) == (201, False)
    assert dav.copy("/c/", "/third/", headers=ASYNC).status == 202


def test_without_jobs_the_client_waits_itself(make_dav: MakeDav) -> None:
    dav = make_dav("memory", jobs_at_once=0)
    fill(dav, "/c/")

    assert dav.copy("/c/", "/copy/", headers=ASYNC).status == 201


def test_when_no_job_can_be_written_the_client_waits_itself(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav()
    fill(dav, "/c/")

    def fail(*_: object, **__: object) -> bool:
        raise StateFailure("no disk")

    monkeypatch.setattr(dav.app.services.jobs.__class__, "add", fail)

    assert dav.copy("/c/", "/copy/", headers=ASYNC).status == 201


def test_a_job_is_there_for_who_started_it(make_dav: MakeDav) -> None:
    dav = make_dav(overrides={"authenticator": TestUsers()})
    alice, bob = User(dav, "alice"), User(dav, "bob")
    fill(alice, "/c/")
    href = alice.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    told = ended(dav, href, {"Authorization": "Test alice"})

    assert [bob.get(href).status, bob.get(f"{href}/result").status] == [404, 404]
    assert bob.delete(href).status == 404
    assert told_of(bob, "/.davserver/jobs") == {"jobs": []}
    assert told_of(alice, "/.davserver/jobs") == {"jobs": [told]}


def test_nothing_is_listed_for_who_is_nobody_in_particular(dav: AppDav) -> None:
    fill(dav, "/c/")
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    ended(dav, href)

    assert told_of(dav, "/.davserver/jobs") == {"jobs": []}
    assert told_of(dav, href)["state"] == "succeeded"


def test_a_job_goes_on_under_the_settings_that_it_began_with(make_dav: MakeDav) -> None:
    dav = make_dav()
    fill(dav, "/c/", "/c/a")
    before = dav.app.services
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    dav.app.reload(before.settings.model_copy(update={"read_only": True}))
    closed_early = before.runner.is_closed
    told = ended(dav, href)
    dav.run(until(lambda: before.runner.is_closed))

    assert not closed_early
    assert state_of(told) == ("succeeded", 201)


# --- another worker -------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[tuple[AppDav, AppDav]]:
    """Two workers of one server."""
    workers = [make_app_dav(tmp_path, "filesystem", durability="none") for _ in range(2)]
    yield workers[0], workers[1]
    for worker in workers:
        worker.close()


@contextmanager
def standing_still(
    monkeypatch: pytest.MonkeyPatch, walk: Any = TreeCopy
) -> Iterator[threading.Event]:
    """Has walks through trees stand still before their second step."""
    leave = threading.Event()
    step = walk._step
    steps = []

    def wait(self: Any, stack: Any) -> None:
        steps.append(1)
        if len(steps) == 2:
            assert leave.wait(20)
        step(self, stack)

    monkeypatch.setattr(walk, "_step", wait)
    try:
        yield leave
    finally:
        leave.set()


def test_another_worker_tells_of_a_job_and_ends_it(
    pair: tuple[AppDav, AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    fill(one, "/c/", "/c/a", "/c/d/", "/c/d/b")
    with standing_still(monkeypatch) as go:
        href = one.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        await_job(one, href, lambda told: told["progress"]["members"] == 2)
        running = told_of(other, href)
        cancelled = other.delete(href)
        await_heard(one)
        go.set()
        told = ended(one, href)

    assert (running["state"], running["progress"]["members_total"]) == ("running", 4)
    assert cancelled.status == 202
    assert state_of(told) == ("cancelled", 503)
    assert told_of(other, href) == told
    assert other.get("/copy/").status == 404
    assert hidden_names(one) == []


# --- one large file -------------------------------------------------------------------------------


@pytest.mark.parametrize("inside", [False, True], ids=["alone", "in a collection"])
def test_a_large_file_is_told_of_and_stopped_while_it_is_copied(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch, *, inside: bool
) -> None:
    size = 1 << 20
    monkeypatch.setattr("davserver.storage.content._KERNEL_CHUNK", size // 4)
    dav = make_dav(durability="none", fallbacks=("reflink",))
    fill(dav, "/c/")
    dav.put("/c/large", bytes(size))
    leave, calls = threading.Event(), []
    copy = os.copy_file_range

    def wait(*ends: int) -> int:
        calls.append(1)
        assert len(calls) != 2 or leave.wait(20)
        return copy(*ends)

    monkeypatch.setattr(os, "copy_file_range", wait)
    source, target = ("/c/", "/copy/") if inside else ("/c/large", "/copy")
    href = dav.copy(source, target, headers=ASYNC).headers["location"]
    part = await_job(dav, href, lambda told: told["progress"]["bytes"] > 0)
    dav.delete(href)
    await_heard(dav)
    leave.set()
    told = ended(dav, href)

    assert (part["progress"]["bytes"], part["progress"]["bytes_total"]) == (size // 4, size)
    assert state_of(told) == ("cancelled", 503)
    assert dav.get(target).status == 404
    assert hidden_names(dav) == []


def test_of_a_large_file_all_bytes_are_counted_once(dav: AppDav) -> None:
    fill(dav, "/c/")
    dav.put("/c/large", bytes(50_000))
    told = ended(dav, dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"])

    expected = {"members": 2, "members_total": 2, "bytes": 50_000, "bytes_total": 50_000}
    assert told["progress"] == expected


def test_of_a_collection_that_is_copied_again_all_bytes_are_counted_once(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav(durability="none", fallbacks=("reflink",))
    fill(dav, "/c/", "/c/d/")
    for name in ("f", "g"):
        dav.put(f"/c/d/{name}", bytes(50_000))
    utime, calls = os.utime, []

    def fail_once(*args: Any, **options: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise OSError(errno.EIO, "not now")
        utime(*args, **options)

    monkeypatch.setattr(os, "utime", fail_once)
    told = ended(dav, dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"])

    assert state_of(told) == ("succeeded", 201)
    assert told["progress"]["bytes"] == told["progress"]["bytes_total"] == 100_000
    assert told["progress"]["members"] == told["progress"]["members_total"] == 4


# --- ends that nobody wrote down ------------------------------------------------------------------


def failing(store: Any, monkeypatch: pytest.MonkeyPatch, name: str, times: int) -> None:
    """Has the first calls of a store fail."""
    inner, calls = getattr(store, name), []

    def fail(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) <= times:
            raise StateFailure("no disk")
        return inner(*arguments, **options)

    monkeypatch.setattr(store, name, fail)


def test_what_a_dead_worker_had_done_has_succeeded(
    pair: tuple[AppDav, AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies between the change and the row that tells of its end."""
    one, other = pair
    fill(one, "/c/", "/c/a", "/d/")
    failing(one.app.services.jobs, monkeypatch, "end", 1000)
    monkeypatch.setattr("davserver.jobs.LOOK_S", 0.01)
    copied = one.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    one.run(until(lambda: (one.root / "copy" / "a").exists()))
    moved = one.move("/d/", "/moved/", headers=ASYNC).headers["location"]
    one.run(until(lambda: (one.root / "moved").exists()))
    before = told_of(other, moved)["state"]
    monkeypatch.setattr(other.app.services.state, "is_alive", lambda owner: False)
    told = [told_of(other, href) for href in (copied, moved)]

    assert before == "running"
    assert [state_of(one) for one in told] == [("succeeded", 201)] * 2
    assert [one["result"]["headers"] for one in told] == [
        {"location": "/copy/"},
        {"location": "/moved/"},
    ]


def test_a_link_that_a_dead_worker_had_moved_is_found_by_its_new_name(
    pair: tuple[AppDav, AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    assert one.root is not None
    fill(one, "/c/", "/c/a")
    (one.root / "link").symlink_to("c/a")
    failing(one.app.services.jobs, monkeypatch, "end", 1000)
    monkeypatch.setattr("davserver.jobs.LOOK_S", 0.01)
    href = one.move("/link", "/other", headers=ASYNC).headers["location"]
    one.run(until((one.root / "other").exists))
    monkeypatch.setattr(other.app.services.state, "is_alive", lambda owner: False)

    assert state_of(told_of(other, href)) == ("succeeded", 201)


def test_what_is_not_there_any_more_shows_nothing(
    pair: tuple[AppDav, AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    fill(one, "/c/", "/c/a")
    failing(one.app.services.jobs, monkeypatch, "end", 1000)
    monkeypatch.setattr("davserver.jobs.LOOK_S", 0.01)
    href = one.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    one.run(until(lambda: (one.root / "copy" / "a").exists()))
    other.delete("/copy/")
    monkeypatch.setattr(other.app.services.state, "is_alive", lambda owner: False)

    assert state_of(told_of(other, href)) == ("failed", 503)


def test_what_a_dead_worker_was_at_has_failed(
    pair: tuple[AppDav, AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    fill(one, "/c/", "/c/a", "/c/d/", "/c/d/b")
    with standing_still(monkeypatch) as go:
        href = one.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        await_job(one, href, lambda told: told["progress"]["members"] == 2)
        monkeypatch.setattr(other.app.services.state, "is_alive", lambda owner: False)
        tidied = other.delete("/c/d/", ASYNC)
        told = told_of(other, href)
        go.set()
        done = ended(one, href)

    assert tidied.status == 202
    assert state_of(told) == ("failed", 503)
    assert other.get(f"{href}/result").body == b"the server stopped before it was complete\n"
    assert done == told, "what was said once stays said"


def test_a_delete_is_done_when_nothing_is_there_any_more(
    pair: tuple[AppDav, AppDav],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = pair
    fill(one, "/c/", "/c/a", "/d/", "/d/a")
    failing(one.app.services.jobs, monkeypatch, "end", 1000)
    monkeypatch.setattr("davserver.jobs.LOOK_S", 0.01)
    monkeypatch.setattr("davserver.jobs._ATTEMPTS", 1)
    whole = one.delete("/c/", ASYNC).headers["location"]
    one.run(until(lambda: not (one.root / "c").exists()))
    one.lock("/d/a")
    part = one.delete("/d/", ASYNC).headers["location"]
    id = part.rpartition("/")[2]
    one.run(until(lambda: f"how job {id} ended is not known yet" in caplog.text))
    one.run(until(lambda: not one.app.jobs._runs))
    monkeypatch.setattr(other.app.services.state, "is_alive", lambda owner: False)

    assert state_of(told_of(other, whole)) == ("succeeded", 204)
    assert state_of(told_of(other, part)) == ("failed", 503)


def test_a_job_whose_end_cannot_be_found_out_keeps_nobody_from_starting_one(
    pair: tuple[AppDav, AppDav], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = pair
    fill(one, "/c/", "/c/a", "/c/d/", "/c/d/b", "/f")
    with standing_still(monkeypatch):
        one.copy("/c/", "/copy/", headers=ASYNC)
        one.run(until(lambda: other.app.services.jobs.unfinished()[0].members == 2))
        monkeypatch.setattr(other.app.services.state, "is_alive", lambda owner: False)
        failing(other.app.services.jobs, monkeypatch, "drop", 1)
        accepted = other.delete("/f", ASYNC)

    assert accepted.status == 202


def test_an_end_that_cannot_be_written_at_first_is_found_out_later(
    hooked: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hooked, "/c/", "/c/a")
    store = hooked.app.services.jobs
    for name in ("begin", "report", "end"):
        failing(store, monkeypatch, name, 1)
    monkeypatch.setattr("davserver.jobs.LOOK_S", 0.01)
    told = ended(hooked, hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"])

    assert (state_of(told), told["result"]["headers"]) == (
        ("succeeded", 201),
        {"location": "/copy/"},
    )


def test_an_end_that_cannot_be_looked_for_at_first_is_found_out_later(
    hooked: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(hooked, "/c/", "/c/a")
    failing(hooked.app.services.jobs, monkeypatch, "end", 3)
    monkeypatch.setattr("davserver.jobs.LOOK_S", 0.01)
    told = ended(hooked, hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"])

    assert state_of(told) == ("succeeded", 201)


def test_without_a_proof_a_job_goes_on(hooked: AppDav, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(hooked, "/c/", "/c/a")
    failing(hooked.app.services.jobs, monkeypatch, "prove", 1)
    told = ended(hooked, hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"])

    assert state_of(told) == ("succeeded", 201)


def test_work_that_breaks_is_told_of_as_500(
    hooked: AppDav, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fill(hooked, "/c/", "/c/a")

    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(TreeCopy, "_step", fail)
    told = ended(hooked, hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"])

    assert state_of(told) == ("failed", 500)
    assert "ZeroDivisionError" in caplog.text
    assert hidden_names(hooked) == []


# --- the end of the server ------------------------------------------------------------------------


def shut_down(dav: AppDav, meanwhile: Callable[[], None]) -> None:
    """Ends the application as a server does, with jobs under way."""
    messages = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> Any:
        return {"type": next(messages)}

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete":
            asyncio.get_running_loop().call_later(0.05, meanwhile)

    async def serve() -> None:
        await dav.app({"type": "lifespan"}, receive, send)

    dav.run(serve())


def test_the_end_of_the_server_ends_jobs_between_members(
    make_dav: MakeDav, storage: HookedStorage
) -> None:
    dav = make_dav("memory", overrides={"storage": storage}, jobs_at_once=1)
    fill(dav, "/c/", "/c/a", "/c/b")
    with held(storage, "copy", "/c/a") as go:
        hrefs = [
            dav.copy("/c/", f"/copy{number}/", headers=ASYNC).headers["location"]
            for number in range(2)
        ]
        await_job(dav, hrefs[0], lambda told: told["state"] == "running")
        shut_down(dav, go.set)

    assert [state_of(told_of(dav, href)) for href in hrefs] == [("failed", 503)] * 2
    assert dav.get(f"{hrefs[0]}/result").body == b"the server stopped before it was complete\n"
    assert dav.get("/copy0/").status == 404
    assert hidden_names(dav) == []


def test_an_application_that_is_closed_ends_jobs_between_members(
    make_dav: MakeDav, storage: HookedStorage
) -> None:
    dav = make_dav("memory", overrides={"storage": storage})
    fill(dav, "/c/", "/c/a", "/c/b")
    with held(storage, "copy", "/c/a") as go:
        href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        dav.run(until(lambda: ("copy", "/c/a") in storage.calls))
        threading.Timer(0.05, go.set).start()
        dav.app.close()

    assert ("copy", "/c/b") not in storage.calls
    assert dav.get(href).status == 200
    assert hidden_names(dav) == []


def test_what_was_under_way_at_the_end_is_looked_at_by_the_next_server(
    make_dav: MakeDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    dav = make_dav(durability="none")
    fill(dav, "/c/", "/c/d/", "/c/d/a")
    with standing_still(monkeypatch, TreeDelete) as go:
        href = dav.delete("/c/", ASYNC).headers["location"]
        await_job(dav, href, lambda told: told["progress"]["members_total"] is not None)
        shut_down(dav, go.set)

    assert state_of(told_of(dav, href)) == ("failed", 503)
    assert tree(dav, "/c/") == {"/c/d/": None, "/c/d/a": b"/c/d/a"}


def test_a_turn_that_comes_at_the_end_is_given_back() -> None:
    jobs = Jobs()
    settings = SimpleNamespace(jobs_at_once=1)

    async def take() -> None:
        rc = SimpleNamespace(services=SimpleNamespace(settings=settings))
        run: Any = SimpleNamespace(rc=rc, stop=asyncio.Event())
        assert await jobs._turn(run)
        second = asyncio.create_task(jobs._turn(run))
        await asyncio.sleep(0)
        jobs._leave()
        second.cancel()
        await asyncio.wait([second])
        assert second.cancelled()

    asyncio.run(take())

    assert (jobs._running, list(jobs._line)) == (0, [])


def test_only_one_says_how_a_job_ended(dav: AppDav) -> None:
    fill(dav, "/c/")
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    told = ended(dav, href)
    services = dav.app.services
    job = services.jobs.get(told["id"])
    assert job is not None
    settle(services, job, JobState.FAILED)

    assert told_of(dav, href) == told
