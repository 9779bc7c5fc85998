"""uvicorn answering a constant: what any Python server of this kind can reach at the most.

python tests/bench/floor.py PORT
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn

BODY = b"ok" * 16
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"32")]


async def constant(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    if scope["method"] != "GET":
        while (await receive()).get("more_body"):
            pass
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


if __name__ == "__main__":
    uvicorn.run(
        constant,
        port=int(sys.argv[1]),
        log_level="warning",
        access_log=False,
        http="httptools",
        loop="uvloop",
        lifespan="off",
    )
