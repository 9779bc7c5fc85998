"""Requests that meet in a tree that is moved, copied or deleted: nothing is lost, nothing stays
behind."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from tests.support.crowd import Until, at_once, hidden_files, orphans
from tests.support.http import Connection
from tests.support.server import Server

NS = "{http://example.org/ns}"

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.parametrize(
        "server",
        [{"workers": 1}, {"workers": 4}, {"workers": 4, "arguments": ["--durability", "none"]}],
        ids=["1 worker", "4 workers", "4 workers, inline"],
        indirect=True,
    ),
]


@pytest.mark.rfc("MV-02", "PU-02")
def test_put_into_a_tree_that_moves_is_kept_or_refused(server: Server, seconds: float) -> None:
    going = Until(seconds)
    with server.connect() as first:
        first.delete("/here")  # of a shorter race
        first.mkcol("/here")
        first.mkcol("/here/inner")

    def move(connection: Connection) -> dict[str, bytes]:
        moves = 0
        while going or not moves:
            for source, target in (("/here", "/there"), ("/there", "/here")):
                reply = connection.move(source, target, overwrite="F")
                assert reply.status == 201, reply
                moves += 1
        return {}

    def write(connection: Connection) -> dict[str, bytes]:
        stored: dict[str, bytes] = {}
        me = threading.get_ident()
        while going or not stored:
            name = f"inner/{me}-{len(stored)}"
            body = name.encode() * 100
            reply = connection.put(f"/{random.choice(['here', 'there'])}/{name}", body)
            assert reply.status in (201, 409), reply
            if reply.status == 201:
                stored[name] = body
        return stored

    stored = at_once(server, move, write, write, write)

    expected = {name: body for each in stored for name, body in each.items()}
    here = server.root / "here"
    found = {str(path.relative_to(here)): path for path in here.rglob("*") if path.is_file()}
    assert expected
    assert expected.keys() == found.keys()
    assert all(found[name].read_bytes() == body for name, body in expected.items())
    assert not (server.root / "there").exists()
    assert hidden_files(server) == []


@pytest.mark.rfc("DL-03", "MK-03")
@pytest.mark.security("P-15")
def test_what_is_put_into_a_tree_while_it_is_deleted_is_whole_or_gone(
    server: Server, seconds: float
) -> None:
    going = Until(seconds)
    tree, inner, leaf = "/doomed", "/doomed/inner", "/doomed/inner/leaf.txt"

    def delete(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            reply = connection.delete(tree)
            statuses.add(reply.status)
            if reply.status == 207:
                assert set(reply.multistatus.statuses.values()) == {409}, reply
        return statuses

    def fill(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            statuses.add(connection.mkcol(tree).status)
            statuses.add(connection.mkcol(inner).status)
            reply = connection.put(leaf, b"whole " * 1000)
            assert reply.status != 403, reply
            statuses.add(reply.status)
            reply = connection.proppatch(leaf, set={f"{NS}mark": "leaf"})
            statuses.add(reply.status)
            read = connection.get(leaf)
            assert read.status == 404 or read.body == b"whole " * 1000, read
        return statuses

    deleted, *filled = at_once(server, delete, fill, fill, fill)

    assert deleted <= {204, 207, 404, 409}
    assert set().union(*filled) <= {201, 204, 207, 404, 405, 409}
    assert hidden_files(server) == []
    assert orphans(server) == []


@pytest.mark.rfc("MV-02", "MV-04")
def test_moves_there_and_back_lose_nothing(server: Server, seconds: float) -> None:
    """Trees and files that wander over a few names with Overwrite F stay as many as they were."""
    going = Until(seconds)
    names = [f"/wander-{number}" for number in range(6)]
    with server.connect() as first:
        for name in names:
            first.delete(name)  # of a shorter race
        for number in range(2):
            first.put(names[number], b"file %d" % number)
            first.proppatch(names[number], set={f"{NS}is": f"file {number}"})
        first.mkcol(names[2])
        first.put(f"{names[2]}/member", b"of a tree")

    def wander(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            source, target = random.sample(names, 2)
            statuses.add(connection.move(source, target, overwrite="F").status)
        return statuses

    statuses = at_once(server, *[wander] * 5)

    assert set().union(*statuses) <= {201, 404, 412}
    files = {name: server.root / name[1:] for name in names if (server.root / name[1:]).exists()}
    contents = {name: p.read_bytes() for name, p in files.items() if p.is_file()}
    assert sorted(contents.values()) == [b"file 0", b"file 1"]
    (tree,) = [path for path in files.values() if path.is_dir()]
    assert (tree / "member").read_bytes() == b"of a tree"
    with server.connect() as last:
        for name, content in contents.items():
            assert last.prop(name, f"{NS}is").text == content.decode()
    assert hidden_files(server) == []
    assert orphans(server) == []


@pytest.mark.rfc("MV-04")
def test_moves_over_each_other_leave_one_of_the_two(server: Server, seconds: float) -> None:
    going = Until(seconds)
    pair = ["/left", "/right"]

    def move(source: str, target: str) -> Callable[[Connection], set[int]]:
        def run(connection: Connection) -> set[int]:
            statuses = set()
            while going:
                statuses.add(connection.move(source, target).status)
            return statuses

        return run

    def refill(connection: Connection) -> set[int]:
        statuses = set()
        count = 0
        while going:
            name = pair[count % 2]
            reply = connection.put(name, name.encode(), {"If-None-Match": "*"})
            assert reply.status in (201, 412), reply
            statuses.add(reply.status)
            for path in pair:
                read = connection.get(path)
                assert read.status == 404 or read.body in (b"/left", b"/right"), read
            count += 1
        return statuses

    with server.connect() as first:
        first.put("/left", b"/left")
    left, right, _ = at_once(server, move(*pair), move(*reversed(pair)), refill)

    assert left <= {201, 204, 404}
    assert right <= {201, 204, 404}
    assert any((server.root / path[1:]).exists() for path in pair)
    assert hidden_files(server) == []


@pytest.mark.rfc("CP-08", "CP-18")
def test_tree_copied_over_a_tree_that_is_read_is_never_half_of_each(
    server: Server, seconds: float
) -> None:
    going = Until(seconds)
    with server.connect() as first:
        for tree in ("/one", "/two"):
            first.mkcol(tree)
            for number in range(5):
                first.put(f"{tree}/member{tree[1:]}-{number}", tree.encode())

    def copy(connection: Connection) -> int:
        count = 0
        while going or not count:
            reply = connection.copy(("/one", "/two")[count % 2], "/shown")
            assert reply.status in (201, 204), reply
            count += 1
        return count

    def read(connection: Connection) -> int:
        count = 0
        while going or not count:
            reply = connection.request("PROPFIND", "/shown", {"Depth": "1"})
            assert reply.status in (207, 404), reply
            if reply.status == 207:
                members = [href for href in reply.multistatus.hrefs if href != "/shown/"]
                assert len({href.partition("-")[0] for href in members}) <= 1, members
                count += 1
        return count

    at_once(server, copy, read, read)

    assert hidden_files(server) == []


@pytest.mark.rfc("CP-04", "PU-02")
def test_copy_into_a_collection_that_moves_leaves_nothing_hidden(
    server: Server, seconds: float
) -> None:
    going = Until(seconds)
    with server.connect() as first:
        first.mkcol("/tree")
        for number in range(5):
            first.put(f"/tree/{number}", b"member")
        first.put("/file", b"file")
        first.mkcol("/goal")

    def move(connection: Connection) -> set[int]:
        while going:
            assert connection.move("/goal", "/other", overwrite="F").status == 201
            assert connection.move("/other", "/goal", overwrite="F").status == 201
        return set()

    def copy(source: str) -> Callable[[Connection], set[int]]:
        def run(connection: Connection) -> set[int]:
            statuses = set()
            while going:
                reply = connection.copy(source, f"/goal/of{source[1:]}")
                if reply.status == 503:
                    assert "retry-after" in reply.headers
                statuses.add(reply.status)
            return statuses

        return run

    statuses = at_once(server, move, copy("/tree"), copy("/file"))

    assert set().union(*statuses) <= {201, 204, 409, 503}
    assert hidden_files(server) == []


@pytest.mark.rfc("DL-01", "DL-03")
def test_delete_of_what_turns_from_file_to_collection_deletes_it(
    server: Server, seconds: float
) -> None:
    going = Until(seconds)
    with server.connect() as first:
        first.mkcol("/stock")
        first.put("/stock/member", b"")

    def turn(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            statuses.add(connection.copy("/stock", "/turning").status)
            statuses.add(connection.put("/fresh", b"file").status)
            statuses.add(connection.move("/fresh", "/turning").status)
        return statuses

    def delete(connection: Connection) -> set[int]:
        statuses = set()
        while going:
            statuses.add(connection.delete("/turning").status)
        return statuses

    turned, *deleted = at_once(server, turn, delete, delete)

    assert turned <= {201, 204}
    assert set().union(*deleted) <= {204, 404}
    assert hidden_files(server) == []
