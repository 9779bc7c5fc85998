"""Requests that meet on one resource: whatever the order, it is as if one had come first."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from tests.support.crowd import Until, at_once, hidden_files, orphans
from tests.support.http import Connection
from tests.support.server import Server

NS = "{http://example.org/ns}"
WORDS = [b"alpha ", b"omega "]

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.parametrize(
        "server",
        [{"workers": 1}, {"workers": 4}, {"workers": 4, "arguments": ["--durability", "none"]}],
        ids=["1 worker", "4 workers", "4 workers, inline"],
        indirect=True,
    ),
]


@pytest.mark.rfc("LM-04", "PU-10")
@pytest.mark.security("Q-03")
def test_put_racing_lock_never_lands_inside_the_lock(server: Server, seconds: float) -> None:
    going = Until(seconds)
    path = "/guarded.txt"

    def write(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            statuses.add(connection.put(path, b"%d" % random.getrandbits(40)).status)
        return statuses

    def guard(connection: Connection) -> set[int]:
        rounds = 0
        while going or not rounds:
            reply = connection.lock_request(path)
            if reply.status == 423:
                continue
            assert reply.status in (200, 201), reply
            token = reply.headers["lock-token"]
            before = connection.get(path)
            mine = b"mine %d" % rounds
            headers = {"If": f"({token})", "If-Match": before.headers["etag"]}
            assert connection.put(path, mine, headers).status == 204
            assert connection.get(path).body == mine
            assert connection.request("UNLOCK", path, {"Lock-Token": token}).status == 204
            rounds += 1
        return set()

    statuses = at_once(server, write, write, write, guard, guard)

    assert set().union(*statuses) <= {201, 204, 423}
    assert hidden_files(server) == []


def _flip(going: Until) -> Callable[[Connection], int]:
    """A client that makes `/source` another resource, with other properties, again and again:
    each time by one MOVE."""

    def flip(connection: Connection) -> int:
        count = 0
        while going:
            word = WORDS[count % 2]
            connection.put("/next", word * 5000)
            connection.proppatch("/next", set={f"{NS}word": word.decode()})
            reply = connection.move("/next", "/source")
            assert reply.status in (201, 204), reply
            count += 1
        return count

    return flip


@pytest.mark.rfc("CP-20", "CP-09")
def test_copy_of_a_source_that_is_replaced_is_of_one_version(
    server: Server, seconds: float
) -> None:
    """Content and dead properties of the copy belong together."""
    going = Until(seconds)
    with server.connect() as first:
        first.put("/next", WORDS[1] * 5000)
        first.proppatch("/next", set={f"{NS}word": WORDS[1].decode()})
        first.move("/next", "/source")

    def copy(connection: Connection) -> int:
        count = 0
        target = f"/copy-{threading.get_ident()}"
        while going or not count:
            reply = connection.copy("/source", target)
            assert reply.status in (201, 204), reply
            body = connection.get(target).body
            word = connection.prop(target, f"{NS}word").text
            assert body == word.encode() * 5000
            count += 1
        return count

    at_once(server, _flip(going), copy, copy)

    assert hidden_files(server) == []
    assert orphans(server) == []


@pytest.mark.rfc("CP-08", "PU-12")
def test_put_and_copy_to_one_destination_are_each_whole(server: Server, seconds: float) -> None:
    going = Until(seconds)
    bodies = [word * 20_000 for word in (b"source", b"stored")]
    with server.connect() as first:
        first.put("/from", bodies[0])

    def copy(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            statuses.add(connection.copy("/from", "/to").status)
        return statuses

    def put(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            statuses.add(connection.put("/to", bodies[1]).status)
        return statuses

    def read(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            reply = connection.get("/to")
            assert reply.status == 404 or reply.body in bodies
            statuses.add(reply.status)
        return statuses

    copied, stored, read_ = at_once(server, copy, put, read)

    assert copied <= {201, 204}
    assert stored <= {201, 204}
    assert read_ <= {200, 404}
    assert hidden_files(server) == []


@pytest.mark.rfc("PP-03")
@pytest.mark.security("Q-02")
def test_proppatches_at_once_are_each_all_or_nothing(server: Server, seconds: float) -> None:
    going = Until(seconds)
    path = "/described.txt"
    names = [f"{NS}{letter}" for letter in "abc"]
    with server.connect() as first:
        first.put(path, b"")
        first.proppatch(path, set=dict.fromkeys(names, "first"))

    def patch(connection: Connection) -> int:
        count = 0
        while going or not count:
            value = f"{threading.get_ident()} {count}"
            reply = connection.proppatch(path, set=dict.fromkeys(names, value))
            assert reply.status == 207, reply
            assert set(reply.multistatus[path]) == {200}
            count += 1
        return count

    def read(connection: Connection) -> int:
        count = 0
        while going or not count:
            found = connection.propfind(path, props=names).ok(path)
            assert len({found[name].text for name in names}) == 1
            count += 1
        return count

    at_once(server, patch, patch, patch, read, read)


@pytest.mark.rfc("LM-01", "LM-03", "LK-07")
@pytest.mark.security("Q-03")
def test_locks_that_exclude_each_other_are_never_held_together(
    server: Server, seconds: float
) -> None:
    """Exclusive and shared, on a member and of depth infinity on its collection."""
    going = Until(seconds)
    with server.connect() as first:
        first.mkcol("/fought")
        first.put("/fought/over", b"")

    def fight(scope: str) -> Callable[[Connection], list[tuple[float, float, bool]]]:
        def run(connection: Connection) -> list[tuple[float, float, bool]]:
            held: list[tuple[float, float, bool]] = []
            while going or not held:
                path = random.choice(["/fought", "/fought/over"])
                reply = connection.lock_request(path, scope=scope, depth="infinity")
                if reply.status == 200:
                    since = time.monotonic()
                    time.sleep(random.random() * 0.01)
                    until = time.monotonic()
                    token = reply.headers["lock-token"]
                    reply = connection.request("UNLOCK", path, {"Lock-Token": token})
                    assert reply.status == 204
                    held.append((since, until, scope == "exclusive"))
                else:
                    assert reply.status in (207, 423), reply
                time.sleep(random.random() * 0.01)
            return held

        return run

    fighters = [fight("exclusive")] * 2 + [fight("shared")] * 3
    spans = sorted(span for each in at_once(server, *fighters) for span in each)

    for number, (_, until, exclusive) in enumerate(spans):
        for begun, _, other in spans[number + 1 :]:
            if begun > until:
                break
            is_shared = not exclusive and not other
            assert is_shared, "an exclusive lock was not the only one"
    with server.connect() as last:
        assert last.locks("/fought") == last.locks("/fought/over") == []


def test_times_of_each_read_rise(server: Server, seconds: float) -> None:
    """What one client has read, no later read goes back behind."""
    going = Until(seconds / 2)
    path = f"/rising-{seconds}"

    def write(connection: Connection) -> list[int]:
        count = 0
        while going:
            count += 1
            assert connection.put(path, b"%d" % count).status in (201, 204)
        return [count]

    def read(connection: Connection) -> list[int]:
        seen = []
        while going:
            reply = connection.get(path)
            if reply.status == 200:
                seen.append(int(reply.body))
        return seen

    for seen in at_once(server, write, read, read, read):
        assert all(one <= other for one, other in pairwise(seen))
