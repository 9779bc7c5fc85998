"""What clients were seen to send, replayed byte for byte against the real server.

The conversations are in recorded/, one file each: tests/support/scenario.py tells how they are
written, tests/support/player.py what is compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.carriers import WireCarrier
from tests.support.player import Player
from tests.support.pool import Pool, may_everything
from tests.support.scenario import Scenario

RECORDED = Path(__file__).with_name("recorded")
SCENARIOS = [Scenario.read(path) for path in sorted(RECORDED.glob("*.http"))]


def marks_of(scenario: Scenario) -> list[pytest.MarkDecorator]:
    return [
        pytest.mark.client(name, *columns, how="recorded")
        for name, columns in scenario.clients.items()
    ]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with Pool(tmp_path_factory) as running:
        yield running


def play(scenario: Scenario, pool: Pool) -> None:
    address = scenario.server.get("from")
    with pool.server(scenario) as server, WireCarrier(server, address) as carrier:
        with server.connect(headers=may_everything(scenario)) as dav:
            Player(scenario, dav, carrier, root=server.root, server=server).play()
        pool.clear(scenario, server, carrier)


@pytest.mark.parametrize(
    "scenario",
    [pytest.param(each, id=each.path.stem, marks=marks_of(each)) for each in SCENARIOS],
)
def test_conversation_goes_as_recorded(scenario: Scenario, pool: Pool) -> None:
    play(scenario, pool)


@pytest.mark.long
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[each.path.stem for each in SCENARIOS])
def test_conversation_goes_the_same_with_four_workers(scenario: Scenario, pool: Pool) -> None:
    play(replace(scenario, server=scenario.server | {"workers": "4"}), pool)
