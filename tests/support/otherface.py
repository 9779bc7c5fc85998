"""The tests in the other face: every request asks for JSON, and the answer is read as if it were
XML. What a test finds in the XML it has to find in the JSON, or it fails.

Switched on by the environment, for a run of its own (tests/rfc/test_faces.py).
"""

from __future__ import annotations

import atexit
import json
import os
from collections import Counter
from pathlib import Path

from tests.support.reply import JSON, Reply, in_xml

REPORT = "TESTS_IN_JSON"
"""The variable that names the file to which a run writes what was told in JSON."""
_told: Counter[str] = Counter()
_report = os.environ.get(REPORT)


def asks_for_json(method: str, headers: list[tuple[str, str]]) -> bool:
    """True when the request is to ask for the other face, and does not say itself what it wants."""
    if _report is None or method in ("GET", "HEAD", "POST"):
        return False
    return not any(name.lower() == "accept" for name, _ in headers)


def told_in_xml(method: str, reply: Reply) -> Reply:
    """Returns the answer as a test expects it, and counts it. Whatever could have been JSON is."""
    if reply.headers.get("content-type") == JSON:
        _told[f"{method} {reply.status}"] += 1
        return in_xml(reply)
    assert reply.status != 207, reply
    assert not reply.body.startswith(b"<?xml"), reply
    return reply


def _write(path: str) -> None:
    Path(path).write_text(json.dumps(_told), "utf-8")


if _report is not None:
    atexit.register(_write, _report)
