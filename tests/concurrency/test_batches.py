"""Atomic batches on the same files at once: one order or the other, never a mix."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.crowd import Until, at_once, hidden_files, orphans
from tests.support.http import Connection
from tests.support.reply import Reply
from tests.support.server import Server

TOPIC = "{urn:x}topic"
FILES = [f"/both/{number}" for number in range(6)]
BATCH = "/.davserver/batch"

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.parametrize(
        "server", [{"workers": 1}, {"workers": 4}], ids=["1 worker", "4 workers"], indirect=True
    ),
]


def post(connection: Connection, operations: list[dict[str, Any]], **headers: str) -> Reply:
    body = json.dumps({"atomic": True, "operations": operations}).encode()
    fields = {"Content-Type": "application/json", **headers}
    return connection.request("POST", BATCH, fields, body)


def written(word: str, *, condition: dict[str, str] | None = None) -> list[dict[str, Any]]:
    """A batch that makes everything below /both say `word`, in more than one way."""
    operations: list[dict[str, Any]] = []
    for href in FILES:
        operations.append({"op": "put", "href": href, "content": word})
        update = [{"set": {"urn:x": {"topic": word}}}]
        operations.append({"op": "proppatch", "href": href, "update": update})
    operations[0] |= condition or {}
    return [
        *operations,
        {"op": "copy", "href": "/both", "destination": "/copy"},
        {"op": "delete", "href": "/both/0"},
        {"op": "move", "href": "/copy/0", "destination": "/both/0"},
        {"op": "move", "href": "/copy", "destination": "/moved"},
    ]


def words_of(connection: Connection) -> set[str]:
    """Returns what is said anywhere."""
    found = set()
    for href in [*FILES, *(href.replace("both", "moved") for href in FILES[1:])]:
        found.add(connection.get(href).body.decode())
        found.add(connection.prop(href, TOPIC).text)
    return found


def fill(server: Server) -> None:
    with server.connect() as first:
        first.mkcol("/both")
        for href in FILES:
            first.put(href, b"first")
            first.proppatch(href, set={TOPIC: "first"})


def test_two_at_once_are_one_after_the_other(server: Server, seconds: float) -> None:
    fill(server)

    def write(connection: Connection) -> Reply:
        return post(connection, written(f"by {threading.get_ident()}"))

    with server.connect() as reader:
        for _ in range(int(seconds * 6)):
            replies = at_once(server, write, write)
            assert [reply.status for reply in replies] == [200, 200], replies
            assert len(words_of(reader)) == 1

    assert hidden_files(server) == []
    assert orphans(server) == []


def test_of_two_with_one_condition_one_wins_and_the_other_changes_nothing(
    server: Server, seconds: float
) -> None:
    going = Until(seconds)
    fill(server)

    def swap(connection: Connection) -> tuple[int, int]:
        won = lost = 0
        while going or not won:
            etag = connection.get(FILES[0]).headers["etag"]
            word = f"{threading.get_ident()} {won}"
            reply = post(connection, written(word, condition={"if-match": etag}))
            assert reply.status in (200, 207), reply
            if reply.status == 200:
                won += 1
            else:
                results = json.loads(reply.body)["results"]
                assert {result["status"] for result in results} <= {412, 404, 424}
                lost += 1
        return won, lost

    ends = at_once(server, swap, swap, swap)
    with server.connect() as last:
        words = words_of(last)

    assert all(won for won, _ in ends)
    assert len(words) == 1
    assert hidden_files(server) == []
    assert orphans(server) == []


def test_single_methods_beside_a_batch_come_before_it_or_after(
    server: Server, seconds: float
) -> None:
    """Whoever puts one of the files in between would leave a mix."""
    going = Until(seconds)
    fill(server)

    def write(connection: Connection) -> int:
        count = 0
        while going or not count:
            word = f"batch {count}"
            operations = written(word)
            # The last of them fails if anything came in between.
            operations.append({"op": "move", "href": "/both/1", "destination": "/none/x"})
            refused = post(connection, operations)
            assert refused.status == 207
            assert words_of(connection).isdisjoint({word}), "it was undone"
            count += 1
        return count

    def put(connection: Connection) -> int:
        count = 0
        while going:
            word = b"single %d" % count
            reply = connection.put("/both/single", word)
            assert reply.status in (201, 204), reply
            assert connection.get("/both/single").body == word
            count += 1
        return count

    with server.connect() as first:
        assert post(first, written("first")).status == 200
    at_once(server, write, put)

    assert hidden_files(server) == []
    assert orphans(server) == []


def test_a_key_is_run_once_however_many_send_it(server: Server, seconds: float) -> None:
    fill(server)

    def send(round: int) -> Callable[[Connection], tuple[int, bytes]]:
        operations = [
            {"op": "mkcol", "href": f"/made{round}"},
            {"op": "put", "href": f"/made{round}/f", "content": "x"},
        ]

        def run(connection: Connection) -> tuple[int, bytes]:
            while True:
                reply = post(connection, operations, **{"Idempotency-Key": f"key-{round}"})
                if reply.status != 409:
                    return reply.status, reply.body

        return run

    for round in range(3):
        ends = at_once(server, *[send(round)] * 4)
        assert {status for status, _ in ends} == {200}
        assert len({body for _, body in ends}) == 1
