"""Every fuzz target in the default run: what was found once, and some random input.

The long search is a command, see fuzz.py beside this.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS

CASES = sorted(path for path in (Path(__file__).parent / "cases").glob("*/*") if path.is_file())
EXAMPLES = 150


def mutated(seeds: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """Pieces of the seeds in any order, with other bytes between them."""
    piece = st.sampled_from(seeds).flatmap(
        lambda seed: st.tuples(st.integers(0, len(seed)), st.integers(0, len(seed))).map(
            lambda ends: seed[min(ends) : max(ends)]
        )
    )
    parts = st.lists(piece | st.binary(max_size=6) | st.sampled_from(seeds), max_size=6)
    return parts.map(b"".join) | st.binary(max_size=60)


@pytest.mark.security("S-08", "C-01", "C-02")
@pytest.mark.parametrize("case", CASES, ids=[f"{one.parent.name}/{one.name}" for one in CASES])
def test_what_was_found_once_holds(case: Path) -> None:
    TARGETS[case.parent.name](case.read_bytes())


@pytest.mark.security("S-08", "C-01", "C-02")
@pytest.mark.parametrize("name", TARGETS)
def test_parsers_keep_their_promises(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(mutated(SEEDS[name]))
    def promise(data: bytes) -> None:
        target(data)

    for seed in SEEDS[name]:
        target(seed)
    promise()


def test_every_case_has_a_target() -> None:
    assert {case.parent.name for case in CASES} <= set(TARGETS)
