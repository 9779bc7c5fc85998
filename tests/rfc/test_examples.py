"""The examples of RFC 4918, as requests and answers in examples/, named by their sections.

How they are written is in tests/support/scenario.py and player.py. Where an outcome is left to the
server, or the example's server has rights or features of its own, the file says how it was
adapted; hrefs are absolute paths.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import AppDav
from tests.support.carriers import AppCarrier
from tests.support.player import Player
from tests.support.scenario import Scenario

FILES = sorted(Path(__file__).with_name("examples").glob("*.http"), key=lambda path: path.name)
# What the examples show of the checklist, by file name.
# fmt: off
SHOWN = pytest.mark.rfc(
    "G-13", "PF-01", "PF-06", "PF-07", "PF-08", "PP-05", "PP-06", "PC-07", "MK-01", "DL-04",
    "CP-03", "CP-07", "CP-17", "MV-09", "LK-01", "LK-08", "LK-09", "LK-10", "LR-01", "UL-01",
    "IF-01", "IF-03", "IF-04", "IF-05", "IF-06", "IF-10", "LP-08", "LP-10",
)
# fmt: on


@SHOWN
@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_example(make_dav: Callable[..., AppDav], path: Path) -> None:
    dav = make_dav("memory")

    Player(Scenario.read(path), dav, AppCarrier(dav)).play()


def test_every_section_with_examples_has_one() -> None:
    sections = {path.name.partition("-")[0] for path in FILES}

    assert sections == {
        *("8.3.1", "9.1.3", "9.1.4", "9.1.5", "9.1.6", "9.2.2", "9.3.2", "9.6.2"),
        *("9.8.6", "9.8.7", "9.8.8", "9.9.5", "9.9.6", "9.10.7", "9.10.8", "9.10.9", "9.11.2"),
        *("10.4.6", "10.4.7", "10.4.8", "10.4.9", "10.4.10", "10.4.11", "15.8.1", "15.10.1"),
    }
