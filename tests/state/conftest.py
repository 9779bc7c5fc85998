"""Both backends behind one fixture: what one promises the other does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from davserver.protocol.headers import Depth
from davserver.protocol.locks import Lock, LockScope
from davserver.protocol.path import Key
from davserver.state.limits import StateLimits
from davserver.state.memory import MemoryState
from davserver.state.sqlite import SqliteState

AnyState = MemoryState | SqliteState


@pytest.fixture(params=["memory", "sqlite"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., AnyState]]:
    """Makes a state of each backend, with the limits given."""
    made: list[AnyState] = []

    def build(limits: StateLimits | None = None) -> AnyState:
        if request.param == "memory":
            state: AnyState = MemoryState(limits=limits)
        else:
            state = SqliteState(tmp_path / "state", durability="none", limits=limits)
        made.append(state)
        return state

    yield build
    for state in made:
        state.close()


@pytest.fixture
def state(make: Callable[..., AnyState]) -> AnyState:
    return make()


@pytest.fixture
def lock() -> Callable[..., Lock]:
    """Makes a lock value, by default an exclusive one of depth infinity that ends at 1000."""

    def build(
        token: str,
        path: bytes,
        *,
        root: str = "r",
        scope: LockScope = LockScope.EXCLUSIVE,
        depth: Depth = Depth.INFINITY,
        principal: str = "ada",
        expires_at: float = 1000.0,
    ) -> Lock:
        return Lock(
            token=token,
            key=Key(root, path),
            href=b"/" + path,
            scope=scope,
            depth=depth,
            owner_xml=b"<D:owner xmlns:D='DAV:'>\xc3\xa9</D:owner>",
            principal=principal,
            timeout_s=600,
            expires_at=expires_at,
        )

    return build
