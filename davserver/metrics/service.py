"""The application behind the listener of the metrics: /metrics and /health, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable

from davserver.asgi import ASGIApp, Receive, Scope, Send
from davserver.metrics.exposition import Exposition

_PLAIN = "text/plain; charset=utf-8"


def create_service(exposition: Exposition, is_well: Callable[[], bool]) -> ASGIApp:
    """Returns the application.

    Args:
        is_well: whether the server can do its work: 200, else 503.
    """

    def answer(method: str, path: str, accept: str) -> tuple[int, str, bytes]:
        if path not in ("/metrics", "/health"):
            return 404, _PLAIN, b"/metrics or /health\n"
        if method not in ("GET", "HEAD"):
            return 405, _PLAIN, b"only GET\n"
        if path == "/metrics":
            body, content_type = exposition.render(accept)
            return 200, content_type, body
        well = is_well()
        status = {"status": "ok" if well else "failing"}
        return 200 if well else 503, "application/json", json.dumps(status).encode()

    async def service(scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        accept = headers.get(b"accept", b"").decode("latin-1")
        status, content_type, body = answer(scope["method"], scope["path"], accept)
        fields = [
            (b"content-type", content_type.encode()),
            (b"content-length", b"%d" % len(body)),
            (b"cache-control", b"no-store"),
        ]
        if status == 405:
            fields.append((b"allow", b"GET, HEAD"))
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    return service
