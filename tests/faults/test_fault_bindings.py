"""The nth call below BIND, UNBIND, REBIND, and what else meets bindings, fails, for every n until
none does (RFC 5842 sections 4 to 6: "the server state preceding the request MUST be restored").

The answer is a refusal, or a success that is whole; every binding is as it was or as it is to be.
"""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest

from davserver.errors import StateError, StorageError
from davserver.state.sqlite import SqliteState
from tests.conftest import make_app_dav
from tests.support.bindingplans import SCENARIOS, Scenario, World, fill, look
from tests.support.crashplans import BOTH
from tests.support.faults import FAULTS, Fault, Fuse, Named, faulty_statements, faulty_system
from tests.support.reply import Reply

_ROUNDS = 400
CASES = [
    pytest.param(
        one,
        layer,
        fallbacks,
        id=f"{name}-{layer}{'-without renameat2' if fallbacks else ''}",
        marks=[pytest.mark.long] if fallbacks or layer == "state" else [],
    )
    for name, one in SCENARIOS.items()
    for layer in ("storage", "system", "state")
    for fallbacks in ((), BOTH)
]


class Stage:
    """A scenario that is set up once and copied for each run."""

    def __init__(self, folder: Path, scenario: Scenario, fallbacks: tuple[str, ...]) -> None:
        self._scenario, self._fallbacks = scenario, fallbacks
        # Always the same place: a state knows which folder it is of.
        self._base, self._template = folder / "base", folder / "template"
        self._base.mkdir()
        dav = make_app_dav(self._base, "filesystem", durability="none")
        fill(dav, scenario)
        dav.close()
        shutil.copytree(self._base, self._template, symlinks=True)
        self.before = look(self._base, fallbacks)
        reply, self.after = self.run(Fuse(FAULTS[0]))
        assert reply is not None
        assert reply.status == scenario.status, reply

    def run(self, fuse: Fuse) -> tuple[Reply | None, World]:
        shutil.rmtree(self._base)
        shutil.copytree(self._template, self._base, symlinks=True)
        layer = fuse.fault.layer
        with ExitStack() as stack:
            if layer == "system":
                stack.enter_context(faulty_system(fuse))
            elif layer == "state":
                stack.enter_context(faulty_statements(fuse))
            state = SqliteState(self._base / "state", durability="none")
            dav = make_app_dav(
                self._base,
                "filesystem",
                overrides={"state": state},
                durability="none",
                fallbacks=self._fallbacks,
            )
            stack.callback(dav.close)
            services = dav.app.services
            if layer == "storage":
                object.__setattr__(services, "storage", Named(services.storage, fuse))
            one = self._scenario
            fuse.armed = True
            try:
                reply = dav.request(one.method, one.target, one.headers, one.body)
            except (StorageError, StateError):
                reply = None
            fuse.armed = False
            assert dav.propfind("/", depth="infinity")
        return reply, look(self._base, self._fallbacks)


def of_layer(layer: str) -> list[Fault]:
    return [fault for fault in FAULTS if fault.layer == layer]


@pytest.mark.rfc("BI-07")
@pytest.mark.security("F-05", "F-07")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(("scenario", "layer", "fallbacks"), CASES)
def test_when_a_call_fails_every_binding_is_old_or_new(
    tmp_path: Path, scenario: Scenario, layer: str, fallbacks: tuple[str, ...]
) -> None:
    stage = Stage(tmp_path, scenario, fallbacks)
    faults = of_layer(layer)
    for number in range(1, _ROUNDS):
        fuse = Fuse(faults[number % len(faults)], number)
        try:
            reply, found = stage.run(fuse)
        except AssertionError as error:
            raise AssertionError(f"{fuse.where}: {error}") from error
        assert scenario.legal(stage.before, stage.after, found), (fuse.where, reply, found)
        if reply is not None and reply.status == scenario.status:
            assert found == stage.after, (fuse.where, reply)
        if not fuse.blown:
            break

    assert not fuse.blown
