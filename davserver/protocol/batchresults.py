"""What came of a batch, as JSON text, in the words of a multistatus. No I/O here.

    {"atomic": false, "results": [result, ...]}, one for each operation, in order

A result has `op`, `href`, `status`, `message`, the `headers` that matter, and where there is more
to tell `error`, `description`, or the `multistatus` of the single method.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lxml import etree

from davserver.protocol.status import reason

Json = dict[str, Any]
_SHOWN = frozenset(
    {b"allow", b"content-location", b"etag", b"last-modified", b"location", b"lock-token"}
    | {b"retry-after"}
)
_DAV = "DAV:"


def result_of(op: str, href: bytes, status: int, headers: Sequence[tuple[bytes, bytes]]) -> Json:
    """Returns what came of one operation, without what a failure has to tell."""
    found: Json = {"op": op, "href": href.decode("ascii"), **_status(status)}
    shown = {k.decode(): v.decode("latin-1") for k, v in headers if k in _SHOWN}
    return found | {"headers": shown} if shown else found


def reasons(condition: bytes | None, hrefs: Sequence[bytes], description: str) -> Json:
    """Returns why something failed: the condition (RFC 4918 section 16) where there is one."""
    found: Json = {}
    if condition is not None:
        content = [{"namespace": _DAV, "name": "href", "content": h.decode()} for h in hrefs]
        found["error"] = {_DAV: {condition.decode(): content or None}}
    if description:
        found["description"] = description.encode("ascii", "backslashreplace").decode("ascii")
    return found


def dump(document: Mapping[str, Any]) -> bytes:
    """Returns JSON text, all of it ASCII."""
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def has_failed(multistatus: bytes) -> bool:
    """True when any status in a multistatus is no success: a PROPPATCH that did all that it was
    asked answers with one, too."""
    root = etree.fromstring(multistatus)
    return any(_code(element) // 100 != 2 for element in root.iter(f"{{{_DAV}}}status"))


def read_multistatus(body: bytes) -> Json:
    """Returns a multistatus of our own (RFC 4918 section 13)."""
    root = etree.fromstring(body)
    return {"results": [_told(element) for element in root.iterfind(f"{{{_DAV}}}response")]}


def _told(element: Any) -> Json:
    """Returns a response, or a propstat."""
    found: Json = {}
    for child in element:
        name = etree.QName(child).localname
        if name == "status":
            found |= _status(_code(child))
        elif name == "propstat":
            found.setdefault("propstat", []).append(_told(child))
        elif name == "prop":
            found["properties"] = _names(child)
        elif name == "error":
            condition = child[0]
            hrefs = [(href.text or "").encode() for href in condition]
            found |= reasons(etree.QName(condition).localname.encode(), hrefs, "")
        else:
            found["description" if name == "responsedescription" else name] = child.text or ""
    return found


def _names(prop: Any) -> Json:
    found: dict[str, Json] = {}
    for child in prop:
        name = etree.QName(child)
        found.setdefault(name.namespace or "", {})[name.localname] = None
    return found


def _code(element: Any) -> int:
    return int((element.text or "").split()[1])


def _status(status: int) -> Json:
    return {"status": status, "message": reason(status)}
