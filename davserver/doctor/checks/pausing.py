"""An upload that stands still: whether it is cut off, and when."""

from __future__ import annotations

import time
from collections.abc import Iterator

from davserver.doctor.findings import Cause, Finding, broken, ok
from davserver.doctor.judging import said
from davserver.doctor.messages import BrokenAnswer
from davserver.doctor.visit import Visit


def check_pause(visit: Visit) -> Iterator[Finding]:
    """Only where a pause was asked for: it takes its time."""
    pause_s = visit.pause_s
    if not pause_s:
        return

    def pieces() -> Iterator[bytes]:
        yield b"x" * 65_536
        time.sleep(pause_s)
        yield b"y" * 65_536

    check = f"pause of {pause_s:g} s"
    try:
        answer = visit.ask("PUT", visit.path("paused.bin"), pieces=pieces, length=131_072)
    except BrokenAnswer as error:
        yield broken(check, f"PUT: {error}", Cause.TIMEOUT)
        return
    if answer.status == 201:
        yield ok(check, said(answer))
    else:
        yield broken(check, f"PUT: {said(answer)}", Cause.TIMEOUT)
