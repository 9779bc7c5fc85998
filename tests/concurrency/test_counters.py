"""Twenty clients and one counter: what was answered with success is never lost."""

from __future__ import annotations

import random
import time
from functools import partial

import pytest

from tests.support.crowd import at_once, hidden_files
from tests.support.http import Connection
from tests.support.server import Server

CLIENTS = 20

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.parametrize(
        "server",
        [
            {"workers": 1},
            {"workers": 4},
            {"workers": 4, "arguments": ["--durability", "none"]},
        ],
        ids=["1 worker", "4 workers", "4 workers, inline"],
        indirect=True,
    ),
]
ROUNDS = [10, pytest.param(25, marks=[pytest.mark.long, pytest.mark.timeout(600)])]


def swap(path: str, rounds: int, connection: Connection) -> list[str]:
    """Raises the counter `rounds` times; returns the entity-tags of its versions."""
    tags: list[str] = []
    while len(tags) < rounds:
        read = connection.get(path)
        body = b"%d" % (int(read.body) + 1)
        reply = connection.put(path, body, {"If-Match": read.headers["etag"]})
        if reply.status == 204:
            tags.append(reply.headers["etag"])
            continue
        assert reply.status == 412, reply
        time.sleep(random.random() * 0.02)
    return tags


@pytest.mark.rfc("HC-02", "HC-10")
@pytest.mark.security("Q-03")
@pytest.mark.parametrize("rounds", ROUNDS)
def test_counter_raised_by_compare_and_swap_is_exact(server: Server, rounds: int) -> None:
    """RFC 9110 section 13.1.1: If-Match guards against the lost update."""
    path = f"/swapped-{rounds}"
    with server.connect() as first:
        first.put(path, b"0")

        tags = at_once(server, *[partial(swap, path, rounds)] * CLIENTS)

        assert first.get(path).body == b"%d" % (CLIENTS * rounds)
    assert len({tag for each in tags for tag in each}) == CLIENTS * rounds
    assert hidden_files(server) == []


def create(folder: str, names: int, number: int, connection: Connection) -> list[int]:
    body = b"%d " % number * 50
    headers = {"If-None-Match": "*"}
    return [connection.put(f"{folder}/{n}", body, headers).status for n in range(names)]


@pytest.mark.rfc("PU-13", "HC-03")
@pytest.mark.security("Q-03")
def test_each_of_100_names_is_created_by_exactly_one_client(server: Server) -> None:
    names = 100
    with server.connect() as first:
        first.mkcol("/created")

        work = [partial(create, "/created", names, number) for number in range(CLIENTS)]
        statuses = at_once(server, *work)

        for name in range(names):
            each = [of_client[name] for of_client in statuses]
            assert sorted(each) == [201] + [412] * (CLIENTS - 1)
            winner = each.index(201)
            assert first.get(f"/created/{name}").body == b"%d " % winner * 50
    assert hidden_files(server) == []


def raise_under_lock(path: str, rounds: int, connection: Connection) -> int:
    """LOCK, GET, PUT, UNLOCK; returns how often the lock was somebody else's."""
    refused = done = 0
    while done < rounds:
        reply = connection.lock_request(path, timeout="Second-600")
        if reply.status == 423:
            refused += 1
            time.sleep(0.002 + random.random() * 0.03)
            continue
        assert reply.status == 200, reply
        token = reply.headers["lock-token"]
        body = b"%d" % (int(connection.get(path).body) + 1)
        written = connection.put(path, body, {"If": f"({token})"})
        assert written.status == 204, written
        unlocked = connection.request("UNLOCK", path, {"Lock-Token": token})
        assert unlocked.status == 204, unlocked
        done += 1
    return refused


@pytest.mark.rfc("LM-01", "LK-11")
@pytest.mark.security("Q-02", "Q-03")
@pytest.mark.parametrize("rounds", ROUNDS)
def test_counter_raised_under_an_exclusive_lock_is_exact(server: Server, rounds: int) -> None:
    path = f"/locked-{rounds}"
    with server.connect() as first:
        first.put(path, b"0")

        at_once(server, *[partial(raise_under_lock, path, rounds)] * CLIENTS)

        assert first.get(path).body == b"%d" % (CLIENTS * rounds)
        assert first.locks(path) == []
    assert hidden_files(server) == []


@pytest.mark.rfc("MK-08")
def test_of_many_mkcols_one_creates(server: Server) -> None:
    def mkcol(connection: Connection) -> list[int]:
        return [connection.mkcol(f"/collection-{number}").status for number in range(20)]

    statuses = at_once(server, *[mkcol] * CLIENTS)

    for each in zip(*statuses, strict=True):
        assert sorted(each) == [201] + [405] * (CLIENTS - 1)
