"""What the state knows of bindings, with and without the gate, in every worker."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock
from davserver.protocol.path import Key
from davserver.state.bindings import Bindings
from davserver.state.sqlite import SqliteState
from tests.state.conftest import AnyState

MakeLock = Callable[..., Lock]


def key(path: str) -> Key:
    return Key("r", path.encode())


def test_links_are_found_by_what_they_lead_to_and_by_where_they_are() -> None:
    bindings = Bindings({key("a/l"): key("b"), key("m"): key("b"), key("n"): key("b/c")})

    assert bindings.target(key("m")) == key("b")
    assert bindings.target(key("b")) is None
    assert bindings.links(key("b")) == [key("a/l"), key("m")]
    assert bindings.within(key("a")) == [key("a/l")]
    assert bindings.bound(key("b")) == [key("b"), key("b/c")]
    assert bindings.touches(key("b/c"))
    assert not bindings.touches(key("a/l/x"))


def test_collections_are_all_that_have_it_in_them_each_once() -> None:
    """b is in a by a link; a is in b by another: they go round."""
    bindings = Bindings({key("a/l"): key("b"), key("b/c/l"): key("a")})

    assert set(bindings.collections(key("b/c/f"))) == {
        key(path) for path in ("b/c/f", "b/c", "b", "", "a")
    }
    assert set(bindings.collections(key("z"))) == {key("z"), key("")}


def test_a_move_takes_links_and_what_they_lead_to_along() -> None:
    bindings = Bindings(
        {
            key("a/in"): key("a/x"),
            key("a/out"): key("b"),
            key("to"): key("a/x"),
            key("n/old"): key("b"),
        }
    )
    after = bindings.changed(bindings.moved(key("a"), key("n")))

    assert dict(after) == {
        key("n/in"): key("n/x"),
        key("n/out"): key("b"),
        key("to"): key("n/x"),
    }


def test_a_resource_can_change_places_with_its_link() -> None:
    bindings = Bindings({key("l"): key("a/x"), key("m"): key("a/x"), key("a/x/i"): key("a/x")})
    after = bindings.changed(bindings.moved(key("a/x"), key("l")))

    assert dict(after) == {key("m"): key("l"), key("l/i"): key("l")}


PATHS = st.lists(st.sampled_from("abc"), min_size=1, max_size=4).map("/".join).map(key)


@given(st.dictionaries(PATHS, PATHS, max_size=8), PATHS, PATHS)
def test_there_and_back_is_where_it_was(links: dict[Key, Key], source: Key, target: Key) -> None:
    away = Key("r", b"z")
    bindings = Bindings({k: v for k, v in links.items() if not away.covers(k)})
    there = bindings.changed(bindings.moved(source, away))
    back = there.changed(there.moved(away, source))

    assert dict(back) == dict(bindings)
    assert not there.touches(source)


def test_what_is_bound_counts_when_it_is_committed(state: AnyState) -> None:
    with state.hold([], wait_s=1) as view:
        view.bind({key("l"): key("a")})
        inside = dict(view.bindings)
        outside = dict(state.bindings) if isinstance(state, SqliteState) else {}

    assert inside == {key("l"): key("a")}
    assert outside == {}
    assert dict(state.bindings) == {key("l"): key("a")}


def test_what_is_undone_was_never_bound(state: AnyState) -> None:
    with state.hold([], wait_s=1) as view:
        view.bind({key("l"): key("a")})
    with suppress(KeyError), state.hold([], wait_s=1) as view:
        view.bind({key("l"): None, key("m"): key("a")})
        raise KeyError

    assert dict(state.bindings) == {key("l"): key("a")}


def test_rows_that_are_cleared_or_moved_take_their_bindings_along(state: AnyState) -> None:
    with state.hold([], wait_s=1) as view:
        view.bind({key("a/l"): key("b"), key("m"): key("a/x")})
        view.move_rows(key("a"), key("n"))
        moved = dict(view.bindings)
        view.clear(key("n"))

    assert moved == {key("n/l"): key("b"), key("m"): key("n/x")}
    assert dict(state.bindings) == {key("m"): key("n/x")}


def test_a_deep_lock_covers_what_is_bound_below_it(state: AnyState, lock: MakeLock) -> None:
    with state.hold([], wait_s=1) as view:
        view.bind({key("a/d/l"): key("b")})
        view.add_lock(lock("deep", b"a"))
        view.add_lock(lock("flat", b"a/d", depth=Depth.ZERO))
        inside = [each.token for each in view.covering(key("b/f"), now=1.0)]

    assert inside == ["deep"]
    assert [each.token for each in state.covering(key("b"), now=1.0)] == ["deep"]
    assert state.covering(key("c"), now=1.0) == []


def test_another_worker_hears_of_it(tmp_path: Path) -> None:
    one, other = (SqliteState(tmp_path / "state", durability="none") for _ in range(2))
    try:
        before = dict(other.bindings)
        with one.hold([], wait_s=1) as view:
            view.bind({key("l"): key("a"), key("m"): key("a")})
        heard = dict(other.bindings)
        with one.hold([], wait_s=1) as view:
            view.bind({key("l"): None})
        after = dict(other.bindings)
        third = SqliteState(tmp_path / "state", durability="none")
        started = dict(third.bindings)
        third.close()
    finally:
        one.close()
        other.close()

    assert before == {}
    assert heard == {key("l"): key("a"), key("m"): key("a")}
    assert after == started == {key("m"): key("a")}
