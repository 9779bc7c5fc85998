"""How long hostile request XML keeps the parser busy.

    .venv/bin/python tests/bench/hostile_xml.py

Prints for each document of tests/security/test_xml_attacks.py its size, the best of five times and
the answer. The exit code is 1 when one that is refused took 50 ms or more.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from davserver.errors import DavError
from davserver.protocol.xmlread import parse_proppatch
from tests.security.test_xml_attacks import ATTACKS

LIMIT_S = 0.05


def measure(body: bytes) -> tuple[float, int]:
    """Returns seconds and status, 0 for a document that is taken."""
    best = float("inf")
    status = 0
    for _ in range(5):
        begun = time.perf_counter()
        try:
            parse_proppatch(body)
        except DavError as error:
            status = error.status
        best = min(best, time.perf_counter() - begun)
    return best, status


def main() -> int:
    slow = 0
    for name, (body, _, _) in ATTACKS.items():
        seconds, status = measure(body)
        slow += status != 0 and seconds >= LIMIT_S
        print(f"{name:40} {len(body):9} bytes {seconds * 1000:8.1f} ms {status or 'taken'}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
