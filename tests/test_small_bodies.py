"""A small body that comes after its head, by itself: waited for, for a moment."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from davserver.asked import Asked
from davserver.wire.connection import Phase
from davserver.wire.guard import Guard
from tests.support.edge import EdgeInProcess, Seen, Wire

HEAD = b"PUT /f HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
WHOLE = ("PUT", b"/f", b"hello", True)


class Quick:
    """The quick way, which takes what it is told to take."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.takes = False

    def __call__(self, asked: Asked) -> bytes | None:
        self.bodies.append(asked.body)
        return b"HTTP/1.1 204 No Content\r\n\r\n" if self.takes else None


@pytest.fixture
def quick() -> Quick:
    return Quick()


@pytest.fixture
def edge(quick: Quick) -> Iterator[EdgeInProcess]:
    edge = EdgeInProcess()
    edge.exchange([HEAD + b"hello"] * 2)  # the fields are known from now on
    edge._edge.at_once = quick
    yield edge
    edge.close()


def talk(
    edge: EdgeInProcess, *steps: bytes | Callable[[Guard], object]
) -> tuple[list[Seen], bytes, list[Phase]]:
    """Sends pieces, or does something to the guard; returns what the application saw, what was
    written, and the phase after each step."""
    wire, phases = Wire(), []

    async def exchange() -> None:
        guard = edge.connect(wire)
        for step in steps:
            if isinstance(step, bytes):
                guard.data_received(step)
            else:
                step(guard)
            phases.append(guard._phase)
            await edge.settle(wire)

    edge._seen.clear()
    edge.run(exchange())
    return list(edge._seen), bytes(wire.written), phases


def late(guard: Guard) -> None:
    guard.watch(guard._edge.now + 1.5)


def leave(guard: Guard) -> None:
    guard.connection_lost(None)


def test_a_body_by_itself_is_answered_at_once(edge: EdgeInProcess, quick: Quick) -> None:
    quick.takes = True
    seen, written, phases = talk(edge, HEAD, b"he", b"llo", HEAD + b"again")

    assert seen == []
    assert quick.bodies == [b"hello", b"again"]
    assert written.count(b"204") == 2
    assert phases == [Phase.SMALL, Phase.SMALL, Phase.IDLE, Phase.IDLE]


def test_what_the_quick_way_leaves_goes_the_usual_way(edge: EdgeInProcess, quick: Quick) -> None:
    seen, written, _ = talk(edge, HEAD, b"hello", HEAD, b"hello")

    assert quick.bodies == [b"hello"] * 2
    assert seen == [WHOLE] * 2
    assert written.count(b"200") == 2


def test_who_dawdles_is_waited_for_in_the_usual_way(edge: EdgeInProcess, quick: Quick) -> None:
    seen, written, phases = talk(edge, HEAD + b"h", late, b"el", b"lo")

    assert phases[:2] == [Phase.SMALL, Phase.BODY]
    assert quick.bodies == []
    assert seen == [WHOLE]
    assert written.count(b"200") == 1


def test_who_leaves_has_broken_off(edge: EdgeInProcess, quick: Quick) -> None:
    quick.takes = True
    seen, written, _ = talk(edge, HEAD + b"he", leave)

    assert quick.bodies == []
    assert seen == [("PUT", b"/f", b"he", False)]
    assert written == b""


def test_a_server_that_stops_takes_the_rest(edge: EdgeInProcess, quick: Quick) -> None:
    seen, written, _ = talk(edge, HEAD, Guard.shutdown, b"hello")

    assert seen == [WHOLE]
    assert written.count(b"200") == 1


def test_what_follows_a_small_body_is_the_next_request(edge: EdgeInProcess, quick: Quick) -> None:
    seen, written, _ = talk(edge, HEAD, b"hello" + HEAD + b"world")

    assert seen == [WHOLE, ("PUT", b"/f", b"world", True)]
    assert written.count(b"200") == 2


def test_a_large_body_is_not_waited_for(edge: EdgeInProcess, quick: Quick) -> None:
    head = HEAD.replace(b": 5", b": 16385")
    seen, _, phases = talk(edge, head, b"x" * 16_385)

    assert phases[0] is Phase.BODY
    assert quick.bodies == []
    assert len(seen[0][2]) == 16_385


@pytest.mark.parametrize(
    ("line", "status"),
    [(b"BREW /f", b"501"), (b"PUT /" + b"f" * 9000, b"414")],
    ids=["an unknown method", "a long URL"],
)
def test_what_is_refused_whatever_its_body_is_refused_at_once(
    edge: EdgeInProcess, line: bytes, status: bytes
) -> None:
    _, written, _ = talk(edge, HEAD.replace(b"PUT /f", line))

    assert written.startswith(b"HTTP/1.1 " + status)
