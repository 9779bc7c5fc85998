"""A server killed at every step of an upload in pieces: a fresh worker goes on with it (K-02).

What it tells of the upload is true: the target is old and the rest of the content completes it, or
it is complete and the target is new. Nothing hidden is left but the part that is still needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import AppDav, make_app_dav
from tests.support.aftermath import TOPIC, hidden
from tests.support.crashing import Crasher, Outcome, Plan, Request
from tests.support.crashplans import BOTH, Template

PIECE = b"the first piece, "
REST = bytes(range(256)) * 300
WHOLE = PIECE + REST
OLD = b"what was there before"


@dataclass(frozen=True)
class Case:
    """Attributes:
    old: what the target is before; None: unmapped.
    """

    old: bytes | None
    durability: str = "none"
    fallbacks: tuple[str, ...] = ()


CASES = {
    "new": Case(None),
    "new, durable": Case(None, "full"),
    "over": Case(OLD),
    "over, durable": Case(OLD, "full"),
    "new, by hand": Case(None, fallbacks=BOTH),
    "over, by hand": Case(OLD, fallbacks=BOTH),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


class Stage:
    """An upload that has begun, copied for each run.

    Attributes:
        url: where it goes on.
    """

    def __init__(self, folder: Path, case: Case, crasher: Crasher) -> None:
        self._case = case
        self._crasher = crasher
        template = Template(folder)
        with template.filling() as dav:
            dav.mkcol("/c/")
            self.token = ""
            if case.old is not None:
                dav.put("/c/a", case.old)
                dav.proppatch("/c/a", set={TOPIC: "kept"})
                self.token = dav.lock("/c/a").token
            fields = {"Upload-Complete": "?0"} | self.condition
            self.url = dav.put("/c/a", PIECE, fields).headers["location"]
        self.fresh = template.fresh

    @property
    def condition(self) -> dict[str, str]:
        return {"If": f"</c/a> (<{self.token}>)"} if self.token else {}

    def piece(self, *, last: bool) -> Request:
        fields = {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": str(len(PIECE)),
            "Upload-Complete": "?1" if last else "?0",
        }
        return Request("PATCH", self.url, fields | self.condition, REST)

    def run(self, base: Path, ends_at: int, request: Request) -> Outcome:
        case = self._case
        plan = Plan(str(base), ends_at, durability=case.durability, fallbacks=case.fallbacks)
        return self._crasher.run(plan, request)

    @contextmanager
    def worker(self, base: Path) -> Iterator[AppDav]:
        """A fresh one, which has listed everything."""
        dav = make_app_dav(base, "filesystem", durability="none", fallbacks=self._case.fallbacks)
        try:
            dav.propfind("/", b"", depth="infinity")
            yield dav
        finally:
            dav.close()

    def complete(self, dav: AppDav, offset: int) -> None:
        fields = {
            "Content-Type": "application/partial-upload",
            "Upload-Offset": str(offset),
            "Upload-Complete": "?1",
        }
        reply = dav.request("PATCH", self.url, fields | self.condition, WHOLE[offset:])
        assert reply.status in (201, 204), reply

    def check_is_new(self, dav: AppDav, base: Path) -> None:
        assert dav.get("/c/a").body == WHOLE
        assert hidden(base / "root") == []
        assert self._case.old is None or dav.prop("/c/a", TOPIC).text == "kept"
        assert dav.app.services.state.has_changes() is False

    def check_is_old(self, dav: AppDav) -> None:
        reply = dav.get("/c/a")
        old = self._case.old
        assert (reply.status, reply.body) == (200, old) if old is not None else reply.status == 404


@pytest.fixture(scope="module")
def crasher() -> Iterator[Crasher]:
    with Crasher() as running:
        yield running


@pytest.mark.rfc("RU-05", "RU-06")
@pytest.mark.security("K-02")
@pytest.mark.timeout(120)
@each_case
def test_killed_at_any_step_of_the_last_piece_the_upload_goes_on(
    tmp_path: Path, crasher: Crasher, case: Case
) -> None:
    stage = Stage(tmp_path, case, crasher)
    ends = set()
    for number in range(1, 100):
        base = stage.fresh()
        outcome = stage.run(base, number, stage.piece(last=True))
        with stage.worker(base) as dav:
            head = dav.head(stage.url)
            ends.add(head.headers["upload-complete"])
            offset = int(head.headers["upload-offset"])
            if head.headers["upload-complete"] == "?0":
                assert outcome.died, outcome
                assert offset in (len(PIECE), len(WHOLE)), outcome
                stage.check_is_old(dav)
                assert len(hidden(base / "root")) == 1
                stage.complete(dav, offset)
            else:
                assert offset == len(WHOLE), outcome
            stage.check_is_new(dav, base)
        if not outcome.died:
            break

    assert not outcome.died
    assert ends == {"?0", "?1"}


@pytest.mark.rfc("RU-05", "RU-10")
@pytest.mark.security("K-02")
@pytest.mark.timeout(120)
@each_case
def test_killed_at_any_step_of_a_piece_the_offset_is_true(
    tmp_path: Path, crasher: Crasher, case: Case
) -> None:
    stage = Stage(tmp_path, case, crasher)
    offsets = set()
    for number in range(1, 100):
        base = stage.fresh()
        outcome = stage.run(base, number, stage.piece(last=False))
        with stage.worker(base) as dav:
            offset = int(dav.head(stage.url).headers["upload-offset"])
            offsets.add(offset)
            assert outcome.died or offset == len(WHOLE)
            stage.check_is_old(dav)
            stage.complete(dav, offset)
            stage.check_is_new(dav, base)
        if not outcome.died:
            break

    assert not outcome.died
    assert offsets == {len(PIECE), len(WHOLE)}


@pytest.mark.rfc("RU-07")
@pytest.mark.security("K-02")
@pytest.mark.timeout(60)
def test_killed_at_any_step_of_a_cancellation_all_or_nothing_is_there(
    tmp_path: Path, crasher: Crasher
) -> None:
    stage = Stage(tmp_path, CASES["over"], crasher)
    for number in range(1, 50):
        base = stage.fresh()
        outcome = stage.run(base, number, Request("DELETE", stage.url, {}))
        with stage.worker(base) as dav:
            status = dav.head(stage.url).status
            stage.check_is_old(dav)
            if status == 204:
                assert outcome.died
                stage.complete(dav, len(PIECE))
                stage.check_is_new(dav, base)
            else:
                assert status == 404
                assert hidden(base / "root") == []
        if not outcome.died:
            return
    raise AssertionError("it never came to its end")


@pytest.mark.rfc("RU-01")
@pytest.mark.security("K-02", "S-11")
@pytest.mark.timeout(60)
def test_killed_at_any_step_of_the_first_piece_what_is_left_expires(
    tmp_path: Path, crasher: Crasher
) -> None:
    """The client has no URL of it: nobody will go on."""
    stage = Stage(tmp_path, CASES["over"], crasher)
    begin = Request("PUT", "/c/new", {"Upload-Complete": "?0"}, PIECE)
    for number in range(1, 50):
        base = stage.fresh()
        outcome = stage.run(base, number, begin)
        with stage.worker(base) as dav:
            assert dav.get("/c/new").status == 404
            assert 1 <= len(hidden(base / "root")) <= 2
            dav.clock.pass_s(100_000)
            assert dav.put("/c/other", b"", {"Upload-Complete": "?0"}).status == 201
            assert len(hidden(base / "root")) == 1
            assert len(dav.app.services.state.uploads()) == 1
        if not outcome.died:
            return
    raise AssertionError("it never came to its end")
