"""What came of a batch, in the words of a multistatus (jsonface.py). No I/O here.

    {"atomic": false, "results": [result, ...]}, one for each operation, in order

A result has `op`, `href`, `status`, `message`, the `headers` that matter, and what else the single
method has to tell: `error` and `description`, `properties` of a lock, or its own `multistatus`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from davserver.protocol.jsonface import as_json
from davserver.protocol.status import reason

Json = dict[str, Any]
_SHOWN = frozenset(
    {b"allow", b"content-location", b"etag", b"last-modified", b"location", b"lock-token"}
    | {b"retry-after"}
)


def result_of(op: str, href: bytes, status: int, headers: Sequence[tuple[bytes, bytes]]) -> Json:
    """Returns what came of one operation, without what its answer has for a body."""
    found: Json = {"op": op, "href": href.decode("ascii")}
    found |= {"status": status, "message": reason(status)}
    shown = {k.decode(): v.decode("latin-1") for k, v in headers if k in _SHOWN}
    return found | {"headers": shown} if shown else found


def document_of(xml: bytes, status: int) -> Json:
    """Returns what a document of ours says: a multistatus as one, else its members."""
    told: Json = json.loads(as_json(xml, status))
    return {"multistatus": told} if status == 207 else told


def has_failed(result: Json) -> bool:
    """True when not all was done. A PROPPATCH that did all that it was asked has a multistatus,
    too: there each property has a status."""
    if result["status"] != 207:
        return bool(result["status"] >= 300)
    told = result["multistatus"]["results"]
    statuses = [part["status"] for one in told for part in one.get("propstat", ({"status": 207},))]
    return not statuses or any(not 200 <= status < 207 for status in statuses)


def dump(document: Mapping[str, Any]) -> bytes:
    """Returns JSON text, all of it ASCII."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")
