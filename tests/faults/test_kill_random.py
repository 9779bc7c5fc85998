"""A server under load, killed from outside at any moment (K-01, K-02).

Three clients go through collections, each set up alike, and do one thing in each. After the kill
each collection is as before or as after, and as after where the answer had come.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.aftermath import World, look
from tests.support.crashing import Crasher, Plan, Request, Running
from tests.support.crashplans import SCENARIOS, Scenario, Template, fill, request_of
from tests.support.http import ConnectionEnded

CLIENTS = 3
PLACES = 6
NAMES = [
    "PUT new, long",
    "PUT over",
    "PUT over, with hidden name",
    "COPY tree onto tree",
    "MOVE tree onto tree",
    "MOVE tree onto nothing",
    "MOVE file onto file across file systems",
    "MOVE tree onto tree across file systems",
    "DELETE file",
    "DELETE tree",
    "PROPPATCH live",
    "LOCK unmapped",
    "UNLOCK",
]


@dataclass
class Field:
    """Collections, set up once and copied for each run.

    Attributes:
        tokens: path of the locked resource to token.
        requests: what is done, by collection.
        before, after: the world in each collection when nothing and when all was done.
        duration_s: of doing all of it.
    """

    template: Template
    scenario: Scenario
    crasher: Crasher
    tokens: dict[str, str] = field(default_factory=dict)
    requests: dict[str, Request] = field(default_factory=dict)
    before: World = field(default_factory=dict)
    after: World = field(default_factory=dict)
    duration_s: float = 0.0

    def set_up(self) -> None:
        with self.template.filling() as dav:
            for number in range(PLACES):
                place = f"/w{number}"
                assert dav.mkcol(place).status == 201
                tokens = fill(dav, self.scenario, place)
                self.requests[place] = request_of(self.scenario, tokens, place)
                self.tokens |= {place + path: token for path, token in tokens.items()}
        self.before = self.worlds(self.template.fresh())["/w0"]
        base = self.template.fresh()
        answered, self.duration_s = self.run(base, None)
        assert answered == self.requests.keys()
        worlds = self.worlds(base)
        self.after = worlds["/w0"]
        assert all(world == self.after for world in worlds.values())

    def worlds(self, base: Path) -> dict[str, World]:
        """Returns what is found in each collection, with paths as if it were the root."""
        whole = look(base, self.tokens, fallbacks=self.scenario.fallbacks)
        worlds: dict[str, World] = {place: {} for place in self.requests}
        for path, found in whole.items():
            place, _, rest = path[1:].partition("/")
            if rest:
                names = tuple(name.removeprefix(f"/{place}") for name in found.locks)
                worlds[f"/{place}"][f"/{rest}"] = found.relocked(names)
        return worlds

    def run(self, base: Path, delay_s: float | None) -> tuple[set[str], float]:
        """Does all of it, and kills the server after a while (None: at the end). Returns the
        collections for which the answer came, and how long it took."""
        scenario = self.scenario
        plan = Plan(str(base), across=scenario.across, fallbacks=scenario.fallbacks)
        running = self.crasher.start(plan)
        with running.connect() as connection:
            assert connection.get("/.davserver/health").status == 200
        answered: set[str] = set()
        places = list(self.requests)
        clients = [
            threading.Thread(target=self._work, args=(running, places[n::CLIENTS], answered))
            for n in range(CLIENTS)
        ]
        begun = time.perf_counter()
        for client in clients:
            client.start()
        if delay_s is not None:
            time.sleep(delay_s)
            running.kill()
        for client in clients:
            client.join()
        duration_s = time.perf_counter() - begun
        if delay_s is None:
            running.kill()
        return answered, duration_s

    def _work(self, running: Running, places: list[str], answered: set[str]) -> None:
        with running.connect() as connection:
            for place in places:
                request = self.requests[place]
                try:
                    reply = connection.request(
                        request.method, request.target, request.headers, request.body
                    )
                except (ConnectionEnded, OSError):
                    return
                if reply.status == self.scenario.status:
                    answered.add(place)

    def check(self, delay_s: float) -> int:
        """Kills once. Returns how many collections were done."""
        base = self.template.fresh()
        answered, _ = self.run(base, delay_s)
        for place, world in self.worlds(base).items():
            where = f"{place}, killed after {delay_s * 1000:.2f} ms"
            assert self.scenario.legal(self.before, self.after, world), f"{where}: {world}"
            if place in answered:
                assert world == self.after, f"{where}: answered, and lost: {world}"
        return len(answered)


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as running:
        yield running


@pytest.mark.security("K-01", "K-02", "Q-09")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kills", [20, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", NAMES)
def test_killed_at_any_moment_nothing_answered_is_lost(
    tmp_path: Path, crasher: Crasher, name: str, kills: int
) -> None:
    place = Field(Template(tmp_path), SCENARIOS[name], crasher)
    place.set_up()
    chance = random.Random(f"{name} {kills}")
    done = {place.check(chance.uniform(0, place.duration_s)) for _ in range(kills)}

    assert len(done) > 1, "every kill came too early or too late to say anything"
