"""The progress of a job as server-sent events."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import AppDav
from tests.service.test_jobs import ASYNC, await_job, ended, held
from tests.support.asgi import drive
from tests.support.faces import read_json
from tests.support.storages import HookedStorage
from tests.support.trees import fill

EVENTS = {"Accept": "text/event-stream"}
MakeDav = Callable[..., AppDav]


@pytest.fixture
def storage() -> HookedStorage:
    return HookedStorage()


@pytest.fixture
def hooked(make_dav: MakeDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch) -> AppDav:
    monkeypatch.setattr("davserver.jobs.LOOK_S", 0.01)
    monkeypatch.setattr("davserver.service._events._LOOK_S", 0.01)
    return make_dav("memory", overrides={"storage": storage})


def read(body: bytes) -> list[tuple[dict[str, str], dict[str, Any]]]:
    """Returns the fields and the data of each event; comments are passed over."""
    found = []
    for block in body.decode().split("\n\n")[:-1]:
        if not block.startswith(":"):
            fields = dict(line.split(": ", 1) for line in block.split("\n"))
            found.append((fields, read_json(fields.pop("data").encode())))
    return found


def scope(dav: AppDav, href: str, **headers: str) -> dict[str, Any]:
    return dav.scope("GET", href, EVENTS | headers)


def telling(app: Any, begun: Callable[[], None]) -> Any:
    """Calls a function for each piece of the body that an application sends."""

    async def tell(scope: Any, receive: Any, send: Any) -> None:
        async def note(message: Any) -> None:
            await send(message)
            if message.get("body"):
                begun()

        await app(scope, receive, note)

    return tell


def test_progress_is_told_as_it_comes_and_ends_with_the_job(
    hooked: AppDav, storage: HookedStorage
) -> None:
    fill(hooked, "/c/", "/c/a", "/c/b")
    with held(storage, "copy", "/c/b") as go:
        href = hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        await_job(hooked, href, lambda told: told["progress"]["members"] == 2)
        exchange = hooked.run(drive(telling(hooked.app, go.set), scope(hooked, href), []))
    reply = exchange.reply
    events = read(reply.body)

    assert (reply.status, reply.headers["content-type"]) == (200, "text/event-stream")
    assert "content-length" not in reply.headers
    assert [fields["event"] for fields, _ in events[:-1]] == ["progress"] * (len(events) - 1)
    assert events[0][1]["progress"]["members"] == 2
    assert events[-1][0] == {"event": "ended", "id": "ended"}
    assert events[-1][1] == ended(hooked, href)


def test_who_comes_after_the_end_is_told_of_that_alone(dav: AppDav) -> None:
    fill(dav, "/c/")
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    told = ended(dav, href)
    ((fields, data),) = read(dav.get(href, EVENTS).body)

    assert (fields["event"], data) == ("ended", told)


def test_a_client_that_has_been_told_of_the_end_is_not_to_come_back(dav: AppDav) -> None:
    """WHATWG HTML section 9.2.1: 204 tells an EventSource to stop reconnecting."""
    fill(dav, "/c/")
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    ended(dav, href)

    assert dav.get(href, {**EVENTS, "Last-Event-ID": "ended"}).status == 204


@pytest.mark.parametrize(
    ("accept", "answer"),
    [
        ("text/event-stream", "text/event-stream"),
        ("application/json;q=0.5, TEXT/event-stream;q=1", "text/event-stream"),
        ("*/*", "application/json"),
        ("application/json", "application/json"),
    ],
)
def test_events_are_for_who_accepts_them(dav: AppDav, accept: str, answer: str) -> None:
    fill(dav, "/c/")
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
    ended(dav, href)
    reply = dav.get(href, {"Accept": accept})

    assert reply.headers["content-type"] == answer
    assert reply.headers["vary"] == "Accept"


def test_nothing_new_for_long_is_told_as_a_comment(
    hooked: AppDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.service._events._QUIET", 2)
    fill(hooked, "/c/", "/c/a")
    with held(storage, "copy", "/c/a") as go:
        href = hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        await_job(hooked, href, lambda told: told["progress"]["members"] == 1)
        pieces = []

        def count() -> None:
            pieces.append(1)
            if len(pieces) == 3:
                go.set()

        exchange = hooked.run(drive(telling(hooked.app, count), scope(hooked, href), []))

    assert exchange.reply.body.count(b":\n\n") >= 2


def test_no_more_listen_than_there_is_room_for(
    hooked: AppDav, storage: HookedStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.jobs.LISTENERS", 1)
    fill(hooked, "/c/", "/c/a")
    statuses = []
    with held(storage, "copy", "/c/a") as go:
        href = hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        begun = asyncio.Event()

        async def ask_beside() -> None:
            listening = asyncio.create_task(
                drive(telling(hooked.app, begun.set), scope(hooked, href), [])
            )
            await begun.wait()
            statuses.append((await hooked.request_async("GET", href, EVENTS)).status)
            statuses.append((await hooked.request_async("GET", href)).status)
            go.set()
            statuses.append((await listening).reply.status)

        hooked.run(ask_beside())

    assert statuses == [503, 200, 200]
    assert hooked.get(href, EVENTS).status == 200


def test_who_asks_for_the_head_does_not_listen(
    dav: AppDav, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("davserver.jobs.LISTENERS", 0)
    fill(dav, "/c/")
    href = dav.copy("/c/", "/copy/", headers=ASYNC).headers["location"]

    assert dav.head(href, EVENTS).status == 200


def test_events_end_when_the_job_is_forgotten(hooked: AppDav, storage: HookedStorage) -> None:
    fill(hooked, "/c/", "/c/a")
    with held(storage, "copy", "/c/a"):
        href = hooked.copy("/c/", "/copy/", headers=ASYNC).headers["location"]
        id = href.rpartition("/")[2]

        def forget() -> None:
            hooked.app.services.jobs.forget(id)

        exchange = hooked.run(drive(telling(hooked.app, forget), scope(hooked, href), []))

    assert [fields["event"] for fields, _ in read(exchange.reply.body)] == ["progress"]
