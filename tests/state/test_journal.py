"""Steps as JSON."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from davserver.errors import StateFailure
from davserver.protocol.path import DavPath
from davserver.state.base import Step, StepKind
from davserver.state.journal import dump_steps, load_steps

NAMES = st.binary(min_size=1).map(lambda name: name.decode("utf-8", "surrogateescape"))
PATHS = st.none() | st.builds(DavPath, st.lists(NAMES).map(tuple), st.booleans())
NUMBERS = st.integers(0, 2**64)
STEPS = st.builds(
    Step,
    st.sampled_from(StepKind),
    PATHS,
    PATHS,
    PATHS,
    st.none() | st.tuples(NUMBERS, NUMBERS, st.none() | NUMBERS),
    st.dictionaries(st.sampled_from(["mtime_ns", "executable"]), NUMBERS),
    st.lists(st.text()).map(tuple),
)


@given(st.lists(STEPS, max_size=3).map(tuple))
def test_steps_come_back_whatever_the_names_are_made_of(steps: tuple[Step, ...]) -> None:
    text = dump_steps(steps)

    assert load_steps(text) == steps
    assert text.isascii()


def test_a_step_of_the_version_before_has_no_tokens() -> None:
    text = dump_steps((Step(StepKind.CREATE, target=DavPath(("a",))),))

    (step,) = load_steps(text.replace(',"tokens":[]', ""))

    assert step == Step(StepKind.CREATE, target=DavPath(("a",)))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="nothing"),
        pytest.param("{}x", id="no JSON"),
        pytest.param('[{"kind":"publish"}]', id="keys missing"),
        pytest.param(
            '[{"kind":"other","source":null,"target":null,"aside":null,"identity":null,"values":{}}]',
            id="kind of a newer version",
        ),
    ],
)
def test_what_cannot_be_read_is_a_state_failure(text: str) -> None:
    with pytest.raises(StateFailure, match="journal"):
        load_steps(text)
