"""Four worker processes answer as one (locks, properties, conditions)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.http import Connection
from tests.support.reply import Reply
from tests.support.server import Server

WORKERS = 4
# As many connections as make it all but certain that each worker has one.
CONNECTIONS = 32

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.parametrize("server", [{"workers": WORKERS}], ids=["4 workers"], indirect=True),
]


@pytest.fixture
def everyone(server: Server) -> Iterator[list[Connection]]:
    """Connections that between them reach every worker."""
    with ExitStack() as stack:
        yield [stack.enter_context(server.connect()) for _ in range(CONNECTIONS)]


def test_lock_of_one_worker_is_honoured_and_shown_by_all(everyone: list[Connection]) -> None:
    first = everyone[0]
    first.put("/locked.txt", b"kept")
    token = first.lock("/locked.txt").token

    for connection in everyone:
        assert connection.put("/locked.txt", b"lost").status == 423
        assert len(connection.locks("/locked.txt")) == 1
        assert connection.lock_request("/locked.txt").status == 423
        reply = connection.put("/locked.txt", b"kept", {"If": f"(<{token}>)"})
        assert reply.status == 204
    assert everyone[-1].unlock("/locked.txt", token).status == 204
    for connection in everyone:
        assert connection.locks("/locked.txt") == []
        assert connection.put("/locked.txt", b"free").status == 204


def test_refresh_through_any_worker_holds_for_all(everyone: list[Connection]) -> None:
    everyone[0].put("/refreshed.txt", b"")
    token = everyone[0].lock("/refreshed.txt", timeout="Second-100").token

    for number, connection in enumerate(everyone):
        asked = f"Second-{200 + number}"
        assert connection.refresh("/refreshed.txt", token, timeout=asked).status == 200
        (shown,) = everyone[-1 - number].locks("/refreshed.txt")
        assert int(shown.findtext("{DAV:}timeout").removeprefix("Second-")) > 190


def test_property_of_one_worker_is_read_through_all(everyone: list[Connection]) -> None:
    name = "{http://example.org/ns}topic"
    everyone[0].put("/described.txt", b"")

    for number, connection in enumerate(everyone):
        assert connection.proppatch("/described.txt", set={name: f"value {number}"}).status == 207
        reader = everyone[number - 1]
        assert reader.prop("/described.txt", name).text == f"value {number}"


def test_depth_infinity_lock_of_one_worker_covers_members_for_all(
    everyone: list[Connection],
) -> None:
    everyone[0].mkcol("/tree")
    everyone[0].put("/tree/member.txt", b"")
    token = everyone[0].lock("/tree", depth="infinity").token

    for number, connection in enumerate(everyone):
        assert connection.put(f"/tree/new-{number}.txt", b"").status == 423
        assert connection.delete("/tree/member.txt").status == 423
    assert everyone[-1].unlock("/tree/member.txt", token).status == 204


def at_once(connections: list[Connection], ask: str) -> list[Reply]:
    """Has each connection send one conditional PUT at the same moment."""
    barrier = threading.Barrier(len(connections))
    replies: list[Reply] = []

    def put(number: int, connection: Connection) -> None:
        condition, value = ask.split("=", 1)
        barrier.wait(10)
        body = b"%d" % number * 1000
        replies.append(connection.put("/contested.txt", body, {condition: value}))

    threads = [threading.Thread(target=put, args=pair) for pair in enumerate(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return replies


@pytest.mark.rfc("HC-10")
def test_of_many_conditional_puts_at_once_one_succeeds(everyone: list[Connection]) -> None:
    """RFC 9110 section 13.1: a compare-and-swap by entity-tag never loses an update."""
    everyone[0].delete("/contested.txt")
    statuses = sorted(reply.status for reply in at_once(everyone, "If-None-Match=*"))

    assert statuses == [201] + [412] * (CONNECTIONS - 1)
    for _ in range(5):
        tag = everyone[0].head("/contested.txt").headers["etag"]
        statuses = sorted(reply.status for reply in at_once(everyone, f"If-Match={tag}"))
        assert statuses == [204] + [412] * (CONNECTIONS - 1)


def test_of_many_exclusive_locks_at_once_one_is_granted(everyone: list[Connection]) -> None:
    barrier = threading.Barrier(len(everyone))
    statuses: list[int] = []

    def lock(connection: Connection) -> None:
        barrier.wait(10)
        statuses.append(connection.lock_request("/prize.txt").status)

    threads = [threading.Thread(target=lock, args=(connection,)) for connection in everyone]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert sorted(statuses) == [201] + [423] * (CONNECTIONS - 1)


@pytest.mark.rfc("HC-10", "HC-02")
def test_counter_that_everyone_raises_by_compare_and_swap_is_exact(
    everyone: list[Connection],
) -> None:
    """RFC 9110 section 13.1.1: If-Match is there "to prevent accidental overwrites"."""
    clients, rounds = everyone[:20], 3
    everyone[0].put("/counter", b"0")
    barrier = threading.Barrier(len(clients))
    tags: list[str] = []
    unexpected: list[Reply] = []

    def raise_it(connection: Connection) -> None:
        barrier.wait(10)
        done = 0
        while done < rounds and not unexpected:
            read = connection.get("/counter")
            body = b"%d" % (int(read.body) + 1)
            reply = connection.put("/counter", body, {"If-Match": read.headers["etag"]})
            if reply.status == 204:
                tags.append(reply.headers["etag"])
                done += 1
            elif reply.status != 412:
                unexpected.append(reply)

    threads = [threading.Thread(target=raise_it, args=(connection,)) for connection in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(40)

    assert unexpected == []
    assert everyone[0].get("/counter").body == b"%d" % (len(clients) * rounds)
    assert len(set(tags)) == len(clients) * rounds
