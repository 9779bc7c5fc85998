"""Answers that are kept for requests with a key, in every State."""

from __future__ import annotations

from dataclasses import replace

import pytest

from davserver.state.base import Answer, State

NOW = 1_000.0
ANSWER = Answer("alice", "k", b"digest", "owner", NOW + 60, 200, b"body")


def keep(state: State, *answers: Answer) -> None:
    with state.hold((), wait_s=1) as view:
        for answer in answers:
            view.answers.keep(answer)


def find(state: State, principal: str = "alice", key: str = "k", now: float = NOW) -> Answer | None:
    with state.hold((), wait_s=1) as view:
        return view.answers.find(principal, key, now=now)


def test_an_answer_is_found_by_principal_and_key_until_it_expires(state: State) -> None:
    keep(state, ANSWER)

    assert find(state) == ANSWER
    assert find(state, "bob") is None
    assert find(state, key="other") is None
    assert find(state, now=NOW + 60) is None


def test_one_takes_the_place_of_another(state: State) -> None:
    waiting = replace(ANSWER, status=None, body=b"")
    keep(state, waiting)
    first = find(state)
    keep(state, ANSWER)

    assert (first, find(state)) == (waiting, ANSWER)


def test_one_that_is_removed_is_gone(state: State) -> None:
    keep(state, ANSWER)
    with state.hold((), wait_s=1) as view:
        view.answers.remove("alice", "k")
        view.answers.remove("alice", "none")

    assert find(state) is None


def test_it_is_part_of_the_transaction(state: State) -> None:
    keep(state, ANSWER)
    with pytest.raises(RuntimeError):
        change_and_fail(state)

    assert find(state) == ANSWER
    assert find(state, key="new") is None


def test_the_expired_go_and_the_oldest_of_a_principal_with_too_many(state: State) -> None:
    keep(
        state,
        *(replace(ANSWER, key=f"{n}", expires_at=NOW + n) for n in range(5)),
        replace(ANSWER, principal="bob", key="0", expires_at=NOW + 1),
    )
    with state.hold((), wait_s=1) as view:
        view.answers.tidy("alice", now=NOW, most=2)

    kept = [key for key in "01234" if find(state, key=key, now=NOW - 1) is not None]
    assert kept == ["3", "4"]
    assert find(state, "bob", "0") is not None


def change_and_fail(state: State) -> None:
    with state.hold((), wait_s=1) as view:
        view.answers.remove("alice", "k")
        view.answers.keep(replace(ANSWER, key="new"))
        raise RuntimeError
