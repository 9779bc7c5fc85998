"""Random requests of several clients on a few URLs: each history must be one that a server could
have made that answers one request after the other."""

from __future__ import annotations

import random
import time
from functools import partial
from itertools import combinations, count

import pytest

from tests.support.crowd import at_once, hidden_files
from tests.support.http import Connection
from tests.support.linear import Op, explain
from tests.support.server import Server

CLIENTS = 5
EACH = 14
_numbers = count()

pytestmark = [
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


class Client:
    """One client that notes what it asked and what it was answered."""

    def __init__(self, paths: list[str], seed: int, connection: Connection) -> None:
        self.history: list[Op] = []
        self._paths = paths
        self._random = random.Random(seed)
        self._connection = connection
        self._tags: dict[str, str] = {}
        self._tokens: dict[str, str] = {}

    def run(self) -> list[Op]:
        for _ in range(EACH):
            acts = [self.get, self.put, self.put, self.swap, self.create, self.delete]
            act = self._random.choice([*acts, self.lock, self.copy, self.move])
            path = self._random.choice(self._paths)
            act(path)
            if path in self._tokens and self._random.random() < 0.7:
                self.write_locked(path)
                self.unlock(path)
        for path in list(self._tokens):
            self.unlock(path)
        for path in self._paths:
            self.get(path)
        return self.history

    def _ask(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b"", **noted: str
    ) -> Op:
        begun = time.monotonic()
        reply = self._connection.request(method, path, headers, body)
        ended = time.monotonic()
        assert reply.status in (200, 201, 204, 404, 409, 412, 423), reply
        value = reply.body if method == "GET" and reply.status == 200 else body
        op = Op(
            begun,
            ended,
            method,
            path,
            reply.status,
            value=value,
            expects=noted.get("expects"),
            token=noted.get("token"),
            etag=reply.headers.get("etag"),
            target=noted.get("target"),
        )
        if method == "LOCK" and reply.status in (200, 201):
            token = reply.headers["lock-token"][1:-1]
            op = Op(begun, ended, method, path, reply.status, token=token)
        self.history.append(op)
        if op.etag is not None:
            self._tags[path] = op.etag
        return op

    def _body(self) -> bytes:
        return b"%d " % next(_numbers) * self._random.choice([1, 3000])

    def get(self, path: str) -> None:
        self._ask("GET", path, {})

    def put(self, path: str) -> None:
        self._ask("PUT", path, {}, self._body())

    def swap(self, path: str) -> None:
        self.get(path)
        tag = self._tags.get(path)
        if tag is not None:
            self._ask("PUT", path, {"If-Match": tag}, self._body(), expects=tag)

    def create(self, path: str) -> None:
        self._ask("PUT", path, {"If-None-Match": "*"}, self._body(), expects="absent")

    def delete(self, path: str) -> None:
        self._ask("DELETE", path, {})

    def lock(self, path: str) -> None:
        if path in self._tokens:
            return
        headers = {"Content-Type": "application/xml", "Timeout": "Second-600"}
        body = (
            b'<lockinfo xmlns="DAV:"><lockscope><exclusive/></lockscope>'
            b"<locktype><write/></locktype></lockinfo>"
        )
        op = self._ask("LOCK", path, headers, body)
        if op.token is not None:
            self._tokens[path] = op.token

    def write_locked(self, path: str) -> None:
        token = self._tokens[path]
        self._ask("PUT", path, {"If": f"(<{token}>)"}, self._body(), token=token)

    def unlock(self, path: str) -> None:
        token = self._tokens.pop(path)
        self._ask("UNLOCK", path, {"Lock-Token": f"<{token}>"}, token=token)

    def copy(self, path: str) -> None:
        self._transfer("COPY", path)

    def move(self, path: str) -> None:
        self._transfer("MOVE", path)

    def _transfer(self, method: str, path: str) -> None:
        target = self._random.choice([other for other in self._paths if other != path])
        self._ask(method, path, {"Destination": target}, target=target)


def record(server: Server, folder: str, seed: int) -> list[Op]:
    paths = [f"{folder}/a", f"{folder}/b"]

    def run(number: int, connection: Connection) -> list[Op]:
        return Client(paths, seed * 100 + number, connection).run()

    histories = at_once(server, *[partial(run, number) for number in range(CLIENTS)])
    return [op for each in histories for op in each]


def show(history: list[Op]) -> str:
    start = min(op.begun for op in history)
    lines = []
    for op in sorted(history, key=lambda op: op.begun):
        value = None if op.value is None else op.value[:12]
        span = f"{(op.begun - start) * 1e3:8.2f} {(op.ended - start) * 1e3:8.2f}"
        rest = f"{op.expects} {op.token} {op.etag} {op.target}"
        lines.append(f"{span} {op.method:6} {op.path} {op.status} {value!r} {rest}")
    return "\n".join(lines)


def shortest(history: list[Op]) -> list[Op]:
    """Returns the history up to the first answer that cannot be explained."""
    ended = sorted(history, key=lambda op: op.ended)
    for number, last in enumerate(ended):
        # What had not been answered by then may have happened, or not.
        pending = [op for op in ended[number + 1 :] if op.begun < last.ended]
        done = ended[: number + 1]
        if not any(
            explain(done + list(some)) is not None
            for size in range(len(pending) + 1)
            for some in combinations(pending, size)
        ):
            return done[-20:] + pending
    return history


def check(server: Server, rounds: range) -> None:
    for seed in rounds:
        folder = f"/history-{seed}"
        with server.connect() as first:
            assert first.mkcol(folder).status == 201
        history = record(server, folder, seed)
        explained = explain(history) is not None
        assert explained, f"seed {seed}:\n{show(shortest(history))}"
    assert hidden_files(server) == []


@pytest.mark.rfc("HC-10", "LM-01", "MV-02")
@pytest.mark.security("Q-03")
@pytest.mark.timeout(60)
def test_histories_are_linearizable(server: Server) -> None:
    check(server, range(8))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_many_histories_are_linearizable(server: Server) -> None:
    check(server, range(1000, 1150))
